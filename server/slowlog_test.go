package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// slowCalls are the calls in the reply to SLOWLOG GET, the oldest first, with what differs between two servers left out: times, and
// the letters of names.
func slowCalls(t *testing.T, log redistest.Reply) (list []string) {
	t.Helper()
	for i, e := range slices.Backward(log.Elems) {
		if len(e.Elems) != 6 || len(e.Elems[3].Elems) == 0 {
			t.Fatalf("entry %d is %v", i, e)
		}
		words := []string{strings.ToLower(e.Elems[3].Elems[0].Text)}
		for _, arg := range e.Elems[3].Elems[1:] {
			words = append(words, arg.Text)
		}
		list = append(list, fmt.Sprintf("%q %s", words, e.Elems[5].Text))
	}
	return list
}

// slowWords are commands of every way through the server, with arguments at the limits of what is kept.
func slowWords(r *rand.Rand) []string {
	key := fmt.Sprintf("k%d", r.IntN(5))
	text := strings.Repeat("x", []int{1, 127, 128, 129, 500}[r.IntN(5)])
	many := func(name string, n int) []string {
		words := []string{name}
		for i := range n {
			words = append(words, fmt.Sprintf("a%d", i))
		}
		return words
	}
	calls := [][]string{
		{"set", key, text}, {"get", key}, {"incr", "n" + key}, {"incr", key}, {"decr", "n" + key}, {"incrby", "n" + key, "7"}, {"decrby", "n" + key, "3"},
		{"GET", text}, {"append", key, text}, {"PING"}, {"PING", text}, {"ECHO", "x"}, {"KEYS", "*" + text}, {"EXISTS", key, key}, {"expire", key, "100"},
		{"TTL", key}, {"getex", key, "EX", "10"}, {"pfadd", "h", text}, {"PFCOUNT", "h"}, {"SELECT", "0"}, {"CLIENT", "SETNAME", "me"}, {"CLIENT", "GETNAME"},
		{"CONFIG", "GET", "port"}, {"CONFIG", "SET", "requirepass", ""}, {"CONFIG", "SET", "timeout", "0", "RequirePass", ""},
		{"ACL", "WHOAMI"}, {"AUTH", "bob", "secret"}, {"HELLO", "2", "AUTH", "bob", "secret", "SETNAME", "joe"}, {"SLOWLOG", "LEN"}, {"LATENCY", "RESET"},
		{"GETRANGE", key, "0", "x"}, {"SET", key}, {"DBSIZE"}, {"MULTI"}, {"MULTI"}, {"EXEC"}, {"EXEC"}, {"DISCARD"}, {"WATCH", key}, {"UNWATCH"}, {"INFO", "nosuch"},
		many("MGET", 31), many("MGET", 32), many("EXISTS", 100), many("del", 30), many("NOSUCH", 3), {"RENAME", "nosuch", "b"}, {"COMMAND", "COUNT"},
	}
	return calls[r.IntN(len(calls))]
}

// TestSlowLogIsThatOfRedis compares the slow logs of random commands. Commands of the connection inside of MULTI are not among them:
// they run when EXEC is handed over, before its writes.
func TestSlowLogIsThatOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		if _, err := p.ours.Do("CONFIG", "SET", "auth-failures-per-second", "1000"); err != nil {
			t.Fatal(err)
		}
		p.do("CONFIG", "SET", "slowlog-max-len", "2000")
		p.do("CONFIG", "SET", "slowlog-log-slower-than", "0")
		for round := range 8 {
			r := rand.New(rand.NewPCG(1, uint64(round)))
			p.do("FLUSHALL")
			p.do("SLOWLOG", "RESET")
			inMulti := false
			for range 150 {
				words := slowWords(r)
				cmd := p.table.Find([][]byte{[]byte(words[0]), []byte(slices.Concat(words, []string{""})[1])})
				ofNode := cmd != nil && cmd.Read == nil && cmd.Write == nil
				switch words[0] {
				case "MULTI":
					inMulti = true
				case "EXEC", "DISCARD":
					inMulti = false
				default:
					if inMulti && ofNode {
						continue
					}
				}
				p.do(words...)
			}
			p.do("DISCARD")
			ours, redis := p.do("SLOWLOG", "GET", "-1")
			a, b := slowCalls(t, ours), slowCalls(t, redis)
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("round %d, entry %d\n ours  %s\n redis %s\n before: %s", round, i, a[i], b[i], a[max(0, i-3):i])
				}
			}
			if len(a) != len(b) || len(a) < 50 {
				t.Fatalf("round %d: %d entries, in Redis %d", round, len(a), len(b))
			}
		}
		p.do("CONFIG", "SET", "slowlog-log-slower-than", "-1")
		p.do("SLOWLOG", "RESET")
		p.do("GET", "a")
		p.same(p.do2("SLOWLOG", "LEN"))
	})
}

// TestSlowLogKeepsNoSecrets sends a secret in every way in which a client may send one.
func TestSlowLogKeepsNoSecrets(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.SlowerThan = 0 })
	c := n.dial()
	const secret = "swordfish"
	for _, call := range [][]string{
		{"AUTH", secret}, {"AUTH", "bob", secret}, {"HELLO", "3", "AUTH", "bob", secret}, {"HELLO", "3", "SETNAME", "x", "AUTH", "bob", secret},
		{"ACL", "SETUSER", "bob", "on", ">" + secret}, {"ACL", "SETUSER", "bob", "<" + secret}, {"CONFIG", "SET", "requirepass", secret},
		{"CONFIG", "SET", "requirepass", ""}, {"CONFIG", "SET", "timeout", "0", "RequirePass", secret, "nosuch", "1"}, {"CONFIG", "SET", "masterauth", secret},
		{"CONFIG", "SET", "tls-key-file-pass", secret}, {"CONFIG", "SET", "user", "bob on >" + secret}, {"CONFIG", "SET", "region-auth", secret},
		{"ACL", "DRYRUN", "default", "AUTH", secret}, {"COMMAND", "GETKEYS", "AUTH", secret}, {"COMMAND", "GETKEYS", "CONFIG", "SET", "requirepass", secret},
		{"MULTI"}, {"ACL", "SETUSER", "eve", "on", ">" + secret}, {"ACL", "DELUSER", "eve"}, {"SET", "a", "1"}, {"EXEC"}, {"ACL", "DELUSER", "bob"},
	} {
		if _, err := c.Do(call...); err != nil {
			t.Fatalf("%q: %v", call, err)
		}
	}
	log, err := c.Do("SLOWLOG", "GET", "-1")
	if err != nil {
		t.Fatal(err)
	}
	shown := string(log.Encode(nil))
	if strings.Contains(shown, secret) || strings.Contains(shown, "SETUSER\r\n$3\r\nbob") {
		t.Errorf("a secret is in the slow log:\n%s", shown)
	}
	for _, part := range []string{"requirepass\r\n$10\r\n(redacted)", "acl\r\n$7\r\nsetuser\r\n$10\r\n(redacted)", "AUTH\r\n$10\r\n(redacted)", "timeout\r\n$1\r\n0\r\n$11\r\nRequirePass\r\n$10\r\n(redacted)"} {
		if !strings.Contains(shown, part) {
			t.Errorf("the slow log has no %q:\n%s", part, shown)
		}
	}
}

// TestSlowLogLimits: neither the number of entries nor their memory grows without bounds.
func TestSlowLogLimits(t *testing.T) {
	var l slowLog
	l.limit(3)
	for i := range 5 {
		l.add(slowEntry{usec: int64(i)}, 1)
	}
	l.add(slowEntry{usec: 9}, 1000)
	if list := l.newest(10); len(list) != 3 || list[0].id != 1004 || list[2].id != 1002 {
		t.Errorf("of 3 entries there are %v", list)
	}
	l.limit(1)
	if list := l.newest(10); len(list) != 1 || list[0].id != 1004 {
		t.Errorf("of one entry there are %v", list)
	}
	l.limit(1 << 40)
	large := slowEntry{args: []string{strings.Repeat("x", 1<<20)}}
	for range 20 {
		l.add(large, 1)
	}
	if l.len() == 0 || l.len() > slowLogBytes>>20 || l.bytes > slowLogBytes {
		t.Errorf("%d entries of a MiB are kept, %d bytes", l.len(), l.bytes)
	}
	l.reset()
	l.limit(0)
	if l.add(large, 5); l.len() != 0 || l.bytes != 0 {
		t.Errorf("of no entries there are %d, %d bytes", l.len(), l.bytes)
	}
}

// TestSlowLogOfPipelines: what is executed together without a slow log is logged one by one with it, at both ack levels.
func TestSlowLogOfPipelines(t *testing.T) {
	for _, local := range []bool{false, true} {
		n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.SlowerThan, c.SlowLogMax, c.AckLocal = 0, 1000, local })
		c := n.dial()
		var sent []byte
		var want []string
		for _, name := range []string{"incr", "get"} {
			for i := range 100 {
				key := fmt.Sprint("k", i%7)
				sent = redistest.AppendCommand(sent, name, key)
				want = append(want, fmt.Sprintf("%q ", []string{name, key}))
			}
		}
		if err := c.Send(sent); err != nil {
			t.Fatal(err)
		}
		for range want {
			if _, err := c.Read(); err != nil {
				t.Fatal(err)
			}
		}
		log, err := c.Do("SLOWLOG", "GET", "-1")
		if err != nil {
			t.Fatal(err)
		}
		got := slowCalls(t, log)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("local %v: %d entries %q, want %d", local, len(got), got, len(want))
		}
	}
}
