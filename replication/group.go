package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"quipu/internal/histogram"
	"quipu/replication/storage"
)

// raftGroup is a Group on hashicorp/raft, in a directory.
//
// Who may call whom: Raft's main goroutine calls logs and votes; its applying goroutine calls fsm, which calls the
// Batcher, which calls Propose. Propose only puts the entry into a buffered channel: at most one proposal of the Batcher and
// one barrier are under way, and the buffer holds 16. Locks are never held across these calls, except the Batcher's own
// around Propose.
//
// A failure (storage error, damage, an entry that cannot be applied) is final: nothing more is applied, therefore nothing
// more is acknowledged, Done is closed and OnFatal called.
type raftGroup struct {
	cfg         Config
	id          storage.Identity
	boot        uint64
	crowded     atomic.Bool // a majority of the voters has no room on its disk
	directory   *Directory
	guard       *storage.DiskGuard
	baseTrigger int64
	diskLogged  time.Time // when noteDisk logged its last message
	diskNoted   bool      // noteDisk has logged that writes are refused at present

	logs    LogStore
	votes   VoteStore
	snaps   SnapshotStore
	trans   *gatedTransport
	fsm     *fsm
	running atomic.Pointer[raft.Raft]

	notify   chan bool // leadership changes, from Raft
	routines sync.WaitGroup
	ready    chan struct{}
	isReady  sync.Once
	done     chan struct{} // failed or shut down
	ending   atomic.Bool   // done is closed or about to be
	err      error         // set before done is closed
	failure  atomic.Pointer[error]

	office      atomic.Pointer[office]
	members     membership
	rounds      rounds
	forwarding  atomic.Pointer[forwarding]
	leaders     leaderChanges
	leaderSeen  atomic.Int64  // when a leader was last known, unix ns
	leaderKnown atomic.Bool   // that was less than leaderMemory ago
	raised      atomic.Uint32 // semantics level that the next entries get, if it is above that of the state
	fresh       bool          // this process has made the data directory, as a founder
	upgrading   atomic.Bool   // upgradeNew is at it
	doubtful    atomic.Bool   // see Doubtful
	stopping    atomic.Bool   // see Stopping
	drains      atomic.Bool
	movedAt     time.Time // when compareChecksums last had another node lead; used by monitor alone
	compared    uint64    // index of the last checksum that was found to differ; used by monitor alone
	checkedAt   time.Time // when the leader last had checksums taken; used by monitor alone

	stop    sync.Once // Shutdown
	stopErr error     // the result of stop
	sole    atomic.Bool

	restarting sync.Mutex // restartRaft, and the end of Raft

	snapMu   sync.Mutex // one snapshot at a time
	snapWant chan struct{}
	snapped  atomic.Uint64 // applied index that the newest snapshot holds
	snapBase atomic.Int64  // logs.Written at the newest snapshot
	snapping atomic.Bool
	snapInfo atomic.Pointer[snapResult]
}

// office says whether this node serves as leader. It is immutable, and replaced by compare-and-swap: with a flag and a
// count of changes apart, a barrier could find that nothing has changed, and set the flag after a loss that came just then.
type office struct {
	term uint64 // in which this node leads, with everything of earlier terms applied; 0: it does not serve
}

// leave ends serving, also for a barrier that is under way, and returns what that barrier's successor has to replace.
func (g *raftGroup) leave() *office {
	none := &office{}
	g.office.Store(none)
	g.raised.Store(0) // it is the next leader's to say
	return none
}

type snapResult struct {
	err      error
	finished time.Time
}

const (
	minTrailingLogs = 16
	monitorEvery    = 250 * time.Millisecond
	diskLogEvery    = 10 * time.Second
	barrierRetry    = 50 * time.Millisecond
)

var _ Group = (*raftGroup)(nil)

func newRaftGroup(cfg Config, d *Directory, sm StateMachine) *raftGroup {
	cfg.setDefaults()
	g := &raftGroup{
		cfg: cfg, directory: d, id: d.id,
		notify: make(chan bool, 16), ready: make(chan struct{}), done: make(chan struct{}),
		snapWant: make(chan struct{}, 1),
	}
	g.fsm = newFSM(sm, g.cfg.Clock, g.fail)
	g.fsm.members = g.members.note
	g.leave()
	return g
}

// raft is Raft as it runs now (see restartRaft).
func (g *raftGroup) raft() *raft.Raft { return g.running.Load() }

// fail stops the group for good and tells the process. It may be called from any goroutine, with Raft's or the stores'
// locks held.
func (g *raftGroup) fail(err error) {
	g.fsm.broken.Store(true) // first: nothing is acknowledged from here on
	if !g.failure.CompareAndSwap(nil, &err) {
		return
	}
	g.leave()
	g.cfg.Logger.Error("this node stops: nothing is acknowledged any more", "err", err)
	if g.ending.CompareAndSwap(false, true) {
		g.err = err
		close(g.done)
	}
	if g.cfg.OnFatal != nil {
		go g.cfg.OnFatal(err)
	}
}

// Bind implements Group.
func (g *raftGroup) Bind(p Proposer) { g.fsm.bind(p) }

// Propose implements Group.
func (g *raftGroup) Propose(data []byte) Future {
	if err := g.Writable(); err != nil {
		return failedFuture{err}
	}
	if g.Term() == 0 {
		return failedFuture{errNotLeader}
	}
	if len(data) > maxEntryBytes {
		return failedFuture{notApplied(ErrEntryTooLarge)}
	}
	if full := g.logs.Room(len(data)); full != nil {
		return failedFuture{notApplied(full)}
	}
	return g.raft().Apply(data, 0)
}

var (
	errNotLeader = &NotAppliedError{Reason: ErrNotLeader}
	errShutdown  = &NotAppliedError{Reason: ErrShutdown}
)

// Writable implements Group.
func (g *raftGroup) Writable() error {
	switch {
	case g.failure.Load() != nil:
		return notApplied(fmt.Errorf("%w: %w", ErrFailed, *g.failure.Load()))
	case g.ending.Load():
		return errShutdown
	case g.Term() != 0:
	case g.awaitsLeader():
		return nil
	default:
		return errNotLeader
	}
	if full := g.guard.Full(); full != nil {
		return notApplied(full)
	}
	if g.crowded.Load() {
		return errCrowded
	}
	return nil
}

// errCrowded refuses what a majority of the voters might have no room for. A follower whose disk is full cannot refuse an
// entry that the leader has proposed: it would have to stop.
var errCrowded = &NotAppliedError{Reason: errDiskFull}

// checkRoom refuses or resumes writes by what the other voters say of their disks.
func (g *raftGroup) checkRoom() {
	p := g.cfg.Peers
	if p == nil {
		return
	}
	voters, room, full := 0, 0, 0
	for _, s := range g.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		seen, _ := p.links.Seen(string(s.ID))
		switch {
		case string(s.ID) == g.id.NodeID, seen.Up && !seen.Status.Full:
			room++
		case seen.Up:
			full++
		}
	}
	crowded := g.Term() != 0 && full > 0 && room <= voters/2
	if crowded != g.crowded.Swap(crowded) {
		if crowded {
			g.cfg.Logger.Error("writes are refused: a majority of the voters has no room on its disk", "voters", voters, "with room", room, "full", full)
		} else {
			g.cfg.Logger.Info("a majority of the voters has room on its disk, or this node does not lead: writes are not refused for that any more")
		}
	}
}

// SoleVoter implements Group.
func (g *raftGroup) SoleVoter() bool { return g.sole.Load() }

// Term implements Group.
func (g *raftGroup) Term() uint64 { return g.office.Load().term }

// AppliedIndex implements Group.
func (g *raftGroup) AppliedIndex() uint64 { return g.fsm.applied.Load() }

// Ready implements Group.
func (g *raftGroup) Ready() <-chan struct{} { return g.ready }

// Done implements Group.
func (g *raftGroup) Done() <-chan struct{} { return g.done }

// Clock implements Group.
func (g *raftGroup) Clock() *Clock { return g.cfg.Clock }

// Err implements Group.
func (g *raftGroup) Err() error {
	select {
	case <-g.done:
		return g.err
	default:
		return nil
	}
}

// watchLeadership reads NotifyCh, on which Raft's main goroutine would otherwise block.
func (g *raftGroup) watchLeadership() {
	for {
		select {
		case leads := <-g.notify:
			left := g.leave()
			g.rounds.expire(g)
			g.noteVoters(g.raft().GetConfiguration().Configuration())
			if !leads {
				g.cfg.Logger.Warn("this node no longer leads")
				continue
			}
			go g.awaitBarrier(g.raft(), left)
		case <-g.done:
			return
		}
	}
}

// awaitBarrier lets a new leader serve after a barrier in its term: until then its state machine may lack entries. Nobody
// waits for awaitBarrier: if leadership is lost at once, the barrier stays in Raft's channel until this node leads again, and
// if Raft is stopped its future may never be resolved.
func (g *raftGroup) awaitBarrier(r *raft.Raft, left *office) {
	for {
		// The barrier is of the term that is current before and after it; if there are two, another change is under way.
		term := r.CurrentTerm()
		err := r.Barrier(0).Error()
		if err == nil && r.CurrentTerm() == term {
			g.serve(left, term)
		}
		if !errors.Is(err, raft.ErrLeadershipTransferInProgress) || g.office.Load() != left {
			return
		}
		select { // the transfer may fail, and then this node still leads
		case <-time.After(barrierRetry):
		case <-g.done:
			return
		}
	}
}

// serve lets this node serve in a term, unless its office has changed since left.
func (g *raftGroup) serve(left *office, term uint64) {
	// A node that has failed skips entries, and its barriers succeed all the same. What ends a node is set before it leaves.
	if !g.office.CompareAndSwap(left, &office{term}) {
		return
	}
	if g.ending.Load() || g.fsm.broken.Load() {
		g.leave()
		return
	}
	if p := g.fsm.proposer.Load(); p != nil {
		(*p).TermBegan(term) // the barrier has been applied, and with it everything of earlier terms
		if !g.SoleVoter() {
			(*p).Tick() // barriers do not reach the state machines of followers
		}
	}
	g.becomeReady(term)
}

// becomeReady notes that this node may serve clients, as leader or as follower.
func (g *raftGroup) becomeReady(term uint64) {
	g.leaderSeen.Store(time.Now().UnixNano())
	g.leaderKnown.Store(true)
	g.isReady.Do(func() {
		g.cfg.Logger.Info("ready", "node", g.id.NodeID, "applied", g.AppliedIndex(), "term", term, "leads", g.Term() != 0)
		close(g.ready)
	})
}

func (g *raftGroup) hasBeenReady() bool {
	select {
	case <-g.ready:
		return true
	default:
		return false
	}
}

// monitor watches the disk, the log's speed and the clock.
func (g *raftGroup) monitor() {
	ticker := time.NewTicker(monitorEvery)
	defer ticker.Stop()
	g.checkDisk()
	var stalled, jumped, stuck bool
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
		case <-g.done:
			g.rounds.expire(g)
			return
		}
		stalled = g.checkStall(stalled)
		if g.snapshotDue() {
			g.requestSnapshot()
		}
		g.noteLeader()
		g.rounds.expire(g)
		g.checkRoom()
		g.promote()
		g.upgradeNew()
		g.compareChecksums()
		if n%int(time.Second/monitorEvery) == 0 {
			g.checkDisk()
			g.noteVoters(g.raft().GetConfiguration().Configuration())
			jumped = g.checkClock(jumped)
			stuck = g.checkInstalled(stuck)
		}
	}
}

// checkStall reports a write of the log that takes long. The write is never given up: it may still reach the disk. A leader with other voters
// exits, so that one of them can lead.
func (g *raftGroup) checkStall(was bool) bool {
	d := g.logs.Stalled()
	is := d > g.cfg.LogStoreTimeout
	switch {
	case is && !was:
		g.cfg.Logger.Warn("the disk does not finish a write of the log", "for", d)
	case was && !is:
		g.cfg.Logger.Info("the disk writes the log again")
	}
	if d > stallExit && !g.SoleVoter() && g.Term() != 0 {
		g.fail(fmt.Errorf("a write of the log has not finished for %v: this leader makes way for a node whose disk works", d))
	}
	return is
}

// checkDisk refuses or resumes writes, and tries again to prepare a segment.
func (g *raftGroup) checkDisk() {
	g.guard.Check()
	g.logs.Prepare()
}

// noteDisk is told by the disk guard, under its lock.
func (g *raftGroup) noteDisk(full *DiskFullError) {
	if full == nil {
		if g.diskNoted {
			g.cfg.Logger.Info("there is room again: writes resume")
		}
		return
	}
	// A small disk may be short for a moment before each snapshot.
	if g.diskNoted = time.Since(g.diskLogged) > diskLogEvery; g.diskNoted {
		g.diskLogged = time.Now()
		g.cfg.Logger.Error("writes are refused", "err", full)
	}
	g.requestSnapshot() // frees the segments of the log that it makes unnecessary
}

// checkClock reports a jump of the wall clock once.
func (g *raftGroup) checkClock(was bool) bool {
	st := g.cfg.Clock.Status()
	is := st.Jump != 0
	switch {
	case is && !was:
		g.cfg.Logger.Warn("the wall clock differs from log time by more than a minute and is not followed until an operator accepts it", "difference", st.Jump)
	case was && !is:
		g.cfg.Logger.Info("log time follows the wall clock again")
	}
	return is
}

// Syncs implements Group.
func (g *raftGroup) Syncs() histogram.Values { return g.logs.Syncs() }

// Status implements Group.
func (g *raftGroup) Status() Status {
	s := Status{
		NodeID: g.id.NodeID, ClusterName: g.id.Cluster, Incarnation: g.id.Incarnation, Boot: g.boot,
		Leader: g.Term() != 0, SoleVoter: g.SoleVoter(), Term: g.raft().CurrentTerm(), Level: g.Level(),
		LastIndex: g.raft().LastIndex(), CommitIndex: g.raft().CommitIndex(), AppliedIndex: g.AppliedIndex(),
		LogBytes: g.LogBytes(), SnapshotTrigger: g.snapshotTrigger(), Segments: g.logs.Segments(),
		SnapshotRunning: g.snapping.Load(), FreeBytes: g.guard.Free(), Clock: g.cfg.Clock.Status(),
	}
	if p := g.cfg.Peers; p != nil {
		s.Voters = p.opt.Voters
	}
	s.Doubtful = g.Doubtful()
	s.SnapshotIndex, s.SnapshotBytes = g.snaps.Newest()
	if r := g.snapInfo.Load(); r != nil {
		s.SnapshotErr, s.SnapshotFinished = r.err, r.finished
	}
	if full := g.guard.Full(); full != nil {
		s.DiskFull = full
	} else if g.crowded.Load() {
		s.DiskFull = errCrowded.Reason
	}
	if d := g.logs.Stalled(); d > g.cfg.LogStoreTimeout {
		s.Stalled = d
	}
	if p := g.failure.Load(); p != nil {
		s.Err = *p
	}
	_, leader := g.raft().LeaderWithID()
	s.LeaderID, s.Members = string(leader), g.memberStatus()
	return s
}

// Shutdown implements Group. If ctx ends first the files stay open: a write may still be under way, and only the end of the
// process lets go of the directory.
func (g *raftGroup) Shutdown(ctx context.Context) error {
	if g.ending.CompareAndSwap(false, true) {
		close(g.done)
	}
	g.leave()
	g.rounds.expire(g)
	g.snaps.Stop()
	g.logs.Hasten()
	stopped := make(chan error, 1)
	go func() {
		g.stop.Do(func() {
			g.restarting.Lock()
			ended := g.raft().Shutdown()
			// Before Raft has ended: it would wait until a snapshot that is being sent or received is through.
			closed := g.trans.Transport.Close()
			if f := g.forwarding.Load(); f != nil {
				f.close()
			}
			if p := g.cfg.Peers; p != nil {
				closed = errors.Join(closed, p.Close())
			}
			err := errors.Join(ended.Error(), closed)
			g.restarting.Unlock()
			g.routines.Wait()
			g.stopErr = errors.Join(err, g.closeFiles())
		})
		stopped <- g.stopErr
	}()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return fmt.Errorf("replication has not stopped: %w", ctx.Err())
	}
}

// closeFiles closes what is open: after a shutdown, or after an opening that failed.
func (g *raftGroup) closeFiles() error {
	err := Stores{Log: g.logs, Votes: g.votes}.close()
	if g.trans != nil {
		err = errors.Join(err, g.trans.Transport.Close())
	}
	if p := g.cfg.Peers; p != nil {
		err = errors.Join(err, p.Close())
	}
	return errors.Join(err, g.directory.Close())
}
