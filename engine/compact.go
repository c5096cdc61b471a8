package engine

import "unsafe"

const (
	// A shard is compacted while more than 1/compactShare of its used bytes
	// are free. Moving out a chunk costs about 0.1 µs per record freed.
	compactShare = 5
	// compactLook is how many chunks are looked at to find a nearly empty one.
	compactLook = 64
	// compactMin is how many free bytes a shard may always have.
	compactMin = chunkBytes / 2
)

// compact moves the records out of one chunk if too much of the shard is free.
// It is called at the end of operations that free blocks, when no argument that
// aliases the arena is needed any more; at most one chunk is moved at a time.
func (sh *shard) compact() {
	if sh.dead < compactMin || sh.dead*compactShare < sh.live+sh.dead {
		return
	}
	best, bestLive := uint32(0), uint32(chunkBytes-chunkBytes/8)
	for range min(compactLook, len(sh.meta)) {
		if sh.victim++; sh.victim >= uint32(len(sh.meta)) {
			sh.victim = 1
		}
		c := &sh.meta[sh.victim]
		if sh.base[sh.victim] == nil || c.own || sh.victim == sh.cur {
			continue
		}
		if c.live < bestLive {
			best, bestLive = sh.victim, c.live
		}
	}
	if best != 0 {
		sh.evacuate(best)
	}
}

// evacuate moves all records out of a chunk and gives it up. It does not write
// to the chunk, so a snapshot that still needs it can have it as it is.
func (sh *shard) evacuate(ci uint32) {
	sh.unlistChunk(ci)
	base, used := sh.base[ci], sh.meta[ci].used
	for off := uint32(0); off < used; {
		r := record{unsafe.Add(base, uintptr(off))}
		if r.isFree() {
			off += r.freeSize()
			continue
		}
		size := r.block()
		to := sh.allocBlock(size)
		copy(bytesAt(sh.at(to).p, 0, size), bytesAt(r.p, 0, size))
		sh.noteDeadline(to, r.deadline())
		sh.replace(sh.ks.hash(r.key()), ci<<chunkRefLog|off>>refUnitLog, to)
		sh.addLive(-int64(size))
		off += size
	}
	sh.meta[ci].live = 0
	sh.dropChunk(ci)
}
