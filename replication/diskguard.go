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

// diskGuard refuses writes before the disk is full: below the reserve, short of inodes, or without room for the next log
// segment. What was proposed before still has room in the current segment. check runs once a second and after each segment.
type diskGuard struct {
	dir     string
	reserve uint64
	segment int64
	usage   func(dir string) (diskUsage, error)
	changed func(full error) // writes are refused from now on (nil: resume)

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
	var full *DiskFullError
	switch {
	case d.free < need:
		full = &DiskFullError{Dir: g.dir, Free: d.free, Need: need, What: "free bytes"}
	case d.inodes > 0 && d.freeInodes < inodes:
		full = &DiskFullError{Dir: g.dir, Free: d.freeInodes, Need: inodes, What: "free inodes"}
	case g.short.Load():
		full = &DiskFullError{Dir: g.dir, Free: d.free, Need: need + uint64(g.segment), What: "free bytes for the next log segment"}
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
