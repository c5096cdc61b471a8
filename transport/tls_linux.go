package transport

import (
	"errors"
	"io"
)

// TLS in an event loop, behind the handshake. The loop reads and writes the socket as for a plain connection; crypto/tls
// opens what was read and seals what is to be sent in memory (wire), on the loop's goroutine. A connection so needs no
// goroutine, and no buffer while it rests but that of crypto/tls, which has the size of the largest record it has received.
//
//	socket ─► sealedIn ─► wire.in ─► tls.Conn.Read ─► the loop's buffer ─► Process        (as for a plain connection)
//	socket ◄─ conn.out ◄─ wire.out ◄─ tls.Conn.Write ◄─ the Conn's output
//
// After each read, everything but an incomplete record is opened and processed, or waits in conn.in: crypto/tls keeps
// nothing back that epoll would not tell of again.

// sealedChunk is how many bytes are read from a socket with TLS at once: what is in them, and in the incomplete record
// before them, which has less than 20 KiB, fits into the ReadChunk that is opened into.
const sealedChunk = ReadChunk - 20<<10

// sealedRoom is the loop's buffer for reading from a socket with TLS.
func (l *eventLoop) sealedRoom() []byte {
	if l.sealedIn == nil {
		l.sealedIn = make([]byte, sealedChunk)
	}
	return l.sealedIn
}

// open opens what was read from the socket, and runs the commands in it.
func (l *eventLoop) open(c *conn, sealed []byte) {
	room := l.room()
	w := c.tls.wire
	w.in, w.out = sealed, c.out // an answer of the protocol, to a change of keys, or that it is violated, goes behind what waits
	n, err := 0, error(nil)
	for n < len(room) && err == nil {
		var m int
		m, err = c.tls.Read(room[n:])
		n += m
	}
	if len(w.out) > 0 && len(c.out) == 0 {
		c.lastWrite = l.now
	}
	c.out, w.in, w.out = w.out, nil, nil
	switch {
	case n == 0:
		l.touch(c)
	case len(c.in) > 0:
		c.in = append(c.in, room[:n]...)
		l.advance(c)
	default:
		l.process(c, room[:n])
	}
	switch {
	case errors.Is(err, errNothing):
	case errors.Is(err, io.EOF): // the client has said that it sends no more
		c.eof = true
	case err == nil:
		l.closeConn(c, "BUG: a record is longer than TLS allows")
	default:
		l.closeConn(c, "TLS: "+err.Error())
	}
}

// seal puts the replies behind what waits to be sent. It returns false when that cannot be: the connection is gone.
func (l *eventLoop) seal(c *conn) bool {
	replies := *c.replies
	if len(replies) == 0 {
		return true
	}
	if len(c.out) == 0 {
		c.out, l.sealedOut = l.sealedOut[:0], nil
		c.lastWrite = l.now
	}
	w := c.tls.wire
	w.out = c.out
	_, err := c.tls.Write(replies)
	c.out, w.out = w.out, nil
	*c.replies = replies[:0]
	if err != nil {
		l.closeConn(c, "TLS: "+err.Error())
	}
	return err == nil
}

// sent takes the buffer of what has been sent.
func (l *eventLoop) sent(c *conn) {
	if c.tls != nil && cap(c.out) <= ReadChunk {
		l.sealedOut = c.out
	}
	c.out = nil
}

// farewell tells the client that nothing more comes (close_notify), as far as its socket takes that now: so it knows that
// its last replies were not cut off by somebody else.
func (l *eventLoop) farewell(c *conn) {
	w := c.tls.wire
	w.out = c.out
	if c.tls.CloseWrite() == nil {
		_, _ = writeNow(c.fd, w.out)
	}
}
