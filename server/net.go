package server

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"quipu/commands"
)

// netConn is a connection with a goroutine of its own, for systems without epoll. A second goroutine only reads from
// the socket, so that input, completions and messages meet in one select.
type netConn struct {
	srv     *Server
	session *Session
	runner  *commands.Runner
	sock    net.Conn
	serial  uint64
	flush   bool
	stripe  uint32

	input chan []byte // one chunk at a time; closed at the end of the stream
	taken chan struct{}

	mu        sync.Mutex // guards posted and completed; a leaf
	posted    []func()
	completed []*batch
	signal    chan struct{} // holds one token when the lists above are worth a look

	in       []byte
	lastRead time.Time
}

func serveNet(srv *Server, sock net.Conn, trusts bool) {
	c := &netConn{
		srv: srv, runner: srv.newRunner(), stripe: srv.nextStripe.Add(1), sock: sock, input: make(chan []byte), taken: make(chan struct{}),
		signal: make(chan struct{}, 1), lastRead: time.Now(),
	}
	c.session = newSession(srv, c, sock.RemoteAddr().String(), sock.LocalAddr().String(), trusts)
	c.session.conn = c
	srv.clients.add(c.session)
	if srv.stopped.Load() {
		c.stop() // stopNet may have missed it
	}
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { c.readSocket(stop) })
	c.run()
	c.session.closing = true
	close(stop)
	sock.Close()
	reader.Wait()
	c.settle()
	c.session.release()
}

func (c *netConn) commandRunner() *commands.Runner { return c.runner }
func (c *netConn) calls() []atomic.Int64           { return c.srv.netCalls }
func (c *netConn) submitted()                      { c.flush = true }

func (c *netConn) joins(serial uint64) bool {
	first := c.serial != serial
	c.serial = serial
	return first
}

func (c *netConn) complete(b *batch) {
	c.mu.Lock()
	c.completed = append(c.completed, b)
	c.mu.Unlock()
	c.wake()
}

func (c *netConn) post(fn func()) {
	c.mu.Lock()
	c.posted = append(c.posted, fn)
	c.mu.Unlock()
	c.wake()
}

func (c *netConn) wake() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

func (c *netConn) resume(*Session) { c.advance() }

// stop has the connection closed once its replies are sent, or after lingerTime. Called from any goroutine.
func (c *netConn) stop() {
	c.post(func() { c.session.close("shutdown") })
	time.AfterFunc(lingerTime, func() { c.sock.Close() })
}

// readSocket hands what it reads to the connection's goroutine, and reads again when that has been taken: a session
// that may not read on simply does not take.
func (c *netConn) readSocket(stop <-chan struct{}) {
	defer close(c.input)
	buf := make([]byte, 16<<10)
	for {
		n, err := c.sock.Read(buf)
		if n > 0 {
			select {
			case c.input <- buf[:n]:
			case <-stop:
				return
			}
			select {
			case <-c.taken:
			case <-stop:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// run serves the connection until it is to be closed.
func (c *netConn) run() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	eof := false
	for {
		if !c.deliver() {
			return
		}
		s := c.session
		idle := s.outstanding == 0 && len(s.out.B) == 0
		if idle && (s.closing || eof && s.mayEnd()) {
			return
		}
		var input chan []byte
		if cfg := c.srv.config(); !eof && (s.ready(cfg) || s.listens(cfg, len(c.in))) {
			input = c.input
		}
		select {
		case chunk, ok := <-input:
			if !ok {
				eof = true
				continue
			}
			c.lastRead = time.Now()
			c.in = append(c.in, chunk...)
			c.taken <- struct{}{}
			s.seen.bytesIn.Store(s.seen.bytesIn.Load() + int64(len(chunk)))
			c.srv.stats.bytesIn.Add(c.stripe, int64(len(chunk)))
			c.advance()
		case <-c.signal:
			c.takeMessages()
		case now := <-ticker.C:
			if reason, text := s.overdue(now.UnixNano(), c.lastRead.UnixNano(), 0, len(c.in), 0); reason != "" {
				c.srv.stats.timeoutClosed.Add(1)
				if text != "" {
					s.out.Error(text)
					c.deliver()
				}
				return
			}
		}
	}
}

// advance runs the commands that have arrived.
func (c *netConn) advance() {
	used := c.session.process(c.in)
	c.session.answer()
	c.in = trimInput(c.in[:copy(c.in, c.in[used:])])
	c.session.seen.input.Store(int64(len(c.in)))
}

func (c *netConn) takeMessages() {
	c.mu.Lock()
	posted, completed := c.posted, c.completed
	c.posted, c.completed = nil, nil
	c.mu.Unlock()
	for _, fn := range posted {
		fn()
	}
	for _, b := range completed {
		for i := range b.Submissions() {
			if sub := &b.Submissions()[i]; sub.Client == any(c.session) {
				c.session.finish(b, sub)
			}
		}
		b.done()
	}
	if len(completed) > 0 {
		c.advance()
	}
}

// deliver proposes what was submitted and sends what there is to send. A client that does not read is closed when the
// write's deadline passes.
func (c *netConn) deliver() bool {
	if c.flush {
		c.flush = false
		c.srv.batcher.Flush()
	}
	s := c.session
	if len(s.out.B) == 0 {
		return true
	}
	_ = c.sock.SetWriteDeadline(time.Now().Add(c.srv.config().OutputTimeout)) // a closed socket fails the write below
	n, err := c.sock.Write(s.out.B)
	s.seen.bytesOut.Store(s.seen.bytesOut.Load() + int64(n))
	c.srv.stats.bytesOut.Add(c.stripe, int64(n))
	s.out.B = s.out.B[:0]
	if cap(s.out.B) > maxIdleBuffer {
		s.out.B = nil
	}
	if err != nil {
		return false
	}
	c.lastRead = time.Now() // a client that took this long to read its replies could not be heard meanwhile
	if len(c.in) > 0 && s.ready(c.srv.config()) && !s.parser.Started() {
		c.advance()
		return c.deliver()
	}
	return true
}

// settle waits for the batches the connection still has a part in: they hold a reference to it.
func (c *netConn) settle() {
	for c.session.outstanding > 0 {
		<-c.signal
		c.takeMessages()
	}
}
