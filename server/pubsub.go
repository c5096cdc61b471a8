package server

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"quipu/acl"
	"quipu/internal/glob"
	"quipu/protocol"
)

// Pub/sub: who listens to which channels on this node. Nothing of it is in the log, and a message reaches those who are
// there, at most once, as in Redis. A session's own list (Session.subs) belongs to its loop and is what its replies count;
// the hub's are what PUBLISH goes by. Both change together, on the session's loop.

// topicKind is what a subscription is for.
type topicKind uint8

const (
	onChannel topicKind = iota
	onPattern
	onShard // a channel of SSUBSCRIBE
	topicKinds
)

// Limits of subscriptions. Each PUBLISH compares its channel with every pattern there is, so there are fewer of these, and still fewer
// of those that may take as many steps as the product of the lengths of pattern and channel.
const (
	maxSubscriptions  = 65536    // of a client
	maxClientPatterns = 1024     // of a client
	maxPatterns       = 16384    // different ones, of all clients
	maxPatternBytes   = 512      // of a pattern
	maxHeavy          = 64 << 10 // bytes of all patterns that have a * before their end
	maxClientHeavy    = 8 << 10  // the same of a client

	// topicPrefix is by how much the name of a channel may be longer than a key: it may be that of a key's notifications.
	topicPrefix = 64
	// subscriptionOverhead is about what a subscription takes beside its name, here and in the session.
	subscriptionOverhead = 200
	// shortMatching is how many steps of matching a loop takes at most.
	shortMatching = 1 << 20
)

// hub is all subscriptions of a node.
type hub struct {
	mu     sync.RWMutex // taken before the boxes of sessions
	topics [topicKinds]map[string]*topic
	heavy  int                      // bytes of the patterns that are heavy
	counts [topicKinds]atomic.Int64 // of topics: whoever finds 0 need not look

	// patterns are the topics of patterns, for whoever compares them without the lock; nil: to be made anew. Never changed in place.
	patterns *patternList
}

type patternList struct {
	topics []*topic
	heavy  int
}

// topic is a channel or a pattern that somebody listens to.
type topic struct {
	name      []byte
	listeners map[*Session]struct{} // guarded by the hub's lock
}

// heavyBytes is how many bytes of a pattern count as heavy: those of one that may widen a * again and again.
func heavyBytes(pattern string) int {
	if at := strings.IndexByte(pattern, '*'); at < 0 || strings.TrimRight(pattern[at:], "*") == "" {
		return 0
	}
	return len(pattern)
}

func newHub() *hub {
	h := &hub{}
	for kind := range h.topics {
		h.topics[kind] = map[string]*topic{}
	}
	return h
}

// add subscribes a session; false: there are too many patterns.
func (h *hub) add(kind topicKind, name string, s *Session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[kind][name]
	if t == nil {
		if kind == onPattern {
			if len(h.topics[kind]) >= maxPatterns || h.heavy+heavyBytes(name) > maxHeavy {
				return false
			}
			h.heavy += heavyBytes(name)
			h.patterns = nil
		}
		t = &topic{name: []byte(name), listeners: map[*Session]struct{}{}}
		h.topics[kind][name] = t
		h.counts[kind].Add(1)
	}
	t.listeners[s] = struct{}{}
	return true
}

func (h *hub) remove(kind topicKind, name string, s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[kind][name]
	if t == nil {
		return
	}
	delete(t.listeners, s)
	if len(t.listeners) > 0 {
		return
	}
	delete(h.topics[kind], name)
	h.counts[kind].Add(-1)
	if kind == onPattern {
		h.heavy -= heavyBytes(name)
		h.patterns = nil
	}
}

// noPatterns is the list of a node without patterns, and of channels of shards.
var noPatterns = &patternList{}

// patternsNow is the patterns there are.
func (h *hub) patternsNow() *patternList {
	if h.counts[onPattern].Load() == 0 {
		return noPatterns
	}
	h.mu.RLock()
	list := h.patterns
	h.mu.RUnlock()
	if list != nil {
		return list
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.patterns == nil {
		h.patterns = &patternList{topics: slices.Collect(maps.Values(h.topics[onPattern])), heavy: h.heavy}
	}
	return h.patterns
}

// takesLong reports whether comparing a channel with all patterns may take longer than a loop may wait.
func (h *hub) takesLong(kind topicKind, channel []byte) bool {
	return kind == onChannel && h.counts[onPattern].Load() > 0 && h.patternsNow().heavy*len(channel) > shortMatching
}

// receivers is how many subscriptions a message on a channel reaches; each topic is told, if tell is not nil, and patterns are looked at if
// that does not take long or tell is not nil.
func (h *hub) receivers(kind topicKind, channel []byte, tell func(t *topic, kind topicKind)) (n int) {
	reach := func(t *topic, kind topicKind) {
		n += len(t.listeners)
		if tell != nil && len(t.listeners) > 0 {
			tell(t, kind)
		}
	}
	if h.counts[kind].Load() > 0 {
		h.mu.RLock()
		if t := h.topics[kind][string(channel)]; t != nil {
			reach(t, kind)
		}
		h.mu.RUnlock()
	}
	if kind == onShard || tell == nil && h.takesLong(kind, channel) {
		return n
	}
	for _, t := range h.patternsNow().topics {
		if glob.Match(t.name, channel, false) {
			h.mu.RLock()
			reach(t, onPattern)
			h.mu.RUnlock()
		}
	}
	return n
}

// publishAll is publish on all nodes. It returns how many subscribers this one has.
func (srv *Server) publishAll(kind topicKind, channel, payload []byte) int {
	if srv.peers != nil {
		body := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(channel)+len(payload)), uint32(len(channel)))
		srv.peers.Tell(uint8(kind), append(append(body, channel...), payload...))
	}
	return srv.publish(kind, channel, payload)
}

// hearPublished takes what a client of another node has published. The message is the kind of the channel, the length of its name in four
// bytes, the name, and what is published. What a later version may send besides is passed over.
func (srv *Server) hearPublished(kind uint8, body []byte) {
	of := topicKind(kind)
	if len(body) < 4 || of != onChannel && of != onShard {
		return
	}
	n, body := binary.LittleEndian.Uint32(body), body[4:]
	if uint64(n) > uint64(len(body)) {
		return
	}
	srv.publish(of, body[:n], body[n:])
	srv.evictAgain()
}

// publish tells the subscribers of this node, and returns how many there are. It waits for nobody.
func (srv *Server) publish(kind topicKind, channel, payload []byte) int {
	return srv.hub.receivers(kind, channel, func(t *topic, of topicKind) {
		var m *message
		switch of {
		case onPattern:
			m = srv.newMessage(4, func(w *protocol.Writer) {
				w.BulkString("pmessage")
				w.Bulk(t.name)
				w.Bulk(channel)
				w.Bulk(payload)
			})
		default:
			m = srv.newMessage(3, func(w *protocol.Writer) {
				w.BulkString(messageWords[of])
				w.Bulk(channel)
				w.Bulk(payload)
			})
		}
		for s := range t.listeners {
			s.push(m)
		}
		m.release()
	})
}

var messageWords = [topicKinds]string{onChannel: "message", onPattern: "pmessage", onShard: "smessage"}

// active is the names of the channels of a kind that somebody listens to, of those that match; nil: all.
func (h *hub) active(kind topicKind, pattern []byte) (names []string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for name, t := range h.topics[kind] {
		if pattern == nil || glob.Match(pattern, t.name, false) {
			names = append(names, name)
		}
	}
	return names
}

// listeners is how many sessions listen to a channel itself.
func (h *hub) listeners(kind topicKind, channel []byte) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if t := h.topics[kind][string(channel)]; t != nil {
		return len(t.listeners)
	}
	return 0
}

// subscriptions is what a session listens to.
type subscriptions struct {
	names [topicKinds]map[string]struct{}
	heavy int // bytes of patterns that are
	bytes int // of memory
}

func (l *subscriptions) clone() *subscriptions {
	c := &subscriptions{heavy: l.heavy, bytes: l.bytes}
	for kind := range l.names {
		c.names[kind] = maps.Clone(l.names[kind])
	}
	return c
}

// count counts n subscriptions more.
func (l *subscriptions) count(kind topicKind, name string, n int) {
	l.bytes += n * (2*len(name) + subscriptionOverhead)
	if kind == onPattern {
		l.heavy += n * heavyBytes(name)
	}
}

func (l *subscriptions) total() (n int) {
	for kind := range l.names {
		n += len(l.names[kind])
	}
	return n
}

// counted is the number in a confirmation: channels and patterns count together, those of shards by themselves.
func (s *Session) counted(kind topicKind) int {
	switch {
	case s.subs == nil:
		return 0
	case kind == onShard:
		return len(s.subs.names[onShard])
	}
	return len(s.subs.names[onChannel]) + len(s.subs.names[onPattern])
}

// subscribe adds a subscription that the session may have; the limits were looked at before, but for that of all patterns.
func (s *Session) subscribe(kind topicKind, name string) bool {
	if s.subs == nil {
		s.subs = &subscriptions{}
	}
	if _, has := s.subs.names[kind][name]; has {
		return true
	}
	if !s.srv.hub.add(kind, name, s) {
		return false
	}
	if s.subs.names[kind] == nil {
		s.subs.names[kind] = map[string]struct{}{}
	}
	s.subs.names[kind][name] = struct{}{}
	s.subs.count(kind, name, 1)
	s.seen.subs[kind].Store(int32(len(s.subs.names[kind])))
	return true
}

func (s *Session) unsubscribe(kind topicKind, name string) {
	if s.subs == nil {
		return
	}
	if _, has := s.subs.names[kind][name]; !has {
		return
	}
	s.srv.hub.remove(kind, name, s)
	delete(s.subs.names[kind], name)
	s.subs.count(kind, name, -1)
	s.seen.subs[kind].Store(int32(len(s.subs.names[kind])))
	if s.subs.total() == 0 {
		s.subs = nil
	}
}

// unsubscribeAll ends all subscriptions without a word.
func (s *Session) unsubscribeAll() { s.restoreSubscriptions(nil) }

// restoreSubscriptions makes the session listen to what it did before; nil: to nothing.
func (s *Session) restoreSubscriptions(to *subscriptions) {
	if s.subs == to {
		return
	}
	if s.subs != nil {
		for kind := range topicKinds {
			for _, name := range slices.Collect(maps.Keys(s.namesOf(kind))) {
				if to == nil || !to.has(kind, name) {
					s.unsubscribe(kind, name)
				}
			}
		}
	}
	if to == nil {
		return
	}
	for kind := range topicKinds {
		for name := range to.names[kind] {
			s.subscribe(kind, name)
		}
	}
}

func (l *subscriptions) has(kind topicKind, name string) bool {
	_, has := l.names[kind][name]
	return has
}

func (s *Session) namesOf(kind topicKind) map[string]struct{} {
	if s.subs == nil {
		return nil
	}
	return s.subs.names[kind]
}

// mayListen reports whether the user may still listen to all that the session does.
func (s *Session) mayListen(u *acl.Subject) bool {
	for kind := range topicKinds {
		for name := range s.namesOf(kind) {
			if !u.AllowsChannel(acl.Channel{Name: []byte(name), Pattern: kind == onPattern}) {
				return false
			}
		}
	}
	return true
}
