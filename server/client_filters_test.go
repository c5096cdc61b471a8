package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// filteredSide is the clients of one of two servers that are asked the same.
type filteredSide struct {
	t       *testing.T
	address string
	clients []*redistest.Conn // the first one asks
	ids     []string
}

// filteredNames are what the clients are called.
var filteredNames = []string{"asks", "plain", "bob", "queues"}

// connect opens the clients of a round, when those of the last one are gone.
func (f *filteredSide) connect() {
	f.t.Helper()
	f.clients, f.ids = nil, nil
	first := f.dial()
	eventually(f.t, "the clients of the last round to be gone", func() bool {
		list, err := first.Do("CLIENT", "LIST")
		return err == nil && strings.Count(list.Text, "\n") == 1
	})
	for i, name := range filteredNames {
		c := first
		if i > 0 {
			c = f.dial()
		}
		f.clients = append(f.clients, c)
		if name == "bob" {
			expect(f.t, c, "AUTH bob x", "+OK\r\n")
		}
		expect(f.t, c, "CLIENT SETNAME "+name, "+OK\r\n")
		id, err := c.Do("CLIENT", "ID")
		if err != nil {
			f.t.Fatal(err)
		}
		f.ids = append(f.ids, id.Text)
		if name == "queues" {
			expect(f.t, c, "SELECT 3", "+OK\r\n", "MULTI", "+OK\r\n")
		}
	}
}

func (f *filteredSide) dial() *redistest.Conn {
	f.t.Helper()
	c, err := redistest.Dial(f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

func (f *filteredSide) closeAll() {
	for _, c := range f.clients {
		c.Close()
	}
}

// ask sends a command in which #0 is the ID of the first client, @0 its address, and so on, and @@ the address of the server.
func (f *filteredSide) ask(words []string) redistest.Reply {
	f.t.Helper()
	words = slices.Clone(words)
	for i, w := range words {
		w = strings.ReplaceAll(w, "@@", f.address)
		for n, c := range f.clients {
			w = strings.ReplaceAll(w, fmt.Sprint("#", n), f.ids[n])
			w = strings.ReplaceAll(w, fmt.Sprint("@", n), c.LocalAddr().String())
		}
		words[i] = w
	}
	reply, err := f.clients[0].Do(words...)
	if err != nil {
		f.t.Fatalf("%q: %v", words, err)
	}
	return reply
}

// names are the clients in the reply to CLIENT LIST, sorted.
func (f *filteredSide) names(list string) (names []string) {
	for line := range strings.Lines(list) {
		_, rest, _ := strings.Cut(line, " name=")
		name, _, _ := strings.Cut(rest, " ")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// alive are the clients that are still there: the one that asked as it sees itself, the others as a new client sees them.
func (f *filteredSide) alive() (names []string) {
	f.t.Helper()
	if _, err := f.clients[0].Do("PING"); err == nil {
		names = append(names, filteredNames[0])
	}
	look := f.dial()
	defer look.Close()
	list, err := look.Do("CLIENT", "LIST")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, name := range f.names(list.Text) {
		if name != "" && name != filteredNames[0] {
			names = append(names, name)
		}
	}
	return names
}

func clientFilter(r *rand.Rand, list bool) []string {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	if list {
		return strings.Fields(pick("ID "+pick("#0", "#1", "#2 #3", "#3 #3 #0", "x", "0", "-1", "999999", "#1 x", "#1 TYPE normal"), "TYPE "+pick("normal", "NORMAL", "master", "replica", "slave", "nonsense", "normal normal", ""),
			"TYPE normal ID #1", "ID", "TYPE", "", "ADDR @1", "USER bob", "nonsense"))
	}
	var filter []string
	for range 1 + r.IntN(4) {
		filter = append(filter, strings.Fields(pick("ID "+pick("#0", "#1", "#2", "#3", "999999", "0", "x", "-3"), "ADDR "+pick("@0", "@1", "@2", "@3", "1.2.3.4:5", "x"),
			"LADDR "+pick("@@", "@@", "1.2.3.4:5"), "TYPE "+pick("normal", "NORMAL", "normal", "master", "replica", "slave", "nonsense"), "USER "+pick("default", "bob", "bob", "nosuch"),
			"SKIPME "+pick("yes", "no", "NO", "Yes", "maybe"), pick("FOO bar", "ID", "", "")))...)
	}
	if r.IntN(8) == 0 {
		return []string{pick("@0", "@1", "@2", "1.2.3.4:5", "@@")} // the older form
	}
	return filter
}

// TestClientFiltersAreThoseOfRedis has random filters of CLIENT KILL and CLIENT LIST choose among the same clients.
func TestClientFiltersAreThoseOfRedis(t *testing.T) {
	first := redistest.StartRedis(t).Dial(t)
	redis := &filteredSide{t: t, address: first.RemoteAddr().String()}
	n := startGroupNode(t, &testGroup{}, nil)
	ours := &filteredSide{t: t, address: n.srv.Addr().String()}
	first.Close()
	for _, f := range []*filteredSide{redis, ours} {
		c := f.dial()
		expect(t, c, "ACL SETUSER bob on nopass +@all ~*", "+OK\r\n")
		c.Close()
	}
	for range redistest.Size(30, 150, 2000) {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 1))
		redis.connect()
		ours.connect()
		for range 10 {
			words := append([]string{"CLIENT", "LIST"}, clientFilter(r, true)...)
			a, b := ours.ask(words), redis.ask(words)
			if x, y := ours.names(a.Text), redis.names(b.Text); a.Type != b.Type || !slices.Equal(x, y) || a.Type == '-' && a.Text != b.Text {
				t.Errorf("seed %d: %q\n ours  %q %s\n redis %q %s", seed, words, x, a, y, b)
			}
		}
		words := append([]string{"CLIENT", "KILL"}, clientFilter(r, false)...)
		a, b := ours.ask(words), redis.ask(words)
		x, y := ours.alive(), redis.alive()
		if a.Type != b.Type || a.Text != b.Text || !slices.Equal(x, y) {
			t.Errorf("seed %d: %q\n ours  %s, leaves %q\n redis %s, leaves %q", seed, words, a, x, b, y)
		}
		redis.closeAll()
		ours.closeAll()
	}
}

// ownLine is the fields of a client's own line in what it was told.
func ownLine(t *testing.T, c *redistest.Conn, reply redistest.Reply) []string {
	t.Helper()
	id, err := c.Do("CLIENT", "ID")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.TrimPrefix(reply.Text, "txt:")) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "id="+id.Text {
			return fields
		}
	}
	t.Fatalf("client %s is not in %q", id.Text, reply.Text)
	return nil
}

// TestClientLinesAreThoseOfRedis: a line of CLIENT LIST has Redis's fields in its order, and says the same of the same client.
func TestClientLinesAreThoseOfRedis(t *testing.T) {
	moving := []string{"id", "addr", "laddr", "fd", "age", "idle", "qbuf", "qbuf-free", "argv-mem", "multi-mem", "rbs", "rbp", "obl", "oll", "omem", "tot-mem"}
	bothProtocols(t, func(t *testing.T, p *pair) {
		for _, line := range []string{
			"CLIENT SETNAME me", "SELECT 3", "CLIENT NO-EVICT ON", "CLIENT INFO", "CLIENT NO-EVICT OFF", "CLIENT LIST TYPE normal", "WATCH a", "CLIENT INFO", "SET a 1", "CLIENT INFO", "UNWATCH",
			"MULTI", "SET a 1", "CLIENT INFO", "EXEC", "CLIENT INFO", "GET a", "CLIENT INFO", "OBJECT ENCODING a", "CLIENT LIST",
		} {
			ours, redis := p.do(strings.Fields(line)...)
			if !strings.Contains(line, "CLIENT INFO") && !strings.Contains(line, "CLIENT LIST") || redis.Text == "QUEUED" {
				continue
			}
			a, b := ownLine(t, p.ours, ours), ownLine(t, p.redis, redis)
			for i, field := range b {
				name, value, _ := strings.Cut(field, "=")
				if i >= len(a) || !strings.HasPrefix(a[i], name+"=") {
					t.Fatalf("%s: field %d is not %s: %q, in Redis %q", line, i, field, a, b)
				}
				if !slices.Contains(moving, name) && a[i] != field {
					t.Errorf("%s: %s is %q, in Redis %q", line, name, a[i], value)
				}
			}
		}
	})
}
