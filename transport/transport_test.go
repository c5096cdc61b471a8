package transport

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echoHost is a server that sends each line back: at once, or, if it begins with "later", behind everything before it
// once another goroutine has looked at it. "end" closes the connection.
type echoHost struct {
	refuses  atomic.Bool
	admitted atomic.Int64
	ticks    atomic.Int64
	shook    atomic.Int64 // handshakes that have succeeded
	failed   atomic.Int64
	tls      *tls.Config
	timeout  time.Duration // for handshakes; 0: a minute
	limit    int           // of handshakes; 0: 100
	inPlace  bool          // loops may wait for what is submitted
}

func (h *echoHost) NewWorker(l Loop, _ bool) Worker { return &echoWorker{host: h, loop: l} }
func (h *echoHost) AcceptFailed()                   {}
func (h *echoHost) Dismiss()                        { h.admitted.Add(-1) }
func (h *echoHost) Fail(error)                      {}
func (h *echoHost) Settings() Settings              { return Settings{OutputTimeout: time.Minute} }

func (h *echoHost) TLS() TLSSettings {
	return TLSSettings{h.tls, cmp.Or(h.timeout, time.Minute), cmp.Or(h.limit, 100)}
}

func (h *echoHost) ShookHands(_ net.Addr, err error) {
	if err == nil {
		h.shook.Add(1)
	} else {
		h.failed.Add(1)
	}
}

func (h *echoHost) Admit(net.Addr, bool) []byte {
	if h.refuses.Load() {
		return []byte("no\n")
	}
	h.admitted.Add(1)
	return nil
}

type echoWorker struct {
	host      *echoHost
	loop      Loop
	burst     []*echoConn // each with a line in its field inBurst
	submitted []*echoConn
	underWay  int

	mu        sync.Mutex
	completed []*echoConn
}

func (w *echoWorker) Accept(link Link, _ Peer) Conn { return &echoConn{w: w, link: link} }
func (w *echoWorker) HasBurst() bool                { return len(w.burst) > 0 }
func (w *echoWorker) Rests() bool                   { return w.underWay == 0 }
func (w *echoWorker) MayAwait() bool                { return w.host.inPlace && w.underWay > 0 }
func (w *echoWorker) Tick()                         { w.host.ticks.Add(1) }

func (w *echoWorker) CarryOut() {
	for _, c := range w.burst {
		c.out = append(c.out, c.inBurst...)
		c.inBurst = nil
	}
	w.burst = w.burst[:0]
}

func (w *echoWorker) Submit() {
	for _, c := range w.submitted {
		go func() {
			w.mu.Lock()
			w.completed = append(w.completed, c)
			w.mu.Unlock()
			w.loop.Completed()
		}()
	}
	w.submitted = w.submitted[:0]
}

func (w *echoWorker) TakeCompleted() {
	w.mu.Lock()
	completed := w.completed
	w.completed = nil
	w.mu.Unlock()
	for _, c := range completed {
		w.underWay--
		c.out = append(c.out, c.submitted...)
		c.submitted = nil
		c.link.Resume()
	}
}

type echoConn struct {
	w         *echoWorker
	link      Link
	out       []byte
	inBurst   []byte // a line, in the input
	submitted []byte // a copy of a line
	started   bool
	closing   string
}

func (c *echoConn) Process(input []byte, out int) (used int) {
	for c.Ready() && out < ReadChunk {
		end := bytes.IndexByte(input[used:], '\n')
		if c.started = end < 0 && used < len(input); end < 0 {
			return used
		}
		line := input[used : used+end+1]
		used += end + 1
		c.w.CarryOut()
		switch {
		case string(line) == "end\n":
			c.closing = "the client said so"
		case bytes.HasPrefix(line, []byte("later")):
			c.submitted = bytes.Clone(line)
			c.w.submitted = append(c.w.submitted, c)
			c.w.underWay++
		default:
			c.inBurst = line
			c.w.burst = append(c.w.burst, c)
		}
	}
	return used
}

func (c *echoConn) Output() *[]byte         { return &c.out }
func (c *echoConn) Ready() bool             { return c.closing == "" && c.submitted == nil }
func (c *echoConn) Started() bool           { return c.started }
func (c *echoConn) Need() int               { return 1 }
func (c *echoConn) MayRead(_, out int) bool { return c.Ready() && out < ReadChunk }
func (c *echoConn) Received(int)            {}
func (c *echoConn) Sent(int)                {}
func (c *echoConn) Buffered(int, int, int)  {}
func (c *echoConn) Close(reason string)     { c.closing = reason }
func (c *echoConn) Release(reason string)   { c.closing = reason; c.w.host.admitted.Add(-1) }

func (c *echoConn) Finished(ended bool, out int) (string, bool) {
	switch {
	case out > 0 || c.submitted != nil:
		return "", false
	case ended:
		return "closed by the client", true
	}
	return c.closing, c.closing != ""
}

func (c *echoConn) Overdue(int64, int64, int64, int, int) (string, []byte) { return "", nil }

// forEach runs a test on each transport of this system, plain and with TLS.
func forEach(t *testing.T, host *echoHost, test func(t *testing.T, tr *Transport)) {
	for _, secure := range []bool{false, true} {
		forEachOf(t, host, secure, test)
	}
}

// forEachOf runs a test on each transport of this system.
func forEachOf(t *testing.T, host *echoHost, secure bool, test func(t *testing.T, tr *Transport)) {
	if host.tls == nil {
		host.tls = serverTLS(t)
	}
	for _, goroutines := range []bool{false, true} {
		tr := New(host, Options{Goroutines: goroutines, Loops: 2, Log: slog.New(slog.DiscardHandler)})
		want := "net"
		if !goroutines && runtime.GOOS == "linux" {
			want = "epoll"
		}
		name := want
		if secure {
			name += " TLS"
		}
		t.Run(name, func(t *testing.T) {
			if err := tr.Listen(Addresses{TCP: !secure, TLS: secure, Hosts: []string{"127.0.0.1"}}); err != nil {
				t.Fatal(err)
			}
			if err := tr.Serve(); err != nil {
				t.Fatal(err)
			}
			if tr.Name() != want {
				t.Errorf("transport %s", tr.Name())
			}
			test(t, tr)
			tr.StopListening()
			tr.Stop()
			if n := host.admitted.Load(); n != 0 {
				t.Errorf("%d connections were not released", n)
			}
		})
	}
}

func dial(t *testing.T, tr *Transport) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", tr.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if tr.TLSAddr() != nil {
		secure := tls.Client(c, clientTLS)
		if err := secure.Handshake(); err != nil {
			t.Fatal(err)
		}
		return secure
	}
	return c
}

// TestEcho has several clients send more than the buffers of a socket hold, cut at any place, of lines that are answered
// at once and lines that are submitted: each client gets its own lines back, in order.
func TestEcho(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		forEach(t, &echoHost{inPlace: inPlace}, func(t *testing.T, tr *Transport) {
			var clients sync.WaitGroup
			for id := range 4 {
				c := dial(t, tr)
				var text strings.Builder
				for i := range 300 {
					text.WriteString(strings.Repeat("x", i*id*7))
					text.WriteString("\nlater\n")
				}
				clients.Go(func() {
					if _, err := io.WriteString(c, text.String()+"end\n"); err != nil {
						t.Error(err)
					}
				})
				clients.Go(func() {
					got, err := io.ReadAll(c)
					if err != nil || string(got) != text.String() {
						t.Errorf("client %d: %d bytes of %d, %v", id, len(got), text.Len(), err)
					}
				})
			}
			clients.Wait()
		})
	}
}

// TestStopTransport has clients that are connected, one of which has sent half a line, told of the end of the transport.
func TestStopTransport(t *testing.T) {
	forEach(t, &echoHost{}, func(t *testing.T, tr *Transport) {
		a, b := dial(t, tr), dial(t, tr)
		for _, c := range []net.Conn{a, b} {
			if _, err := io.WriteString(c, "first\nhalf"); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(c).ReadString('\n'); line != "first\n" {
				t.Fatalf("%q, %v", line, err)
			}
		}
		tr.StopListening()
		tr.Stop()
		for _, c := range []net.Conn{a, b} {
			if rest, _ := io.ReadAll(c); len(rest) > 0 {
				t.Errorf("%q after the end", rest)
			}
		}
	})
}

func TestRefusal(t *testing.T) {
	host := &echoHost{}
	forEach(t, host, func(t *testing.T, tr *Transport) {
		host.refuses.Store(true)
		defer host.refuses.Store(false)
		if got, err := io.ReadAll(dial(t, tr)); string(got) != "no\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestHalfClosed has a client that says it will send no more before it has its replies.
func TestHalfClosed(t *testing.T) {
	forEach(t, &echoHost{}, func(t *testing.T, tr *Transport) {
		c := dial(t, tr)
		if _, err := io.WriteString(c, "a\nlater\nb\n"); err != nil {
			t.Fatal(err)
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); string(got) != "a\nlater\nb\n" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestTick checks that workers are told of the time on each transport.
func TestTick(t *testing.T) {
	host := &echoHost{}
	forEach(t, host, func(t *testing.T, tr *Transport) {
		dial(t, tr)
		before := host.ticks.Load()
		for end := time.Now().Add(20 * time.Second); host.ticks.Load() == before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no tick")
			}
		}
	})
}
