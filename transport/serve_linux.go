package transport

import (
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// eventLoops are those of a Transport; none where it serves each connection with a goroutine.
type eventLoops struct {
	loops []*eventLoop
	next  atomic.Int64 // counts accepted connections: the loops take turns
}

// Serve starts to accept connections.
func (t *Transport) Serve() error {
	if t.opt.Goroutines {
		t.serveNet()
		return nil
	}
	n := t.opt.Loops
	if n == 0 {
		n = defaultLoops()
	}
	for range n {
		loop, err := newEventLoop(t)
		if err != nil {
			return err
		}
		t.loops = append(t.loops, loop)
		t.serving.Go(loop.run)
	}
	for _, ln := range t.listeners {
		t.serving.Go(func() { t.accept(ln, t.assign) })
	}
	return nil
}

// defaultLoops is the number of event loops where the options leave it open. Measured on 2 cores, one loop beats two
// at every pipeline depth: the load generator, Raft and the sync need the other core.
func defaultLoops() int { return max(1, runtime.NumCPU()/2) }

// assign takes the socket out of Go's hands and gives it to the event loops in turn.
func (t *Transport) assign(a accepted) {
	peer := peerOf(a.sock, a.sameHost)
	fd, err := detach(a.sock)
	if err != nil {
		t.log.Warn("cannot take over a connection", "error", err)
		t.host.Dismiss()
		return
	}
	if a.tls != nil {
		a.tls.wire.Conn = nil
	}
	loop := t.loops[int(t.next.Add(1))%len(t.loops)]
	if !loop.tryPost(func() { loop.adopt(fd, a.tls, peer) }) {
		unix.Close(fd) // the loop has ended: the server is stopping
		t.host.Dismiss()
	}
}

// detach returns a non-blocking duplicate of the connection's socket and closes the original.
func detach(c net.Conn) (int, error) {
	defer c.Close()
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("%T has no file descriptor", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(orig uintptr) {
		fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	if dupErr != nil {
		return -1, dupErr
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (t *Transport) stopLoops() {
	for _, loop := range t.loops {
		loop.Post(func() {})
	}
}

// Loops is the number of event loops.
func (t *Transport) Loops() int { return len(t.loops) }
