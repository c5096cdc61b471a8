package uc

import (
	"encoding/binary"
	"math"
	"slices"
)

const (
	sparsePrecision = 25
	entryBytes      = 4
	rankBits        = 7
	rankMask        = 1<<rankBits - 1
	maxEntryRank    = 64 - sparsePrecision + 1
)

// sparseMax is the highest number of entries in the sparse form: 6,144 at precision 14. The half above the dense form's
// size is spent on counts that are exact but for single items.
func sparseMax(p int) int { return (1 << p) * 3 / 2 / entryBytes }

// Entry is what the sparse form keeps of a hash.
func Entry(hash uint64) uint32 {
	i, rank := register(hash, sparsePrecision)
	return uint32(i)<<rankBits | uint32(rank)
}

// entryHash is a hash with the given entry.
func entryHash(e uint32) uint64 {
	return representative(uint64(e>>rankBits), byte(e&rankMask), sparsePrecision)
}

// linearCount estimates how many hashes have left n distinct indexes at the sparse precision (Whang, Vander-Zanden,
// Taylor 1990). It is the library's estimate of a sparse sketch, rounded to the nearest integer.
func linearCount(n int) uint64 {
	const m = 1 << sparsePrecision
	return uint64(math.Round(m * math.Log(m/float64(m-n))))
}

// Change is what adding items to a sparse sketch changes.
type Change struct {
	entries []uint32 // ascending, one for each index; each is new or has a higher rank than the sketch's
	fresh   int      // how many of them have an index that the sketch lacks
	s       Sketch
}

// Plan tells what adding entries would change. It keeps entries, and reorders them.
func (s Sketch) Plan(entries []uint32) Change {
	c := Change{s: s, entries: entries[:0]}
	slices.Sort(entries)
	n := s.entries()
	at := 0 // of the last one found: both lists ascend
	for i, e := range entries {
		if i+1 < len(entries) && entries[i+1]>>rankBits == e>>rankBits {
			continue // the next has the same index and at least this rank
		}
		at = s.search(e>>rankBits, at)
		if at == n || s.entry(at)>>rankBits != e>>rankBits {
			c.fresh++
		} else if s.entry(at) >= e {
			continue
		}
		c.entries = append(c.entries, e)
	}
	return c
}

// search returns the position from low on of the first entry with at least this index.
func (s Sketch) search(index uint32, low int) int {
	high := s.entries()
	for low < high {
		mid := int(uint(low+high) >> 1)
		if s.entry(mid)>>rankBits < index {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// None reports whether nothing changes.
func (c Change) None() bool { return len(c.entries) == 0 }

// Fits reports whether the sketch stays sparse.
func (c Change) Fits() bool { return c.s.entries()+c.fresh <= sparseMax(c.s.Precision()) }

// Len is the length of the value after a change that fits.
func (c Change) Len() int { return c.s.Len() + entryBytes*c.fresh }

// Apply carries out a change that fits on the value, which has been made Len bytes long. The rest of the sketch is moved
// once, from the end, for all entries together.
func (c Change) Apply(value []byte) {
	from := len(value) - entryBytes*c.fresh // end of what has not been moved
	to := len(value)                        // end of the room for it
	for k := len(c.entries) - 1; k >= 0; k-- {
		e := c.entries[k]
		grown := Sketch{value[:from]}
		at := headerBytes + entryBytes*grown.search(e>>rankBits, 0)
		rest := at // where the old entries that stay behind e begin
		if at < from && binary.LittleEndian.Uint32(value[at:])>>rankBits == e>>rankBits {
			rest += entryBytes
		}
		to -= from - rest
		copy(value[to:], value[rest:from])
		if to -= entryBytes; to < at {
			return // only where the entries were not in order: what was searched is no sketch
		}
		binary.LittleEndian.PutUint32(value[to:], e)
		from = at
	}
}

// Dense is the value after a change that does not fit.
func (c Change) Dense() []byte {
	value := make([]byte, headerBytes+1<<c.s.Precision())
	copy(value, c.s.b[:headerBytes])
	value[2] = formDense
	s := Sketch{value}
	for i := range c.s.entries() {
		s.raise(entryHash(c.s.entry(i)))
	}
	for _, e := range c.entries {
		s.raise(entryHash(e))
	}
	return value
}

// raise raises the register of a hash to its rank.
func (s Sketch) raise(hash uint64) {
	at, rank := s.Register(hash)
	s.b[at] = max(s.b[at], rank)
}
