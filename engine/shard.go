package engine

import (
	"sync/atomic"
	"unsafe"
)

// shard is one part of one database. Everything in it but the atomics is guarded
// by the part's lock.
type shard struct {
	ks   *Keyspace
	part int
	db   int
	index
	arena
	fed   fedBits
	drawn fedBits   // which shared sketches are in the last segment of the sketchRing
	snap  *Snapshot // the snapshot that may still need chunks of this shard

	keys     atomic.Int64 // records, expired ones included
	expires  atomic.Int64 // records with a deadline
	deadline atomic.Int64 // sum of deadlineUnits over them

	lengths [lengthClasses]int32 // values by class of length

	liveStep, deadStep int64 // not yet in the keyspace's sums
}

func newShard(ks *Keyspace, part, db int) *shard {
	sh := &shard{ks: ks, part: part, db: db}
	sh.arena.init()
	sh.initIndex(0, 1)
	return sh
}

// deadlineUnits keeps the sum of many deadlines, however far, within 64 bits.
func deadlineUnits(deadline int64) int64 { return min(max(deadline, 0), 1<<48) >> 10 }

func (sh *shard) countDeadline(deadline int64, n int64) {
	if deadline != 0 {
		sh.expires.Add(n)
		sh.deadline.Add(n * deadlineUnits(deadline))
	}
}

// lookup returns the reference of a key that is present at now. A key that is
// there but expired gives stale instead.
func (sh *shard) lookup(h uint64, key []byte, now int64) (ref, stale uint32) {
	ref = sh.find(h, key)
	if ref != 0 && sh.at(ref).expired(now) {
		return 0, ref
	}
	return ref, 0
}

// add makes a record for a key that has none and returns its reference. The
// content, if any, is for the caller to fill in; key may alias the arena.
func (sh *shard) add(h uint64, key []byte, kind Kind, n int64, contentLen int, deadline int64) uint32 {
	l := layoutOf(kind, len(key), contentLen, deadline)
	ref := sh.allocRecord(&l)
	sh.at(ref).write(l, key, uint32(contentLen), n, deadline)
	sh.insert(h, ref)
	if kind != KindInt {
		sh.countLength(uint32(contentLen), 1)
	}
	sh.noteDeadline(ref, deadline)
	sh.keys.Add(1)
	sh.countDeadline(deadline, 1)
	return ref
}

// change gives a key's record another value and returns its reference, maybe a
// new one with room for more content. The content is for the caller to fill in: where
// the record stayed it is the old content, and where it moved it is undefined
// and the old record, whose reference is returned too (else 0), stays intact
// until the caller frees it.
func (sh *shard) change(h uint64, ref uint32, kind Kind, n int64, contentLen, room int, deadline int64) (to, old uint32) {
	r := sh.at(ref)
	key := r.key()
	was := r.deadline()
	if r.kind() != KindInt || kind != KindInt {
		sh.relength(r.contentLength(), uint32(contentLen))
	}
	l := layoutOf(kind, len(key), max(contentLen, room), deadline)
	if r.fits(l, contentLen) {
		if kind != KindInt {
			sh.touch(ref, 0, r.bytes())
			_, capacity := r.length()
			r.setLength(uint32(contentLen), capacity)
			if l.header&wide != 0 {
				sh.widen(ref, r.bytes())
			}
		} else {
			sh.touch(ref, 0, uint32(keyOffset[l.header]))
			r.setInt(n)
		}
		*(*byte)(r.p) = l.header
		if deadline != 0 {
			store64(unsafe.Add(r.p, uintptr(keyOffset[l.header])-8), uint64(deadline))
		}
		to = ref
	} else {
		to = sh.allocRecord(&l)
		sh.at(to).write(l, key, uint32(contentLen), n, deadline)
		sh.replace(h, ref, to)
		old = ref
	}
	if was != deadline {
		sh.countDeadline(was, -1)
		sh.countDeadline(deadline, 1)
	}
	sh.noteDeadline(to, deadline)
	return to, old
}

// shorten makes a record's content shorter, which leaves the capacity.
func (sh *shard) shorten(ref uint32, n int) {
	r := sh.at(ref)
	was, capacity := r.length()
	sh.relength(was, uint32(n))
	r.setLength(uint32(n), capacity)
}

// fits reports whether a record can take another layout in place: nothing may
// move but the content's end, and a block must not stay mostly unused.
func (r record) fits(l layout, contentLen int) bool {
	h := r.header()
	if (h^l.header)&^(kindMask|hasTail) != 0 {
		return false
	}
	if isInt := h&kindMask == byte(KindInt); isInt || l.header&kindMask == byte(KindInt) {
		return isInt && l.header&kindMask == byte(KindInt)
	}
	_, capacity := r.length()
	return contentLen <= int(capacity) && (capacity <= 64 || contentLen >= int(capacity)/4)
}

// discard removes a key's record: index entry, counters, block.
func (sh *shard) discard(h uint64, ref uint32) {
	sh.countDeadline(sh.at(ref).deadline(), -1)
	sh.countLength(sh.at(ref).contentLength(), -1)
	sh.keys.Add(-1)
	sh.remove(h, ref)
	sh.freeRecord(ref)
}

// reclaim discards a record that is expired at now and tells the observers.
func (sh *shard) reclaim(h uint64, ref uint32, now int64, cause *Cause) {
	if sh.db == sh.ks.databases { // hidden
		sh.ks.noteOriginGone(sh.at(ref).key())
		sh.noteGraveGone(sh.at(ref).key())
	} else {
		sh.tell(sh.at(ref).key(), OpReclaim, sh.integerAt(ref), Integer{}, now, cause)
		if r := sh.at(ref); r.kind() == KindShared {
			sh.buryExpired(r, now)
		}
	}
	sh.discard(h, ref)
}

// eachRecord calls fn for every live record in the order of memory.
func (sh *shard) eachRecord(fn func(ref uint32, r record)) {
	for ci := 1; ci < len(sh.meta); ci++ {
		for off := uint32(0); off < sh.meta[ci].used; {
			r := record{unsafe.Add(sh.base[ci], uintptr(off))}
			if r.isFree() {
				off += r.freeSize()
				continue
			}
			fn(uint32(ci)<<chunkRefLog|off>>refUnitLog, r)
			off += r.block()
		}
	}
}
