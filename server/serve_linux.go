package server

import (
	"fmt"
	"net"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// startServing starts the event loops, or a goroutine for each connection where the transport setting asks for it.
func (srv *Server) startServing() error {
	cfg := srv.config()
	if cfg.Transport == "net" {
		srv.startNet()
		return nil
	}
	n := cfg.IOLoops
	if n == 0 {
		n = defaultLoops()
	}
	for range n {
		loop, err := newEventLoop(srv)
		if err != nil {
			return err
		}
		srv.loops = append(srv.loops, loop)
		srv.serving.Go(loop.run)
	}
	for _, ln := range srv.listeners {
		srv.serving.Go(func() { srv.accept(ln, srv.assign) })
	}
	return nil
}

// assign takes the socket out of Go's hands and gives it to the event loops in turn.
func (srv *Server) assign(c net.Conn, trusts bool) {
	local, remote := c.LocalAddr(), c.RemoteAddr()
	fd, err := detach(c)
	if err != nil {
		srv.log.Warn("cannot take over a connection", "error", err)
		srv.clients.leave()
		return
	}
	loop := srv.loops[int(srv.nextLoop.Add(1))%len(srv.loops)]
	if !loop.tryPost(func() { loop.adopt(fd, local, remote, trusts) }) {
		unix.Close(fd) // the loop has ended: the node is stopping
		srv.clients.leave()
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

// stopServing ends the loops; replies that are ready have been sent by then, as far as clients take them.
func (srv *Server) stopServing() {
	srv.stopped.Store(true)
	for _, loop := range srv.loops {
		loop.post(func() {})
	}
	srv.stopNet()
}

func (srv *Server) eachLoopCalls(fn func(counts []atomic.Int64)) {
	for _, loop := range srv.loops {
		fn(loop.counts)
	}
}

func (srv *Server) transportName() string {
	if len(srv.loops) > 0 {
		return "epoll"
	}
	return "net"
}

func (srv *Server) loopCount() int { return len(srv.loops) }
