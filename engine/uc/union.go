package uc

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/axiomhq/hyperloglog"

	"quipu/engine/hll"
)

// Union gathers sketches. Its precision is the lowest among them: registers of a high precision can be folded into
// those of a lower one, but not the other way round. The zero value is empty and has no precision.
//
// The result does not depend on the order: an HLL that is not empty makes it dense, and so do more entries than a
// sparse sketch of the lowest precision has.
//
// The dense part is a sketch of the library, which belongs to this union alone, because two parallel Estimates of one
// would race. It is loaded with bytes that Check has passed only: UnmarshalBinary is not made for hostile ones.
type Union struct {
	precision int
	dense     *hyperloglog.Sketch // nil while sparse
	entries   []uint32            // ascending, one for each index; empty when dense
	buf       []byte              // the library's encoding of what is merged
}

// hllPrecision is that of Redis's HyperLogLog.
const hllPrecision = 14

// Precision is the lowest precision met, 0 if nothing has been added.
func (u *Union) Precision() int { return u.precision }

// Add adds a sketch. The error wraps ErrCorrupt; the union is then as before.
func (u *Union) Add(s Sketch) error {
	if err := s.Check(); err != nil {
		return err
	}
	u.lower(s.Precision())
	switch {
	case s.Dense():
		u.densify()
		u.addRegisters(s)
	case u.dense != nil:
		for i := range s.entries() {
			u.dense.InsertHash(entryHash(s.entry(i)))
		}
	default:
		u.entries = mergeEntries(u.entries, s)
		u.leaveSparse()
	}
	return nil
}

// AddHLL adds the registers of a HyperLogLog of Redis, the bits of whose numbers are in the opposite order. A register
// above 51, which no hash leaves, counts as 51. An HLL keeps 14 bits of each index, so that the result is dense unless
// all registers are 0.
func (u *Union) AddHLL(registers *hll.Table) {
	u.lower(hllPrecision)
	for j := range hll.Registers {
		if rank := registers.Get(j); rank != 0 {
			u.densify()
			i := bits.Reverse16(uint16(j)) >> (16 - hllPrecision)
			u.dense.InsertHash(representative(uint64(i), min(rank, 64-hllPrecision+1), hllPrecision))
		}
	}
}

// Count estimates the number of distinct items.
func (u *Union) Count() uint64 {
	if u.dense != nil {
		return u.dense.Estimate()
	}
	return linearCount(len(u.entries))
}

// Value returns the union as a value of its own. The union must not be empty.
func (u *Union) Value() []byte {
	value := New(u.precision)
	if u.dense != nil {
		value[2] = formDense
		return append(value, u.registers()...)
	}
	for _, e := range u.entries {
		value = binary.LittleEndian.AppendUint32(value, e)
	}
	return value
}

// Count estimates the number of distinct items of one sketch.
func (s Sketch) Count() (uint64, error) {
	var u Union
	if err := u.Add(s); err != nil {
		return 0, err
	}
	return u.Count(), nil
}

// lower folds the union to precision p if that is lower than its own. Each register is inserted as a hash that leaves
// it, which gives the registers that all the hashes behind it would have left at p.
func (u *Union) lower(p int) {
	if u.precision != 0 && p >= u.precision {
		return
	}
	if u.dense == nil {
		u.precision = p
		u.leaveSparse()
		return
	}
	folded := newDense(p)
	for i, rank := range u.registers() {
		if rank != 0 {
			folded.InsertHash(representative(uint64(i), rank, u.precision))
		}
	}
	u.precision, u.dense = p, folded
}

// leaveSparse changes the sketch to the dense form if it has too many entries for the sparse one.
func (u *Union) leaveSparse() {
	if len(u.entries) > sparseMax(u.precision) {
		u.densify()
	}
}

func (u *Union) densify() {
	if u.dense != nil {
		return
	}
	u.dense = newDense(u.precision)
	for _, e := range u.entries {
		u.dense.InsertHash(entryHash(e))
	}
	u.entries = nil
}

func newDense(p int) *hyperloglog.Sketch {
	sketch, err := hyperloglog.NewSketch(uint8(p), false)
	if err != nil {
		panic(fmt.Sprintf("BUG: precision %d: %v", p, err))
	}
	return sketch
}

// The library's encoding of dense sketches: version 2, precision, 0, 0, big-endian number of registers, registers.
const (
	libraryVersion = 2
	libraryHeader  = 8
)

// registers aliases the union's buffer, until the next use of it.
func (u *Union) registers() []byte {
	b, err := u.dense.AppendBinary(u.buf[:0])
	if err != nil || len(b) != libraryHeader+1<<u.precision || b[0] != libraryVersion {
		panic(fmt.Sprintf("BUG: encoding of %d bytes: %v", len(b), err))
	}
	u.buf = b
	return b[libraryHeader:]
}

// addRegisters adds a checked dense sketch to a dense union.
func (u *Union) addRegisters(s Sketch) {
	if s.Precision() != u.precision {
		for i, rank := range s.registers() {
			if rank != 0 {
				u.dense.InsertHash(representative(uint64(i), rank, s.Precision()))
			}
		}
		return
	}
	b := append(u.buf[:0], libraryVersion, byte(u.precision), 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.registers())))
	u.buf = append(b, s.registers()...)
	var other hyperloglog.Sketch
	if err := other.UnmarshalBinary(u.buf); err != nil {
		panic(fmt.Sprintf("BUG: registers that were checked: %v", err))
	}
	if err := u.dense.Merge(&other); err != nil {
		panic(fmt.Sprintf("BUG: sketches of one precision: %v", err))
	}
}

// mergeEntries returns the union of entries and a sparse sketch's.
func mergeEntries(entries []uint32, s Sketch) []uint32 {
	n := s.entries()
	merged := make([]uint32, 0, len(entries)+n)
	for j := range n {
		e := s.entry(j)
		i := 0
		for i < len(entries) && entries[i]>>rankBits < e>>rankBits {
			i++
		}
		merged = append(merged, entries[:i]...)
		if i < len(entries) && entries[i]>>rankBits == e>>rankBits {
			e = max(e, entries[i])
			i++
		}
		merged = append(merged, e)
		entries = entries[i:]
	}
	return append(merged, entries...)
}
