// Package cms is the Count-Min sketch (Cormode, Muthukrishnan: An Improved Data Stream Summary, 2005): counts of items
// in little memory, each never below the truth and above it by more than ε·N only with probability δ. Items are placed
// and cells are counted as in RedisBloom, so that equal commands give equal cells.
//
// A sketch is bytes, and all operations work on them in place:
//
//	0        1        2        3        4         8         12        16        24
//	┌────────┬────────┬────────┬────────┬─────────┬─────────┬─────────┬─────────┬─────────────────────────────┐
//	│version │ flags  │ cell   │ 0      │ depth   │ width   │ 0       │ count   │ cells                       │
//	│ 1      │        │ 1,2,4,8│        │ u32     │ u32     │ u32     │ i64     │ depth rows of width         │
//	└────────┴────────┴────────┴────────┴─────────┴─────────┴─────────┴─────────┴─────────────────────────────┘
//
// Numbers are little-endian. Bit 0 of flags: conservative. cell is the bytes of one, an unsigned number. count is the
// sum of all that was added. An item's cell in row r is MurmurHash2(item, seed r) modulo width.
//
// A cell that would exceed its largest value keeps that (255, 65,535, 2^32 - 1; of 8 bytes 2^63 - 1, the most that a
// reply can hold), and stays there when it is decremented, because what is missing in it is not known.
//
// In a conservative sketch an item's cells are only raised as far as its new estimate (Estan, Varghese: New Directions in
// Traffic Measurement and Accounting, 2002), which makes estimates better. Such cells are no sums, so nothing can be
// taken away from them.
package cms

import (
	"encoding/binary"
	"errors"
	"math"

	"quipu/engine/murmur2"
)

// The header.
const (
	version          = 1
	flagConservative = 1

	flagsAt = 1
	cellAt  = 2
	depthAt = 4
	widthAt = 8
	// CountAt and CountBytes are where Add changes the sum of all counts.
	CountAt    = 16
	CountBytes = 8

	// HeaderBytes is the size of the header, which says all dimensions.
	HeaderBytes = headerBytes
	headerBytes = 24
)

// ErrCorrupt is the error of Open.
var ErrCorrupt = errors.New("cms: the bytes are no sketch")

// Outcomes of Add that are no estimates.
var (
	ErrOverflow  = errors.New("cms: a count is beyond the largest value of a cell")
	ErrUnderflow = errors.New("cms: a count would fall below zero")
)

// Sketch gives access to a sketch's bytes, which it aliases.
type Sketch struct {
	b            []byte
	width, depth uint32
	cell         int // bytes
	conservative bool
	columns      murmur2.Modulus
}

// Init makes b, which is as long as Dimensions says and zero, an empty sketch.
func Init(b []byte, width, depth int64, cell int, conservative bool) {
	b[0] = version
	if conservative {
		b[flagsAt] = flagConservative
	}
	b[cellAt] = byte(cell)
	binary.LittleEndian.PutUint32(b[depthAt:], uint32(depth))
	binary.LittleEndian.PutUint32(b[widthAt:], uint32(width))
}

// Open checks that b is a sketch. Any cells and any count are good.
func Open(b []byte) (Sketch, error) {
	if len(b) < headerBytes || b[0] != version || b[flagsAt]&^flagConservative != 0 || b[3] != 0 {
		return Sketch{}, ErrCorrupt
	}
	s := Sketch{
		b:            b,
		depth:        binary.LittleEndian.Uint32(b[depthAt:]),
		width:        binary.LittleEndian.Uint32(b[widthAt:]),
		cell:         int(b[cellAt]),
		conservative: b[flagsAt]&flagConservative != 0,
	}
	if s.width == 0 || s.depth == 0 || !ValidCell(int64(s.cell)) || binary.LittleEndian.Uint32(b[widthAt+4:]) != 0 {
		return Sketch{}, ErrCorrupt
	}
	if size, err := Dimensions(int64(s.width), int64(s.depth), s.cell); err != nil || size != len(b) {
		return Sketch{}, ErrCorrupt
	}
	s.columns = murmur2.NewModulus(s.width)
	return s, nil
}

// ValidCell reports whether a cell can have n bytes.
func ValidCell(n int64) bool { return n == 1 || n == 2 || n == 4 || n == 8 }

// Width is the number of cells in a row.
func (s *Sketch) Width() int64 { return int64(s.width) }

// Depth is the number of rows.
func (s *Sketch) Depth() int64 { return int64(s.depth) }

// CellBytes is the size of a cell.
func (s *Sketch) CellBytes() int { return s.cell }

// Conservative reports how the sketch counts.
func (s *Sketch) Conservative() bool { return s.conservative }

// Count is the sum of all that was added, also where cells have overflowed, as far as it fits 64 bits.
func (s *Sketch) Count() int64 { return int64(binary.LittleEndian.Uint64(s.b[CountAt:])) }

func (s *Sketch) setCount(n int64) { binary.LittleEndian.PutUint64(s.b[CountAt:], uint64(n)) }

// FewRows is a depth up to which Locate does not allocate.
const FewRows = 16

// Cells are the offsets of an item's cells in the bytes of a sketch.
type Cells struct {
	few  [FewRows + murmur2.RowsMax]uint32
	many []uint32
	n    uint32
}

// All are the offsets, one for each row.
func (c *Cells) All() []uint32 {
	if c.many != nil {
		return c.many[:c.n]
	}
	return c.few[:c.n]
}

// Locate finds an item's cells. c may be used again and again for sketches of one depth.
func (s *Sketch) Locate(c *Cells, item []byte) {
	c.n = s.depth
	to := c.few[:]
	if s.depth > FewRows {
		if c.many == nil {
			c.many = make([]uint32, s.depth+murmur2.RowsMax)
		}
		to = c.many
	}
	row, bytes := uint32(headerBytes), s.width*uint32(s.cell)
	for first := uint32(0); first < s.depth; first += murmur2.RowsMax {
		var h [murmur2.RowsMax]uint32
		murmur2.Rows(&h, first, item)
		for i := range h {
			to[first+uint32(i)] = row + s.columns.Of(h[i])*uint32(s.cell)
			row += bytes
		}
	}
}

// max is the largest value of a cell.
func (s *Sketch) max() uint64 { return largest(s.cell) }

func largest(cell int) uint64 {
	if cell == 8 {
		return math.MaxInt64
	}
	return 1<<(8*cell) - 1
}

func (s *Sketch) load(at uint32) uint64 {
	switch b := s.b[at:]; s.cell {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	default:
		return min(binary.LittleEndian.Uint64(b), math.MaxInt64)
	}
}

func (s *Sketch) store(at uint32, n uint64) {
	switch b := s.b[at:]; s.cell {
	case 1:
		b[0] = byte(n)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(n))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(n))
	default:
		binary.LittleEndian.PutUint64(b, n)
	}
}

// Estimate is the count of the item whose cells are given.
func (s *Sketch) Estimate(cells []uint32) int64 {
	n := uint64(math.MaxInt64)
	for _, at := range cells {
		n = min(n, s.load(at))
	}
	return int64(n)
}

// EstimateSum is the count of an item in all of some sketches of the same shape, one behind the other: each cell is the sum of theirs.
func EstimateSum(sketches []Sketch, cells []uint32) int64 {
	least := int64(math.MaxInt64)
	for _, at := range cells {
		sum := int64(0)
		for i := range sketches {
			sum = addClamped(sum, int64(sketches[i].load(at)))
		}
		least = min(least, sum)
	}
	return least
}

// CountSum is the sum of Count of some sketches, as far as it fits 64 bits.
func CountSum(sketches []Sketch) (n int64) {
	for i := range sketches {
		n = addClamped(n, sketches[i].Count())
	}
	return n
}

// Add adds n to the count of the item whose cells are given, and returns its estimate after that. It changes these cells
// and the sum. ErrOverflow: the estimate is the largest value of a cell, so the count may be anything from there on;
// what could be added is added. ErrUnderflow: a cell is smaller than what is to be taken from it; nothing is changed.
// A conservative sketch must not be given a negative n.
func (s *Sketch) Add(cells []uint32, n int64) (int64, error) {
	var estimate uint64
	switch {
	case n < 0:
		least, ok := s.subtract(cells, -uint64(n))
		if !ok {
			return 0, ErrUnderflow
		}
		estimate = least
	case s.conservative:
		estimate = s.raise(cells, uint64(n))
	default:
		estimate = s.increment(cells, uint64(n))
	}
	s.setCount(addClamped(s.Count(), n))
	if estimate == s.max() {
		return 0, ErrOverflow
	}
	return int64(estimate), nil
}

func (s *Sketch) increment(cells []uint32, n uint64) uint64 {
	limit := s.max()
	least := limit
	switch s.cell { // one loop for each size: 44 ns instead of 80 for seven rows
	case 1:
		for _, at := range cells {
			v := min(uint64(s.b[at])+n, limit)
			s.b[at] = byte(v)
			least = min(least, v)
		}
	case 2:
		for _, at := range cells {
			b := s.b[at:]
			v := min(uint64(binary.LittleEndian.Uint16(b))+n, limit)
			binary.LittleEndian.PutUint16(b, uint16(v))
			least = min(least, v)
		}
	case 4:
		for _, at := range cells {
			b := s.b[at:]
			v := min(uint64(binary.LittleEndian.Uint32(b))+n, limit)
			binary.LittleEndian.PutUint32(b, uint32(v))
			least = min(least, v)
		}
	default:
		for _, at := range cells {
			b := s.b[at:]
			v := min(min(binary.LittleEndian.Uint64(b), limit)+n, limit) // both are below 2^63
			binary.LittleEndian.PutUint64(b, v)
			least = min(least, v)
		}
	}
	return least
}

func (s *Sketch) raise(cells []uint32, n uint64) uint64 {
	v := min(uint64(s.Estimate(cells))+n, s.max())
	for _, at := range cells {
		if s.load(at) < v {
			s.store(at, v)
		}
	}
	return v
}

func (s *Sketch) subtract(cells []uint32, n uint64) (least uint64, ok bool) {
	limit := s.max()
	for _, at := range cells {
		if v := s.load(at); v < n && v != limit {
			return 0, false
		}
	}
	least = limit
	for _, at := range cells {
		v := s.load(at)
		if v != limit {
			v -= n
			s.store(at, v)
		}
		least = min(least, v)
	}
	return least, true
}

func addClamped(a, b int64) int64 {
	sum := a + b
	switch {
	case b > 0 && sum < a:
		return math.MaxInt64
	case b < 0 && sum > a:
		return math.MinInt64
	}
	return sum
}
