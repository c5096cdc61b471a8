package server

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// clientRegistry knows every connected session.
type clientRegistry struct {
	mu       sync.Mutex
	sessions map[int64]*Session
	count    atomic.Int64 // connections, from accepting to closing
}

// admit counts one more connection, unless there are limit already. What it has counted, leave or remove takes back.
func (r *clientRegistry) admit(limit int) bool {
	if r.count.Add(1) > int64(limit) {
		r.leave()
		return false
	}
	return true
}

func (r *clientRegistry) leave() { r.count.Add(-1) }

// add registers the session of a connection that was admitted.
func (r *clientRegistry) add(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[s.id] = s
}

func (r *clientRegistry) remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s.id)
	r.leave()
}

// find returns the session with an id, or nil.
func (r *clientRegistry) find(id int64) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[id]
}

// all returns the sessions in order of their ids.
func (r *clientRegistry) all() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	return list
}

// flags are the letters of CLIENT LIST for the session's state, in Redis's order.
func (s *Session) flags() string {
	var b []byte
	if s.seen.monitors.Load() {
		b = append(b, 'O')
	}
	if s.listens() {
		b = append(b, 'P')
	}
	if s.seen.multi.Load() >= 0 {
		b = append(b, 'x')
	}
	if s.blocked.Load() != nil {
		b = append(b, 'b')
	}
	m := s.tracks()
	if m != nil {
		b = append(b, 't')
		if m.broken.Load() {
			b = append(b, 'R')
		}
		if m.bcast {
			b = append(b, 'B')
		}
	}
	if w := s.seen.watcher.Load(); w != nil && w.touched.Load() {
		b = append(b, 'd')
	}
	if strings.HasPrefix(s.remote, "/") || s.remote == "@" || s.remote == "" {
		b = append(b, 'U')
	}
	if s.seen.noEvict.Load() {
		b = append(b, 'e')
	}
	if s.seen.noTouch.Load() {
		b = append(b, 'T')
	}
	if len(b) == 0 {
		return "N"
	}
	return string(b)
}

// describe is the session's line in CLIENT LIST.
func (s *Session) describe(now time.Time) string {
	id := s.identity.Load()
	last := "NULL"
	if cmd := s.seen.lastCommand.Load(); cmd != nil {
		last = cmd.FullName()
	}
	flags := s.flags()
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=-1 name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=%d multi=%d "+
		"qbuf=%d qbuf-free=0 argv-mem=0 multi-mem=%d rbs=0 rbp=0 obl=0 oll=0 omem=%d tot-mem=%d events=r cmd=%s user=%s redir=%d resp=%d "+
		"lib-name=%s lib-ver=%s",
		s.id, s.remote, s.local, id.name, int(now.Sub(s.since).Seconds()),
		int(now.Sub(time.Unix(0, s.seen.lastActive.Load())).Seconds()), flags, s.seen.db.Load(), s.seen.subs[onChannel].Load(), s.seen.subs[onPattern].Load(), s.seen.subs[onShard].Load(), s.seen.multi.Load(),
		s.seen.input.Load(), s.seen.transaction.Load(), s.seen.output.Load()+s.box.bytes.Load(),
		max(s.seen.memory.Load(), s.seen.input.Load()+s.seen.output.Load())+s.box.bytes.Load(), last, s.seen.user.Load().Name, s.redirects(), s.seen.resp.Load(),
		id.libName, id.libVersion)
}

// listens reports whether the session listens to any channel, from any goroutine.
func (s *Session) listens() bool {
	for kind := range s.seen.subs {
		if s.seen.subs[kind].Load() > 0 {
			return true
		}
	}
	return false
}

// kind is what the client is for CLIENT LIST TYPE and CLIENT KILL TYPE.
func (s *Session) kind() string {
	if s.listens() {
		return "pubsub"
	}
	return "normal"
}

// failureLimiter counts failed authentications per address and second.
type failureLimiter struct {
	mu     sync.Mutex
	second int64
	counts map[string]int
}

// allow reports whether address may try once more in this second.
func (f *failureLimiter) allow(address string, now int64, limit int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roll(now)
	return f.counts[address] < limit
}

func (f *failureLimiter) failed(address string, now int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roll(now)
	f.counts[address]++
}

// roll forgets the last second, so that counts never has more addresses than fail in one second.
func (f *failureLimiter) roll(now int64) {
	if f.second != now || f.counts == nil {
		f.second, f.counts = now, map[string]int{}
	}
}
