// Package uc counts distinct items in a few bytes, with a choice of precision: HyperLogLog (Flajolet, Fusy, Gandouet,
// Meunier 2007) with the sparse form of Heule, Nunkesser and Hall (2013), estimated by github.com/axiomhq/hyperloglog.
//
// A sketch is a flat value:
//
//	0       1         2     3     4
//	┌───────┬─────────┬─────┬─────┬──────────────────────────────────┐
//	│version│precision│form │ 0   │ entries or registers             │
//	│ 1     │ 1: 4–18 │ 1   │ 1   │                                  │
//	└───────┴─────────┴─────┴─────┴──────────────────────────────────┘
//
//	form 0  sparse: entries of 4 bytes, little-endian, ascending. An entry is index<<7 | rank: the first 25 bits of a
//	        hash, and the number of zero bits behind them, plus one (1–40). No index stands there twice; of two hashes
//	        with one index the higher rank is kept. These are the occupied registers of a HyperLogLog of precision 25.
//	form 1  dense: 2^precision registers of 1 byte: the highest rank among the hashes whose first bits are the
//	        register's number, 0 if there was none
//
// A sketch is sparse until it has more entries than fit in one and a half times the bytes of the dense form. Both forms
// and the moment of the change follow from the set of hashes alone, so the bytes do not depend on the order in which
// items are added and sketches merged, and two nodes can compare them. (The library's encoding has no such property:
// it holds a hash set in the set's own order.)
//
// Redis's hash is taken with its bits reversed, so that registers of precision 14 are those of a PF* key with the bits
// of their numbers reversed, and such a key can be merged (Union.AddHLL).
package uc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"quipu/engine/hll"
)

// Precisions: a sketch has 2^precision registers when it is dense.
const (
	MinPrecision     = 4
	MaxPrecision     = 18
	DefaultPrecision = 14
)

const (
	version     = 1
	formSparse  = 0
	formDense   = 1
	headerBytes = 4
)

// ErrCorrupt is the error, wrapped with details, for bytes that are not a sketch.
var ErrCorrupt = errors.New("uc: not a sketch")

// Sketch is a value that has the shape of a sketch: header and length are right. It aliases the value. Its methods are
// safe on any content; Check tells whether the content is one that adding and merging can have made.
type Sketch struct{ b []byte }

// New returns an empty sketch as a value.
func New(precision int) []byte {
	return []byte{version, byte(precision), formSparse, 0}
}

// Open checks header and length, in constant time.
func Open(value []byte) (Sketch, error) {
	if len(value) < headerBytes {
		return Sketch{}, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(value))
	}
	if value[0] != version || value[3] != 0 {
		return Sketch{}, fmt.Errorf("%w: header % x", ErrCorrupt, value[:headerBytes])
	}
	p := int(value[1])
	if p < MinPrecision || p > MaxPrecision {
		return Sketch{}, fmt.Errorf("%w: precision %d", ErrCorrupt, p)
	}
	body := len(value) - headerBytes
	switch {
	case value[2] == formSparse && body%entryBytes == 0 && body/entryBytes <= sparseMax(p):
	case value[2] == formDense && body == 1<<p:
	default:
		return Sketch{}, fmt.Errorf("%w: form %d with %d bytes at precision %d", ErrCorrupt, value[2], body, p)
	}
	return Sketch{value}, nil
}

// Check looks at every entry or register.
func (s Sketch) Check() error {
	if s.Dense() {
		for i, rank := range s.registers() {
			if int(rank) > maxRank(s.Precision()) {
				return fmt.Errorf("%w: register %d holds %d", ErrCorrupt, i, rank)
			}
		}
		return nil
	}
	before := -1
	for i := range s.entries() {
		e := s.entry(i)
		if rank := e & rankMask; rank < 1 || rank > maxEntryRank || int(e>>rankBits) <= before {
			return fmt.Errorf("%w: entry %d is %#x", ErrCorrupt, i, e)
		}
		before = int(e >> rankBits)
	}
	return nil
}

// Precision is the binary logarithm of the number of registers of the dense form.
func (s Sketch) Precision() int { return int(s.b[1]) }

// Dense tells the form.
func (s Sketch) Dense() bool { return s.b[2] == formDense }

// Len is the length of the value in bytes.
func (s Sketch) Len() int { return len(s.b) }

// StandardError is the relative standard error of a dense sketch's count, 1.04/√registers. A sparse sketch's count is
// better than that.
func (s Sketch) StandardError() float64 { return 1.04 / math.Sqrt(float64(int(1)<<s.Precision())) }

// Hash is the hash of an item.
func Hash(item []byte) uint64 { return bits.Reverse64(hll.Hash(item)) }

// Register returns the offset in a dense value of the register that a hash belongs to, and the rank of the hash, which
// the register must have at least.
func (s Sketch) Register(hash uint64) (offset int, rank byte) {
	i, rank := register(hash, s.Precision())
	return headerBytes + i, rank
}

// Holds reports whether adding a hash would change nothing.
func (s Sketch) Holds(hash uint64) bool {
	if s.Dense() {
		at, rank := s.Register(hash)
		return s.b[at] >= rank
	}
	e := Entry(hash)
	at := s.search(e>>rankBits, 0)
	return at < s.entries() && s.entry(at)>>rankBits == e>>rankBits && s.entry(at) >= e
}

func register(hash uint64, p int) (i int, rank byte) {
	return int(hash >> (64 - p)), byte(bits.LeadingZeros64(hash<<p|1<<(p-1)) + 1)
}

// representative is a hash with the given register and rank at precision p: one of those that can have left them.
func representative(i uint64, rank byte, p int) uint64 {
	hash := i << (64 - p)
	if int(rank) <= 64-p {
		hash |= 1 << (64 - p - int(rank))
	}
	return hash
}

func maxRank(p int) int { return 64 - p + 1 }

func (s Sketch) registers() []byte { return s.b[headerBytes:] }

func (s Sketch) entries() int { return (len(s.b) - headerBytes) / entryBytes }

func (s Sketch) entry(i int) uint32 {
	return binary.LittleEndian.Uint32(s.b[headerBytes+entryBytes*i:])
}
