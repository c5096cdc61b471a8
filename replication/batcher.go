package replication

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Group commit without a timer. One batch is in flight; the next gathers all that arrives meanwhile:
//
//	Submit, Flush:  gathering ──(nothing in flight)──► Seal ─► Propose ─► in flight
//	gathering above the soft limit: queued behind, a new one gathers
//	applier:  Claim ─► StateMachine.Apply ─► Applied { Decide(Applied); propose the next }
//
// Who submits has gathered a sub-batch of its own, without any lock; the Batcher's lock is held for as long as it takes
// to append it to a list. The goroutine that applies an entry completes its batch and proposes the next one itself: each
// hop to another goroutine costs more than the CPU of the fsync. Nobody waits for the future of a commit that succeeds;
// watch.go looks after those that take long.
//
// What becomes of a batch, its Outcome, is decided here and nowhere else, by one compare-and-swap on proposal.state: the
// applier (Claim) or the one who gives up (deadline, failure, Close). Everybody else who needs to know derives it from
// the two calls Batch.Decide and, after Unknown, Batch.Fate. Both are made without the lock, so they may use the Batcher.
//
// While an entry that was given up has neither been applied nor failed, nothing more is proposed: when a batch is sealed,
// every earlier one has been applied or never will be. What goes ahead of the batches (Source.Ahead) relies on that: it
// is sealed again if its entry was not applied, and only then.
//
// Two batches in flight were measured and gain nothing below about 5 ms of round trip.

// BatcherOptions are the limits of a Batcher; a zero field takes its default.
type BatcherOptions struct {
	WriteTimeout   time.Duration // from a batch's first command to giving up; default 5 s
	EntrySoftLimit int           // payload bytes from which a batch takes no more; default 512 KiB
	EntryHardLimit int           // payload bytes above which a batch is refused; default 8 MiB
	Level          uint16        // semantics level of the entries; default SemanticsLevel
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
	setDefault(&o.Level, SemanticsLevel)
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Batcher makes one entry of all that arrives while the previous one commits. See the comment at the top of the file.
type Batcher struct {
	group  Group
	clock  *Clock
	source Source
	opt    BatcherOptions
	origin uint64 // random: tells this process's entries from those of an earlier run
	start  time.Time

	queued   atomic.Int64             // bytes gathered, queued and in flight
	inflight atomic.Pointer[proposal] // set with mu held; nil or the one undecided entry

	mu       sync.Mutex
	gather   gathered   // batch never nil
	full     []gathered // above the soft limit, oldest first
	sequence uint64     // of the last proposal
	spare    []byte     // an entry's buffer, to be used again
	closed   bool
	idle     []chan struct{} // closed when nothing is gathered, queued or in flight

	watch watchState
}

// gathered is a batch that has not been proposed.
type gathered struct {
	batch Batch
	since time.Duration // when its first command came; 0: still empty
	bytes int64         // counted in queued
}

// proposal is an entry in flight.
type proposal struct {
	batch    Batch // nil: nobody waits for it, it only has what goes ahead of the batches, or advances log time
	buf      []byte
	sequence uint64
	since    time.Duration
	bytes    int64
	state    atomic.Uint32
	future   Future // set with mu held, after inflight
	awaited  bool   // the awaiter has it; only the watcher uses this
}

// The states of a proposal:
//
//	pending ──► claimed                       the applier will complete it
//	   │
//	   └──► givingUp ──► givenUp ──► ended    completed as unknown or failed; then its fate is told
//	           └──────► applied, never ──► ended
//
// Its fate may be known while the batch is still being told that it is unknown; then whoever tells that tells the fate too.
const (
	statePending uint32 = iota
	stateClaimed
	stateGivingUp
	stateGivenUp
	stateApplied
	stateNever
	stateEnded
)

// giveUp completes p unless the applier has it: with Unknown, or with NotApplied, after which there is no fate to tell.
func (p *proposal) giveUp(o Outcome, reason error) {
	if !p.state.CompareAndSwap(statePending, stateGivingUp) {
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

// refusal is an outcome to be delivered without the lock: NotApplied.
type refusal struct {
	batch  Batch
	reason error
}

func deliver(refused []refusal) {
	for _, r := range refused {
		r.batch.Decide(NotApplied, r.reason)
	}
}

// NewBatcher binds itself to g as its proposer and starts gathering.
func NewBatcher(g Group, clock *Clock, source Source, opt BatcherOptions) *Batcher {
	opt.setDefaults()
	b := &Batcher{group: g, clock: clock, source: source, opt: opt, start: time.Now()}
	var random [8]byte
	rand.Read(random[:]) // never fails
	b.origin = binary.LittleEndian.Uint64(random[:])
	b.gather.batch = source.NewBatch()
	b.watch.init()
	g.Bind(b)
	go b.runAwaiter()
	go b.runWatcher()
	return b
}

func (b *Batcher) now() time.Duration { return time.Since(b.start) + 1 } // never 0

// Submit adds a sub-batch to the batch that gathers. Nothing is proposed before Flush. A batch that would exceed the soft
// limit takes no more, so that a large command does not drive an entry that others share over the hard limit.
func (b *Batcher) Submit(sub SubBatch) {
	var refused []refusal
	size := int64(sub.Size())
	b.mu.Lock()
	if have := b.gather.batch.Size(); have > 0 && have+int(size) > b.opt.EntrySoftLimit {
		b.full = append(b.full, b.takeGathered())
	}
	g := &b.gather
	g.batch.Add(sub)
	if g.since == 0 {
		g.since = b.now()
		b.wakeWatcher()
	}
	g.bytes += size
	b.queued.Add(size)
	if b.closed {
		refused = b.refuseGathered(nil, notApplied(ErrShutdown))
	}
	b.mu.Unlock()
	deliver(refused)
}

// takeGathered replaces the gathering batch by a new one. mu held.
func (b *Batcher) takeGathered() gathered {
	g := b.gather
	if g.since == 0 {
		g.since = b.now()
	}
	b.gather = gathered{batch: b.source.NewBatch()}
	return g
}

// Flush proposes what has gathered, unless an entry is in flight: then it goes as soon as that one is done.
func (b *Batcher) Flush() {
	if b.inflight.Load() != nil {
		return // whoever decides it proposes the next, under the lock that our Submit has released
	}
	b.mu.Lock()
	refused := b.proposeNext(false)
	b.mu.Unlock()
	deliver(refused)
}

// Tick proposes an entry for which nobody waits, unless one is in flight or there is something else to propose: it takes
// along what goes ahead of the batches, and advances log time.
func (b *Batcher) Tick() {
	if b.inflight.Load() != nil {
		return
	}
	b.mu.Lock()
	refused := b.proposeNext(true)
	b.mu.Unlock()
	deliver(refused)
}

// Queued is the number of bytes submitted and not yet applied.
func (b *Batcher) Queued() int64 { return b.queued.Load() }

// oldest is the batch whose turn it is; nil if nobody waits.
func (b *Batcher) oldest() *gathered {
	switch {
	case len(b.full) > 0:
		return &b.full[0]
	case !b.gather.batch.Empty():
		return &b.gather
	}
	return nil
}

// takeOldest takes out what oldest has returned.
func (b *Batcher) takeOldest() gathered {
	if len(b.full) == 0 {
		return b.takeGathered()
	}
	g := b.full[0]
	b.full[0] = gathered{}
	b.full = b.full[1:]
	return g
}

// proposeNext proposes the next entry if none is in flight. tick: also one that nobody waits for. Batches that are
// refused are returned for delivery. mu held.
func (b *Batcher) proposeNext(tick bool) (refused []refusal) {
	for b.inflight.Load() == nil {
		g := b.oldest()
		if g == nil && !tick {
			b.notifyIdle()
			return refused
		}
		var taken *gathered
		err := b.refuses(g)
		if err == nil {
			taken, err = b.propose(g)
		}
		if err != nil && taken == nil && g != nil { // what had to go ahead of it could not
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

// refuses says why g, nil for an entry that nobody waits for, cannot be proposed. mu held.
func (b *Batcher) refuses(g *gathered) error {
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

// propose makes an entry of what goes ahead of the batches and, unless that is too much or not everything, of the oldest
// batch. It returns that batch if it took it, and the reason if its proposal failed. mu held, nothing in flight.
func (b *Batcher) propose(oldest *gathered) (taken *gathered, err error) {
	buf, all := b.source.Ahead(b.buffer(oldest))
	stamp := b.clock.Now() // not before anything was answered that goes ahead: its key must not be older here than it was then
	p := &proposal{since: b.now()}
	if ahead := len(buf) - HeaderSize; oldest != nil && all && (ahead == 0 || ahead+oldest.batch.Size() <= b.opt.EntryHardLimit) {
		g := b.takeOldest()
		taken = &g
		p.batch, p.since, p.bytes = g.batch, g.since, g.bytes
		buf = g.batch.Seal(buf, stamp)
	}
	b.sequence++
	p.sequence, p.buf = b.sequence, buf
	header := entryHeader{level: b.opt.Level, stamp: stamp, origin: b.origin, sequence: b.sequence}
	if len(buf) == HeaderSize {
		header.flags = flagTick
	}
	encodeEntry(buf, header)
	b.inflight.Store(p) // before Propose: it may be applied before that returns
	b.wakeWatcher()
	p.future = b.group.Propose(buf)
	if f, ok := p.future.(failedFuture); ok && p.state.CompareAndSwap(statePending, stateEnded) {
		b.inflight.Store(nil)
		return taken, classify(f.err)
	}
	return taken, nil
}

// maxSpareEntry is the most bytes of an entry's buffer that are kept for the next entry.
const maxSpareEntry = 4 << 20

// buffer returns the buffer of an entry: HeaderSize bytes, with room for g. mu held.
func (b *Batcher) buffer(g *gathered) []byte {
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

// Claim implements Proposer.
func (b *Batcher) Claim(origin, sequence uint64) Batch {
	if p := b.lookup(origin, sequence); p != nil && p.batch != nil && p.state.CompareAndSwap(statePending, stateClaimed) {
		return p.batch
	}
	return nil
}

// Applied implements Proposer.
func (b *Batcher) Applied(origin, sequence uint64) {
	p := b.lookup(origin, sequence)
	if p == nil {
		return
	}
	if p.state.Load() == stateClaimed {
		p.batch.Decide(Applied, nil)
	} else {
		p.fate(true)
	}
	b.decided(p, true)
}

// lookup returns the proposal in flight if it is this one.
func (b *Batcher) lookup(origin, sequence uint64) *proposal {
	if origin != b.origin {
		return nil
	}
	if p := b.inflight.Load(); p != nil && p.sequence == sequence {
		return p
	}
	return nil
}

// decided makes room for the next entry: p has been applied, or has failed for good.
func (b *Batcher) decided(p *proposal, applied bool) {
	b.mu.Lock()
	if b.inflight.Load() != p {
		b.mu.Unlock()
		return
	}
	b.inflight.Store(nil)
	b.queued.Add(-p.bytes)
	if applied && cap(p.buf) <= maxSpareEntry {
		b.spare = p.buf // the log has it in its files
	}
	refused := b.proposeNext(false)
	b.mu.Unlock()
	deliver(refused)
}

// failed is called when the future of p ended with an error. One that does not exclude an effect counts as the end of p
// all the same: no later call would tell. (Where the entry comes after all, its counted section is passed over because its
// number is, and its other operations were answered as unknown.)
func (b *Batcher) failed(p *proposal, err error) {
	if p.state.Load() == stateClaimed {
		return // it was applied all the same; Applied decides it
	}
	reason := classify(err)
	outcome := Unknown
	var no *NotAppliedError
	if errors.As(reason, &no) {
		outcome = NotApplied
	}
	p.giveUp(outcome, reason)
	if p.state.Load() != stateClaimed {
		p.fate(false)
		b.decided(p, false)
	}
}

// classify tells the errors that exclude an effect from those that do not. What is not known to exclude it does not.
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

// refuseGathered takes everything that was not proposed. mu held.
func (b *Batcher) refuseGathered(refused []refusal, err error) []refusal {
	for _, g := range b.full {
		b.queued.Add(-g.bytes)
		refused = append(refused, refusal{g.batch, err})
	}
	b.full = nil
	if !b.gather.batch.Empty() {
		g := b.takeGathered()
		b.queued.Add(-g.bytes)
		refused = append(refused, refusal{g.batch, err})
	}
	return refused
}

// notifyIdle wakes Drain. mu held, nothing in flight or queued.
func (b *Batcher) notifyIdle() {
	for _, ch := range b.idle {
		close(ch)
	}
	b.idle = nil
}

// Drain flushes and waits until nothing is gathered or in flight. Stop submitting first.
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

// Close completes everything that waits: a batch in flight as unknown, others as not applied. Batches gathered later are
// refused at Submit. Drain first for a graceful end.
func (b *Batcher) Close() { b.abort(ErrShutdown) }

func (b *Batcher) abort(reason error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	refused := b.refuseGathered(nil, notApplied(reason))
	p := b.inflight.Load()
	b.mu.Unlock()
	deliver(refused)
	if p != nil {
		p.giveUp(Unknown, fmt.Errorf("%w (%w)", ErrUnknown, reason))
	}
	close(b.watch.stopped)
}
