package engine

import (
	"encoding/binary"
	"unsafe"
)

// A record is one block of an arena chunk:
//
//	0      1      2                                        2-byte aligned
//	┌──────┬──────┬───────────────┬──────┬──────────┬─────────┬─────────────┐
//	│header│keylen│ fixed fields  │keyext│ deadline │ key     │ content     │
//	│ 1    │ 1    │ 8, 4 or 8     │ 0, 2 │ 0, 8     │ keylen  │ capacity    │
//	└──────┴──────┴───────────────┴──────┴──────────┴─────────┴─────────────┘
//
//	header    bits 0-3 kind (0: the block is free), then hasDeadline, longKey,
//	          wide, hasTail: behind the content, in its capacity, stand the length of
//	          this node's own tail (1 byte) and the tail, see tail.go; 0 for KindInt
//	keylen    low 8 bits of the key's length; longKey: keyext holds the next 16
//	fixed     fields: for KindInt the counter, 8 bytes; else length and capacity of the
//	          content, 2 + 2 bytes, or 4 + 4 when wide
//	deadline  milliseconds of log time, if hasDeadline
//
// A record's block is as long as the record, rounded up as blockClass says; for
// kinds with content the capacity takes up the rounding. A wide record is the
// only one in its chunk. A counter with a key of 19 bytes takes 30 bytes: alignment
// to 4 bytes would need 2 more, and none at all would halve what a shard can hold.
//
// A free block:
//
//	0      1      2             4            8            12
//	┌──────┬──────┬─────────────┬────────────┬────────────┬──
//	│ 0    │ 0    │ size/2, u16 │ next, u32  │ prev, u32  │ undefined
//	└──────┴──────┴─────────────┴────────────┴────────────┴──
//
// Numbers are little-endian. They are read unaligned, in one instruction each on
// the processors that matter.
const (
	kindMask    = 0x0f
	hasDeadline = 0x10
	longKey     = 0x20
	wide        = 0x40
	hasTail     = 0x80

	minBlock = 12   // a free block's header
	maxBlock = 8192 // larger records have a chunk of their own
)

// keyOffset[header] is where a record's key begins.
var keyOffset = func() (t [256]uint8) {
	for h := range 256 {
		n := 2 + 4
		if h&kindMask == int(KindInt) || h&wide != 0 {
			n = 2 + 8
		}
		if h&longKey != 0 {
			n += 2
		}
		if h&hasDeadline != 0 {
			n += 8
		}
		t[h] = uint8(n)
	}
	return t
}()

func load16(p unsafe.Pointer) uint16 { return binary.LittleEndian.Uint16((*[2]byte)(p)[:]) }
func load32(p unsafe.Pointer) uint32 { return binary.LittleEndian.Uint32((*[4]byte)(p)[:]) }
func load64(p unsafe.Pointer) uint64 { return binary.LittleEndian.Uint64((*[8]byte)(p)[:]) }

func store16(p unsafe.Pointer, v uint16) { binary.LittleEndian.PutUint16((*[2]byte)(p)[:], v) }
func store32(p unsafe.Pointer, v uint32) { binary.LittleEndian.PutUint32((*[4]byte)(p)[:], v) }
func store64(p unsafe.Pointer, v uint64) { binary.LittleEndian.PutUint64((*[8]byte)(p)[:], v) }

func bytesAt(p unsafe.Pointer, off, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(p, uintptr(off))), n)
}

// record points at the first byte of a record's block.
type record struct{ p unsafe.Pointer }

func (r record) header() byte { return *(*byte)(r.p) }
func (r record) kind() Kind   { return Kind(r.header() & kindMask) }

func (r record) keyLen() uint32 {
	n := uint32(*(*byte)(unsafe.Add(r.p, 1)))
	if h := r.header(); h&longKey != 0 {
		off := uintptr(10)
		if Kind(h&kindMask) != KindInt && h&wide == 0 {
			off = 6
		}
		n |= uint32(load16(unsafe.Add(r.p, off))) << 8
	}
	return n
}

// key aliases the arena.
func (r record) key() []byte {
	return bytesAt(r.p, uint32(keyOffset[r.header()]), r.keyLen())
}

// hasKey reports whether the record's key is key: the comparison of every lookup.
func (r record) hasKey(key []byte) bool {
	h := load16(r.p)
	if byte(h>>8) != byte(len(key)) {
		return false
	}
	if h&longKey != 0 || len(key) > 255 {
		return r.keyLen() == uint32(len(key)) && string(r.key()) == string(key)
	}
	return string(bytesAt(r.p, uint32(keyOffset[byte(h)]), uint32(len(key)))) == string(key)
}

func (r record) int() int64 { return int64(load64(unsafe.Add(r.p, 2))) }

func (r record) setInt(n int64) { store64(unsafe.Add(r.p, 2), uint64(n)) }

// deadline returns the record's deadline, 0 if it has none.
func (r record) deadline() int64 {
	h := r.header()
	if h&hasDeadline == 0 {
		return 0
	}
	return int64(load64(unsafe.Add(r.p, uintptr(keyOffset[h])-8)))
}

func (r record) expired(now int64) bool {
	if r.header()&hasDeadline == 0 {
		return false
	}
	return r.deadline() <= now
}

// length returns the content's length and capacity, for kinds other than KindInt.
func (r record) length() (n, capacity uint32) {
	if r.header()&wide != 0 {
		return load32(unsafe.Add(r.p, 2)), load32(unsafe.Add(r.p, 6))
	}
	v := load32(unsafe.Add(r.p, 2))
	return v & 0xffff, v >> 16
}

func (r record) setLength(n, capacity uint32) {
	if r.header()&wide != 0 {
		store32(unsafe.Add(r.p, 2), n)
		store32(unsafe.Add(r.p, 6), capacity)
		return
	}
	store32(unsafe.Add(r.p, 2), n|capacity<<16)
}

// contentLength returns the content's length, 0 for a counter.
func (r record) contentLength() uint32 {
	if r.kind() == KindInt {
		return 0
	}
	n, _ := r.length()
	return n
}

// contentOffset returns where the content begins.
func (r record) contentOffset() uint32 { return uint32(keyOffset[r.header()]) + r.keyLen() }

// content aliases the arena.
func (r record) content() []byte {
	n, _ := r.length()
	return bytesAt(r.p, r.contentOffset(), n)
}

func (r record) value() Value {
	v := Value{Kind: r.kind(), Deadline: r.deadline()}
	if v.Kind == KindInt {
		v.Int = r.int()
	} else {
		v.Bytes = r.content()
		if r.header()&hasTail != 0 {
			v.own = r.p
		}
	}
	return v
}

// bytes returns the bytes that mean something: without unused capacity.
func (r record) bytes() uint32 {
	n := r.contentOffset()
	if r.kind() != KindInt {
		l, _ := r.length()
		n += l
	}
	return n
}

// block returns the size of the record's block.
func (r record) block() uint32 {
	n := r.contentOffset()
	if r.kind() != KindInt {
		_, c := r.length()
		n += c
	}
	if n > maxBlock {
		return n
	}
	_, n = blockClass(n)
	return n
}

// free block accessors

func (r record) isFree() bool { return r.header() == 0 }

func (r record) freeSize() uint32 { return uint32(load16(unsafe.Add(r.p, 2))) << refUnitLog }

func (r record) makeFree(size uint32) { store32(r.p, size>>refUnitLog<<16) }

func (r record) next() uint32     { return load32(unsafe.Add(r.p, 4)) }
func (r record) prev() uint32     { return load32(unsafe.Add(r.p, 8)) }
func (r record) setNext(x uint32) { store32(unsafe.Add(r.p, 4), x) }
func (r record) setPrev(x uint32) { store32(unsafe.Add(r.p, 8), x) }

// blockClasses is the number of block sizes: every multiple of 2 up to 256, of
// 32 up to 1024, of 128 up to maxBlock. Each size has its own free list.
const blockClasses = 209

// blockClass rounds n ≤ maxBlock up to a block size and numbers it.
func blockClass(n uint32) (class int, size uint32) {
	switch {
	case n <= minBlock:
		return minBlock / 2, minBlock
	case n <= 256:
		n = (n + 1) >> 1
		return int(n), n << 1
	case n <= 1024:
		n = (n + 31) >> 5
		return int(128 + n - 256/32), n << 5
	default:
		n = (n + 127) >> 7
		return int(152 + n - 1024/128), n << 7
	}
}

// layout is a record to be written: what decides its header and size.
type layout struct {
	header byte
	keyLen uint32
	block  uint32 // size of its block, or of its chunk's used bytes when wide
}

// layoutOf chooses the smallest form for a record.
func layoutOf(kind Kind, keyLen, contentLen int, deadline int64) layout {
	h := byte(kind)
	if keyLen > 255 {
		h |= longKey
	}
	if deadline != 0 {
		h |= hasDeadline
	}
	n := int(keyOffset[h]) + keyLen + contentLen
	if n > maxBlock {
		if keyLen >= 1<<24 || contentLen > MaxValue+MaxValue/4 {
			panic("engine: BUG: a key or value is longer than its limit")
		}
		h |= wide
		n = int(keyOffset[h]) + keyLen + contentLen
		return layout{h, uint32(keyLen), uint32(n)}
	}
	_, size := blockClass(uint32(n))
	return layout{h, uint32(keyLen), size}
}

// write fills a block with a record without content yet; contentLen bytes are to
// be copied to content().
func (r record) write(l layout, key []byte, contentLen uint32, n, deadline int64) {
	*(*byte)(r.p) = l.header
	*(*byte)(unsafe.Add(r.p, 1)) = byte(l.keyLen)
	off := uint32(keyOffset[l.header])
	if l.header&longKey != 0 {
		ext := uintptr(10)
		if Kind(l.header&kindMask) != KindInt && l.header&wide == 0 {
			ext = 6
		}
		store16(unsafe.Add(r.p, ext), uint16(l.keyLen>>8))
	}
	if l.header&hasDeadline != 0 {
		store64(unsafe.Add(r.p, uintptr(off)-8), uint64(deadline))
	}
	if Kind(l.header&kindMask) == KindInt {
		r.setInt(n)
	} else {
		r.setLength(contentLen, l.block-off-l.keyLen)
	}
	copy(bytesAt(r.p, off, l.keyLen), key)
}
