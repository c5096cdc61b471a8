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
// So every operation of the log is executed after the increments that were answered before it was sealed. The naive way is
// to put the increments of a key into the log before each write that looks at the key; that would cost a lookup for each
// write, and would not be enough for EXEC and commands without keys. In this way nothing needs to be looked up: a barrier,
// a reply that is ready when its entry is applied, is enough wherever a client must see what was answered ahead.
//
// The other order needs more. A write that may end the life of a key may be gathered first, and an increment of the key be
// answered ahead afterwards: the increment would stand before the write in the log. So such a write holds its keys
// (engine/hold.go) from when it is gathered until it is decided. On a node where nobody has asked for ack level local, the
// writes set up no holds; answering ahead then begins only when all sub-batches without holds are decided.
type aheadState struct {
	used   atomic.Bool  // somebody has asked for ack level local since the start
	unheld atomic.Int64 // sub-batches without holds that are not decided
	behind atomic.Bool  // the log has applied none of it for too long, or too much waits for the log

	idle    atomic.Bool // runIntervals sleeps
	wake    chan struct{}
	changed chan struct{} // the limits may have changed

	// Used by runIntervals alone.
	progress time.Time // when a counted section of this node was last applied, or the first increment came to wait for one
	landed   int64     // sections of this node that were applied until then
	round    time.Time // when interval was last called

	dropLogged atomic.Int64 // when the last message about an increment that could not be applied was logged, unix ns
}

// AheadLimits are the settings of ack level local.
type AheadLimits struct {
	Interval time.Duration // how long increments are gathered before an entry is proposed for them alone
	MaxAge   time.Duration // how long the log may apply none of the increments before they count as behind
	MaxBytes int64         // how many bytes of memory the increments may take before they count as behind
}

const (
	sectionLimit = 4 << 20 // bytes after which a counted section takes no further part
	dropLogEvery = time.Second
)

// startAhead makes the node an origin. The group is open, and no client is served yet.
func (r *Replica) startAhead() error {
	a := &r.ahead
	a.wake, a.changed = make(chan struct{}, 1), make(chan struct{}, 1)
	r.Keyspace.SetLocalKeys(r.opt.LocalKeys)
	r.Keyspace.OnDropped(r.incrementDropped)
	st := r.Group.Status()
	return r.Keyspace.SetSelf(st.NodeID, st.Boot)
}

// incrementDropped tells the operator of an increment that cannot be applied, at most once a second; AheadStats has their
// number. A part is locked.
func (r *Replica) incrementDropped(db int, key []byte, delta int64, err error) {
	now := time.Now().UnixNano()
	last := r.ahead.dropLogged.Load()
	if now-last < int64(dropLogEvery) || !r.ahead.dropLogged.CompareAndSwap(last, now) {
		return
	}
	r.log.Warn("an increment answered at ack level local cannot be applied", "db", db, "key", fmt.Sprintf("%.100q", key), "by", delta, "error", err)
}

// openUnheld reports whether the writes of a sub-batch that is opened need no holds, and if so counts the sub-batch. It looks
// at used once more after counting, so either MayAnswerAhead sees the count, or openUnheld sees that ack level local is used.
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

// WritableAhead is Group.Writable for increments at ack level local, which need no leader for a while. If there is a leader
// and the log is behind (a disk that hangs), increments are not refused: they go through the log and wait. That bounds
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

// Behind reports whether the log applies too slowly what is answered ahead.
func (r *Replica) Behind() bool { return r.ahead.behind.Load() }

// AnsweredAhead is called after something may have been answered ahead.
func (r *Replica) AnsweredAhead() {
	if a := &r.ahead; a.idle.Load() && a.idle.CompareAndSwap(true, false) {
		a.wake <- struct{}{} // does not block: the channel is buffered, and only the one who has changed idle sends
	}
}

// LimitsChanged says that Options.Ahead may return other limits from now on.
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

// ShipAhead implements replication.Source.
func (s source) ShipAhead(buf []byte) (out []byte, all bool) {
	return exec.AppendForwardCounted(buf, s.r.Keyspace, sectionLimit)
}

// AheadApplied implements replication.Source.
func (s source) AheadApplied() { s.r.Keyspace.CountedApplied() }

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
			// AnsweredAhead looks at idle after an answer: either we see here what was answered, or AnsweredAhead wakes us.
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

// interval proposes an entry for what is answered ahead, unless one is in flight, and judges whether the log is behind.
func (r *Replica) interval(now time.Time) {
	a := &r.ahead
	st := r.Keyspace.Ahead()
	if st.Landed != a.landed || st.Increments == 0 || a.progress.IsZero() {
		a.landed, a.progress = st.Landed, now
	}
	limits := r.opt.Ahead()
	if now.Sub(a.round) > limits.Interval+limits.MaxAge/2 {
		a.progress = now // the process was stopped meanwhile, which says nothing about the log
	}
	a.round = now
	a.behind.Store(now.Sub(a.progress) > limits.MaxAge || st.Bytes > limits.MaxBytes)
	if st.Increments > 0 {
		r.TakeAhead()
	}
}

// TakeAhead proposes an entry for what is answered ahead at once, unless one is in flight or the group is not writable.
func (r *Replica) TakeAhead() {
	if r.Group.Writable() == nil {
		r.batcher.Tick()
	}
}

// finishLook is how often finishAhead looks.
const finishLook = 10 * time.Millisecond

// finishAhead ends answering ahead, and has all that was answered ahead go into the log. The error says how many increments could
// not.
func (r *Replica) finishAhead(ctx context.Context) error {
	r.Keyspace.CloseAhead()
	for r.Keyspace.AheadPending() > 0 {
		r.TakeAhead()
		err := r.batcher.Drain(ctx)
		if err == nil && r.Keyspace.AheadPending() > 0 { // not writable, or an entry has failed
			select {
			case <-time.After(finishLook):
			case <-r.Group.Done():
				err = errors.New("the log has ended")
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if n := r.Keyspace.AheadPending(); err != nil && n > 0 {
			return fmt.Errorf("%d increments answered at ack level local are not in the log: %w", n, err)
		}
	}
	return nil
}

// AheadStats are figures about what is answered ahead.
func (r *Replica) AheadStats() engine.AheadStats { return r.Keyspace.Ahead() }
