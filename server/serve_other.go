//go:build !linux

package server

import "sync/atomic"

// eventLoop exists on Linux only; elsewhere every connection has a goroutine.
type eventLoop struct{}

func (srv *Server) startServing() error {
	srv.startNet()
	return nil
}

func (srv *Server) stopServing() {
	srv.stopped.Store(true)
	srv.stopNet()
}

func (srv *Server) eachLoopCalls(func(counts []atomic.Int64)) {}

func (srv *Server) transportName() string { return "net" }

func (srv *Server) loopCount() int { return 0 }
