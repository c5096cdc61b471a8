package server

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"math"
	"slices"
)

// Which keys are used most, in bounded memory. The last minute is cut into slices of time. Each has a Space-Saving sketch (Metwally,
// Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005): some counters with keys; a key that
// has none takes the smallest, and inherits what that has counted. What was inherited is not the key's own and is never shown, so a key
// is shown with no more operations than it had, apart from sampling. A key with more than 1/hotCounters of a slice's operations always has
// a counter, and one that is hot from the slice's beginning has it before the counters are used up, and inherits nothing.
//
// The sketch of TOPK (engine/topk) was not taken: it forgets by chance and over the whole life of a value, not by time, and does not tell
// reads from writes.

const (
	hotSlices   = 5 // in the ring: a minute, and the slice that is leaving it
	hotSlice    = 15e9
	hotCounters = 512 // of a slice
	hotKeyBytes = 96  // so many bytes of a key are kept
)

// hotKey is a key and how often it was used.
type hotKey struct {
	key           []byte // its first bytes, at most hotKeyBytes
	cut           int    // how many bytes more it has
	db            int
	reads, writes int64
}

func (k hotKey) operations() int64 { return k.reads + k.writes }

// hotCounter is a counter of a slice.
type hotCounter struct {
	hotKey
	id        uint64 // hash of database and key
	inherited int64  // counted for other keys, that had the counter before
	at        int    // place in the heap
}

func (c *hotCounter) total() int64 { return c.inherited + c.operations() }

// spaceSaving is the sketch of one slice. The zero value is empty.
type spaceSaving struct {
	index    map[uint64]*hotCounter // by id
	counters []*hotCounter          // a heap: none of a node's two children, at 2i+1 and 2i+2, has a smaller total
}

// add counts n operations on a key.
func (s *spaceSaving) add(id uint64, db int, key []byte, n int64, write bool) {
	c := s.index[id]
	switch {
	case c != nil:
	case len(s.counters) < hotCounters:
		if s.index == nil {
			s.index = map[uint64]*hotCounter{}
		}
		c = &hotCounter{at: len(s.counters)}
		s.counters = append(s.counters, c)
		s.begin(c, id, db, key, 0)
		s.up(c)
	default:
		c = s.counters[0]
		delete(s.index, c.id)
		s.begin(c, id, db, key, c.total())
	}
	if write {
		c.writes += n
	} else {
		c.reads += n
	}
	s.down(c)
}

// begin has a counter count another key.
func (s *spaceSaving) begin(c *hotCounter, id uint64, db int, key []byte, inherited int64) {
	kept := key[:min(len(key), hotKeyBytes)]
	c.hotKey = hotKey{key: append(c.key[:0], kept...), cut: len(key) - len(kept), db: db}
	c.id, c.inherited = id, inherited
	s.index[id] = c
}

func (s *spaceSaving) swap(a, b *hotCounter) {
	s.counters[a.at], s.counters[b.at] = b, a
	a.at, b.at = b.at, a.at
}

// up moves a counter to its place among those before it in the heap.
func (s *spaceSaving) up(c *hotCounter) {
	for c.at > 0 {
		parent := s.counters[(c.at-1)/2]
		if parent.total() <= c.total() {
			return
		}
		s.swap(c, parent)
	}
}

// down moves a counter that has grown to its place among those behind it in the heap.
func (s *spaceSaving) down(c *hotCounter) {
	for {
		i := 2*c.at + 1
		if i >= len(s.counters) {
			return
		}
		child := s.counters[i]
		if i+1 < len(s.counters) && s.counters[i+1].total() < child.total() {
			child = s.counters[i+1]
		}
		if c.total() <= child.total() {
			return
		}
		s.swap(c, child)
	}
}

// hotWindow is the slices of the last minute. Times are nanoseconds since any moment and do not go back.
type hotWindow struct {
	seed   maphash.Seed
	now    int64 // number of the slice that is counted in
	slices [hotSlices]spaceSaving
}

func newHotWindow() hotWindow { return hotWindow{seed: maphash.MakeSeed()} }

// advance empties the slices that have left the window, which gives their memory back.
func (w *hotWindow) advance(ns int64) {
	to := max(ns/hotSlice, w.now)
	for n := max(w.now, to-hotSlices) + 1; n <= to; n++ {
		w.slices[n%hotSlices] = spaceSaving{}
	}
	w.now = to
}

// add counts n operations on a key.
func (w *hotWindow) add(ns int64, db int, key []byte, n int64, write bool) {
	w.advance(ns)
	w.slices[w.now%hotSlices].add(w.id(db, key), db, key, n, write)
}

func (w *hotWindow) id(db int, key []byte) uint64 {
	return maphash.Bytes(w.seed, key) + uint64(db)*0x9e3779b97f4a7c15
}

// each calls fn with each slice and how much of it is in the window: of the oldest one what has not left it yet, as if its operations
// were spread evenly over its time.
func (w *hotWindow) each(ns int64, fn func(s *spaceSaving, share float64)) {
	w.advance(ns)
	for i := range int64(hotSlices) {
		share := 1.0
		if i == 1 { // the slice that comes next in the ring is the oldest
			share = 1 - float64(max(ns-w.now*hotSlice, 0))/hotSlice
		}
		fn(&w.slices[(w.now+i)%hotSlices], max(share, 0))
	}
}

// of is how often a key was used, and how often of that it was only read.
func (w *hotWindow) of(ns int64, db int, key []byte) (k hotKey) {
	id := w.id(db, key)
	w.each(ns, func(s *spaceSaving, share float64) {
		if c := s.index[id]; c != nil {
			k.take(&c.hotKey, share)
		}
	})
	return k
}

// take adds a share of what was counted in one slice.
func (k *hotKey) take(of *hotKey, share float64) {
	k.reads += int64(math.Round(float64(of.reads) * share))
	k.writes += int64(math.Round(float64(of.writes) * share))
}

// top are up to n keys, those that were used most first.
func (w *hotWindow) top(ns int64, n int) []hotKey {
	all := map[uint64]*hotKey{}
	w.each(ns, func(s *spaceSaving, share float64) {
		for _, c := range s.counters {
			k := all[c.id]
			if k == nil {
				k = &hotKey{key: c.key, cut: c.cut, db: c.db}
				all[c.id] = k
			}
			k.take(&c.hotKey, share)
		}
	})
	list := make([]hotKey, 0, len(all))
	for _, k := range all {
		if k.operations() > 0 {
			list = append(list, *k)
		}
	}
	slices.SortFunc(list, func(a, b hotKey) int {
		return cmp.Or(cmp.Compare(b.operations(), a.operations()), cmp.Compare(a.db, b.db), bytes.Compare(a.key, b.key), cmp.Compare(a.cut, b.cut))
	})
	list = list[:min(n, len(list))]
	for i := range list {
		list[i].key = bytes.Clone(list[i].key) // a counter's memory is used again
	}
	return list
}
