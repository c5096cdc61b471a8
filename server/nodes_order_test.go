package server

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/exec"
	"quipu/internal/redistest"
	"quipu/replication"
)

// What a reviewer broke in the first version of several nodes.

// eachRole runs a test on the node that leads, and on one that does not.
func (c *testNodes) eachRole(test func(t *testing.T, n *testNode)) {
	lead := c.leader()
	for name, at := range map[string]int{"follower": (lead + 1) % len(c.nodes), "leader": lead} {
		c.t.Run(name, func(t *testing.T) { test(t, c.nodes[at]) })
	}
}

// TestReadBeforeWrite: a read does not see the write that stands behind it, also where the two go into different sub-batches.
func TestReadBeforeWrite(t *testing.T) {
	t.Parallel()
	startNodes(t, 3, nil).eachRole(func(t *testing.T, n *testNode) {
		conn := n.dial()
		filler := "GET " + strings.Repeat("x", 4000) + "\r\n"
		seen := calm{t: t}
		for i := range redistest.Size(3, 10, 10) {
			if !seen.check("SET k", call(t, conn, fmt.Sprintf("SET k old%d", i)), "+OK\r\n") {
				continue // k has who knows what
			}
			var in bytes.Buffer
			in.WriteString("WAIT 1 20\r\n") // so that all of it is there when it is read
			fillers := 0
			for ; (fillers+1)*(len(filler)+16) < 512<<10-100; fillers++ { // 16 bytes of an item: GET k still fits, SET k does not
				in.WriteString(filler)
			}
			fmt.Fprintf(&in, "GET k\r\nSET k new%s\r\n", strings.Repeat("v", 4000))
			if err := conn.Send(in.Bytes()); err != nil {
				t.Fatal(err)
			}
			readRaw(t, conn)
			for range fillers {
				seen.check("GET", readRaw(t, conn), "$-1\r\n")
			}
			seen.check("GET k", readRaw(t, conn), bulk(fmt.Sprintf("old%d", i)))
			seen.check("SET k", readRaw(t, conn), "+OK\r\n")
		}
	})
}

// calm checks replies of nodes that have one leader all the time. On a machine that stands still for a second another one is
// elected, and replies say so: those are let pass, unless there are no others.
type calm struct {
	t           *testing.T
	good, upset int
}

func (c *calm) check(command, got, want string) bool {
	c.t.Helper()
	switch word, _, _ := strings.Cut(got, " "); {
	case got == want:
		c.good++
	case word == "-UNKNOWN" || word == "-TRYAGAIN" || word == "-CLUSTERDOWN":
		if c.upset++; c.upset > 1000 && c.good == 0 {
			c.t.Fatalf("no leader all the time: %q", got)
		}
	default:
		checkReply(c.t, command, got, want)
	}
	return got == want
}

// TestReadsInOrder: what one client reads of a counter never goes back, while others write on the same loop.
func TestReadsInOrder(t *testing.T) {
	t.Parallel()
	startNodes(t, 3, func(cfg *config.Config) { cfg.IOLoops = 1 }).eachRole(func(t *testing.T, n *testNode) {
		stop := make(chan struct{})
		var busy sync.WaitGroup
		for range 4 {
			w := n.dial()
			busy.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						w.Send([]byte("INCR n\r\n"))
						w.ReadRaw()
					}
				}
			})
		}
		r := n.dial()
		total := redistest.Size(2000, 5000, 5000)
		room := make(chan struct{}, 200) // commands under way
		busy.Go(func() {
			for range total {
				room <- struct{}{}
				r.Send([]byte("GET n\r\n"))
			}
		})
		last := int64(-1)
		for range total {
			var v int64
			fmt.Sscanf(strings.ReplaceAll(readRaw(t, r), "\r\n", " "), "$%d %d", new(int), &v)
			<-room
			if v < last {
				t.Errorf("GET %d, then %d", last, v)
			}
			last = v
		}
		close(stop)
		busy.Wait()
	})
}

// TestWatchWithSeveralNodes: an EXEC that only reads is decided like one that writes.
func TestWatchWithSeveralNodes(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	n := c.nodes[c.leader()]
	conn, other := n.dial(), n.dial()
	expect(t, conn, "SET k v", "+OK\r\n", "WATCH k", "+OK\r\n", "MULTI", "+OK\r\n", "SELECT 1", "+QUEUED\r\n", "GET k", "+QUEUED\r\n",
		"EXEC", "*2\r\n+OK\r\n$-1\r\n", "SET probe 1", "+OK\r\n", "SELECT 0", "+OK\r\n", "GET probe", "$-1\r\n", "SELECT 1", "+OK\r\n", "GET probe", bulk("1"), "SELECT 0", "+OK\r\n")
	for i := range redistest.Size(50, 100, 100) {
		expect(t, conn, fmt.Sprintf("SET k %d", i), "+OK\r\n", "WATCH k", "+OK\r\n", "MULTI", "+OK\r\n", "SELECT 1", "+QUEUED\r\n", "SELECT 0", "+QUEUED\r\n", "GET k", "+QUEUED\r\n")
		if err := other.Send(fmt.Appendf(nil, "SET k x%d\r\n", i)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i%20) * 50 * time.Microsecond)
		if got := call(t, conn, "EXEC"); strings.Contains(got, "x") {
			t.Errorf("EXEC ran although k had changed: %q", got)
		}
		readRaw(t, other)
	}
}

// TestUnchangedElsewhere: a node that reads locally does not answer a write from a state that is old.
func TestUnchangedElsewhere(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) { cfg.ReadConsistency = "local" })
	lead := c.leader()
	l, f := c.nodes[lead].dial(), c.nodes[(lead+1)%3].dial()
	for i := range redistest.Size(10, 20, 20) {
		key := fmt.Sprintf("h%d", i)
		expect(t, l, "PFADD "+key+" a", ":1\r\n")
		eventually(t, "the follower to have it", func() bool { return call(t, f, "PFCOUNT "+key) == ":1\r\n" })
		expect(t, l, "DEL "+key, ":1\r\n")
		expect(t, f, "PFADD "+key+" a", ":1\r\n")
	}
}

// TestLargeReplies: reads of very large values through a follower, many at once, are answered, or refused with an error that
// says so.
func TestLargeReplies(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) { cfg.IOLoops = 1 })
	f := c.nodes[(c.leader()+1)%3]
	expect(t, f.dial(), "SET big "+strings.Repeat("v", 1_000_000), "+OK\r\n")
	var busy sync.WaitGroup
	var answered, refused atomic.Int64
	for range redistest.Size(100, 200, 200) {
		conn := f.dial()
		busy.Go(func() {
			conn.Send([]byte("GET big\r\n"))
			switch raw, err := conn.ReadRaw(); {
			case err != nil:
				t.Error(err)
			case bytes.HasPrefix(raw, []byte("$1000000\r\n")):
				answered.Add(1)
			case bytes.HasPrefix(raw, []byte("-TRYAGAIN ")), bytes.HasPrefix(raw, []byte("-CLUSTERDOWN ")):
				refused.Add(1)
			default:
				t.Errorf("%.60q", raw)
			}
		})
	}
	busy.Wait()
	if answered.Load() == 0 {
		t.Errorf("none is answered, %d are refused", refused.Load())
	}
}

// TestForget: a node that was taken out while it runs stays out.
func TestForget(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	out := c.nodes[(lead+1)%3].srv.replicas[0].Group
	expect(t, c.nodes[lead].dial(), "CLUSTER FORGET "+out.Status().NodeID, "+OK\r\n", "INCR n", ":1\r\n")
	eventually(t, "the node to learn it", func() bool {
		for _, m := range out.Status().Members {
			if m.Self {
				return false
			}
		}
		return true
	})
	time.Sleep(2500 * time.Millisecond) // it would ask once a second
	if n := len(c.nodes[lead].srv.replicas[0].Group.Status().Members); n != 2 {
		t.Errorf("the cluster has %d nodes", n)
	}
	if got := call(t, c.nodes[(lead+1)%3].dial(), "INCR n"); strings.HasPrefix(got, ":") {
		t.Errorf("the node that was taken out counts: %q", got)
	}
}

// TestExpiryElsewhere: a node that does not lead judges expiry by the log, not by a clock of its own.
func TestExpiryElsewhere(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	f := c.nodes[(lead+1)%3]
	conn := f.dial()
	expect(t, conn, "SET k v EX 1000", "+OK\r\n", "CLIENT READ local", "+OK\r\n")
	c.agree() // until the node has applied its own write, the read is forwarded
	clock := f.srv.replicas[0].Clock
	clock.Observe(clock.Now() + 3_600_000) // an hour ahead
	expect(t, conn, "GET k", bulk("v"), "CLIENT READ default", "+OK\r\n", "GET k", bulk("v"))
	c.agree()
}

// TestAbsorbsItsTerm: a leader takes no batch that was meant for the leader of another term.
func TestAbsorbsItsTerm(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	r := c.nodes[c.leader()].srv.replicas[0]
	b := exec.NewSubBatch(c.nodes[0].srv.table)
	b.Begin(nil, 0)
	b.Increment(nil, []byte("n"), 1, exec.As{RESP: 2})
	b.End()
	records, term := b.AppendForward(nil), r.Group.Term()
	for _, other := range []uint64{0, term - 1, term + 1} {
		if a := r.Absorbs("", false).Absorb(records, other)(); a.Outcome != replication.NotApplied || !errors.Is(a.Reason, replication.ErrNotLeader) {
			t.Errorf("term %d of %d: %+v", other, term, a)
		}
	}
	if a := r.Absorbs("", false).Absorb(records, term)(); a.Outcome != replication.Applied {
		t.Errorf("its own term: %+v", a)
	}
	expect(t, c.nodes[0].dial(), "GET n", bulk("1"))
}

// TestStopLeader: slow reads under way do not disturb the stop of a leader, and while it writes a large snapshot another node
// leads already.
func TestStopLeader(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	fill := c.nodes[lead].dial()
	for i := range redistest.Size(20, 60, 60) {
		expect(t, fill, fmt.Sprintf("SET big%d %s", i, strings.Repeat("abcdefgh", 120000)), "+OK\r\n")
	}
	for range 10 {
		if err := c.nodes[lead].dial().Send([]byte("KEYS *\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	f := c.nodes[(lead+1)%3].dial()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop(lead)
	}()
	for i := 0; ; i++ {
		if got := call(t, f, "INCR n"); got != fmt.Sprintf(":%d\r\n", i+1) {
			t.Errorf("INCR: %q at %d", got, i+1)
		}
		select {
		case <-stopped:
			return
		default:
		}
	}
}

// roundGroup is a group that does not seem to be alone, and whose rounds end when the test says so.
type roundGroup struct {
	*testGroup
	rounds struct {
		sync.Mutex
		holding bool
		held    []func()
	}
}

func (g *roundGroup) SoleVoter() bool { return false }

func (g *roundGroup) Confirm(then func(error)) {
	r := &g.rounds
	r.Lock()
	defer r.Unlock()
	if end := func() { g.Group.Confirm(then) }; r.holding {
		r.held = append(r.held, end)
	} else {
		end()
	}
}

// hold has rounds go on until release; count is how many there are.
func (g *roundGroup) holdRounds() {
	g.rounds.Lock()
	defer g.rounds.Unlock()
	g.rounds.holding = true
}

func (g *roundGroup) count() int {
	g.rounds.Lock()
	defer g.rounds.Unlock()
	return len(g.rounds.held)
}

func (g *roundGroup) releaseRounds() {
	g.rounds.Lock()
	held := g.rounds.held
	g.rounds.held, g.rounds.holding = nil, false
	g.rounds.Unlock()
	for _, end := range held {
		end()
	}
}

// TestWriteBehindRound: a write does not overtake a read of its client that waits for a round, although the log would take it.
func TestWriteBehindRound(t *testing.T) {
	g := &roundGroup{testGroup: &testGroup{}}
	srv, err := NewWithGroups(testConfig(t, nil), nil, func(_ replication.Config, sm replication.StateMachine) (replication.Group, error) {
		g.Group = replication.NewMemoryGroup(sm, g.clock)
		return g, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := runNode(t, srv)
	reader, other := n.dial(), n.dial()
	for i, write := range []string{"SET k new", "INCRBY k 5", "GETSET k 3", "DEL k"} {
		expect(t, reader, "SET k 1", "+OK\r\n")
		g.holdRounds()
		send(t, reader, "GET k")
		eventually(t, "the round to begin", func() bool { return g.count() == 1 })
		reads := n.srv.stats.bytesIn.Sum()
		send(t, reader, write)
		eventually(t, "the write to be there", func() bool { return n.srv.stats.bytesIn.Sum() >= reads+int64(len(write)) })
		expect(t, other, fmt.Sprintf("SET probe %d", i), "+OK\r\n") // by now the write would be in the log
		g.releaseRounds()
		if got := readRaw(t, reader); got != bulk("1") {
			t.Errorf("GET before %s sees %q", write, got)
		}
		readRaw(t, reader)
	}
}
