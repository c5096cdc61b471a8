// Package hll is Redis's HyperLogLog on its own bytes: what PFADD, PFCOUNT and PFMERGE do to a string. It follows
// Redis 7.0 to the byte, so that a value can be taken from one server to the other.
//
//	0      4          5        8                16
//	┌──────┬──────────┬────────┬────────────────┬────────────────────────────
//	│ HYLL │ encoding │ unused │ cached count   │ 16384 registers
//	│      │ 0 or 1   │ 3      │ little-endian  │ dense (0) or sparse (1)
//	└──────┴──────────┴────────┴────────────────┴────────────────────────────
//
//	dense    6 bits each, least significant bit first: 12,288 bytes
//	sparse   opcodes for runs of registers in order
//	           00llllll           ZERO   l+1 registers (1 to 64) are 0
//	           01llllll llllllll  XZERO  l+1 registers (1 to 16384) are 0
//	           1vvvvvll           VAL    l+1 registers (1 to 4) are v+1 (1 to 32)
//
// The top bit of byte 15 says that the cached count is stale. The low 14 bits of an element's hash choose its register;
// the position of the lowest bit set in the other 50, counted from 1, is the value that the register has at least. An
// empty one is sparse, one XZERO:
//
//	48 59 4c 4c  01  00 00 00  00 00 00 00 00 00 00 80  7f ff
//
// Bytes come from clients, who may write into them with SETRANGE: every function takes any bytes. Check tells what is
// a HyperLogLog at all; whether runs add up to 16384 registers is found out where they are read.
//
// See Flajolet, Fusy, Gandouet, Meunier: HyperLogLog (2007); Heule, Nunkesser, Hall: HyperLogLog in Practice (2013);
// Ertl: New cardinality estimation algorithms for HyperLogLog sketches (arXiv:1702.01284).
package hll

import (
	"encoding/binary"
	"math/bits"
)

const (
	// Registers is how many registers there are. The standard error of a count is 1.04/√Registers = 0.81 %.
	Registers = 1 << indexBits
	// HeaderBytes is where the registers begin.
	HeaderBytes = 16
	// DenseBytes is the length of a dense HyperLogLog.
	DenseBytes = HeaderBytes + denseRegisters
	// SparseMax is the length above which a sparse one becomes dense: Redis's default of hll-sparse-max-bytes. It is
	// no setting, because what a logged command does must be the same on every node.
	SparseMax = 3000

	indexBits      = 14
	hashBits       = 64 - indexBits // that give a register's value
	registerMax    = 63
	denseRegisters = Registers * 6 / 8
	encodingByte   = 4
	countAt        = 8
	staleByte      = 15
	staleBit       = 0x80
	dense          = 0
	sparse         = 1
)

// CountAt and CountBytes are where the cached count stands.
const (
	CountAt    = countAt
	CountBytes = 8
)

const magic = uint32('H') | uint32('Y')<<8 | uint32('L')<<16 | uint32('L')<<24

// Check reports whether b is a HyperLogLog: magic, a known encoding, and the length if it is dense. The runs of a
// sparse one may still be wrong.
func Check(b []byte) bool {
	if len(b) < HeaderBytes || binary.LittleEndian.Uint32(b) != magic || b[encodingByte] > sparse {
		return false
	}
	return b[encodingByte] == sparse || len(b) == DenseBytes
}

// IsDense reports whether b, which Check has accepted, is dense.
func IsDense(b []byte) bool { return b[encodingByte] == dense }

// AppendNew appends an empty HyperLogLog, whose cached count is stale.
func AppendNew(b []byte) []byte {
	return append(b, 'H', 'Y', 'L', 'L', sparse, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, staleBit,
		isXZero|(Registers-1)>>8, (Registers-1)&0xff)
}

// Cached returns the count cached in b, and false if it is stale.
func Cached(b []byte) (count uint64, ok bool) {
	count = binary.LittleEndian.Uint64(b[countAt:])
	return count, b[staleByte]&staleBit == 0
}

// AppendCount appends a count as it stands at CountAt.
func AppendCount(b []byte, count uint64) []byte { return binary.LittleEndian.AppendUint64(b, count) }

// MarkStale says in b, which Check has accepted, that registers have changed since the count was cached.
func MarkStale(b []byte) { b[staleByte] |= staleBit }

// Place returns the register of an element and the value that the element gives it.
func Place(element []byte) (index int, value uint8) { return PlaceHash(Hash(element)) }

// PlaceHash is Place for an element's Hash.
func PlaceHash(h uint64) (index int, value uint8) {
	return int(h % Registers), uint8(bits.TrailingZeros64(h>>indexBits|1<<hashBits) + 1)
}

// Hash is MurmurHash64A (Austin Appleby, public domain) with Redis's seed.
func Hash(b []byte) uint64 {
	const (
		seed = 0xadc83b19
		m    = 0xc6a4a7935bd1e995
		r    = 47
	)
	h := uint64(seed) ^ uint64(len(b))*m
	for len(b) >= 8 {
		k := binary.LittleEndian.Uint64(b) * m
		k ^= k >> r
		h = (h ^ k*m) * m
		b = b[8:]
	}
	if len(b) > 0 {
		var k uint64
		for i, c := range b {
			k |= uint64(c) << (8 * i)
		}
		h = (h ^ k) * m
	}
	h ^= h >> r
	h *= m
	return h ^ h>>r
}

// AppendDense appends a dense HyperLogLog with the registers of t and the rest of header's header.
func AppendDense(b, header []byte, t *Table) []byte {
	at := len(b)
	b = append(b, header[:HeaderBytes]...)
	b[at+encodingByte] = dense
	return append(b, t[:]...)
}
