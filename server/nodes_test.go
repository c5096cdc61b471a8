package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/ports"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// Three nodes in the test's process, over real peer ports on loopback.

type testNodes struct {
	t       *testing.T
	configs []config.Config
	nodes   []*testNode // nil: stopped
}

// startNodes has nodes found a cluster, and waits until all are ready.
func startNodes(t *testing.T, n int, change func(*config.Config)) *testNodes {
	t.Helper()
	c := &testNodes{t: t, nodes: make([]*testNode, n)}
	var numbers []int
	var peers []string
	for i := range n {
		numbers = append(numbers, redistest.FreePort(t))
		peers = append(peers, fmt.Sprint("127.0.0.1:", numbers[i]+ports.PeerOffset))
	}
	for i := range n {
		c.configs = append(c.configs, testConfig(t, func(cfg *config.Config) {
			cfg.Dir = redistest.FastDir(t)
			cfg.Port, cfg.AnyPort, cfg.Bind = numbers[i], false, []string{"127.0.0.1"}
			cfg.PeerAddr, cfg.Join, cfg.BootstrapExpect = peers[i], peers, n
			if change != nil {
				change(cfg)
			}
		}))
	}
	c.start(allOf(n)...)
	return c
}

func allOf(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

func (c *testNodes) start(list ...int) {
	c.t.Helper()
	servers := make([]*Server, len(c.nodes))
	var busy sync.WaitGroup
	for _, i := range list {
		busy.Go(func() {
			var err error
			if servers[i], err = New(c.t.Context(), c.configs[i], nil); err != nil {
				c.t.Error(err)
			}
		})
	}
	busy.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	for _, i := range list {
		busy.Go(func() { c.nodes[i] = runNode(c.t, servers[i]) })
	}
	busy.Wait()
}

func (c *testNodes) stop(i int) {
	c.t.Helper()
	if err := c.nodes[i].stop(); err != nil {
		c.t.Errorf("node %d: %v", i, err)
	}
	c.nodes[i] = nil
}

// leader waits for a node that leads.
func (c *testNodes) leader() (at int) {
	c.t.Helper()
	eventually(c.t, "a leader", func() bool {
		for i, n := range c.nodes {
			if n != nil && n.srv.replicas[0].Group.Term() != 0 {
				at = i
				return true
			}
		}
		return false
	})
	return at
}

// agree waits until all nodes that run have applied the same, and compares their states.
func (c *testNodes) agree() {
	c.t.Helper()
	eventually(c.t, "all nodes to have the same state", func() bool {
		var index, sum uint64
		for _, n := range c.nodes {
			if n == nil {
				continue
			}
			r := n.srv.replicas[0]
			i, s := r.Group.AppliedIndex(), r.Keyspace.Checksum(r.Stamp())
			if index != 0 && (i != index || s != sum) {
				return false
			}
			index, sum = i, s
		}
		return true
	})
	for i, n := range c.nodes {
		if n != nil {
			if err := n.srv.replicas[0].Keyspace.Check(); err != nil {
				c.t.Errorf("node %d: %v", i, err)
			}
		}
	}
}

// TestAnyNode: what is written through one node is read through each at once, in whatever form.
func TestAnyNode(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	var conns []*redistest.Conn
	for _, n := range c.nodes {
		conns = append(conns, n.dial())
	}
	for i := range 60 {
		w, r := conns[i%3], conns[(i/3)%3]
		expect(t, w, "INCR n", fmt.Sprintf(":%d\r\n", i+1))
		expect(t, r, "GET n", bulk(fmt.Sprint(i+1)))
	}
	lead := c.leader()
	for i, conn := range conns {
		key := fmt.Sprintf("k%d", i)
		expect(t, conn, "SET "+key+" 5 EX 100", "+OK\r\n", "TTL "+key, ":100\r\n", "MGET "+key+" none n", "*3\r\n"+bulk("5")+"$-1\r\n"+bulk("60"),
			"MULTI", "+OK\r\n", "INCR "+key, "+QUEUED\r\n", "GET "+key, "+QUEUED\r\n", "EXEC", "*2\r\n:6\r\n"+bulk("6"),
			"MULTI", "+OK\r\n", "GET "+key, "+QUEUED\r\n", "PING", "+QUEUED\r\n", "EXEC", "*2\r\n"+bulk("6")+"+PONG\r\n",
			"INCR "+key+"x", ":1\r\n", "INCRBY "+key+" notanumber", "-"+protocol.ErrNotInteger+"\r\n",
			"SET text abc", "+OK\r\n", "INCR text", "-"+protocol.ErrNotInteger+"\r\n", "PFADD hll a b c", ":"+map[bool]string{true: "1", false: "0"}[i == 0]+"\r\n",
			"PFCOUNT hll", ":3\r\n", "DEL text", ":1\r\n", "KEYS k?", "", "DBSIZE", "", "SELECT 3", "+OK\r\n", "DBSIZE", ":"+fmt.Sprint(i)+"\r\n", "SET in3"+key+" 1", "+OK\r\n", "SELECT 0", "+OK\r\n")
		if i != lead {
			if got := call(t, conn, "ROLE"); !strings.HasPrefix(got, "*5\r\n"+bulk("slave")+bulk("127.0.0.1")+fmt.Sprintf(":%d\r\n", c.configs[lead].Port)) {
				t.Errorf("ROLE: %q", got)
			}
		}
	}
	c.agree()
}

// TestForwardedPipelines: pipelines of reads and writes through a node that does not lead are carried out in their order.
func TestForwardedPipelines(t *testing.T) {
	t.Parallel()
	ownPipelines(t, startNodes(t, 3, nil))
}

// TestLocalForwardedPipelines is the same at ack level local. MGET sees keys of both levels.
func TestLocalForwardedPipelines(t *testing.T) {
	t.Parallel()
	ownPipelines(t, startNodes(t, 3, func(cfg *config.Config) {
		if err := cfg.Set("ack-rule", "own* local"); err != nil {
			t.Fatal(err)
		}
	}))
}

// ownPipelines has clients send pipelines about a counter of their own to the nodes that do not lead.
func ownPipelines(t *testing.T, c *testNodes) {
	lead := c.leader()
	var busy sync.WaitGroup
	for i := range 6 {
		conn := c.nodes[(lead+1+i%2)%3].dial()
		busy.Go(func() {
			rnd := rand.New(rand.NewPCG(7, uint64(i)))
			value := 0
			for range 60 {
				var in, want bytes.Buffer
				shown := func() string {
					if value == 0 {
						return "$-1\r\n"
					}
					return bulk(fmt.Sprint(value))
				}
				for range 1 + rnd.IntN(20) {
					switch rnd.IntN(6) {
					case 0, 1:
						value++
						fmt.Fprintf(&in, "INCR own%d\r\n", i)
						fmt.Fprintf(&want, ":%d\r\n", value)
					case 2, 3:
						fmt.Fprintf(&in, "GET own%d\r\n", i)
						want.WriteString(shown())
					case 4:
						fmt.Fprintf(&in, "MGET none own%d\r\n", i)
						want.WriteString("*2\r\n$-1\r\n" + shown())
					default:
						in.WriteString("ECHO x\r\n")
						want.WriteString(bulk("x"))
					}
				}
				// In several packets: commands of one pipeline come in several turns of the loop.
				b := in.Bytes()
				for len(b) > 0 {
					n := min(len(b), 1+rnd.IntN(60))
					if err := conn.Send(b[:n]); err != nil {
						t.Error(err)
						return
					}
					b = b[n:]
				}
				for want.Len() > 0 {
					got, err := conn.ReadRaw()
					if err != nil || string(want.Next(len(got))) != string(got) {
						t.Errorf("client %d gets %q, %v", i, got, err)
						return
					}
				}
			}
		})
	}
	busy.Wait()
	c.agree()
}

// TestReadLevels: a connection may read what its node has applied, and finds its own writes there.
func TestReadLevels(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) { cfg.WriteTimeout = time.Second })
	lead := c.leader()
	follower := c.nodes[(lead+1)%3]
	conn := follower.dial()
	expect(t, conn, "READONLY", "+OK\r\n")
	for i := range 50 {
		expect(t, conn, "INCR a", fmt.Sprintf(":%d\r\n", i+1), "GET a", bulk(fmt.Sprint(i+1)))
	}
	expect(t, conn, "READWRITE", "+OK\r\n", "CLIENT READ local", "+OK\r\n", "INCR a", ":51\r\n", "GET a", bulk("51"),
		"CLIENT READ leader", "+OK\r\n", "GET a", bulk("51"), "CLIENT READ default", "+OK\r\n", "GET a", bulk("51"))
	c.agree() // else the node may not know yet that its own last write is committed
	c.stop(lead)
	c.stop((lead + 2) % 3)
	eventually(t, "the node to notice that it is alone", func() bool { return !follower.srv.topology().present })
	expect(t, conn, "READONLY", "+OK\r\n", "GET a", bulk("51"), "READWRITE", "+OK\r\n")
	if got := call(t, conn, "GET a"); !strings.HasPrefix(got, "-CLUSTERDOWN ") {
		t.Errorf("a read without a majority: %q", got)
	}
	if got := call(t, conn, "INCR a"); !strings.HasPrefix(got, "-CLUSTERDOWN ") {
		t.Errorf("a write without a majority: %q", got)
	}
	c.start(lead)
	expect(t, conn, "INCR a", ":52\r\n")
}

// TestRedirects: with cluster-enabled, clients are sent to the node that leads.
func TestRedirects(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) { cfg.ClusterEnabled = true })
	lead := c.leader()
	conn := c.nodes[(lead+1)%3].dial()
	moved := fmt.Sprintf("-MOVED 15495 127.0.0.1:%d\r\n", c.configs[lead].Port)
	expect(t, conn, "INCR a", moved, "GET a", moved, "READONLY", "+OK\r\n", "GET a", "$-1\r\n", "INCR a", moved, "CLUSTER KEYSLOT a", ":15495\r\n",
		"CLUSTER FORGET nobody", "", "FLUSHALL", "+OK\r\n")
	expect(t, c.nodes[lead].dial(), "INCR a", ":1\r\n", "CLUSTER INFO", "")
	for i, n := range c.nodes {
		nodes := call(t, n.dial(), "CLUSTER NODES")
		if strings.Count(nodes, "\n") < 4 || strings.Count(nodes, " 0-16383\n") != 1 || strings.Count(nodes, "myself") != 1 || !strings.Contains(nodes, fmt.Sprintf("127.0.0.1:%d@", c.configs[i].Port)) {
			t.Errorf("CLUSTER NODES of node %d:\n%s", i, nodes)
		}
		slots := call(t, n.dial(), "CLUSTER SLOTS")
		if !strings.HasPrefix(slots, fmt.Sprintf("*1\r\n*5\r\n:0\r\n:16383\r\n*4\r\n%s:%d\r\n", bulk("127.0.0.1"), c.configs[lead].Port)) {
			t.Errorf("CLUSTER SLOTS of node %d: %q", i, slots)
		}
	}
}

// TestLeaderStops: clients of the other nodes go on while the leader stops and comes back, again and again; what was
// answered is counted once, and only writes under way are told that their outcome is unknown.
func TestLeaderStops(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	var acked, unknown atomic.Int64
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for i := range c.nodes {
		for range 4 {
			conn := c.nodes[i].dial()
			address := c.nodes[i].srv.Addr().String()
			busy.Go(func() { countUntil(t, stop, conn, address, &acked, &unknown) })
		}
	}
	for range redistest.Size(2, 3, 3) {
		before := acked.Load()
		eventually(t, "progress", func() bool { return acked.Load() > before+200 })
		at := c.leader()
		c.stop(at)
		before = acked.Load()
		eventually(t, "progress without the node", func() bool { return acked.Load() > before+200 })
		c.start(at)
	}
	close(stop)
	busy.Wait()
	c.agree()
	var total int64
	fmt.Sscanf(strings.ReplaceAll(call(t, c.nodes[0].dial(), "GET n"), "\r\n", " "), "$%d %d", new(int), &total)
	if total < acked.Load() || total > acked.Load()+unknown.Load() {
		t.Errorf("%d counted, %d answered, %d unknown", total, acked.Load(), unknown.Load())
	}
}

// countUntil sends INCR until stop, and connects anew while its node is stopped.
func countUntil(t *testing.T, stop chan struct{}, conn *redistest.Conn, address string, acked, unknown *atomic.Int64) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		reply, err := "", error(nil)
		if err = conn.Send([]byte("INCR n\r\n")); err == nil {
			var raw []byte
			raw, err = conn.ReadRaw()
			reply = string(raw)
		}
		switch {
		case err != nil:
			unknown.Add(1)
			for {
				if conn, err = redistest.Dial(address); err == nil {
					opened := conn // the variable is nil when the next attempt fails
					t.Cleanup(func() { opened.Close() })
					break
				}
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		case strings.HasPrefix(reply, ":"):
			acked.Add(1)
		case strings.HasPrefix(reply, "-UNKNOWN "):
			unknown.Add(1)
		case strings.HasPrefix(reply, "-LOADING "), strings.HasPrefix(reply, "-TRYAGAIN not applied: the server is shutting down"):
		default:
			t.Errorf("INCR: %q", reply)
			return
		}
	}
}

// TestWaitCounts: WAIT and WAITAOF count the nodes that have the connection's writes.
func TestWaitCounts(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	l, f := c.nodes[lead].dial(), c.nodes[(lead+1)%3].dial()
	for range 20 {
		call(t, l, "INCR n")
		expect(t, l, "WAIT 2 10000", ":2\r\n", "WAITAOF 1 2 10000", "*2\r\n:1\r\n:2\r\n")
		call(t, f, "INCR n")
		if got := call(t, f, "WAIT 1 0"); got != ":1\r\n" && got != ":2\r\n" {
			t.Errorf("WAIT 1: %q", got)
		}
	}
	eventually(t, "all to have all", func() bool { return call(t, f, "WAIT 0 0") == ":2\r\n" })
	expect(t, l, "WAIT 3 50", ":2\r\n", "WAITAOF 1 3 50", "*2\r\n:1\r\n:2\r\n", "WAIT 2 0", ":2\r\n")
	c.stop((lead + 2) % 3)
	expect(t, l, "INCR n", ":41\r\n", "WAIT 1 10000", ":1\r\n", "WAIT 2 100", ":1\r\n")
	send(t, l, "WAIT 2 10000")
	eventually(t, "the client to wait", func() bool { return c.nodes[lead].srv.stats.blocked.Load() == 1 })
	c.start((lead + 2) % 3)
	checkReply(t, "WAIT", readRaw(t, l), ":2\r\n")
}
