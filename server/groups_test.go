package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
	"quipu/replica"
	"quipu/replication"
)

// groupsNode is a node with two groups whose commits the test decides. The keys A, n and {A}… belong to the first, the
// keys B, l and {B}… to the second: TestCrossSlot would fail if they did not.
type groupsNode struct {
	*testNode
	groups [2]*testGroup
}

func startGroups(t testing.TB, change func(*config.Config)) *groupsNode {
	t.Helper()
	n := &groupsNode{}
	var opens []replica.OpenGroup
	for i := range n.groups {
		g := &testGroup{}
		n.groups[i] = g
		opens = append(opens, func(_ replication.Config, sm replication.StateMachine) (replication.Group, error) {
			g.Group = replication.NewMemoryGroup(sm, g.clock)
			return g, nil
		})
	}
	srv, err := NewWithGroups(testConfig(t, change), nil, opens...)
	if err != nil {
		t.Fatal(err)
	}
	n.testNode = runNode(t, srv)
	t.Cleanup(func() { n.release(0) }) // a test that has failed lets the node stop
	return n
}

// localGroups is startGroups at level local; nothing goes into the logs by itself.
func localGroups(t testing.TB, transport func(*config.Config)) *groupsNode {
	t.Helper()
	return startGroups(t, func(c *config.Config) {
		transport(c)
		c.AckLocal, c.LocalInterval = true, time.Hour
	})
}

func (n *groupsNode) hold() {
	for _, g := range n.groups {
		g.hold()
	}
}

// release lets one group commit what it was given, waits until all of it is applied, and lets the other one commit.
func (n *groupsNode) release(first int) {
	n.t.Helper()
	n.groups[first].release()
	if n.done != nil {
		eventually(n.t, "the first group to be done", func() bool { return n.srv.replicas[first].Queued() == 0 })
	}
	n.groups[1-first].release()
}

// proposed waits until each group has a proposal that is held.
func (n *groupsNode) proposed() {
	n.t.Helper()
	eventually(n.t, "a proposal to each group", func() bool { return n.groups[0].heldCount() == 1 && n.groups[1].heldCount() == 1 })
}

func (n *groupsNode) check() {
	n.t.Helper()
	for i, r := range n.srv.replicas {
		if err := r.Keyspace.Check(); err != nil {
			n.t.Errorf("group %d: %v", i, err)
		}
		eventually(n.t, "the holds to go", func() bool { return r.Keyspace.Holds() == 0 })
	}
	eventually(n.t, "nobody to watch a key", func() bool { return n.srv.watches.count.Load() == 0 })
}

// talk sends the commands, which stand before their replies in pairs, in one packet. A reply of "" is none. The function
// it returns reads the replies.
func talk(t testing.TB, c *redistest.Conn, pairs ...string) (check func()) {
	t.Helper()
	var commands []string
	for i := 0; i < len(pairs); i += 2 {
		commands = append(commands, pairs[i])
	}
	send(t, c, commands...)
	return func() {
		t.Helper()
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] != "" {
				checkReply(t, pairs[i], readRaw(t, c), pairs[i+1])
			}
		}
	}
}

// eitherOrder runs a test over both transports, with each of the groups as the first one that commits.
func eitherOrder(t *testing.T, test func(t *testing.T, transport func(*config.Config), first int)) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		for first := range 2 {
			t.Run(fmt.Sprint("first=", first), func(t *testing.T) { test(t, transport, first) })
		}
	})
}

// TestGroupsReplyInOrder has a pipeline go through both groups: its replies leave in the order of the commands, whichever
// group commits first.
func TestGroupsReplyInOrder(t *testing.T) {
	eitherOrder(t, func(t *testing.T, transport func(*config.Config), first int) {
		n := startGroups(t, func(c *config.Config) { transport(c); c.IOLoops = 1 })
		c, other := n.dial(), n.dial()
		expect(t, c, "SET {A}old 1", "+OK\r\n", "SET {B}old 2", "+OK\r\n")
		n.hold()
		check := talk(t, c,
			"PING", "+PONG\r\n", "INCRBY A 10", ":10\r\n", "ECHO one", bulk("one"), "INCRBY B 20", ":20\r\n", "ECHO two", bulk("two"),
			"GET {A}old", bulk("1"), "GET {B}old", bulk("2"), "GET A", bulk("10"), "GET B", bulk("20"), "SELECT 1", "+OK\r\n",
			"GET B", "$-1\r\n", "INCRBY B 30", ":30\r\n", "SELECT 0", "+OK\r\n", "NONSENSE", "-ERR unknown command", "INCRBY {A}2 40", ":40\r\n",
			"MGET A {A}2", "*2\r\n"+bulk("10")+bulk("40"), "RENAME B {B}2", "+OK\r\n", "GET {B}2", bulk("20"), "INCRBY A 1", ":11\r\n", "PING", "+PONG\r\n")
		n.proposed()
		// Others read what is applied.
		expect(t, other, "GET {A}old", bulk("1"), "GET A", "$-1\r\n", "GET B", "$-1\r\n")
		n.release(first)
		check()
		n.check()
	})
}

// TestReadyReplies has one group hang: replies that do not need it leave.
func TestReadyReplies(t *testing.T) {
	eitherOrder(t, func(t *testing.T, transport func(*config.Config), hangs int) {
		n := startGroups(t, func(c *config.Config) { transport(c); c.WriteTimeout = time.Second })
		c := n.dial()
		works := []string{"A", "B"}[1-hangs]
		n.groups[hangs].hold()
		talk(t, c, "INCR "+works, ":1\r\n", "PING", "+PONG\r\n", "ECHO x", bulk("x"), "NONSENSE", "-ERR unknown command",
			"MGET A B", "-CROSSSLOT", "GET "+works, bulk("1"), "PING", "+PONG\r\n")()
		if got := n.groups[hangs].heldCount(); got != 0 {
			t.Errorf("the group that hangs was given %d entries", got)
		}
		n.check()
	})
}

// TestCrossSlot has commands with keys of both groups refused, and the same commands on keys of one group carried out.
func TestCrossSlot(t *testing.T) {
	const refused = "-" + protocol.ErrCrossSlot + "\r\n"
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroups(t, transport)
		c := n.dial()
		expect(t, c, "SET A 1", "+OK\r\n", "SET B 2", "+OK\r\n")
		for _, command := range []string{
			"MGET A B", "MSET A 7 B 7", "MSETNX A 7 B 7", "RENAME A B", "RENAMENX A {B}2", "COPY A B REPLACE", "COPY B {A}2", "DEL A B", "EXISTS A A B",
			"PFMERGE {A}h B", "WATCH A B", "TOUCH B A",
		} {
			expect(t, c, command, refused)
		}
		expect(t, c, "MGET A n", "*2\r\n"+bulk("1")+"$-1\r\n", "MGET B l", "*2\r\n"+bulk("2")+"$-1\r\n", "MSET n 3 {A}2 4", "+OK\r\n", "MSET l 5 {B}2 6", "+OK\r\n",
			"COPY A {A}3", ":1\r\n", "RENAME B {B}3", "+OK\r\n", "GET {B}3", bulk("2"), "GET {A}3", bulk("1"), "EXISTS A n {A}2 {A}3", ":4\r\n")

		// A transaction is one group's; what stands before its first key does not matter.
		expect(t, c, "MULTI", "+OK\r\n", "PING", "+QUEUED\r\n", "INCR A", "+QUEUED\r\n", "INCR B", refused, "INCR A", "+QUEUED\r\n",
			"EXEC", "-"+protocol.ErrExecAbort+"\r\n", "GET A", bulk("1"))
		expect(t, c, "MULTI", "+OK\r\n", "MGET A B", refused, "EXEC", "-"+protocol.ErrExecAbort+"\r\n")
		expect(t, c, "WATCH A", "+OK\r\n", "WATCH B", refused, "MULTI", "+OK\r\n", "INCR A", "+QUEUED\r\n", "EXEC", "*1\r\n:2\r\n")
		expect(t, c, "WATCH B", "+OK\r\n", "MULTI", "+OK\r\n", "INCR A", refused, "EXEC", "-"+protocol.ErrExecAbort+"\r\n")
		expect(t, c, "WATCH A", "+OK\r\n", "GET B", "$-1\r\n", "MULTI", "+OK\r\n", "GET A", "+QUEUED\r\n", "PING", "+QUEUED\r\n", "EXEC", "*2\r\n"+bulk("2")+"+PONG\r\n")
		for i, want := range []int{4, 3} { // A n {A}2 {A}3, and l {B}2 {B}3
			if got := n.srv.replicas[i].Keyspace.Stats(0).Keys; int(got) != want {
				t.Errorf("group %d has %d keys, want %d", i, got, want)
			}
		}
		n.check()
	})
}

// TestGroupsTransactions has transactions of both groups under way in one pipeline, with keys watched.
func TestGroupsTransactions(t *testing.T) {
	eitherOrder(t, func(t *testing.T, transport func(*config.Config), first int) {
		n := startGroups(t, transport)
		c, watching := n.dial(), n.dial()
		expect(t, watching, "WATCH B", "+OK\r\n", "MULTI", "+OK\r\n", "SET {B}2 1", "+QUEUED\r\n")
		n.hold()
		check := talk(t, c,
			"SET A 5", "+OK\r\n", "MULTI", "+OK\r\n", "INCR B", "+QUEUED\r\n", "PING", "+QUEUED\r\n", "GET B", "+QUEUED\r\n", "EXEC", "*3\r\n:1\r\n+PONG\r\n"+bulk("1"),
			"MULTI", "+OK\r\n", "GET A", "+QUEUED\r\n", "EXEC", "*1\r\n"+bulk("5"), "MULTI", "+OK\r\n", "GET B", "+QUEUED\r\n", "EXEC", "*1\r\n"+bulk("1"),
			"MULTI", "+OK\r\n", "PING", "+QUEUED\r\n", "EXEC", "*1\r\n+PONG\r\n", "INCR B", ":2\r\n", "GET A", bulk("5"))
		n.proposed()
		send(t, watching, "EXEC")
		n.reached(watching, "exec")
		n.release(first)
		check()
		checkReply(t, "EXEC", readRaw(t, watching), "*-1\r\n")
		expect(t, watching, "GET {B}2", "$-1\r\n")
		n.hold()
		// WATCH and EXEC wait for the client's own writes in both groups.
		check = talk(t, c, "INCR A", ":6\r\n", "INCR B", ":3\r\n", "WATCH A", "+OK\r\n", "INCR B", ":4\r\n", "MULTI", "+OK\r\n", "INCR A", "+QUEUED\r\n", "EXEC", "*1\r\n:7\r\n",
			"GET B", bulk("4"))
		n.proposed()
		n.release(first)
		check()
		n.check()
	})
}

// TestGroupsLocal answers increments of both groups ahead, in one pipeline.
func TestGroupsLocal(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := localGroups(t, transport)
		c, quorum := n.dial(), n.dial()
		expect(t, quorum, "CLIENT ACK quorum", "+OK\r\n")
		n.hold()
		for round := range 3 {
			var pairs []string
			for i := 1; i <= 20; i++ { // more than one burst, and every second one is another group's
				want := fmt.Sprintf(":%d\r\n", 20*round+i)
				pairs = append(pairs, "INCR A", want, "INCR B", want)
			}
			last := bulk(fmt.Sprint(20*round + 20))
			pairs = append(pairs, "GET A", last, "GET B", last, "PING", "+PONG\r\n", "MGET A {A}2", "*2\r\n"+last+"$-1\r\n")
			talk(t, c, pairs...)()
		}
		talk(t, c, "CLIENT REPLY OFF", "", "INCR A", "", "INCR B", "", "INCR {A}2", "", "INCR B", "", "CLIENT REPLY ON", "+OK\r\n",
			"INCR A", ":62\r\n", "INCR B", ":63\r\n", "CLIENT REPLY SKIP", "", "INCR B", "", "INCR B", ":65\r\n")()
		if a, b := n.srv.replicas[0].AheadStats().Increments, n.srv.replicas[1].AheadStats().Increments; a != 63 || b != 65 {
			t.Errorf("%d and %d increments are answered ahead", a, b)
		}
		if n.groups[0].heldCount() != 0 || n.groups[1].heldCount() != 0 {
			t.Error("something went through the log")
		}
		expect(t, quorum, "GET A", "$-1\r\n", "GET B", "$-1\r\n")
		n.release(1)
		// An entry takes along what was answered ahead in its group, and only that.
		expect(t, quorum, "INCR B", ":66\r\n", "GET A", "$-1\r\n", "INCR A", ":63\r\n", "GET {A}2", bulk("1"))
		n.check()
	})
}

// TestGroupsThroughLog has increments at level local that have to go through the log, because of a hold, gathered when the
// client's next command, or another client's, is of the other group: they go through the log of their own group.
func TestGroupsThroughLog(t *testing.T) {
	for _, pairs := range [][]string{
		{"INCR A", ":6\r\n", "INCR B", ":8\r\n", "GET A", bulk("6"), "GET B", bulk("8")},
		{"INCR A", ":6\r\n", "GET B", bulk("7"), "INCR B", ":8\r\n", "GET A", bulk("6")},
		{"INCR A", ":6\r\n", "SET {B}2 1", "+OK\r\n", "INCR A", ":7\r\n"},
		{"INCR B", ":8\r\n", "PING", "+PONG\r\n", "INCR A", ":6\r\n", "INCR B", ":9\r\n"},
		{"INCR B", ":8\r\n", "MGET A B", "-CROSSSLOT", "INCR A", ":6\r\n"},
		{"CLIENT REPLY OFF", "", "INCR A", "", "INCR A", "", "INCR B", "", "CLIENT REPLY ON", "+OK\r\n", "GET A", bulk("7"), "GET B", bulk("8")},
		{"INCR {A}2", ":1\r\n", "INCR B", ":8\r\n", "INCR {A}2", ":2\r\n"}, // only one of them has to
	} {
		t.Run(pairs[0]+" "+pairs[2], func(t *testing.T) {
			eitherOrder(t, func(t *testing.T, transport func(*config.Config), first int) {
				n := localGroups(t, transport)
				c, one, two := n.dial(), n.dial(), n.dial()
				n.hold()
				send(t, one, "SET A 5")
				send(t, two, "SET B 7")
				n.proposed()
				expect(t, c, "PING", "+PONG\r\n")
				check := talk(t, c, pairs...)
				n.reached(c, strings.ToLower(strings.Fields(pairs[len(pairs)-2])[0]))
				n.release(first)
				checkReply(t, "SET A", readRaw(t, one), "+OK\r\n")
				checkReply(t, "SET B", readRaw(t, two), "+OK\r\n")
				check()
				expect(t, c, "CLIENT ACK quorum", "+OK\r\n")
				n.check()
				for i, want := range []string{"A", "B"} {
					if got := n.srv.replicas[i].Keyspace.View(0, 0, false).Len(); got > 2 {
						t.Errorf("the group of %s has %d keys", want, got)
					}
				}
			})
		})
	}
}

// TestOneGroupRefuses has one group without a leader, while the other one serves.
func TestOneGroupRefuses(t *testing.T) {
	const refused = "-" + protocol.ErrClusterDown + "\r\n"
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroups(t, transport)
		c := n.dial()
		expect(t, c, "SET A 1", "+OK\r\n", "SET B 2", "+OK\r\n")
		n.groups[1].refuse(replication.ErrNotLeader)
		talk(t, c, "GET B", bulk("2"), "INCR A", ":2\r\n", "INCR B", refused, "GET A", bulk("2"), "PING", "+PONG\r\n", "DEL B", refused, "INCR A", ":3\r\n",
			"MULTI", "+OK\r\n", "INCR B", refused, "EXEC", "-"+protocol.ErrExecAbort+"\r\n", "MULTI", "+OK\r\n", "INCR A", "+QUEUED\r\n", "EXEC", "*1\r\n:4\r\n")()
		expect(t, c, "GET B", bulk("2"), "CLIENT ACK local", "+OK\r\n", "INCR B", ":3\r\n", "INCR A", ":5\r\n", "GET B", bulk("3"))
		n.groups[1].refuse(nil)
		n.groups[0].refuse(&replication.DiskFullError{Dir: "d", What: "free bytes"})
		expect(t, c, "SET B 9", "+OK\r\n", "SET A 9", "-"+protocol.ErrMisconf+"\r\n", "PING", "+PONG\r\n", "GET A", bulk("5"))
		n.groups[0].refuse(nil)
		// A group that loses its leader with writes under way: only those fail.
		n.hold()
		check := talk(t, c, "SET A 1", "+OK\r\n", "SET B 1", "-UNKNOWN", "GET A", bulk("1"), "GET B", "-TRYAGAIN", "INCR A", ":2\r\n", "PING", "+PONG\r\n")
		n.proposed()
		n.groups[1].abandon()
		n.groups[0].release()
		check()
		n.groups[1].release()
		n.check()
	})
}

// TestLeavingBothGroups has a client go away with writes under way in both groups.
func TestLeavingBothGroups(t *testing.T) {
	eitherOrder(t, func(t *testing.T, transport func(*config.Config), first int) {
		n := startGroups(t, transport)
		c, other := n.dial(), n.dial()
		n.hold()
		send(t, c, "INCR A", "PING", "INCR B", "GET A", "GET B", "INCR A", "WATCH A", "INCR A")
		n.proposed()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		expect(t, other, "GET A", "$-1\r\n", "GET B", "$-1\r\n")
		n.release(first)
		eventually(t, "the client to be forgotten", func() bool { return n.srv.clients.count.Load() == 1 })
		expect(t, other, "INCR {A}2", ":1\r\n", "INCR {B}2", ":1\r\n", "GET B", bulk("1"))
		n.check()
	})
}

// TestSilentGroups has commands of both groups without replies between others.
func TestSilentGroups(t *testing.T) {
	eitherOrder(t, func(t *testing.T, transport func(*config.Config), first int) {
		n := startGroups(t, transport)
		c := n.dial()
		n.hold()
		check := talk(t, c, "INCR A", ":1\r\n", "CLIENT REPLY SKIP", "", "INCR B", "", "INCR B", ":2\r\n", "CLIENT REPLY SKIP", "", "PING", "", "GET A", bulk("1"),
			"CLIENT REPLY OFF", "", "INCR A", "", "INCR B", "", "PING", "", "GET B", "", "MGET A B", "", "MULTI", "", "INCR A", "", "EXEC", "", "CLIENT REPLY ON", "+OK\r\n",
			"GET B", bulk("3"), "GET A", bulk("3"), "CLIENT REPLY SKIP", "", "MGET A B", "", "PING", "+PONG\r\n")
		n.proposed()
		n.release(first)
		check()
		n.check()
	})
}
