package engine

import (
	"encoding/binary"
	"errors"
	"sort"
)

// ErrFeedGap says that a Feed does not go back as far as a reader's cursor: changes behind it may be lost to the reader.
var ErrFeedGap = errors.New("the feed does not go back that far")

// FeedCursor is how far a reader is: it has every change up to Index. Place, unless it is 0, is where it goes on in the ring of the
// node that gave the cursor.
type FeedCursor struct{ Index, Place uint64 }

// FeedRow is one key, as it is behind the entry at Index. Found is false if it is absent.
type FeedRow struct {
	Key   []byte // valid during the call
	Value Value
	Found bool
	Flush bool // no key: the database was emptied, and what was last seen at Index or below is absent
	Index uint64
}

// FeedPage says what to give a reader. Match and Give are called without and with a part locked, like the functions of Scan.
type FeedPage struct {
	DB    int
	Count int                       // most rows
	Bytes int                       // of keys at which the page ends; 0: no limit
	Share int64                     // ms of log time: a mark that is younger will do for the page's end, though there may be changes behind it
	Match func(key []byte) bool     // nil: all keys
	Give  func(v View, row FeedRow) // with the lock of the key's part, and no entry being executed
}

const (
	feedLooks = 10      // rows that are looked at on a page for each one that may be given
	feedSeen  = 1 << 14 // rows of a page that there is room for from the start: a map that grows was a fifth of the time of reading
)

// Read gives rows that have changed since a cursor, each key once, and returns how far the reader is then, and the log time in ms
// that belongs to that index: 0 if the index is still the cursor's. If the node has not executed the cursor's entry yet, there is
// nothing to give. The error is ErrFeedGap.
func (f *Feed) Read(c FeedCursor, p FeedPage) (next FeedCursor, stamp int64, err error) {
	place, end, done := f.open(c, p.Share)
	if done {
		return c, 0, nil
	}
	keys := feedKeys{seen: make(map[uint64]uint64, min(p.Count, feedSeen, int(end.place-place)/feedHeader))}
	for given := 0; ; {
		if place == 0 {
			return c, 0, ErrFeedGap
		}
		if place >= end.place || given >= p.Count || keys.enough(p) {
			break
		}
		place = f.collect(place, end.place, min(feedHold, p.Count-given), p.DB, &keys)
		given += f.give(p, &keys)
	}
	if place >= end.place {
		if end.index == c.Index {
			end.stamp = 0
		}
		return FeedCursor{Index: end.index}, end.stamp, nil
	}
	next, stamp = f.passed(c, place)
	return next, stamp, nil
}

// open finds where a reader goes on, 0 where that is gone, and where the page ends at the latest, with the index that the reader has
// everything up to when it gets there. Everything that changes from now on has a row behind that: what was given already is given
// again then. A reader that goes on in the ring goes to the last mark only: a mark for each page would have what changes have a row
// for each page, while one reader is busy with a million of them. So does one that shares the marks of others: with one for each of
// two hundred readers every increment was a row, which two hundred read.
func (f *Feed) open(c FeedCursor, share int64) (place uint64, end feedMark, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.Index > f.index {
		return 0, end, true
	}
	place, f.asked = f.find(c), max(f.stamp, 1)
	if n := len(f.marks); n > 0 && place < f.marks[n-1].place && (c.Place != 0 || f.stamp-f.marks[n-1].stamp < share) {
		return place, f.marks[n-1], false
	}
	f.mark()
	return place, feedMark{place: f.tail(), index: f.index, stamp: f.stamp}, false
}

// find returns 0 for a gap.
func (f *Feed) find(c FeedCursor) (place uint64) {
	if c.Place >= f.first && c.Place <= f.tail() {
		return c.Place
	}
	if i := f.markUpTo(func(m *feedMark) bool { return m.index <= c.Index }); i >= 0 {
		return f.marks[i].place
	}
	return 0
}

// markUpTo is the number of the last mark of which is says so, -1 if there is none. Marks ascend.
func (f *Feed) markUpTo(is func(m *feedMark) bool) int {
	return sort.Search(len(f.marks), func(i int) bool { return !is(&f.marks[i]) }) - 1
}

// passed is the cursor of a reader that has all rows before a place.
func (f *Feed) passed(c FeedCursor, place uint64) (next FeedCursor, stamp int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next = FeedCursor{c.Index, place}
	if i := f.markUpTo(func(m *feedMark) bool { return m.place <= place }); i >= 0 && f.marks[i].index > c.Index {
		next.Index, stamp = f.marks[i].index, f.marks[i].stamp
	}
	return next, stamp
}

// feedKeys is what was found while the lock was held once. Values are read when it is held the next time: in between the keys are
// matched against a pattern, which can be slow.
type feedKeys struct {
	bytes   []byte
	rows    []feedKey
	looked  int               // rows on the page
	size    int               // bytes of keys on the page
	seen    map[uint64]uint64 // by hash: place of a row of this page
	matched []feedKey
}

type feedKey struct {
	begin, end int
	isFlush    bool
	flush      uint64 // its index
}

func (k *feedKeys) add(key []byte) {
	begin := len(k.bytes)
	k.bytes = append(k.bytes, key...)
	k.rows = append(k.rows, feedKey{begin: begin, end: len(k.bytes)})
	k.size += len(key)
}

func (k *feedKeys) reset() { k.bytes, k.rows = k.bytes[:0], k.rows[:0] }

// enough reports whether the page ends, though it may have room for more rows.
func (k *feedKeys) enough(p FeedPage) bool {
	return k.looked >= feedLooks*p.Count || p.Bytes > 0 && k.size >= p.Bytes
}

// collect takes the keys of up to n rows from place on, and returns the place behind them; 0 if the ring has gone on over it. A place
// comes from a client: it may be anywhere.
func (f *Feed) collect(place, end uint64, n, db int, keys *feedKeys) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys.reset()
	if place < f.first {
		return 0
	}
	for looks := 0; place < end && looks < feedHold && len(keys.rows) < n && len(keys.bytes) < feedHoldBytes; looks++ {
		keys.looked++
		c := f.chunks[(place-f.first)/feedChunk]
		at := int((place - f.first) % feedChunk)
		if at+feedHeader > len(c) {
			place += uint64(feedChunk - at) // to the next chunk
			continue
		}
		tag := binary.LittleEndian.Uint32(c[at:])
		size := int(tag & feedKeyMax)
		if at+feedHeader+size > len(c) || tag&feedFlush != 0 && size != 8 {
			return 0 // not a row: the place is none that was given to a reader
		}
		key := c[at+feedHeader:][:size]
		switch {
		case int(tag&^feedFlush>>16) != db:
		case tag&feedFlush != 0:
			keys.rows = append(keys.rows, feedKey{isFlush: true, flush: binary.LittleEndian.Uint64(key)})
		case !f.superseded(place, tag, key, keys.seen):
			keys.add(key)
		}
		place += uint64(feedHeader + len(key))
	}
	return place
}

// superseded reports whether the row is one of a key that has a later one, or was given on this page. Two keys of one hash may both
// be given twice.
func (f *Feed) superseded(place uint64, tag uint32, key []byte, seen map[uint64]uint64) bool {
	h := f.ks.hash(key)
	if f.newest != nil {
		if n := &f.newest[h%feedNewest]; n.place > place && n.hash == uint32(h>>32) && f.has(n.place, tag, key) {
			return true
		}
	}
	if before, ok := seen[h]; ok && before >= f.first && f.has(before, tag, key) {
		return true
	}
	seen[h] = place
	return false
}

// give gives the rows that match, and returns how many.
func (f *Feed) give(p FeedPage, keys *feedKeys) int {
	keys.matched = keys.matched[:0]
	for _, k := range keys.rows {
		if k.isFlush || p.Match == nil || p.Match(keys.bytes[k.begin:k.end]) {
			keys.matched = append(keys.matched, k)
		}
	}
	if len(keys.matched) == 0 {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	held, warm := 0, p.DB < f.ks.databases && f.ks.WorthWarming()
	for i, k := range keys.matched {
		if warm && i%WarmMax == 0 {
			f.warm(p.DB, keys, i)
		}
		if held > feedHoldBytes {
			held = 0
			f.mu.Unlock() // entries go on
			f.mu.Lock()
		}
		v := f.ks.View(p.DB, f.stamp, false)
		if k.isFlush {
			p.Give(v, FeedRow{Flush: true, Index: k.flush})
			continue
		}
		row := FeedRow{Key: keys.bytes[k.begin:k.end], Index: f.index}
		part := Part(row.Key)
		f.ks.LockPart(part)
		row.Value, row.Found = v.Get(row.Key)
		held += len(row.Value.Bytes)
		p.Give(v, row)
		f.ks.UnlockPart(part)
	}
	return len(keys.matched)
}

// warm fetches the keys of the next rows from memory, all at once: entries wait meanwhile.
func (f *Feed) warm(db int, keys *feedKeys, from int) {
	var hints [WarmMax]Hint
	n := 0
	for _, k := range keys.matched[from:min(from+WarmMax, len(keys.matched))] {
		hints[n] = Hint{db, keys.bytes[k.begin:k.end]}
		n++
	}
	f.ks.Warm(hints[:n])
}

// Sweep gives about Count keys that there are, from a cursor of Scan on, and returns the next one, 0 at the end. Whoever reads on from
// the cursor that the first call returns, and leaves out nothing, has everything. stamp belongs to that cursor.
func (f *Feed) Sweep(scan uint64, p FeedPage) (next uint64, c FeedCursor, stamp int64) {
	f.mu.Lock()
	f.mark()
	f.asked = max(f.stamp, 1)
	c, stamp = FeedCursor{Index: f.index}, f.stamp
	f.mu.Unlock()
	var keys feedKeys
	for given := 0; given < p.Count && !keys.enough(p); {
		keys.reset()
		f.mu.Lock()
		v := f.ks.View(p.DB, f.stamp, false)
		scan = v.Scan(scan, min(feedHold, p.Count-given), func(key []byte, _ Value) { keys.add(key) })
		f.mu.Unlock()
		keys.looked += max(len(keys.rows), 1)
		given += f.give(p, &keys)
		if scan == 0 {
			break
		}
	}
	return scan, c, stamp
}

// FeedStats is the state of a Feed.
type FeedStats struct {
	Index uint64 // of the last entry that was executed
	Stamp int64  // of it, log time in ms
	First uint64 // lowest index of a cursor that is no gap
	Rows  int64  // in the ring, about
	Bytes int64  // of the ring
	Limit int64  // of Bytes
}

// Stats returns the state of the feed.
func (f *Feed) Stats() FeedStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := &f.marks[0]
	return FeedStats{f.index, f.stamp, first.index, f.rows - first.rows, int64(len(f.chunks)) * feedChunk, int64(f.limit)}
}

// Behind is how many rows a reader has not seen, at most; -1 if the cursor is a gap.
func (f *Feed) Behind(c FeedCursor) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.markUpTo(func(m *feedMark) bool { return m.index <= c.Index })
	switch {
	case i < 0:
		return -1
	case c.Index >= f.index:
		return 0
	}
	return f.rows - f.marks[i].rows
}

// Written is how many bytes the entries had that were executed so far. Where it grows and Behind does not, every key that changes
// has a row already.
func (f *Feed) Written() uint64 { return f.written.Load() }

// Filling reports whether what a reader has not read takes more than half of the ring.
func (f *Feed) Filling(c FeedCursor) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	place := f.find(c)
	return place == 0 || f.tail()-place > uint64(f.limit/2)
}

// Await has the channel get a value at the next change. Whoever waits looks once more between Await and waiting. There is one
// channel, for one goroutine.
func (f *Feed) Await() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = true
	return f.changed
}
