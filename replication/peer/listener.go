package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"quipu/internal/throttle"
)

// Listener accepts connections from other nodes. A connection is a stranger until its hello is accepted. Strangers cost
// little: there are at most maxStrangers at a time, each for at most helloTime; one more takes the place of the oldest, as
// those who keep a connection open in silence would otherwise keep the other nodes out.
type Listener struct {
	cfg     Config
	l       net.Listener
	raft    chan net.Conn
	answers atomic.Pointer[Handler]
	done    chan struct{}
	stop    sync.Once
	busy    sync.WaitGroup
	log     throttle.Log

	replacing sync.Mutex // taken before mu
	mu        sync.Mutex
	strangers []net.Conn            // oldest first
	served    map[*servedConn]bool  // in use
	sources   map[sourceKey]*source // of batches
	retired   bool                  // there will be no others
}

// servedConn is a connection in use; the Listener closes it at the latest when it is closed itself.
type servedConn struct {
	net.Conn
	listener *Listener
}

// Close implements net.Conn.
func (c *servedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.served, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

const (
	maxStrangers = 64
	raftBacklog  = 16 // connections that Raft has not taken yet
)

// Listen opens the peer port.
func Listen(address string, cfg Config) (*Listener, error) {
	if cfg.Network == nil {
		cfg.Network = tcp{}
	}
	l, err := cfg.Network.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("peer port: %w", err)
	}
	p := &Listener{cfg: cfg, l: l, raft: make(chan net.Conn, raftBacklog), done: make(chan struct{}), served: map[*servedConn]bool{}, sources: map[sourceKey]*source{}}
	p.log.To = cfg.Logger
	p.busy.Go(p.accept)
	return p, nil
}

// Addr is the address that is listened on.
func (p *Listener) Addr() net.Addr { return p.l.Addr() }

// Handle has h answer what other nodes ask from now on. Before, nobody can join, and nothing but hellos is answered.
func (p *Listener) Handle(h Handler) { p.answers.Store(&h) }

// Dial is Config.Dial with the configuration of the port.
func (p *Listener) Dial(ctx context.Context, address string, purpose Purpose, target string) (net.Conn, Hello, error) {
	return p.cfg.Dial(ctx, address, purpose, target)
}

// AcceptRaft waits for the next connection of Raft; net.ErrClosed after Close.
func (p *Listener) AcceptRaft() (net.Conn, error) {
	select {
	case c := <-p.raft:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close closes the port and all connections, those of Raft that this node has dialed as well.
func (p *Listener) Close() error {
	err := error(nil)
	p.stop.Do(func() {
		close(p.done)
		err = p.l.Close()
		p.mu.Lock()
		for _, c := range p.strangers {
			c.Close()
		}
		for c := range p.served { // serve adds no others any more
			c.Conn.Close()
		}
		p.mu.Unlock()
		p.busy.Wait()
	})
	return err
}

func (p *Listener) accept() {
	for {
		c, err := p.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely: they come back
			p.log.Warn("cannot accept a connection on the peer port", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-p.done:
				return
			}
			continue
		}
		if p.enter(c) {
			p.busy.Go(func() { p.meet(c) })
		}
	}
}

// enter notes a stranger, in place of the oldest if there are too many. It returns false when the port is closed.
func (p *Listener) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		c.Close()
		return false
	default:
	}
	if len(p.strangers) == maxStrangers {
		p.strangers[0].Close() // its goroutine calls leave
		p.strangers = p.strangers[1:]
	}
	p.strangers = append(p.strangers, c)
	return true
}

// leave says that a connection is no stranger any more.
func (p *Listener) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range p.strangers {
		if s == c {
			p.strangers = append(p.strangers[:i:i], p.strangers[i+1:]...)
			return
		}
	}
}

// meet reads a stranger's hello, answers it, and hands the connection over.
func (p *Listener) meet(raw net.Conn) {
	c := raw
	keep := false
	defer func() {
		p.leave(raw)
		if !keep {
			c.Close()
		}
	}()
	raw.SetDeadline(time.Now().Add(helloTime))
	if p.cfg.TLS != nil {
		c = tls.Server(raw, p.cfg.TLS())
	}
	h, err := readHello(c)
	if err != nil {
		p.log.Warn("a connection on the peer port was closed", "from", raw.RemoteAddr().String(), "err", err)
		return
	}
	handler := p.answers.Load()
	self := p.answer(h, handler)
	if self.Refusal == "" && h.Purpose.forBatches() {
		// Before the answer: the other node may give this connection up and make the next one at any time behind it.
		if !p.replaces(h, c, *handler) {
			self.Refusal = "this node stops"
		}
	}
	if self.Refusal != "" && !h.Purpose.forBatches() { // those try again until they find the leader
		p.log.Warn("a connection on the peer port was refused", "from", raw.RemoteAddr().String(), "node", h.Sender, "for", h.Purpose.String(), "why", self.Refusal)
	}
	if err := exchange(c, self); err != nil {
		p.log.Warn("a connection on the peer port was closed", "from", raw.RemoteAddr().String(), "err", err)
		p.forgets(h, c)
		return
	}
	talk := p.conversation(h, handler)
	if self.Refusal != "" || h.Purpose != ForRaft && talk == nil {
		return // the answer is all
	}
	raw.SetDeadline(time.Time{})
	p.leave(raw)
	s := p.serve(c)
	if s == nil {
		return
	}
	if talk != nil {
		err := talk(s)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			p.log.Warn("a connection on the peer port was closed", "node", h.Sender, "err", err)
		}
		s.Close()
		return
	}
	select {
	case p.raft <- s:
		keep = true
	default: // Raft does not take them: the caller tries again
		s.Close()
	}
}

// answer is this node's hello to a stranger whose hello is h.
func (p *Listener) answer(h Hello, handler *Handler) Hello {
	refusal := judge(p.cfg.Self(), h)
	if refusal == "" && h.Purpose >= ForJoin {
		switch {
		case handler == nil:
			refusal = "this node is not ready"
		case h.Purpose == ForJoin:
			refusal = (*handler).Join(h)
		case h.Purpose == ForLead:
			refusal = (*handler).Lead(h)
		case h.Purpose == ForNotices:
			refusal = (*handler).Hears(h)
		default:
			refusal = (*handler).Forwards(h)
		}
	}
	self := p.cfg.Self() // after Join: it may know the leader now
	self.Purpose, self.Target, self.Refusal = h.Purpose, h.Sender, refusal[:min(len(refusal), maxRefusal)]
	return self
}

// conversation is what follows the hellos; nil: nothing, or Raft's messages.
func (p *Listener) conversation(h Hello, handler *Handler) func(c net.Conn) error {
	switch {
	case handler == nil:
		return nil
	case h.Purpose == ForStatus && h.Target != "":
		return func(c net.Conn) error { return answerStatus(c, *handler) }
	case h.Purpose.forBatches():
		return func(c net.Conn) error { return p.absorb(c, h) }
	case h.Purpose == ForNotices:
		return func(c net.Conn) error { return hearNotices(c, h.Sender, *handler) }
	}
	return nil
}

// serve notes a connection that is in use, accepted or dialed. It returns nil, and closes it, if the port is closed.
func (p *Listener) serve(c net.Conn) net.Conn {
	s := &servedConn{c, p}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		c.Close()
		return nil
	default:
		p.served[s] = true
		return s
	}
}
