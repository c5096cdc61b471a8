package server

import (
	"sync"
	"time"

	"quipu/commands"
)

// pauseState is CLIENT PAUSE: until when commands, or only writes, are held back.
type pauseState struct {
	mu    sync.Mutex
	until time.Time
	all   bool
	timer *time.Timer
}

// set begins or prolongs a pause. A pause of all commands is not weakened by a later one of writes.
func (srv *Server) setPause(d time.Duration, all bool) {
	p := &srv.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(d)
	active := time.Now().Before(p.until)
	if !active || until.After(p.until) {
		p.until = until
	}
	p.all = all || active && p.all
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(time.Until(p.until), srv.resumePaused)
	srv.pausing.Store(true)
}

func (srv *Server) endPause() {
	srv.pause.mu.Lock()
	srv.pause.until = time.Time{}
	srv.pause.mu.Unlock()
	srv.resumePaused()
}

// stopPause ends the timer of a pause when the node stops.
func (srv *Server) stopPause() {
	srv.pause.mu.Lock()
	defer srv.pause.mu.Unlock()
	if srv.pause.timer != nil {
		srv.pause.timer.Stop()
	}
}

// resumePaused lets every session that waits read on; if the pause was prolonged, they wait again.
func (srv *Server) resumePaused() {
	srv.pause.mu.Lock()
	if !time.Now().Before(srv.pause.until) {
		srv.pausing.Store(false)
	}
	srv.pause.mu.Unlock()
	for _, s := range srv.clients.all() {
		s.goOn(waitPause)
	}
}

// pausedFor reports whether the command has to wait for the end of a pause.
func (srv *Server) pausedFor(cmd *commands.Command) bool {
	if !srv.pausing.Load() {
		return false
	}
	if cmd.Name == "client" || cmd.Parent != nil && cmd.Parent.Name == "client" || cmd.Name == "exec" {
		return false // the pause must remain endable; EXEC is judged by the commands in it
	}
	return srv.pauseCovers(cmd.Write != nil)
}

// pauseCovers reports whether a pause that is in force concerns writes, or everything.
func (srv *Server) pauseCovers(write bool) bool {
	if !srv.pausing.Load() {
		return false
	}
	srv.pause.mu.Lock()
	defer srv.pause.mu.Unlock()
	return time.Now().Before(srv.pause.until) && (srv.pause.all || write)
}

const pauseMax = 24 * time.Hour
