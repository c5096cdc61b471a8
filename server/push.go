package server

import (
	"sync"
	"sync/atomic"
	"time"

	"quipu/protocol"
)

// A push is a message that a client gets without having asked for it at that moment: what is published on a channel, a line of
// MONITOR. Any goroutine may push to any session (Session.push); it waits for nobody but for the short locks below, so the
// goroutine that applies the log may as well, with parts of the keyspace locked.
//
// A message is made once and shared by all who get it. Each session has a box of messages that have not gone out yet. The first
// one in an empty box enlists the session with its worker, and the first session on that list has the loop deliver; so a burst of
// messages wakes a loop once. The loop copies messages behind the replies of the session only while little of those is unsent
// (pushRoom): of a client that reads slowly, the rest stays in the box, as references.
//
// A message goes between whole replies, behind those that are under way when it is delivered. So whoever adds or takes away what a
// session gets pushed, and confirms it with a reply, has messages and confirmations in their order.
//
// Bounds: the messages in a box count up to client-push-bytes (Session.push), and the bytes of all messages, each once, belong to
// what maxmemory-clients limits (clientMemory). In both cases it is the client that goes, never a message alone.

// message is one push. It does not change once it was pushed.
type message struct {
	data    []byte // as in RESP2
	push    bool   // in RESP3 it is a push: its first byte is '>', not '*'
	in3     []byte // in RESP3 it is this, and in RESP2 for those alone who listen to channels
	memory  *clientMemory
	holders atomic.Int32
}

// messageOverhead is about what a message takes beside its bytes, and beside its place in a box.
const messageOverhead = 64

// newMessage makes a message of n elements, which fill writes. Its maker lets go of it (release) when all who get it have been told.
func (srv *Server) newMessage(n int, fill func(w *protocol.Writer)) *message {
	w := protocol.Writer{V: 2}
	w.Push(n)
	fill(&w)
	return srv.holdMessage(&message{data: w.B, push: true})
}

// newText is a message that is one line, the same in RESP2 and RESP3.
func (srv *Server) newText(line []byte) *message { return srv.holdMessage(&message{data: line}) }

func (srv *Server) holdMessage(m *message) *message {
	m.memory = &srv.clientMemory
	m.memory.sum.Add(int64(m.size()))
	m.holders.Store(1)
	return m
}

func (m *message) size() int { return cap(m.data) + cap(m.in3) + messageOverhead }

func (m *message) release() {
	if m.holders.Add(-1) == 0 {
		m.memory.sum.Add(-int64(m.size()))
	}
}

// appendTo appends the message in a version of the protocol.
func (m *message) appendTo(b []byte, version int) []byte {
	at := len(b)
	if m.in3 != nil && version == 3 {
		return append(b, m.in3...)
	}
	b = append(b, m.data...)
	if m.push && version == 3 {
		b[at] = '>'
	}
	return b
}

// pushBox is the messages on their way to a session.
type pushBox struct {
	mu     sync.Mutex // a leaf, but for the worker's pushMu and what ends a session
	queue  []*message
	listed bool // the session is on its worker's list, is being delivered to, or waits for room
	closed bool // it gets nothing any more

	bytes atomic.Int64 // of queue and taken

	// Of the session's loop:
	taken   []*message // taken out of queue, oldest first from next on
	next    int
	stalled bool  // there are messages, and no room for them
	unsent  int   // bytes that the transport could not send yet
	slow    int64 // unix nanoseconds since when more than the soft limit waits; 0: it does not
}

const (
	// pushRoom is how many bytes of replies and messages may be unsent when another message is added to them.
	pushRoom = 64 << 10
	// deliverBytes is about how many bytes of messages a loop copies before it sends them.
	deliverBytes = 1 << 20
	// softPush is the part of client-push-bytes that may wait for softPushTime at most, as in Redis (8 MiB of 32, a minute).
	softPush     = 4
	softPushTime = 60 * time.Second
	// keptPushes is for how many messages an empty box keeps room.
	keptPushes = 64
)

// push has the session sent a message, from any goroutine and without waiting. It reports false if the client gets no more, because it
// is closed, or is too slow and is closed now.
func (s *Session) push(m *message) bool {
	b := &s.box
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	if int(b.bytes.Load())+m.size() > s.srv.config().ClientPush && b.bytes.Load() > 0 {
		b.mu.Unlock()
		s.endSlow("client-push-bytes")
		return false
	}
	m.holders.Add(1)
	b.bytes.Add(int64(m.size()))
	b.queue = append(b.queue, m)
	enlist := !b.listed
	b.listed = true
	b.mu.Unlock()
	if enlist {
		s.worker.enlist(s)
	}
	return true
}

// endSlow closes a client that does not read what it is sent. What waits for it is let go of at once: it would not read it.
func (s *Session) endSlow(why string) {
	s.shutQueue()
	if s.end("reads too slowly what it is sent: " + why) {
		s.srv.limits[limitPush].count.Add(1)
		s.worker.loop.Post(func() { s.srv.limits.logged(limitPush, s.remote, "limit", why) }) // which the caller must not wait for
	}
}

// shutQueue has nothing more pushed, and drops what the loop has not taken.
func (s *Session) shutQueue() {
	b := &s.box
	b.mu.Lock()
	queue := b.queue
	b.queue, b.closed = nil, true
	b.mu.Unlock()
	for _, m := range queue {
		b.bytes.Add(-int64(m.size()))
		m.release()
	}
}

// shutBox is shutQueue on the session's loop: it drops the rest as well.
func (s *Session) shutBox() {
	s.shutQueue()
	b := &s.box
	for _, m := range b.taken[b.next:] {
		b.bytes.Add(-int64(m.size()))
		m.release()
	}
	b.taken, b.next = nil, 0
}

// nextPush is the oldest message that waits, or nil; then the next one enlists the session anew.
func (s *Session) nextPush() *message {
	b := &s.box
	if b.next == len(b.taken) {
		clear(b.taken)
		spare := b.taken[:0]
		if cap(spare) > keptPushes {
			spare = nil
		}
		b.next = 0
		b.mu.Lock()
		b.taken, b.queue = b.queue, spare
		if len(b.taken) == 0 {
			b.listed = false
		}
		b.mu.Unlock()
		if len(b.taken) == 0 {
			return nil
		}
	}
	m := b.taken[b.next]
	b.taken[b.next] = nil
	b.next++
	return m
}

// takePushes adds messages to what is to be sent, while there is room for them; with all, every one. It returns how many bytes
// they were.
func (s *Session) takePushes(all bool) (moved int) {
	b := &s.box
	b.stalled = false
	if s.holdsPushes() {
		b.stalled = true
		return 0
	}
	for all || b.unsent+len(s.out.B)+s.slots.bytes < pushRoom {
		m := s.nextPush()
		if m == nil {
			return moved
		}
		b.bytes.Add(-int64(m.size()))
		if !s.closing {
			s.place(m)
		}
		moved += max(len(m.data), len(m.in3))
		m.release()
	}
	b.stalled = true
	return moved
}

// place adds a message behind the replies that are ready or under way. CLIENT REPLY does not concern it.
func (s *Session) place(m *message) {
	if m.in3 != nil && s.out.V == 2 && (s.subs == nil || m.data == nil) {
		return
	}
	if s.open != nil {
		s.endSubmission() // its later commands come behind the message
	}
	switch {
	case s.lost:
	case s.pending():
		s.slots.append(m.appendTo(nil, s.out.V))
	default:
		s.out.B = m.appendTo(s.out.B, s.out.V)
	}
}

// pushAgain is called when the transport has sent what it could.
func (s *Session) pushAgain(unsent int) {
	b := &s.box
	if b.unsent = unsent; b.stalled && !s.holdsPushes() && unsent+len(s.out.B)+s.slots.bytes < pushRoom {
		b.stalled = false
		s.worker.enlist(s)
	}
}

// pushesSlowly reports whether too much has been waiting for the client for too long.
func (s *Session) pushesSlowly(now int64) bool {
	b := &s.box
	switch {
	case b.bytes.Load() <= int64(s.srv.config().ClientPush/softPush):
		b.slow = 0
	case b.slow == 0:
		b.slow = now
	default:
		return time.Duration(now-b.slow) > softPushTime
	}
	return false
}

// enlist has the loop deliver what waits for a session.
func (w *worker) enlist(s *Session) {
	w.pushMu.Lock()
	first := len(w.pushed) == 0
	w.pushed = append(w.pushed, s)
	w.pushMu.Unlock()
	if first {
		w.loop.Post(w.deliver)
	}
}

// deliver runs on the loop. What it copies is sent before it goes on with the other sessions: ten thousand subscribers of a large
// message would take ten thousand times its size.
func (w *worker) deliver() {
	w.pushMu.Lock()
	list := w.pushed
	w.pushed = w.sparePushed[:0]
	w.pushMu.Unlock()
	done, moved := 0, 0
	for done < len(list) && moved < deliverBytes {
		s := list[done]
		done++
		moved += s.takePushes(false)
		s.link.Resume()
	}
	if done < len(list) {
		w.pushMu.Lock()
		first := len(w.pushed) == 0
		w.pushed = append(w.pushed, list[done:]...)
		w.pushMu.Unlock()
		if first {
			w.loop.Post(w.deliver)
		}
	}
	clear(list)
	w.sparePushed = list[:0]
	if cap(list) > keptPushes {
		w.sparePushed = nil
	}
	w.srv.evictAgain()
}
