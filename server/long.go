package server

import (
	"context"
	"time"

	"quipu/commands"
	"quipu/engine"
	"quipu/replica"
)

// An event loop must not be held for more than 10 ms, whatever a client asks for. Reads that take long are carried out by the task
// pool (Session.run), writes by the goroutine that executes the log, and both lock their keys' parts for long
// (engine/longlock.go). A session whose command needs such a part waits here, and with it nobody else.

// isLong reports whether executing a command may take too long for an event loop.
func (s *Session) isLong(cmd *commands.Command, args [][]byte) bool {
	return cmd.MayBeLong(args) && cmd.IsLong(args, s.lane.replica.Keyspace.LargestValue())
}

// isLong reports whether executing the transaction may take too long for an event loop.
func (t *transaction) isLong(ks *engine.Keyspace) bool {
	cost, largest := 0, ks.LargestValue()
	for i := range t.queue {
		q := &t.queue[i]
		cost += q.cmd.CostOf(t.arguments(q), largest)
	}
	return cost > commands.LongCost
}

// awaitParts has the session wait if the command needs parts that are locked for long; the command is then read again later.
func (s *Session) awaitParts(cmd *commands.Command, args [][]byte) bool {
	var parts engine.PartSet
	switch control := s.srv.handlers[cmd.ID()].control; {
	case s.multi != nil && cmd.Name == "exec":
		s.multi.addParts(&parts)
	case s.multi != nil && !control: // it is queued
	case cmd.HasKeys() || cmd.Read != nil || cmd.Write != nil:
		cmd.AddPartsOrAll(args, &parts)
	}
	if !s.lane.replica.Keyspace.AwaitUnlock(&parts, s.partsUnlocked) {
		return false
	}
	s.waiting = waitParts
	return true
}

// addParts adds the parts of the keys of all commands.
func (t *transaction) addParts(parts *engine.PartSet) {
	for i := range t.queue {
		if q := &t.queue[i]; q.cmd.Read != nil || q.cmd.Write != nil {
			q.cmd.AddPartsOrAll(t.arguments(q), parts)
		}
	}
}

// partsUnlocked may be called from any goroutine.
func (s *Session) partsUnlocked() { s.goOn(waitParts) }

// setAside keeps reads that have come back for later if they need parts that are locked for long, or if others of the lane are kept
// already: a client's reads must not see less than those before them.
func (w *worker) setAside(sub *replica.SubBatch) bool {
	l := w.laneFor(sub)
	if ks := l.replica.Keyspace; len(l.aside) == 0 {
		if !ks.LongLocked() {
			return false
		}
		parts := sub.ReadParts()
		if !ks.AwaitUnlock(&parts, func() { w.loop.Post(func() { w.takeAside(l) }) }) {
			return false
		}
	}
	l.aside = append(l.aside, sub)
	return true
}

// takeAside goes on with the reads that were set aside.
func (w *worker) takeAside(l *lane) {
	subs := l.aside
	l.aside = nil
	for _, sub := range subs {
		w.take(sub)
	}
}

// awaitLoops returns when the turns of event loops are over that are under way now. A loop may itself wait for a part that somebody
// holds: the wait is therefore bounded.
func (srv *Server) awaitLoops() {
	const atMost = 10 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	for _, w := range srv.loops.all() {
		w.awaitTurn(ctx.Done())
	}
}

// longLocks is how many commands have locked keys for long since the start.
func (srv *Server) longLocks() (n int64) {
	for _, r := range srv.replicas {
		n += r.Keyspace.LongLocks()
	}
	return n
}
