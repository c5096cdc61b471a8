package server

import (
	"math/rand/v2"
	"slices"

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
//	EXEC     ─► transaction with a guard ───────► namedGuard.Aborts, when the entry is sealed; forgets the name
//	UNWATCH, DISCARD, end of the client ────────► watchSet.Watch without keys: forgets the name
//	the connection between the nodes ends ──────► watchSet.Close: forgets all of its names

// watchLeader has the node that leads watch keys. Behind writes of the client that are under way, or behind what this node has
// answered ahead, it goes through the log.
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
	s.submissionFor(s.size, s.lane.replica.Keyspace.HasAhead()).Watch(w.name, args[1:], s.as())
	return true
}

// forget ends what w watches.
func (s *Session) forget(w *watcher) {
	switch {
	case w.name.ID == 0:
		s.srv.watches.remove(w)
	case w.told: // the leader has forgotten it
		w.lane.replica.UnwatchHere(w.name)
	case s.pending():
		s.forgets = append(s.forgets, forgotten{w.lane.replica, w.name}) // behind its WATCH, which may be under way
	default:
		w.lane.replica.Unwatch(w.name)
	}
}

// forgotten is what a session has watched and does not any more.
type forgotten struct {
	of   *replica.Replica
	name exec.Watch
}

// forgetLate is called when nothing of the session is pending any more. A client may have pipelined thousands of UNWATCH.
func (s *Session) forgetLate() {
	for len(s.forgets) > 0 {
		of, names := s.forgets[0].of, []exec.Watch(nil)
		s.forgets = slices.DeleteFunc(s.forgets, func(f forgotten) bool {
			if f.of == of {
				names = append(names, f.name)
			}
			return f.of == of
		})
		of.Unwatch(names...)
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
	term := t.replica.Group.Term()
	w = r.named[name.ID]
	switch {
	case t.closed: // late, over a connection that has ended
		return nil, ""
	case len(keys) == 0:
		r.forget(name.ID)
		return nil, ""
	case t.size+size > nodeWatchMemory:
		return nil, protocol.ErrTryAgain
	case w == nil:
		w = &watcher{keys: map[watchKey]watched{}, set: t, term: term}
		r.named[name.ID], t.ids[name.ID] = w, w
	}
	// What is watched already stays as it is, whichever of the node's connections it came over: a copy that comes late must not
	// have a key be watched as it is now.
	switch name.Count {
	case w.count:
	case w.count + 1:
		w.count = name.Count
	default: // an earlier one is missing
		w.touched.Store(true)
	}
	if w.term != term {
		w.touched.Store(true)
	}
	w.reserved += size
	w.set.size += size
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
func (t *watchSet) Guard(name exec.Watch) exec.Guard { return &namedGuard{t, name} }

// namedGuard is the guard of a transaction that names what its client watches.
type namedGuard struct {
	set  *watchSet
	name exec.Watch
}

// Aborts implements exec.Guard. It forgets the name. A process may stand still for a while between any two steps of a WATCH, so
// what was registered in another term than the entry's says nothing: the client may have been answered by another leader.
func (g *namedGuard) Aborts(stamp int64, touched func(db int, key []byte) bool) bool {
	g.set.registry.mu.Lock()
	defer g.set.registry.mu.Unlock()
	w := g.set.registry.named[g.name.ID]
	g.set.registry.forget(g.name.ID)
	return w == nil || w.count != g.name.Count || w.term != g.set.replica.Group.Term() || w.aborts(stamp, touched)
}

// Deadline implements exec.Guard.
func (g *namedGuard) Deadline() int64 {
	g.set.registry.mu.Lock()
	defer g.set.registry.mu.Unlock()
	if w := g.set.registry.named[g.name.ID]; w != nil {
		return w.Deadline()
	}
	return 0
}

// Decided implements exec.Guard.
func (g *namedGuard) Decided(bool) {}

// Watch implements exec.Guard: another node does not have what is watched here.
func (g *namedGuard) Watch() exec.Watch { return exec.Watch{} }
