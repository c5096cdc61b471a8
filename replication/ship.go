package replication

import (
	"errors"
	"fmt"
	"slices"
)

// On a node that does not lead, the Batcher forwards the oldest batch to the leader instead of proposing it. One is under way
// at a time, as one entry is; it is decided by the leader's answer. While no leader can be reached batches wait, up to the
// write timeout. So does what a leader had not applied when it lost its office.

// ship forwards the oldest batch, if that is possible now. mu held, nothing in flight, this node does not lead.
func (b *Batcher) ship(refused []refusal) []refusal {
	g := b.oldest()
	if g == nil {
		b.notifyIdle()
		return refused
	}
	g.batch.Forwarded(0)
	switch {
	case g.batch.Empty():
		empty := b.takeOldest()
		b.queued.Add(-empty.bytes)
		return b.ship(append(refused, refusal{empty.batch, errNotLeader}))
	case !b.group.MaySend(false):
		return refused
	}
	body := g.batch.Ship(nil)
	p := &proposal{batch: g.batch, shipped: true, since: g.since, bytes: g.bytes, proposed: b.now()}
	b.takeOldest()
	b.inflight.Store(p) // before Send: the answer may come before Send returns
	b.wakeWatcher()
	if !b.group.Send(body, false, func(a *Answer, sent bool) bool { return b.answered(p, a, sent) }) {
		b.inflight.Store(nil)
		b.full = slices.Insert(b.full, 0, waiting{p.batch, p.since, p.bytes})
	}
	return refused
}

// answered is called with what became of a batch that was forwarded. It returns false if that node does not take any now.
func (b *Batcher) answered(p *proposal, a *Answer, sent bool) (goOn bool) {
	switch {
	case a == nil && sent:
		b.end(p, false, Unknown, fmt.Errorf("%w (the connection to the leader ended before its answer)", ErrUnknown))
	case a == nil:
		b.end(p, false, NotApplied, errNotLeader)
	case a.Outcome == NotApplied:
		b.end(p, false, NotApplied, notApplied(a.Reason))
	case a.Outcome == Unknown:
		b.end(p, false, Unknown, fmt.Errorf("%w (on the leader)", ErrUnknown))
	case p.state.CompareAndSwap(stateUndecided, stateClaimed):
		if err := p.batch.Shipped(a.Index, a.Replies); err != nil {
			p.batch.Decide(Unknown, fmt.Errorf("%w (%w)", ErrUnknown, err))
			p.batch.Fate(true)
		} else {
			p.batch.Decide(Applied, nil)
		}
		b.decided(p, false)
	default:
		p.fate(true)
		b.decided(p, false)
	}
	return a != nil && a.Outcome != NotApplied
}

// retries puts the batch of a proposal that was certainly not applied back, to be proposed or forwarded again, if that may
// help: another node leads, or will.
func (b *Batcher) retries(p *proposal, reason error) bool {
	if p.batch == nil || !errors.Is(reason, ErrNotLeader) && !errors.Is(reason, ErrShutdown) || !b.group.Forwards() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || !p.state.CompareAndSwap(stateUndecided, stateEnded) {
		return false
	}
	b.full = slices.Insert(b.full, 0, waiting{p.batch, p.since, p.bytes})
	p.bytes = 0 // they are queued still
	return true
}
