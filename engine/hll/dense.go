package hll

import (
	"encoding/binary"
)

// Table is registers as a dense HyperLogLog packs them. The zero value is that of an empty one.
type Table [denseRegisters]byte

// denseSpot is where a register lies in a dense HyperLogLog: four share three bytes, which are read together with the
// byte before them, so that the last register is in bounds too.
func denseSpot(index int) (at, shift int) { return HeaderBytes - 1 + index>>2*3, 8 + index&3*6 }

// DenseGet returns a register of a dense HyperLogLog that Check has accepted.
func DenseGet(b []byte, index int) uint8 {
	at, shift := denseSpot(index)
	return uint8(binary.LittleEndian.Uint32(b[at:])>>shift) & registerMax
}

// DenseSpot is the two bytes of a dense HyperLogLog that DenseSet may change.
func DenseSpot(index int) (from, n int) {
	from = HeaderBytes + index*6/8
	return from, min(2, DenseBytes-from)
}

// DenseSet gives a register of a dense HyperLogLog a value.
func DenseSet(b []byte, index int, value uint8) {
	at, shift := denseSpot(index)
	w := binary.LittleEndian.Uint32(b[at:])
	binary.LittleEndian.PutUint32(b[at:], w&^(registerMax<<shift)|uint32(value)<<shift)
}

// Get returns a register.
func (t *Table) Get(index int) uint8 {
	at := index * 6 / 8
	w := uint(t[at])
	if at+1 < len(t) {
		w |= uint(t[at+1]) << 8
	}
	return uint8(w>>(index*6%8)) & registerMax
}

// raise gives a register a value if it is larger.
func (t *Table) raise(index int, value uint8) {
	if t.Get(index) >= value {
		return
	}
	at, shift := index*6/8, index*6%8
	t[at] = t[at]&^uint8(registerMax<<shift) | value<<shift
	if shift > 2 {
		t[at+1] = t[at+1]&^(registerMax>>(8-shift)) | value>>(8-shift)
	}
}

// Merge raises every register to that of b, which Check has accepted. It returns false, with some registers raised, if
// the runs of b are wrong.
func (t *Table) Merge(b []byte) bool {
	if !IsDense(b) {
		return t.mergeSparse(b[HeaderBytes:])
	}
	t.mergeDense((*Table)(b[HeaderBytes:]))
	return true
}

// mergeDense takes the larger of ten registers at once, twice in every 15 bytes: 4 µs in all instead of 20.
func (t *Table) mergeDense(other *Table) {
	at := 0
	for ; at+15 <= len(t); at += 15 {
		p, q := (*[15]byte)(t[at:]), (*[15]byte)(other[at:])
		low := larger(binary.LittleEndian.Uint64(p[:8]), binary.LittleEndian.Uint64(q[:8]))
		high := larger(binary.LittleEndian.Uint64(p[7:])>>4, binary.LittleEndian.Uint64(q[7:])>>4)
		binary.LittleEndian.PutUint64(p[:8], low&(1<<60-1)|high<<60)
		binary.LittleEndian.PutUint64(p[7:], low>>56&0x0f|high<<4)
	}
	for index := at * 8 / 6; index < Registers; index++ {
		t.raise(index, other.Get(index))
	}
}

// larger takes the larger of ten registers that lie side by side. There is no room for a carry between them: without
// their top bits they are compared by subtracting, and then with them.
func larger(a, b uint64) uint64 {
	const top = 0x0820820820820820 // the top bit of each
	differ := a ^ b
	ge := (a&^b | ((a|top)-b&^top)&^differ) & top
	all := ge | (ge - ge>>5)
	return b ^ differ&all
}
