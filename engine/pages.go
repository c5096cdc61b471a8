package engine

import (
	"fmt"
	"math/bits"
	"sort"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Memory comes from the system in regions of 64 MiB and is handed out in
// extents of a power of two of pages (a buddy allocator). An extent that comes
// back is given back to the system with madvise, which keeps the mapping: the
// number of mappings stays at one per region, far from vm.max_map_count,
// whatever sizes come and go. Pages of an extent that were never touched cost
// nothing, so rounding up to a power of two costs addresses, not memory.
const (
	pageBytes      = 4096
	regionBytesLog = 26
	regionBytes    = 1 << regionBytesLog
	regionOrder    = regionBytesLog - 12 // order of an extent that fills a region
	regionAlign    = 2 << 20             // so that huge pages fit

	// warmMax freed chunks stay resident for the next taker, which saves a
	// madvise and eight page faults each while chunks come and go.
	warmMax = 64
)

// pages hands out extents. Safe for concurrent use.
type pages struct {
	mu      sync.Mutex
	regions []*region            // by address
	huge    map[uintptr]*mapping // extents larger than a region, each mapped on its own
	warm    []unsafe.Pointer     // chunk-sized extents that are free but resident
	closed  bool

	out atomic.Int64 // bytes in extents handed out and in warm
}

// mapping is a piece of memory from the system.
type mapping struct {
	raw  []byte
	base unsafe.Pointer // raw, aligned
}

// region is one mapping of regionBytes, cut into extents.
type region struct {
	mapping
	small uintptr // bytes at its start that never get huge pages
	holes int32   // pages given back and, as far as known, not taken again
	plain bool    // no huge pages are made in it for now
	mask  uint32  // bit o is set if free[o] has a bit set
	count [regionOrder + 1]int32
	hint  [regionOrder + 1]int32 // no word of free[o] below it has a bit
	free  [regionOrder + 1][]uint64
}

// orderOf returns the order of the smallest extent of at least n bytes.
func orderOf(n int) int {
	if n <= pageBytes {
		return 0
	}
	return bits.Len(uint(n-1)) - 12
}

// extentBytes returns the size of the extent that alloc gives for n bytes.
func extentBytes(n int) int {
	if n > regionBytes {
		return pageRound(n)
	}
	return pageBytes << orderOf(n)
}

func pageRound(n int) int { return (n + pageBytes - 1) &^ (pageBytes - 1) }

// alloc returns an extent of at least n bytes, page-aligned, with undefined content.
// Without memory the node cannot keep its promises, so it stops.
func (ps *pages) alloc(n int) unsafe.Pointer {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if n > regionBytes {
		m := mustMap(pageRound(n))
		if ps.huge == nil {
			ps.huge = make(map[uintptr]*mapping)
		}
		ps.huge[uintptr(m.base)] = m
		ps.out.Add(int64(pageRound(n)))
		return m.base
	}
	order := orderOf(n)
	if k := len(ps.warm); k > 0 && order == chunkOrder {
		p := ps.warm[k-1]
		ps.warm = ps.warm[:k-1]
		return p
	}
	ps.out.Add(pageBytes << order)
	for _, r := range ps.regions {
		if r.mask>>order != 0 {
			return r.take(order)
		}
	}
	small := uintptr(0)
	if len(ps.regions) == 0 {
		small = smallPageBytes
	}
	r := newRegion(small)
	at := sort.Search(len(ps.regions), func(i int) bool { return uintptr(ps.regions[i].base) > uintptr(r.base) })
	ps.regions = append(ps.regions, nil)
	copy(ps.regions[at+1:], ps.regions[at:])
	ps.regions[at] = r
	return r.take(order)
}

// release takes back the extent that alloc gave for n bytes.
func (ps *pages) release(p unsafe.Pointer, n int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.closed {
		return
	}
	if n > regionBytes {
		m := ps.huge[uintptr(p)]
		delete(ps.huge, uintptr(p))
		ps.out.Add(-int64(pageRound(n)))
		unmapMemory(m.raw)
		return
	}
	order := orderOf(n)
	if order == chunkOrder && len(ps.warm) < warmMax {
		ps.warm = append(ps.warm, p)
		return
	}
	ps.out.Add(-(pageBytes << order))
	at := sort.Search(len(ps.regions), func(i int) bool { return uintptr(ps.regions[i].base) > uintptr(p) })
	if at == 0 {
		panic("engine: BUG: an extent of no region was released")
	}
	r := ps.regions[at-1]
	off := uintptr(p) - uintptr(r.base)
	if off >= regionBytes || off&(pageBytes<<order-1) != 0 {
		panic("engine: BUG: released what is not an extent")
	}
	discardMemory(unsafe.Slice((*byte)(p), pageBytes<<order))
	r.give(int32(off>>12), order)
}

// close unmaps everything. No extent may be used afterwards.
func (ps *pages) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.closed = true
	for _, r := range ps.regions {
		unmapMemory(r.raw)
	}
	for _, m := range ps.huge {
		unmapMemory(m.raw)
	}
	ps.regions, ps.huge, ps.warm = nil, nil, nil
}

func mustMap(n int) *mapping {
	raw, err := mapMemory(n + regionAlign)
	if err != nil {
		panic(fmt.Sprintf("engine: out of memory: the system refused %d MiB for keys: %v", n>>20, err))
	}
	pad := -uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & (regionAlign - 1)
	return &mapping{raw: raw, base: unsafe.Add(unsafe.Pointer(unsafe.SliceData(raw)), pad)}
}

// smallPageBytes is how much at the start of the first region keeps small pages: a
// small keyspace is spread over many half-filled chunks and would pay for huge
// ones, a large one fills them and saves most of its address translation misses
// (INCR of 1,000,000 random counters at pipeline 100: 0.92 instead of 0.98 µs of
// CPU time, means of six measurements; `make bench` prints it).
const smallPageBytes = 8 << 20

// newRegion maps a region whose first small bytes keep small pages.
func newRegion(small uintptr) *region {
	r := &region{mapping: *mustMap(regionBytes), small: small}
	adviseHuge(r.hugeable())
	for o := range r.free {
		r.free[o] = make([]uint64, (1<<(regionOrder-o)+63)/64)
	}
	r.set(0, regionOrder)
	return r
}

func (r *region) hugeable() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(r.base, r.small)), regionBytes-r.small)
}

// maxHoles is how many pages of a region may be given back before the system is
// told to make no more huge pages there. It would fill the holes to make one, and
// what was given back would be resident again: half a minute after half of 5,000,001
// counters were deleted, 28 of the 52 MB freed had come back.
const maxHoles = 1 << regionOrder / 32

// dig counts pages given back (n > 0) or taken (n < 0).
func (r *region) dig(n int32) {
	r.holes = max(0, r.holes+n)
	switch {
	case !r.plain && r.holes > maxHoles:
		r.plain = true
		adviseSmall(r.hugeable())
	case r.plain && r.holes == 0:
		r.plain = false
		adviseHuge(r.hugeable())
	}
}

func (r *region) set(block int32, order int) {
	r.free[order][block>>6] |= 1 << (block & 63)
	r.hint[order] = min(r.hint[order], block>>6)
	r.count[order]++
	r.mask |= 1 << order
}

func (r *region) clear(block int32, order int) {
	r.free[order][block>>6] &^= 1 << (block & 63)
	if r.count[order]--; r.count[order] == 0 {
		r.mask &^= 1 << order
	}
}

// take cuts the lowest free extent of the smallest order that will do.
func (r *region) take(order int) unsafe.Pointer {
	o := order + bits.TrailingZeros32(r.mask>>order)
	w := r.hint[o]
	for r.free[o][w] == 0 {
		w++
	}
	r.hint[o] = w
	block := w<<6 + int32(bits.TrailingZeros64(r.free[o][w]))
	r.clear(block, o)
	for o > order {
		o--
		block <<= 1
		r.set(block+1, o)
	}
	if r.holes > 0 {
		r.dig(-1 << order)
	}
	return unsafe.Add(r.base, uintptr(block)<<(12+order))
}

// give takes back an extent by its first page and joins it with its free buddies.
func (r *region) give(page int32, order int) {
	r.dig(1 << order)
	block := page >> order
	for order < regionOrder {
		buddy := block ^ 1
		if r.free[order][buddy>>6]>>(buddy&63)&1 == 0 {
			break
		}
		r.clear(buddy, order)
		block >>= 1
		order++
	}
	r.set(block, order)
}
