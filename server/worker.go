package server

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/exec"
	"quipu/replica"
	"quipu/transport"
)

// worker is the server's side of one loop of the transport, and all that its sessions know of the loop. Everything but
// calls and the mailbox (mu, completed) belongs to the loop's goroutine.
//
// Its sessions could add their commands to the replica's batch directly, under the batcher's lock. All loops would then
// wait for each other with every command. So a worker has a lane for each replica: a sub-batch, which its sessions add to
// without any lock. When the loop's turn ends, Submit hands the sub-batch over. It comes back through the mailbox, with all
// replies, to this worker alone.
type worker struct {
	srv    *Server
	loop   transport.Loop
	lanes  []lane         // by replica
	calls  []atomic.Int64 // commands the sessions have run, by Command.ID
	stripe uint32         // of the server's statistics

	repeated *commands.Command // of which the last repeats commands were, which calls does not have yet, see worker.called
	repeats  int64

	hot hotSampler // of its sessions' commands

	times exec.Timer // of what is not executed by a lane's runner
	began int64      // when the turn did that is under way, by the meter's clock
	ran   int64      // commands in it

	waiting int // sub-batches handed over and not yet back

	// turn is odd from before the first session of a turn looks at Server.draining, at whether the server is ready, or at
	// Keyspace.LongLocked, until all lanes are handed over, and grows with each turn: whoever sets one of these and then finds
	// turn even, or sees it change, knows that nothing more is done, or on its way to the replicas, that has not seen it.
	turn atomic.Uint64

	mu        sync.Mutex // guards completed; a leaf
	completed []*replica.SubBatch

	pushMu sync.Mutex // guards pushed; a leaf, but for the loop's mailbox
	pushed []*Session // with messages that wait, see push.go

	call acl.Call // scratch for judging a command

	spareCompleted   []*replica.SubBatch
	spareTransaction *transaction // or nil
	spareResumed     []*Session
	sparePushed      []*Session
}

// lane is what a worker has for one replica.
type lane struct {
	replica *replica.Replica
	runner  *exec.Runner
	open    *replica.SubBatch   // gathers; nil: nothing was added since the last hand-over
	spare   []*replica.SubBatch // to be used again
	kept    int                 // bytes of memory in spare
	flush   bool                // something was handed over since the last Flush

	sole bool // this node was the only voter when a session last began to read commands

	// needsLog says that the open sub-batch goes through the log even if it only reads: a client in it has writes under way there,
	// which its reads must not overtake, or a command in it stands behind what is answered ahead.
	needsLog bool

	aside []*replica.SubBatch // reads that have come back and wait, see worker.setAside

	gathered int // bytes handed over since the last Tick
	quiet    int // Ticks in a row between which little was handed over
}

// eventLoops are the workers of the event loops. All are made before clients are accepted.
type eventLoops struct {
	mu      sync.Mutex // guards workers
	workers []*worker  // only appended to
}

func (l *eventLoops) add(w *worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.workers = append(l.workers, w)
}

func (l *eventLoops) all() []*worker {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.workers
}

const (
	// maxSpareBytes is the most memory that a lane's spare sub-batches may keep. One client with a deep pipeline has dozens
	// of sub-batches under way, because each turn hands one over: keeping only two of them made 230 bytes of garbage for
	// each INCRBY.
	maxSpareBytes = 8 << 20

	// A lane that hands over no more than littleGathered bytes a second, quietTicks times in a row, keeps none: allocating
	// them when the load is back costs nothing beside the load.
	littleGathered = 64 << 10
	quietTicks     = 5
)

var (
	_ transport.Worker = (*worker)(nil)
	_ replica.Owner    = (*worker)(nil)
)

func newWorker(srv *Server, l transport.Loop, calls []atomic.Int64) *worker {
	w := &worker{srv: srv, loop: l, calls: calls, stripe: srv.nextStripe.Add(1), times: exec.NewTimer(&srv.meter, len(srv.table.All()))}
	for _, r := range srv.replicas {
		l := lane{replica: r, runner: srv.newRunner(r)}
		l.runner.OnLoop()
		w.lanes = append(w.lanes, l)
	}
	return w
}

// Accept implements transport.Worker.
func (w *worker) Accept(link transport.Link, peer transport.Peer) transport.Conn {
	s := newSession(w, link, peer)
	w.srv.clients.add(s)
	return s
}

// HasBurst implements transport.Worker.
func (w *worker) HasBurst() bool {
	for i := range w.lanes {
		if w.lanes[i].runner.Gathered() > 0 {
			return true
		}
	}
	return false
}

// CarryOut implements transport.Worker.
func (w *worker) CarryOut() {
	for i := range w.lanes {
		w.lanes[i].carryOut()
	}
}

func (l *lane) carryOut() {
	if l.runner.Gathered() == 0 {
		return
	}
	counts := l.runner.GathersIncrements()
	l.runner.Answer(l.readTime())
	if counts {
		l.replica.AnsweredAhead()
	}
}

// subBatch is the lane's open sub-batch; it opens one if there is none.
func (l *lane) subBatch(w *worker) *replica.SubBatch {
	if l.open == nil {
		if n := len(l.spare); n > 0 {
			l.open, l.spare[n-1], l.spare = l.spare[n-1], nil, l.spare[:n-1]
			l.kept -= l.open.Footprint()
		} else {
			l.open = l.replica.NewSubBatch(w)
		}
		l.open.Open()
	}
	return l.open
}

// handOver hands over the lane's open sub-batch, if there is one. No submission in it is open.
func (w *worker) handOver(l *lane) {
	if l.open != nil {
		w.waiting++
		l.gathered += l.open.Size()
		l.hand(l.open)
		l.open = nil
	}
}

// hand gives a sub-batch to the log; one that only reads does not need it, unless needsLog says so, or this node's state is that
// of the log anyway.
func (l *lane) hand(s *replica.SubBatch) {
	reads := s.ReadsOnly() && !l.needsLog && !l.sole
	l.needsLog = false
	list := s.Submissions()
	for i := range list {
		list[i].Client.(*Session).handedOver(reads)
	}
	if s.Reads = reads; reads {
		l.replica.SubmitReads(s)
		return
	}
	l.flush = true
	l.replica.Submit(s)
}

// Submit implements transport.Worker.
func (w *worker) Submit() {
	for i := range w.lanes {
		l := &w.lanes[i]
		w.handOver(l)
		if l.flush {
			l.flush = false
			l.replica.Flush()
		}
	}
	if turn := w.turn.Load(); turn&1 != 0 {
		w.countRepeated(nil)
		w.turn.Store(turn + 1)
		w.endTurn()
	}
}

// shortCommand is how long a command that is not timed may take, in nanoseconds, with its share of reading and sending.
const shortCommand = 5000

// endTurn has the loop look more closely if the turn took longer than the number of its commands explains.
func (w *worker) endTurn() {
	ran := w.ran
	w.ran = 0
	slow := w.srv.meter.Slow.Load()
	if slow == 0 {
		return
	}
	ns := w.times.Now() - w.began
	if ns-ran*shortCommand < slow {
		return
	}
	w.srv.tookLong(eventLoopEvent, ns)
	w.times.LookClosely()
	for i := range w.lanes {
		w.lanes[i].runner.LookClosely()
	}
}

// inTurn reports whether a turn is under way.
func (w *worker) inTurn() bool { return w.turn.Load()&1 != 0 }

// awaitTurn waits until the turn that is under way is over, if one is; giveUp ends the wait. A turn takes microseconds and does not wait
// for clients, and being told of its end would cost every turn something; so this looks again and again.
func (w *worker) awaitTurn(giveUp <-chan struct{}) {
	const looks = 100 // before it rests between two
	now := w.turn.Load()
	for i := 0; now&1 != 0 && w.turn.Load() == now; i++ {
		if i < looks {
			runtime.Gosched()
			continue
		}
		select {
		case <-time.After(100 * time.Microsecond):
		case <-giveUp:
			return
		}
	}
}

// begins is called before a session looks at Server.draining or isReady, and before commands are read or executed.
func (w *worker) begins() {
	if turn := w.turn.Load(); turn&1 == 0 {
		w.turn.Store(turn + 1)
		w.began = w.times.Now()
	}
	w.times.Refresh()
	if step := w.srv.hot.step.Load(); step != w.hot.step {
		w.hot.use(step)
	}
	for i := range w.lanes {
		w.lanes[i].runner.Refresh()
		w.lanes[i].sole = w.lanes[i].replica.Group.SoleVoter()
	}
}

// Complete implements replica.Owner.
func (w *worker) Complete(sub *replica.SubBatch) {
	w.mu.Lock()
	w.completed = append(w.completed, sub)
	w.mu.Unlock()
	w.loop.Completed()
}

// TakeCompleted implements transport.Worker.
func (w *worker) TakeCompleted() {
	w.mu.Lock()
	subs := w.completed
	w.completed = w.spareCompleted[:0]
	w.mu.Unlock()
	w.spareCompleted = subs
	for _, sub := range subs {
		w.take(sub)
	}
	clear(subs)
}

// take takes the replies of a sub-batch that has come back.
func (w *worker) take(sub *replica.SubBatch) {
	if sub.Reads {
		w.begins()
		if w.setAside(sub) {
			return
		}
		sub.Execute(w.laneFor(sub).runner)
	}
	w.waiting--
	resumed := w.spareResumed[:0]
	list := sub.Submissions()
	for i := range list {
		s := list[i].Client.(*Session)
		s.finish(sub, &list[i])
		resumed = append(resumed, s)
	}
	w.keep(sub)
	for _, s := range resumed {
		s.link.Resume()
	}
	clear(resumed)
	w.spareResumed = resumed
}

// laneFor is the lane that a sub-batch was gathered in.
func (w *worker) laneFor(sub *replica.SubBatch) *lane {
	for i := range w.lanes {
		if sub.Of(w.lanes[i].replica) {
			return &w.lanes[i]
		}
	}
	panic("BUG: a sub-batch of no lane")
}

// keep keeps a sub-batch for use again, unless that would keep too much memory.
func (w *worker) keep(sub *replica.SubBatch) {
	for i := range w.lanes {
		if l := &w.lanes[i]; sub.Of(l.replica) && l.kept+sub.Footprint() <= maxSpareBytes {
			sub.Reset()
			l.spare = append(l.spare, sub)
			l.kept += sub.Footprint()
		}
	}
}

// Tick implements transport.Worker.
func (w *worker) Tick() {
	w.times.Fresh()
	for i := range w.lanes {
		w.lanes[i].tick()
	}
}

// tick lets go of the spare sub-batches once the lane has been quiet for a while.
func (l *lane) tick() {
	l.runner.Fresh()
	if l.quiet++; l.gathered > littleGathered {
		l.quiet = 0
	}
	l.gathered = 0
	if l.quiet >= quietTicks {
		l.spare, l.kept = nil, 0
	}
}

// Rests implements transport.Worker.
func (w *worker) Rests() bool { return w.waiting == 0 }

// MayAwait implements transport.Worker: while this node is the only voter, a commit needs nothing but its own disk.
func (w *worker) MayAwait() bool {
	if w.waiting == 0 {
		return false
	}
	for i := range w.lanes {
		if !w.lanes[i].replica.Group.SoleVoter() {
			return false
		}
	}
	return true
}
