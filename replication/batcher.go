package replication

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Many clients share one sync of the disk (databases call that group commit).
//
// The naive way proposes an entry for each command: each then waits for a sync of its own. To collect commands for some
// milliseconds, by a timer, is not good enough: every client then waits for the timer even if the disk is idle. So there is
// no timer. One entry is in flight, and all that arrives meanwhile fills the batch that becomes the next entry:
//
//	Submit, Flush:  filling ──(nothing in flight)──► Seal ─► Propose ─► in flight
//	filling above the soft limit: the batch waits in a queue, a new one fills
//	applier:  Claim ─► StateMachine.Apply ─► Applied { Decide(Applied); propose the next }
//	       or Void, TermBegan: the entry is never applied { Decide(NotApplied); propose the next }
//
// An owner gathers its sub-batch without any lock; Submit holds the Batcher's lock only while it appends the sub-batch to a
// list. The goroutine that applies an entry (the applier) completes the entry's batch and proposes the next one itself: a
// hop to another goroutine would cost more than the CPU time of the fsync. Nobody waits for the future of a commit that
// succeeds; watch.go looks after proposals that take long.
//
// The Outcome of a batch is decided here and nowhere else, by one compare-and-swap on proposal.state: either by the applier
// (Claim, Void, TermBegan) or by whoever gives up (deadline, failure, Close). The batch is told by Batch.Decide and, after Unknown, by
// Batch.Fate. Both are called without the lock, so they may use the Batcher.
//
// Invariant: when an entry is sealed, every earlier one has been applied or never will be. So nothing is proposed while an
// entry that was given up may still be applied. The loss of leadership does not decide an entry: it may be in the log of
// the next leader. What decides it is the entry itself in the log, or any later term there (TermBegan): an entry is only
// executed in the term that it was proposed in. Source.Ahead relies on the invariant: what it returned for an
// entry is returned again if that entry was not applied, and only then.
//
// Two entries in flight were measured, and gain nothing if a round trip to the followers takes less than about 5 ms.

// BatcherOptions are the limits of a Batcher; a zero field takes its default.
type BatcherOptions struct {
	WriteTimeout   time.Duration // from the first Submit into a batch until the batch is given up; default 5 s
	EntrySoftLimit int           // payload bytes from which a batch takes no more; default 512 KiB
	EntryHardLimit int           // payload bytes above which a batch is refused; default 8 MiB
}

const (
	defaultWriteTimeout   = 5 * time.Second
	defaultEntrySoftLimit = 512 << 10
	defaultEntryHardLimit = 8 << 20
)

func (o *BatcherOptions) setDefaults() {
	setDefault(&o.WriteTimeout, defaultWriteTimeout)
	setDefault(&o.EntrySoftLimit, defaultEntrySoftLimit)
	setDefault(&o.EntryHardLimit, defaultEntryHardLimit)
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Batcher makes one entry of all that arrives while the previous one commits. See the comment at the top of the file.
type Batcher struct {
	group    Group
	clock    *Clock
	source   Source
	opt      BatcherOptions
	proposer uint64 // random: tells the entries of this process from those that the node proposed before a restart
	start    time.Time

	queued   atomic.Int64             // bytes of the batches that wait and of the one in flight
	check    atomic.Bool              // the next entry is to have all nodes take a checksum
	inflight atomic.Pointer[proposal] // set with mu held; nil, or the one entry that is neither applied nor failed

	mu       sync.Mutex
	filling  waiting   // takes what is submitted; its batch is never nil
	full     []waiting // those above the soft limit, oldest first
	sequence uint64    // of the last proposal
	spare    []byte    // an entry's buffer, to be used again
	closed   bool
	tick     bool            // an entry was asked for since the last one was proposed
	idle     []chan struct{} // closed when nothing waits or is in flight

	gather  gathering // guarded by mu
	figures figures
	watch   watchState
}

// waiting is a batch that has not been proposed.
type waiting struct {
	batch Batch
	since time.Duration // when its first sub-batch came, as Batcher.now; 0: still empty
	bytes int64         // counted in queued
}

// proposal is an entry in flight.
type proposal struct {
	batch    Batch // nil: no client waits for the entry; it has only what Source.Ahead returned, or advances log time
	buf      []byte
	sequence uint64
	term     uint64        // in which it was proposed
	since    time.Duration // waiting.since of the batch; without a batch, when it was proposed
	bytes    int64         // counted in queued
	proposed time.Duration // or sent to the leader
	state    atomic.Uint32
	future   Future // set with mu held, after inflight
	shipped  bool   // it was forwarded to the leader, and is no entry of this node's
	ahead    bool   // it was, with what was answered ahead before it
	awaited  bool   // the awaiter has been given the proposal; used by the watcher alone
}

// The states of a proposal:
//
//	undecided ──► claimed                       the applier will complete the batch
//	    │
//	    └──► givingUp ──► givenUp ──► ended     the batch is decided as unknown or not applied; then it is told its fate
//	            └──────► applied, never ──► ended
//
// The fate may become known (applied, never) while another goroutine still calls Decide(Unknown). Fate must not be called
// before Decide has returned, so it is then that other goroutine which calls Fate.
const (
	stateUndecided uint32 = iota
	stateClaimed
	stateGivingUp
	stateGivenUp
	stateApplied
	stateNever
	stateEnded
)

// giveUp decides the batch of p, unless the applier has claimed it: as Unknown, or as NotApplied, after which no Fate follows.
func (p *proposal) giveUp(o Outcome, reason error) {
	if !p.state.CompareAndSwap(stateUndecided, stateGivingUp) {
		return
	}
	if p.batch == nil || o == NotApplied {
		if p.batch != nil {
			p.batch.Decide(o, reason)
		}
		p.state.Store(stateEnded)
		return
	}
	p.batch.Decide(o, reason)
	if !p.state.CompareAndSwap(stateGivingUp, stateGivenUp) {
		p.batch.Fate(p.state.Swap(stateEnded) == stateApplied)
	}
}

// fate tells the batch of a proposal that was given up what became of its entry.
func (p *proposal) fate(applied bool) {
	known := stateNever
	if applied {
		known = stateApplied
	}
	if !p.state.CompareAndSwap(stateGivingUp, known) && p.state.CompareAndSwap(stateGivenUp, stateEnded) {
		p.batch.Fate(applied)
	}
}

// refusal is a batch that is to be decided as NotApplied once the lock has been released.
type refusal struct {
	batch  Batch
	reason error
}

func deliver(refused []refusal) {
	for _, r := range refused {
		r.batch.Decide(NotApplied, r.reason)
	}
}

// NewBatcher returns a Batcher that is bound to g as its Proposer, and starts its goroutines.
func NewBatcher(g Group, clock *Clock, source Source, opt BatcherOptions) *Batcher {
	opt.setDefaults()
	b := &Batcher{group: g, clock: clock, source: source, opt: opt, start: time.Now(), figures: newFigures()}
	var random [8]byte
	rand.Read(random[:]) // never fails
	b.proposer = binary.LittleEndian.Uint64(random[:])
	b.filling.batch = source.NewBatch()
	b.watch.init()
	g.Bind(b)
	go b.runAwaiter()
	go b.runWatcher()
	return b
}

func (b *Batcher) now() time.Duration { return time.Since(b.start) + 1 } // never 0

// Submit adds a sub-batch to the batch that fills. Nothing is proposed before Flush. If that batch would exceed the soft limit
// a new one is begun, so that a large command does not take an entry that other clients share over the hard limit.
func (b *Batcher) Submit(sub SubBatch) {
	var refused []refusal
	size := int64(sub.Size())
	b.mu.Lock()
	if have := b.filling.batch.Size(); have > 0 && have+int(size) > b.opt.EntrySoftLimit {
		b.full = append(b.full, b.takeFilling())
	}
	g := &b.filling
	g.batch.Add(sub)
	if g.since == 0 {
		g.since = b.now()
		b.wakeWatcher()
	}
	g.bytes += size
	b.queued.Add(size)
	if b.closed {
		refused = b.refuseWaiting(nil, notApplied(ErrShutdown))
	}
	b.mu.Unlock()
	deliver(refused)
}

// takeFilling returns the batch that fills, and begins a new one. mu held.
func (b *Batcher) takeFilling() waiting {
	g := b.filling
	if g.since == 0 {
		g.since = b.now()
	}
	b.filling = waiting{batch: b.source.NewBatch()}
	return g
}

// Flush proposes the oldest batch that waits, unless an entry is in flight: the batch is then proposed when that entry is done.
func (b *Batcher) Flush() {
	if b.inflight.Load() != nil {
		return // the goroutine that is done with the entry proposes the next, under the lock that Submit has released
	}
	b.mu.Lock()
	refused := b.proposeNext(false)
	b.mu.Unlock()
	deliver(refused)
}

// Tick proposes an entry even if no batch waits, unless an entry is in flight. The entry has what Source.Ahead returns, and
// advances log time.
func (b *Batcher) Tick() {
	if p := b.inflight.Load(); p != nil && !p.shipped {
		return
	}
	b.mu.Lock()
	b.tick = true // what was forwarded is no entry: then the tick follows it
	refused := b.proposeNext(true)
	b.mu.Unlock()
	deliver(refused)
}

// Check implements Proposer.
func (b *Batcher) Check() {
	b.check.Store(true)
	b.Tick()
}

// Queued is the number of bytes submitted and not yet applied.
func (b *Batcher) Queued() int64 { return b.queued.Load() }

// oldest is the batch that is to be proposed next; nil if none waits. mu held.
func (b *Batcher) oldest() *waiting {
	switch {
	case len(b.full) > 0:
		return &b.full[0]
	case !b.filling.batch.Empty():
		return &b.filling
	}
	return nil
}

// takeOldest takes out the batch that oldest returns. mu held.
func (b *Batcher) takeOldest() waiting {
	if len(b.full) == 0 {
		return b.takeFilling()
	}
	g := b.full[0]
	b.full[0] = waiting{}
	b.full = b.full[1:]
	return g
}

// proposeNext proposes the next entry if none is in flight; with tick, also one for which no client waits. It returns the
// batches that are refused, to be delivered. mu held.
func (b *Batcher) proposeNext(tick bool) (refused []refusal) {
	for b.inflight.Load() == nil {
		g := b.oldest()
		if g == nil && !tick {
			b.notifyIdle()
			return refused
		}
		if g != nil && b.waitsForMore(g) {
			return refused
		}
		var taken *waiting
		err := b.refuses(g)
		if err == nil && b.group.Term() == 0 && b.group.Forwards() {
			return b.ship(refused, tick || b.tick)
		}
		if err == nil {
			taken, err = b.propose(g)
		}
		if err != nil && taken == nil && g != nil { // g cannot be proposed, or what had to go ahead of it could not
			oldest := b.takeOldest()
			taken = &oldest
		}
		if err != nil && taken != nil {
			b.queued.Add(-taken.bytes)
			refused = append(refused, refusal{taken.batch, err})
		}
		tick = false
	}
	return refused
}

// refuses says why g cannot be proposed; nil is an entry for which no client waits. mu held.
func (b *Batcher) refuses(g *waiting) error {
	if b.closed {
		return notApplied(ErrShutdown)
	}
	if err := b.group.Writable(); err != nil {
		return err
	}
	if g != nil && g.batch.Size() > b.opt.EntryHardLimit {
		return notApplied(ErrEntryTooLarge)
	}
	return nil
}

// propose makes an entry of what Source.Ahead returns and of the oldest batch, and proposes it. The batch is left for a later
// entry if Source.Ahead had not room for all. (It is not left because both together are large: under steady load at ack
// level local a large batch would be left again and again.) propose returns the batch if the entry has it, and an error if
// the proposal failed at once. mu held, nothing in flight.
func (b *Batcher) propose(oldest *waiting) (taken *waiting, err error) {
	if oldest != nil {
		oldest.batch.Forwarded(b.group.Term())
	}
	buf, all := b.source.Ahead(b.buffer(oldest))
	stamp := b.clock.Now() // after Ahead: an entry must not be older than an increment in it was when it was answered
	p := &proposal{since: b.now(), proposed: b.now()}
	if oldest != nil && all {
		g := b.takeOldest()
		taken = &g
		p.batch, p.since, p.bytes = g.batch, g.since, g.bytes
		buf = g.batch.Seal(buf, stamp)
	}
	b.sequence++
	b.tick = false
	p.sequence, p.term, p.buf = b.sequence, b.group.Term(), buf
	header := entryHeader{level: b.group.EntryLevel(), stamp: stamp, term: p.term, proposer: b.proposer, sequence: b.sequence}
	if len(buf) == HeaderSize {
		header.flags = flagTick
	}
	if b.check.CompareAndSwap(true, false) {
		header.flags |= flagCheck
	}
	encodeEntry(buf, header)
	b.inflight.Store(p) // before Propose: the entry may be applied before Propose returns
	b.wakeWatcher()
	p.future = b.group.Propose(buf)
	if f, ok := p.future.(failedFuture); ok && p.state.CompareAndSwap(stateUndecided, stateEnded) {
		b.inflight.Store(nil)
		err := classify(f.err)
		if taken != nil && errors.Is(err, ErrNotLeader) && b.group.Forwards() {
			b.full = slices.Insert(b.full, 0, *taken) // for the next leader
			return nil, nil
		}
		return taken, err
	}
	return taken, nil
}

// maxSpareEntry is the most bytes of an entry's buffer that are kept for the next entry.
const maxSpareEntry = 4 << 20

// buffer returns the buffer of an entry: HeaderSize bytes, with room for g. mu held.
func (b *Batcher) buffer(g *waiting) []byte {
	if buf := b.spare; buf != nil {
		b.spare = nil
		return buf[:HeaderSize]
	}
	size := 512
	if g != nil {
		size = max(size, g.batch.Size())
	}
	return make([]byte, HeaderSize, HeaderSize+size)
}

// DropSpare gives up the buffer that is kept for the next entry.
func (b *Batcher) DropSpare() {
	b.mu.Lock()
	b.spare = nil
	b.mu.Unlock()
}

// Claim implements Proposer.
func (b *Batcher) Claim(proposer, sequence uint64) Batch {
	if p := b.lookup(proposer, sequence); p != nil && p.batch != nil && p.state.CompareAndSwap(stateUndecided, stateClaimed) {
		return p.batch
	}
	return nil
}

// Applied implements Proposer.
func (b *Batcher) Applied(proposer, sequence uint64) {
	p := b.lookup(proposer, sequence)
	if p == nil {
		return
	}
	if p.state.Load() == stateClaimed {
		p.batch.Decide(Applied, nil)
	} else {
		p.fate(true)
	}
	b.decided(p, true, true)
}

// Void implements Proposer.
func (b *Batcher) Void(proposer, sequence uint64) {
	if p := b.lookup(proposer, sequence); p != nil {
		b.end(p, true, NotApplied, errNotLeader)
	}
}

// TermBegan implements Proposer.
func (b *Batcher) TermBegan(term uint64) {
	if p := b.inflight.Load(); p != nil && !p.shipped && p.term < term {
		b.end(p, false, NotApplied, errNotLeader)
	}
}

// Restored implements Proposer.
func (b *Batcher) Restored() {
	if p := b.inflight.Load(); p != nil && !p.shipped {
		b.end(p, false, Unknown, fmt.Errorf("%w (a snapshot has taken the place of the state)", ErrUnknown))
	}
}

// end ends a proposal whose entry will not be applied any more, and decides its batch unless that was given up before. logged
// says that the log has the entry all the same.
func (b *Batcher) end(p *proposal, logged bool, o Outcome, reason error) {
	if p.state.Load() == stateClaimed {
		return // the entry is being applied: Applied decides the batch
	}
	if o == NotApplied && b.retries(p, reason) {
		b.decided(p, logged, false)
		return
	}
	p.giveUp(o, reason)
	p.fate(false)
	b.decided(p, logged, false)
}

// lookup returns the proposal in flight if it has these numbers, else nil.
func (b *Batcher) lookup(proposer, sequence uint64) *proposal {
	if proposer != b.proposer {
		return nil
	}
	if p := b.inflight.Load(); p != nil && p.sequence == sequence {
		return p
	}
	return nil
}

// decided makes room for the next entry: p has been applied, or never will be. logged says that the log has the entry.
func (b *Batcher) decided(p *proposal, logged, applied bool) {
	b.mu.Lock()
	if b.inflight.Load() != p {
		b.mu.Unlock()
		return
	}
	b.inflight.Store(nil)
	b.queued.Add(-p.bytes)
	now := b.now()
	if applied {
		b.figures.applied(p, now)
	}
	b.gather.decided(b, p, now)
	if logged && cap(p.buf) <= maxSpareEntry {
		b.spare = p.buf // nobody reads it any more: the log has the entry in its files
	}
	refused := b.proposeNext(b.tick)
	b.mu.Unlock()
	deliver(refused)
}

// failed is called when the future of p ended with an error. An error that does not exclude that the entry is applied only
// decides its batch: p stays in flight until Applied, Void or TermBegan ends it.
func (b *Batcher) failed(p *proposal, err error) {
	reason := classify(err)
	var no *NotAppliedError
	if errors.As(reason, &no) {
		b.end(p, false, NotApplied, no)
		return
	}
	p.giveUp(Unknown, reason)
}

// classify returns a *NotAppliedError if err is known to exclude that the entry is ever applied, else an ErrUnknown.
func classify(err error) error {
	var no *NotAppliedError
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		return notApplied(fmt.Errorf("%w: %w", ErrNotLeader, err))
	case errors.Is(err, ErrUnknown):
		return err
	default:
		return fmt.Errorf("%w (%w)", ErrUnknown, err)
	}
}

// refuseWaiting takes out all batches that were not proposed, to be decided as NotApplied with err. mu held.
func (b *Batcher) refuseWaiting(refused []refusal, err error) []refusal {
	for _, g := range b.full {
		b.queued.Add(-g.bytes)
		refused = append(refused, refusal{g.batch, err})
	}
	b.full = nil
	if !b.filling.batch.Empty() {
		g := b.takeFilling()
		b.queued.Add(-g.bytes)
		refused = append(refused, refusal{g.batch, err})
	}
	return refused
}

// notifyIdle wakes Drain. mu held; nothing waits, and nothing that clients wait for is in flight.
func (b *Batcher) notifyIdle() {
	for _, ch := range b.idle {
		close(ch)
	}
	b.idle = nil
}

// Drain flushes, and returns when no batch waits or is in flight. (The fate of an entry that was given up is not waited for by a
// node that does not lead: until another one does, it stays open.) Nothing may be submitted any more.
func (b *Batcher) Drain(ctx context.Context) error {
	done := make(chan struct{})
	b.mu.Lock()
	b.idle = append(b.idle, done)
	refused := b.proposeNext(false)
	b.mu.Unlock()
	deliver(refused)
	select {
	case <-done:
		return nil
	case <-b.watch.stopped:
		return nil // Close has completed everything
	case <-ctx.Done():
		return fmt.Errorf("%d bytes of writes are still under way: %w", b.Queued(), ctx.Err())
	}
}

// Close decides all batches: the one in flight as Unknown, the others as NotApplied. What is submitted later is refused. For a
// graceful end call Drain first.
func (b *Batcher) Close() { b.abort(ErrShutdown) }

func (b *Batcher) abort(reason error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	refused := b.refuseWaiting(nil, notApplied(reason))
	p := b.inflight.Load()
	b.mu.Unlock()
	deliver(refused)
	if p != nil {
		p.giveUp(Unknown, fmt.Errorf("%w (%w)", ErrUnknown, reason))
	}
	close(b.watch.stopped)
}
