package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
	"quipu/replication"
)

// localNode is a node on a group whose commits the test decides, at ack level local, that takes nothing into the log by itself.
func localNode(t *testing.T, change func(*config.Config)) (*testNode, *testGroup) {
	t.Helper()
	g := &testGroup{}
	return startGroupNode(t, g, func(c *config.Config) {
		c.AckLocal = true
		c.LocalInterval = time.Hour
		if change != nil {
			change(c)
		}
	}), g
}

func (n *testNode) ahead() int64 { return n.srv.replicas[0].Keyspace.Ahead().Increments }

func (n *testNode) check() {
	n.t.Helper()
	if err := n.srv.replicas[0].Keyspace.Check(); err != nil {
		n.t.Error(err)
	}
	eventually(n.t, "the holds to go", func() bool { return n.srv.replicas[0].Keyspace.Holds() == 0 })
}

// TestLocalIncrement counts while the log takes nothing.
func TestLocalIncrement(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n, g := localNode(t, transport)
		c, quorum := n.dial(), n.dial()
		expect(t, quorum, "CLIENT ACK QUORUM", "+OK\r\n", "SET text abc", "+OK\r\n", "SET b 10", "+OK\r\n")
		g.hold()
		expect(t, c, "INCR a", ":1\r\n", "INCRBY a 10", ":11\r\n", "DECR b", ":9\r\n", "DECRBY b 4", ":5\r\n",
			"INCR text", "-"+protocol.ErrNotInteger+"\r\n", "INCRBY a x", "-"+protocol.ErrNotInteger+"\r\n",
			"DECRBY a -9223372036854775808", "-"+protocol.ErrDecrOverflow+"\r\n", "INCR a b", "-ERR wrong number of arguments for 'incr' command\r\n",
			"GET a", bulk("11"), "GET b", bulk("5"), "MGET a b", "*2\r\n"+bulk("11")+bulk("5"), "EXISTS a", ":1\r\n", "TYPE a", "+string\r\n")
		expect(t, quorum, "GET a", "$-1\r\n", "GET b", bulk("10"), "EXISTS a", ":0\r\n")
		if n.ahead() != 4 || g.heldCount() != 0 {
			t.Errorf("%d increments are answered ahead, %d entries proposed", n.ahead(), g.heldCount())
		}
		if info := call(t, c, "INFO replication"); !strings.Contains(info, "local_ack_pending_increments:4\r\n") {
			t.Errorf("%q", info)
		}
		g.release()
		expect(t, quorum, "CLIENT ACK DEFAULT", "+OK\r\n")
		expect(t, quorum, "CLIENT ACK QUORUM", "+OK\r\n", "GET a", bulk("11"), "GET b", bulk("5"))
		if n.srv.replicas[0].Keyspace.HasAhead() {
			t.Error("CLIENT ACK left something answered ahead")
		}
		n.check()
	})
}

// TestLocalPipeline has more in one packet than a burst holds, with other commands in between.
func TestLocalPipeline(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n, _ := localNode(t, transport)
		c := n.dial()
		var commands, want []string
		for i := 1; i <= 50; i++ {
			commands, want = append(commands, "INCR a"), append(want, fmt.Sprintf(":%d\r\n", i))
		}
		say := func(command, reply string) { commands, want = append(commands, command), append(want, reply) }
		say("PING", "+PONG\r\n")
		say("INCR a", ":51\r\n")
		say("GET a", bulk("51"))
		say("SELECT 1", "+OK\r\n")
		say("INCR a", ":1\r\n")
		say("SELECT 0", "+OK\r\n")
		say("INCR a", ":52\r\n")
		say("NONSENSE", "-ERR unknown command")
		say("INCR a", ":53\r\n")
		say("SET b 7", "+OK\r\n") // from here on through the log
		say("INCR a", ":54\r\n")
		say("INCR b", ":8\r\n")
		say("GET a", bulk("54"))
		say("DEL b", ":1\r\n")
		say("INCR b", ":1\r\n")
		say("GET b", bulk("1"))
		send(t, c, commands...)
		for i := range commands {
			checkReply(t, commands[i], readRaw(t, c), want[i])
		}
		send(t, c, "CLIENT REPLY SKIP", "INCR a", "INCR a", "CLIENT REPLY OFF", "INCR a", "INCR a", "CLIENT REPLY ON", "INCR a")
		for _, reply := range []string{":56\r\n", "+OK\r\n", ":59\r\n"} {
			checkReply(t, "CLIENT REPLY", readRaw(t, c), reply)
		}
		n.check()
	})
}

// TestCountedFirst runs each kind of command that must find what was answered before it. An entry takes all of that along.
func TestCountedFirst(t *testing.T) {
	for _, c := range []struct {
		command string
		want    []string // commands of a client at level quorum afterwards, and their replies
		reply   string
	}{
		{"INCR a", []string{"GET a", bulk("4")}, ":4\r\n"},
		{"INCRBYFLOAT a 0.5", []string{"GET a", bulk("3.5")}, bulk("3.5")},
		{"SET a 100", []string{"GET a", bulk("100")}, "+OK\r\n"},
		{"GETSET a 100", []string{"GET a", bulk("100")}, bulk("3")},
		{"GETDEL a", []string{"GET a", "$-1\r\n"}, bulk("3")},
		{"APPEND a 7", []string{"GET a", bulk("37")}, ":2\r\n"},
		{"DEL a", []string{"GET a", "$-1\r\n"}, ":1\r\n"},
		{"EXPIRE a 100", []string{"GET a", bulk("3"), "TTL a", ":100\r\n"}, ":1\r\n"},
		{"RENAME a b", []string{"GET a", "$-1\r\n", "GET b", bulk("3")}, "+OK\r\n"},
		{"COPY a b", []string{"GET a", bulk("3"), "GET b", bulk("3")}, ":1\r\n"},
		{"COPY a a DB 1", []string{"GET a", bulk("3"), "SELECT 1", "+OK\r\n", "GET a", bulk("3")}, ":1\r\n"},
		{"MSET b 1 a 2", []string{"GET a", bulk("2")}, "+OK\r\n"},
		{"FLUSHALL", []string{"GET a", "$-1\r\n", "GET other", "$-1\r\n"}, "+OK\r\n"},
		{"FLUSHDB", []string{"GET a", "$-1\r\n"}, "+OK\r\n"},
		{"DBSIZE", []string{"GET a", bulk("3")}, ":2\r\n"},
		{"KEYS *", []string{"GET a", bulk("3")}, "*2\r\n$"},
		{"SCAN 0", []string{"GET a", bulk("3")}, "*2\r\n$1\r\n0\r\n*2\r\n$"},
		{"RANDOMKEY", []string{"GET a", bulk("3")}, "$"},
		{"WATCH z", []string{"GET a", bulk("3")}, "+OK\r\n"},
		{"CLIENT ACK LOCAL", []string{"GET a", bulk("3")}, "+OK\r\n"},
	} {
		t.Run(c.command, func(t *testing.T) {
			n, _ := localNode(t, nil)
			local, quorum, third := n.dial(), n.dial(), n.dial()
			expect(t, quorum, "CLIENT ACK quorum", "+OK\r\n")
			expect(t, third, "CLIENT ACK quorum", "+OK\r\n")
			expect(t, local, "INCRBY a 3", ":3\r\n", "INCR other", ":1\r\n", "SELECT 1", "+OK\r\n", "INCR x", ":1\r\n")
			checkReply(t, c.command, call(t, quorum, c.command), c.reply)
			expect(t, third, c.want...)
			if left := n.ahead(); left != 0 {
				t.Errorf("%d increments are not in the log", left)
			}
			n.check()
		})
	}
}

func TestLocalTransactions(t *testing.T) {
	n, _ := localNode(t, nil)
	c, other := n.dial(), n.dial()
	expect(t, other, "INCR a", ":1\r\n")
	expect(t, c, "MULTI", "+OK\r\n", "INCR a", "+QUEUED\r\n", "GET a", "+QUEUED\r\n", "EXEC", "*2\r\n:2\r\n$1\r\n2\r\n")
	// A transaction of reads sees what was answered before it.
	expect(t, other, "INCR a", ":3\r\n")
	expect(t, c, "MULTI", "+OK\r\n", "GET a", "+QUEUED\r\n", "DBSIZE", "+QUEUED\r\n", "EXEC", "*2\r\n$1\r\n3\r\n:1\r\n")
	// What was answered before WATCH does not abort EXEC, what was answered behind it does.
	expect(t, other, "INCR a", ":4\r\n")
	expect(t, c, "WATCH a", "+OK\r\n", "GET a", bulk("4"), "MULTI", "+OK\r\n", "SET a 9", "+QUEUED\r\n", "EXEC", "*1\r\n+OK\r\n")
	expect(t, c, "WATCH a", "+OK\r\n", "GET a", bulk("9"))
	expect(t, other, "INCR a", ":10\r\n")
	expect(t, c, "GET a", bulk("10"), "MULTI", "+OK\r\n", "SET a 1", "+QUEUED\r\n", "EXEC", "*-1\r\n", "GET a", bulk("10"))
	expect(t, c, "WATCH a", "+OK\r\n", "MULTI", "+OK\r\n", "GET a", "+QUEUED\r\n")
	expect(t, other, "INCR a", ":11\r\n")
	expect(t, c, "EXEC", "*-1\r\n")
	// Others' increments of other keys do not.
	expect(t, c, "WATCH a", "+OK\r\n", "MULTI", "+OK\r\n", "SET a 1", "+QUEUED\r\n")
	expect(t, other, "INCR b", ":1\r\n")
	expect(t, c, "EXEC", "*1\r\n+OK\r\n")
	// The client's own count as well.
	expect(t, c, "WATCH a", "+OK\r\n", "INCR a", ":2\r\n", "MULTI", "+OK\r\n", "SET a 1", "+QUEUED\r\n", "EXEC", "*-1\r\n")
	n.check()
}

// TestIncrementBehindExec has an increment arrive while a transaction on the key waits for the log: it goes through the
// log behind it. Other keys' increments are answered.
func TestIncrementBehindExec(t *testing.T) {
	n, g := localNode(t, nil)
	c, other := n.dial(), n.dial()
	expect(t, c, "SET a 5", "+OK\r\n", "WATCH a", "+OK\r\n", "MULTI", "+OK\r\n", "SET a 100", "+QUEUED\r\n")
	g.hold()
	send(t, c, "EXEC")
	eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
	expect(t, other, "INCR b", ":1\r\n")
	send(t, other, "INCR a")
	if n.srv.replicas[0].Keyspace.Holds() != 1 {
		t.Errorf("%d holds", n.srv.replicas[0].Keyspace.Holds())
	}
	g.release()
	checkReply(t, "EXEC", readRaw(t, c), "*1\r\n+OK\r\n")
	checkReply(t, "INCR", readRaw(t, other), ":101\r\n")
	expect(t, other, "CLIENT ACK quorum", "+OK\r\n", "GET a", bulk("101"))
	n.check()
}

// throughLog waits until the node has looked at a command, in lower case, of a client, and what the client has sent is in
// the log's queue. queued and answered are how many bytes stood there, and how many increments were answered ahead, before.
func (n *testNode) throughLog(c *redistest.Conn, command string, queued, answered int64) {
	n.t.Helper()
	n.reached(c, command)
	eventually(n.t, "increments to be taken", func() bool { return n.srv.queued() > queued || n.ahead() > answered })
	if now := n.ahead(); now != answered {
		n.t.Errorf("%d increments are answered ahead, %d were before", now, answered)
	}
}

// TestHold changes keys' lives while the log waits: increments that arrive meanwhile belong to the life behind the
// change, whatever deadline their key had before.
func TestHold(t *testing.T) {
	for _, change := range []struct {
		before, write, reply, get, ttl string
		holds                          int // of its keys, or of all together
	}{
		{"SET a 5 PX 1000", "PERSIST a", ":1\r\n", "7", ":-1\r\n", 1},
		{"SET a 5 PX 1000", "PEXPIRE a 9000", ":1\r\n", "7", ":9000\r\n", 1},
		{"SET a 5 PX 1000", "SET a 1", "+OK\r\n", "3", ":-1\r\n", 1},
		{"SET a 5 PX 1000", "GETEX a PERSIST", bulk("5"), "7", ":-1\r\n", 1},
		{"SET a 5", "PEXPIRE a 1000", ":1\r\n", "7", ":1000\r\n", 1},
		{"SET a 5", "DEL a", ":1\r\n", "2", ":-1\r\n", 1},
		{"SET a 5", "FLUSHALL", "+OK\r\n", "2", ":-1\r\n", 1},
		{"SET b 5", "RENAME b a", "+OK\r\n", "7", ":-1\r\n", 2},
	} {
		t.Run(change.write, func(t *testing.T) {
			_, clock := newTestTime()
			g := &testGroup{clock: clock}
			n := startGroupNode(t, g, func(c *config.Config) { c.AckLocal, c.LocalInterval = true, time.Hour })
			t.Cleanup(g.release)
			c, other := n.dial(), n.dial()
			expect(t, c, change.before, "+OK\r\n")
			expect(t, other, "PING", "+PONG\r\n")
			g.hold()
			send(t, c, change.write)
			eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
			if got := n.srv.replicas[0].Keyspace.Holds(); got != change.holds {
				t.Errorf("%d holds while the write is in flight, want %d", got, change.holds)
			}
			queued := n.srv.queued() // the write
			send(t, other, "INCR a", "INCR a")
			n.throughLog(other, "incr", queued, 0)
			g.release()
			checkReply(t, change.write, readRaw(t, c), change.reply)
			readRaw(t, other)
			checkReply(t, "INCR", readRaw(t, other), ":"+change.get+"\r\n")
			expect(t, c, "GET a", bulk(change.get), "PTTL a", change.ttl)
			n.check()
		})
	}
}

// TestLocalExpiry has a key expire between an answer and the log.
func TestLocalExpiry(t *testing.T) {
	tt, clock := newTestTime()
	g := &testGroup{clock: clock}
	n := startGroupNode(t, g, func(c *config.Config) { c.AckLocal, c.LocalInterval = true, time.Hour })
	c := n.dial()
	expect(t, c, "SET a 10 PX 1000", "+OK\r\n", "INCR a", ":11\r\n", "INCR b", ":1\r\n")
	tt.advance(2 * time.Second)
	expect(t, c, "GET a", "$-1\r\n", "CLIENT ACK quorum", "+OK\r\n", "GET a", "$-1\r\n", "GET b", bulk("1"))
	if st := n.srv.replicas[0].Keyspace.Ahead(); st.Expired != 1 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	expect(t, c, "CLIENT ACK local", "+OK\r\n", "INCR a", ":1\r\n", "CLIENT ACK quorum", "+OK\r\n", "GET a", bulk("1"), "TTL a", ":-1\r\n")
	n.check()
}

// TestLocalDropped has an increment that can no longer be applied, because one through the log took the last room.
func TestLocalDropped(t *testing.T) {
	n, g := localNode(t, nil)
	c, other := n.dial(), n.dial()
	expect(t, other, "CLIENT ACK quorum", "+OK\r\n", "SET b 9223372036854775800", "+OK\r\n")
	g.hold()
	send(t, other, "INCRBY b 7")
	eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
	expect(t, c, "INCR b", ":9223372036854775801\r\n", "INCR c", ":1\r\n")
	g.release()
	readRaw(t, other)
	expect(t, other, "CLIENT ACK quorum", "+OK\r\n", "GET b", bulk("9223372036854775807"), "GET c", bulk("1"))
	if info := call(t, c, "INFO replication"); !strings.Contains(info, "local_ack_dropped:1\r\n") {
		t.Errorf("%q", info)
	}
	n.check()
}

// TestLocalWithoutLeader counts on without a leader for a while, and is refused afterwards.
func TestLocalWithoutLeader(t *testing.T) {
	n, g := localNode(t, func(c *config.Config) {
		c.LocalInterval, c.LocalMaxAge = time.Millisecond, 50*time.Millisecond
	})
	c := n.dial()
	expect(t, c, "INCR a", ":1\r\n")
	g.refuse(replication.ErrNotLeader)
	refused := "-" + protocol.ErrClusterDown + "\r\n"
	expect(t, c, "SET b 1", refused)
	counted := 1
	eventually(t, "increments to be refused", func() bool {
		reply := call(t, c, "INCR a")
		if reply == refused {
			return true
		}
		counted++
		checkReply(t, "INCR without a leader", reply, fmt.Sprintf(":%d\r\n", counted))
		return false
	})
	if counted == 1 {
		t.Error("nothing was counted without a leader")
	}
	expect(t, c, "GET a", bulk(fmt.Sprint(counted)))
	g.refuse(nil)
	eventually(t, "increments to be taken", func() bool { return call(t, c, "INCR a") == fmt.Sprintf(":%d\r\n", counted+1) })
	g.refuse(&replication.DiskFullError{Dir: "d", What: "free bytes"})
	expect(t, c, "INCR a", "-"+protocol.ErrMisconf+"\r\n")
	g.refuse(nil)
	expect(t, c, "CLIENT ACK quorum", "+OK\r\n", "GET a", bulk(fmt.Sprint(counted+1)))
	n.check()
}

// TestLocalBehind has the log hang while there is a leader: increments are refused by nobody, but wait for the log.
func TestLocalBehind(t *testing.T) {
	n, g := localNode(t, func(c *config.Config) {
		c.LocalInterval, c.LocalMaxAge, c.WriteTimeout = time.Millisecond, 50*time.Millisecond, time.Minute
	})
	c := n.dial()
	t.Cleanup(g.release)
	g.hold()
	expect(t, c, "INCR a", ":1\r\n")
	eventually(t, "the log to be behind", n.srv.replicas[0].Behind)
	expect(t, c, "GET a", bulk("1")) // reads do not wait
	queued, answered := n.srv.queued(), n.ahead()
	send(t, c, "INCR a", "INCR b", "STRLEN a")
	n.throughLog(c, "strlen", queued, answered)
	g.release()
	for _, want := range []string{":2\r\n", ":1\r\n", ":1\r\n"} {
		checkReply(t, "behind", readRaw(t, c), want)
	}
	eventually(t, "the log to have caught up", func() bool { return !n.srv.replicas[0].Behind() })
	expect(t, c, "INCR a", ":3\r\n", "CLIENT ACK quorum", "+OK\r\n", "GET a", bulk("3"))
	n.check()
}

// TestLocalBehindOwnLog has increments that cannot be answered ahead amid others of one pipeline: what stands behind them must
// wait for the log with them, and see them.
func TestLocalBehindOwnLog(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n, _ := localNode(t, transport)
		c := n.dial()
		const big = "4611686018427387904"
		for round := range 5 {
			key := fmt.Sprint("k", round)
			send(t, c, "INCR x", "INCRBY "+key+" "+big, "GET "+key, "TTL "+key, "INCR "+key, "INCR x", "GET x", "STRLEN "+key,
				"CLIENT REPLY OFF", "INCRBY "+key+" -"+big, "INCR x", "INCR "+key, "CLIENT REPLY ON", "GET "+key, "INCR x")
			for i, want := range []string{
				fmt.Sprintf(":%d\r\n", 4*round+1), ":" + big + "\r\n", bulk(big), ":-1\r\n", ":4611686018427387905\r\n",
				fmt.Sprintf(":%d\r\n", 4*round+2), bulk(fmt.Sprint(4*round + 2)), ":19\r\n", "+OK\r\n", bulk("2"), fmt.Sprintf(":%d\r\n", 4*round+4),
			} {
				checkReply(t, fmt.Sprint("reply ", i), readRaw(t, c), want)
			}
		}
		expect(t, c, "CLIENT ACK quorum", "+OK\r\n", "GET x", bulk("20"))
		n.check()
	})
}

func TestLocalMemoryLimit(t *testing.T) {
	n, g := localNode(t, func(c *config.Config) {
		c.LocalInterval, c.LocalMaxAge, c.LocalMaxBytes = time.Millisecond, time.Hour, 64<<10
	})
	c := n.dial()
	g.refuse(replication.ErrNotLeader)
	i := 0
	eventually(t, "increments to be refused", func() bool {
		for range 100 {
			i++
			if reply := call(t, c, fmt.Sprint("INCR key", i)); reply != ":1\r\n" {
				checkReply(t, "INCR", reply, "-"+protocol.ErrClusterDown+"\r\n")
				return true
			}
		}
		return false
	})
	g.refuse(nil)
	eventually(t, "all to be in the log", func() bool { return !n.srv.replicas[0].Keyspace.HasAhead() })
	expect(t, c, "DBSIZE", fmt.Sprintf(":%d\r\n", i-1))
}

// TestUnknownSection gives a counted section up whose fate is open; whether it is applied in the end or not, it counts once.
func TestUnknownSection(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("lost=", lost), func(t *testing.T) {
			n, g := localNode(t, func(c *config.Config) { c.WriteTimeout = 100 * time.Millisecond })
			c, other := n.dial(), n.dial()
			expect(t, c, "INCR a", ":1\r\n")
			g.hold()
			send(t, other, "CLIENT ACK local")
			eventually(t, "a section", func() bool { return g.heldCount() == 1 })
			expect(t, c, "INCR a", ":2\r\n")
			checkReply(t, "CLIENT ACK", readRaw(t, other), "-UNKNOWN")
			expect(t, c, "INCR a", ":3\r\n", "GET a", bulk("3"))
			if lost {
				g.abandon()
			}
			g.release()
			eventually(t, "the log to take writes", func() bool { return call(t, other, "SET b 1") == "+OK\r\n" })
			expect(t, c, "CLIENT ACK quorum", "+OK\r\n", "GET a", bulk("3"))
			if n.ahead() != 0 {
				t.Error("something is left")
			}
			n.check()
		})
	}
}

// TestRefusedBarrier has batches that are certainly not applied, and behind them a write that must find what was answered.
func TestRefusedBarrier(t *testing.T) {
	n, g := localNode(t, func(c *config.Config) { c.WriteTimeout = 200 * time.Millisecond })
	c, other, third := n.dial(), n.dial(), n.dial()
	expect(t, third, "SET b 1", "+OK\r\n")
	g.hold()
	send(t, third, "INCR z") // in flight; what follows gathers behind it, and is given up
	send(t, third, "SET b 2")
	eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
	expect(t, c, "INCR a", ":1\r\n")
	send(t, other, "CLIENT ACK quorum")
	checkReply(t, "CLIENT ACK", readRaw(t, other), "-")
	expect(t, c, "INCR a", ":2\r\n")
	g.release()
	eventually(t, "the log to take writes", func() bool { return call(t, other, "SET b 1") == "+OK\r\n" })
	expect(t, other, "GETDEL a", bulk("2"), "GET a", "$-1\r\n")
	if n.ahead() != 0 {
		t.Error("something is left")
	}
	n.check()
}

func TestStopTakesAhead(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		dir := t.TempDir()
		at := func(c *config.Config) { transport(c); c.Dir, c.AckLocal, c.LocalInterval = dir, true, time.Hour }
		n := startNode(t, at)
		c := n.dial()
		for i := 1; i <= 100; i++ {
			expect(t, c, "INCR a", fmt.Sprintf(":%d\r\n", i), fmt.Sprintf("INCR b%d", i), ":1\r\n")
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		again := startNode(t, at)
		expect(t, again.dial(), "GET a", bulk("100"), "DBSIZE", ":101\r\n", "INCR a", ":101\r\n", "CLIENT ACK default", "+OK\r\n")
		again.check()
	})
}

func TestStopThatCannotTake(t *testing.T) {
	n, g := localNode(t, nil)
	n.srv.drainTimeout = 100 * time.Millisecond
	c := n.dial()
	expect(t, c, "INCR a", ":1\r\n", "INCR a", ":2\r\n", "INCR b", ":1\r\n")
	g.hold()
	if err := n.stop(); err == nil || !strings.Contains(err.Error(), "3 increments answered at ack level local are not in the log") {
		t.Errorf("the node stopped with %v", err)
	}
}

// TestRestartOverSections opens a log with counted sections in it, without and behind a snapshot.
func TestRestartOverSections(t *testing.T) {
	dir := t.TempDir()
	at := func(c *config.Config) { c.Dir, c.AckLocal, c.LocalInterval = dir, true, time.Millisecond }
	want := 0
	for round := range 4 {
		n := startNode(t, at)
		c := n.dial()
		for range 200 {
			want++
			expect(t, c, "INCR a", fmt.Sprintf(":%d\r\n", want))
		}
		expect(t, c, "CLIENT ACK local", "+OK\r\n")
		if round%2 == 0 {
			expect(t, c, "SAVE", "+OK\r\n")
		}
		want++
		expect(t, c, "INCR a", fmt.Sprintf(":%d\r\n", want), "CLIENT ACK local", "+OK\r\n")
		n.check()
		// As kill -9 does: nothing more is taken into the log, no snapshot.
		n.srv.fail(fmt.Errorf("the test ends this node"))
		if err := n.wait(); err == nil {
			t.Error("the node ended well")
		}
	}
}

func TestAckRules(t *testing.T) {
	n, g := localNode(t, func(c *config.Config) {
		c.AckLocal = false
		if err := c.Set("ack-rule", "views:secret quorum views:* local"); err != nil {
			t.Fatal(err)
		}
	})
	c, quorum := n.dial(), n.dial()
	expect(t, quorum, "CLIENT ACK quorum", "+OK\r\n")
	expect(t, c, "SET likes 1", "+OK\r\n")
	g.hold()
	expect(t, c, "INCR views:1", ":1\r\n", "INCR views:1", ":2\r\n", "MGET views:1 likes", "*2\r\n"+bulk("2")+bulk("1"), "GET views:1", bulk("2"))
	expect(t, quorum, "MGET views:1 likes", "*2\r\n$-1\r\n"+bulk("1"))
	send(t, c, "INCR views:secret", "INCR views:1", "MGET views:1 views:secret")
	eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
	g.release()
	for _, want := range []string{":1\r\n", ":3\r\n", "*2\r\n" + bulk("3") + bulk("1")} {
		checkReply(t, "behind a write", readRaw(t, c), want)
	}
	expect(t, c, "CONFIG GET ack-rule", "*2\r\n$8\r\nack-rule\r\n$33\r\nviews:secret quorum views:* local\r\n",
		"CONFIG SET ack-rule nonsense", "-ERR CONFIG SET failed", "CONFIG GET ack", "*2\r\n$3\r\nack\r\n$6\r\nquorum\r\n",
		"CONFIG SET ack local", "+OK\r\n", "CLIENT ACK nonsense", "-"+protocol.ErrAckLevel+"\r\n")
	if got := callArgs(t, c, "CONFIG", "SET", "ack-rule", "a* quorum"); got != "+OK\r\n" {
		t.Error(got)
	}
	expect(t, c, "CONFIG GET ack-rule", "*2\r\n$8\r\nack-rule\r\n$9\r\na* quorum\r\n", "RESET", "+RESET\r\n")
	g.hold()
	expect(t, c, "INCR views:secret", ":2\r\n")
	g.release()
}

// TestLocalOverflow: an increment too large to be kept in memory overflows where the sum of all that was answered does,
// and a client that watches keys reads its own increments.
func TestLocalOverflow(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.AckLocal = true })
	c := n.dial()
	expect(t, c, "INCRBY a 23", ":23\r\n", "INCRBY a 9223372036854775807", "-ERR increment or decrement would overflow\r\n",
		"INCRBY a 9223372036854775784", ":9223372036854775807\r\n", "INCR a", "-ERR increment or decrement would overflow\r\n",
		"GET a", bulk("9223372036854775807"))
	expect(t, c, "DECRBY d 41", ":-41\r\n")
	send(t, c, "SET e 1", "INCRBY d -9223372036854775808")
	checkReply(t, "SET", readRaw(t, c), "+OK\r\n")
	checkReply(t, "INCRBY", readRaw(t, c), "-ERR increment or decrement would overflow\r\n")
	expect(t, c, "WATCH b", "+OK\r\n", "INCR b", ":1\r\n", "GET b", bulk("1"), "MULTI", "+OK\r\n", "EXEC", "*-1\r\n")
}
