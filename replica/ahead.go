package replica

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"quipu/engine"
	"quipu/exec"
	"quipu/replication"
)

// At ack level local, increments are answered before they are in the log (engine/ahead.go). There is one way into the log
// for them and for all other writes: each entry begins with what was answered ahead until it is sealed, its counted
// section, and a batch with nothing else waits for the interval.
//
//	INCR ─► exec.Runner.GatherIncrement … Answer ─► Keyspace.AnswerAhead ─► reply
//	any write ─► sub-batch ─► batch ─┬► seal: counted section, then the batch's operations ─► log ─► executor
//	interval  ─► Batcher.Tick ───────┘
//
// So whatever goes through the log finds what was answered before it. Nothing needs to be taken into the log key by key
// for a write, EXEC or a command without keys: a barrier, a reply that is ready when the entry is applied, does for all.
//
// The other direction needs more: an increment must not be answered ahead, and then stand before a write that was
// gathered earlier and may end the life of its key. So such a write holds its keys (engine/hold.go) from when it is
// gathered until it is decided. Nodes on which nobody has asked for level local do without: only when all sub-batches
// without holds are decided does answering ahead begin.
type aheadState struct {
	used   atomic.Bool  // somebody has asked for level local since the start
	unheld atomic.Int64 // sub-batches that were opened before, and are not decided
	behind atomic.Bool  // the log has not taken anything for too long, or too much waits for it

	idle    atomic.Bool // runIntervals sleeps
	wake    chan struct{}
	changed chan struct{} // the interval may be another

	// Of runIntervals.
	progress time.Time // when the log last took something, or the first thing was there to take
	landed   int64     // as of then
	round    time.Time // the last one

	dropLogged atomic.Int64 // unix ns of the last message about an increment that could not be applied
}

// AheadLimits are the settings of ack level local.
type AheadLimits struct {
	Interval time.Duration // how long increments may wait for company on their way into the log
	MaxAge   time.Duration // how long, and
	MaxBytes int64         // how many bytes of memory, they may wait for a log that takes none
}

const (
	sectionLimit = 4 << 20 // bytes of a counted section
	dropLogEvery = time.Second
)

// startAhead makes the node an origin. The group is open, and nobody is served yet.
func (r *Replica) startAhead() error {
	a := &r.ahead
	a.wake, a.changed = make(chan struct{}, 1), make(chan struct{}, 1)
	r.Keyspace.SetLocalKeys(r.opt.LocalKeys)
	r.Keyspace.OnDropped(r.incrementDropped)
	st := r.Group.Status()
	return r.Keyspace.SetSelf(st.NodeID, st.Boot)
}

// incrementDropped tells the operator, at most once a second: AheadStats has the number. A part is locked.
func (r *Replica) incrementDropped(db int, key []byte, delta int64, err error) {
	now := time.Now().UnixNano()
	last := r.ahead.dropLogged.Load()
	if now-last < int64(dropLogEvery) || !r.ahead.dropLogged.CompareAndSwap(last, now) {
		return
	}
	r.log.Warn("an increment answered at level local cannot be applied", "db", db, "key", fmt.Sprintf("%.100q", key), "by", delta, "error", err)
}

// openUnheld counts a sub-batch that is opened, and reports whether its writes need no holds. Either it is counted before
// UseAhead looks, or it sees that level local is in use.
func (a *aheadState) openUnheld() bool {
	if a.used.Load() {
		return false
	}
	a.unheld.Add(1)
	if a.used.Load() {
		a.unheld.Add(-1)
		return false
	}
	return true
}

// UseAhead says that somebody asks for ack level local.
func (r *Replica) UseAhead() {
	if !r.ahead.used.Load() {
		r.ahead.used.Store(true)
	}
}

// MayAnswerAhead reports whether increments may be answered ahead now.
func (r *Replica) MayAnswerAhead() bool {
	return r.ahead.used.Load() && !r.ahead.behind.Load() && r.ahead.unheld.Load() == 0
}

// WritableAhead is Group.Writable for increments at level local: these do without a leader for a while. With a leader, a
// log that has fallen behind (a disk that hangs) refuses nothing: increments then go through it and wait, which bounds
// what a crash can lose as well as a refusal would.
func (r *Replica) WritableAhead() error {
	err := r.Group.Writable()
	if err == nil {
		return nil
	}
	if errors.Is(err, replication.ErrNotLeader) && !r.ahead.behind.Load() {
		return nil
	}
	return err
}

// Behind reports whether the log takes what is answered ahead too slowly.
func (r *Replica) Behind() bool { return r.ahead.behind.Load() }

// AnsweredAhead is called after something may have been answered ahead.
func (r *Replica) AnsweredAhead() {
	if a := &r.ahead; a.idle.Load() && a.idle.CompareAndSwap(true, false) {
		a.wake <- struct{}{} // buffered, and only who has changed idle sends
	}
}

// LimitsChanged has the limits asked for again.
func (r *Replica) LimitsChanged() {
	select {
	case r.ahead.changed <- struct{}{}:
	default:
	}
}

// Ahead implements replication.Source.
func (s source) Ahead(buf []byte) (out []byte, all bool) {
	return exec.AppendCounted(buf, s.r.Keyspace, sectionLimit)
}

// runIntervals has what is answered ahead go into the log, again and again until ctx ends.
func (r *Replica) runIntervals(ctx context.Context) {
	a := &r.ahead
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if !r.Keyspace.HasAhead() {
			a.behind.Store(false)
			a.progress, a.round = time.Time{}, time.Time{}
			a.idle.Store(true)
			// Who answers looks at idle afterwards: either we see what was answered, or we are woken.
			if !r.Keyspace.HasAhead() || !a.idle.CompareAndSwap(true, false) {
				select {
				case <-a.wake:
				case <-ctx.Done():
					return
				}
			}
		}
		timer.Reset(r.opt.Ahead().Interval)
		select {
		case <-timer.C:
		case <-a.changed:
			continue
		case <-ctx.Done():
			return
		}
		r.interval(time.Now())
	}
}

// interval proposes an entry, unless one is under way, and judges how the log keeps up.
func (r *Replica) interval(now time.Time) {
	a := &r.ahead
	st := r.Keyspace.Ahead()
	if st.Landed != a.landed || st.Increments == 0 || a.progress.IsZero() {
		a.landed, a.progress = st.Landed, now
	}
	limits := r.opt.Ahead()
	if now.Sub(a.round) > limits.Interval+limits.MaxAge/2 {
		a.progress = now // the process has not run: that says nothing about the log
	}
	a.round = now
	a.behind.Store(now.Sub(a.progress) > limits.MaxAge || st.Bytes > limits.MaxBytes)
	if st.Increments > 0 {
		r.TakeAhead()
	}
}

// TakeAhead has what is answered ahead go into the log at once, unless an entry is under way, or the log takes none.
func (r *Replica) TakeAhead() {
	if r.Group.Writable() == nil {
		r.batcher.Tick()
	}
}

// finishAhead ends answers ahead and takes all of them into the log. The error says how many could not be.
func (r *Replica) finishAhead(ctx context.Context) error {
	r.Keyspace.CloseAhead()
	for r.Keyspace.HasAhead() {
		r.TakeAhead()
		err := r.batcher.Drain(ctx)
		if err == nil && r.Keyspace.HasAhead() { // not writable, or an entry has failed
			select {
			case <-time.After(r.opt.Ahead().Interval):
			case <-r.Group.Done():
				err = errors.New("the log has ended")
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if n := r.Keyspace.Ahead().Increments; err != nil && n > 0 {
			return fmt.Errorf("%d increments answered at level local are not in the log: %w", n, err)
		}
	}
	return nil
}

// AheadStats are figures about what is answered ahead.
func (r *Replica) AheadStats() engine.AheadStats { return r.Keyspace.Ahead() }
