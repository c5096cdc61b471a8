package replication

import (
	"fmt"
	"sync/atomic"
	"time"
)

// The naive way gives each proposal a timer, and a goroutine that waits for its future. Most proposals are applied within
// milliseconds, and would pay for that. So two goroutines, which live as long as the Batcher, look after the proposals that
// take long:
//
//   - the watcher looks every watchEvery while any batch waits or is in flight; otherwise it sleeps on a channel. It decides
//     batches whose deadline has passed, and hands a proposal that has been in flight for a whole round to the awaiter;
//   - the awaiter blocks on the future of that one proposal, to learn of a failure. After a shutdown Raft leaves some
//     futures unresolved for ever; the awaiter then stays blocked, but nobody waits for it: Close has decided the batch.
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

// wakeWatcher wakes the watcher if it sleeps. If it does not, that costs one atomic load.
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

// park reports whether the watcher may sleep, and sets parked if so. Whoever submits or proposes later sees parked, because
// both happen under mu.
func (b *Batcher) park() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inflight.Load() != nil || len(b.full) > 0 || !b.filling.batch.Empty() {
		return false
	}
	b.watch.parked.Store(true)
	return true
}

// round is one look of the watcher. last is the proposal that was in flight at the look before; the result is the one now.
func (b *Batcher) round(last *proposal) *proposal {
	var refused []refusal
	b.mu.Lock()
	p := b.inflight.Load()
	if p == nil {
		// Also proposes what was submitted without a Flush.
		refused = b.proposeNext(false)
		p = b.inflight.Load()
	}
	if p != nil && p.state.Load() >= stateGivingUp {
		// Its fate may take until another node leads. What waits behind it need not wait for that to learn that this one does not.
		if err := b.group.Writable(); err != nil {
			refused = b.refuseWaiting(refused, err)
			b.notifyIdle()
		}
	}
	refused = b.expireWaiting(refused)
	if b.inflight.Load() == nil && b.oldest() == nil {
		b.notifyIdle()
	}
	b.mu.Unlock()
	deliver(refused)
	if p == nil {
		return nil
	}
	if b.now()-p.since >= b.opt.WriteTimeout {
		p.giveUp(Unknown, fmt.Errorf("%w (not applied within %v)", ErrUnknown, b.opt.WriteTimeout))
	}
	if p == last && !p.awaited && !p.shipped {
		select {
		case b.watch.await <- p:
			p.awaited = true
		default:
		}
	}
	return p
}

// expireWaiting takes out the batches that have waited too long behind the entry in flight, to be refused. mu held.
func (b *Batcher) expireWaiting(refused []refusal) []refusal {
	now := b.now()
	reason := notApplied(ErrTimeout)
	if b.group.Term() == 0 {
		reason = errNotLeader
	}
	expired := func(g *waiting) bool { return g.since != 0 && now-g.since >= b.opt.WriteTimeout }
	for len(b.full) > 0 && expired(&b.full[0]) {
		g := b.full[0]
		b.full = b.full[1:]
		b.queued.Add(-g.bytes)
		refused = append(refused, refusal{g.batch, reason})
	}
	if len(b.full) == 0 && expired(&b.filling) {
		g := b.takeFilling()
		b.queued.Add(-g.bytes)
		refused = append(refused, refusal{g.batch, reason})
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
