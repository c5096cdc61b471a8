package server

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// groupsClient is a client with keys of its own, a few in each group, and what they should be if its commands are carried
// out one after the other. Whatever the groups do meanwhile, its replies are those.
type groupsClient struct {
	t      *rapid.T
	c      *redistest.Conn
	keys   [2][]string
	values map[string]int64
	packet []byte
	want   []string
	silent bool
	echo   int
	got    chan error // the first reply that is wrong, or nil when all are right
}

// say adds a command and its reply.
func (m *groupsClient) say(reply, format string, args ...any) {
	m.packet = redistest.AppendCommand(m.packet, strings.Fields(fmt.Sprintf(format, args...))...)
	if !m.silent {
		m.want = append(m.want, reply)
	}
}

func (m *groupsClient) get(key string) string {
	if v, ok := m.values[key]; ok {
		return bulk(strconv.FormatInt(v, 10))
	}
	return "$-1\r\n"
}

func (m *groupsClient) exists(key string) int {
	_, ok := m.values[key]
	return boolInt(ok)
}

// command adds a random command on keys of one group, which gets one reply; queued says that it stands in a transaction,
// whose reply it returns.
func (m *groupsClient) command(group int, queued bool) (reply string) {
	a, b := m.key(group), m.key(group)
	say := func(it, format string, args ...any) {
		if reply = it; queued {
			it = "+QUEUED\r\n"
		}
		m.say(it, format, args...)
	}
	switch rapid.SampledFrom([]string{"incr", "incr", "incr", "get", "get", "set", "del", "mget", "mset", "rename", "expire", "ping", "echo"}).Draw(m.t, "command") {
	case "incr":
		delta := rapid.Int64Range(-3, 3).Draw(m.t, "delta")
		m.values[a] += delta
		say(fmt.Sprintf(":%d\r\n", m.values[a]), "INCRBY %s %d", a, delta)
	case "get":
		say(m.get(a), "GET %s", a)
	case "set":
		m.values[a] = rapid.Int64Range(0, 1000).Draw(m.t, "value")
		say("+OK\r\n", "SET %s %d", a, m.values[a])
	case "del":
		say(fmt.Sprintf(":%d\r\n", m.exists(a)), "DEL %s", a)
		delete(m.values, a)
	case "mget":
		say("*2\r\n"+m.get(a)+m.get(b), "MGET %s %s", a, b)
	case "mset":
		m.values[a] = 5
		m.values[b] = 6
		say("+OK\r\n", "MSET %s 5 %s 6", a, b)
	case "rename":
		v, ok := m.values[a]
		if !ok {
			say("-"+protocol.ErrNoSuchKey+"\r\n", "RENAME %s %s", a, b)
			return reply
		}
		delete(m.values, a)
		m.values[b] = v
		say("+OK\r\n", "RENAME %s %s", a, b)
	case "expire":
		say(fmt.Sprintf(":%d\r\n", m.exists(a)), "EXPIRE %s %d", a, rapid.IntRange(1000, 1002).Draw(m.t, "seconds"))
	case "ping":
		say("+PONG\r\n", "PING")
	case "echo":
		m.echo++
		say(bulk(strconv.Itoa(m.echo)), "ECHO %d", m.echo)
	}
	return reply
}

func (m *groupsClient) key(group int) string {
	return rapid.SampledFrom(m.keys[group]).Draw(m.t, "key")
}

// step adds a command, or a few that belong together.
func (m *groupsClient) step() {
	group := rapid.IntRange(0, 1).Draw(m.t, "group")
	switch rapid.SampledFrom([]string{"one", "one", "one", "one", "one", "one", "multi", "watch", "crossing multi", "crossing", "skip", "off"}).Draw(m.t, "step") {
	case "one":
		m.command(group, false)
	case "multi":
		m.transaction(group)
	case "watch":
		m.say("+OK\r\n", "WATCH %s", m.key(group))
		m.transaction(group)
	case "crossing multi":
		m.say("+OK\r\n", "MULTI")
		m.say("+QUEUED\r\n", "INCR %s", m.key(group))
		m.say("-"+protocol.ErrCrossSlot+"\r\n", "INCR %s", m.key(1-group))
		m.say("-"+protocol.ErrExecAbort+"\r\n", "EXEC")
	case "crossing":
		m.say("-"+protocol.ErrCrossSlot+"\r\n", rapid.SampledFrom([]string{"MGET", "DEL", "RENAME", "WATCH", "EXISTS"}).Draw(m.t, "crossing")+" %s %s",
			m.key(group), m.key(1-group))
	case "skip":
		m.silent = true
		m.say("", "CLIENT REPLY SKIP")
		m.command(group, false)
		m.silent = false
	case "off":
		m.silent = true
		m.say("", "CLIENT REPLY OFF")
		for range rapid.IntRange(1, 4).Draw(m.t, "silent") {
			m.step1(rapid.IntRange(0, 1).Draw(m.t, "group"))
		}
		m.silent = false
		m.say("+OK\r\n", "CLIENT REPLY ON")
	}
}

// step1 is a step without replies inside of it.
func (m *groupsClient) step1(group int) {
	if rapid.Bool().Draw(m.t, "transaction") {
		m.transaction(group)
	} else {
		m.command(group, false)
	}
}

func (m *groupsClient) transaction(group int) {
	m.say("+OK\r\n", "MULTI")
	n := rapid.IntRange(1, 4).Draw(m.t, "queued")
	replies := fmt.Sprintf("*%d\r\n", n)
	for range n {
		replies += m.command(group, true)
	}
	m.say(replies, "EXEC")
}

// read compares the replies as they come.
func (m *groupsClient) read() {
	for i, want := range m.want {
		if raw, err := m.c.ReadRaw(); err != nil || string(raw) != want {
			m.got <- fmt.Errorf("reply %d is %q, %v, want %q; sent were %q", i, raw, err, want, m.packet)
			return
		}
	}
	m.got <- nil
}

// TestGroupsModel has clients send random pipelines, cut into packets, to a node with two groups, which commit one entry
// at a time in a random order.
func TestGroupsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := startGroups(t, func(c *config.Config) {
			c.Transport = rapid.SampledFrom([]string{"auto", "net"}).Draw(rt, "transport")
			c.AckLocal = rapid.Bool().Draw(rt, "local")
			c.LocalInterval = rapid.SampledFrom([]time.Duration{time.Millisecond, time.Hour}).Draw(rt, "interval")
			c.IOLoops = rapid.IntRange(1, 2).Draw(rt, "loops")
		})
		n.hold()
		clients := make([]*groupsClient, rapid.IntRange(1, 3).Draw(rt, "clients"))
		for id := range clients {
			m := &groupsClient{t: rt, c: n.dial(), values: map[string]int64{}, got: make(chan error, 1)}
			for i := range 3 {
				m.keys[0] = append(m.keys[0], fmt.Sprintf("{A}%d:%d", id, i))
				m.keys[1] = append(m.keys[1], fmt.Sprintf("{B}%d:%d", id, i))
			}
			for range rapid.IntRange(1, 30).Draw(rt, "steps") {
				m.step()
			}
			m.say("+PONG\r\n", "PING") // when it is answered, all has been read
			clients[id] = m
			go m.read()
		}
		n.play(rt, clients, rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)))
		n.compare(rt, clients)
		if err := n.stop(); err != nil {
			rt.Fatal(err)
		}
	})
}

// play sends the clients' packets in pieces and lets the groups commit in between, until all replies have been read.
func (n *groupsNode) play(rt *rapid.T, clients []*groupsClient, r *rand.Rand) {
	sent := make([]int, len(clients))
	for reading := len(clients); reading > 0; {
		if i := r.IntN(len(clients)); sent[i] < len(clients[i].packet) {
			rest := clients[i].packet[sent[i]:]
			piece := rest[:1+r.IntN(len(rest))]
			if err := clients[i].c.Send(piece); err != nil {
				rt.Fatal(err)
			}
			sent[i] += len(piece)
		}
		g := n.groups[r.IntN(2)]
		if r.IntN(2) == 0 {
			time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond) // more gathers behind what is held
		}
		g.commitHeld()
		for _, m := range clients {
			select {
			case err := <-m.got:
				reading--
				if err != nil {
					rt.Fatal(err)
				}
			default:
			}
		}
	}
}

// compare finds in each group what the clients should have left there.
func (n *groupsNode) compare(rt *rapid.T, clients []*groupsClient) {
	n.release(0)
	var keys [2]int
	for _, m := range clients {
		for group := range keys {
			for _, key := range m.keys[group] {
				keys[group] += m.exists(key)
				if got := call(n.t, m.c, "GET "+key); got != m.get(key) {
					rt.Fatalf("%s is %q, want %q", key, got, m.get(key))
				}
			}
		}
	}
	for i, r := range n.srv.replicas {
		// A write takes along what is answered ahead.
		if got := call(n.t, clients[0].c, "DEL "+[]string{"{A}", "{B}"}[i]); got != ":0\r\n" || r.Keyspace.HasAhead() {
			rt.Fatalf("group %d: %q, or something is left that was answered ahead", i, got)
		}
		eventually(n.t, "the holds to go", func() bool { return r.Keyspace.Holds() == 0 })
		if err := r.Keyspace.Check(); err != nil {
			rt.Fatalf("group %d: %v", i, err)
		}
		if got := int(r.Keyspace.Stats(0).Keys); got != keys[i] {
			rt.Fatalf("group %d has %d keys, want %d", i, got, keys[i])
		}
	}
	if got := n.srv.watches.count.Load(); got != 0 {
		rt.Fatalf("%d keys are still watched", got)
	}
}
