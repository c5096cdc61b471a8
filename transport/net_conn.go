package transport

import (
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// netConn is a connection with a goroutine of its own, for systems without epoll. A second goroutine only reads from
// the socket, so that input, completions and messages meet in one select.
type netConn struct {
	t       *Transport
	worker  Worker
	side    Conn
	sock    net.Conn // or what seals and opens its bytes
	raw     net.Conn // the socket
	replies *[]byte  // the Conn's output

	input chan []byte // one chunk at a time; closed at the end of the stream
	taken chan struct{}

	mu        sync.Mutex // guards posted and completed; a leaf
	posted    []func()
	completed bool
	signal    chan struct{} // has one token when the two fields above are worth a look

	in       []byte
	lastRead time.Time
}

// serveNet serves every connection with a goroutine of its own.
func (t *Transport) serveNet() {
	for _, ln := range t.listeners {
		t.serving.Go(func() {
			t.accept(ln, func(a accepted) {
				t.serving.Go(func() { t.serveConn(a) })
			})
		})
	}
}

// serveConn serves one connection until it is closed.
func (t *Transport) serveConn(a accepted) {
	sock := a.sock
	if a.tls != nil {
		sock = a.tls
	}
	c := &netConn{
		t: t, sock: sock, raw: a.sock, input: make(chan []byte), taken: make(chan struct{}), signal: make(chan struct{}, 1), lastRead: time.Now(),
	}
	c.worker = t.host.NewWorker(c, false)
	c.side = c.worker.Accept(c, peerOf(a.sock, a.sameHost))
	c.replies = c.side.Output()
	t.mu.Lock()
	t.conns[c] = struct{}{}
	t.mu.Unlock()
	if t.stopping.Load() {
		c.stop() // stopNet may have missed it
	}
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { c.readSocket(stop) })
	reason := c.run()
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
	close(stop)
	sock.Close()
	reader.Wait()
	c.side.Release(reason)
	c.awaitSubmissions()
}

// Join serves a connection that the process itself has made with its other end, on a goroutine of its own also where there are event
// loops. Its addresses say for whom it is. Nobody calls Join when Stop is called, or afterwards.
func (t *Transport) Join(sock net.Conn) error {
	sameHost := isSameHost(sock.RemoteAddr())
	if refusal := t.host.Admit(sock.RemoteAddr(), sameHost); refusal != nil {
		sock.Close()
		return errors.New(strings.TrimSpace(string(refusal[1:])))
	}
	t.serving.Go(func() { t.serveConn(accepted{sock, nil, sameHost}) })
	return nil
}

// stopNet closes the connections that goroutines serve, as soon as their replies are sent.
func (t *Transport) stopNet() {
	t.mu.Lock()
	conns := slices.Collect(maps.Keys(t.conns))
	t.mu.Unlock()
	for _, c := range conns {
		c.stop()
	}
}

// Completed implements Loop.
func (c *netConn) Completed() {
	c.mu.Lock()
	c.completed = true
	c.mu.Unlock()
	c.wake()
}

// Post implements Loop.
func (c *netConn) Post(fn func()) {
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

// Resume implements Link.
func (c *netConn) Resume() { c.advance() }

// Interrupt implements Link. Closing a tls.Conn would wait for a write that is under way.
func (c *netConn) Interrupt() { c.raw.Close() }

// stop has the connection closed once its replies are sent, or after lingerTime. Called from any goroutine.
func (c *netConn) stop() {
	c.Post(func() { c.side.Close("shutdown") })
	time.AfterFunc(lingerTime, c.Interrupt)
}

// readSocket hands what it reads to the connection's goroutine, and reads again when that has been taken: a connection
// that may not be read simply does not take.
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

// run serves the connection until it is to be closed, and returns why.
func (c *netConn) run() string {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	ended := false
	for {
		if reason := c.deliver(); reason != "" {
			return reason
		}
		if reason, finished := c.side.Finished(ended, 0); finished {
			return reason
		}
		var input chan []byte
		if !ended && (c.side.Ready() || c.side.MayRead(len(c.in), 0)) {
			input = c.input
		}
		select {
		case chunk, ok := <-input:
			if !ok {
				ended = true
				continue
			}
			c.lastRead = time.Now()
			c.in = append(c.in, chunk...)
			c.taken <- struct{}{}
			c.side.Received(len(chunk))
			c.advance()
		case <-c.signal:
			c.takeMessages()
		case now := <-ticker.C:
			c.worker.Tick()
			reason, lastWords := c.side.Overdue(now.UnixNano(), c.lastRead.UnixNano(), 0, len(c.in), 0)
			if reason == "" {
				continue
			}
			if len(lastWords) > 0 {
				*c.replies = append(*c.replies, lastWords...)
				c.deliver()
			}
			return reason
		}
	}
}

// advance runs the commands that have arrived.
func (c *netConn) advance() {
	used := c.side.Process(c.in, 0)
	c.worker.CarryOut()
	c.in = trimInput(c.in[:copy(c.in, c.in[used:])])
	c.side.Buffered(len(c.in), 0, cap(c.in))
}

func (c *netConn) takeMessages() {
	c.mu.Lock()
	posted, completed := c.posted, c.completed
	c.posted, c.completed = nil, false
	c.mu.Unlock()
	for _, fn := range posted {
		fn()
	}
	if completed {
		c.worker.TakeCompleted()
	}
}

// deliver hands over what was submitted and sends what there is to send, until there is no more. A client that does not
// read is closed when the write's deadline passes. It returns why the connection is to be closed, or "".
func (c *netConn) deliver() string {
	for {
		c.worker.Submit()
		replies := *c.replies
		if len(replies) == 0 {
			return ""
		}
		_ = c.sock.SetWriteDeadline(time.Now().Add(c.t.host.Settings().OutputTimeout)) // a closed socket fails the write below
		n, err := c.sock.Write(replies)
		c.side.Sent(n)
		*c.replies = replies[:0]
		if cap(replies) > MaxIdleBuffer {
			*c.replies = nil
		}
		c.side.Buffered(len(c.in), 0, cap(c.in))
		if err != nil {
			return "write: " + err.Error()
		}
		c.lastRead = time.Now() // a client that took this long to read its replies could not be heard meanwhile
		if len(c.in) == 0 || !c.side.Ready() || c.side.Started() {
			return ""
		}
		c.advance()
	}
}

// awaitSubmissions waits until nothing that was submitted is under way any more. The worker refers to the connection until
// then.
func (c *netConn) awaitSubmissions() {
	for !c.worker.Rests() {
		<-c.signal
		c.takeMessages()
	}
}
