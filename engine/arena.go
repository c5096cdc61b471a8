package engine

import (
	"math"
	"unsafe"
)

// The arena of a shard is a list of chunks. A reference to a block is 32 bits:
// the chunk's number, then the block's offset in it in units of 2 bytes, so a
// shard holds up to 8 GiB in 262,143 chunks. Chunk 0 does not exist: reference
// 0 means none.
//
// New blocks are cut from the current chunk's end; freed blocks go to the free
// list of their exact size and are taken from there first. Blocks are neither
// split nor joined: when too much of a shard is free, compaction empties whole
// chunks instead.
const (
	chunkBytesLog = 15
	chunkBytes    = 1 << chunkBytesLog
	chunkOrder    = chunkBytesLog - 12
	refUnitLog    = 1
	refUnit       = 1 << refUnitLog
	chunkRefLog   = chunkBytesLog - refUnitLog // bits of a reference that are the offset
	chunkRefMask  = 1<<chunkRefLog - 1
	chunksMax     = 1 << (32 - chunkRefLog)
)

// noDeadline is the lower bound of the deadlines of nothing.
const noDeadline = math.MaxInt64

// chunk describes one chunk; its address is in shard.base.
//
// Invariants: the bytes [0, used) are a sequence of live and free blocks;
// live is the sum of the live ones; due ≤ every deadline among them.
type chunk struct {
	due  int64
	pin  *pin   // not nil while a snapshot has yet to write this chunk
	size uint32 // bytes of the extent
	used uint32
	live uint32
	own  bool // holds a single wide record
}

// arena is what holds the records of a shard.
type arena struct {
	base  []unsafe.Pointer // chunk number → address, nil if there is no such chunk
	meta  []chunk
	spare []uint32 // numbers of chunks given up
	cur   uint32   // the chunk new blocks are cut from, 0 if none
	free  [blockClasses]uint32

	live   int64 // bytes of live blocks; of wide records, their pages
	dead   int64 // bytes of free blocks
	due    int64 // lower bound of all deadlines
	victim uint32
}

func (a *arena) init() {
	a.base = make([]unsafe.Pointer, 1, 4)
	a.meta = make([]chunk, 1, 4)
	a.due = noDeadline
}

// at returns the record of a reference.
func (a *arena) at(ref uint32) record {
	return record{unsafe.Add(a.base[ref>>chunkRefLog], uintptr(ref&chunkRefMask)<<refUnitLog)}
}

// newChunk adds a chunk of at least n bytes.
func (sh *shard) newChunk(n int) uint32 {
	if len(sh.spare) == 0 && len(sh.meta) == chunksMax {
		panic("engine: out of memory: one part of one database holds 8 GiB")
	}
	size := extentBytes(n)
	p := sh.ks.pages.alloc(n)
	var ci uint32
	if k := len(sh.spare); k > 0 {
		ci = sh.spare[k-1]
		sh.spare = sh.spare[:k-1]
	} else {
		ci = uint32(len(sh.meta))
		sh.meta = append(sh.meta, chunk{})
		sh.base = append(sh.base, nil)
	}
	sh.base[ci] = p
	sh.meta[ci] = chunk{size: uint32(size), due: noDeadline}
	if size == chunkBytes {
		sh.ks.arenaBytes.Add(chunkBytes)
	}
	return ci
}

// dropChunk gives up a chunk without live records or listed free blocks.
func (sh *shard) dropChunk(ci uint32) {
	c := &sh.meta[ci]
	sh.ks.parts[sh.part].moved++
	if !c.own {
		sh.ks.arenaBytes.Add(-chunkBytes)
	}
	if c.pin != nil {
		c.pin.handOver()
	} else {
		sh.ks.pages.release(sh.base[ci], int(c.size))
	}
	*c = chunk{due: noDeadline}
	sh.base[ci] = nil
	sh.spare = append(sh.spare, ci)
	if sh.cur == ci {
		sh.cur = 0
	}
}

// allocBlock returns a block of exactly size bytes (a size of blockClass) with
// undefined content, counted as live.
func (sh *shard) allocBlock(size uint32) uint32 {
	class, _ := blockClass(size)
	if ref := sh.free[class]; ref != 0 {
		r := sh.at(ref)
		sh.unlist(r, class)
		sh.touch(ref, 0, 4)
		sh.meta[ref>>chunkRefLog].live += size
		sh.forgetBits(ref)
		sh.addDead(-int64(size))
		sh.addLive(int64(size))
		return ref
	}
	if sh.cur == 0 || sh.meta[sh.cur].used+size > chunkBytes {
		sh.cur = sh.newChunk(chunkBytes)
	}
	c := &sh.meta[sh.cur]
	ref := sh.cur<<chunkRefLog | c.used>>refUnitLog
	c.used += size
	c.live += size
	sh.forgetBits(ref)
	sh.addLive(int64(size))
	return ref
}

// allocRecord returns a block for a record; a wide one gets a chunk of its own
// and all of its extent as capacity, with slack to grow where the extent itself
// has none.
func (sh *shard) allocRecord(l *layout) uint32 {
	if l.block <= maxBlock && l.header&wide == 0 {
		return sh.allocBlock(l.block)
	}
	n := int(l.block)
	if n > regionBytes {
		n += n / 4
	}
	touched := pageRound(int(l.block))
	ci := sh.newChunk(n)
	c := &sh.meta[ci]
	if !c.own && c.size == chunkBytes {
		sh.ks.arenaBytes.Add(-chunkBytes)
	}
	c.own = true
	sh.forgetBits(ci << chunkRefLog)
	if Kind(l.header&kindMask) != KindInt {
		l.block = c.size
	}
	c.used = l.block
	c.live = uint32(touched)
	sh.ks.wideBytes.Add(int64(touched))
	sh.addLive(int64(touched))
	return ci << chunkRefLog
}

// widen notes that a wide record's content has come to n meaningful bytes.
func (sh *shard) widen(ref uint32, n uint32) {
	c := &sh.meta[ref>>chunkRefLog]
	if t := uint32(pageRound(int(n))); t > c.live {
		sh.ks.wideBytes.Add(int64(t - c.live))
		sh.addLive(int64(t - c.live))
		c.live = t
	}
}

// freeRecord frees a record's block. Nothing refers to it any more.
func (sh *shard) freeRecord(ref uint32) {
	sh.ks.parts[sh.part].moved++
	ci := ref >> chunkRefLog
	c := &sh.meta[ci]
	r := sh.at(ref)
	if c.own {
		sh.ks.wideBytes.Add(-int64(c.live))
		sh.addLive(-int64(c.live))
		sh.dropChunk(ci)
		return
	}
	size := r.block()
	sh.touch(ref, 0, size) // the whole block: a later record may overwrite more of it than the links do
	c.live -= size
	sh.addLive(-int64(size))
	sh.addDead(int64(size))
	class, _ := blockClass(size)
	r.makeFree(size)
	r.setPrev(0)
	r.setNext(sh.free[class])
	if next := sh.free[class]; next != 0 {
		sh.at(next).setPrev(ref)
	}
	sh.free[class] = ref
	if c.live == 0 {
		sh.emptyChunk(ci)
	}
}

// unlist takes a free block out of its list.
func (sh *shard) unlist(r record, class int) {
	next, prev := r.next(), r.prev()
	if prev != 0 {
		sh.at(prev).setNext(next)
	} else {
		sh.free[class] = next
	}
	if next != 0 {
		sh.at(next).setPrev(prev)
	}
}

// emptyChunk gives up a chunk that has only free blocks, or starts it afresh.
func (sh *shard) emptyChunk(ci uint32) {
	c := &sh.meta[ci]
	sh.unlistChunk(ci)
	if ci == sh.cur && c.pin == nil {
		sh.ks.parts[sh.part].moved++
		c.used, c.due = 0, noDeadline
		return
	}
	sh.dropChunk(ci)
}

// unlistChunk takes all free blocks of a chunk out of their lists.
func (sh *shard) unlistChunk(ci uint32) {
	base, used := sh.base[ci], sh.meta[ci].used
	for off := uint32(0); off < used; {
		r := record{unsafe.Add(base, uintptr(off))}
		if !r.isFree() {
			off += r.block()
			continue
		}
		size := r.freeSize()
		class, _ := blockClass(size)
		sh.unlist(r, class)
		sh.addDead(-int64(size))
		off += size
	}
}

// noteDeadline lowers the bounds for a record's deadline.
func (sh *shard) noteDeadline(ref uint32, deadline int64) {
	if deadline == 0 {
		return
	}
	c := &sh.meta[ref>>chunkRefLog]
	if deadline >= c.due {
		return
	}
	c.due = deadline
	if deadline < sh.due {
		sh.due = deadline
		sh.ks.lowerDue(sh.part, deadline)
	}
}

// touch must be called before the n bytes at off of a block that existed before
// change: a snapshot in progress may still need them.
func (sh *shard) touch(ref, off, n uint32) {
	if sh.snap != nil {
		sh.savePinned(ref, off, n)
	}
}

// The keyspace's sums are kept up to date in steps, because an atomic operation
// per insertion would cost more than they are worth.
const sumStep = 4096

func (sh *shard) addLive(n int64) {
	sh.live += n
	if sh.liveStep += n; sh.liveStep >= sumStep || sh.liveStep <= -sumStep {
		sh.ks.liveBytes.Add(sh.liveStep)
		sh.liveStep = 0
	}
}

func (sh *shard) addDead(n int64) {
	sh.dead += n
	if sh.deadStep += n; sh.deadStep >= sumStep || sh.deadStep <= -sumStep {
		sh.ks.deadBytes.Add(sh.deadStep)
		sh.deadStep = 0
	}
}
