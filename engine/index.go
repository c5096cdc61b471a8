package engine

import (
	"math/bits"
	"unsafe"
)

// index is extendible hashing: the top depth bits of a hash choose a directory
// entry, and entries whose longer prefixes have not needed a split share a
// table. A table grows by itself up to tableLinesMax, then splits in two, so no
// step ever rehashes more than about 500 keys. A table that cannot be split (its
// keys share too many bits, by chance or by malice) just grows beyond that.
type index struct {
	dir    []*table
	shift  uint8 // 64 - log2(len(dir))
	tables int
	atLog  [depthMax + 1]uint32 // number of tables by their depth

	fetched byte // keeps the reads of fetch from being optimized away
}

func (sh *shard) initIndex(depth uint8, lines uint32) {
	sh.dir = make([]*table, 1<<depth)
	sh.shift = 64 - depth
	sh.tables = 1 << depth
	sh.atLog = [depthMax + 1]uint32{}
	sh.atLog[depth] = uint32(sh.tables)
	for i := range sh.dir {
		sh.dir[i] = sh.newTable(lines, depth)
	}
}

// reserve makes an empty index as large as keys keys will need.
func (sh *shard) reserve(keys uint64) {
	depth := uint8(0)
	for depth < depthMax && keys>>depth > uint64(limit(tableLinesMax))*4/5 {
		depth++
	}
	for _, t := range sh.dir {
		sh.freeTable(t)
	}
	sh.initIndex(depth, fit(uint32(keys>>depth)))
}

func (sh *shard) newTable(lines uint32, depth uint8) *table {
	t := &table{lines: lines, depth: depth}
	t.base, t.slab = sh.ks.slabs.alloc(lines)
	return t
}

func (sh *shard) freeTable(t *table) { sh.ks.slabs.release(t.base, t.lines, t.slab) }

func (sh *shard) depth() uint8 { return 64 - sh.shift }

func (sh *shard) tableOf(h uint64) *table { return sh.dir[h>>sh.shift] }

// fit returns the smallest table size that leaves room for a fifth more keys.
func fit(keys uint32) uint32 {
	for _, n := range tableSizes {
		if limit(n) >= keys+keys/5 {
			return n
		}
	}
	return tableLinesMax
}

// find returns the reference of a key, 0 if it has none.
//
// This is the inner loop of every command: twelve tags are compared in two steps
// of eight bytes (about 10 ns when cached, against 25 ns byte by byte; see
// BenchmarkGetHit).
func (sh *shard) find(h uint64, key []byte) uint32 {
	t := sh.tableOf(h)
	i := t.home(h)
	pattern := uint64(tagOf(h)) * lowBits
	for n := t.lines; n > 0; n-- {
		line := t.line(i)
		for m := zeroBytes(load64(line) ^ pattern); m != 0; m &= m - 1 {
			ref := refAt(line, bits.TrailingZeros64(m)>>3)
			if sh.at(ref).hasKey(key) {
				return ref
			}
		}
		w := load64(unsafe.Add(line, 8))
		for m := zeroBytes(w^pattern) & 0x80808080; m != 0; m &= m - 1 {
			ref := refAt(line, 8+bits.TrailingZeros64(m)>>3)
			if sh.at(ref).hasKey(key) {
				return ref
			}
		}
		if w>>32 == 0 { // nobody passed this line
			return 0
		}
		if i++; i == t.lines {
			i = 0
		}
	}
	return 0
}

// insert adds a reference for a key that has none.
func (sh *shard) insert(h uint64, ref uint32) {
	t := sh.tableOf(h)
	for t.count >= limit(t.lines) {
		sh.grow(t, h)
		t = sh.tableOf(h)
	}
	t.place(h, ref)
}

// replace lets a key's entry point to another block.
func (sh *shard) replace(h uint64, from, to uint32) {
	t := sh.tableOf(h)
	i, cell, ok := t.cellOf(h, from)
	if !ok {
		panic("engine: BUG: a record has no index entry")
	}
	setRef(t.line(i), cell, to)
}

// remove deletes a key's entry and lets the index shrink.
func (sh *shard) remove(h uint64, ref uint32) {
	t := sh.tableOf(h)
	i, cell, ok := t.cellOf(h, ref)
	if !ok {
		panic("engine: BUG: a record has no index entry")
	}
	t.drop(h, i, cell)
	if t.count <= t.lines*(lineCells/4) && (t.lines > 1 || t.depth > 0) {
		sh.shrink(t, h)
	}
}

// grow makes room in the full table of hash h: it grows, or splits.
func (sh *shard) grow(t *table, h uint64) {
	if t.lines >= tableLinesMax {
		if sh.canSplit(t) {
			sh.split(t, h)
		} else {
			sh.resize(t, t.lines+t.lines/2)
		}
		return
	}
	sh.resize(t, tableSizes[sizeClass(t.lines)+1])
}

// canSplit also bounds the directory in terms of the tables it serves, so keys
// chosen to collide in their top bits cannot blow it up.
func (sh *shard) canSplit(t *table) bool {
	if t.depth < sh.depth() {
		return true
	}
	return t.depth < depthMax && len(sh.dir)*2 <= max(64, 8*sh.tables)
}

// resize moves a table's keys to one of another number of lines.
func (sh *shard) resize(t *table, lines uint32) {
	old := *t
	t.base, t.slab = sh.ks.slabs.alloc(lines)
	t.lines, t.count = lines, 0
	sh.rehash(&old, func(uint64) *table { return t })
	sh.freeTable(&old)
}

// rehash places all of a table's keys in the tables that to says.
func (sh *shard) rehash(from *table, to func(h uint64) *table) {
	sh.fetch(from)
	from.each(func(ref uint32) {
		h := sh.ks.hash(sh.at(ref).key())
		to(h).place(h, ref)
	})
}

// fetch reads a byte of every record of a table. The reads do not depend on each
// other, so the cache misses overlap, which those of hashing key after key do
// not: it halves the time of a rehash in a keyspace larger than the cache.
func (sh *shard) fetch(t *table) {
	sum := byte(0)
	for i := range t.lines {
		line := t.line(i)
		for s := range lineCells {
			if *tagAt(line, s) != 0 {
				sum += sh.at(refAt(line, s)).header()
			}
		}
	}
	sh.fetched = sum
}

// split divides a table's keys by their next bit.
func (sh *shard) split(t *table, h uint64) {
	if t.depth == sh.depth() {
		dir := make([]*table, 2*len(sh.dir))
		for i, e := range sh.dir {
			dir[2*i], dir[2*i+1] = e, e
		}
		sh.dir = dir
		sh.shift--
	}
	bit := 63 - t.depth
	var ones uint32
	sh.fetch(t)
	t.each(func(ref uint32) { ones += uint32(sh.ks.hash(sh.at(ref).key()) >> bit & 1) })
	depth := t.depth + 1
	half := [2]*table{
		sh.newTable(sh.roomFor(t.count-ones), depth),
		sh.newTable(sh.roomFor(ones), depth),
	}
	sh.rehash(t, func(h uint64) *table { return half[h>>bit&1] })
	sh.point(h, t.depth, half[0], half[1])
	sh.atLog[t.depth]--
	sh.atLog[depth] += 2
	sh.tables++
	sh.freeTable(t)
}

// roomFor is fit without its bound: for keys that may all fall on one side.
func (sh *shard) roomFor(keys uint32) uint32 {
	n := fit(keys)
	for limit(n) < keys {
		n += n / 2
	}
	return n
}

// point lets the directory entries that share the first depth bits of h refer to
// the tables for next bit 0 and 1.
func (sh *shard) point(h uint64, depth uint8, zero, one *table) {
	n := len(sh.dir) >> depth
	from := 0
	if depth > 0 {
		from = int(h>>(64-depth)) * n
	}
	for i := range n {
		if i < n/2 {
			sh.dir[from+i] = zero
		} else {
			sh.dir[from+i] = one
		}
	}
}

// shrink gives back a nearly empty table's memory: it joins its other half if
// both fit one table well, or becomes smaller.
func (sh *shard) shrink(t *table, h uint64) {
	if t.depth > 0 {
		other := sh.tableOf(h ^ 1<<(64-t.depth))
		if other.depth == t.depth && t.count+other.count <= limit(tableLinesMax)/3 {
			sh.join(t, other, h)
			return
		}
	}
	if n := fit(t.count); n < t.lines {
		sh.resize(t, n)
	}
}

func (sh *shard) join(a, b *table, h uint64) {
	depth := a.depth - 1
	t := sh.newTable(fit(a.count+b.count), depth)
	sh.rehash(a, func(uint64) *table { return t })
	sh.rehash(b, func(uint64) *table { return t })
	n := len(sh.dir) >> depth
	from := 0
	if depth > 0 {
		from = int(h>>(64-depth)) * n
	}
	for i := range n {
		sh.dir[from+i] = t
	}
	sh.atLog[depth+1] -= 2
	sh.atLog[depth]++
	sh.tables--
	sh.freeTable(a)
	sh.freeTable(b)
	for sh.depth() > 0 && sh.atLog[sh.depth()] == 0 {
		dir := make([]*table, len(sh.dir)/2)
		for i := range dir {
			dir[i] = sh.dir[2*i]
		}
		sh.dir = dir
		sh.shift++
	}
}
