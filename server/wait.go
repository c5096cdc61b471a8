package server

import (
	"math"
	"time"

	"quipu/protocol"
)

// waitArguments reads the last two arguments of WAIT and WAITAOF.
func waitArguments(args [][]byte) (replicas int64, timeout time.Duration, text string) {
	replicas, ok := protocol.ParseInt(args[len(args)-2])
	if !ok {
		return 0, 0, protocol.ErrNotInteger
	}
	ms, ok := protocol.ParseInt(args[len(args)-1])
	switch {
	case !ok:
		return 0, 0, protocol.ErrTimeoutNumber
	case ms < 0:
		return 0, 0, protocol.ErrTimeoutNegative
	case ms > int64(pauseMax/time.Millisecond):
		ms = int64(pauseMax / time.Millisecond)
	}
	return replicas, time.Duration(ms) * time.Millisecond, ""
}

// waitCommand counts replicas that have the connection's writes: a single node has none, so it waits in vain for any.
func waitCommand(s *Session, args [][]byte) bool {
	replicas, timeout, text := waitArguments(args)
	if text != "" {
		s.replyError(text)
		return true
	}
	if replicas <= 0 {
		s.reply(func(w *protocol.Writer) { w.Int(0) })
		return true
	}
	s.waitInVain(timeout, func(w *protocol.Writer) { w.Int(0) })
	return true
}

// waitAOFCommand: by the time it runs, the connection's writes are synced on this node, and there are no others.
func waitAOFCommand(s *Session, args [][]byte) bool {
	local, ok := protocol.ParseInt(args[1])
	if !ok || local < 0 || local > 1 {
		s.replyError(protocol.ErrOutOfRangeBetween(0, 1))
		return true
	}
	replicas, timeout, text := waitArguments(args)
	if text == "" && replicas < 0 {
		text = protocol.ErrNotPositive
	}
	if text != "" {
		s.replyError(text)
		return true
	}
	synced := func(w *protocol.Writer) { w.Array(2); w.Int(1); w.Int(0) }
	if replicas <= 0 {
		s.reply(synced)
		return true
	}
	s.waitInVain(timeout, synced)
	return true
}

// waitInTransaction does not wait.
func waitInTransaction(_ *Session, args [][]byte, w *protocol.Writer) {
	if _, _, text := waitArguments(args); text != "" {
		w.Error(text)
		return
	}
	w.Int(0)
}

func waitAOFInTransaction(_ *Session, _ [][]byte, w *protocol.Writer) { w.Array(2); w.Int(1); w.Int(0) }

// blockedWait is one wait for replicas. Whoever takes it out of its session ends it: its alarm, CLIENT UNBLOCK of
// another client, or the end of the connection.
type blockedWait struct {
	reply   func(write func(w *protocol.Writer))
	timeout func(w *protocol.Writer) // the reply when the time is over
	alarm   *time.Timer              // set and stopped on the session's loop
}

// waitInVain replies when the timeout is over, 0 being never. Nothing of the session is pending.
func (s *Session) waitInVain(timeout time.Duration, write func(w *protocol.Writer)) {
	b := &blockedWait{reply: s.replyLater(waitReplicas), timeout: write}
	s.srv.stats.blocked.Add(1)
	s.blocked.Store(b)
	if timeout == 0 {
		timeout = math.MaxInt64
	}
	b.alarm = time.AfterFunc(timeout, func() { s.unblock(b, b.timeout) })
}

// unblock ends a wait with a reply, and reports whether it had not ended before. Called from any goroutine.
func (s *Session) unblock(b *blockedWait, write func(w *protocol.Writer)) bool {
	if b == nil || !s.blocked.CompareAndSwap(b, nil) {
		return false
	}
	s.srv.stats.blocked.Add(-1)
	s.worker.loop.Post(func() {
		b.alarm.Stop()
		if s.waiting == waitReplicas && !s.closing {
			b.reply(write)
		}
	})
	return true
}

// endWait is called by release.
func (s *Session) endWait() {
	if b := s.blocked.Swap(nil); b != nil {
		b.alarm.Stop()
		s.srv.stats.blocked.Add(-1)
	}
}
