package main

import (
	"math/rand/v2"
	"strconv"
)

const events = 1_000_000

// stream is events as numbers of items, with the truth about them.
type stream struct {
	items  []uint32
	counts []int64 // by number of the item
}

// distribution makes the generator of one stream.
type distribution struct {
	name  string
	items int
	make  func(r *rand.Rand) func() uint64
}

// zipf has an exponent above 1; the first of the items is the most frequent.
func zipf(exponent float64) distribution {
	const items = 1_000_000
	return distribution{
		"Zipf " + strconv.FormatFloat(exponent, 'g', -1, 64), items,
		func(r *rand.Rand) func() uint64 { return rand.NewZipf(r, exponent, 1, items-1).Uint64 },
	}
}

func uniform(items int) distribution {
	return distribution{"uniform", items, func(r *rand.Rand) func() uint64 {
		return func() uint64 { return r.Uint64N(uint64(items)) }
	}}
}

func (d distribution) stream(seed uint64) stream {
	s := stream{make([]uint32, events), make([]int64, d.items)}
	next := d.make(rand.New(rand.NewPCG(seed, 1)))
	for i := range s.items {
		n := next()
		s.items[i] = uint32(n)
		s.counts[n]++
	}
	return s
}

// itemName appends the name of an item to buf.
func itemName(buf []byte, n uint32) []byte {
	return strconv.AppendUint(append(buf, "item:"...), uint64(n), 10)
}
