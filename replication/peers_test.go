package replication

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/replication/storage"
)

// Nodes that find each other over their peer ports.

// form starts the nodes named, all at once, each as a new process would.
func (c *cluster) form(names ...string) {
	c.t.Helper()
	var mu sync.Mutex
	var busy sync.WaitGroup
	for _, name := range names {
		cfg := testConfig(filepath.Join(c.dir, name))
		cfg.OnFatal = func(err error) { c.t.Errorf("node %s stopped: %v", name, err) }
		c.openPeers(name, &cfg)
		if c.tune != nil {
			c.tune(&cfg)
		}
		busy.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			var err error
			if cfg.Founding, err = cfg.Peers.Form(ctx); err != nil {
				c.t.Errorf("node %s: %v", name, err)
				cfg.Peers.Close()
				cfg.Directory.Close()
				return
			}
			n, err := tryNode(cfg, &counter{})
			if err != nil {
				c.t.Errorf("node %s: %v", name, err)
				return
			}
			mu.Lock()
			c.up[name] = &clusterNode{node: n}
			mu.Unlock()
		})
	}
	busy.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// formed is three nodes that have found each other. tune changes their settings; it may be nil.
func formed(t *testing.T, tune func(cfg *Config)) *cluster {
	t.Helper()
	c := newCluster(t, "a", "b", "c")
	c.voters, c.tune = 3, tune
	c.overPeerPorts()
	c.form("a", "b", "c")
	return c
}

func (n *clusterNode) voters() (names []string) {
	for _, m := range n.Status().Members {
		if m.Voter {
			names = append(names, m.ID)
		}
	}
	return names
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// Three empty nodes with the same list become a cluster of three voters; all get ready, know each other, and come back after
// all were stopped.
func TestForm(t *testing.T) {
	t.Parallel()
	c := formed(t, nil)
	l := c.leader()
	l.write(t, 0, 20)
	c.agree(expected(20))
	for name, n := range c.up {
		waitFor(t, "node "+name+" to be ready", func() bool { return isClosed(n.Ready()) })
		waitFor(t, "node "+name+" to know the others", func() bool {
			st := n.Status()
			up := 0
			for _, m := range st.Members {
				if m.Up && m.Voter && m.ClientAddress == "client-of-"+m.ID && m.Address == c.ports[m.ID] && m.Applied >= 20 {
					up++
				}
			}
			return up == 3 && st.LeaderID == l.id.NodeID
		})
		if n.id.Incarnation != l.id.Incarnation {
			t.Errorf("node %s has another incarnation", name)
		}
	}
	for _, name := range c.names {
		c.stop(name)
	}
	c.form("a", "b", "c")
	c.leader().write(t, 20, 40)
	c.agree(expected(40))

	c.stop("a")
	alone := testConfig(filepath.Join(c.dir, "a"))
	if _, err := tryNode(alone, &counter{}); err == nil || !strings.Contains(err.Error(), "cluster of 3 nodes: set peer-addr") {
		t.Errorf("a node of a cluster without a peer port: %v", err)
	}
}

// A node whose disk was wiped has a new ID. Its address belongs to the old one until that is removed; then it gets the log,
// and becomes a voter when it has caught up.
func TestWipedNodeJoins(t *testing.T) {
	t.Parallel()
	c := formed(t, nil)
	c.leader().write(t, 0, 20)
	c.agree(expected(20))
	lost := c.follower(c.leader())
	c.stop(lost)
	c.ports["new"] = c.ports[lost]
	delete(c.ports, lost)
	c.form("new")
	waitFor(t, "the new node to be refused", func() bool {
		return c.up["new"].isMember() || strings.Contains(fmt.Sprint(c.up["new"].askToJoin(t.Context(), new(int))), "if its disk is lost, remove that node first")
	})
	if c.up["new"].isMember() {
		t.Fatal("two nodes have the same address")
	}
	l := c.leader()
	if err := l.Remove("nobody"); err == nil {
		t.Error("a node that there is not was removed")
	}
	if err := c.up["new"].Remove(lost); !isNotApplied(err) {
		t.Errorf("a node that does not lead removes another: %v", err)
	}
	if err := l.Remove(lost); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the new node to be a voter", func() bool { return len(l.voters()) == 3 && fmt.Sprint(l.voters()) != fmt.Sprint(c.names) })
	l.write(t, 20, 40)
	c.agree(expected(40))
	waitFor(t, "the new node to be ready", func() bool { return isClosed(c.up["new"].Ready()) })
}

// A node that was taken out while it was away stays out, also when another node leads by then, and learns of it.
func TestTakenOutWhileAway(t *testing.T) {
	t.Parallel()
	c := formed(t, nil)
	l := c.leader()
	l.write(t, 0, 20)
	c.agree(expected(20))
	out := c.follower(l)
	c.stop(out)
	if err := l.Remove(out); err != nil {
		t.Fatal(err)
	}
	other := c.up[c.follower(l)]
	waitFor(t, "the other node to lead", func() bool {
		if l.Term() != 0 {
			_ = l.raft().LeadershipTransfer().Error() // tried again
		}
		return other.Term() != 0
	})
	c.form(out)
	waitFor(t, "the node to learn that it was taken out", func() bool { return len(c.up[out].Status().Members) == 2 })
	if n := len(other.Status().Members); n != 2 {
		t.Errorf("the cluster has %d members", n)
	}
}

// The leader refuses writes while a majority of the voters has no room for them, also if a node that has room is away.
func TestNoRoomOnMajority(t *testing.T) {
	t.Parallel()
	var full sync.Map // by directory
	c := formed(t, func(cfg *Config) {
		cfg.usage = func(dir string) (storage.DiskUsage, error) {
			if is, _ := full.Load(dir); is == true {
				return storage.DiskUsage{Total: 1 << 40, Free: 1}, nil
			}
			return storage.DiskUsage{Total: 1 << 40, Free: 1 << 39}, nil
		}
	})
	l := c.leader()
	l.write(t, 0, 10)
	var others []string
	for name, n := range c.up {
		if n != l {
			others = append(others, name)
		}
	}
	first, second := others[0], others[1]
	setFull := func(name string, is bool) {
		full.Store(c.up[name].cfg.Dir, is)
		c.up[name].guard.Check()
	}
	refuses := func() bool {
		var full *DiskFullError
		return errors.As(l.Writable(), &full) && l.Status().DiskFull != nil
	}
	setFull(first, true)
	time.Sleep(2 * monitorEvery)
	if refuses() {
		t.Error("writes are refused although a majority has room")
	}
	setFull(second, true)
	waitFor(t, "writes to be refused", refuses)
	if err := outcomeOf(t, submit(l.batch, 10)); !isNotApplied(err) {
		t.Errorf("outcome %v", err)
	}
	setFull(second, false)
	waitFor(t, "writes to resume", func() bool { return !refuses() })
	l.write(t, 10, 20)
	c.stop(second)
	waitFor(t, "writes to be refused, with a node away", refuses)
	setFull(first, false)
	waitFor(t, "writes to resume, with a node away", func() bool { return !refuses() })
	l.write(t, 20, 30)
}

// A node that is started alone grows to three voters when others ask to join: only as many as its settings say.
func TestGrow(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c", "d")
	c.voters = 3
	c.overPeerPorts()
	all := c.ports
	c.ports = map[string]string{"a": all["a"]}
	c.form("a")
	a := c.up["a"]
	waitFor(t, "the first node to lead", func() bool { return a.Term() != 0 })
	a.write(t, 0, 20)
	c.ports = all
	c.form("b", "c", "d")
	waitFor(t, "three voters and a non-voter", func() bool { return len(a.voters()) == 3 && len(a.Status().Members) == 4 })
	c.leader().write(t, 20, 40)
	c.agree(expected(40))
}

// A node comes back under another address, and the others learn it.
func TestAddressChanges(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c", "spare")
	c.voters = 3
	c.overPeerPorts()
	spare := c.ports["spare"]
	delete(c.ports, "spare")
	c.form("a", "b", "c")
	c.leader().write(t, 0, 20)
	moved := c.follower(c.leader())
	c.stop(moved)
	c.ports[moved] = spare
	c.form(moved)
	waitFor(t, "the new address to be known", func() bool { return c.leader().nodeAddress(moved) == spare })
	c.leader().write(t, 20, 40)
	c.agree(expected(40))
	if n := len(c.leader().voters()); n != 3 {
		t.Errorf("%d voters", n)
	}
}

// Settings with which nodes would never find each other end the start, or are named in the log.
func TestFormMistakes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b")
	c.voters = 2
	c.overPeerPorts()
	open := func(name string, change func(*PeerOptions)) *Peers {
		cfg := testConfig(filepath.Join(c.dir, name))
		c.openPeers(name, &cfg)
		t.Cleanup(func() { cfg.Peers.Close(); cfg.Directory.Close() })
		change(&cfg.Peers.opt)
		return cfg.Peers
	}
	a := open("a", func(o *PeerOptions) {})
	b := open("b", func(o *PeerOptions) {})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, tc := range []struct {
		name   string
		change func(o *PeerOptions)
		why    string
	}{
		{"itself by another name", func(o *PeerOptions) { o.Join = []string{"localhost" + c.ports["a"][len("127.0.0.1"):]} }, "is this node"},
		{"another by another name", func(o *PeerOptions) { o.Join = []string{"localhost" + c.ports["b"][len("127.0.0.1"):]} }, "calls itself " + c.ports["b"]},
	} {
		was := a.opt
		tc.change(&a.opt)
		if _, err := a.Form(ctx); err == nil || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v", tc.name, err)
		}
		a.opt = was
	}
	b.opt.Voters = 3
	if got := a.askAll(ctx, a.others())[0].why; !strings.Contains(got, "another bootstrap-expect") {
		t.Errorf("another bootstrap-expect: %q", got)
	}
	b.opt.Voters = 1
	if got := a.askAll(ctx, a.others())[0].why; got == "" {
		t.Error("a node that founds no cluster is counted")
	}
	b.opt.Voters = 2
	if got := a.askAll(ctx, a.others())[0].why; got != "" {
		t.Errorf("the same list: %q", got)
	}
}

// confirm waits for a round of n that begins now.
func (n *clusterNode) confirm() error {
	done := make(chan error, 1)
	n.Confirm(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		return errors.New("no answer")
	}
}

// Rounds succeed on the leader, also with one follower away; they fail where a majority is away, and on a follower.
func TestRounds(t *testing.T) {
	t.Parallel()
	c := formed(t, nil)
	l := c.leader()
	l.write(t, 0, 10)
	for range 100 {
		if err := l.confirm(); err != nil {
			t.Fatal(err)
		}
	}
	first := c.follower(l)
	if err := c.up[first].confirm(); !isNotApplied(err) {
		t.Errorf("on a follower: %v", err)
	}
	c.stop(first)
	if err := l.confirm(); err != nil {
		t.Errorf("with one of three away: %v", err)
	}
	c.stop(c.follower(l))
	if err := l.confirm(); !isNotApplied(err) {
		t.Errorf("with two of three away: %v", err)
	}
}

// An answer counts if it is to a question that was sent after the round began, and comes from a voter.
func TestRoundsCount(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c", "d")
	c.voters = 3
	c.overPeerPorts()
	fourth := c.ports["d"]
	delete(c.ports, "d")
	c.form("a", "b", "c")
	c.ports["d"] = fourth
	c.form("d")
	l := c.leader()
	waitFor(t, "a non-voter", func() bool { return len(l.Status().Members) == 4 })
	var others []string
	for name, n := range c.up {
		if n != l && name != "d" {
			others = append(others, name)
		}
	}
	status := handler{l.raftGroup}.Status()
	l.cfg.Peers.links.Close() // the answers come from this test alone
	var r rounds
	outcome := make(chan error, 1)
	begin := func() uint64 {
		r = rounds{waiting: []func(error){func(err error) { outcome <- err }}}
		r.mu.Lock()
		r.next(l.raftGroup)
		r.mu.Unlock()
		return r.number
	}
	number := begin()
	r.heard(l.raftGroup, others[0], number-1, status)
	r.heard(l.raftGroup, "d", number, status)
	r.heard(l.raftGroup, "stranger", number, status)
	select {
	case err := <-outcome:
		t.Fatalf("ended with %v by answers that do not count", err)
	default:
	}
	r.heard(l.raftGroup, others[0], number, status)
	if err := <-outcome; err != nil {
		t.Errorf("after the answer of a voter: %v", err)
	}
	number = begin()
	later := status
	later.Term++
	r.heard(l.raftGroup, "d", number, later)
	if l.Term() == 0 {
		t.Error("a non-voter ends serving")
	}
	r.heard(l.raftGroup, others[1], number, later)
	if err := <-outcome; !isNotApplied(err) || l.Term() != 0 {
		t.Errorf("after a later term: %v, serves in %d", err, l.Term())
	}
}
