package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"quipu/commands"
	"quipu/config"
	"quipu/engine"
	"quipu/exec"
	"quipu/replication"
)

// Increments at level local are answered from memory: the session adds them to what the keyspace has pending, and the
// drainer takes that into the log every local-ack-interval. While nothing is pending it sleeps, and everything else
// here costs one load.
//
//	INCR ─► Session.increment ─► Runner.GatherIncrement … Answer ─► Keyspace.AddPending ─► reply
//	drainer ─► batch.drainPart (Keyspace.Cut) ─► log ─► Apply ─► Keyspace.settle
//
// What looks at the keyspace through the log must find what was answered before: a write drains the parts of its keys
// where those have something pending, EXEC, WATCH, CLIENT ACK and commands without keys drain all parts. A drain has its
// place in the entry, or in an earlier one, ahead of the command. While a write that is more than an increment is on its
// way, its keys are fenced: their increments go through the log behind it (engine/fence.go).
//
// The increments of a client that waits for the log already go through the log as well, in their place in its pipeline,
// because what stands behind them there must find them. Their replies count what is pending, so that all replies at
// level local come from one ascending sequence.
//
// A batch whose fate is known and bad, or was never sealed, has lost its drains, and Seal puts them at the start of the
// next entry. Only Seal can tell: it is called when all earlier batches are decided, but not all of them may have been
// completed.
type localState struct {
	behind  atomic.Bool // the log has not taken anything for too long, or too much waits for it
	idle    atomic.Bool // the drainer sleeps
	wake    chan struct{}
	changed chan struct{} // the interval may be another
	used    atomic.Bool   // the configuration or a client has asked for level local since the start

	fencesMu   sync.Mutex
	leftFences []engine.Fence // of batches whose fate is unknown

	live    atomic.Int32  // batches with drains that are not complete
	drained atomic.Uint64 // serial of the last batch with drains that was applied
	lost    atomic.Bool   // some lost drains did not fit the last entry; changed under the batcher's lock

	// Guarded by the batcher's lock.
	carriers []uint64 // serials of batches that got drains, ascending, from the last one sealed on

	// The drainer's own.
	progress time.Time // when the log last took something, or the first thing was there to take
	drains   int64     // as of then
	round    time.Time // the last one

	dropLogged atomic.Int64 // unix ns of the last message about an increment that could not be applied
}

const (
	resendLimit  = 4 << 20 // bytes of an entry that only sends drains again
	resendEvery  = 5 * time.Millisecond
	dropLogEvery = time.Second
)

// startLocal makes the node an origin. The group is open, and nobody is served yet.
func (srv *Server) startLocal(incarnation uint64) error {
	srv.local.used.Store(srv.config().UsesLocal())
	srv.keyspace.SetLocalKeys(func(key []byte) bool { return srv.config().KeyIsLocal(key) })
	srv.keyspace.OnDropped(srv.incrementDropped)
	return srv.keyspace.SetOrigin(srv.group.Status().NodeID, incarnation)
}

// incrementDropped tells the operator, at most once a second: INFO has the number. A part is locked.
func (srv *Server) incrementDropped(db int, key []byte, delta int64, err error) {
	now := time.Now().UnixNano()
	last := srv.local.dropLogged.Load()
	if now-last < int64(dropLogEvery) || !srv.local.dropLogged.CompareAndSwap(last, now) {
		return
	}
	srv.log.Warn("an increment answered at level local cannot be applied", "db", db, "key", fmt.Sprintf("%.100q", key), "by", delta, "error", err)
}

// fenceFor keeps increments of the keys of a write that is about to be added from being answered from memory until it
// is decided, see engine.Fence. A write that only adds leaves the keys' lives as they are.
func (s *Session) fenceFor(cmd *commands.Command, args [][]byte) {
	ks := s.srv.keyspace
	switch {
	case cmd.Write == nil || cmd.Delta != nil || !s.srv.local.used.Load():
	case cmd.HasKeys():
		cmd.EachKey(args, func(key []byte) { s.fences = append(s.fences, ks.Fence(key)) })
	default:
		s.fences = append(s.fences, ks.FenceAll())
	}
}

// placeFences hands the fences of a write to the batch it is in.
func (s *Session) placeFences() {
	if len(s.fences) > 0 {
		s.batch.fences = append(s.batch.fences, s.fences...)
		s.fences = s.fences[:0]
	}
}

// batchDecided takes away the fences of a batch that has been applied, or never will be. Those of one whose fate is
// unknown stay until another is applied: the log takes that one only once it knows.
func (srv *Server) batchDecided(b *batch, err error) {
	l := &srv.local
	if !l.used.Load() {
		return
	}
	fences := b.fences
	l.fencesMu.Lock()
	switch {
	case err == nil:
		fences = append(fences, l.leftFences...)
		l.leftFences = nil
	case !isNotApplied(err):
		l.leftFences = append(l.leftFences, fences...)
		fences = nil
	}
	l.fencesMu.Unlock()
	for _, f := range fences {
		srv.keyspace.Unfence(f)
	}
	b.fences = b.fences[:0]
}

// increment carries out INCR, DECR, INCRBY or DECRBY at level local.
func (s *Session) increment(cmd *commands.Command, args [][]byte) {
	delta, ok := cmd.Delta(args)
	switch {
	case !ok:
		s.answer()
		s.replyError(commands.WrongDelta(args))
	case s.pending() || s.srv.local.behind.Load():
		s.ThroughLog(args[1], delta, s.isSilent())
	default:
		s.gatherIncrement(args[1], delta)
	}
}

// gatherIncrement adds an increment to those that the session's worker carries out together. Whenever others have to go
// first, some of the session's own may turn out to go through the log, and then this one follows them there.
func (s *Session) gatherIncrement(key []byte, delta int64) {
	r := s.runner
	silent := s.isSilent()
	if r.GathersReads() || !silent && r.GathersSilent() {
		s.answer()
	}
	switch {
	case s.pending():
	case !silent:
		if r.GatherIncrement(s, s.db, key, delta, &s.out) == exec.BurstMax {
			s.answer()
		}
		return
	case r.GatherSilent(s, s.db, key, delta):
		return
	default:
		s.answer()
		if !s.pending() && r.GatherSilent(s, s.db, key, delta) {
			return
		}
	}
	s.ThroughLog(key, delta, silent)
}

// gatherRead takes a read for which Command.Gathers is true; false if it has to be run by itself, or behind
// increments of the session that turned out to go through the log.
func (s *Session) gatherRead(cmd *commands.Command, args [][]byte) bool {
	const small = 4 << 10 // bytes: so much longer a burst of replies may be than a client's limit
	if s.silent != replyOn || s.watcher != nil || s.srv.keyspace.LargestValue() > small {
		return false
	}
	if s.runner.GathersIncrements() {
		s.answer()
	}
	if s.pending() {
		return false
	}
	if s.runner.GatherRead(cmd, args, s.db, s.readLevel(), &s.out) == exec.BurstMax {
		s.answer()
	}
	return true
}

// answer carries out what was gathered, of this session and of others of its worker, before anything else happens.
func (s *Session) answer() { s.worker.CarryOut() }

// EndThroughLog implements exec.BurstClient: another client of the worker may be next.
func (s *Session) EndThroughLog() { s.endSubmission() }

// ThroughLog takes an increment at level local that memory cannot take, or must not while the log is behind, or that
// stands behind others of the client that went through the log. What is pending for its key goes first: whether the
// increment overflows depends on it.
func (s *Session) ThroughLog(key []byte, delta int64, silent bool) {
	const overhead = 32 // bytes in an entry, with room to spare
	s.answer()          // may leave something pending for the key
	s.drainKey(key)
	o := s.origin()
	o.Level, o.Silent = exec.LevelLocal, silent
	s.submission(len(key)+overhead).Increment(key, delta, o)
}

// refuseLocal is refuseWrites for increments at level local: these do without a leader for a while. With a leader, a log
// that has fallen behind (a disk that hangs) refuses nothing: increments then go through it and wait, which bounds what
// a crash can lose as well as a refusal would.
func (srv *Server) refuseLocal() string {
	err := srv.group.Writable()
	if errors.Is(err, replication.ErrNotLeader) && !srv.local.behind.Load() || err == nil {
		return ""
	}
	return notAppliedText(err)
}

// drainFor drains what is pending for the keys of a write that is about to be added, or everything if it has none.
func (s *Session) drainFor(cmd *commands.Command, args [][]byte) {
	ks := s.srv.keyspace
	if !ks.HasPending() {
		return
	}
	if !cmd.HasKeys() {
		s.drainAll()
		return
	}
	cmd.EachKey(args, s.drainKey)
}

// drainKey drains the part of a key that has increments not yet in any batch.
func (s *Session) drainKey(key []byte) {
	ks := s.srv.keyspace
	if part := engine.Part(key); ks.Gathers(part, key) {
		s.submission(ks.GatherBytes(part))
		s.batch.drainPart(part)
	}
}

// drainAll drains everything, and returns the batch to go on with: what is added to it runs when all that was pending
// is applied.
func (s *Session) drainAll() *exec.Batch {
	for part := range engine.Parts {
		if n := s.srv.keyspace.GatherBytes(part); n > 0 {
			s.submission(n)
			s.batch.drainPart(part)
		}
	}
	return s.submission(0)
}

// settleAll has everything that is pending applied before the command being read goes on. It reports whether the
// session has to wait; the command is then read again, and does not wait for what came later.
func (s *Session) settleAll() bool {
	if s.settled {
		s.settled = false
	} else if s.srv.keyspace.HasPending() {
		s.drainAll().Literal(nil, s.origin()) // to wait for, where everything is under way already
		s.settled = true
	}
	return s.awaitPending()
}

// drainPart adds a drain of one part, if it gathers anything. The batcher's lock is held.
func (b *batch) drainPart(part int) {
	if b.Drain(b.srv.keyspace, part, b.serial) {
		b.carries()
	}
}

// carries counts the batch among those that have drains.
func (b *batch) carries() {
	if b.carrier {
		return
	}
	b.carrier = true
	l := &b.srv.local
	l.live.Add(1)
	l.carriers = append(l.carriers, b.serial)
}

// resendLost completes the entry about to be sealed with what earlier batches have lost. The batcher's lock is held.
func (b *batch) resendLost() {
	l := &b.srv.local
	applied, n := l.drained.Load(), 0
	for n < len(l.carriers) && l.carriers[n] < b.serial {
		if l.carriers[n] > applied {
			l.lost.Store(true)
		}
		n++
	}
	l.carriers = append(l.carriers[:0], l.carriers[n:]...)
	if !l.lost.Load() {
		return
	}
	l.lost.Store(!b.Resend(b.srv.keyspace, b.serial, resendLimit))
	if b.HasDrains() && (len(l.carriers) == 0 || l.carriers[0] != b.serial) {
		l.carriers = append([]uint64{b.serial}, l.carriers...)
	}
}

// wakeDrainer is called after something may have become pending.
func (srv *Server) wakeDrainer() {
	if l := &srv.local; l.idle.Load() && l.idle.CompareAndSwap(true, false) {
		l.wake <- struct{}{} // buffered, and only who has changed idle sends
	}
}

// runDrainer takes what is pending into the log, again and again until ctx ends.
func (srv *Server) runDrainer(ctx context.Context) {
	l := &srv.local
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if !srv.keyspace.HasPending() {
			l.behind.Store(false)
			l.progress, l.round = time.Time{}, time.Time{}
			l.idle.Store(true)
			// Who adds looks at idle afterwards: either we see what was added, or we are woken.
			if !srv.keyspace.HasPending() || !l.idle.CompareAndSwap(true, false) {
				select {
				case <-l.wake:
				case <-ctx.Done():
					return
				}
			}
		}
		timer.Reset(l.pause(srv.config()))
		select {
		case <-timer.C:
		case <-l.changed:
			continue
		case <-ctx.Done():
			return
		}
		srv.drainRound(time.Now())
	}
}

// pause is how long the drainer waits for the next round. What was lost is not left to wait: writes of clients might
// need it to go first, and would be refused as long as it does not fit one entry with them.
func (l *localState) pause(cfg *config.Config) time.Duration {
	if l.lost.Load() {
		return min(cfg.LocalInterval, resendEvery)
	}
	return cfg.LocalInterval
}

// drainRound drains once, unless the last drain is still under way, and judges how the log keeps up.
func (srv *Server) drainRound(now time.Time) {
	l := &srv.local
	st := srv.keyspace.Pending()
	if st.Drains != l.drains || st.Increments == 0 || l.progress.IsZero() {
		l.drains, l.progress = st.Drains, now
	}
	cfg := srv.config()
	if now.Sub(l.round) > cfg.LocalInterval+cfg.LocalMaxAge/2 {
		l.progress = now // the process has not run: that says nothing about the log
	}
	l.round = now
	l.behind.Store(now.Sub(l.progress) > cfg.LocalMaxAge || st.Bytes > cfg.LocalMaxBytes)
	if st.Increments > 0 && l.live.Load() == 0 && srv.group.Writable() == nil {
		srv.drainEverything(&st)
	}
}

// drainEverything puts all that is gathered into the log's queue; what was lost goes with it.
func (srv *Server) drainEverything(st *engine.PendingStats) {
	for part := 0; part < engine.Parts; {
		b := srv.batcher.Lock(0).(*batch)
		if st.Gathered == 0 {
			b.WantResend()
			b.carries()
			part = engine.Parts
		}
		b.Begin(nil)
		b.Grow(min(st.EntryBytes, batchSoftLimit+batchSoftLimit/8))
		for ; part < engine.Parts && b.Size() < batchSoftLimit; part++ {
			b.drainPart(part)
		}
		b.End()
		srv.batcher.Unlock()
	}
	srv.batcher.Flush()
}

// finishLocal ends answers from memory and takes all of them into the log. The error says how many could not be.
func (srv *Server) finishLocal(ctx context.Context) error {
	srv.keyspace.ClosePending()
	for srv.keyspace.HasPending() {
		if srv.group.Writable() == nil {
			st := srv.keyspace.Pending()
			srv.drainEverything(&st)
		}
		err := srv.batcher.Drain(ctx)
		if err == nil && srv.keyspace.HasPending() { // not writable, or a batch has failed
			select {
			case <-time.After(srv.config().LocalInterval):
			case <-srv.group.Done():
				err = errors.New("the log has ended")
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if n := srv.keyspace.Pending().Increments; err != nil && n > 0 {
			return fmt.Errorf("%d increments answered at level local are not in the log: %w", n, err)
		}
	}
	return nil
}

func infoLocalAck(srv *Server, p *infoPrinter) {
	st := srv.keyspace.Pending()
	p.line("local_ack_pending_increments", st.Increments)
	p.line("local_ack_pending_keys", st.Keys)
	p.line("local_ack_pending_bytes", st.Bytes)
	p.line("local_ack_behind", boolInt(srv.local.behind.Load()))
	p.line("local_ack_drains", st.Drains)
	p.line("local_ack_stale_drains", st.Stale)
	p.line("local_ack_gaps", st.Gaps)
	p.line("local_ack_expired", st.Expired)
	p.line("local_ack_dropped", st.Dropped)
}
