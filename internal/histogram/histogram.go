// Package histogram counts values by size, for those who must not wait for who reads the counts. The server shows them to Prometheus
// (server/metrics.go); what is counted (a commit, a sync) does not know of that.
package histogram

import (
	"math/bits"
	"sync/atomic"
)

// Bounds is how many bounds a histogram has: the last is 262,144 times the first.
const Bounds = 19

// Histogram counts values in buckets. The i-th has those up to unit·2^i that are above the bucket before, and one more has those above
// all bounds. So a bucket is found without a search, and a value costs two additions to memory that hardly anybody else writes
// (BenchmarkObserve). Any goroutine may use it.
type Histogram struct {
	unit    uint64
	buckets [Bounds + 1]atomic.Int64
	sum     atomic.Int64
}

// New returns an empty histogram whose first bound is unit, above 0.
func New(unit int64) *Histogram { return &Histogram{unit: uint64(unit)} }

// Observe counts a value. One below 0, such as a time that a clock has measured backwards, counts as 0.
func (h *Histogram) Observe(v int64) {
	v = max(v, 0)
	i := bits.Len64((uint64(max(v, 1)) - 1) / h.unit)
	h.buckets[min(i, Bounds)].Add(1)
	h.sum.Add(v)
}

// Values is what a histogram has counted.
type Values struct {
	Bounds [Bounds]int64
	UpTo   [Bounds]uint64 // how many values are not above the bound
	Count  uint64         // of all values
	Sum    int64          // of them; while values come it may have one that Count has not, and the other way round
}

// Read returns what was counted up to now. Values that come meanwhile may be in it.
func (h *Histogram) Read() (v Values) {
	v.Sum = h.sum.Load()
	for i := range h.buckets {
		v.Count += uint64(h.buckets[i].Load())
		if i < Bounds {
			v.Bounds[i], v.UpTo[i] = int64(h.unit)<<i, v.Count
		}
	}
	return v
}
