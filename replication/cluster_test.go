package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"quipu/internal/certs"
	"quipu/internal/redistest"
	"quipu/replication/storage"
)

// Three groups in one process, on Raft's in-memory transport and real files.

// cluster is some nodes that a test may cut off, stop and start.
type cluster struct {
	t     *testing.T
	dir   string
	names []string
	up    map[string]*clusterNode
	tune  func(*Config)

	ports  map[string]string // peer addresses by name; nil: over Raft's in-memory transport
	certs  string            // folder with the certificates of the peer ports; empty: no TLS
	voters int               // PeerOptions.Voters
}

type clusterNode struct {
	*node
	trans *raft.InmemTransport
}

// newCluster starts nodes that found a cluster together.
func newCluster(t *testing.T, names ...string) *cluster {
	c := &cluster{t: t, dir: redistest.FastDir(t), names: names, up: map[string]*clusterNode{}}
	t.Cleanup(func() {
		for name := range c.up {
			c.stop(name)
		}
	})
	return c
}

func (c *cluster) founding() *Founding {
	f := &Founding{Incarnation: "00112233445566778899aabbccddeeff"}
	for _, name := range c.names {
		address := name
		if c.ports != nil {
			address = c.ports[name]
		}
		f.Voters = append(f.Voters, Member{ID: name, Address: address})
	}
	return f
}

// overPeerPorts gives each node a peer port on loopback.
func (c *cluster) overPeerPorts() {
	c.ports = map[string]string{}
	for _, name := range c.names {
		c.ports[name] = "127.0.0.1:" + strconv.Itoa(redistest.FreePort(c.t))
	}
}

// openPeers opens the directory and the peer port of a node, which is called by its name.
func (c *cluster) openPeers(name string, cfg *Config) {
	d, err := OpenDirectory(cfg.Dir)
	if err != nil {
		c.t.Fatal(err)
	}
	if d.Incarnation() == "" {
		d.id.NodeID = name
	}
	var list []string
	for _, address := range c.ports {
		list = append(list, address)
	}
	opt := PeerOptions{
		Address: c.ports[name], ClientAddress: "client-of-" + name, Join: list, Voters: c.voters, Databases: 16, Logger: cfg.Logger,
	}
	if c.certs != "" {
		opt.CertFile, opt.KeyFile = filepath.Join(c.certs, certs.PeerCert), filepath.Join(c.certs, certs.PeerKey)
		opt.CAFile = filepath.Join(c.certs, certs.AuthorityCert)
	}
	p, err := OpenPeers(d, opt)
	if err != nil {
		c.t.Fatal(err)
	}
	cfg.Directory, cfg.Peers = d, p
}

func (c *cluster) startAll() {
	for _, name := range c.names {
		c.start(name, c.founding())
	}
}

// start starts a node and connects it with those that run.
func (c *cluster) start(name string, f *Founding) *clusterNode {
	c.t.Helper()
	n := &clusterNode{}
	cfg := testConfig(filepath.Join(c.dir, name))
	cfg.NodeID, cfg.Founding = name, f
	cfg.OnFatal = func(err error) { c.t.Errorf("node %s stopped: %v", name, err) }
	cfg.Transport = func(self string) Transport {
		if n.trans == nil {
			_, n.trans = raft.NewInmemTransportWithTimeout(raft.ServerAddress(self), 500*time.Millisecond)
		}
		return n.trans
	}
	if c.ports != nil {
		cfg.Transport, cfg.NodeID = nil, ""
		c.openPeers(name, &cfg)
	}
	if c.tune != nil {
		c.tune(&cfg)
	}
	var err error
	if n.node, err = tryNode(cfg, &counter{}); err != nil {
		c.t.Fatalf("node %s: %v", name, err)
	}
	c.up[name] = n
	c.connect(name)
	return n
}

// connect joins a node with all others that run.
func (c *cluster) connect(name string) {
	n := c.up[name]
	if n.trans == nil {
		return
	}
	for other, o := range c.up {
		n.trans.Connect(raft.ServerAddress(other), o.trans)
		o.trans.Connect(raft.ServerAddress(name), n.trans)
	}
}

// cut takes a node's connections away.
func (c *cluster) cut(name string) {
	n := c.up[name]
	for other, o := range c.up {
		if other != name {
			n.trans.Disconnect(raft.ServerAddress(other))
			o.trans.Disconnect(raft.ServerAddress(name))
		}
	}
}

func (c *cluster) stop(name string) {
	n := c.up[name]
	delete(c.up, name)
	n.batch.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		c.t.Errorf("node %s: %v", name, err)
	}
	if n.sm.failed != nil {
		c.t.Errorf("node %s: %v", name, n.sm.failed)
	}
}

// leader waits for a node that serves, other than those named.
func (c *cluster) leader(except ...string) (found *clusterNode) {
	c.t.Helper()
	waitFor(c.t, "a leader", func() bool {
	nodes:
		for name, n := range c.up {
			for _, e := range except {
				if e == name {
					continue nodes
				}
			}
			if n.Term() != 0 {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

// follower is the name of a node other than l.
func (c *cluster) follower(l *clusterNode) string {
	for name, n := range c.up {
		if n != l {
			return name
		}
	}
	c.t.Fatal("there is only one node")
	return ""
}

// compacted starts all nodes and stops one, which has ten numbers. The leader, l, then has 500, and nothing in its log of what
// the other one lacks.
func (c *cluster) compacted() (l *clusterNode, away string) {
	c.t.Helper()
	c.tune = func(cfg *Config) { cfg.TrailingLogBytes = 1 }
	c.startAll()
	l = c.leader()
	away = c.follower(l)
	l.write(c.t, 0, 10)
	c.agree(expected(10))
	c.stop(away)
	l.write(c.t, 10, 500)
	if err := l.Snapshot(); err != nil {
		c.t.Fatal(err)
	}
	return l, away
}

// agree waits until all nodes have the same state.
func (c *cluster) agree(want counterState) {
	c.t.Helper()
	for name, n := range c.up {
		waitFor(c.t, fmt.Sprintf("node %s to have %+v", name, want), func() bool { return n.sm.state() == want })
	}
}

// A leader that is cut off answers unknown for what it has proposed, and not applied for what comes later. What it had in its
// log and nobody else had is never applied, and the node learns that from the log of the next leader.
func TestClusterLeaderCutOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.startAll()
	old := c.leader()
	old.write(t, 0, 20)
	c.agree(expected(20))
	if leaders := c.serving(); len(leaders) != 1 {
		t.Errorf("%v serve", leaders)
	}

	name := old.id.NodeID
	c.cut(name)
	lost := make(chan error, 1)
	old.batch.Submit(number{v: 1000, waiter: lost})
	batch := old.batch.filling.batch.(*testBatch)
	old.batch.Flush()
	next := c.leader(name)
	next.write(t, 20, 40)
	if err := outcomeOf(t, lost); !errors.Is(err, ErrUnknown) {
		t.Errorf("proposed before the cut was noticed: %v", err)
	}
	waitFor(t, "the old leader to notice", func() bool { return old.Term() == 0 })
	if err := outcomeOf(t, submit(old.batch, 1001)); !isNotApplied(err) {
		t.Errorf("submitted later: %v", err)
	}
	c.connect(name)
	c.agree(expected(40))
	waitFor(t, "the fate of the lost entry", func() bool { return old.batch.inflight.Load() == nil })
	if fmt.Sprint(batch.fates) != "[false]" {
		t.Errorf("fates %v", batch.fates)
	}
}

func (c *cluster) serving() (names []string) {
	for name, n := range c.up {
		if n.Term() != 0 {
			names = append(names, name)
		}
	}
	return names
}

// A slow follower is not sent the bytes of later entries, although the buffer of an entry is used again at once.
func TestClusterSlowFollower(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.startAll()
	l := c.leader()
	slow := c.follower(l)
	const most = 3000
	for v := uint64(0); v < most; v += 100 {
		if v%300 == 0 {
			c.cut(slow)
		} else if v%300 == 200 {
			c.connect(slow)
		}
		l.write(t, v, v+100)
	}
	c.connect(slow)
	c.agree(expected(most))
}

// A node that was away while the log it lacks was compacted gets a snapshot; so does one that joins with an empty directory.
func TestClusterInstall(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	l, away := c.compacted()
	l.write(t, 500, 510)
	c.start(away, nil)
	c.agree(expected(510))

	joins := c.founding()
	joins.Voters = nil
	c.start("d", joins)
	if err := l.raft().AddNonvoter("d", "d", 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	l.write(t, 510, 520)
	c.agree(expected(520))
	// What was installed is there after a restart.
	for _, name := range []string{away, "d"} {
		c.stop(name)
		c.start(name, nil)
	}
	if id, err := storage.ReadIdentity(filepath.Join(c.dir, "d", groupName)); err != nil || id.Joins {
		t.Errorf("%+v, %v: the node is part of a cluster now", id, err)
	}
	l = c.leader()
	l.write(t, 520, 530)
	c.agree(expected(530))
}

// damagedInstall starts a node alone whose newest snapshot, just installed, is damaged, and then without that file: what the
// log has is still there.
func (c *cluster) damagedInstall(name, path string, snapshot []byte) {
	c.t.Helper()
	damaged := bytes.Clone(snapshot)
	damaged[len(damaged)*2/3] ^= 1
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		c.t.Fatal(err)
	}
	cfg := testConfig(filepath.Join(c.dir, name))
	cfg.Transport = newSoleTransport
	var corrupt *CorruptError
	if _, err := tryNode(cfg, &counter{}); !errors.As(err, &corrupt) {
		c.t.Errorf("with a damaged snapshot: %v", err)
	}
	if err := os.Remove(path); err != nil {
		c.t.Fatal(err)
	}
	alone, err := tryNode(cfg, &counter{})
	if err != nil {
		c.t.Fatalf("without the snapshot: %v", err)
	}
	if last, err := alone.logs.LastIndex(); last < 10 || err != nil {
		c.t.Errorf("the log ends at %d, %v", last, err)
	}
	alone.batch.Close()
	if err := alone.Shutdown(c.t.Context()); err != nil {
		c.t.Error(err)
	}
}

// TestInstallCutOff has a crash between the end of an installed snapshot and the removal of the old log: the log
// would have a gap, and the node could never append again.
func TestInstallCutOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	l, away := c.compacted()
	list, err := l.snaps.List()
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	const snapshots = groupName + "/" + snapshotsName
	b, err := os.ReadFile(filepath.Join(c.dir, l.id.NodeID, snapshots, list[0].ID))
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir, away, snapshots, list[0].ID), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.dir, away, snapshots, list[0].ID)
	c.damagedInstall(away, path, b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}

	// A leader that knows what the node lacks would send the snapshot again. A new one begins with what comes next.
	for range 2 { // the second time with what the first has left
		from := c.leader().sm.state().count
		for name := range c.up {
			c.stop(name)
		}
		for _, name := range c.names {
			c.start(name, nil)
		}
		c.leader().write(t, from, from+10)
		c.agree(expected(from + 10))
	}
}

// TestInstallOnLongerLog gives a snapshot to a node whose log reaches further, with entries that nobody else has.
func TestInstallOnLongerLog(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "a", "b", "c")
	c.tune = func(cfg *Config) { cfg.TrailingLogBytes = 1 }
	c.startAll()
	old := c.leader()
	old.write(t, 0, 10)
	c.agree(expected(10))
	name := old.id.NodeID
	c.cut(name)
	for i := range uint64(2000) {
		buf := make([]byte, HeaderSize+8)
		encodeEntry(buf, entryHeader{term: old.Term(), level: 1, sequence: i})
		old.raft().Apply(buf, 0)
	}
	waitFor(t, "the entries to be in the log", func() bool {
		last, err := old.logs.LastIndex()
		return err == nil && last > old.AppliedIndex()+1500
	})
	next := c.leader(name)
	next.write(t, 10, 500)
	if err := next.Snapshot(); err != nil {
		t.Fatal(err)
	}
	next.write(t, 500, 510)
	c.connect(name)
	c.agree(expected(510))
	// It takes part again: it can lead.
	for other := range c.up {
		if other != name && other != next.id.NodeID {
			c.cut(other)
		}
	}
	next = c.leader()
	next.write(t, 510, 520)
	waitFor(t, "the node to have them", func() bool { return old.sm.state() == expected(520) })
}

// Raft runs over the peer port, with and without TLS: nodes elect a leader, lose it, and go on; one that was away catches up.
func TestClusterOverPeerPort(t *testing.T) {
	dir := t.TempDir()
	if err := certs.Init(dir, nil); err != nil {
		t.Fatal(err)
	}
	for name, folder := range map[string]string{"plain": "", "TLS": dir} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			c := newCluster(t, "a", "b", "c")
			c.certs = folder
			c.tune = func(cfg *Config) { cfg.TrailingLogBytes = 1 }
			c.overPeerPorts()
			c.startAll()
			first := c.leader()
			first.write(t, 0, 100)
			c.agree(expected(100))
			away := first.id.NodeID
			c.stop(away)
			next := c.leader()
			next.write(t, 100, 400)
			if err := next.Snapshot(); err != nil {
				t.Fatal(err)
			}
			next.write(t, 400, 410)
			c.start(away, nil)
			c.agree(expected(410))
			c.leader().write(t, 410, 420)
			c.agree(expected(420))
		})
	}
}

// A semantics level that a node does not know stops it; a stamp behind the last one does not: every node sets it to the same.
func TestApplyClampsStamps(t *testing.T) {
	c := &counter{}
	var stopped error
	f := newFSM(c, NewClock(nil), func(err error) { stopped = err })
	apply := func(index, term uint64, h entryHeader, numbers ...uint64) {
		buf := make([]byte, HeaderSize)
		for _, v := range numbers {
			buf = append(buf, byte(v), 0, 0, 0, 0, 0, 0, 0)
		}
		encodeEntry(buf, h)
		f.applyEntry(index, term, buf)
	}
	var stamps []int64
	c.onApply = func(e Entry, _ Batch) { stamps = append(stamps, e.Stamp) }
	apply(1, 1, entryHeader{term: 1, level: 1, stamp: 1000}, 0)
	apply(2, 1, entryHeader{term: 1, level: 1, stamp: 900}, 1)
	apply(3, 2, entryHeader{term: 1, level: 9, stamp: 5000}, 7) // void, whatever is in it
	apply(4, 2, entryHeader{term: 2, level: 1, stamp: 1001}, 2)
	if fmt.Sprint(stamps) != "[1000 1000 1001]" || c.state() != expected(3) || c.failed != nil || stopped != nil {
		t.Errorf("stamps %v, state %+v, %v, %v", stamps, c.state(), c.failed, stopped)
	}
	if f.applied.Load() != 4 || f.level.Load() != 1 {
		t.Errorf("applied %d, level %d", f.applied.Load(), f.level.Load())
	}
	apply(5, 2, entryHeader{term: 2, level: SemanticsLevel + 1, stamp: 2000}, 3)
	var newer *storage.VersionError
	if !errors.As(stopped, &newer) {
		t.Errorf("an unknown level: %v", stopped)
	}
}

// failingRestore cannot load a snapshot.
type failingRestore struct{ counter }

func (*failingRestore) Restore(io.ReaderAt, int64, uint64, int64) error {
	return errors.New("out of memory")
}

// bodyOf is a snapshot of a machine, as Raft hands it over.
type bodyOf struct{ *bytes.Reader }

func (bodyOf) Close() error { return nil }

// TestFailedRestoreStopsTheNode: Raft only logs the error, and would go on with entries on half of a state.
func TestFailedRestoreStopsTheNode(t *testing.T) {
	var c counter
	body := append(encodeFSMPrefix(fsmPrefix{applied: 7, stamp: 1, level: 1}), make([]byte, 24)...)
	var stopped error
	f := newFSM(&failingRestore{}, NewClock(nil), func(err error) { stopped = err })
	if err := f.Restore(bodyOf{bytes.NewReader(body)}); err == nil || stopped != nil {
		t.Errorf("while the node starts: %v, %v", err, stopped)
	}
	f.started.Store(true)
	if err := f.Restore(bodyOf{bytes.NewReader(body)}); err == nil || stopped == nil {
		t.Errorf("while the node runs: %v, %v", err, stopped)
	}
	f.machine = &c
	f.applyEntry(8, 1, []byte("whatever"))
	if f.applied.Load() != 0 {
		t.Error("an entry was applied all the same")
	}
}

// TestBarrierAfterLoss: a barrier of an earlier leadership does not make a node serve that has lost its office since.
func TestBarrierAfterLoss(t *testing.T) {
	g := newRaftGroup(testConfig(t.TempDir()), &Directory{}, &counter{})
	first := g.leave()
	second := g.leave()
	if g.serve(first, 3); g.Term() != 0 {
		t.Error("a barrier of before the loss made the node serve")
	}
	if g.serve(second, 4); g.Term() != 4 {
		t.Error("the barrier of the new term did not")
	}
	g.ending.Store(true)
	if g.serve(g.leave(), 5); g.Term() != 0 {
		t.Error("a node that ends serves")
	}
}
