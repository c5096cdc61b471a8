package engine

import (
	"math/bits"
	"unsafe"
)

// A table is a sequence of lines of 64 bytes, one cache line each:
//
//	0               12        16              64
//	┌───────────────┬─────────┬───────────────┐
//	│ 12 tags, u8   │passed,  │ 12 references,│
//	│ 0: cell empty │u32      │ u32           │
//	└───────────────┴─────────┴───────────────┘
//
// A key's home line is a monotone function of its hash bits, so the order of
// lines is the order of hashes and a table may have any number of lines. A key
// that finds its home full goes to the next line with room, wrapping around, and
// every full line it passed counts it in passed: a search ends at the first line
// that nobody passed, and deletion leaves no tombstones.
//
// A hash is used as
//
//	63                                20      7       0
//	┌──────────────┬──────────────────┬───────┬───────┐
//	│ directory,   │ line, the next   │       │ tag   │
//	│ depth ≤ 20   │ 24 bits scaled   │       │       │
//	└──────────────┴──────────────────┴───────┴───────┘
//
// so the top 44 bits, a key's position, decide its place in SCAN's order.
const (
	lineBytes    = 64
	lineCells    = 12
	lineRefs     = 16
	depthMax     = 20
	homeBits     = 24
	positionBits = depthMax + homeBits

	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

type table struct {
	base  unsafe.Pointer
	slab  *slab // where base came from, nil for an extent of its own
	lines uint32
	count uint32
	depth uint8 // number of top hash bits that all its keys share
}

// tagOf is never 0, which marks an empty cell.
func tagOf(h uint64) byte {
	if t := byte(h); t != 0 {
		return t
	}
	return 1
}

func position(h uint64) uint64 { return h >> (64 - positionBits) }

// home returns the line where the search for a hash begins.
func (t *table) home(h uint64) uint32 {
	return uint32((h << t.depth >> (64 - homeBits)) * uint64(t.lines) >> homeBits)
}

// lineStart returns the lowest position whose home is the given line, given the
// table's own lowest position.
func (t *table) lineStart(first uint64, line uint32) uint64 {
	sub := (uint64(line)<<homeBits + uint64(t.lines) - 1) / uint64(t.lines)
	return first + sub<<(depthMax-t.depth)
}

// limit is how many keys a table of so many lines may hold: 7 of 8 cells.
func limit(lines uint32) uint32 {
	if lines == 1 {
		return lineCells
	}
	return lines * (lineCells * 7) / 8
}

func (t *table) line(i uint32) unsafe.Pointer { return unsafe.Add(t.base, uintptr(i)*lineBytes) }

// zeroBytes has the high bit set of every byte that is zero. It must be exact: the
// shorter (x-lowBits)&^x&highBits also gives a byte 1 above a zero byte, and would
// let a search follow the reference of an empty cell.
func zeroBytes(x uint64) uint64 { return ^((x&^highBits + ^uint64(highBits)) | x | ^uint64(highBits)) }

func passed(line unsafe.Pointer) uint32 { return load32(unsafe.Add(line, lineCells)) }

func addPassed(line unsafe.Pointer, n int32) {
	p := unsafe.Add(line, lineCells)
	store32(p, uint32(int32(load32(p))+n))
}

func tagAt(line unsafe.Pointer, cell int) *byte { return (*byte)(unsafe.Add(line, cell)) }

func refAt(line unsafe.Pointer, cell int) uint32 {
	return load32(unsafe.Add(line, lineRefs+4*cell))
}

func setRef(line unsafe.Pointer, cell int, ref uint32) {
	store32(unsafe.Add(line, lineRefs+4*cell), ref)
}

// emptyCell returns the first empty cell of a line, or -1.
func emptyCell(line unsafe.Pointer) int {
	if m := zeroBytes(load64(line)); m != 0 {
		return bits.TrailingZeros64(m) >> 3
	}
	if m := zeroBytes(uint64(load32(unsafe.Add(line, 8))) | 0xff<<32); m != 0 {
		if s := 8 + bits.TrailingZeros64(m)>>3; s < lineCells {
			return s
		}
	}
	return -1
}

// place puts a reference into the first line with room. There must be room.
func (t *table) place(h uint64, ref uint32) {
	i := t.home(h)
	for {
		line := t.line(i)
		if s := emptyCell(line); s >= 0 {
			*tagAt(line, s) = tagOf(h)
			setRef(line, s, ref)
			t.count++
			return
		}
		addPassed(line, 1)
		if i++; i == t.lines {
			i = 0
		}
	}
}

// cellOf finds the cell that holds ref under hash h; ok is false if there is none.
func (t *table) cellOf(h uint64, ref uint32) (i uint32, cell int, ok bool) {
	i = t.home(h)
	tag := tagOf(h)
	for range t.lines {
		line := t.line(i)
		for s := range lineCells {
			if *tagAt(line, s) == tag && refAt(line, s) == ref {
				return i, s, true
			}
		}
		if passed(line) == 0 {
			break
		}
		if i++; i == t.lines {
			i = 0
		}
	}
	return 0, 0, false
}

// drop empties the cell found by cellOf.
func (t *table) drop(h uint64, i uint32, cell int) {
	*tagAt(t.line(i), cell) = 0
	t.count--
	for j := t.home(h); j != i; {
		addPassed(t.line(j), -1)
		if j++; j == t.lines {
			j = 0
		}
	}
}

// each calls fn for every reference, in no useful order.
func (t *table) each(fn func(ref uint32)) {
	for i := range t.lines {
		line := t.line(i)
		for s := range lineCells {
			if *tagAt(line, s) != 0 {
				fn(refAt(line, s))
			}
		}
	}
}
