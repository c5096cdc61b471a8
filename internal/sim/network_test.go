package sim

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"quipu/replication/peer"
)

// network connects nodes by their addresses. What one node sends to another takes a random time, and waits while the
// direction is cut.
type network struct {
	mu        sync.Mutex
	rng       *rand.Rand
	listeners map[string]*listener
	cut       map[[2]string]bool
	slowest   time.Duration // longest delay of a message, one way
	conns     map[*conn]bool
}

func newNetwork(rng *rand.Rand) *network {
	return &network{rng: rng, listeners: map[string]*listener{}, cut: map[[2]string]bool{}, slowest: 2 * time.Millisecond, conns: map[*conn]bool{}}
}

// endpoint is the network as one node sees it.
type endpoint struct {
	n    *network
	self string
}

var _ peer.Network = endpoint{}

type listener struct {
	n       *network
	address string
	queue   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

// Listen implements peer.Network.
func (e endpoint) Listen(address string) (net.Listener, error) {
	l := &listener{n: e.n, address: address, queue: make(chan net.Conn, 64), done: make(chan struct{})}
	e.n.mu.Lock()
	e.n.listeners[address] = l
	e.n.mu.Unlock()
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.n.mu.Lock()
		if l.n.listeners[l.address] == l {
			delete(l.n.listeners, l.address)
		}
		l.n.mu.Unlock()
	})
	return nil
}

func (l *listener) Addr() net.Addr { return simAddr(l.address) }

type simAddr string

func (simAddr) Network() string  { return "sim" }
func (a simAddr) String() string { return string(a) }

var errRefused = errors.New("connection refused")

// Dial implements peer.Network. A dial to a node that the caller is cut off from ends with ctx.
func (e endpoint) Dial(ctx context.Context, address string) (net.Conn, error) {
	for {
		e.n.mu.Lock()
		reachable := !e.n.cut[[2]string{e.self, address}] && !e.n.cut[[2]string{address, e.self}]
		l := e.n.listeners[address]
		e.n.mu.Unlock()
		if reachable && l == nil {
			return nil, errRefused
		}
		if reachable {
			a, b := e.n.pair(e.self, address)
			select {
			case l.queue <- b:
				return a, nil
			case <-l.done:
				a.Close()
				return nil, errRefused
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (n *network) pair(from, to string) (a, b *conn) {
	there := &stream{n: n, way: [2]string{from, to}, wake: make(chan struct{}, 1)}
	back := &stream{n: n, way: [2]string{to, from}, wake: make(chan struct{}, 1)}
	a = &conn{in: back, out: there, local: from, remote: to}
	b = &conn{in: there, out: back, local: to, remote: from}
	n.mu.Lock()
	n.conns[a], n.conns[b] = true, true
	n.mu.Unlock()
	return a, b
}

// setCut cuts or heals a direction.
func (n *network) setCut(from, to string, cut bool) {
	n.mu.Lock()
	n.cut[[2]string{from, to}] = cut
	conns := n.all()
	n.mu.Unlock()
	wakeAll(conns)
}

func (n *network) heal() {
	n.mu.Lock()
	clear(n.cut)
	conns := n.all()
	n.mu.Unlock()
	wakeAll(conns)
}

// all are the open connections. mu held.
func (n *network) all() (list []*conn) {
	for c := range n.conns {
		list = append(list, c)
	}
	return list
}

func wakeAll(conns []*conn) {
	for _, c := range conns {
		c.in.signal()
	}
}

// kill ends everything of a node at once, as a crash does: what is under way is lost.
func (n *network) kill(address string) {
	n.mu.Lock()
	var gone []*conn
	for c := range n.conns {
		if c.local == address || c.remote == address {
			gone = append(gone, c)
		}
	}
	l := n.listeners[address]
	n.mu.Unlock()
	if l != nil {
		l.Close()
	}
	for _, c := range gone {
		c.in.drop()
		c.out.drop()
		c.Close()
	}
}

// stream is one direction of a connection.
type stream struct {
	n      *network
	way    [2]string
	mu     sync.Mutex
	queue  []packet
	closed bool
	wake   chan struct{} // buffered
}

type packet struct {
	b   []byte
	due time.Time
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *stream) drop() {
	s.mu.Lock()
	s.queue, s.closed = nil, true
	s.mu.Unlock()
	s.signal()
}

// conn is one end of a connection.
type conn struct {
	in, out       *stream
	local, remote string
	mu            sync.Mutex
	readBy        time.Time
	closed        bool
}

var errNever = time.Duration(1<<62 - 1)

func (c *conn) Read(b []byte) (int, error) {
	for {
		c.mu.Lock()
		by, closed := c.readBy, c.closed
		c.mu.Unlock()
		if closed {
			return 0, net.ErrClosed
		}
		n, wait, err := c.in.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		if !by.IsZero() {
			left := time.Until(by)
			if left <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
			wait = min(wait, left)
		}
		timer := time.NewTimer(wait)
		select {
		case <-c.in.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take returns what has arrived, or how long to wait for more.
func (s *stream) take(b []byte) (n int, wait time.Duration, err error) {
	s.n.mu.Lock()
	cut := s.n.cut[s.way]
	s.n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case cut:
		return 0, errNever, nil
	case len(s.queue) == 0 && s.closed:
		return 0, 0, io.EOF
	case len(s.queue) == 0:
		return 0, errNever, nil
	}
	p := &s.queue[0]
	if wait = time.Until(p.due); wait > 0 {
		return 0, wait, nil
	}
	n = copy(b, p.b)
	if p.b = p.b[n:]; len(p.b) == 0 {
		s.queue = s.queue[1:]
	}
	return n, 0, nil
}

func (c *conn) Write(b []byte) (int, error) {
	s := c.out
	s.n.mu.Lock()
	delay := time.Duration(s.n.rng.Int64N(int64(s.n.slowest)))
	s.n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	due := time.Now().Add(delay)
	if n := len(s.queue); n > 0 && due.Before(s.queue[n-1].due) {
		due = s.queue[n-1].due
	}
	s.queue = append(s.queue, packet{append([]byte(nil), b...), due})
	s.signal()
	return len(b), nil
}

func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, s := range []*stream{c.in, c.out} {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.signal()
	}
	c.in.n.mu.Lock()
	delete(c.in.n.conns, c)
	c.in.n.mu.Unlock()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return simAddr(c.local) }
func (c *conn) RemoteAddr() net.Addr { return simAddr(c.remote) }

func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) } // a write never waits

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.readBy = t
	c.mu.Unlock()
	c.in.signal()
	return nil
}

func (c *conn) SetWriteDeadline(time.Time) error { return nil }
