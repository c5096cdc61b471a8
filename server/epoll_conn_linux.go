package server

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// read takes what the socket has, once, and runs the commands in it.
func (l *eventLoop) read(c *conn) {
	if c.closed {
		return
	}
	if !c.mayRead() {
		l.touch(c) // drops the read interest
		return
	}
	buf := l.room()
	if len(c.in) > 0 {
		buf = c.room()
	}
	n, err := readNow(c.fd, buf)
	switch {
	case n > 0:
	case err == nil:
		c.eof = true
		l.touch(c)
		return
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return
	default:
		l.closeConn(c, "read: "+err.Error())
		return
	}
	c.lastRead = l.now
	s := c.session
	s.seen.bytesIn.Store(s.seen.bytesIn.Load() + int64(n))
	l.srv.stats.bytesIn.Add(l.stripe, int64(n))
	if len(c.in) > 0 {
		c.in = c.in[:len(c.in)+n]
		l.advance(c)
		return
	}
	used := s.process(buf[:n])
	if used < n {
		c.in = append(c.in, buf[used:n]...)
	}
	l.used += used
	l.after(c)
}

// room returns free space for what a socket has: commands of other connections that are gathered point into what is
// before it.
func (l *eventLoop) room() []byte {
	if l.used > len(l.buf)-readChunk {
		l.srv.answer(l.runner)
	}
	if l.runner.Gathered() == 0 {
		l.used = 0
	}
	return l.buf[l.used : l.used+readChunk]
}

// room returns free space behind the waiting input: enough for the rest of the command that has begun, up to a chunk.
func (c *conn) room() []byte {
	want := min(max(c.session.parser.Need(), 4<<10), readChunk)
	if free := cap(c.in) - len(c.in); free < want {
		grown := make([]byte, len(c.in), max(2*cap(c.in), len(c.in)+want))
		copy(grown, c.in)
		c.in = grown
	}
	return c.in[len(c.in):cap(c.in)]
}

// mayRead reports whether more input is welcome.
func (c *conn) mayRead() bool {
	s := c.session
	cfg := s.srv.config()
	if c.eof || len(c.out) >= cfg.ClientOutputPause {
		return false
	}
	if !s.ready(cfg) {
		return s.listens(cfg, len(c.in))
	}
	return len(c.in) < cfg.ClientInput || s.parser.Started() && len(c.in) < cfg.MaxCommand+readChunk
}

// advance runs commands in the input that waits.
func (l *eventLoop) advance(c *conn) {
	for len(c.in) > 0 && len(c.out) < l.srv.config().ClientOutputPause {
		used := c.session.process(c.in)
		l.srv.answer(l.runner)
		if used == 0 {
			break
		}
		rest := copy(c.in, c.in[used:])
		c.in = c.in[:rest]
	}
	c.in = trimInput(c.in)
	l.after(c)
}

// after books the state the session was left in.
func (l *eventLoop) after(c *conn) {
	c.session.seen.input.Store(int64(len(c.in)))
	l.touch(c)
}

// sendTouched sends replies and sets the interests of the connections that were worked on. One that then goes on with
// its input is listed anew, for the next round.
func (l *eventLoop) sendTouched() {
	batch := l.touched
	l.touched = l.spareTouched[:0]
	for _, c := range batch {
		c.listed = false
		if !c.closed {
			l.send(c)
		}
	}
	clear(batch)
	l.spareTouched = batch
}

// send writes what it can, and closes the connection when that is due.
func (l *eventLoop) send(c *conn) {
	s := c.session
	if len(c.out) > 0 && len(s.out.B) > 0 {
		c.out = append(c.out, s.out.B...)
		s.out.B = s.out.B[:0]
	}
	if len(c.out) > 0 {
		n, ok := l.write(c, c.out)
		if !ok {
			return
		}
		c.out = c.out[:copy(c.out, c.out[n:])]
		if len(c.out) == 0 {
			c.out = nil
		}
	} else if len(s.out.B) > 0 {
		n, ok := l.write(c, s.out.B)
		if !ok {
			return
		}
		if n < len(s.out.B) {
			c.out = append(c.out, s.out.B[n:]...)
			c.lastWrite = l.now
		}
		s.out.B = s.out.B[:0]
	}
	if cap(s.out.B) > maxIdleBuffer {
		s.out.B = nil
	}
	l.afterSend(c)
}

func (l *eventLoop) afterSend(c *conn) {
	s := c.session
	cfg := l.srv.config()
	s.seen.output.Store(int64(len(c.out)))
	if len(c.out) > cfg.ClientOutputMax || !s.authed && len(c.out) > strangerOutput {
		l.srv.stats.outputClosed.Add(1)
		l.closeConn(c, "more unsent replies than a client may have")
		return
	}
	switch {
	case len(c.in) > 0 && len(c.out) == 0 && s.ready(cfg) && !s.parser.Started():
		l.advance(c)
	case len(c.out) > 0 || s.outstanding > 0:
	case s.closing:
		l.closeConn(c, s.reason)
		return
	case c.eof && s.mayEnd():
		l.closeConn(c, "closed by the client")
		return
	}
	l.interests(c)
}

// write sends b and returns how much of it was taken; false means the connection is gone.
func (l *eventLoop) write(c *conn, b []byte) (int, bool) {
	sent := 0
	for sent < len(b) {
		n, err := writeNow(c.fd, b[sent:])
		if n > 0 {
			sent += n
			continue
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		l.closeConn(c, "write: "+err.Error())
		return sent, false
	}
	if sent > 0 {
		c.lastWrite = l.now
		c.session.seen.bytesOut.Store(c.session.seen.bytesOut.Load() + int64(sent))
		l.srv.stats.bytesOut.Add(l.stripe, int64(sent))
	}
	return sent, true
}

// interests registers the connection for what it can use now.
func (l *eventLoop) interests(c *conn) {
	reads, writes := c.mayRead(), len(c.out) > 0
	if reads == c.reads && writes == c.writes {
		return
	}
	if reads && !c.reads {
		c.lastRead = l.now // it could not be heard until now
	}
	c.reads, c.writes = reads, writes
	ev := unix.EpollEvent{Fd: int32(c.fd)}
	if reads {
		ev.Events |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if writes {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		l.closeConn(c, "epoll_ctl: "+err.Error())
	}
}

func (l *eventLoop) closeConn(c *conn, reason string) {
	if c.closed {
		return
	}
	l.srv.answer(l.runner)
	c.closed = true
	delete(l.conns, c.fd)
	unix.Close(c.fd)
	c.session.closing = true
	c.session.release()
	c.in, c.out = nil, nil
	l.srv.log.Debug("client closed", "id", c.session.id, "addr", c.session.remote, "reason", reason)
}

// tick enforces the limits that depend on time, once a second over all connections.
func (l *eventLoop) tick(now time.Time) {
	if l.ticks++; l.ticks%fullSweep != 0 {
		return
	}
	at := now.UnixNano()
	for _, c := range l.conns {
		reason, text := c.session.overdue(at, c.lastRead, c.lastWrite, len(c.in), len(c.out))
		if reason == "" {
			continue
		}
		l.srv.stats.timeoutClosed.Add(1)
		if text != "" && len(c.out) == 0 {
			_, _ = unix.Write(c.fd, []byte("-"+text+"\r\n")) // it is closed whether it reads this or not
		}
		l.closeConn(c, reason)
	}
}
