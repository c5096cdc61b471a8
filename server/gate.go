package server

import (
	"bytes"

	"quipu/commands"
	"quipu/exec"
	"quipu/protocol"
)

// dispatch carries out or queues one command. It reports false when the session has to wait first; the command is
// then read again later.
func (s *Session) dispatch(args [][]byte) bool {
	cmd, refusal := s.srv.table.Resolve(args)
	if refusal == "" && len(s.worker.lanes) > 1 {
		refusal = s.route(cmd, args)
	}
	if refusal == "" && s.lane.replica.Keyspace.LongLocked() && s.awaitParts(cmd, args) {
		return false
	}
	local := refusal == "" && cmd.Delta != nil && s.multi == nil && s.isLocal(args[1])
	inBurst := local || refusal == "" && s.multi == nil && cmd.JoinsBurst(args) && s.placeOf(cmd, args) == here
	if !inBurst {
		s.worker.CarryOut()
	}
	if refusal == "" && (s.reserves(cmd, args) || local && s.inReads > 0) && s.awaitPending() {
		return false
	}
	if refusal == "" {
		refusal = s.gate(cmd, args, local)
		s.last = cmd
	}
	if refusal != "" {
		s.worker.CarryOut()
		s.last = s.srv.table.Find(args)
		if s.last != nil {
			s.srv.rejected[s.last.ID()].Add(1)
		}
		s.refuse(args[0], refusal)
		s.afterCommand(nil, nil)
		return true
	}
	if s.multi != nil && !s.srv.handlers[cmd.ID()].control {
		s.queue(cmd, args)
		s.afterCommand(nil, nil)
		return true
	}
	if s.srv.pausedFor(cmd) {
		s.worker.CarryOut()
		s.waiting = waitPause
		return false
	}
	if m := s.tracks(); m != nil {
		if !s.track(m, cmd, args) {
			return false
		}
	}
	switch {
	case local:
		s.increment(cmd, args)
	case inBurst && s.burstRead(cmd, args):
	default:
		s.worker.CarryOut()
		if !s.run(cmd, args) {
			return false
		}
	}
	if s.srv.monitors.count.Load() != 0 {
		s.tellMonitors(cmd, args)
	}
	s.afterCommand(cmd, args)
	return true
}

// run executes one command outside of a transaction, now or behind what is pending.
func (s *Session) run(cmd *commands.Command, args [][]byte) bool {
	long := s.isLong(cmd, args)
	switch {
	case s.inReads > 0 && (cmd.Write != nil || cmd.Read != nil):
		// Reads that wait for a round must not be overtaken: neither by a write, which they must not see, nor by reads that go
		// through the log because a write of somebody stands beside them.
		return !s.awaitPending()
	case cmd.Unchanged != nil && !long && s.answerUnchanged(cmd, args):
	case cmd.Write != nil:
		if s.awaitBulk(s.bulkOf(cmd, args)) {
			return false
		}
		b := s.submission(s.size)
		b.Hold(cmd, args)
		b.Write(cmd, args, s.as())
	case cmd.Read == nil:
		return s.runHandler(cmd, args)
	case long:
		if s.barrier() {
			return false
		}
		if !s.direct() {
			return s.askSlow(cmd, args)
		}
		return s.runSlow(cmd, args)
	default:
		return s.read(cmd, args)
	}
	return true
}

// read runs a read at once, or adds it to what is pending. false: it has to wait.
func (s *Session) read(cmd *commands.Command, args [][]byte) bool {
	at := s.placeOf(cmd, args)
	if at == asked && cmd.OfNode {
		if s.awaitPending() {
			return false
		}
		at = here
	}
	if at == here && !s.pending() {
		s.lane.runner.ReadAt(s, cmd, args, s.db, s.readTime(), s.sees(), s.beginReply())
		s.endReply()
		return true
	}
	if s.awaitBulk(s.bulkOf(cmd, args)) {
		return false
	}
	as := s.as()
	as.Sees = s.sees()
	s.submissionFor(s.size, at == behind).Read(cmd, args, as)
	return true
}

// answerUnchanged answers a write that would change nothing like a read, if nothing of the session is pending.
func (s *Session) answerUnchanged(cmd *commands.Command, args [][]byte) bool {
	if s.pending() || !s.lane.sole || s.watcher != nil && s.lane.replica.Keyspace.HasAhead() {
		return false
	}
	done := s.lane.runner.Unchanged(s, cmd, args, s.db, s.lane.replica.Clock.Now(), s.beginReply())
	s.endReply()
	return done
}

// runHandler executes a command that belongs to the connection or the node, and times it if it is an operator's or its turn has come.
// What only hands something over is timed where that is executed.
func (s *Session) runHandler(cmd *commands.Command, args [][]byte) bool {
	s.worker.countRepeated(nil) // INFO shows all that stood before it
	h := &s.srv.handlers[cmd.ID()]
	if h.ownWritesFirst && s.awaitPending() {
		return false
	}
	if h.slow && h.flow == nil {
		return s.runSlowHandler(cmd, args)
	}
	if h.write != nil || !s.timesHandler(cmd) {
		return s.handle(cmd, args)
	}
	start := s.worker.times.Now()
	done := s.handle(cmd, args)
	if done && s.waiting == waitNothing {
		s.tookHandler(start, cmd, args)
	}
	return done
}

// timesHandler reports whether a command of the connection or the node is timed: those of operators all are. EXEC is timed where the
// transaction is executed.
func (s *Session) timesHandler(cmd *commands.Command) bool {
	return cmd.Flags&commands.FlagSkipSlowlog == 0 && (cmd.Flags&commands.FlagAdmin != 0 || s.worker.times.Due(cmd))
}

func (s *Session) tookHandler(start int64, cmd *commands.Command, args [][]byte) {
	s.worker.times.Took(start, exec.Timed{Cmd: cmd, Args: args, Client: s, Count: 1, Sampled: cmd.Flags&commands.FlagAdmin == 0})
}

// handle calls the handler of a command. What it replies itself, and not later or from the log, is looked at for errors.
func (s *Session) handle(cmd *commands.Command, args [][]byte) (done bool) {
	h, errors := &s.srv.handlers[cmd.ID()], s.out.Errors+s.side.Errors
	if h.flow != nil {
		done = h.flow(s, args)
	} else {
		w := s.beginReply()
		h.run(s, args, w)
		s.endReply()
		done = true
	}
	if s.out.Errors+s.side.Errors != errors {
		s.srv.commandFailed(cmd)
	}
	return done
}

// runSlowHandler executes a command of the connection or the node on another goroutine.
func (s *Session) runSlowHandler(cmd *commands.Command, args [][]byte) bool {
	if s.awaitPending() {
		return false
	}
	s.publishState()
	args = copyArgs(args)
	h := &s.srv.handlers[cmd.ID()]
	s.replyFromTask(func(w *protocol.Writer) {
		start := s.srv.meter.Clock()
		h.run(s, args, w)
		if w.Errors > 0 {
			s.srv.commandFailed(cmd)
		}
		s.srv.tookTask(s, cmd, args, start)
	})
	return true
}

// replyFromTask has the task pool write the reply. The session waits for it, its loop does not; work uses nothing of the session that
// belongs to the loop.
func (s *Session) replyFromTask(work func(w *protocol.Writer)) {
	result := protocol.Writer{V: s.out.V, Failed: s.out.Failed}
	reply := s.replyLater(waitTask)
	s.srv.tasks.run(func() {
		work(&result)
		s.worker.loop.Post(func() {
			reply(func(w *protocol.Writer) { w.Raw(result.B) })
		})
	})
}

// copyArgs is for whoever needs arguments for longer than the input stays as it is.
func copyArgs(args [][]byte) [][]byte {
	copied := make([][]byte, len(args))
	for i, arg := range args {
		copied[i] = bytes.Clone(arg)
	}
	return copied
}

// reserves reports whether the memory left must be known before the command runs: what the client has pending may take
// that memory, and many such commands fit a packet.
func (s *Session) reserves(cmd *commands.Command, args [][]byte) bool {
	if cmd.IsOnce() && len(args) > 4 {
		if inner := s.srv.table.Find(args[4:]); inner != nil {
			cmd = inner
		}
	}
	return cmd.Flags&commands.FlagReserves != 0 && s.multi == nil && s.srv.config().MaxMemory > 0
}

// afterCommand moves CLIENT REPLY SKIP on and counts the command, which is nil if it did not run.
func (s *Session) afterCommand(cmd *commands.Command, args [][]byte) {
	if s.silent != replyOn {
		s.stepReplyMode()
	}
	if s.caching && s.multi == nil && (s.last == nil || s.last.Parent == nil || s.last.Parent.Name != "client") {
		s.caching = false
	}
	s.ran++
	if cmd != nil && s.worker.called(cmd) {
		s.lookAtKeys(cmd, args)
	}
}

// called counts a command that has run, or was handed over, and reports whether its keys are to be looked at. It is inlined.
//
// An atomic addition for each command was 5 % of BenchmarkSession/INCR_hot by its profile, so equal commands in a row are counted together.
func (w *worker) called(cmd *commands.Command) (look bool) {
	if cmd != w.repeated {
		w.countRepeated(cmd)
	}
	w.repeats++
	w.hot.left--
	return w.hot.left < 0
}

// countRepeated adds the commands in a row that calls does not have yet; next are those that follow, nil where none may.
func (w *worker) countRepeated(next *commands.Command) {
	if w.repeats > 0 {
		w.calls[w.repeated.ID()].Add(w.repeats)
	}
	w.repeated, w.repeats = next, 0
}

func (s *Session) stepReplyMode() {
	switch s.silent {
	case replySkipNext: // the command just read was CLIENT REPLY SKIP itself
		s.silent = replySkip
	case replySkip:
		s.silent = replyOn
	}
}

// refuse replies with an error text and spoils the transaction being queued; a refused EXEC ends it, as in Redis.
func (s *Session) refuse(name []byte, text string) {
	s.srv.stats.refused.Add(1)
	s.barrierPassed = false
	switch {
	case bytes.EqualFold(name, []byte("exec")):
		s.discard()
		s.replyError(protocol.ErrExecAbortBecause(text))
		return
	case bytes.EqualFold(name, []byte("post")) || bytes.EqualFold(name, []byte("host:")):
		// A web page that makes its reader's browser send a request to this port: let none of it be understood.
		s.Close("an HTTP request")
		return
	case s.multi != nil:
		s.multi.spoiled = true
	}
	s.replyError(text)
}

// gate is the one place where a command with a known name and a right number of arguments can be refused before it
// runs, in Redis's order. local says that it is an increment at ack level local. It returns the error text, or "" to let the
// command pass.
func (s *Session) gate(cmd *commands.Command, args [][]byte, local bool) string {
	switch {
	case !s.authed && cmd.Flags&commands.FlagNoAuth == 0:
		return protocol.ErrNoAuth
	case s.multi != nil && cmd.Flags&commands.FlagNoMulti != 0:
		return protocol.ErrNotInMulti
	case s.restricted != nil:
		if text := s.denied(cmd, args); text != "" {
			return text
		}
	}
	switch {
	case cmd.Flags&commands.FlagDenyOOM != 0 && s.srv.outOfMemory():
		return protocol.ErrOOM
	case s.onlyListens() && !whileListening(cmd):
		return protocol.ErrSubscribed(cmd.FullName())
	case !s.srv.isReady() && !s.mayWhileLoading(cmd):
		return protocol.ErrLoading
	}
	if text := s.elsewhere(cmd, args); text != "" {
		return text
	}
	if cmd.Write != nil {
		if level, name := s.srv.table.LevelOf(cmd, args); level > 1 && level > s.lane.replica.Group.Level() {
			return protocol.ErrLevel(name, level, s.lane.replica.Group.Level())
		}
		text := ""
		if local && !s.pending() {
			text = refuseAhead(s.lane.replica)
		} else {
			text = refuseWrites(s.lane.replica)
		}
		if text != "" {
			return text
		}
	}
	if limit := s.srv.config().MaxKey; cmd.HasKeys() && longKey(cmd, args, limit) {
		return protocol.ErrKeyTooLong(limit)
	}
	return ""
}

// longKey reports whether a key among args has more bytes than limit.
func longKey(cmd *commands.Command, args [][]byte, limit int) (long bool) {
	total := 0
	for _, arg := range args[1:] {
		total = max(total, len(arg))
	}
	if total <= limit {
		return false
	}
	cmd.EachKey(args, func(key []byte) { long = long || len(key) > limit })
	return long
}

// runSlow executes a read that may take long on another goroutine; the session waits for it, its loop does not.
func (s *Session) runSlow(cmd *commands.Command, args [][]byte) bool {
	args = copyArgs(args)
	r := s.lane.replica
	db, now := s.db, s.readTime()
	s.replyFromTask(func(w *protocol.Writer) {
		s.srv.reading.RLock()
		defer s.srv.reading.RUnlock()
		s.srv.newRunner(r).ReadAt(s, cmd, args, db, now, exec.SeesApplied, w)
	})
	return true
}
