package engine

import "unsafe"

// Reclaim removes up to max records of a part whose deadlines have passed at log
// time now, and tells the observers OpReclaim for each; read is the number of chunks it
// has looked through, more says that others may be due. It locks the part.
//
// There is no memory per deadline: each chunk knows a lower bound of the
// deadlines in it, and only chunks whose bound is due are read (about 5 µs each).
// now must not be later than that of any later Txn.
func (ks *Keyspace) Reclaim(part int, now int64, max int) (removed, read int, more bool) {
	if ks.due[part].Load() > now {
		return 0, 0, false
	}
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	ks.tick(now)
	for db := range ks.databases + 1 {
		sh := ks.shard(part, db)
		if sh == nil || sh.due > now {
			continue
		}
		n, chunks := sh.reclaimDue(now, max-removed)
		removed, read = removed+n, read+chunks
	}
	ks.refreshDue(part)
	return removed, read, ks.due[part].Load() <= now
}

// reclaimDue removes up to max expired records and raises the bounds.
func (sh *shard) reclaimDue(now int64, max int) (removed, read int) {
	due := int64(noDeadline)
	for ci := uint32(1); ci < uint32(len(sh.meta)); ci++ {
		c := &sh.meta[ci]
		if c.due <= now && sh.base[ci] != nil {
			removed += sh.reclaimChunk(ci, now, max-removed)
			read++
		}
		due = min(due, sh.meta[ci].due)
	}
	sh.due = due
	sh.compact()
	return removed, read
}

func (sh *shard) reclaimChunk(ci uint32, now int64, max int) (removed int) {
	due := int64(noDeadline)
	base := sh.base[ci]
	for off := uint32(0); off < sh.meta[ci].used; {
		r := record{unsafe.Add(base, uintptr(off))}
		if r.isFree() {
			off += r.freeSize()
			continue
		}
		size := r.block()
		if r.header()&hasDeadline != 0 {
			deadline := r.deadline()
			if deadline > now || removed == max {
				due = min(due, deadline)
			} else {
				ref := ci<<chunkRefLog | off>>refUnitLog
				sh.reclaim(sh.ks.hash(r.key()), ref, now, nil)
				removed++
			}
		}
		off += size
	}
	if c := &sh.meta[ci]; sh.base[ci] != nil {
		c.due = due
	}
	return removed
}
