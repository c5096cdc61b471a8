package server

import (
	"sync"
	"sync/atomic"

	"quipu/engine"
	"quipu/exec"
	"quipu/protocol"
	"quipu/replica"
)

// watchRegistry knows which clients watch which keys. It is an observer of the keyspace, and marks them.
//
// Lock order: a part of the keyspace, then mu. A key is registered while its part is locked, so no change can fall
// between looking at the key and watching it.
type watchRegistry struct {
	count atomic.Int64 // watched keys over all clients; changed is called while it is not 0
	mu    sync.Mutex
	keys  map[watchKey]map[*watcher]struct{}
	named map[uint64]*watcher // see watch_nodes.go
}

type watchKey struct {
	db  int
	key string
}

// watcher is what one client watches since WATCH. touched is set by the goroutine that applies a change.
type watcher struct {
	touched atomic.Bool
	keys    map[watchKey]watched
	size    int // bytes that keys takes

	// Of a session only:
	lane *lane            // of the keys
	name exec.Watch       // of what is watched on the node that leads; zero: keys of this node are watched
	runs bool             // EXEC was sealed, and runs
	told bool             // whether it runs is known
	undo *connectionState // for the session to go back to if it does not; nil: nothing has changed

	// Of what has a name only, on the node that leads; guarded by the registry's mu:
	set      *watchSet
	count    uint64 // see exec.Watch
	term     uint64 // in which this node led when the first key was watched
	reserved int    // bytes that it counts for in set
	gone     bool   // it is forgotten
}

type watched struct {
	existed  bool
	deadline int64 // log time in ms at which the key expires, 0 for never
}

func newWatchRegistry() *watchRegistry {
	return &watchRegistry{keys: map[watchKey]map[*watcher]struct{}{}, named: map[uint64]*watcher{}}
}

// changed is the keyspace's observer. Reclaiming an expired key is no change: whoever watches it looks at its deadline.
func (r *watchRegistry) changed(c *engine.Change) {
	if c.Op == engine.OpReclaim {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Op == engine.OpFlush {
		r.flushed(c.DB)
		return
	}
	for w := range r.keys[watchKey{c.DB, string(c.Key)}] {
		w.touched.Store(true)
	}
}

// flushed marks those who watch a key of the database that there was; a missing key stays missing.
func (r *watchRegistry) flushed(db int) {
	for k, watchers := range r.keys {
		if k.db != db {
			continue
		}
		for w := range watchers {
			if w.keys[k].existed {
				w.touched.Store(true)
			}
		}
	}
}

// touchAll marks everybody who watches anything.
func (r *watchRegistry) touchAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, watchers := range r.keys {
		for w := range watchers {
			w.touched.Store(true)
		}
	}
}

// add registers w for k. The part of the key is locked.
func (r *watchRegistry) add(w *watcher, k watchKey, state watched) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := w.keys[k]; ok || w.gone {
		return
	}
	w.keys[k] = state
	w.size += len(k.key) + watchOverhead
	set := r.keys[k]
	if set == nil {
		set = map[*watcher]struct{}{}
		r.keys[k] = set
	}
	set[w] = struct{}{}
	r.count.Add(1)
}

func (r *watchRegistry) remove(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(w)
}

// drop is remove with mu held.
func (r *watchRegistry) drop(w *watcher) {
	for k := range w.keys {
		set := r.keys[k]
		delete(set, w)
		if len(set) == 0 {
			delete(r.keys, k)
		}
		r.count.Add(-1)
	}
}

const (
	watchMemory   = 8 << 20 // bytes of keys that one client may watch
	watchOverhead = 64      // bytes that a watched key takes beside its own
)

func watchCommand(s *Session, args [][]byte) bool {
	if s.multi != nil {
		s.replyError(protocol.ErrWatchInMulti)
		return true
	}
	if s.watcher != nil && s.watcher.lane != s.lane {
		s.replyError(protocol.ErrCrossSlot)
		return true
	}
	here := s.lane.sole
	if s.watcher != nil { // the client goes on as it has begun, however many voters there are by now
		here = s.watcher.name.ID == 0
	}
	if here {
		return s.watchHere(args)
	}
	return s.watchLeader(args)
}

// watchHere watches keys of a node that is the only voter.
func (s *Session) watchHere(args [][]byte) bool {
	if s.barrier() { // else an increment answered before WATCH would be seen as a change behind it
		return false
	}
	if s.watcher == nil {
		s.watcher = &watcher{keys: map[watchKey]watched{}, lane: s.lane}
		s.seen.watcher.Store(s.watcher)
	}
	for _, key := range args[1:] {
		if s.watcher.size+len(key)+watchOverhead > watchMemory {
			s.replyError(protocol.ErrCommandTooBig)
			return true
		}
		s.srv.watches.watch(s.lane.replica, s.watcher, s.db, key, s.lane.replica.Clock.Now())
	}
	s.beginReply().OK()
	s.endReply()
	return true
}

// watch registers w for a key as it is at log time now.
func (r *watchRegistry) watch(of *replica.Replica, w *watcher, db int, key []byte, now int64) {
	ks := of.Keyspace
	part := engine.Part(key)
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	v, ok := ks.View(db, now, false).Get(key)
	r.add(w, watchKey{db, string(key)}, watched{ok, v.Deadline})
}

// lostOffice reports whether what is watched here says nothing any more: another node would have to decide an EXEC.
func (w *watcher) lostOffice() bool {
	return w.name.ID == 0 && !w.lane.sole && w.lane.replica.Group.Term() == 0
}

// unwatchCommand has nothing to do inside of a transaction: EXEC decides with what is watched when it begins, and forgets
// it when it ends.
func unwatchCommand(s *Session, _ [][]byte, w *protocol.Writer) {
	if s.multi == nil {
		s.unwatch()
	}
	w.OK()
}

func (s *Session) unwatch() {
	if s.watcher != nil {
		s.forget(s.watcher)
		s.watcher = nil
		s.seen.watcher.Store(nil)
	}
}

// touched reports whether a watched key was changed, or has expired.
func (s *Session) touched() bool {
	return s.watcher.touched.Load() || s.watcher.expired(s.watcher.lane.replica.Clock.Now())
}

// Decided implements exec.Guard.
func (w *watcher) Decided(ran bool) { w.runs, w.told = ran, true }

// Watch implements exec.Guard.
func (w *watcher) Watch() exec.Watch { return w.name }

// Deadline implements exec.Guard: the earliest expiry among the watched keys. A key that was expired when it was watched counts
// as missing and has none.
func (w *watcher) Deadline() int64 {
	if w.name.ID != 0 {
		return w.lane.replica.Guard(w.name).Deadline()
	}
	var earliest int64
	for _, k := range w.keys {
		if k.deadline != 0 && (earliest == 0 || k.deadline < earliest) {
			earliest = k.deadline
		}
	}
	return earliest
}

// Aborts implements exec.Guard: it decides, once, whether EXEC aborts. It does if a watched key was changed by an earlier
// entry, may be changed by an operation that stands before the transaction in the same entry, or has expired.
//
// Deciding when EXEC is read would be too early: writes of other clients that are queued before it are not applied then.
// Aborts runs on the goroutine that seals the entry; the session waits for EXEC, and does not change keys meanwhile.
func (w *watcher) Aborts(stamp int64, touched func(db int, key []byte) bool) bool {
	if w.name.ID != 0 { // this node leads: it knows, if any does
		w.told = true
		w.runs = !w.lane.replica.Guard(w.name).Aborts(stamp, touched)
	} else {
		w.runs = !w.aborts(stamp, touched)
	}
	return !w.runs
}

func (w *watcher) aborts(stamp int64, touched func(db int, key []byte) bool) bool {
	if w.touched.Load() || w.expired(stamp) {
		return true
	}
	for k := range w.keys {
		if touched(k.db, []byte(k.key)) {
			return true
		}
	}
	return false
}

// expired reports whether a watched key has expired at a log time.
func (w *watcher) expired(now int64) bool {
	for _, k := range w.keys {
		if k.deadline != 0 && k.deadline <= now {
			return true
		}
	}
	return false
}
