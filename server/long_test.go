package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quipu/config"
	"quipu/engine"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// oneLoop has all clients share an event loop.
func oneLoop(c *config.Config) { c.IOLoops = 1 }

func keyParts(keys ...string) (parts engine.PartSet) {
	for _, key := range keys {
		parts.AddKey([]byte(key))
	}
	return parts
}

// waits waits until the node's side of c waits for reason.
func (n *testNode) waits(c *redistest.Conn, reason waitReason) {
	n.t.Helper()
	s := n.session(c)
	eventually(n.t, "the client to wait", func() bool { return onLoop(s.worker, func() bool { return s.waiting == reason }) })
}

// onLoop calls ask on a worker's loop.
func onLoop(w *worker, ask func() bool) bool {
	is := make(chan bool)
	w.loop.Post(func() { is <- ask() })
	return <-is
}

// TestLongLock: while a part is locked for long, clients that need it wait, and no others of their loop; they go on when it
// is free, and their replies keep their order.
func TestLongLock(t *testing.T) {
	for _, ack := range []string{"quorum", "local"} {
		t.Run(ack, func(t *testing.T) {
			n := startGroupNode(t, &testGroup{}, oneLoop)
			other := n.dial()
			expect(t, other, "CLIENT ACK "+ack, "+OK\r\n", "SET held 1", "+OK\r\n", "SET free 5", "+OK\r\n", "INCR held", ":2\r\n")
			eventually(t, "the increment to be applied", func() bool { return !n.srv.replicas[0].Keyspace.HasAhead() })
			for command, want := range map[string]string{
				"GET held": bulk("2"), "MGET free held": "*2\r\n" + bulk("5") + bulk("2"), "SET held 2": "+OK\r\n", "PERSIST held": ":0\r\n",
				"WATCH held": "+OK\r\n", "SCAN 0 COUNT 1": "*2\r\n", "OBJECT ENCODING held": bulk("int"), "SETNX held 1": ":0\r\n",
			} {
				ks := n.srv.replicas[0].Keyspace
				parts := keyParts("held")
				ks.LockLong(&parts)
				c := n.dial()
				send(t, c, "PING", command, "GET free")
				checkReply(t, "PING", readRaw(t, c), "+PONG\r\n")
				n.waits(c, waitParts)
				queue := n.dial()
				expect(t, queue, "MULTI", "+OK\r\n", "GET held", "+QUEUED\r\n")
				send(t, queue, "EXEC")
				n.waits(queue, waitParts)
				expect(t, other, "GET free", bulk("5"))
				if ack == "quorum" { // else the log waits, for what is answered ahead in the part
					expect(t, other, "INCRBY free 0", ":5\r\n", "MULTI", "+OK\r\n", "GET free", "+QUEUED\r\n", "EXEC", "*1\r\n"+bulk("5"))
				}
				ks.UnlockLong(&parts)
				if got := readRaw(t, c); !strings.HasPrefix(got, want) {
					t.Errorf("%s: %q", command, got)
				}
				checkReply(t, "GET behind "+command, readRaw(t, c), bulk("5"))
				checkReply(t, "EXEC", readRaw(t, queue), "*1\r\n"+bulk("2"))
				c.Close()
				queue.Close()
			}
			n.check()
		})
	}
}

// TestLongLockLetsTurnsPass: a turn that has begun before the parts are marked may still lock them.
func TestLongLockLetsTurnsPass(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, oneLoop)
	c := n.dial()
	expect(t, c, "SET k 1", "+OK\r\n")
	ks, w := n.srv.replicas[0].Keyspace, n.session(c).worker
	begun, locked := make(chan struct{}), make(chan struct{})
	var looked bool
	w.loop.Post(func() {
		w.begins()
		if ks.LongLocked() {
			t.Error("there is a long lock already")
		}
		close(begun)
		for !ks.LongLocked() { // it is marked, and waits for this turn
		}
		ks.LockPart(engine.Part([]byte("k")))
		looked = true
		ks.UnlockPart(engine.Part([]byte("k")))
	})
	go func() {
		<-begun
		parts := keyParts("k")
		ks.LockLong(&parts)
		if !looked {
			t.Error("the part was locked in the middle of a turn")
		}
		ks.UnlockLong(&parts)
		close(locked)
	}()
	<-locked
	expect(t, c, "GET k", bulk("1"))
}

// longCommands are some that take long, with the key whose part they lock, and what must be there before.
var longCommands = []struct {
	name, key string
	before    []string
	command   []string
	want      string
	anywhere  bool // locks its keys one after the other
}{
	{"PFCOUNT of many keys", "h7", []string{"PFADD h7 a"}, repeat("PFCOUNT", "h", 1000), ":1\r\n", true},
	{"PFMERGE of many keys", "h7", []string{"PFADD h7 a"}, repeat("PFMERGE", "h", 1000), "+OK\r\n", false},
	{"MGET of many keys", "k7", []string{"SET k7 1"}, repeat("MGET", "k", 10000), "*10000\r\n", false},
	{"DEL of many keys", "k7", []string{"SET k7 1"}, repeat("DEL", "k", 10000), ":1\r\n", false},
	{"CMS.MERGE of a large sketch", "c", []string{"CMS.INITBYDIM c 1000000 1", "CMS.INITBYDIM d 1000000 1"}, strings.Fields("CMS.MERGE c 1 d"), "+OK\r\n", false},
	{"CMS.INITBYDIM of a large sketch", "c", nil, strings.Fields("CMS.INITBYDIM c 1000000 1"), "+OK\r\n", false},
	{"CMS.QUERY of many items", "c", []string{"CMS.INITBYDIM c 1000 1000"}, append([]string{"CMS.QUERY", "c"}, repeat("a", "i", 1000)...), "*1001\r\n", false},
	{"TOPK.LIST of a large sketch", "t", []string{"TOPK.RESERVE t 50000 8 2 0.9"}, strings.Fields("TOPK.LIST t"), "*0\r\n", false},
	{"TOPK.RESERVE of a large sketch", "t", nil, strings.Fields("TOPK.RESERVE t 200000"), "+OK\r\n", false},
}

// repeat is a command with the arguments prefix0, prefix1, …
func repeat(command, prefix string, n int) []string {
	words := []string{command}
	for i := range n {
		words = append(words, fmt.Sprint(prefix, i))
	}
	return words
}

func sendArgs(t *testing.T, c *redistest.Conn, args []string) {
	t.Helper()
	if err := c.SendCommand(args...); err != nil {
		t.Fatal(err)
	}
}

// TestLongCommands: commands that take long lock for long, and are not executed by the loop: while one of them cannot go on, the
// loop serves others.
func TestLongCommands(t *testing.T) {
	for _, tt := range longCommands {
		for _, form := range []string{"alone", "in MULTI", "behind a write"} {
			t.Run(tt.name+" "+form, func(t *testing.T) {
				n := startGroupNode(t, &testGroup{}, oneLoop)
				other, c := n.dial(), n.dial()
				for _, command := range tt.before {
					call(t, other, command)
				}
				ks := n.srv.replicas[0].Keyspace
				part := engine.Part([]byte(tt.key))
				var replies []string
				switch form {
				case "in MULTI":
					replies = []string{"+OK\r\n", "+QUEUED\r\n", "*1\r\n"}
				case "behind a write":
					replies = []string{":1\r\n"}
				}
				if form != "in MULTI" {
					replies = append(replies, tt.want)
				}
				expect(t, c, "PING", "+PONG\r\n") // the node knows it
				ks.LockPart(part)
				switch form {
				case "alone":
					sendArgs(t, c, tt.command)
				case "in MULTI":
					send(t, c, "MULTI")
					sendArgs(t, c, tt.command)
					send(t, c, "EXEC")
				default:
					b := redistest.AppendCommand(nil, "INCR", "other")
					if err := c.Send(redistest.AppendCommand(b, tt.command...)); err != nil {
						t.Fatal(err)
					}
				}
				if tt.anywhere && form != "in MULTI" {
					n.reached(c, strings.ToLower(tt.command[0]))
				} else {
					eventually(t, "a long lock", ks.LongLocked)
				}
				expect(t, other, "PING", "+PONG\r\n")
				ks.UnlockPart(part)
				for _, want := range replies {
					if got := readRaw(t, c); !strings.HasPrefix(got, want) {
						t.Errorf("got %.100q, want %q", got, want)
					}
				}
				eventually(t, "the lock to end", func() bool { return !ks.LongLocked() })
				n.check()
			})
		}
	}
}

// TestLongCopies: writes that copy a large value lock it for long, because of what they do or because a snapshot needs it as it
// was.
func TestLongCopies(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, oneLoop)
	c := n.dial()
	ks := n.srv.replicas[0].Keyspace
	expect(t, c, "CMS.INITBYDIM small 1000 1", "+OK\r\n", "SET k 1", "+OK\r\n", "EXPIRE small 1000", ":1\r\n", "CMS.INITBYDIM c 2000000 1", "+OK\r\n")
	locks := ks.LongLocks()
	long := func(want int64, command, reply string) {
		t.Helper()
		expect(t, c, command, reply)
		if got := ks.LongLocks() - locks; got != want {
			t.Errorf("%s: %d long locks, want %d", command, got, want)
		}
		locks = ks.LongLocks()
	}
	long(0, "CMS.INCRBY c a 1", "*1\r\n:1\r\n")
	long(0, "EXPIRE small 2000", ":1\r\n")
	long(1, "EXPIRE c 1000", ":1\r\n")
	long(1, "PERSIST c", ":1\r\n")
	long(1, "COPY c c2", ":1\r\n")
	long(1, "RENAME c2 c3", "+OK\r\n")
	long(1, "MOVE c3 1", ":1\r\n")
	expect(t, c, "ONCE OPEN p", ":1\r\n")
	long(1, "ONCE p 1 1 EXPIRE c 1000", ":1\r\n")
	long(0, "ONCE p 1 2 EXPIRE small 1000", ":1\r\n")
	long(1, "CMS.INITBYPROB probable 0.000001 0.01", "+OK\r\n")
	long(1, "ONCE p 1 3 CMS.INITBYDIM new 2000000 1", "+OK\r\n")
	snapshot := ks.Capture()
	long(0, "CMS.INCRBY small a 1", "*1\r\n:1\r\n")
	long(0, "EXPIRE k 1000", ":1\r\n")
	long(1, "CMS.INCRBY c a 1", "*1\r\n:2\r\n")
	long(0, "CMS.INCRBY c a 1", "*1\r\n:3\r\n") // the snapshot has its copy
	expect(t, c, "SELECT 1", "+OK\r\n", "MULTI", "+OK\r\n", "CMS.INCRBY c3 a 1", "+QUEUED\r\n")
	long(1, "EXEC", "*1\r\n*1\r\n:2\r\n")
	snapshot.Release()
	n.check()
}

// TestLongLockOfReads: reads that have come back from a round of several nodes wait for parts that were locked for long meanwhile,
// and those behind them too.
func TestLongLockOfReads(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, oneLoop)
	n := c.nodes[c.leader()]
	first, other := n.dial(), n.dial()
	expect(t, first, "SET held 1", "+OK\r\n", "SET free 2", "+OK\r\n", "GET held", bulk("1"))
	ks, w := n.srv.replicas[0].Keyspace, n.session(first).worker
	parts := keyParts("held")
	setAside := false
	for try := 0; !setAside && try < 5000; try++ { // until the lock comes between the command and the end of its round
		send(t, first, "GET held")
		for end := time.Now().Add(time.Duration(try%400) * time.Microsecond); time.Now().Before(end); {
		}
		ks.LockLong(&parts)
		expect(t, other, "INCR written", fmt.Sprintf(":%d\r\n", try+1))
		if setAside = onLoop(w, func() bool { return len(w.lanes[0].aside) > 0 }); setAside {
			send(t, other, "GET free")
		}
		ks.UnlockLong(&parts)
		checkReply(t, "GET held", readRaw(t, first), bulk("1"))
	}
	if !setAside {
		t.Fatal("no reads were set aside")
	}
	checkReply(t, "GET free", readRaw(t, other), bulk("2"))
	c.agree()
}

// TestBulkOfTransactions: the replies of transactions that are under way count against the budget of all clients, and those beyond
// it wait.
func TestBulkOfTransactions(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	admin := n.dial()
	checkReply(t, "SET", callArgs(t, admin, "SET", "big", strings.Repeat("x", 1<<20)), "+OK\r\n")
	g.hold()
	t.Cleanup(g.release)
	const gets = 25 // of 1 MiB: three transactions are too many for 64 MiB
	var clients []*redistest.Conn
	for i := range 4 {
		c := n.dial()
		expect(t, c, "PING", "+PONG\r\n")
		clients = append(clients, c)
		commands := []string{"INCR other", "MULTI"}
		for range gets {
			commands = append(commands, "GET big")
		}
		send(t, c, append(commands, "EXEC")...)
		if i < 2 {
			n.reached(c, "exec")
		} else {
			n.waits(c, waitBulk)
		}
	}
	if got := n.srv.bulk.bytes.Load(); got > bulkBudgetAll {
		t.Errorf("%d bytes of replies may be under way", got)
	}
	g.release()
	for i, c := range clients {
		checkReply(t, "INCR", readRaw(t, c), fmt.Sprintf(":%d\r\n", i+1))
		checkReply(t, "MULTI", readRaw(t, c), "+OK\r\n")
		for range gets {
			checkReply(t, "GET", readRaw(t, c), "+QUEUED\r\n")
		}
		if got := readRaw(t, c); len(got) < gets<<20 {
			t.Errorf("EXEC: %d bytes: %.100q", len(got), got)
		}
	}
	eventually(t, "the budget to be given back", func() bool { return n.srv.bulk.bytes.Load() == 0 })
	n.check()
}

// TestFeedHoldsNoLoop: who asks for the feed waits for the entry that is being executed, and nobody else does.
func TestFeedHoldsNoLoop(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, oneLoop)
	other := n.dial()
	expect(t, other, "SET k 1", "+OK\r\n")
	for _, command := range []string{"FEED INFO", "FEED INFO $", "FEED READ $ BLOCK 1", "FEED READ $", "FEED SNAPSHOT 0"} {
		c, feed := n.dial(), n.srv.replicas[0].Feed
		expect(t, c, "PING", "+PONG\r\n")
		s := n.session(c)
		feed.Begin(feed.Applied())
		send(t, c, command)
		eventually(t, command+" to begin", func() bool {
			expect(t, other, "PING", "+PONG\r\n")
			return onLoop(s.worker, func() bool { return s.waiting != waitNothing })
		})
		feed.End(1, 0)
		if got := readRaw(t, c); got[0] != '*' {
			t.Errorf("%s: %q", command, got)
		}
		c.Close()
		eventually(t, "the client to be gone", func() bool { return n.srv.clients.count.Load() == 1 })
	}
}

// TestClientListHoldsNoLoop: with ten thousand clients it takes long.
func TestClientListHoldsNoLoop(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, oneLoop)
	other, c := n.dial(), n.dial()
	expect(t, c, "PING", "+PONG\r\n")
	expect(t, other, "PING", "+PONG\r\n")
	n.srv.clients.mu.Lock()
	send(t, c, "CLIENT LIST", "PING")
	expect(t, other, "PING", "+PONG\r\n", "INCR k", ":1\r\n")
	n.srv.clients.mu.Unlock()
	if got := readRaw(t, c); !strings.Contains(got, "cmd=client|list") || strings.Count(got, "\n") != 4 {
		t.Errorf("CLIENT LIST: %q", got)
	}
	checkReply(t, "PING", readRaw(t, c), "+PONG\r\n")
	// In a transaction no more is executed than may be replied with.
	expect(t, c, "CLIENT SETNAME "+strings.Repeat("n", nameLimit), "+OK\r\n", "MULTI", "+OK\r\n")
	const lists = 5000
	for range lists {
		expect(t, c, "CLIENT LIST", "+QUEUED\r\n")
	}
	got := call(t, c, "EXEC")
	if n := strings.Count(got, "-"+protocol.ErrCommandTooBig); n == 0 || n == lists || len(got) > 2*literalRoom {
		t.Errorf("EXEC: %d bytes, %d refused", len(got), n)
	}
}
