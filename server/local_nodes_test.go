package server

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
)

// localNodes are three nodes at ack level local.
func localNodes(t *testing.T, interval time.Duration) *testNodes {
	t.Helper()
	return startNodes(t, 3, func(c *config.Config) {
		c.AckLocal, c.LocalInterval = true, interval
	})
}

// TestLocalOnEachNode: each node answers ahead by itself, what its clients then read is there, and everything is counted once.
func TestLocalOnEachNode(t *testing.T) {
	t.Parallel()
	c := localNodes(t, time.Hour)
	lead := c.leader()
	var conns, quorum []*redistest.Conn
	for i, n := range c.nodes {
		conns, quorum = append(conns, n.dial()), append(quorum, n.dial())
		expect(t, quorum[i], "CLIENT ACK quorum", "+OK\r\n")
	}
	for i, conn := range conns {
		expect(t, conn, "INCR a", ":1\r\n", "INCRBY a 10", ":11\r\n", "GET a", bulk("11"), "MGET a a", "*2\r\n"+bulk("11")+bulk("11"),
			"EXISTS a", ":1\r\n", "INCR own"+fmt.Sprint(i), ":1\r\n")
		if got := c.nodes[i].ahead(); got != 3 {
			t.Errorf("node %d has answered %d ahead", i, got)
		}
	}
	expect(t, quorum[lead], "GET a", "$-1\r\n")
	for i, conn := range conns {
		// A write of this node stands behind what it has answered; what the leader has answered goes into every entry.
		expect(t, conn, "SET text"+fmt.Sprint(i)+" x", "+OK\r\n")
		if got := call(t, quorum[(i+1)%3], "GET own"+fmt.Sprint(i)); got != bulk("1") {
			t.Errorf("after SET on node %d: %q", i, got)
		}
	}
	for i, conn := range conns {
		eventually(t, "everything to be applied everywhere", func() bool {
			return c.nodes[i].ahead() == 0 && call(t, conn, "GET a") == bulk("33")
		})
	}
	for _, conn := range conns {
		expect(t, conn, "INCR a", "", "CLIENT ACK default", "+OK\r\n")
	}
	for _, conn := range quorum {
		expect(t, conn, "GET a", bulk("36"))
	}
	c.agree()
}

// TestLocalReadsBehind runs, on a node that does not lead, each kind of command that must find what was answered there before.
func TestLocalReadsBehind(t *testing.T) {
	t.Parallel()
	c := localNodes(t, time.Hour)
	n := c.nodes[(c.leader()+1)%3]
	local, quorum := n.dial(), n.dial()
	expect(t, quorum, "CLIENT ACK quorum", "+OK\r\n")
	for _, one := range []struct {
		command string
		reply   string
		want    string // what a client at level quorum then reads; "": what was answered ahead is all there
	}{
		{"SET a 100", "+OK\r\n", bulk("100")},
		{"DEL a", ":1\r\n", "$-1\r\n"},
		{"INCRBYFLOAT a 0.5", bulk("3.5"), bulk("3.5")},
		{"EXPIRE a 1000", ":1\r\n", bulk("3")},
		{"DBSIZE", ":2\r\n", bulk("3")},
		{"KEYS *", "*2\r\n$", bulk("3")},
		{"SCAN 0", "*2\r\n$1\r\n0\r\n*2\r\n$", bulk("3")},
		{"RANDOMKEY", "$", bulk("3")},
		{"WATCH z", "+OK\r\n", bulk("3")},
		{"CLIENT ACK LOCAL", "+OK\r\n", bulk("3")},
		{"WAIT 0 0", ":", bulk("3")},
		{"FLUSHALL", "+OK\r\n", "$-1\r\n"},
	} {
		expect(t, quorum, "FLUSHALL", "+OK\r\n")
		eventually(t, "the holds to go", func() bool { return n.srv.replicas[0].Keyspace.Holds() == 0 })
		expect(t, local, "INCRBY a 3", ":3\r\n", "INCR other", ":1\r\n")
		if one.command == "DEL a" || one.command == "SET a 100" { // through another client of the node
			checkReply(t, one.command, call(t, quorum, one.command), one.reply)
		} else {
			checkReply(t, one.command, call(t, local, one.command), one.reply)
		}
		if got := call(t, quorum, "GET a"); got != one.want {
			t.Errorf("GET a after %s: %q, want %q", one.command, got, one.want)
		}
		expect(t, local, "UNWATCH", "+OK\r\n", "CLIENT ACK default", "+OK\r\n")
	}
}

// TestLocalRules: with rules, a read that sees keys of both levels stands behind what is answered ahead; one of keys at quorum asks
// the leader.
func TestLocalRules(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) {
		if err := cfg.Set("ack-rule", "views:* local"); err != nil {
			t.Fatal(err)
		}
		cfg.LocalInterval = time.Hour
	})
	lead := c.leader()
	a, b := c.nodes[(lead+1)%3].dial(), c.nodes[lead].dial()
	for i := 1; i <= 5; i++ {
		n := bulk(fmt.Sprint(i))
		expect(t, a, "INCR views:1", fmt.Sprintf(":%d\r\n", i), "GET views:1", n)
		expect(t, b, "INCR likes:1", fmt.Sprintf(":%d\r\n", i))
		expect(t, a, "GET likes:1", n, "MGET likes:1 views:1", "*2\r\n"+n+n)
	}
	expect(t, b, "GET likes:1", bulk("5"))
	// In one packet: reads that ask the leader, and counters behind them.
	send(t, a, "GET likes:1", "INCR views:1", "GET views:1", "MGET likes:1 views:1", "INCR likes:1", "INCR views:1", "GET views:1")
	for _, want := range []string{bulk("5"), ":6\r\n", bulk("6"), "*2\r\n" + bulk("5") + bulk("6"), ":6\r\n", ":7\r\n", bulk("7")} {
		checkReply(t, "pipeline", readRaw(t, a), want)
	}
	c.agree()
}

// TestLocalHeldUntilApplied: what a client has written through the log on a node that does not lead, its increments find, although
// the node has it later than the leader.
func TestLocalHeldUntilApplied(t *testing.T) {
	t.Parallel()
	c := localNodes(t, 10*time.Millisecond)
	n := c.nodes[(c.leader()+1)%3]
	conn, other := n.dial(), n.dial()
	for i := range 100 {
		k := fmt.Sprintf("k%d", i)
		expect(t, conn, "INCR "+k, ":1\r\n", "SET "+k+" 100", "+OK\r\n")
		expect(t, other, "INCR "+k, ":101\r\n")                                      // not 2: the node holds the key until it has applied SET
		if got := call(t, conn, "INCR "+k); got != ":102\r\n" && got != ":101\r\n" { // the node may not have applied that of other
			t.Fatalf("INCR %s: %q", k, got)
		}
		expect(t, conn, "DEL "+k, ":1\r\n")
		expect(t, other, "INCR "+k, ":1\r\n")
		// INCR at level quorum holds nothing; its client must find it all the same.
		k += "x"
		expect(t, conn, "CLIENT ACK quorum", "+OK\r\n", "INCR "+k, ":1\r\n", "CLIENT ACK local", "+OK\r\n", "INCR "+k, ":2\r\n")
	}
	expect(t, conn, "CLIENT ACK default", "+OK\r\n")
	c.agree()
	eventually(t, "the holds to go", func() bool { return n.srv.replicas[0].Keyspace.Holds() == 0 })
}

// localLoad counts on three nodes at ack level local.
type localLoad struct {
	*testNodes
	stopped [3]chan struct{}
	busy    [3]sync.WaitGroup
	total   atomic.Int64 // answered
}

// count has two clients count on a node.
func (l *localLoad) count(i int) {
	stop := make(chan struct{})
	l.stopped[i] = stop
	for id := range 2 {
		conn := l.nodes[i].dial()
		rnd := rand.New(rand.NewPCG(uint64(i), uint64(id)))
		l.busy[i].Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				reply := call(l.t, conn, fmt.Sprintf("INCR k%d", rnd.IntN(20)))
				switch {
				case strings.HasPrefix(reply, ":"):
					l.total.Add(1)
				case !again(reply):
					l.t.Errorf("%q", reply)
					return
				}
			}
		})
	}
}

// end has all clients end.
func (l *localLoad) end() {
	for i := range l.stopped {
		close(l.stopped[i])
	}
	for i := range l.busy {
		l.busy[i].Wait()
	}
}

// TestLocalLeaderChanges: while nodes stop and start again under load, every answered increment is counted once: those that stop
// hand over what they have answered.
func TestLocalLeaderChanges(t *testing.T) {
	t.Parallel()
	l := localLoad{testNodes: localNodes(t, 5*time.Millisecond)}
	for i := range 3 {
		l.count(i)
	}
	for round := range 4 {
		at := (l.leader() + round%2) % 3
		time.Sleep(150 * time.Millisecond)
		close(l.stopped[at])
		l.busy[at].Wait()
		l.stop(at)
		time.Sleep(150 * time.Millisecond)
		l.start(at)
		l.count(at)
	}
	l.end()
	for _, n := range l.nodes {
		expect(t, n.dial(), "CLIENT ACK default", "+OK\r\n")
	}
	sum := int64(0)
	conn := l.nodes[0].dial()
	expect(t, conn, "CLIENT ACK quorum", "+OK\r\n")
	for k := range 20 {
		reply := call(t, conn, fmt.Sprintf("GET k%d", k))
		n := int64(0)
		if _, err := fmt.Sscanf(reply[strings.IndexByte(reply, '\n')+1:], "%d", &n); err != nil {
			t.Fatalf("%q", reply)
		}
		sum += n
	}
	if want := l.total.Load(); sum != want {
		t.Errorf("%d are counted, %d were answered", sum, want)
	}
	l.agree()
}

// TestLocalStopAll: all nodes are told to stop at once, while each has answered increments that are in no log: they are all there
// when the nodes are back.
func TestLocalStopAll(t *testing.T) {
	t.Parallel()
	l := localLoad{testNodes: localNodes(t, 20*time.Millisecond)}
	for round := range 3 {
		for i := range 3 {
			l.count(i)
		}
		time.Sleep(200 * time.Millisecond)
		l.end() // the last answers are a moment old
		var stops sync.WaitGroup
		for i := range 3 {
			stops.Go(func() { l.stop(i) })
		}
		stops.Wait()
		l.start(0, 1, 2)
		l.leader()
		sum := int64(0)
		conn := l.nodes[round].dial()
		expect(t, conn, "CLIENT ACK quorum", "+OK\r\n")
		for k := range 20 {
			reply := call(t, conn, fmt.Sprintf("GET k%d", k))
			n := int64(0)
			_, _ = fmt.Sscanf(reply[strings.IndexByte(reply, '\n')+1:], "%d", &n)
			sum += n
		}
		if want := l.total.Load(); sum != want {
			t.Errorf("round %d: %d are counted, %d were answered", round, sum, want)
		}
	}
}

// TestLocalReadsOfOthers: at ack level local, what is no counter is read like any key: as all nodes have it.
func TestLocalReadsOfOthers(t *testing.T) {
	t.Parallel()
	c := localNodes(t, 10*time.Millisecond)
	lead := c.leader()
	writer, reader := c.nodes[lead].dial(), c.nodes[(lead+1)%3].dial()
	for i := range 50 {
		k := fmt.Sprintf("text%d", i)
		expect(t, writer, "SET "+k+" abc", "+OK\r\n")
		expect(t, reader, "GET "+k, bulk("abc"))
		expect(t, writer, "PFADD h"+k+" x", ":1\r\n")
		expect(t, reader, "EXISTS h"+k, ":1\r\n")
	}
}

// TestWaitTellsOfFailure: WAIT does not count nodes for what the log did not take.
func TestWaitTellsOfFailure(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) {
		cfg.AckLocal, cfg.LocalInterval, cfg.WriteTimeout = true, time.Hour, 200*time.Millisecond
	})
	lead := c.leader()
	last := (lead + 2) % 3
	conn := c.nodes[last].dial()
	expect(t, conn, "INCR a", ":1\r\n", "WAIT 2 2000", ":2\r\n")
	c.stop(lead)
	c.stop((lead + 1) % 3)
	expect(t, conn, "INCR b", ":1\r\n", "WAIT 1 100", ":0\r\n")
	if got := call(t, conn, "BACKUP BEGIN"); !strings.HasPrefix(got, "-") {
		t.Errorf("BACKUP BEGIN without a majority: %q", got)
	}
	c.start(lead, (lead+1)%3)
}
