package server

import (
	"context"
	"time"

	"quipu/internal/sdnotify"
)

// reportTo tells the service manager when the node serves, that its loops go on, and that it stops, until done is closed. READY comes
// when commands are answered and not when the port is open: a node that replays its log answers -LOADING, and what is to start after
// it wants more than that.
func (srv *Server) reportTo(ctx context.Context, m *sdnotify.Manager, done <-chan struct{}) {
	if m == nil {
		return
	}
	tell := func(lines ...string) {
		if err := m.Tell(lines...); err != nil {
			srv.log.Warn("the service manager cannot be told", "what", lines[0], "error", err)
		}
	}
	tell("STATUS=replaying the log")
	ready, told, shutdown := srv.ready, ctx.Done(), srv.stopping
	stops := func() {
		tell("STOPPING=1", "STATUS=finishing what was read, then a snapshot")
		ready, told, shutdown = nil, nil, nil
	}
	var tick <-chan time.Time // goes on while the node stops: a large snapshot takes longer than managers wait
	for {
		select {
		case <-ready:
			tell("READY=1", "STATUS=serving")
			ready = nil
			if every := m.Watchdog() / 2; every > 0 {
				ticker := time.NewTicker(every)
				defer ticker.Stop()
				tick = ticker.C
			}
		case <-tick:
			if srv.loopsGoOn(m.Watchdog() / 2) {
				tell("WATCHDOG=1")
			}
		case <-told:
			stops()
		case <-shutdown:
			stops()
		case <-done:
			return
		}
	}
}

// loopsGoOn reports whether each turn of a loop that is under way ends within limit. What may last longer for good reasons, a
// disk that stands still, no leader, a snapshot being loaded, is waited for outside of turns: to start such a node again would not help it.
func (srv *Server) loopsGoOn(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	srv.awaitTurns(ctx.Done())
	return ctx.Err() == nil
}
