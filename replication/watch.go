package replication

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Two long-lived goroutines look after batches that take long, so that those that do not cost nothing:
//
//   - the watcher wakes every watchEvery while anything waits (and sleeps on a channel otherwise). It completes batches
//     whose deadline has passed and hands a proposal that has been in flight for a whole round to the awaiter;
//   - the awaiter blocks on that one proposal's future, to learn of a failure. After a shutdown Raft leaves some futures
//     unresolved for ever; then this goroutine stays behind, but nobody waits for it: Close has completed the batch.
const watchEvery = 10 * time.Millisecond

type watchState struct {
	stopped chan struct{}
	wake    chan struct{} // buffered
	parked  atomic.Bool
	await   chan *proposal
}

func (w *watchState) init() {
	w.stopped = make(chan struct{})
	w.wake = make(chan struct{}, 1)
	w.await = make(chan *proposal, 1)
}

// wakeWatcher starts the rounds if they rest. It costs one atomic load while they do not.
func (b *Batcher) wakeWatcher() {
	if b.watch.parked.Load() && b.watch.parked.CompareAndSwap(true, false) {
		b.watch.wake <- struct{}{}
	}
}

func (b *Batcher) runWatcher() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var last *proposal
	for {
		select {
		case <-ticker.C:
		case <-b.watch.stopped:
			return
		case <-b.group.Done():
			reason := ErrShutdown
			if err := b.group.Err(); err != nil {
				reason = fmt.Errorf("%w: %w", ErrFailed, err)
			}
			b.abort(reason)
			return
		}
		last = b.round(last)
		if last == nil && b.park() {
			ticker.Stop()
			select {
			case <-b.watch.wake:
			case <-b.watch.stopped:
				return
			case <-b.group.Done():
				continue
			}
			ticker.Reset(watchEvery)
		}
	}
}

// park announces rest if nothing waits. Whoever changes that afterwards sees the announcement, because both happen under mu.
func (b *Batcher) park() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inflight.Load() != nil || len(b.full) > 0 || !b.gather.batch.Empty() {
		return false
	}
	b.watch.parked.Store(true)
	return true
}

// round does what one tick has to do. last is the proposal that was in flight at the previous round.
func (b *Batcher) round(last *proposal) *proposal {
	var refused []refusal
	b.mu.Lock()
	p := b.inflight.Load()
	if p == nil {
		// Also proposes what somebody gathered and forgot to flush.
		refused = b.proposeNext(false)
		p = b.inflight.Load()
	}
	refused = b.expireGathered(refused)
	b.mu.Unlock()
	deliver(refused)
	if p == nil {
		return nil
	}
	if b.now()-p.since >= b.opt.WriteTimeout {
		p.giveUp(Unknown, fmt.Errorf("%w (not applied within %v)", ErrUnknown, b.opt.WriteTimeout))
	}
	if p == last && !p.awaited {
		select {
		case b.watch.await <- p:
			p.awaited = true
		default:
		}
	}
	return p
}

// expireGathered takes out the batches that have waited too long behind one that is stuck. mu held.
func (b *Batcher) expireGathered(refused []refusal) []refusal {
	now := b.now()
	expired := func(g *gathered) bool { return g.since != 0 && now-g.since >= b.opt.WriteTimeout }
	for len(b.full) > 0 && expired(&b.full[0]) {
		g := b.full[0]
		b.full = b.full[1:]
		b.queued.Add(-g.bytes)
		refused = append(refused, refusal{g.batch, notApplied(ErrTimeout)})
	}
	if len(b.full) == 0 && expired(&b.gather) {
		g := b.takeGathered()
		b.queued.Add(-g.bytes)
		refused = append(refused, refusal{g.batch, notApplied(ErrTimeout)})
	}
	return refused
}

func (b *Batcher) runAwaiter() {
	for {
		select {
		case p := <-b.watch.await:
			if err := p.future.Error(); err != nil {
				b.failed(p, err)
			}
		case <-b.watch.stopped:
			return
		}
	}
}

// failedFuture is a proposal that failed at once.
type failedFuture struct{ err error }

func (f failedFuture) Error() error { return f.err }
