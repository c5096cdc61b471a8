package engine

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// longLocks are the parts that are locked for long, or are about to be. A command holds its parts for microseconds as a
// rule; a merge of the largest sketches, or a transaction of 100,000 commands, for up to a second. An event loop that waited for
// such a part would hold up all its clients, those too that want nothing of it.
//
// So whoever is going to hold parts for long marks them first (LockLong), and an event loop asks before each command
// (LongLocked: one load), and sets the client aside until the parts are free (AwaitUnlock). Between the question and the lock
// there would be a gap: LockLong therefore lets the turns of the loops pass that were under way when it marked the parts.
type longLocks struct {
	count atomic.Int32 // operations that have marked parts
	total atomic.Int64 // the same since the start
	turns func()       // returns when the turns of event loops that are under way are over; nil: there are no loops

	mu      sync.Mutex // a leaf
	marks   [Parts]uint16
	waiting []func()
}

// LongCopy is how many bytes of a value are copied before that counts as long: about 4 ms.
const LongCopy = 4 << 20

// CopiedBy returns how many bytes a write to the key's value copies beside what it writes: all of the value if the write moves
// it, or if a snapshot that is in progress needs it as it is. No part is locked by the caller.
func (v View) CopiedBy(key []byte, moves bool) int {
	part := v.part(key)
	v.ks.LockPart(part)
	defer v.ks.UnlockPart(part)
	sh := v.ks.shard(part, int(v.db))
	if sh == nil {
		return 0
	}
	ref, _ := sh.lookup(v.ks.hash(key), key, v.now)
	if ref == 0 {
		return 0
	}
	if c := &sh.meta[ref>>chunkRefLog]; !moves && (c.pin == nil || !c.own) {
		return 0
	}
	return int(sh.at(ref).bytes())
}

// OnLongLock sets what LockLong waits for between marking the parts and locking them. To be called before the keyspace is
// used.
func (ks *Keyspace) OnLongLock(turns func()) { ks.longLocks.turns = turns }

// LockLong is Lock for an operation that may take longer than an event loop may wait; UnlockLong must follow. Not to
// be called by an event loop, which would wait for its own turn.
func (ks *Keyspace) LockLong(s *PartSet) {
	ks.markLong(s)
	ks.Lock(s)
}

// markLong says that the parts are about to be locked for long; unmarkLong must follow.
func (ks *Keyspace) markLong(s *PartSet) {
	l := &ks.longLocks
	l.mu.Lock()
	l.mark(s, 1)
	l.mu.Unlock()
	l.count.Add(1)
	l.total.Add(1)
	if l.turns != nil {
		l.turns()
	}
}

// UnlockLong unlocks the parts, and tells those who wait.
func (ks *Keyspace) UnlockLong(s *PartSet) {
	ks.Unlock(s)
	ks.unmarkLong(s)
}

func (ks *Keyspace) unmarkLong(s *PartSet) {
	l := &ks.longLocks
	l.mu.Lock()
	l.mark(s, ^uint16(0))
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	l.count.Add(-1)
	for _, then := range waiting {
		then()
	}
}

func (l *longLocks) mark(s *PartSet, by uint16) {
	for w, set := range s {
		for ; set != 0; set &= set - 1 {
			l.marks[w<<6+bits.TrailingZeros64(set)] += by
		}
	}
}

// LongLocks returns how many operations have locked parts for long.
func (ks *Keyspace) LongLocks() int64 { return ks.longLocks.total.Load() }

// LongLocked reports whether any part is locked for long.
func (ks *Keyspace) LongLocked() bool { return ks.longLocks.count.Load() != 0 }

// AwaitUnlock returns false if none of the parts is locked for long. Else then, which must not block, is called once as soon as
// some such lock ends: the caller asks again.
func (ks *Keyspace) AwaitUnlock(s *PartSet, then func()) bool {
	l := &ks.longLocks
	l.mu.Lock()
	defer l.mu.Unlock()
	for w, set := range s {
		for ; set != 0; set &= set - 1 {
			if l.marks[w<<6+bits.TrailingZeros64(set)] != 0 {
				l.waiting = append(l.waiting, then)
				return true
			}
		}
	}
	return false
}
