package storage

import (
	"sync"
	"sync/atomic"
)

// DiskUsage is the state of a file system, in bytes and inodes (0 inodes: it does not count them).
type DiskUsage struct {
	Total, Free        uint64
	Inodes, FreeInodes uint64
}

const (
	// MinFreeInodes is the number of free inodes below which writes are refused.
	MinFreeInodes = 64
	// MinDefaultSegment is the size of a log segment, in bytes, on the smallest file system.
	MinDefaultSegment = 256 << 10

	maxReserve        = 256 << 20
	maxDefaultSegment = 64 << 20
	resumeNumer       = 5 // writes resume at 5/4 of the free space that stops them, so that they do not stop again at once
	resumeDenom       = 4
	smallFSDivisor    = 64 // a default segment is at most 1/64 of the file system
)

// DiskGuard refuses writes before the disk is full: below the reserve and what the next snapshot will need (without it the log
// could never be shortened), short of inodes, or without room for the next log segment. What was proposed before still has
// room in the current segment. Check runs once a second and after each segment.
type DiskGuard struct {
	dir     string
	reserve uint64
	segment int64
	usage   func(dir string) (DiskUsage, error)
	changed func(full *DiskFullError)

	snapshot atomic.Pointer[func() int64] // bytes the next snapshot will need; nil: not known yet

	free  atomic.Uint64
	short atomic.Bool                   // there is no spare segment and no room for one
	full  atomic.Pointer[DiskFullError] // nil: writes may go on
	mu    sync.Mutex                    // Check
}

// GuardConfig describes what a DiskGuard watches.
type GuardConfig struct {
	Dir     string
	Reserve uint64 // free bytes below which writes are refused
	Segment int64  // size of a log segment, in bytes
	// Usage looks at the file system. Nil: DiskSpace.
	Usage func(dir string) (DiskUsage, error)
	// Changed is called when writes are refused from now on, and with nil when they resume; one call at a time.
	Changed func(full *DiskFullError)
}

// NewDiskGuard makes a guard. It looks at the disk only when Check is called.
func NewDiskGuard(cfg GuardConfig) *DiskGuard {
	g := &DiskGuard{dir: cfg.Dir, reserve: cfg.Reserve, segment: cfg.Segment, usage: cfg.Usage, changed: cfg.Changed}
	if g.usage == nil {
		g.usage = DiskSpace
	}
	return g
}

// SetSnapshotNeed says how many bytes the next snapshot, or the rest of the one being written, will need.
func (g *DiskGuard) SetSnapshotNeed(need func() int64) { g.snapshot.Store(&need) }

// Full is nil while writes may go on; else the reason they are refused. It is cheap.
func (g *DiskGuard) Full() *DiskFullError { return g.full.Load() }

// Free is the number of free bytes at the last Check.
func (g *DiskGuard) Free() uint64 { return g.free.Load() }

// DefaultReserve is the smaller of 5 % and 256 MiB.
func DefaultReserve(d DiskUsage) uint64 { return min(d.Total/20, maxReserve) }

// DefaultSegment is 64 MiB, or a power of two that fits 64 times into a small file system.
func DefaultSegment(d DiskUsage) int64 {
	size := int64(maxDefaultSegment)
	for size > MinDefaultSegment && uint64(size) > d.Total/smallFSDivisor {
		size /= 2
	}
	return size
}

// Room says whether n bytes may be allocated and still leave the reserve.
func (g *DiskGuard) Room(n int64) bool {
	d, err := g.usage(g.dir)
	return err != nil || d.Free >= g.reserve+uint64(n)
}

// snapshotRoom is what is kept free for the next snapshot, or for the rest of the one being written.
func (g *DiskGuard) snapshotRoom() uint64 {
	if fn := g.snapshot.Load(); fn != nil {
		return uint64(max(0, (*fn)()))
	}
	return 0
}

// roomForLog is Room for the log, which must also leave the room of the next snapshot.
func (g *DiskGuard) roomForLog(n int64) bool { return g.Room(n + int64(g.snapshotRoom())) }

// Low says that half of what is free may still be used before writes are refused.
func (g *DiskGuard) Low() bool {
	d, err := g.usage(g.dir)
	return err == nil && d.Free < 2*(g.reserve+g.snapshotRoom())
}

// setShort says whether the next segment is missing for want of room. The current one may fill up long before the next look
// at the disk.
func (g *DiskGuard) setShort(is bool) {
	if g.short.Swap(is) != is {
		g.Check()
	}
}

// Check looks at the file system and refuses or resumes writes.
func (g *DiskGuard) Check() {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.full.Load()
	d, err := g.usage(g.dir)
	if err != nil {
		return // the state of the disk is not known: nothing changes
	}
	g.free.Store(d.Free)
	need, inodes := g.reserve, uint64(MinFreeInodes)
	if was != nil {
		need = need * resumeNumer / resumeDenom
		inodes = inodes * resumeNumer / resumeDenom
	}
	ahead := g.snapshotRoom()
	var full *DiskFullError
	switch {
	case d.Free < need:
		full = &DiskFullError{Dir: g.dir, Free: d.Free, Need: need, What: "free bytes"}
	case d.Free < need+ahead:
		full = &DiskFullError{Dir: g.dir, Free: d.Free, Need: need + ahead, What: "free bytes for the next snapshot"}
	case d.Inodes > 0 && d.FreeInodes < inodes:
		full = &DiskFullError{Dir: g.dir, Free: d.FreeInodes, Need: inodes, What: "free inodes"}
	case g.short.Load():
		full = &DiskFullError{Dir: g.dir, Free: d.Free, Need: need + ahead + uint64(g.segment), What: "free bytes for the next log segment"}
	}
	switch {
	case full != nil:
		g.full.Store(full)
		if was == nil {
			g.changed(full)
		}
	case was != nil:
		g.full.Store(nil)
		g.changed(nil)
	}
}
