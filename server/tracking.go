package server

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// Tracking: which clients keep copies of which keys (CLIENT TRACKING), so that they are told when a key changes. Nothing of it is in
// the log. A client's keys are noted on the node that it is connected to, and it is an observer of this node's keyspace that tells
// it: each node applies the log, so it sees the changes that clients have made anywhere.
//
// What must not happen is that a client keeps a value, the key changes, and the client is never told. Three rules see to that:
//
//   - A key is noted before its read is carried out, here or on the node that leads (Session.track). Whatever the read does not
//     see is applied here behind it, and finds the key noted.
//   - A change takes the key out of the table first, and then tells the clients (tracking.invalidate).
//   - A message goes behind the replies to all that its client has sent before: those that are under way are in reply slots
//     (Session.place), those that gather in a burst are there before a loop delivers anything, and for a reply that another
//     goroutine makes the messages wait (Session.holdsPushes).
//
// So a change between the note and the read costs a message too many, and none is missing: the reply comes first. With REDIRECT the
// message goes to another connection, which replies do not hold up: Session.settle sends it once more behind the reply.
//
// As in Redis, keys have no database here: a client is told of a key of that name in any.

// trackStripes is how many locks the table has.
const trackStripes = 64

// tracking is the table of a node.
type tracking struct {
	srv     *Server
	clients atomic.Int64 // with tracking on; the observer is called while it is not 0
	seed    maphash.Seed
	stripes [trackStripes]trackStripe
	keys    atomic.Int64
	items   atomic.Int64 // pairs of a key and a client
	bytes   atomic.Int64 // of names of keys
	dead    atomic.Int64 // about how many items belong to clients that are gone

	mu sync.Mutex // guards on; a leaf
	on map[*cacher]struct{}

	prefixes prefixTable
}

// trackStripe is a part of the table. Its lock is taken with parts of the keyspace locked; under it nothing is.
type trackStripe struct {
	mu   sync.Mutex
	keys map[string]*trackedKey
	all  []*trackedKey // in any order, to choose one at random

	items, bytes int64
}

// trackedKey is a key that clients keep.
type trackedKey struct {
	name string
	at   int // in trackStripe.all
	few  []*cacher
	many map[*cacher]struct{} // instead of few, if there are many
}

// cacher is a client whose reads are tracked, or were.
type cacher struct {
	session atomic.Pointer[Session]   // nil: it is gone
	mode    atomic.Pointer[trackMode] // nil: tracking is off
	items   atomic.Int64
	told    atomic.Uint64 // how often it was told of a key
}

// trackMode is what CLIENT TRACKING ON has asked for. It does not change, but for broken.
type trackMode struct {
	bcast, optin, optout, noloop bool

	redirect int64    // the client that gets the messages; 0: itself
	target   *Session // that client
	prefixes []string // with bcast, sorted; they do not overlap
	broken   atomic.Bool
}

const (
	fewCachers = 8
	// trackedOverhead and itemOverhead are about what a key takes in the table beside its name, and a client of it.
	trackedOverhead = 160
	itemOverhead    = 16
	// trackedBytes is how many bytes a key may take on average, of tracking-table-max-keys.
	trackedBytes = 512
	// mostTracked is the most keys, whatever the setting says.
	mostTracked = 16 << 20
)

func newTracking(srv *Server) *tracking {
	t := &tracking{srv: srv, seed: maphash.MakeSeed(), on: map[*cacher]struct{}{}}
	for i := range t.stripes {
		t.stripes[i].keys = map[string]*trackedKey{}
	}
	return t
}

func (t *tracking) stripeOf(key []byte) *trackStripe {
	return &t.stripes[maphash.Bytes(t.seed, key)%trackStripes]
}

// note notes that a client may keep a key.
func (t *tracking) note(key []byte, c *cacher) {
	st := t.stripeOf(key)
	st.mu.Lock()
	k := st.keys[string(key)]
	if k == nil {
		k = &trackedKey{name: string(key), at: len(st.all)}
		st.keys[k.name] = k
		st.all = append(st.all, k)
		t.keys.Add(1)
		t.bytes.Add(int64(len(key)))
		st.bytes += int64(len(key))
	}
	if k.add(c) {
		c.items.Add(1)
		t.items.Add(1)
		st.items++
	}
	st.mu.Unlock()
	for range 2 { // so that a table for which the setting was lowered shrinks
		if !t.full() {
			return
		}
		t.evict()
	}
}

// noted reports whether a client is told of the next change of a key.
func (t *tracking) noted(key string, c *cacher) bool {
	st := t.stripeOf([]byte(key))
	st.mu.Lock()
	defer st.mu.Unlock()
	k := st.keys[key]
	return k != nil && k.has(c)
}

func (k *trackedKey) has(c *cacher) bool {
	if _, has := k.many[c]; has {
		return true
	}
	for _, other := range k.few {
		if other == c {
			return true
		}
	}
	return false
}

func (k *trackedKey) add(c *cacher) bool {
	switch {
	case k.has(c):
		return false
	case k.many != nil:
		k.many[c] = struct{}{}
	case len(k.few) < fewCachers:
		k.few = append(k.few, c)
	default:
		k.many = map[*cacher]struct{}{c: {}}
		for _, other := range k.few {
			k.many[other] = struct{}{}
		}
		k.few = nil
	}
	return true
}

func (k *trackedKey) len() int { return len(k.few) + len(k.many) }

func (k *trackedKey) each(fn func(c *cacher)) {
	for _, c := range k.few {
		fn(c)
	}
	for c := range k.many {
		fn(c)
	}
}

// take takes a key out of a stripe, which is locked.
func (t *tracking) take(st *trackStripe, k *trackedKey) {
	last := len(st.all) - 1
	st.all[k.at] = st.all[last]
	st.all[k.at].at = k.at
	st.all[last] = nil
	st.all = st.all[:last]
	delete(st.keys, k.name)
	t.keys.Add(-1)
	t.lose(st, int64(k.len()), int64(len(k.name)))
	k.each(func(c *cacher) {
		c.items.Add(-1)
		c.told.Add(1)
	})
}

// lose counts less in a stripe, which is locked.
func (t *tracking) lose(st *trackStripe, items, bytes int64) {
	st.items -= items
	st.bytes -= bytes
	t.items.Add(-items)
	t.bytes.Add(-bytes)
}

// limit is how many keys the table may have.
func (t *tracking) limit() int64 {
	if n := t.srv.config().TrackingKeys; n > 0 {
		return min(n, mostTracked)
	}
	return mostTracked
}

func (t *tracking) full() bool {
	limit, keys := t.limit(), t.keys.Load()
	return keys > limit || t.bytes.Load()+keys*trackedOverhead+t.items.Load()*itemOverhead > limit*trackedBytes
}

// evict takes a key at random out of the table, and tells its clients as if it had changed.
func (t *tracking) evict() {
	first := rand.IntN(trackStripes)
	for i := range trackStripes {
		st := &t.stripes[(first+i)%trackStripes]
		st.mu.Lock()
		if len(st.all) == 0 {
			st.mu.Unlock()
			continue
		}
		k := st.all[rand.IntN(len(st.all))]
		t.take(st, k)
		st.mu.Unlock()
		t.tell(k, nil)
		return
	}
}

// tidy is called about once a second.
func (t *tracking) tidy() {
	for range 1024 {
		if !t.full() {
			break
		}
		t.evict()
	}
	if dead := t.dead.Load(); dead > max(1024, t.items.Load()/4) {
		t.dead.Add(-dead)
		for i := range t.stripes {
			t.sweep(&t.stripes[i])
		}
	}
}

// sweep drops items of clients that are gone.
func (t *tracking) sweep(st *trackStripe) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for at := len(st.all) - 1; at >= 0; at-- {
		k, before := st.all[at], st.all[at].len()
		few := k.few[:0]
		for _, c := range k.few {
			if c.session.Load() != nil {
				few = append(few, c)
			}
		}
		clear(k.few[len(few):])
		k.few = few
		for c := range k.many {
			if c.session.Load() == nil {
				delete(k.many, c)
			}
		}
		t.lose(st, int64(before-k.len()), 0)
		if k.len() == 0 {
			t.take(st, k)
		}
	}
}

// changed is the keyspace's observer.
func (t *tracking) changed(c *engine.Change) {
	if c.Op == engine.OpFlush {
		if !c.More {
			t.invalidateAll()
		}
		return
	}
	if c.DB >= t.srv.config().Databases { // the hidden one
		return
	}
	by, _ := c.By.(*Session)
	t.invalidate(c.Key, by)
	t.prefixes.changed(t, c.Key, by)
}

// invalidate tells those who keep a key that it has changed, and that they are told no more of it. by made the change; nil: it is not known
// who.
func (t *tracking) invalidate(key []byte, by *Session) {
	st := t.stripeOf(key)
	st.mu.Lock()
	k := st.keys[string(key)]
	if k == nil {
		st.mu.Unlock()
		return
	}
	t.take(st, k)
	st.mu.Unlock()
	t.tell(k, by)
}

func (t *tracking) tell(k *trackedKey, by *Session) {
	inv := invalidation{srv: t.srv, keys: []string{k.name}}
	k.each(func(c *cacher) {
		if m := c.mode.Load(); m != nil && !m.bcast {
			inv.send(c, m, by)
		}
	})
	inv.release()
}

// invalidateAll tells everybody that all keys have changed.
func (t *tracking) invalidateAll() {
	for i := range t.stripes {
		st := &t.stripes[i]
		st.mu.Lock()
		t.keys.Add(-int64(len(st.all)))
		t.lose(st, st.items, st.bytes)
		st.keys, st.all = map[string]*trackedKey{}, nil
		st.mu.Unlock()
	}
	t.prefixes.forget()
	t.mu.Lock()
	list := make([]*cacher, 0, len(t.on))
	for c := range t.on {
		c.items.Store(0)
		c.told.Add(1)
		list = append(list, c)
	}
	t.mu.Unlock()
	inv := invalidation{srv: t.srv}
	for _, c := range list {
		if m := c.mode.Load(); m != nil {
			inv.send(c, m, nil)
		}
	}
	inv.release()
}

// invalidation is a message about keys, nil being all, to several clients.
type invalidation struct {
	srv                *Server
	keys               []string
	direct, redirected *message // nil: not made yet
}

// send sends it to a client, unless that one, by, has made the change and does not want to hear of its own.
func (inv *invalidation) send(c *cacher, m *trackMode, by *Session) {
	s := c.session.Load()
	switch {
	case s == nil || m.noloop && s == by:
	case m.target == nil:
		if inv.direct == nil {
			inv.direct = inv.srv.holdMessage(&message{in3: inv.text(3, false)})
		}
		s.push(inv.direct)
	default:
		if inv.redirected == nil {
			inv.redirected = inv.srv.holdMessage(&message{in3: inv.text(3, true), data: inv.text(2, true)})
		}
		if !m.target.push(inv.redirected) {
			s.redirectBroken(m)
		}
	}
}

// trackingChannel is the channel on which clients get invalidations that speak RESP2.
const trackingChannel = "__redis__:invalidate"

// text is the message in a version of the protocol.
func (inv *invalidation) text(version int, redirected bool) []byte {
	w := protocol.Writer{V: version}
	if version == 3 {
		w.Push(2)
		w.BulkString("invalidate")
	} else {
		w.Array(3)
		w.BulkString("message")
		w.BulkString(trackingChannel)
	}
	if inv.keys == nil {
		w.Null()
		return w.B
	}
	w.Array(len(inv.keys))
	for _, key := range inv.keys {
		w.BulkString(key)
	}
	return w.B
}

func (inv *invalidation) release() {
	for _, m := range []*message{inv.direct, inv.redirected} {
		if m != nil {
			m.release()
		}
	}
}

// redirectBroken tells a client that whoever should get its messages is gone.
func (s *Session) redirectBroken(mode *trackMode) {
	mode.broken.Store(true)
	w := protocol.Writer{V: 3}
	w.Push(2)
	w.BulkString("tracking-redir-broken")
	w.Int(mode.redirect)
	m := s.srv.holdMessage(&message{in3: w.B})
	s.push(m)
	m.release()
}

// tracks is how the session's reads are tracked, nil: they are not.
func (s *Session) tracks() *trackMode {
	if c := s.cacher.Load(); c != nil {
		return c.mode.Load()
	}
	return nil
}

// maxUnsettled is how many keys a client reads whose invalidations go elsewhere, until it has all replies.
const maxUnsettled = 4096

// track notes the keys of a read that is about to be carried out, if the client is to be told of their next change. false: it has to wait.
func (s *Session) track(m *trackMode, cmd *commands.Command, args [][]byte) bool {
	if !s.mayKeep(m, cmd) {
		return true
	}
	if len(s.unsettled) >= maxUnsettled {
		if s.awaitPending() {
			return false
		}
		s.settle()
	}
	s.noteKeys(m, cmd, args)
	return true
}

// mayKeep reports whether the client keeps what a command answers.
func (s *Session) mayKeep(m *trackMode, cmd *commands.Command) bool {
	return cmd.Flags&commands.FlagReadonly != 0 && cmd.HasKeys() && !m.bcast && (!m.optin || s.caching) && (!m.optout || !s.caching)
}

func (s *Session) noteKeys(m *trackMode, cmd *commands.Command, args [][]byte) {
	c, t := s.cacher.Load(), s.srv.tracking
	if m.target != nil && len(s.unsettled) == 0 {
		s.toldBefore = c.told.Load()
	}
	cmd.EachKey(args, func(key []byte) {
		if m.target != nil {
			s.unsettled = append(s.unsettled, string(key))
		}
		t.note(key, c)
	})
}

// settle is called when all reads that were noted are answered. A key that another connection was told of meanwhile may be one that
// the client has got the new value of, and keeps: that connection is told once more.
func (s *Session) settle() {
	if len(s.unsettled) == 0 || s.pending() || s.waiting == waitTask {
		return
	}
	c := s.cacher.Load()
	if m := c.mode.Load(); m != nil && m.target != nil && c.told.Load() != s.toldBefore {
		for _, key := range s.unsettled {
			if !s.srv.tracking.noted(key, c) {
				inv := invalidation{srv: s.srv, keys: []string{key}}
				inv.send(c, m, nil)
				inv.release()
			}
		}
	}
	clear(s.unsettled)
	s.unsettled = s.unsettled[:0]
	if cap(s.unsettled) > keptArguments {
		s.unsettled = nil
	}
}

// holdsPushes reports whether messages have to wait: a reply comes from another goroutine, to a read that may be older than they are.
func (s *Session) holdsPushes() bool { return s.waiting == waitTask && s.tracks() != nil }

// useTracking has the session's reads tracked as m says; nil: no more.
func (s *Session) useTracking(m *trackMode) {
	c, t := s.cacher.Load(), s.srv.tracking
	var was *trackMode
	if c != nil {
		was = c.mode.Load()
	}
	if was == m {
		return
	}
	if c == nil {
		c = &cacher{}
		c.session.Store(s)
		s.cacher.Store(c)
	}
	t.prefixes.change(c, was, m)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case was == nil:
		t.on[c] = struct{}{}
		t.clients.Add(1)
	case m == nil:
		delete(t.on, c)
		t.clients.Add(-1)
	}
	c.mode.Store(m)
}

// endTracking is called when the client is gone.
func (s *Session) endTracking() {
	if c := s.cacher.Load(); c != nil {
		s.useTracking(nil)
		c.session.Store(nil)
		s.srv.tracking.dead.Add(c.items.Load())
	}
}
