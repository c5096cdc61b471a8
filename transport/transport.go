// Package transport carries bytes between sockets and a server: it listens, accepts, reads and writes. What the bytes mean
// is the server's, which implements Host, Worker and Conn.
//
// There are two transports. An event loop serves many connections on one goroutine (Linux); elsewhere, or where the
// settings say so, each connection has a goroutine of its own, which is a loop with a single connection. Both keep
// reading from a socket only as long as its Conn may be read: the client then feels TCP's own backpressure.
//
// Both serve TLS (crypto/tls). A goroutine does the handshake (handshake.go); an event loop then does the rest without one
// (tls_linux.go).
package transport

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Host is the server as a whole. Its methods may be called from any goroutine.
type Host interface {
	// NewWorker makes the server's side of a loop. shared says that the loop serves many connections until the transport
	// stops; Serve makes such loops, one after the other. Any other loop is for a single connection.
	NewWorker(l Loop, shared bool) Worker
	// Admit is asked about each accepted connection; sameHost says that it comes from this machine. A refusal, a line, is what
	// to send before closing; without a refusal the connection is counted, until Conn.Release or Dismiss.
	Admit(client net.Addr, sameHost bool) (refusal []byte)
	// Dismiss takes back an Admit for which no Conn was made.
	Dismiss()
	// ShookHands is told of each TLS handshake that has ended, before Admit is asked; err is why it failed, or nil.
	ShookHands(client net.Addr, err error)
	// AcceptFailed counts a connection that could not be accepted.
	AcceptFailed()
	// Settings are asked for when they are needed, because they may change.
	Settings() Settings
	// TLS is asked for each connection on a listener for TLS.
	TLS() TLSSettings
	// Fail stops the server, because a loop cannot go on.
	Fail(err error)
}

// Settings are those of a server's settings that only its transport needs.
type Settings struct {
	Keepalive     time.Duration // between TCP keepalive probes; 0: none
	OutputTimeout time.Duration // how long a client may take to read what is sent, where a goroutine waits for it
}

// TLSSettings are those for a connection with TLS that is about to begin.
type TLSSettings struct {
	Config           *tls.Config
	HandshakeTimeout time.Duration
	Handshakes       int // that may be under way at a time
}

// Worker is what a server keeps for each loop. All methods are called on the loop's goroutine.
//
// Two kinds of commands wait in a Worker. Short ones, of all the loop's connections, form a burst, which is carried out as
// a whole; they point into the input they came in. Others are submitted to a log and complete some time later. What was
// submitted since the last call of Submit has not been handed over to the log yet.
type Worker interface {
	// Accept makes the Conn of an accepted connection.
	Accept(link Link, peer Peer) Conn
	// HasBurst reports whether there are commands in the burst: the input they came in must stay as it is.
	HasBurst() bool
	// CarryOut carries out the burst.
	CarryOut()
	// Submit hands over what was submitted.
	Submit()
	// TakeCompleted takes the replies that Loop.Completed has told of, and calls Link.Resume for their connections.
	TakeCompleted()
	// Rests reports whether nothing that was submitted is under way any more.
	Rests() bool
	// MayAwait reports whether the loop may wait for what it has submitted without looking at its sockets meanwhile.
	MayAwait() bool
	// Tick is called about once a second.
	Tick()
}

// Loop is what a Worker knows of its loop. Its methods may be called from any goroutine and do not block.
type Loop interface {
	// Post has fn run on the loop's goroutine soon.
	Post(fn func())
	// Completed has Worker.TakeCompleted called soon, and ends the loop's wait for it.
	Completed()
}

// Peer says who is at the other end of a connection.
type Peer struct {
	Remote, Local string // addresses
	Trusted       bool   // on this machine
}

// Link is what a Conn knows of its connection.
type Link interface {
	// Resume runs commands in the input that waits, and sends what there is to send. Called on the loop's goroutine.
	Resume()
	// Interrupt ends a write in which the connection's goroutine may be waiting for its client. The connection must be
	// closed soon. Called from any goroutine.
	Interrupt()
}

// Conn is the server's side of one connection. All methods are called on the loop's goroutine. Sizes are in bytes, times
// in unix nanoseconds; in is the input that the transport keeps because it could not be used yet, out are the replies
// that the socket would not take yet.
type Conn interface {
	// Process runs the commands at the start of input and returns how many bytes of it are used. It stops at an
	// incomplete command, when the client is to be closed, and when it has to wait. Commands may join the burst: input
	// must stay as it is until Worker.CarryOut.
	Process(input []byte, out int) (used int)
	// Output is the buffer that replies are appended to, from which the transport takes them. The pointer is always the same.
	Output() *[]byte
	// Ready reports whether the next command may be run.
	Ready() bool
	// Started reports whether the beginning of a command was used, the rest of which has not come.
	Started() bool
	// Need is a lower bound, at least 1, of the bytes that are missing for the command that has begun.
	Need() int
	// MayRead reports whether more input is welcome.
	MayRead(in, out int) bool
	// Finished reports whether the connection is to be closed now, and why. ended says that the client sends no more.
	Finished(ended bool, out int) (reason string, finished bool)
	// Overdue reports why the connection has to be closed for being too slow, or "", and what its client is to be told.
	Overdue(now, lastRead, lastWrite int64, in, out int) (reason string, lastWords []byte)
	// Received and Sent count bytes of the socket.
	Received(n int)
	Sent(n int)
	// Buffered says how many bytes of input and of replies the transport keeps, at the end of each turn in which the
	// connection was worked on, and how much memory their buffers take.
	Buffered(in, out, memory int)
	// Close has the connection closed when the replies to what was run so far have been sent.
	Close(reason string)
	// Release is called once, when the connection is closed: nothing is run for it any more.
	Release(reason string)
}

const (
	// ReadChunk is how many bytes are read from a socket at once.
	ReadChunk = 64 << 10
	// MaxIdleBuffer is the size in bytes of a buffer that a connection may keep while it is empty.
	MaxIdleBuffer = 16 << 10

	// lingerTime is how long a stopping transport goes on sending the replies that clients have not taken.
	lingerTime = time.Second
)

// Options choose a transport.
type Options struct {
	Goroutines bool // a goroutine for each connection even where there are event loops
	Loops      int  // event loops; 0: chosen from the number of processors
	Log        *slog.Logger
}

// Addresses are where to listen.
type Addresses struct {
	TCP      bool
	Hosts    []string // as redis.conf writes them, see parseAddress
	Port     int      // 0: any that is free, the same for all hosts
	TLS      bool
	TLSPort  int    // as Port
	Unix     string // path of a unix socket; empty: none
	UnixPerm os.FileMode
}

// Transport is the listeners of a server, and its connections. Listen, Serve, StopListening and Stop are called in this
// order by one goroutine; any but the last may be left out.
type Transport struct {
	host      Host
	log       *slog.Logger
	opt       Options
	listeners []listener
	eventLoops
	handshakes *handshakes
	stopping   atomic.Bool    // connections are being closed
	serving    sync.WaitGroup // goroutines that accept, event loops, connections

	mu    sync.Mutex // guards conns; a leaf
	conns map[*netConn]struct{}
}

// New makes a transport that does not listen yet.
func New(host Host, opt Options) *Transport {
	return &Transport{host: host, log: opt.Log, opt: opt, handshakes: newHandshakes(), conns: map[*netConn]struct{}{}}
}

// StopListening closes the listeners; connections that are there stay.
func (t *Transport) StopListening() {
	for _, ln := range t.listeners {
		ln.Close()
	}
}

// Stop closes all connections, once the replies that are ready have been sent, as far as clients take them in time. It
// returns when all goroutines of the transport have ended.
func (t *Transport) Stop() {
	t.stopping.Store(true)
	t.handshakes.stop()
	t.stopLoops()
	t.stopNet()
	t.serving.Wait()
}

// Addr is the address of the first listener.
func (t *Transport) Addr() net.Addr { return t.listeners[0].Addr() }

// TLSAddr is the address of the first listener for TLS, or nil.
func (t *Transport) TLSAddr() net.Addr {
	for _, ln := range t.listeners {
		if ln.tls {
			return ln.Addr()
		}
	}
	return nil
}

// Handshakes is how many TLS handshakes are under way.
func (t *Transport) Handshakes() int { return t.handshakes.number() }

// Name is "epoll" or "net".
func (t *Transport) Name() string {
	if t.Loops() > 0 {
		return "epoll"
	}
	return "net"
}
