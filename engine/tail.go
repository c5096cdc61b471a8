package engine

import "unsafe"

// Behind a value a record may have a tail that belongs to this node alone: what was derived from the value and would have
// to be computed again and again, such as the count of a HyperLogLog. A tail does not belong to the value: checksums,
// snapshots and copies leave it out. So a read, which is not in the log, may write a tail, and nothing that is replicated
// may depend on one.
//
// A tail holds for exactly the value it was made of. It is dropped when the value changes, and with the record. It
// stays where the value does: when the deadline changes, when the key is renamed, when the record is moved in memory.
//
//	value's length          1          up to MaxTail     to the capacity
//	┌──────────────────────┬──────────┬─────────────────┬───────────────
//	│ content              │ length   │ own tail        │ undefined
//	└──────────────────────┴──────────┴─────────────────┴───────────────
//
// The header's hasTail says whether there is one. Whatever writes the header anew drops it.

// MaxTail is the length of the longest tail, in bytes.
const MaxTail = 64

// tailRoom is the capacity that a tail of n bytes needs behind the content, 0 for none.
func tailRoom(n int) uint32 {
	if n == 0 {
		return 0
	}
	return uint32(1 + n)
}

func (r record) ownTail() []byte {
	if r.header()&hasTail == 0 {
		return nil
	}
	n, _ := r.length()
	at := r.contentOffset() + n
	return bytesAt(r.p, at+1, uint32(*(*byte)(unsafe.Add(r.p, uintptr(at)))))
}

// setOwnTail returns false if the record has no room for the tail. No snapshot needs the bytes that it overwrites.
func (sh *shard) setOwnTail(ref uint32, tail []byte) bool {
	if len(tail) > MaxTail {
		panic("engine: BUG: a tail is longer than its limit")
	}
	r := sh.at(ref)
	if r.kind() == KindInt {
		return false
	}
	n, capacity := r.length()
	if n+tailRoom(len(tail)) > capacity {
		return false
	}
	if len(tail) == 0 {
		*(*byte)(r.p) &^= hasTail
		return true
	}
	at := r.contentOffset() + n
	*(*byte)(unsafe.Add(r.p, uintptr(at))) = byte(len(tail))
	copy(bytesAt(r.p, at+1, uint32(len(tail))), tail)
	*(*byte)(r.p) |= hasTail
	if r.header()&wide != 0 {
		sh.widen(ref, at+tailRoom(len(tail)))
	}
	return true
}

// OwnTail returns the tail that this node keeps of the value, nil if there is none. It is not to be changed, and valid
// as long as Bytes is.
func (v Value) OwnTail() []byte {
	if v.own == nil {
		return nil
	}
	return record{v.own}.ownTail()
}

// OwnTail returns the tail that this node keeps of the value, nil if there is none. It is not to be changed.
func (c Content) OwnTail() []byte { return c.sh.at(c.ref).ownTail() }

// SetOwnTail keeps a tail of a value other than a counter for this node. It returns false if the record has no room for
// it, which EditWithTail makes.
func (c Content) SetOwnTail(tail []byte) bool { return c.sh.setOwnTail(c.ref, tail) }

// EditWithTail is Edit of the Content that was opened for a key, or of none if the key was absent, with room for a tail of
// some bytes behind the value. It returns what Txn.Content would then.
func (t Txn) EditWithTail(key []byte, c Content, size, tail int) Content {
	room := int(tailRoom(tail))
	if c.sh == nil {
		return t.edit(key, size, room, KindRaw)
	}
	return c.sh.resizeValue(t.ks.hash(key), c.ref, size, room, KindRaw)
}

// SetOwnTail keeps a tail of a key's value for this node; it is all that a View can write, and no value, deadline or
// kind changes. The record may move: what was read from the part before is not valid any more. Nothing happens to an
// absent key and a counter. The key's part is locked.
func (v View) SetOwnTail(key, tail []byte) {
	sh := v.ks.shard(v.part(key), int(v.db))
	if sh == nil {
		return
	}
	h := v.ks.hash(key)
	ref, _ := sh.lookup(h, key, v.now)
	if ref == 0 || sh.setOwnTail(ref, tail) {
		return
	}
	if r := sh.at(ref); r.kind() != KindInt {
		n, _ := r.length()
		sh.resizeValue(h, ref, int(n), int(tailRoom(len(tail))), r.kind()).SetOwnTail(tail)
	}
}

// TellOwnTail tells the observers that SetOwnTail has changed what clients see of a key.
func (v View) TellOwnTail(key []byte) {
	if sh := v.ks.shard(v.part(key), int(v.db)); sh != nil {
		sh.tell(key, OpOwnTail, Integer{}, Integer{}, v.now, nil)
	}
}
