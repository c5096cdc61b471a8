package server

import (
	"math/rand/v2"

	"quipu/exec"
	"quipu/protocol"
	"quipu/replica"
)

// WATCH where there are several voters. It goes to the node that leads, like a read that must see everything (reads.go), and is
// registered there under a name that this node chooses; EXEC takes the name along, and is decided there, when its entry is
// sealed. Whatever may have gone wrong on the way, a leader that does not know the name, or has seen fewer WATCH commands under
// it, aborts the EXEC, and the client begins again:
//
//	this node                                     the node that leads
//	WATCH k  ─► item in a sub-batch of reads ───► watchSet.Watch: registry.named[ID], touched by changes from here on
//	EXEC     ─► transaction with a guard ───────► named.Aborts, when the entry is sealed; forgets the name
//	UNWATCH, DISCARD, end of the client ────────► watchSet.Watch without keys: forgets the name
//	the connection between the nodes ends ──────► watchSet.Close: forgets all of its names

// watchLeader has the node that leads watch keys. Behind writes of the client that are under way it goes through the log.
func (s *Session) watchLeader(args [][]byte) bool {
	if s.watcher == nil {
		s.watcher = &watcher{lane: s.lane, name: exec.Watch{ID: 1 + rand.Uint64N(1<<64-1)}}
		s.seen.watcher.Store(s.watcher)
	}
	w := s.watcher
	size := w.size
	for _, key := range args[1:] {
		size += len(key) + watchOverhead
	}
	if size > watchMemory {
		s.replyError(protocol.ErrCommandTooBig)
		return true
	}
	w.size = size
	w.name.Count++
	s.submission(s.size).Watch(w.name, args[1:], s.as())
	return true
}

// forget ends what w watches.
func (s *Session) forget(w *watcher) {
	switch {
	case w.name.ID == 0:
		s.srv.watches.remove(w)
	case w.told: // by then it is forgotten
	case s.pending():
		s.forgets = append(s.forgets, w) // behind its WATCH, which may be under way
	default:
		w.lane.replica.Unwatch(w.name)
	}
}

// forgetLate is called when nothing of the session is pending any more.
func (s *Session) forgetLate() {
	for _, w := range s.forgets {
		s.forget(w)
	}
	s.forgets = nil
}

// watchSet is what the clients of one node watch on this one under names.
type watchSet struct {
	registry *watchRegistry
	replica  *replica.Replica

	// Guarded by the registry's mu:
	closed bool
	ids    map[uint64]*watcher
	size   int // bytes of their keys
}

// nodeWatchMemory is how many bytes of keys the clients of one node may watch. Each of them has a limit as well (watchMemory).
const nodeWatchMemory = 64 << 20

func (srv *Server) watchSet(r *replica.Replica) replica.Watches {
	return &watchSet{registry: srv.watches, replica: r, ids: map[uint64]*watcher{}}
}

// Watch implements exec.Watches. It may be called again for a WATCH whose answer got lost.
func (t *watchSet) Watch(name exec.Watch, db int, keys [][]byte, now int64) (refusal string) {
	w, refusal := t.enter(name, keys)
	if w == nil {
		return refusal
	}
	for _, key := range keys {
		t.registry.watch(t.replica, w, db, key, now)
	}
	return ""
}

// enter finds or makes the watcher of a name, and adds the size of the keys to it; without keys it forgets the name. It
// returns nil with a refusal, or if there is nothing to do.
func (t *watchSet) enter(name exec.Watch, keys [][]byte) (w *watcher, refusal string) {
	r := t.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	size := 0
	for _, key := range keys {
		size += len(key) + watchOverhead
	}
	w = r.named[name.ID]
	if w != nil && (w.set != t || len(keys) == 0 || name.Count == 1) { // of a connection that has ended, or the first again
		r.forget(name.ID)
		w = nil
	}
	switch {
	case len(keys) == 0 || t.closed:
		return nil, ""
	case t.size+size > nodeWatchMemory:
		return nil, protocol.ErrTryAgain
	}
	if w == nil {
		w = &watcher{keys: map[watchKey]watched{}, set: t}
		r.named[name.ID], t.ids[name.ID] = w, w
	}
	if name.Count == w.count+1 {
		w.count = name.Count
	} else if name.Count != w.count { // an earlier one is missing
		w.touched.Store(true)
	}
	w.reserved += size
	t.size += size
	return w, ""
}

// Close implements replica.Watches.
func (t *watchSet) Close() {
	r := t.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	t.closed = true
	for id := range t.ids {
		r.forget(id)
	}
}

// forget forgets a name. mu is held.
func (r *watchRegistry) forget(id uint64) {
	if w := r.named[id]; w != nil {
		r.drop(w)
		w.gone = true
		delete(r.named, id)
		delete(w.set.ids, id)
		w.set.size -= w.reserved
	}
}

// Guard implements exec.Watches.
func (t *watchSet) Guard(name exec.Watch) exec.Guard { return &namedGuard{t.registry, name} }

// namedGuard is the guard of a transaction that names what its client watches.
type namedGuard struct {
	registry *watchRegistry
	name     exec.Watch
}

// Aborts implements exec.Guard. It forgets the name.
func (g *namedGuard) Aborts(stamp int64, touched func(db int, key []byte) bool) bool {
	g.registry.mu.Lock()
	defer g.registry.mu.Unlock()
	w := g.registry.named[g.name.ID]
	g.registry.forget(g.name.ID)
	return w == nil || w.count != g.name.Count || w.aborts(stamp, touched)
}

// Deadline implements exec.Guard.
func (g *namedGuard) Deadline() int64 {
	g.registry.mu.Lock()
	defer g.registry.mu.Unlock()
	if w := g.registry.named[g.name.ID]; w != nil {
		return w.Deadline()
	}
	return 0
}

// Decided implements exec.Guard.
func (g *namedGuard) Decided(bool) {}

// Watch implements exec.Guard: another node does not have what is watched here.
func (g *namedGuard) Watch() exec.Watch { return exec.Watch{} }
