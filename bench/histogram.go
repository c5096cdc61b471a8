package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets less than 1 % wide: 128 for each power
// of two nanoseconds, and one for each nanosecond below 256.
//
//	bucket of v = e × 128 + (v >> e), where e is chosen so that v >> e has 8 bits
type histogram struct {
	counts [57*128 + 128]uint64
	total  uint64
	max    time.Duration
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	e := max(bits.Len64(v)-8, 0)
	return e*128 + int(v>>e)
}

// bucketMiddle is the middle of a bucket's durations.
func bucketMiddle(i int) time.Duration {
	if i < 256 {
		return time.Duration(i)
	}
	e := i/128 - 1
	low := uint64(i-e*128) << e
	return time.Duration(low + (uint64(1)<<e)/2)
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	h.max = max(h.max, d)
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// quantile is the duration that the fraction q of all did not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.total))
	if rank >= h.total {
		return h.max
	}
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen > rank {
			return min(bucketMiddle(i), h.max)
		}
	}
	return h.max
}
