package engine

import (
	"fmt"
	"unsafe"
)

// Check verifies every invariant of the keyspace and returns the first that is
// broken. It locks everything for as long as that takes: it is for tests and for
// looking into a suspected defect.
func (ks *Keyspace) Check() error {
	ks.janitor.wait()
	var all PartSet
	all.AddAll()
	ks.Lock(&all)
	defer ks.Unlock(&all)
	var sum checkSums
	for part := range Parts {
		due := int64(noDeadline)
		for db := range ks.databases + 1 {
			sh := ks.shard(part, db)
			if sh == nil {
				continue
			}
			if err := sh.check(&sum); err != nil {
				return fmt.Errorf("part %d of database %d: %w", part, db, err)
			}
			due = min(due, sh.due)
		}
		if got := ks.due[part].Load(); got > due {
			return fmt.Errorf("part %d: bound of deadlines is %d, a shard's is %d", part, got, due)
		}
	}
	if err := ks.checkAhead(); err != nil {
		return err
	}
	if err := ks.checkShared(); err != nil {
		return err
	}
	return ks.checkSums(&sum)
}

// checkSums are what the keyspace's own sums should be.
type checkSums struct {
	lengths                                  [lengthClasses]int32 // shards with values of each class
	live, dead, arena, wide, tables, extents int64
}

func (ks *Keyspace) checkSums(want *checkSums) error {
	for _, c := range []struct {
		name      string
		got, want int64
	}{
		{"live bytes", ks.liveBytes.Load(), want.live},
		{"dead bytes", ks.deadBytes.Load(), want.dead},
		{"arena bytes", ks.arenaBytes.Load(), want.arena},
		{"bytes of wide records", ks.wideBytes.Load(), want.wide},
	} {
		if c.got != c.want {
			return fmt.Errorf("sum of %s is %d, should be %d", c.name, c.got, c.want)
		}
	}
	if ks.lengths.shards != want.lengths {
		return fmt.Errorf("shards with values of each length: %v, should be %v", ks.lengths.shards, want.lengths)
	}
	if got := ks.slabs.bytes.Load(); got < want.tables {
		return fmt.Errorf("tables of %d bytes in slabs of %d", want.tables, got)
	}
	if ks.snapshot.Load() != nil {
		return nil // it holds extents too
	}
	want.extents += ks.slabs.bytes.Load() + int64(len(ks.pages.warm))*chunkBytes
	if got := ks.pages.out.Load(); got != want.extents {
		return fmt.Errorf("extents of %d bytes are out, %d are in use", got, want.extents)
	}
	return nil
}

func (sh *shard) check(sum *checkSums) error {
	live := make(map[uint32]bool)
	if err := sh.checkArena(live, sum); err != nil {
		return err
	}
	if err := sh.checkIndex(live, sum); err != nil {
		return err
	}
	for ref, indexed := range live {
		if !indexed {
			return fmt.Errorf("record %#x (key %q) is not indexed", ref, sh.at(ref).key())
		}
	}
	return nil
}

// arenaCount is what a walk over a shard's chunks counts.
type arenaCount struct {
	lengths                          [lengthClasses]int32
	keys, expires, units, live, dead int64
}

// checkArena checks chunks, blocks, free lists and counters, and collects the
// references of live records.
func (sh *shard) checkArena(live map[uint32]bool, sum *checkSums) error {
	free := make(map[uint32]bool)
	var n arenaCount
	chunks := 0
	for ci := uint32(1); ci < uint32(len(sh.meta)); ci++ {
		c := &sh.meta[ci]
		if sh.base[ci] == nil {
			if c.live != 0 || c.used != 0 || c.pin != nil {
				return fmt.Errorf("chunk %d is given up but not empty", ci)
			}
			continue
		}
		chunks++
		sum.extents += int64(c.size)
		if !c.own {
			sum.arena += chunkBytes
		} else {
			sum.wide += int64(c.live)
		}
		if c.pin != nil && (c.pin.state != pinned || c.pin.base != sh.base[ci] || sh.snap == nil) {
			return fmt.Errorf("chunk %d has a wrong pin", ci)
		}
		if err := sh.checkChunk(ci, &n, live, free); err != nil {
			return fmt.Errorf("chunk %d: %w", ci, err)
		}
	}
	if chunks+len(sh.spare) != len(sh.meta)-1 {
		return fmt.Errorf("%d chunks and %d spare numbers of %d", chunks, len(sh.spare), len(sh.meta)-1)
	}
	if noted := (arenaCount{sh.lengths, sh.keys.Load(), sh.expires.Load(), sh.deadline.Load(), sh.live, sh.dead}); n != noted {
		return fmt.Errorf("counted %+v, noted %+v", n, noted)
	}
	for class, n := range sh.lengths {
		if n != 0 {
			sum.lengths[class]++
		}
	}
	sum.live += sh.live - sh.liveStep
	sum.dead += sh.dead - sh.deadStep
	return sh.checkFreeLists(free)
}

// checkChunk checks one chunk and adds its records to the counts.
func (sh *shard) checkChunk(ci uint32, n *arenaCount, live, free map[uint32]bool) error {
	c := &sh.meta[ci]
	if c.used > c.size || !c.own && c.size != chunkBytes {
		return fmt.Errorf("%d of %d bytes are used", c.used, c.size)
	}
	if c.due < sh.due {
		return fmt.Errorf("due at %d, the shard at %d", c.due, sh.due)
	}
	liveBytes := int64(0)
	for off := uint32(0); off < c.used; {
		r := record{unsafe.Add(sh.base[ci], uintptr(off))}
		ref := ci<<chunkRefLog | off>>refUnitLog
		if r.isFree() {
			free[ref] = true
			n.dead += int64(r.freeSize())
			if off += r.freeSize(); r.freeSize() < minBlock || off > c.used || c.own {
				return fmt.Errorf("free block %#x of %d bytes is impossible", ref, r.freeSize())
			}
			continue
		}
		if err := sh.checkRecord(ci, off, r); err != nil {
			return fmt.Errorf("record %#x: %w", ref, err)
		}
		if d := r.deadline(); d != 0 {
			n.expires++
			n.units += deadlineUnits(d)
		}
		if class := lengthClass(r.contentLength()); class >= 0 {
			n.lengths[class]++
		}
		live[ref] = false
		n.keys++
		liveBytes += int64(r.block())
		off += r.block()
	}
	if !c.own && liveBytes != int64(c.live) || liveBytes == 0 && c.used > 0 {
		return fmt.Errorf("%d live bytes, counted %d", liveBytes, c.live)
	}
	n.live += int64(c.live)
	return nil
}

// partOf is the part that a key of the shard's database belongs to.
func (sh *shard) partOf(key []byte) int {
	if sh.db == sh.ks.databases {
		return hiddenPart(key)
	}
	return Part(key)
}

func (sh *shard) checkRecord(ci, off uint32, r record) error {
	c := &sh.meta[ci]
	if r.block() < minBlock || off+r.block() > c.used {
		return fmt.Errorf("header %#x, %d bytes are impossible", r.header(), r.block())
	}
	if r.header()&hasTail != 0 {
		if n, capacity := r.length(); r.kind() == KindInt || n+tailRoom(len(r.ownTail())) > capacity {
			return fmt.Errorf("a tail of %d bytes behind %d of %d", len(r.ownTail()), n, capacity)
		}
	}
	if isWide := r.header()&wide != 0; c.own != isWide ||
		isWide && (off != 0 || r.block() != c.used || int64(c.live) < int64(pageRound(int(r.bytes())))) {
		return fmt.Errorf("a wide record does not fit its chunk")
	}
	if sh.partOf(r.key()) != sh.part {
		return fmt.Errorf("key %q is in part %d", r.key(), sh.part)
	}
	if d := r.deadline(); d != 0 && d < c.due {
		return fmt.Errorf("key %q is due at %d, its chunk at %d", r.key(), d, c.due)
	}
	return nil
}

// checkFreeLists checks that exactly the given blocks are listed, each under its size.
func (sh *shard) checkFreeLists(free map[uint32]bool) error {
	for class, head := range sh.free {
		prev := uint32(0)
		for ref := head; ref != 0; ref = sh.at(ref).next() {
			r := sh.at(ref)
			if !free[ref] {
				return fmt.Errorf("block %#x is listed as free wrongly or twice", ref)
			}
			delete(free, ref)
			if c, size := blockClass(r.freeSize()); c != class || size != r.freeSize() {
				return fmt.Errorf("free block %#x of %d bytes is in list %d", ref, r.freeSize(), class)
			}
			if r.prev() != prev {
				return fmt.Errorf("free block %#x has a wrong back link", ref)
			}
			prev = ref
		}
	}
	if len(free) > 0 {
		return fmt.Errorf("%d free blocks are in no list", len(free))
	}
	return nil
}

// checkIndex checks the directory and all tables, and marks the records found.
func (sh *shard) checkIndex(live map[uint32]bool, sum *checkSums) error {
	if len(sh.dir) != 1<<sh.depth() || sh.depth() > depthMax {
		return fmt.Errorf("directory of %d entries has depth %d", len(sh.dir), sh.depth())
	}
	var atLog [depthMax + 1]uint32
	tables := 0
	for i := 0; i < len(sh.dir); {
		t := sh.dir[i]
		if t.depth > sh.depth() {
			return fmt.Errorf("table of depth %d in a directory of depth %d", t.depth, sh.depth())
		}
		span := len(sh.dir) >> t.depth
		if i%span != 0 {
			return fmt.Errorf("table of depth %d begins at entry %d", t.depth, i)
		}
		for j := range span {
			if sh.dir[i+j] != t {
				return fmt.Errorf("entries %d and %d differ", i, i+j)
			}
		}
		if err := sh.checkTable(t, uint64(i/span), live); err != nil {
			return fmt.Errorf("table at entry %d: %w", i, err)
		}
		atLog[t.depth]++
		tables++
		sum.tables += int64(t.lines) * lineBytes
		if t.slab == nil {
			sum.extents += int64(extentBytes(int(t.lines)*lineBytes)) - int64(pageRound(int(t.lines)*lineBytes))
		}
		i += span
	}
	if tables != sh.tables || atLog != sh.atLog {
		return fmt.Errorf("%d tables by depth %v, noted %d, %v", tables, atLog, sh.tables, sh.atLog)
	}
	return nil
}

// checkTable checks the table of hashes that start with the given prefix.
func (sh *shard) checkTable(t *table, prefix uint64, live map[uint32]bool) error {
	pass := make([]uint32, t.lines)
	count := uint32(0)
	for i := range t.lines {
		line := t.line(i)
		for cell := range lineCells {
			tag := *tagAt(line, cell)
			if tag == 0 {
				continue
			}
			count++
			ref := refAt(line, cell)
			if indexed, ok := live[ref]; !ok || indexed {
				return fmt.Errorf("reference %#x leads to no record or is there twice", ref)
			}
			live[ref] = true
			key := sh.at(ref).key()
			h := sh.ks.hash(key)
			if tag != tagOf(h) {
				return fmt.Errorf("key %q has tag %d, not %d", key, tag, tagOf(h))
			}
			if t.depth > 0 && h>>(64-t.depth) != prefix {
				return fmt.Errorf("key %q belongs to another table", key)
			}
			for j := t.home(h); j != i; {
				pass[j]++
				if j++; j == t.lines {
					j = 0
				}
			}
			if sh.find(h, key) != ref {
				return fmt.Errorf("key %q is not found, or twice", key)
			}
		}
	}
	for i, n := range pass {
		if got := passed(t.line(uint32(i))); got != n {
			return fmt.Errorf("line %d was passed by %d keys, notes %d", i, n, got)
		}
	}
	if count != t.count || count > limit(t.lines) {
		return fmt.Errorf("%d keys, noted %d, limit %d", count, t.count, limit(t.lines))
	}
	return nil
}
