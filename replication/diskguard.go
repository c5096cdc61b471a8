package replication

import (
	"sync"
	"sync/atomic"
)

// diskUsage is the state of a file system, in bytes and inodes (0 inodes: it does not count them).
type diskUsage struct {
	total, free        uint64
	inodes, freeInodes uint64
}

const (
	maxReserve     = 256 << 20
	minFreeInodes  = 64
	resumeNumer    = 5 // writes resume at 5/4 of what stops them, so that they do not flap
	resumeDenom    = 4
	smallFSDivisor = 64 // default segment: at most this part of the file system
	minSegment     = 256 << 10
)

// diskGuard refuses writes before the disk is full: below the reserve and what the next snapshot will need (without it the log
// could never be shortened), short of inodes, or without room for the next log segment. What was proposed before still has
// room in the current segment. check runs once a second and after each segment.
type diskGuard struct {
	dir     string
	reserve uint64
	segment int64
	usage   func(dir string) (diskUsage, error)
	changed func(full error) // writes are refused from now on (nil: resume)

	snapshot atomic.Pointer[func() int64] // bytes the next snapshot will need; nil: not known yet

	free  atomic.Uint64
	short atomic.Bool                     // there is no spare segment and no room for one
	full  atomic.Pointer[NotAppliedError] // nil: writes may go on
	mu    sync.Mutex                      // check
}

// defaultReserve is the smaller of 5 % and 256 MiB.
func defaultReserve(d diskUsage) uint64 { return min(d.total/20, maxReserve) }

// defaultSegment is 64 MiB, or a power of two that fits 64 times into a small file system.
func defaultSegment(d diskUsage) int64 {
	size := int64(defaultSegmentBytes)
	for size > minSegment && uint64(size) > d.total/smallFSDivisor {
		size /= 2
	}
	return size
}

// room says whether n bytes may be allocated and still leave the reserve.
func (g *diskGuard) room(n int64) bool {
	d, err := g.usage(g.dir)
	return err != nil || d.free >= g.reserve+uint64(n)
}

// snapshotRoom is what is kept free for the next snapshot, or for the rest of the one being written.
func (g *diskGuard) snapshotRoom() uint64 {
	if fn := g.snapshot.Load(); fn != nil {
		return uint64(max(0, (*fn)()))
	}
	return 0
}

// roomForLog is room, for what must not be taken from the next snapshot.
func (g *diskGuard) roomForLog(n int64) bool { return g.room(n + int64(g.snapshotRoom())) }

// low says that half of what is free may still be used before writes are refused.
func (g *diskGuard) low() bool {
	d, err := g.usage(g.dir)
	return err == nil && d.free < 2*(g.reserve+g.snapshotRoom())
}

// setShort says whether the next segment is missing for want of room. The current one may fill up long before the next look
// at the disk.
func (g *diskGuard) setShort(is bool) {
	if g.short.Swap(is) != is {
		g.check()
	}
}

// check looks at the file system and refuses or resumes writes.
func (g *diskGuard) check() {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.full.Load()
	d, err := g.usage(g.dir)
	if err != nil {
		return // not being able to ask is no reason to change anything
	}
	g.free.Store(d.free)
	need, inodes := g.reserve, uint64(minFreeInodes)
	if was != nil {
		need = need * resumeNumer / resumeDenom
		inodes = inodes * resumeNumer / resumeDenom
	}
	ahead := g.snapshotRoom()
	var full *DiskFullError
	switch {
	case d.free < need:
		full = &DiskFullError{Dir: g.dir, Free: d.free, Need: need, What: "free bytes"}
	case d.free < need+ahead:
		full = &DiskFullError{Dir: g.dir, Free: d.free, Need: need + ahead, What: "free bytes for the next snapshot"}
	case d.inodes > 0 && d.freeInodes < inodes:
		full = &DiskFullError{Dir: g.dir, Free: d.freeInodes, Need: inodes, What: "free inodes"}
	case g.short.Load():
		full = &DiskFullError{Dir: g.dir, Free: d.free, Need: need + ahead + uint64(g.segment), What: "free bytes for the next log segment"}
	}
	switch {
	case full != nil:
		g.full.Store(&NotAppliedError{Reason: full})
		if was == nil {
			g.changed(full)
		}
	case was != nil:
		g.full.Store(nil)
		g.changed(nil)
	}
}
