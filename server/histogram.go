package server

import "math/bits"

// timeHistogram counts times of 1 ns to 34 s by their length, to within 3 %: those of 2^k to 2^(k+1) ns share fineness buckets.
type timeHistogram struct {
	total   int64
	buckets [histogramBuckets]int64
}

const (
	fineBits         = 5
	fineness         = 1 << fineBits
	longestBits      = 35
	histogramBuckets = (longestBits-fineBits)*fineness + fineness
)

// bucketOf is the bucket of ns. Times below 2*fineness have one each.
func bucketOf(ns int64) int {
	ns = min(max(ns, 0), 1<<longestBits-1)
	shift := max(bits.Len64(uint64(ns))-fineBits-1, 0)
	return shift*fineness + int(ns>>shift)
}

// longestIn is the longest time in a bucket.
func longestIn(bucket int) int64 {
	shift := max(bucket/fineness-1, 0)
	return int64(bucket-shift*fineness+1)<<shift - 1
}

func (h *timeHistogram) add(ns, count int64) {
	h.buckets[bucketOf(ns)] += count
	h.total += count
}

// addLike adds count times that are spread as those in sample, which has some.
func (h *timeHistogram) addLike(sample *timeHistogram, count int64) {
	var seen, given int64
	for i, n := range sample.buckets {
		if n == 0 {
			continue
		}
		seen += n
		upTo := int64(float64(count) * float64(seen) / float64(sample.total))
		if seen == sample.total {
			upTo = count
		}
		h.buckets[i] += upTo - given
		given = upTo
	}
	h.total += count
}

// percentile is the time in ns that so many per cent do not exceed; there are some.
func (h *timeHistogram) percentile(percent float64) int64 {
	rank := max(int64(percent/100*float64(h.total)+0.5), 1)
	var seen int64
	for i, n := range h.buckets {
		if seen += n; seen >= rank {
			return longestIn(i)
		}
	}
	return longestIn(histogramBuckets - 1)
}

// cumulative calls fn with each time, 1 µs and its doubles, in whole microseconds as Redis shows them, up to which there are more
// than up to the one before.
func (h *timeHistogram) cumulative(fn func(usec, count int64)) {
	var seen, told int64
	at := 0
	for limit := int64(1024); seen < h.total; limit *= 2 {
		limit := limit + limit/128 - 1 // as far as Redis's bucket reaches
		for ; at < histogramBuckets && (longestIn(at) <= limit || at == histogramBuckets-1); at++ {
			seen += h.buckets[at]
		}
		if seen > told {
			fn(limit/1000, seen)
			told = seen
		}
	}
}
