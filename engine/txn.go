package engine

import (
	"math"
	"math/bits"
	"strconv"
)

// Txn is a View that can write as well. The same locks are needed. Log time must
// not go backwards from one Txn to the next.
//
// Key and value arguments may alias the arena: every method copies what it needs
// before it frees or moves anything.
type Txn struct{ View }

// Txn returns a transaction on a database at log time now in milliseconds; held
// says that the caller holds all parts' locks.
func (ks *Keyspace) Txn(db int, now int64, held bool) Txn {
	ks.tick(now)
	return Txn{ks.View(db, now, held)}
}

// In is View.In for a transaction.
func (t Txn) In(part int) Txn { return Txn{t.View.In(part)} }

// tick notes the highest time that a transaction or reclaiming has used.
func (ks *Keyspace) tick(now int64) {
	if now > ks.clock.Load() {
		ks.clock.Store(now)
	}
}

// WithDB returns the same transaction on another database.
func (t Txn) WithDB(db int) Txn {
	t.View.db = int32(db)
	return t
}

// open returns the key's shard, made if needed, its hash, and its record if it
// is present. An expired record is reclaimed.
func (t Txn) open(key []byte) (sh *shard, h uint64, ref uint32) {
	sh = t.ks.makeShard(t.part(key), int(t.db))
	h = t.ks.hash(key)
	ref, stale := sh.lookup(h, key, t.now)
	if stale != 0 {
		sh.reclaim(h, stale)
	}
	return sh, h, ref
}

// Add adds delta to the counter at key, which counts from 0 if absent, and
// returns the sum. The deadline stays. Bytes that are the canonical decimal form
// of an integer become a counter; others give ErrNotInteger, a sum beyond 64
// bits ErrOverflow, a kind that is neither ErrWrongKind; nothing changes then.
func (t Txn) Add(key []byte, delta int64) (int64, error) {
	sh, h, ref := t.open(key)
	if ref == 0 {
		sh.add(h, key, KindInt, delta, 0, 0)
		t.ks.tell(int(t.db), key, OpAdd, delta)
		return delta, nil
	}
	r := sh.at(ref)
	if r.kind() != KindInt {
		return t.addToBytes(sh, h, ref, key, delta)
	}
	n := r.int()
	sum := n + delta
	if (sum < n) != (delta < 0) {
		return 0, ErrOverflow
	}
	sh.touch(ref, 2, 8)
	r.setInt(sum)
	t.ks.tell(int(t.db), key, OpAdd, delta)
	return sum, nil
}

// AddRun adds delta count times at once and returns the counter before that. It
// does nothing and returns ok false if a sum on the way would overflow; the
// caller then adds one by one. Errors are those of Add.
func (t Txn) AddRun(key []byte, delta int64, count int) (before int64, ok bool, err error) {
	total, fits := times(delta, count)
	if !fits {
		return 0, false, nil
	}
	sh, h, ref := t.open(key)
	if ref == 0 {
		sh.add(h, key, KindInt, total, 0, 0)
		t.ks.tell(int(t.db), key, OpAdd, total)
		return 0, true, nil
	}
	r := sh.at(ref)
	if r.kind() != KindInt {
		sum, err := t.addToBytes(sh, h, ref, key, total)
		if err == ErrOverflow {
			return 0, false, nil
		}
		return sum - total, err == nil, err
	}
	before = r.int()
	sum := before + total
	if (sum < before) != (total < 0) {
		return 0, false, nil // sums on the way lie between before and sum
	}
	sh.touch(ref, 2, 8)
	r.setInt(sum)
	t.ks.tell(int(t.db), key, OpAdd, total)
	return before, true, nil
}

// addToBytes is Add for a record that holds bytes.
func (t Txn) addToBytes(sh *shard, h uint64, ref uint32, key []byte, delta int64) (int64, error) {
	r := sh.at(ref)
	if k := r.kind(); k != KindString && k != KindRaw {
		return 0, ErrWrongKind
	}
	n, ok := parseInt(r.content())
	if !ok {
		return 0, ErrNotInteger
	}
	sum := n + delta
	if (sum < n) != (delta < 0) {
		return 0, ErrOverflow
	}
	_, old := sh.change(h, ref, KindInt, sum, 0, 0, r.deadline())
	t.ks.tell(int(t.db), key, OpAdd, delta)
	sh.retire(old)
	return sum, nil
}

// times returns delta × count; ok is false if it does not fit 64 bits.
func times(delta int64, count int) (product int64, ok bool) {
	neg := (delta < 0) != (count < 0)
	hi, lo := bits.Mul64(magnitude(delta), magnitude(int64(count)))
	switch {
	case hi != 0:
		return 0, false
	case neg:
		return -int64(lo), lo <= 1<<63
	default:
		return int64(lo), lo <= math.MaxInt64
	}
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// Set writes a value: the canonical decimal form of a 64-bit integer becomes a
// counter, anything else KindString. deadline is in milliseconds of log time,
// 0 for none.
func (t Txn) Set(key, val []byte, deadline int64) {
	if n, ok := parseInt(val); ok {
		t.SetInt(key, n, deadline)
		return
	}
	t.SetBytes(key, val, KindString, deadline)
}

// SetInt writes a counter.
func (t Txn) SetInt(key []byte, n, deadline int64) {
	t.put(key, Value{Kind: KindInt, Int: n, Deadline: deadline})
}

// SetBytes writes bytes as they are, as a value of a kind other than KindInt.
func (t Txn) SetBytes(key, val []byte, kind Kind, deadline int64) {
	t.put(key, Value{Kind: kind, Bytes: val, Deadline: deadline})
}

func (t Txn) put(key []byte, v Value) {
	sh, h, ref := t.open(key)
	old := uint32(0)
	if ref == 0 {
		ref = sh.add(h, key, v.Kind, v.Int, len(v.Bytes), v.Deadline)
	} else {
		ref, old = sh.change(h, ref, v.Kind, v.Int, len(v.Bytes), 0, v.Deadline)
	}
	if v.Kind != KindInt {
		copy(sh.at(ref).content(), v.Bytes)
		t.ks.noteLength(len(v.Bytes))
	}
	t.ks.tell(int(t.db), key, OpSet, 0)
	sh.retire(old)
}

// Edit makes a value size bytes long and returns them for writing: the old
// content, a counter's as decimal text, followed by zeros. The kind becomes
// KindRaw, the deadline stays, an absent key is created. The slice is valid
// until the next call. A value that grows again and again takes amortized
// constant time per byte.
func (t Txn) Edit(key []byte, size int) []byte { return t.edit(key, size, 0, KindRaw).Bytes }

// edit keeps room for an annex as well.
func (t Txn) edit(key []byte, size, annex int, kind Kind) Content {
	sh, h, ref := t.open(key)
	t.ks.noteLength(size)
	if ref == 0 {
		ref = sh.add(h, key, kind, 0, size+annex, 0)
		sh.at(ref).shorten(size)
		c := sh.contentAt(ref)
		clear(c.Bytes)
		t.ks.tell(int(t.db), key, OpSet, 0)
		return c
	}
	return t.resize(sh, h, ref, key, size, annex, kind)
}

// resize is edit for a record that was found.
func (t Txn) resize(sh *shard, h uint64, ref uint32, key []byte, size, annex int, kind Kind) Content {
	r := sh.at(ref)
	var was []byte
	var digits [20]byte
	room := 0
	if r.kind() == KindInt {
		was = strconv.AppendInt(digits[:0], r.int(), 10)
	} else {
		if was = r.content(); size > len(was) {
			room = size + size/4 + annex
		}
	}
	ref, old := sh.change(h, ref, kind, 0, size+annex, room, r.deadline())
	sh.at(ref).shorten(size)
	c := sh.contentAt(ref)
	if old != 0 {
		copy(c.Bytes, was)
	}
	if size > len(was) {
		clear(c.Bytes[len(was):])
	}
	t.ks.tell(int(t.db), key, OpSet, 0)
	if old != 0 {
		sh.freeRecord(old) // without compaction, which could move content
	}
	return c
}

// Delete removes a key. It returns false if the key is absent.
func (t Txn) Delete(key []byte) bool {
	sh := t.ks.shard(t.part(key), int(t.db))
	if sh == nil {
		return false
	}
	h := t.ks.hash(key)
	ref, stale := sh.lookup(h, key, t.now)
	switch {
	case stale != 0:
		sh.reclaim(h, stale)
	case ref != 0:
		t.ks.tell(int(t.db), key, OpDelete, 0)
		sh.discard(h, ref)
	default:
		return false
	}
	sh.compact()
	return ref != 0
}

// SetDeadline sets a key's deadline in milliseconds of log time, 0 for none. It
// returns false if the key is absent.
func (t Txn) SetDeadline(key []byte, deadline int64) bool {
	sh, h, ref := t.open(key)
	if ref == 0 {
		return false
	}
	v := sh.at(ref).value()
	ref, old := sh.change(h, ref, v.Kind, v.Int, len(v.Bytes), 0, deadline)
	if old != 0 && v.Kind != KindInt {
		copy(sh.at(ref).content(), v.Bytes)
	}
	t.ks.tell(int(t.db), key, OpDeadline, 0)
	sh.retire(old)
	return true
}

// CopyTo gives the key to of transaction dst, of this keyspace, the value and
// deadline of from. Both keys' parts are locked. It returns false if from is absent.
func (t Txn) CopyTo(dst Txn, from, to []byte) bool {
	v, ok := t.Get(from)
	if !ok {
		return false
	}
	dst.put(to, v)
	return true
}

// retire frees the record that change has replaced, if any, and compacts.
func (sh *shard) retire(old uint32) {
	if old != 0 {
		sh.freeRecord(old)
		sh.compact()
	}
}

// parseInt parses the canonical decimal form of a 64-bit integer: what
// strconv.AppendInt would print, nothing else.
func parseInt(b []byte) (int64, bool) {
	digits := b
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	switch {
	case neg && n <= 1<<63:
		return -int64(n), true
	case !neg && n <= math.MaxInt64:
		return int64(n), true
	}
	return 0, false
}
