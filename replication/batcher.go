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
//	Lock, add, Unlock, Flush:  gathering ──(nothing in flight)──► Seal ─► Propose ─► in flight
//	gathering above the soft limit: queued behind, a new one gathers
//	applier:  Claim ─► StateMachine.Apply ─► Applied { Complete(nil); propose the next }
//
// The goroutine that applies an entry completes its batch and proposes the next one itself: each hop to another goroutine
// costs more than the CPU of the fsync. Nobody waits for the future of a commit that succeeds; watch.go looks after those
// that take long.
//
// Who decides the outcome of a batch in flight is one compare-and-swap on proposal.state: the applier (Claim) or the one
// who gives up (deadline, failure, Close). Completion is called without the lock, so it may use the Batcher.
//
// While an entry that was given up has neither been applied nor failed, nothing more is proposed: Seal promises that
// every earlier batch has been decided.
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
	group    Group
	clock    *Clock
	newBatch func() Batch
	opt      BatcherOptions
	origin   uint64 // random: tells this process's entries from those of an earlier run
	start    time.Time

	queued   atomic.Int64             // bytes gathered, queued and in flight
	inflight atomic.Pointer[proposal] // set with mu held; nil or the one undecided entry

	mu       sync.Mutex
	gather   gathered   // batch never nil
	full     []gathered // above the soft limit, oldest first
	sequence uint64     // of the last proposal
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

// proposal is a batch in flight.
type proposal struct {
	batch    Batch
	sequence uint64
	since    time.Duration
	bytes    int64
	state    atomic.Uint32
	future   Future // set with mu held, after inflight
	awaited  bool   // the awaiter has it; only the watcher uses this
}

const (
	statePending uint32 = iota
	stateClaimed        // the applier will complete it
	stateGivenUp        // completed as unknown or failed
)

// outcome is a completion to be delivered without the lock.
type outcome struct {
	batch Batch
	err   error
}

func deliver(outcomes []outcome) {
	for _, o := range outcomes {
		o.batch.Complete(o.err)
	}
}

// NewBatcher binds itself to g as its proposer and starts gathering. newBatch is called with the lock held.
func NewBatcher(g Group, clock *Clock, newBatch func() Batch, opt BatcherOptions) *Batcher {
	opt.setDefaults()
	b := &Batcher{group: g, clock: clock, newBatch: newBatch, opt: opt, start: time.Now()}
	var random [8]byte
	rand.Read(random[:]) // never fails
	b.origin = binary.LittleEndian.Uint64(random[:])
	b.gather.batch = newBatch()
	b.watch.init()
	g.Bind(b)
	go b.runAwaiter()
	go b.runWatcher()
	return b
}

func (b *Batcher) now() time.Duration { return time.Since(b.start) + 1 } // never 0

// Lock returns the batch that gathers, with the lock held. Add to it and Unlock; keep it no longer than that. size is the
// least number of bytes that will be added: a batch that would exceed the soft limit with them takes no more, so that a
// large command does not drive an entry that others share over the hard limit.
func (b *Batcher) Lock(size int) Batch {
	b.mu.Lock()
	if have := b.gather.batch.Size(); have >= b.opt.EntrySoftLimit || have > 0 && have+size > b.opt.EntrySoftLimit {
		b.full = append(b.full, b.takeGathered())
	}
	return b.gather.batch
}

// Unlock accounts for what was added. Nothing is proposed before Flush.
func (b *Batcher) Unlock() {
	var refused []outcome
	g := &b.gather
	if !g.batch.Empty() {
		if g.since == 0 {
			g.since = b.now()
			b.wakeWatcher()
		}
		size := int64(g.batch.Size())
		b.queued.Add(size - g.bytes)
		g.bytes = size
		if b.closed {
			refused = b.refuseGathered(nil, notApplied(ErrShutdown))
		}
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
	b.gather = gathered{batch: b.newBatch()}
	return g
}

// Flush proposes what has gathered, unless a batch is in flight: then it goes as soon as that one is done.
func (b *Batcher) Flush() {
	if b.inflight.Load() != nil {
		return // whoever decides it proposes the next, under the lock that our Unlock has released
	}
	b.mu.Lock()
	failed := b.proposeNext(false)
	b.mu.Unlock()
	deliver(failed)
}

// Tick proposes an entry without payload, which only advances log time, if nothing is gathered or in flight.
func (b *Batcher) Tick() {
	if b.inflight.Load() != nil {
		return
	}
	b.mu.Lock()
	tick := !b.closed && len(b.full) == 0 && b.gather.batch.Empty() && b.group.Writable() == nil
	failed := b.proposeNext(tick)
	b.mu.Unlock()
	deliver(failed)
}

// Queued is the number of payload bytes gathered or in flight.
func (b *Batcher) Queued() int64 { return b.queued.Load() }

// proposeNext proposes the oldest batch if none is in flight. Batches that are refused are returned for delivery. mu held.
func (b *Batcher) proposeNext(tick bool) (refused []outcome) {
	for b.inflight.Load() == nil {
		var g gathered
		switch {
		case len(b.full) > 0:
			g = b.full[0]
			b.full[0] = gathered{}
			b.full = b.full[1:]
		case tick || !b.gather.batch.Empty():
			g = b.takeGathered()
			tick = false
		default:
			b.notifyIdle()
			return refused
		}
		if err := b.propose(g); err != nil {
			b.queued.Add(-g.bytes)
			refused = append(refused, outcome{g.batch, err})
		}
	}
	return refused
}

// propose seals and proposes g, or says why it may not be. mu held, nothing in flight.
func (b *Batcher) propose(g gathered) error {
	if b.closed {
		return notApplied(ErrShutdown)
	}
	if err := b.group.Writable(); err != nil {
		return err
	}
	if g.batch.Size() > b.opt.EntryHardLimit {
		return notApplied(ErrEntryTooLarge)
	}
	stamp := b.clock.Now()
	buf := g.batch.Seal(stamp)
	if len(buf)-HeaderSize > b.opt.EntryHardLimit {
		return notApplied(ErrEntryTooLarge)
	}
	b.sequence++
	header := entryHeader{level: b.opt.Level, stamp: stamp, origin: b.origin, sequence: b.sequence}
	if len(buf) == HeaderSize {
		header.flags = flagTick
	}
	encodeEntry(buf, header)
	p := &proposal{batch: g.batch, sequence: b.sequence, since: g.since, bytes: g.bytes}
	b.inflight.Store(p) // before Propose: it may be applied before that returns
	b.wakeWatcher()
	p.future = b.group.Propose(buf)
	if f, ok := p.future.(failedFuture); ok && p.state.CompareAndSwap(statePending, stateGivenUp) {
		b.inflight.Store(nil)
		return classify(f.err)
	}
	return nil
}

// Claim implements Proposer.
func (b *Batcher) Claim(origin, sequence uint64) Batch {
	if p := b.lookup(origin, sequence); p != nil && p.state.CompareAndSwap(statePending, stateClaimed) {
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
		p.batch.Complete(nil)
	}
	b.decided(p)
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

// decided makes room for the next batch: p has been applied, or has failed for good.
func (b *Batcher) decided(p *proposal) {
	b.mu.Lock()
	if b.inflight.Load() != p {
		b.mu.Unlock()
		return
	}
	b.inflight.Store(nil)
	b.queued.Add(-p.bytes)
	refused := b.proposeNext(false)
	b.mu.Unlock()
	deliver(refused)
}

// failed is called when the future of p ended with an error.
func (b *Batcher) failed(p *proposal, err error) {
	if p.state.Load() == stateClaimed {
		return // it was applied all the same; Applied decides it
	}
	if p.state.CompareAndSwap(statePending, stateGivenUp) {
		p.batch.Complete(classify(err))
	}
	if p.state.Load() == stateGivenUp {
		b.decided(p)
	}
}

// giveUp completes p as unknown; it stays in flight until it is applied or fails.
func (p *proposal) giveUp(why error) {
	if p.state.CompareAndSwap(statePending, stateGivenUp) {
		p.batch.Complete(why)
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
func (b *Batcher) refuseGathered(refused []outcome, err error) []outcome {
	for _, g := range b.full {
		b.queued.Add(-g.bytes)
		refused = append(refused, outcome{g.batch, err})
	}
	b.full = nil
	if !b.gather.batch.Empty() {
		g := b.takeGathered()
		b.queued.Add(-g.bytes)
		refused = append(refused, outcome{g.batch, err})
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
// refused at Unlock. Drain first for a graceful end.
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
		p.giveUp(fmt.Errorf("%w (%w)", ErrUnknown, reason))
	}
	close(b.watch.stopped)
}
