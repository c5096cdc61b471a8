package engine

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// LargestValue bounds what a read may have to reply with. The highest length so far would never fall again after one
// long value, and the length of the longest value there is would need all lengths in order. So lengths fall into classes
// by powers of two: a shard counts its values in each class, the keyspace counts the shards that have any, and the
// highest class with a shard gives the bound. The keyspace's counts change only where a shard's first value of a class
// comes or its last one goes. Short values and counters are not counted.

const (
	shortLength   = 6 // log2 of the length up to which values are not counted
	lengthClasses = 30 - shortLength
)

// lengthClass is the class of a content of n bytes, -1 if it is short.
func lengthClass(n uint32) int {
	if n <= 1<<shortLength {
		return -1
	}
	return bits.Len32(n-1) - shortLength - 1
}

// lengths counts the shards that have values of each class. Its lock is taken under a part's, and nothing under it.
type lengths struct {
	mu      sync.Mutex
	shards  [lengthClasses]int32
	largest atomic.Int64 // the bound that follows from them
}

func (l *lengths) add(class int, n int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shards[class] += n
	for c := lengthClasses - 1; c >= 0; c-- {
		if l.shards[c] != 0 {
			l.largest.Store(1 << (c + shortLength + 1))
			return
		}
	}
	l.largest.Store(1 << shortLength)
}

// LargestValue returns a length that no value other than a counter exceeds, a power of two: at least 64, and less than
// twice the longest value otherwise.
func (ks *Keyspace) LargestValue() int { return int(ks.lengths.largest.Load()) }

// countLength notes that a value of a length has come (n = 1) or gone (n = -1).
func (sh *shard) countLength(length uint32, n int32) {
	if class := lengthClass(length); class >= 0 {
		sh.countClass(class, n)
	}
}

func (sh *shard) countClass(class int, n int32) {
	before := sh.lengths[class]
	sh.lengths[class] += n
	if (before == 0) != (sh.lengths[class] == 0) {
		sh.ks.lengths.add(class, n)
	}
}

// relength notes that a value has another length.
func (sh *shard) relength(from, to uint32) {
	if a, b := lengthClass(from), lengthClass(to); a != b {
		sh.countLength(to, 1) // first: the bound must not fall below what it will be
		sh.countLength(from, -1)
	}
}

// forgetLengths takes a shard that leaves the keyspace out of its counts.
func (sh *shard) forgetLengths() {
	for class, n := range sh.lengths {
		if n != 0 {
			sh.ks.lengths.add(class, -1)
		}
	}
	sh.lengths = [lengthClasses]int32{}
}
