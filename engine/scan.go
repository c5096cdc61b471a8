package engine

import (
	"math"
	"math/bits"
)

// A scan cursor is a part and a position in the order of hashes:
//
//	52       44                                           0
//	┌────────┬────────────────────────────────────────────┐
//	│ part 8 │ position: the top 44 bits of the key's hash │
//	└────────┴────────────────────────────────────────────┘
//
// A call visits all keys from the cursor up to the position it returns, so a key
// that stays is visited exactly once whatever grows, splits or shrinks between
// calls; cursors hold for another node with the same seed.
const scanLinesPerKey = 10 // empty lines visited per key asked for, at most

// Scan visits keys in cursor order, about count of them, and returns the cursor
// to go on with, below 2^53. A scan starts with cursor 0 and has ended when 0
// is returned; any other cursor is harmless. Expired keys are left out. fn runs with the
// key's part locked and must neither write nor, unless the view is held, lock;
// its arguments are valid during the call only.
func (v View) Scan(cursor uint64, count int, fn func(key []byte, val Value)) (next uint64) {
	part, pos := int(min(cursor>>positionBits, Parts)), cursor&(1<<positionBits-1)
	s := scanner{now: v.now, fn: fn, keys: max(count, 1)}
	s.lines = s.keys
	if s.lines < math.MaxInt/scanLinesPerKey {
		s.lines *= scanLinesPerKey
	}
	for ; part < Parts; part, pos = part+1, 0 {
		for pos < 1<<positionBits {
			if s.keys <= 0 || s.lines <= 0 {
				return uint64(part)<<positionBits | pos
			}
			if v.ks.shard(part, int(v.db)) == nil {
				break
			}
			v.lock(part)
			if sh := v.ks.shard(part, int(v.db)); sh != nil {
				pos = s.walk(sh, pos)
			}
			v.unlock(part)
		}
	}
	return 0
}

// Each visits every key, one part after the other, until fn returns false. The
// rules of Scan apply to fn.
func (v View) Each(fn func(key []byte, val Value) bool) {
	more := true
	s := scanner{now: v.now, fn: func(key []byte, val Value) { more = more && fn(key, val) }}
	for part := 0; part < Parts && more; part++ {
		v.lock(part)
		if sh := v.ks.shard(part, int(v.db)); sh != nil {
			for pos := uint64(0); pos < 1<<positionBits && more; {
				s.keys, s.lines = math.MaxInt, math.MaxInt
				pos = s.walk(sh, pos)
			}
		}
		v.unlock(part)
	}
}

// scanner is the state of one Scan call.
type scanner struct {
	now   int64
	fn    func(key []byte, val Value)
	keys  int // still to visit
	lines int // still to look at

	record func(r record) // instead of fn, for all records
}

// walk visits keys of the table that position pos belongs to, and returns the
// position to go on with: 1<<positionBits at the end of the shard.
func (s *scanner) walk(sh *shard, pos uint64) uint64 {
	h := pos << (64 - positionBits)
	t := sh.tableOf(h)
	span := uint64(1) << (positionBits - t.depth)
	first := pos &^ (span - 1)
	for line := t.home(h); line < t.lines; line++ {
		if s.keys <= 0 || s.lines <= 0 {
			return max(pos, t.lineStart(first, line))
		}
		end := t.lineStart(first, line+1)
		if end <= pos {
			continue // a line between two positions is nobody's home
		}
		s.visit(sh, t, line, pos, end)
	}
	return first + span
}

// visit calls fn for the keys with home line and position in [from, end).
func (s *scanner) visit(sh *shard, t *table, home uint32, from, end uint64) {
	i := home
	for range t.lines {
		line := t.line(i)
		s.lines--
		for cell := range lineCells {
			if *tagAt(line, cell) == 0 {
				continue
			}
			ref := refAt(line, cell)
			r := sh.at(ref)
			key := r.key()
			h := sh.ks.hash(key)
			if t.home(h) != home {
				continue
			}
			if p := position(h); p < from || p >= end {
				continue
			}
			s.keys--
			if s.record != nil {
				s.record(r)
				continue
			}
			if !r.expired(s.now) {
				s.fn(key, sh.valueAt(ref, s.now))
			}
		}
		if passed(line) == 0 {
			return
		}
		if i++; i == t.lines {
			i = 0
		}
	}
}

const randomTries = 64

// RandomKey returns a copy of a key, every one about equally likely; r is the
// caller's random number. ok is false if the database has no key that is not
// expired.
func (v View) RandomKey(r uint64) (key []byte, ok bool) {
	total := uint64(v.Len())
	if total == 0 {
		return nil, false
	}
	for range randomTries {
		r = mix(r)
		if key = v.randomIn(r, total); key != nil {
			return key, true
		}
	}
	// Nearly all keys are expired: take the first that is not.
	v.Each(func(k []byte, _ Value) bool {
		key = append([]byte{}, k...)
		return false
	})
	return key, key != nil
}

// randomIn looks at one random cell of a part chosen by its number of keys.
func (v View) randomIn(r, total uint64) []byte {
	nth, _ := bits.Mul64(mix(r+1), total)
	for part := range Parts {
		sh := v.ks.shard(part, int(v.db))
		if sh == nil {
			continue
		}
		if n := uint64(sh.keys.Load()); nth >= n {
			nth -= n
			continue
		}
		v.lock(part)
		defer v.unlock(part)
		if sh = v.ks.shard(part, int(v.db)); sh == nil {
			return nil
		}
		t := sh.tableOf(r)
		line := t.line(t.home(r))
		cell := int(mix(r+2) % lineCells)
		if *tagAt(line, cell) == 0 {
			return nil
		}
		rec := sh.at(refAt(line, cell))
		if rec.expired(v.now) {
			return nil
		}
		return append([]byte{}, rec.key()...)
	}
	return nil
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
