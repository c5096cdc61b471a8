package engine

import (
	"runtime"
	"sync/atomic"
)

// Striped is a counter that many cores add to at once: it has a stripe, a cache line of its own, for each core, and a
// sum adds the stripes up. An addition to a line that no other core writes takes a few nanoseconds on any number of cores,
// while cores that share one atomic wait for each other (BenchmarkCounter). The price is a cache line a core, and slower
// sums. Every addition is in exactly one stripe, so a sum is exact once additions rest.
type Striped struct {
	stripes []cacheLine
	mask    uint32
}

type cacheLine struct {
	n atomic.Int64
	_ [56]byte
}

// NewStriped returns a counter with a stripe for each processor, at 0.
func NewStriped() *Striped {
	n := 1
	for n < runtime.GOMAXPROCS(0) {
		n *= 2
	}
	return &Striped{stripes: make([]cacheLine, n), mask: uint32(n - 1)}
}

// Add adds n. stripe is any number, best one that the caller, such as an event loop, uses alone and always: callers that
// share a stripe only lose speed.
func (s *Striped) Add(stripe uint32, n int64) { s.stripes[stripe&s.mask].n.Add(n) }

// Sum returns the sum of all additions that have returned, and maybe of some under way.
func (s *Striped) Sum() int64 {
	sum := int64(0)
	for i := range s.stripes {
		sum += s.stripes[i].n.Load()
	}
	return sum
}

// Take returns the sum and sets it to 0. Each addition is in the result of exactly one Take, or still there.
func (s *Striped) Take() int64 {
	sum := int64(0)
	for i := range s.stripes {
		sum += s.stripes[i].n.Swap(0)
	}
	return sum
}
