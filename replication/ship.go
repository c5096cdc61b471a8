package replication

import (
	"errors"
	"fmt"
	"slices"
)

// On a node that does not lead, the Batcher forwards the oldest batch to the leader instead of proposing it. One is under way
// at a time, as one entry is; it is decided by the leader's answer. While no leader can be reached batches wait, up to the
// write timeout. So does what a leader had not applied when it lost its office.
//
// What was answered ahead on this node goes before the batch, as in an entry. While the outcome of a batch is unknown it goes
// again before the next one, until the leader says that it is applied: whatever of it was applied before counts once.

// ship forwards the oldest batch, if that is possible now, behind what Source.ShipAhead returns; with tick, that also goes
// alone. It also does if both together are too large for an entry, as the leader counts. mu held, nothing in flight, this node
// does not lead.
func (b *Batcher) ship(refused []refusal, tick bool) []refusal {
	g := b.oldest()
	if g == nil && !tick {
		b.notifyIdle()
		return refused
	}
	if g != nil {
		g.batch.Forwarded(0)
		if g.batch.Empty() {
			empty := b.takeOldest()
			b.queued.Add(-empty.bytes)
			return b.ship(append(refused, refusal{empty.batch, errNotLeader}), tick)
		}
	}
	if !b.group.MaySend(false) {
		return refused
	}
	b.tick = false
	body, all := b.source.ShipAhead(nil)
	if g != nil && (!all || len(body) > 0 && len(body)+g.batch.Size() > b.opt.EntryHardLimit) {
		g = nil
	}
	p := &proposal{shipped: true, since: b.now(), proposed: b.now(), ahead: len(body) > 0}
	switch {
	case g != nil:
		body = g.batch.Ship(body)
		taken := b.takeOldest()
		p.batch, p.since, p.bytes = taken.batch, taken.since, taken.bytes
	case !p.ahead:
		if b.oldest() == nil {
			b.notifyIdle()
		}
		return refused
	}
	b.inflight.Store(p) // before Send: the answer may come before Send returns
	b.wakeWatcher()
	if !b.group.Send(body, false, func(a *Answer, sent bool) bool { return b.answered(p, a, sent) }) {
		b.inflight.Store(nil)
		if p.batch != nil {
			b.full = slices.Insert(b.full, 0, waiting{p.batch, p.since, p.bytes})
		}
	}
	return refused
}

// answered is called with what became of a batch that was forwarded. It returns false if that node does not take any now.
func (b *Batcher) answered(p *proposal, a *Answer, sent bool) (goOn bool) {
	if p.ahead && a != nil && a.Outcome == Applied {
		b.source.AheadApplied()
	}
	switch {
	case a == nil && sent:
		b.end(p, false, Unknown, fmt.Errorf("%w (the connection to the leader ended before its answer)", ErrUnknown))
	case a == nil:
		b.end(p, false, NotApplied, errNotLeader)
	case a.Outcome == NotApplied:
		b.end(p, false, NotApplied, notApplied(a.Reason))
	case a.Outcome == Unknown:
		b.end(p, false, Unknown, fmt.Errorf("%w (on the leader)", ErrUnknown))
	case p.batch != nil && p.state.CompareAndSwap(stateUndecided, stateClaimed):
		if err := p.batch.Shipped(a.Index, a.Replies); err != nil {
			p.batch.Decide(Unknown, fmt.Errorf("%w (%w)", ErrUnknown, err))
			p.batch.Fate(true)
		} else {
			p.batch.Decide(Applied, nil)
		}
		b.decided(p, false, true)
	default:
		p.fate(true)
		b.decided(p, false, true)
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
