// Package topk finds the items that occur most often in a stream, with their counts: HeavyKeeper (Yang et al.:
// HeavyKeeper, an accurate algorithm for finding top-k elephant flows, 2018).
//
// Each row has a cell for an item, which holds a fingerprint and a count. The owner of a cell raises its count; others
// lower it, with a probability of decay^count, and the one who brings it to nothing takes the cell over. An item that
// counts more in some row than the least of the k best gets its place. From then on its own entry counts it, and the
// cells only stand by.
//
// What is random comes from a generator whose state is in the sketch, and probabilities are integers computed by
// multiplication, so equal commands give equal bytes on every node.
//
// A sketch is bytes, and all operations work on them in place:
//
//	┌────────┬────────┬────────────┬────────────┬────────┬─────────┬────────────────┐
//	│ header │ powers │ cells      │ entries    │ heap   │ index   │ items          │
//	│ 64     │ 122×8  │ d×w×12     │ k×24       │ k×4    │ 2^i×4   │ the rest       │
//	└────────┴────────┴────────────┴────────────┴────────┴─────────┴────────────────┘
//
//	header   0 version, 1   4 k   8 width   12 depth   16 decay, float64   24 seed   32 generator
//	         40 entries in use   44 bytes of items in use   48 bytes of them that are dead   52 0
//	powers   in units of 2^-64: decay^0 … decay^63, then decay^64, decay^128, decay^256 …
//	cells    rows of width: fingerprint, count u64. A count of 0: nobody's
//	entries  count u64, fingerprint, offset and length of the item, position in the heap
//	heap     numbers of entries, the one that counts least first
//	index    numbers of entries + 1 by fingerprint, 0: free; linear probing; at least twice k slots
//	items    bytes of items, one behind the other, with gaps where items were
//
// Numbers are little-endian, of 32 bits where nothing else is said. An item's cell in row r is MurmurHash2(item, seed r)
// modulo width, its fingerprint MurmurHash2(item, seed 1919).
package topk

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"quipu/engine/murmur2"
)

// Limits and defaults.
const (
	MaxBytes = 128 << 20 // of a sketch with its items
	MaxItem  = 64 << 10  // bytes of an item
	MaxDepth = 64        // so that one increment takes microseconds at most
	MaxK     = 1 << 21

	DefaultDepth = 4
	DefaultDecay = 0.9
)

// DefaultWidth is the width that with DefaultDepth and DefaultDecay finds at least 0.99 of the k best of a million events
// whose items are Zipf distributed with an exponent of 1.05: all for k = 1, 10 and 50, 0.99 for k = 500, on average of
// five seeds (TestRecall holds it for 50).
func DefaultWidth(k int64) int64 { return max(8*k, 256) }

// Errors of Dimensions and of an item that is to be kept.
var (
	ErrK        = errors.New("topk: k is beyond its limit")
	ErrDepth    = errors.New("topk: more rows than the limit")
	ErrTooLarge = errors.New("topk: the sketch would be larger than its limit")
)

// ErrCorrupt is the error of Open.
var ErrCorrupt = errors.New("topk: the bytes are no sketch")

const (
	version = 1

	kAt     = 4
	widthAt = 8
	depthAt = 12
	decayAt = 16
	seedAt  = 24
	stateAt = 32
	inUseAt = 40
	usedAt  = 44
	deadAt  = 48

	// HeaderBytes is the size of the header, which says all dimensions.
	HeaderBytes = headerBytes
	headerBytes = 64
	cellBytes   = 12
	entryBytes  = 24

	fingerprintSeed = 1919
	countMax        = math.MaxInt64 // the most that a reply can hold
)

// Sketch gives access to a sketch's bytes, which it aliases.
type Sketch struct {
	b                                  []byte
	k, width, depth                    uint32
	inUse                              uint32
	mask                               uint32 // slots of the index less 1
	cells, entries, heap, index, items uint32 // offsets
	columns                            murmur2.Modulus
}

// Dimensions checks positive dimensions and returns the size in bytes of a new sketch with them.
func Dimensions(k, width, depth int64) (size int, err error) {
	if k > MaxK {
		return 0, ErrK
	}
	cells, over := bits.Mul64(uint64(width), uint64(depth))
	if cells != 0 || over > MaxBytes/cellBytes {
		return 0, ErrTooLarge
	}
	if depth > MaxDepth {
		return 0, ErrDepth
	}
	const firstItems = 8 // bytes for each of k to begin with
	n := fixedBytes(uint64(k), over) + uint64(k)*firstItems
	if n > MaxBytes {
		return 0, ErrTooLarge
	}
	return int(n), nil
}

// fixedBytes is where the items begin.
func fixedBytes(k, cells uint64) uint64 {
	return headerBytes + powersBytes + cells*cellBytes + k*(entryBytes+4) + uint64(slots(uint32(k)))*4
}

// slots is the size of the index for k entries.
func slots(k uint32) uint32 { return 1 << bits.Len32(2*k-1) }

// Init makes b, which is as long as Dimensions says and zero, an empty sketch. decay is above 0 and at most 1.
func Init(b []byte, k, width, depth int64, decay float64, seed uint64) {
	b[0] = version
	binary.LittleEndian.PutUint32(b[kAt:], uint32(k))
	binary.LittleEndian.PutUint32(b[widthAt:], uint32(width))
	binary.LittleEndian.PutUint32(b[depthAt:], uint32(depth))
	binary.LittleEndian.PutUint64(b[decayAt:], math.Float64bits(decay))
	binary.LittleEndian.PutUint64(b[seedAt:], seed)
	binary.LittleEndian.PutUint64(b[stateAt:], seed)
	fillPowers(b[headerBytes:headerBytes+powersBytes], decay)
}

// Shape is what the headers of two sketches have in common that can be added up: all dimensions, but not the seed, which no cell depends on.
func Shape(b []byte) []byte { return b[:seedAt] }

// BlankBytes is the size of an empty sketch with the dimensions that another one's header says; the error is ErrCorrupt, or of Dimensions.
func BlankBytes(header []byte) (size int, err error) {
	if len(header) < headerBytes || binary.LittleEndian.Uint32(header) != version {
		return 0, ErrCorrupt
	}
	s := Sketch{b: header}
	if decay := s.Decay(); s.u32(kAt) == 0 || s.u32(widthAt) == 0 || s.u32(depthAt) == 0 || !(decay > 0 && decay <= 1) {
		return 0, ErrCorrupt
	}
	return Dimensions(int64(s.u32(kAt)), int64(s.u32(widthAt)), int64(s.u32(depthAt)))
}

// Blank makes b, which is as long as BlankBytes says and zero, an empty sketch with the dimensions and the seed that another one's header says.
func Blank(b, header []byte) {
	s := Sketch{b: header}
	Init(b, int64(s.u32(kAt)), int64(s.u32(widthAt)), int64(s.u32(depthAt)), s.Decay(), s.u64(seedAt))
}

// Open checks that the dimensions of b fit its length. What it does not check, because it would take as long as the
// sketch is large, are the numbers that lead from one place to another: operations force them into their range, so that
// wrong ones give wrong answers and nothing worse.
func Open(b []byte) (s Sketch, err error) {
	if len(b) < headerBytes || len(b) > MaxBytes || binary.LittleEndian.Uint32(b) != version || binary.LittleEndian.Uint32(b[52:]) != 0 ||
		binary.LittleEndian.Uint64(b[56:]) != 0 {
		return s, ErrCorrupt
	}
	s.b = b
	s.k, s.width, s.depth = s.u32(kAt), s.u32(widthAt), s.u32(depthAt)
	if s.k == 0 || s.k > MaxK || s.width == 0 || s.depth == 0 || s.depth > MaxDepth || s.width > MaxBytes/cellBytes/s.depth {
		return s, ErrCorrupt
	}
	s.inUse = s.u32(inUseAt)
	if decay := s.Decay(); s.inUse > s.k || !(decay > 0 && decay <= 1) {
		return s, ErrCorrupt
	}
	cells := s.width * s.depth
	fixed := fixedBytes(uint64(s.k), uint64(cells))
	if fixed > uint64(len(b)) || uint64(s.used()) > uint64(len(b))-fixed || s.dead() > s.used() {
		return s, ErrCorrupt
	}
	n := slots(s.k)
	s.mask = n - 1
	s.cells = headerBytes + powersBytes
	s.entries = s.cells + cells*cellBytes
	s.heap = s.entries + s.k*entryBytes
	s.index = s.heap + s.k*4
	s.items = s.index + n*4
	s.columns = murmur2.NewModulus(s.width)
	return s, nil
}

func (s *Sketch) u32(at uint32) uint32       { return binary.LittleEndian.Uint32(s.b[at:]) }
func (s *Sketch) putU32(at, n uint32)        { binary.LittleEndian.PutUint32(s.b[at:], n) }
func (s *Sketch) u64(at uint32) uint64       { return binary.LittleEndian.Uint64(s.b[at:]) }
func (s *Sketch) putU64(at uint32, n uint64) { binary.LittleEndian.PutUint64(s.b[at:], n) }

func (s *Sketch) used() uint32 { return s.u32(usedAt) }
func (s *Sketch) dead() uint32 { return s.u32(deadAt) }

// K is how many items are kept.
func (s *Sketch) K() int64 { return int64(s.k) }

// Width is the number of cells in a row.
func (s *Sketch) Width() int64 { return int64(s.width) }

// Depth is the number of rows.
func (s *Sketch) Depth() int64 { return int64(s.depth) }

// Decay is the base of the probability that a count is lowered.
func (s *Sketch) Decay() float64 { return math.Float64frombits(s.u64(decayAt)) }

// Len is the number of items that are among the best now.
func (s *Sketch) Len() int { return int(s.inUse) }

// Item is what Count found out about an item.
type Item struct {
	fingerprint uint32
	count       uint64
}

// Count adds n, which is positive, to an item's count. enters tells that the item has earned a place that it does not
// have: Enter is then to be called with what is known of it.
func (s *Sketch) Count(item []byte, n uint64) (known Item, enters bool) {
	n = min(n, countMax)
	known.fingerprint = murmur2.Sum32(item, fingerprintSeed)
	for first := uint32(0); first < s.depth; first += murmur2.RowsMax {
		var h [murmur2.RowsMax]uint32
		murmur2.Rows(&h, first, item)
		row := s.cells + first*s.width*cellBytes
		for i := range min(s.depth-first, murmur2.RowsMax) {
			at := row + s.columns.Of(h[i])*cellBytes
			known.count = max(known.count, s.countIn(at, known.fingerprint, n))
			row += s.width * cellBytes
		}
	}
	if id, ok := s.find(known.fingerprint, item); ok {
		e := s.entry(id)
		s.putU64(e, min(s.u64(e), countMax)+n)
		if s.u64(e) > countMax {
			s.putU64(e, countMax)
		}
		s.down(s.place(id))
		return known, false
	}
	if s.inUse < s.k {
		return known, known.count > 0
	}
	return known, known.count > s.u64(s.entry(s.at(0)))
}

// countIn adds n to a cell and returns the count that it then has for the item, 0 if it is another's.
func (s *Sketch) countIn(at, fingerprint uint32, n uint64) uint64 {
	count := min(s.u64(at+4), countMax)
	switch {
	case count == 0:
		s.putU32(at, fingerprint)
		count = n
	case s.u32(at) == fingerprint:
		count = min(count+n, countMax)
	default:
		left, over := s.decay(count, n)
		if over == 0 {
			if left != count {
				s.putU64(at+4, left)
			}
			return 0
		}
		s.putU32(at, fingerprint)
		count = over
	}
	s.putU64(at+4, count)
	return count
}

// Estimate is the count of an item, 0 if nothing is known of it.
func (s *Sketch) Estimate(item []byte) int64 {
	fingerprint := murmur2.Sum32(item, fingerprintSeed)
	if id, ok := s.find(fingerprint, item); ok {
		return int64(min(s.u64(s.entry(id)), countMax))
	}
	most := uint64(0)
	for row := range s.depth {
		at := s.cells + (row*s.width+s.columns.Of(murmur2.Sum32(item, row)))*cellBytes
		if s.u32(at) == fingerprint {
			most = max(most, min(s.u64(at+4), countMax))
		}
	}
	return int64(most)
}

// Has reports whether an item is among the best.
func (s *Sketch) Has(item []byte) bool {
	_, ok := s.find(murmur2.Sum32(item, fingerprintSeed), item)
	return ok
}
