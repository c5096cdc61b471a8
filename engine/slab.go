package engine

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// The index's tables come from slabs: extents of slabBytes cut into pieces of one
// size. Freed pieces of a slab are linked through their first bytes; a slab
// without used pieces is released. Tables of more than the largest size have an
// extent of their own.
const slabBytes = 64 << 10

// tableSizes are the sizes of a table in lines. They grow by a third to a half:
// by less, and every insertion would pay for more rehashing; by more, and a
// fresh table would be half empty. Tables of the largest size split.
var tableSizes = [...]uint32{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48}

const tableLinesMax = 48

// slabs hands out memory for tables. Safe for concurrent use.
type slabs struct {
	mu      sync.Mutex
	pages   *pages
	partial [len(tableSizes)]*slab // lists of slabs with a free piece
	bytes   atomic.Int64           // extents of slabs and large tables
}

type slab struct {
	base       unsafe.Pointer
	prev, next *slab  // neighbours in its size's list, if it has a free piece
	free       uint32 // first free piece + 1; its first 4 bytes are the next one
	fresh      uint32 // pieces from here on were never used
	used       uint32
	pieces     uint32
	class      uint8
}

func sizeClass(lines uint32) int {
	for i, n := range tableSizes {
		if n == lines {
			return i
		}
	}
	return -1
}

// alloc returns zeroed memory for a table of so many lines, and its slab (nil if
// the table has an extent of its own).
func (s *slabs) alloc(lines uint32) (unsafe.Pointer, *slab) {
	n := int(lines) * lineBytes
	class := sizeClass(lines)
	if class < 0 {
		p := s.pages.alloc(n)
		s.bytes.Add(int64(pageRound(n)))
		clear(unsafe.Slice((*byte)(p), n))
		return p, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.partial[class]
	if sl == nil {
		sl = &slab{base: s.pages.alloc(slabBytes), pieces: uint32(slabBytes / n), class: uint8(class)}
		s.bytes.Add(slabBytes)
		s.link(sl)
	}
	var piece uint32
	if sl.free != 0 {
		piece = sl.free - 1
		sl.free = load32(unsafe.Add(sl.base, uintptr(piece)*uintptr(n)))
	} else {
		piece = sl.fresh
		sl.fresh++
	}
	if sl.used++; sl.used == sl.pieces {
		s.unlink(sl)
	}
	p := unsafe.Add(sl.base, uintptr(piece)*uintptr(n))
	clear(unsafe.Slice((*byte)(p), n))
	return p, sl
}

// release takes back what alloc gave.
func (s *slabs) release(p unsafe.Pointer, lines uint32, sl *slab) {
	n := int(lines) * lineBytes
	if sl == nil {
		s.bytes.Add(-int64(pageRound(n)))
		s.pages.release(p, n)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	piece := uint32((uintptr(p) - uintptr(sl.base)) / uintptr(n))
	store32(p, sl.free)
	sl.free = piece + 1
	if sl.used == sl.pieces {
		s.link(sl)
	}
	if sl.used--; sl.used == 0 {
		s.unlink(sl)
		s.bytes.Add(-slabBytes)
		s.pages.release(sl.base, slabBytes)
	}
}

func (s *slabs) link(sl *slab) {
	head := &s.partial[sl.class]
	sl.prev, sl.next = nil, *head
	if *head != nil {
		(*head).prev = sl
	}
	*head = sl
}

func (s *slabs) unlink(sl *slab) {
	if sl.prev != nil {
		sl.prev.next = sl.next
	} else {
		s.partial[sl.class] = sl.next
	}
	if sl.next != nil {
		sl.next.prev = sl.prev
	}
	sl.prev, sl.next = nil, nil
}
