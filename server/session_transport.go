package server

import (
	"time"

	"quipu/protocol"
	"quipu/transport"
)

// What a transport asks of a Session, apart from Process.

var _ transport.Conn = (*Session)(nil)

// Output implements transport.Conn.
func (s *Session) Output() *[]byte { return &s.out.B }

// Ready implements transport.Conn: reading pauses, and with it in the end the client, while too much of its work or too
// many replies wait.
func (s *Session) Ready() bool { return s.ready(s.srv.config()) }

// Started implements transport.Conn.
func (s *Session) Started() bool { return s.parser.Started() }

// Need implements transport.Conn.
func (s *Session) Need() int { return s.parser.Need() }

// MayRead implements transport.Conn.
func (s *Session) MayRead(in, out int) bool {
	cfg := s.srv.config()
	why := notPaused
	switch {
	case out >= cfg.ClientOutputPause:
		why = pausedByOutput
	case !s.ready(cfg):
		// A client that waits for replicas is to be noticed when it leaves.
		if s.waiting != waitBlocked || s.closing || in >= cfg.ClientInput {
			if s.waiting == waitNothing && s.crowded(cfg) {
				s.pauses(pausedByWrites)
			}
			return false
		}
	case in >= cfg.ClientInput && (!s.parser.Started() || in >= cfg.MaxCommand+transport.ReadChunk):
		why = pausedByInput
	}
	s.pauses(why)
	return why == notPaused
}

// Finished implements transport.Conn.
func (s *Session) Finished(ended bool, out int) (reason string, finished bool) {
	switch {
	case s.closing && s.kill.Load(): // what it has not read yet is memory too
		return s.reason, true
	case out > s.srv.config().ClientOutputMax || !s.authed && out > unauthenticatedOutput:
		s.srv.limits.met(limitOutput, s.remote)
		return "more unsent replies than a client may have", true
	case out > 0 || s.pending():
	case s.closing:
		return s.reason, true
	case ended && (s.waiting == waitNothing || s.waiting == waitBlocked):
		return "closed by the client", true
	}
	return "", false
}

// Received implements transport.Conn.
func (s *Session) Received(n int) {
	s.seen.bytesIn.Store(s.seen.bytesIn.Load() + int64(n))
	s.srv.stats.bytesIn.Add(s.worker.stripe, int64(n))
}

// Sent implements transport.Conn.
func (s *Session) Sent(n int) {
	s.seen.bytesOut.Store(s.seen.bytesOut.Load() + int64(n))
	s.srv.stats.bytesOut.Add(s.worker.stripe, int64(n))
}

// Buffered implements transport.Conn.
func (s *Session) Buffered(in, out, memory int) {
	s.seen.input.Store(int64(in))
	s.seen.output.Store(int64(out))
	s.pushAgain(out)
	s.holds(s.memory() + memory)
}

// Close implements transport.Conn.
func (s *Session) Close(reason string) {
	if !s.closing {
		s.closing, s.reason = true, reason
	}
}

// Release implements transport.Conn: it gives up everything the session holds elsewhere.
func (s *Session) Release(reason string) {
	s.closing = true
	s.shutBox()
	s.endMonitor()
	s.unsubscribeAll()
	s.endTracking()
	s.unwatch()
	s.multi = nil
	s.endWait()
	s.endBackup()
	s.srv.clients.remove(s)
	s.holdsNothing()
	s.srv.log.Debug("client closed", "id", s.id, "addr", s.remote, "reason", reason)
}

// Overdue implements transport.Conn.
func (s *Session) Overdue(now, lastRead, lastWrite int64, in, out int) (reason string, lastWords []byte) {
	reason, text := s.overdue(now, lastRead, lastWrite, in, out)
	if reason != "" {
		s.srv.limits.met(limitTime, s.remote, "reason", reason)
	}
	if text != "" {
		lastWords = errorLine(text)
	}
	return reason, lastWords
}

// overdue is Overdue with the text of an error reply.
func (s *Session) overdue(now, lastRead, lastWrite int64, in, out int) (reason, text string) {
	cfg := s.srv.config()
	s.seen.lastActive.Store(lastRead)
	quiet := time.Duration(now - lastRead)
	switch {
	case s.kill.Load():
		return "killed", ""
	case !s.authed && now-s.unauthenticatedSince.UnixNano() > int64(cfg.AuthTimeout):
		return "not authenticated in time", protocol.ErrAuthTimeout
	case out > 0 && time.Duration(now-max(lastWrite, lastRead)) > cfg.OutputTimeout:
		return "reads no replies", ""
	case in > 0 && s.parser.Started() && quiet > cfg.CommandTimeout && out < cfg.ClientOutputPause && s.ready(cfg):
		// While the server itself does not read, the rest of the command may have been sent long ago.
		return "half a command", protocol.ErrCommandTimeout
	case s.pushesSlowly(now):
		return "reads too slowly what it is sent: client-push-bytes", ""
	case cfg.Timeout > 0 && s.subs == nil && !s.pending() && s.waiting == waitNothing && out == 0 && quiet > cfg.Timeout:
		return "idle", "" // Redis says nothing either
	}
	return "", ""
}
