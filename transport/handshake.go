package transport

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"sync"
	"time"
)

// Handshakes of TLS are done by a goroutine each, before there is anything else of a connection: it is not among the
// clients, and has no Conn, until its handshake has succeeded. So that handshakes cost nothing for the clients that are
// there, they are bounded in three ways:
//
//   - each has TLSSettings.HandshakeTimeout;
//   - TLSSettings.Handshakes may be under way. Where one more begins, the oldest whose client has kept it waiting for
//     handshakeGrace ends; if there is none, accepting waits, and further clients wait in the kernel's queue. Those who open
//     connections and say nothing so keep nobody else out for long, and honest clients that all come at once, as after a
//     restart, wait for each other and not for their time limit;
//   - handshakeWorkers may compute at a time. One that waits for its client is not among them.
//
// Session tickets are those of crypto/tls: sealed with keys that are in memory only, belong to one tls.Config and change
// each day. crypto/tls as a server neither renegotiates nor takes early data (0-RTT).

const handshakeGrace = time.Second

// handshakeWorkers leaves processors to the event loops.
func handshakeWorkers() int { return max(1, runtime.NumCPU()/2) }

// handshakes are those under way.
type handshakes struct {
	workers chan struct{} // holds a token for each handshake that computes
	left    chan struct{} // has a token when one has ended

	mu      sync.Mutex // guards the fields below, and those of each handshake; a leaf
	under   list.List  // of *handshake, in the order they began
	stopped bool
}

func newHandshakes() *handshakes {
	return &handshakes{workers: make(chan struct{}, handshakeWorkers()), left: make(chan struct{}, 1)}
}

// handshake is one under way. It is the net.Conn that its tls.Conn uses.
type handshake struct {
	net.Conn
	of     *handshakes
	place  *list.Element
	works  bool          // holds a token of workers; only the handshake's own goroutine uses it
	waited time.Duration // for the client, but for the wait since the next
	since  time.Time     // when the wait began that it is in; zero: it is in none
	ended  error         // why it was ended by others
}

var (
	errHandshakesFull = errors.New("too many handshakes are under way, and this client kept its own waiting")
	errStopping       = errors.New("the server stops")
)

// begin adds a handshake, once there is room for it; nil: the transport stops.
func (hs *handshakes) begin(sock net.Conn, limit int) *handshake {
	for {
		hs.mu.Lock()
		if hs.stopped {
			hs.mu.Unlock()
			return nil
		}
		room := hs.under.Len() < limit || hs.endOldest(time.Now())
		if room {
			h := &handshake{Conn: sock, of: hs, since: time.Now()}
			h.place = hs.under.PushBack(h)
			hs.mu.Unlock()
			return h
		}
		hs.mu.Unlock()
		select {
		case <-hs.left:
		case <-time.After(handshakeGrace / 10):
		}
	}
}

// endOldest ends the oldest handshake whose client has kept it waiting for long, and reports whether there was one. mu is
// held.
func (hs *handshakes) endOldest(now time.Time) bool {
	for e := hs.under.Front(); e != nil; e = e.Next() {
		h := e.Value.(*handshake)
		waited := h.waited
		if !h.since.IsZero() {
			waited += now.Sub(h.since)
		}
		if waited >= handshakeGrace {
			h.end(errHandshakesFull)
			return true
		}
	}
	return false
}

// end ends a handshake from outside. mu is held.
func (h *handshake) end(why error) {
	h.ended = why
	h.of.under.Remove(h.place)
	h.Conn.Close()
}

// leave says that a handshake is over, and returns why others have ended it, if they have.
func (h *handshake) leave() error {
	h.rest()
	hs := h.of
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if h.ended == nil {
		hs.under.Remove(h.place)
		select {
		case hs.left <- struct{}{}:
		default:
		}
	}
	return h.ended
}

// stop ends all handshakes, and has none begin any more.
func (hs *handshakes) stop() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.stopped = true
	for hs.under.Len() > 0 {
		hs.under.Front().Value.(*handshake).end(errStopping)
	}
}

// number is how many are under way.
func (hs *handshakes) number() int {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.under.Len()
}

// rest gives the token up.
func (h *handshake) rest() {
	if h.works {
		<-h.of.workers
		h.works = false
	}
}

// Read implements net.Conn. Between reads the handshake computes.
func (h *handshake) Read(b []byte) (int, error) {
	h.rest()
	h.wait(time.Now())
	n, err := h.Conn.Read(b)
	h.wait(time.Time{})
	if err == nil {
		h.of.workers <- struct{}{}
		h.works = true
	}
	return n, err
}

// wait notes that a wait for the client begins; the zero time ends it.
func (h *handshake) wait(since time.Time) {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	if !h.since.IsZero() {
		h.waited += time.Since(h.since)
	}
	h.since = since
}

// wire is what a tls.Conn takes for its connection: the handshake first, then the socket, or memory where an event loop
// reads and writes the socket.
type wire struct {
	net.Conn        // nil: memory
	in, out  []byte // of the socket: not taken yet, to be sent
}

// errNothing says that memory has no more to read. To crypto/tls it is a deadline that has passed: the next Read goes on
// where this one was.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing more to read now" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	if w.Conn != nil {
		return w.Conn.Read(b)
	}
	if len(w.in) == 0 {
		return 0, errNothing
	}
	n := copy(b, w.in)
	w.in = w.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	if w.Conn != nil {
		return w.Conn.Write(b)
	}
	w.out = append(w.out, b...)
	return len(b), nil
}

// SetWriteDeadline implements net.Conn: tls.Conn.CloseWrite sets one. Writing to memory does not wait.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.Conn != nil {
		return w.Conn.SetWriteDeadline(t)
	}
	return nil
}

// secured is the TLS of a connection.
type secured struct {
	*tls.Conn
	wire *wire
}

// shakeHands does the handshake of an accepted connection and hands it on, or closes it.
func (t *Transport) shakeHands(h *handshake, set TLSSettings, serve func(accepted)) {
	sock := h.Conn
	sameHost := isSameHost(sock.RemoteAddr())
	_ = sock.SetDeadline(time.Now().Add(set.HandshakeTimeout)) // of a socket that is closed the handshake fails
	w := &wire{Conn: h}
	c := secured{tls.Server(w, set.Config), w}
	err := c.Handshake()
	if why := h.leave(); why != nil {
		err = why
	}
	t.host.ShookHands(sock.RemoteAddr(), err)
	if err != nil {
		sock.Close()
		return
	}
	w.Conn = sock
	if refusal := t.host.Admit(sock.RemoteAddr(), sameHost); refusal != nil {
		refuse(c, refusal)
		return
	}
	_ = sock.SetDeadline(time.Time{})
	serve(accepted{sock, &c, sameHost})
}
