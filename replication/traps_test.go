package replication

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"quipu/internal/redistest"
	"quipu/replication/storage"
)

// The traps of hashicorp/raft, raft-wal and raft-boltdb that one node can meet. Each test fails without its guard.

// recordingTransport counts what reaches the network.
type recordingTransport struct {
	Transport
	sent    int
	handler bool
}

func (r *recordingTransport) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	r.sent++
	return nil
}

func (r *recordingTransport) SetHeartbeatHandler(func(raft.RPC)) { r.handler = true }

// A leader whose disk stands still must not hold on to its office by heartbeats; replication itself goes on. Heartbeats have
// no fast path. Pre-vote and Close are not lost by wrapping.
func TestTrapStalledDiskStopsHeartbeats(t *testing.T) {
	inner := &recordingTransport{Transport: newSoleTransport("a")}
	stalled := time.Duration(0)
	g := &gatedTransport{Transport: inner, stalled: func() time.Duration { return stalled }, limit: time.Second}
	heartbeat := &raft.AppendEntriesRequest{Term: 3}
	entries := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 7}
	send := func(r *raft.AppendEntriesRequest) error {
		return g.AppendEntries("b", "b", r, &raft.AppendEntriesResponse{})
	}
	if err := send(heartbeat); err != nil || inner.sent != 1 {
		t.Errorf("healthy disk: %v", err)
	}
	stalled = 1100 * time.Millisecond
	if err := send(heartbeat); !errors.Is(err, errStalled) || inner.sent != 1 {
		t.Errorf("stalled disk: %v", err)
	}
	if err := send(entries); err != nil || inner.sent != 2 {
		t.Errorf("entries with a stalled disk: %v", err)
	}
	g.SetHeartbeatHandler(func(raft.RPC) {})
	if inner.handler {
		t.Error("the heartbeat fast path is on")
	}
	var tr raft.Transport = g
	if _, ok := tr.(raft.WithPreVote); !ok {
		t.Error("pre-vote is lost")
	}
	if _, ok := tr.(raft.WithClose); !ok {
		t.Error("Close is lost")
	}
}

// A stall shows in the status; a leader with other voters makes way, a sole voter waits.
func TestTrapStalledLeaderExitsOnlyWithPeers(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	fatal := make(chan error, 1)
	cfg.OnFatal = func(err error) { fatal <- err }
	var faked fakedStores
	faked.into(&cfg)
	n := startNode(t, cfg)
	defer n.stop(t)
	faked.stall.Store(int64(6 * time.Second))
	if d := n.Status().Stalled; d < 6*time.Second {
		t.Errorf("status says stalled for %v", d)
	}
	n.checkStall(false)
	if n.Err() != nil {
		t.Fatal("a sole voter must wait for its disk")
	}
	n.sole.Store(false)
	n.checkStall(true)
	faked.stall.Store(0)
	if err := <-fatal; !strings.Contains(err.Error(), "has not finished") {
		t.Error(err)
	}
}

// Settings that are traps by themselves.
func TestTrapSettings(t *testing.T) {
	g := newRaftGroup(testConfig(t.TempDir()), &Directory{}, &counter{})
	g.id.NodeID = "a"
	c := g.raftConfig()
	if err := raft.ValidateConfig(c); err != nil {
		t.Error(err)
	}
	if f := reflect.ValueOf(*c).FieldByName("RestoreCommittedLogs"); f.IsValid() && f.Bool() {
		t.Error("RestoreCommittedLogs hangs above a few thousand entries")
	}
	if c.TrailingLogs == 0 {
		t.Error("TrailingLogs 0 lets a snapshot take the whole log away")
	}
	if c.SnapshotThreshold < 1<<60 {
		t.Error("snapshots are triggered by the number of entries, which counts ticks")
	}
	if !c.BatchApplyCh {
		t.Error("Apply would block the applying goroutine, for which the main loop waits")
	}
	if c.MaxAppendEntries*maxEntryBytes > 256<<20 {
		t.Error("one message may be too large")
	}
	if c.LeaderLeaseTimeout > c.HeartbeatTimeout || c.HeartbeatTimeout > c.ElectionTimeout || c.CommitTimeout > 100*time.Millisecond {
		t.Error("timeouts")
	}
}

// A failed write of the log is final: nothing after it is acknowledged, and the process is told to stop.
func TestTrapLogWriteErrorStopsTheNode(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	fatal := make(chan error, 2)
	cfg.OnFatal = func(err error) { fatal <- err }
	var faked fakedStores
	faked.into(&cfg)
	n := startNode(t, cfg)
	n.write(t, 0, 10)
	faked.failWrites.Store(true)
	if err := outcomeOf(t, submit(n.batch, 10)); !errors.Is(err, ErrUnknown) {
		t.Errorf("outcome %v", err)
	}
	if err := <-fatal; !errors.Is(err, errFaked) {
		t.Errorf("OnFatal(%v)", err)
	}
	<-n.Done()
	if err := outcomeOf(t, submit(n.batch, 11)); !isNotApplied(err) {
		t.Errorf("outcome %v of a later write", err)
	}
	if got := n.sm.state(); got != expected(10) {
		t.Errorf("applied after the error: %+v", got)
	}
	n.batch.Close()
	n.Shutdown(context.Background())
	if len(fatal) != 0 {
		t.Error("OnFatal was called twice")
	}
}

// A log entry that no longer reads as it was written is never served, and stops the node. Raft would panic.
func TestTrapLogReadErrorStopsTheNode(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	fatal := make(chan error, 1)
	cfg.OnFatal = func(err error) { fatal <- err }
	n := startNode(t, cfg)
	n.write(t, 0, 10)
	paths, err := filepath.Glob(filepath.Join(cfg.Dir, groupName, walName, "*.wal"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%v, %v", paths, err)
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(paths[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte{0xff}, int64(bytes.LastIndex(b, []byte("QPEN")))) // the last entry
	f.Close()
	last, _ := n.logs.LastIndex()
	returned := make(chan bool, 1)
	go func() {
		defer close(returned)
		n.logs.GetLog(last, &raft.Log{})
		returned <- true
	}()
	if <-returned {
		t.Error("GetLog returned to Raft, which panics then")
	}
	var corrupt *CorruptError
	if err := <-fatal; !errors.As(err, &corrupt) || corrupt.File != paths[0] {
		t.Errorf("OnFatal(%v)", err)
	}
	n.batch.Close()
	if err := n.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// Writes are refused before the disk is full, certainly not applied, and resume.
func TestTrapDiskFull(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	cfg.MinFreeBytes = 1 << 20
	plenty := storage.DiskUsage{Total: 1 << 30, Free: 1 << 29}
	var disk atomic.Pointer[storage.DiskUsage]
	disk.Store(&plenty)
	cfg.usage = func(string) (storage.DiskUsage, error) { return *disk.Load(), nil }
	n := startNode(t, cfg)
	defer n.stop(t)
	n.write(t, 0, 5)
	for what, usage := range map[string]storage.DiskUsage{
		"bytes":  {Total: 1 << 30, Free: 1000},
		"inodes": {Total: 1 << 30, Free: 1 << 30, Inodes: 1000, FreeInodes: 3},
	} {
		disk.Store(&usage)
		n.guard.Check()
		before, _ := n.logs.LastIndex()
		var full *DiskFullError
		if err := outcomeOf(t, submit(n.batch, 5)); !isNotApplied(err) || !errors.As(err, &full) {
			t.Errorf("%s: outcome %v", what, err)
		}
		if after, _ := n.logs.LastIndex(); after != before || n.Status().DiskFull == nil {
			t.Errorf("%s: the log grew from %d to %d", what, before, after)
		}
		// A little more than what stops writes is not enough to resume.
		disk.Store(&storage.DiskUsage{Total: 1 << 30, Free: 1<<20 + 1, Inodes: 1000, FreeInodes: storage.MinFreeInodes + 1})
		if n.guard.Check(); n.Writable() == nil {
			t.Errorf("%s: no hysteresis", what)
		}
		disk.Store(&plenty)
		n.guard.Check()
		if err := n.Writable(); err != nil {
			t.Errorf("%s: %v after there is room", what, err)
		}
	}
	n.write(t, 5, 8)
}

// A damaged newest snapshot must not be replaced by an older one whose log is gone.
func TestTrapBrokenSnapshotIsNotReplacedByAnOlder(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	n := startNode(t, cfg)
	for i := range uint64(2) {
		n.write(t, i*10, i*10+10)
		if err := n.Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	n.stop(t)
	paths, _ := filepath.Glob(filepath.Join(cfg.Dir, groupName, snapshotsName, "*.snap"))
	if len(paths) != 2 {
		t.Fatalf("%d snapshots are kept, want 2", len(paths))
	}
	path := paths[1] // sorted by index
	b, _ := os.ReadFile(path)
	for what, damaged := range map[string][]byte{
		"body":   flipped(b, len(b)-60),
		"header": flipped(b, 20),
		"cut":    b[:len(b)-5],
		"empty":  nil,
	} {
		os.WriteFile(path, damaged, 0o600)
		_, err := tryNode(cfg, &counter{})
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != path || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: %v", what, err)
		}
	}
	newer := bytes.Clone(b)
	newer[8]++
	os.WriteFile(path, newer, 0o600)
	var version *VersionError
	if _, err := tryNode(cfg, &counter{}); !errors.As(err, &version) {
		t.Errorf("newer version: %v", err)
	}
	os.WriteFile(path, b, 0o600)
	n = startNode(t, cfg)
	if got := n.sm.state(); got != expected(20) {
		t.Errorf("%+v", got)
	}
	n.stop(t)
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// slowSnapshots is a counter whose snapshots take until released.
type slowSnapshots struct {
	counter
	started, release chan struct{}
}

func (s *slowSnapshots) Capture() Persister { return slowCapture{s.counter.Capture(), s} }

type slowCapture struct {
	Persister
	s *slowSnapshots
}

func (c slowCapture) Persist(w io.Writer) error {
	close(c.s.started)
	<-c.s.release
	return c.Persister.Persist(w)
}

// Writes go on while a snapshot is written.
func TestTrapSnapshotDoesNotBlockApply(t *testing.T) {
	sm := &slowSnapshots{started: make(chan struct{}), release: make(chan struct{})}
	g, err := openGroup(context.Background(), testConfig(redistest.FastDir(t)), sm)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{g, &sm.counter, NewBatcher(g, g.Clock(), &testSource{}, BatcherOptions{})}
	defer n.stop(t)
	<-n.Ready()
	n.write(t, 0, 10)
	snapshot := make(chan error, 1)
	go func() { snapshot <- n.Snapshot() }()
	<-sm.started
	n.write(t, 10, 50)
	if !n.Status().SnapshotRunning {
		t.Error("the snapshot is not shown as running")
	}
	close(sm.release)
	if err := <-snapshot; err != nil {
		t.Error(err)
	}
}

// Raft blocks on NotifyCh.
func TestTrapNotifyChIsDrained(t *testing.T) {
	n := startNode(t, testConfig(redistest.FastDir(t)))
	defer n.stop(t)
	for i := range 10 * cap(n.notify) {
		select {
		case n.notify <- i%2 == 1:
		case <-time.After(5 * time.Second):
			t.Fatal("nobody reads NotifyCh")
		}
	}
	waitFor(t, "the leader to serve again", func() bool { return outcomeOf(t, submit(n.batch, 1)) == nil })
}

// Futures that Raft leaves unresolved at shutdown: every caller gets an outcome all the same.
func TestTrapShutdownResolvesEverything(t *testing.T) {
	for range 5 {
		n := startNode(t, testConfig(redistest.FastDir(t)))
		var wg sync.WaitGroup
		var ok, unknown, not atomic.Int64
		for range 8 {
			wg.Go(func() {
				for {
					err := outcomeOf(t, submit(n.batch, 1))
					switch {
					case err == nil:
						ok.Add(1)
						continue
					case isNotApplied(err):
						not.Add(1)
					case errors.Is(err, ErrUnknown):
						unknown.Add(1)
					default:
						t.Errorf("outcome %v", err)
					}
					return
				}
			})
		}
		waitFor(t, "some commits", func() bool { return ok.Load() > 20 })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := n.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		wg.Wait()
		n.batch.Close()
		if total := ok.Load() + unknown.Load(); int64(n.sm.state().count) < ok.Load() || int64(n.sm.state().count) > total {
			t.Errorf("%d acknowledged, %d unknown, %d applied", ok.Load(), unknown.Load(), n.sm.state().count)
		}
	}
}

// What a crash during bootstrap leaves, in any state, is thrown away; nothing has the final name before it is complete.
func TestTrapBootstrapIsAtomic(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	n := startNode(t, cfg)
	n.stop(t)
	group, temp := filepath.Join(cfg.Dir, groupName), filepath.Join(cfg.Dir, groupTempName)
	// All but the rename was done.
	if err := os.Rename(group, temp); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, cfg)
	n.write(t, 0, 3)
	n.stop(t)
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	n = startNode(t, cfg)
	if n.sm.state() != expected(3) {
		t.Error("state lost")
	}
	n.stop(t)
	// It fails in the middle: the term is written, the log entry behind it is not. The next attempt begins anew.
	os.RemoveAll(group)
	broken := cfg
	var faked fakedStores
	faked.failWrites.Store(true)
	faked.into(&broken)
	if _, err := tryNode(broken, &counter{}); err == nil || !strings.Contains(err.Error(), errFaked.Error()) {
		t.Fatalf("bootstrap with a log that cannot be written: %v", err)
	}
	if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group that was not completed has its name: %v", err)
	}
	n = startNode(t, cfg)
	n.write(t, 0, 1)
	n.stop(t)
}

// In-flight depth stays one, however many callers there are.
func TestTrapOneEntryInFlight(t *testing.T) {
	n := startNode(t, testConfig(redistest.FastDir(t)))
	defer n.stop(t)
	var depth, most atomic.Int64
	n.batch.mu.Lock()
	n.batch.source = &testSource{made: func(b *testBatch) {
		b.onSeal = func() { most.Store(max(most.Load(), depth.Add(1))) }
		b.onDone = func() { depth.Add(-1) }
	}}
	n.batch.filling.batch = n.batch.source.NewBatch()
	n.batch.mu.Unlock()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				<-submit(n.batch, 1)
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d entries in flight", most.Load())
	}
}

// recorder keeps the messages of a log.
type recorder struct {
	slog.Handler
	mu   sync.Mutex
	msgs []string
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.msgs = append(r.msgs, rec.Message)
	return nil
}

func (r *recorder) has(s string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(strings.Join(r.msgs, "\n"), s)
}

// A sole voter does not wait for heartbeats nobody sends.
func TestTrapSoleVoterLeadsAtOnce(t *testing.T) {
	rec := &recorder{}
	cfg := testConfig(redistest.FastDir(t))
	cfg.Logger = slog.New(rec)
	for range 3 {
		n := startNode(t, cfg)
		n.write(t, 0, 1)
		n.stop(t)
	}
	if !rec.has("entering leader state") || rec.has("heartbeat timeout reached") {
		t.Error("the node waited for the election timeout")
	}
}

// A snapshot right after a membership change: without BatchingFSM it fails until the next command.
func TestTrapSnapshotAfterMembershipChange(t *testing.T) {
	n := startNode(t, testConfig(redistest.FastDir(t)))
	defer n.stop(t)
	n.write(t, 0, 3)
	if err := n.raft().AddNonvoter("other", "other", 0, time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the change to be applied", func() bool { return n.AppliedIndex() == n.raft().LastIndex() })
	if err := n.Snapshot(); err != nil {
		t.Errorf("snapshot after a membership change: %v", err)
	}
	if !n.SoleVoter() {
		t.Error("a non-voter made this node one of several voters")
	}
}
