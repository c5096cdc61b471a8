package server

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quipu/transport"
)

// The memory of all clients together is bounded by maxmemory-clients, as in Redis: half commands, queued transactions,
// replies that wait to be sent. (What is on its way through the log has a bound of its own, outstanding-bytes, which pauses
// reading.) A limit per client is not enough: ten thousand clients may each stay below theirs.
//
// Each session keeps the sum of what it holds, brought up to date at the end of a turn in which it was worked on, and adds
// the difference to the sum of all. The session that carries that sum above the limit has the largest ones closed. Looking
// for them takes a walk over all clients, so enough are closed to get an eighth below the limit: between two walks clients
// must fill that eighth anew.

// clientMemory is the memory of all clients.
type clientMemory struct {
	sum   atomic.Int64 // bytes that all sessions hold
	going atomic.Int64 // of these, bytes of sessions that are being closed for it

	mu   sync.Mutex // held by whoever looks for clients to close; a leaf, but for the registry's
	next time.Time  // not before this: there was nobody who could be closed
}

// evictPause is how long nobody looks for clients to close after there were too few.
const evictPause = 10 * time.Millisecond

// uncounted is how many bytes any client may hold without being counted: as much as its buffers keep while they are empty.
const uncounted = transport.MaxIdleBuffer

// memory is what the session makes the node keep, in bytes, beside the transport's buffers and what is on its way through
// the log.
func (s *Session) memory() int {
	n := cap(s.out.B) + s.slots.bytes + s.parser.Held()
	if s.subs != nil {
		n += s.subs.bytes
	}
	queue := 0
	if s.multi != nil {
		queue = s.multi.held()
	}
	if s.watcher != nil {
		queue += s.watcher.size
	}
	if int64(queue) != s.seen.transaction.Load() {
		s.seen.transaction.Store(int64(queue))
	}
	return n + queue
}

// holds notes how much the session holds now, the transport's buffers included.
func (s *Session) holds(n int) {
	if n <= uncounted || s.released {
		n = 0 // what is under way may end after its client is gone
	}
	change := n - s.held
	if change == 0 {
		return
	}
	s.held = n
	s.seen.memory.Store(int64(n))
	m := &s.srv.clientMemory
	sum := m.sum.Add(int64(change))
	if limit := s.srv.config().MaxClientMemory; change > 0 && limit > 0 && sum-m.going.Load() > limit {
		s.srv.evict(limit)
	}
}

// holdsNothing is called once, when the session is closed.
func (s *Session) holdsNothing() {
	s.released = true
	s.kill.Store(true) // nobody may count it as going from now on
	s.holds(0)
	s.notGoing()
}

// notGoing takes back that the session's bytes are on their way out. Whoever looks for clients to close may do so at the
// same time as the session's own goroutine.
func (s *Session) notGoing() { s.srv.clientMemory.going.Add(-s.evicted.Swap(0)) }

// evictAgain is called about once a second: whoever was above the limit may have found somebody else looking for clients to close, who
// had counted before, or nobody that could be closed yet.
func (srv *Server) evictAgain() {
	m := &srv.clientMemory
	if limit := srv.config().MaxClientMemory; limit > 0 && m.sum.Load()-m.going.Load() > limit {
		srv.evict(limit)
	}
}

// evict closes the clients that hold most, those who have not shown a password first, until an eighth of limit is free.
func (srv *Server) evict(limit int64) {
	m := &srv.clientMemory
	if !m.mu.TryLock() {
		return // somebody is at it
	}
	defer m.mu.Unlock()
	now := time.Now()
	if now.Before(m.next) {
		return
	}
	excess := m.sum.Load() - m.going.Load() - (limit - limit/8)
	for _, c := range srv.largest() {
		if excess <= 0 {
			return
		}
		bytes := c.seen.memory.Load() + c.box.bytes.Load()
		c.evicted.Store(bytes)
		m.going.Add(bytes)
		if !c.end("maxmemory-clients") {
			c.notGoing()
			continue
		}
		excess -= bytes
		srv.limits.met(limitMemory, c.remote, "bytes", bytes, "user", c.seen.user.Load().Name)
	}
	if excess > 0 {
		m.next = now.Add(evictPause)
	}
}

// largest is the clients that may be closed, in the order in which that is to be done.
func (srv *Server) largest() []*Session {
	type candidate struct {
		s      *Session
		bytes  int64 // at one moment: a sort of what changes meanwhile may not end
		authed bool
	}
	var list []candidate
	for _, s := range srv.clients.all() {
		if bytes := s.seen.memory.Load() + s.box.bytes.Load(); bytes > 0 && !s.seen.noEvict.Load() && !s.kill.Load() {
			list = append(list, candidate{s, bytes, s.seen.authed.Load()})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		switch {
		case a.authed == b.authed:
			return cmp.Compare(b.bytes, a.bytes)
		case b.authed:
			return -1
		}
		return 1
	})
	sessions := make([]*Session, len(list))
	for i := range list {
		sessions[i] = list[i].s
	}
	return sessions
}
