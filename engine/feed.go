package engine

import (
	"bytes"
	"encoding/binary"
	"sort"
	"sync"
	"sync/atomic"
)

// A Feed keeps which keys changed lately, in the order of the log, so that readers can follow the keyspace: they are given
// each key that has changed since their last read once, with its value as it is now.
//
// The naive feed is a queue of all changes. A hot key fills it, and readers carry a million rows for one counter. A list of keys, in
// which a changed key moves to the end, has one row a key, but costs a lookup in a second table for each increment: when a small one, by
// hash, was tried, 12 ns for one key, 37 with 10,000, 150 with 1,000,000. So a row is a key alone, appended at the end of a ring of bytes, and
// left out while the key has one behind the *fence*: the place up to which anybody has read. Whether it has is a bit beside its record
// (fed.go): nothing that can be measured for one key and for 10,000, 80 ns of 290 for 1,000,000 (BenchmarkFeed). Readers leave out
// rows of keys that have a later one.
//
//	   from                                 fence         tail
//	     ▼                                    ▼             ▼
//	┌────┬─────────────┬───────────┬──────────┬─────────────┐
//	│gone│ a b c d e f │ c g h     │ a d i j  │ b k c       │   rows: keys
//	└────┴─────────────┴───────────┴──────────┴─────────────┘
//	     ▲             ▲           ▲          ▲
//	   mark 70       mark 90     mark 120   mark 144            index of the log
//
// A *mark* is a place and an index: every change above the index has a row at or behind the place, every other one has its row
// before it. A reader that has everything up to an index goes on at the last mark that is not above it. Marks are made where readers
// stop, and every thirty seconds, so that a reader that comes from another node is given at most that much twice; while nobody reads less
// often, so that each key that is incremented a second time finds its bit: what is left of the cost is a look at that.
//
// The Feed is not part of the state: a node that starts has what it executes from its log, and another node other marks.
//
// Its lock is held while an entry is executed. So whoever has it sees the state behind an entry, and not in the middle of one.
type Feed struct {
	mu     sync.Mutex
	ks     *Keyspace
	limit  int  // bytes of all chunks
	opened bool // an entry is being executed: what changes is noted

	index uint64 // of the entry that is executed, or was last
	stamp int64  // of the last one, ms

	chunks [][]byte // the ring, oldest first; each has a capacity of feedChunk, and rows do not cross from one to the next
	spare  []byte   // a chunk to use again
	first  uint64   // place of the first byte of chunks[0], a multiple of feedChunk
	fence  uint64
	epoch  uint64 // grows with fence, which makes all bits invalid
	marks  []feedMark
	rows   int64           // appended since the start
	newest []feedNewestRow // by hash; a key that is missed is given more often than needed

	asked   int64         // stamp when anybody read last, ms; 0: never
	applied atomic.Uint64 // index of the last entry that was executed to its end
	written atomic.Uint64 // bytes of the entries so far
	waiting bool          // somebody waits for a change
	changed chan struct{} // gets a value when there are some
}

// feedMark is a mark, with the stamp of its index and the number of rows before its place.
type feedMark struct {
	place, index uint64
	stamp        int64
	rows         int64
}

// feedNewestRow is the place of a row, and the upper half of its key's hash. Without the hash a reader of 1,000,000 keys looked up the
// row of another key each time, far away in the ring, and waited for that a tenth of the time of the whole server.
type feedNewestRow struct {
	place uint64
	hash  uint32
}

const (
	feedChunk     = 256 << 10
	feedNewest    = 1 << 17   // places in the table of newest rows: 2 MiB
	feedMarks     = 4096      // at most; then every other one is given up
	feedHold      = 128       // rows that are read while entries wait,
	feedHoldBytes = 128 << 10 // and bytes of sketches: counting one takes 2 ms a MiB
	feedPace      = 30_000    // ms of log time between two marks that nobody asked for: readers may rest for as long
	feedIdle      = 30_000    // ms without a reader after which nobody reads
	feedIdlePace  = 600_000   // feedPace then
)

// A row is a header of four bytes and the key; of a flush, the header and the index before its entry.
//
//	 31      30         16 15        0
//	┌───────┬─────────────┬───────────┐
//	│ flush │ database 15 │ length 16 │
//	└───────┴─────────────┴───────────┘
const (
	feedHeader = 4
	feedFlush  = 1 << 31
	feedKeyMax = 1<<16 - 1
)

// OpenFeed gives the keyspace a Feed whose ring takes up to limit bytes, at least 1 MiB. Places begin at base: a random number, so
// that a place that another process gave is not taken for one of this. To be called before the keyspace is used.
func (ks *Keyspace) OpenFeed(limit int, base uint64) *Feed {
	f := &Feed{ks: ks, limit: max(limit, 4*feedChunk), changed: make(chan struct{}, 1)}
	f.first = (base>>2/feedChunk + 1) * feedChunk
	f.fence, f.epoch = f.first, 1
	f.marks = []feedMark{{place: f.first}}
	ks.feed = f
	return f
}

// Begin says that the entry at index is executed from now on. A nil Feed does nothing here and in End.
func (f *Feed) Begin(index uint64) {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.index, f.opened = index, true
}

// End says that the entry, of size bytes, has been executed, at log time stamp in ms.
func (f *Feed) End(stamp int64, size int) {
	if f == nil {
		return
	}
	f.stamp, f.opened = stamp, false
	f.applied.Store(f.index)
	f.written.Add(uint64(size))
	if len(f.marks) == 0 {
		f.empty() // one entry was more than the ring takes
	}
	if tail := f.tail(); tail != f.fence {
		pace := int64(feedPace)
		if stamp-f.asked > feedIdle {
			pace = feedIdlePace
		}
		if last := &f.marks[len(f.marks)-1]; stamp-last.stamp >= pace || tail-f.fence > uint64(f.limit/2) {
			f.mark()
		}
		if f.waiting {
			f.waiting = false
			select {
			case f.changed <- struct{}{}:
			default:
			}
		}
	}
	f.mu.Unlock()
}

// Reset says that another state has taken the place of all keys: that behind the entry at index.
func (f *Feed) Reset(index uint64, stamp int64) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index, f.stamp = index, stamp
	f.applied.Store(index)
	f.empty()
}

// Applied is where the feed is now: what changes after the call has a row behind this index. It does not wait, while all other methods
// wait for the entry that is being executed to end, and so must not be called by an event loop.
func (f *Feed) Applied() uint64 { return f.applied.Load() }

// empty gives all rows up: the feed begins with the entry behind index.
func (f *Feed) empty() {
	f.first += uint64(len(f.chunks)+1) * feedChunk // no place of before is in the ring
	f.chunks = nil
	f.raiseFence(f.first)
	f.marks = append(f.marks[:0], feedMark{f.first, f.index, f.stamp, f.rows})
}

// tail is the place behind the last row.
func (f *Feed) tail() uint64 {
	n := len(f.chunks)
	if n == 0 {
		return f.first
	}
	return f.first + uint64(n-1)*feedChunk + uint64(len(f.chunks[n-1]))
}

// Rest gives the memory of a feed back that nobody has ever read: a node is not to keep 64 MiB for a reader that never comes. One that
// comes later begins with a snapshot, as it would have to anyway.
func (f *Feed) Rest() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked != 0 || len(f.chunks) == 0 {
		return
	}
	f.empty()
	f.spare, f.newest = nil, nil
	for part := range Parts {
		f.ks.LockPart(part)
		for db := range f.ks.databases {
			if sh := f.ks.shard(part, db); sh != nil {
				sh.fed = fedBits{}
			}
		}
		f.ks.UnlockPart(part)
	}
}

// raiseFence has every key that changes from now on get a row again.
func (f *Feed) raiseFence(place uint64) {
	f.fence = place
	f.epoch++
}

// note says that a key changes, which has no row behind the fence.
func (f *Feed) note(db int, key []byte) {
	if len(key) > feedKeyMax {
		f.empty() // and readers start anew; there is no such key, as longest keys are a setting below that
		return
	}
	if f.asked == 0 {
		f.append(uint32(db)<<16|uint32(len(key)), key)
		return // nobody has ever read
	}
	if f.newest == nil {
		f.newest = make([]feedNewestRow, feedNewest)
	}
	place, h := f.append(uint32(db)<<16|uint32(len(key)), key), f.ks.hash(key)
	f.newest[h%feedNewest] = feedNewestRow{place, uint32(h >> 32)}
}

// noteFlush says that a database is emptied. What the same entry writes after that is newer: so the index is the one before.
func (f *Feed) noteFlush(db int) {
	if f == nil || !f.opened {
		return
	}
	if f.index == 0 {
		return // outside of a log, in tests
	}
	f.append(feedFlush|uint32(db)<<16|8, binary.LittleEndian.AppendUint64(nil, f.index-1))
}

// has reports whether the row at place, which is in the ring, is this one.
func (f *Feed) has(place uint64, tag uint32, key []byte) bool {
	row := f.chunks[(place-f.first)/feedChunk][(place-f.first)%feedChunk:]
	return binary.LittleEndian.Uint32(row) == tag && bytes.Equal(row[feedHeader:feedHeader+len(key)], key)
}

// append returns the place of the new row.
func (f *Feed) append(tag uint32, key []byte) uint64 {
	n := len(f.chunks) - 1
	if n < 0 || len(f.chunks[n])+feedHeader+len(key) > feedChunk {
		f.grow()
		n = len(f.chunks) - 1
	}
	place := f.tail()
	c := binary.LittleEndian.AppendUint32(f.chunks[n], tag)
	f.chunks[n] = append(c, key...)
	f.rows++
	return place
}

// grow adds a chunk, for which the oldest goes if the ring is full. The fence stays, with the bits of keys whose rows are behind it:
// it is the place of the last mark, and when that goes, End gives everything up.
func (f *Feed) grow() {
	if (len(f.chunks)+1)*feedChunk > f.limit {
		f.spare = f.chunks[0][:0]
		f.chunks = append(f.chunks[:0], f.chunks[1:]...)
		f.first += feedChunk
		kept := sort.Search(len(f.marks), func(i int) bool { return f.marks[i].place >= f.first })
		f.marks = append(f.marks[:0], f.marks[kept:]...) // End sees to it that there are marks in the ring
	}
	c := f.spare
	if f.spare = nil; c == nil {
		c = make([]byte, 0, feedChunk)
	}
	f.chunks = append(f.chunks, c)
}

// mark makes a mark at the tail. No entry is being executed.
func (f *Feed) mark() {
	tail := f.tail()
	if n := len(f.marks); n > 0 && f.marks[n-1].place == tail {
		return // it says more, as its index is lower
	}
	if len(f.marks) == feedMarks {
		for i := range feedMarks / 2 {
			f.marks[i] = f.marks[2*i]
		}
		f.marks = f.marks[:feedMarks/2]
	}
	f.marks = append(f.marks, feedMark{tail, f.index, f.stamp, f.rows})
	f.raiseFence(tail)
}
