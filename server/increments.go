package server

import (
	"quipu/commands"
	"quipu/exec"
	"quipu/replica"
)

// At ack level local, increments of all sessions of a worker join its burst, to be answered ahead together (exec/burst.go).
// An increment of a client that has commands pending goes through the log instead, in its place in the pipeline: what
// stands behind it there is executed from the log and must find it. Its reply counts what is answered ahead, so that all
// replies at ack level local come from one ascending sequence. (On a node that does not lead it is the leader that replies, which
// has applied by then what this node had answered ahead when it sent the increment.) The same goes for a client whose last write
// the leader has applied and this node has not.

// increment carries out INCR, DECR, INCRBY or DECRBY at ack level local.
func (s *Session) increment(cmd *commands.Command, args [][]byte) {
	r := s.lane.replica
	delta, ok := cmd.Delta(args)
	switch {
	case !ok:
		s.worker.CarryOut()
		s.replyError(commands.WrongDelta(args))
		s.srv.commandFailed(cmd)
	case s.pending() || !s.hasOwnWrites() || !r.MayAnswerAhead() || r.Group.Doubtful():
		s.ThroughLog(cmd, args[1], delta, s.isSilent())
	default:
		s.burstIncrement(cmd, args[1], delta)
	}
}

// burstIncrement adds an increment to the burst. Whenever the burst has to be carried out first, some of the session's own
// increments in it may turn out to go through the log; then this increment follows them there.
func (s *Session) burstIncrement(cmd *commands.Command, key []byte, delta int64) {
	r := s.burstRunner()
	silent := s.isSilent()
	if r.GathersReads() || !silent && r.GathersSilent() {
		s.worker.CarryOut()
	}
	switch {
	case s.pending():
	case !silent:
		if r.GatherIncrement(s, cmd, s.db, key, delta, &s.out) == exec.BurstMax || r.All() {
			s.worker.CarryOut()
		}
		return
	case r.GatherSilent(s, cmd, s.db, key, delta):
		return
	default:
		s.worker.CarryOut()
		if !s.pending() && r.GatherSilent(s, cmd, s.db, key, delta) {
			return
		}
	}
	s.ThroughLog(cmd, key, delta, silent)
}

// burstRead adds a read for which Command.JoinsBurst is true to the burst. It returns false if the read has to be run by
// itself, or behind increments of the session that turned out to go through the log.
func (s *Session) burstRead(cmd *commands.Command, args [][]byte) bool {
	const small = 4 << 10 // bytes: so much longer a burst of replies may be than a client's limit
	if s.silent != replyOn || s.watcher != nil || len(s.unsettled) > 0 || s.lane.replica.Keyspace.LargestValue() > small {
		return false
	}
	r := s.burstRunner()
	if r.All() {
		return false
	}
	if r.GathersIncrements() {
		s.worker.CarryOut()
	}
	if s.pending() {
		return false
	}
	if r.GatherRead(s, cmd, args, s.db, s.sees(), &s.out) == exec.BurstMax {
		s.worker.CarryOut()
	}
	return true
}

// burstRunner is the runner of the session's lane. The bursts of the other lanes are carried out first, so that replies
// keep their order.
func (s *Session) burstRunner() *exec.Runner {
	if len(s.worker.lanes) > 1 {
		s.carryOutOthers()
	}
	return s.lane.runner
}

func (s *Session) carryOutOthers() {
	w := s.worker
	for i := range w.lanes {
		if l := &w.lanes[i]; l != s.lane {
			l.carryOut()
		}
	}
}

// EndThroughLog implements exec.BurstClient: the next increment may be another client's, which opens a submission of its
// own.
func (s *Session) EndThroughLog() { s.endSubmission() }

// ThroughLog implements exec.BurstClient: it has an increment at ack level local go through the log because it cannot be
// answered ahead, because the log is behind, or because it stands behind commands of the client that are pending. Its lane is that of its
// key: the command being read meanwhile is a later one, maybe of another lane.
func (s *Session) ThroughLog(cmd *commands.Command, key []byte, delta int64, silent bool) {
	const overhead = 32 // bytes in an entry, with room to spare
	as := s.as()
	as.Sees, as.Silent = exec.SeesAhead, silent
	s.submissionOn(s.laneOf(key), len(key)+overhead).Increment(cmd, key, delta, as)
}

// FailedSilently implements exec.BurstClient.
func (s *Session) FailedSilently(cmd *commands.Command, text string) {
	s.srv.stats.errors.count(text)
	s.srv.commandFailed(cmd)
}

// barrier has everything that was answered ahead until now applied before the command being read goes on. It reports
// whether the session has to wait; the command is then read again, and does not wait for what came later.
func (s *Session) barrier() bool {
	if s.barrierPassed {
		s.barrierPassed = false
	} else if s.lane.replica.Keyspace.HasAhead() {
		s.submissionFor(0, true).Literal(nil, s.as()) // something to wait for: what is answered ahead stands before it in its entry
		s.barrierPassed = true
	}
	return s.awaitPending()
}

// refuseWrites is the error text for writes while the log cannot take any, or "".
func refuseWrites(r *replica.Replica) string {
	if err := r.Group.Writable(); err != nil {
		return replica.NotAppliedText(err)
	}
	return ""
}

// refuseAhead is refuseWrites for increments at ack level local.
func refuseAhead(r *replica.Replica) string {
	if err := r.WritableAhead(); err != nil {
		return replica.NotAppliedText(err)
	}
	return ""
}
