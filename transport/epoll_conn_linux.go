package transport

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
	var buf []byte
	switch {
	case c.tls != nil:
		buf = l.sealedRoom()
	default:
		buf = l.room()[:l.share]
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
	l.reads++
	if n < minShare {
		l.brief++
	}
	c.lastRead = l.now
	c.side.Received(n)
	if c.tls != nil {
		l.open(c, buf[:n])
		return
	}
	if len(c.in) > 0 {
		// A socket could be read into the room behind the input, which saves a copy. But then that room must be there before it is known
		// what comes: 64 KiB for each client that sends a byte of a long command now and then, made and given back each time.
		c.in = append(c.in, buf[:n]...)
		l.advance(c)
		return
	}
	l.process(c, buf[:n])
}

// process runs the commands in input, which is in the loop's buffer, of a connection without input that waits.
func (l *eventLoop) process(c *conn, input []byte) {
	used := c.side.Process(input, len(c.out))
	if used < len(input) {
		c.in = append(c.in, input[used:]...)
	}
	l.used += used
	l.touch(c)
}

// room returns free space for what a socket has. Commands of other connections that are in the burst point into what is
// before that space.
func (l *eventLoop) room() []byte {
	if l.used > len(l.buf)-ReadChunk {
		l.worker.CarryOut()
	}
	if !l.worker.HasBurst() {
		l.used = 0
	}
	return l.buf[l.used : l.used+ReadChunk]
}

// mayRead reports whether more input is welcome.
func (c *conn) mayRead() bool { return !c.eof && c.side.MayRead(len(c.in), len(c.out)) }

// advance runs commands in the input that waits.
func (l *eventLoop) advance(c *conn) {
	for len(c.in) > 0 {
		used := c.side.Process(c.in, len(c.out))
		l.worker.CarryOut()
		if used == 0 {
			break
		}
		rest := copy(c.in, c.in[used:])
		c.in = c.in[:rest]
	}
	c.in = trimInput(c.in)
	l.touch(c)
}

// sendTouched sends replies and sets the interests of the connections that were worked on. One that then goes on with
// its input is listed anew, for the next round.
func (l *eventLoop) sendTouched() {
	conns := l.touched
	l.touched = l.spareTouched[:0]
	for _, c := range conns {
		c.listed = false
		if !c.closed {
			l.send(c)
		}
	}
	clear(conns)
	l.spareTouched = conns
}

// send writes what it can, and closes the connection when that is due.
func (l *eventLoop) send(c *conn) {
	if c.tls != nil && !l.seal(c) {
		return
	}
	replies := *c.replies
	if len(c.out) > 0 && len(replies) > 0 {
		c.out = append(c.out, replies...)
		replies = replies[:0]
	}
	if len(c.out) > 0 {
		n, ok := l.write(c, c.out)
		if !ok {
			return
		}
		c.out = c.out[:copy(c.out, c.out[n:])]
		if len(c.out) == 0 {
			l.sent(c)
		}
	} else if len(replies) > 0 {
		n, ok := l.write(c, replies)
		if !ok {
			return
		}
		if n < len(replies) {
			c.out = append(c.out, replies[n:]...)
			c.lastWrite = l.now
		}
		replies = replies[:0]
	}
	if cap(replies) > MaxIdleBuffer {
		replies = nil
	}
	*c.replies = replies
	l.afterSend(c)
}

func (l *eventLoop) afterSend(c *conn) {
	c.side.Buffered(len(c.in), len(c.out), cap(c.in)+cap(c.out))
	if len(c.in) > 0 && len(c.out) == 0 && c.side.Ready() && !c.side.Started() {
		l.advance(c)
	} else if reason, finished := c.side.Finished(c.eof, len(c.out)); finished {
		l.closeConn(c, reason)
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
		c.side.Sent(sent)
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
	l.worker.CarryOut()
	c.closed = true
	delete(l.conns, c.fd)
	if c.tls != nil {
		l.farewell(c)
	}
	unix.Close(c.fd)
	c.side.Release(reason)
	c.in, c.out = nil, nil
}

// tick enforces the limits that depend on time, once a second over all connections.
func (l *eventLoop) tick(now time.Time) {
	if l.ticks++; l.ticks%fullSweep != 0 {
		return
	}
	l.worker.Tick()
	at := now.UnixNano()
	for _, c := range l.conns {
		reason, lastWords := c.side.Overdue(at, c.lastRead, c.lastWrite, len(c.in), len(c.out))
		if reason == "" {
			continue
		}
		switch {
		case len(lastWords) == 0 || len(c.out) > 0:
		case c.tls != nil:
			*c.replies = append(*c.replies, lastWords...)
			l.seal(c) // closing it sends this
		default:
			_, _ = unix.Write(c.fd, lastWords) // it is closed whether it reads this or not
		}
		l.closeConn(c, reason)
	}
}
