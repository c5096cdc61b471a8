package hll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// AppendDecoded appends the opcodes of b, a sparse HyperLogLog, as PFDEBUG DECODE writes them: z:n for ZERO, Z:n for
// XZERO, v:value,n for VAL.
func AppendDecoded(to, b []byte) []byte {
	ops := b[HeaderBytes:]
	for p := 0; p < len(ops); {
		size, run, value := opcode(ops, p)
		if p > 0 {
			to = append(to, ' ')
		}
		switch {
		case value > 0:
			to = append(to, "v:"...)
			to = strconv.AppendUint(to, uint64(value), 10)
			to = append(to, ',')
		case size == 2:
			to = append(to, "Z:"...)
		default:
			to = append(to, "z:"...)
		}
		to = strconv.AppendInt(to, int64(run), 10)
		p += size
	}
	return to
}

// SelfTest checks that registers do not disturb each other, and, with 100,000 elements, that sparse and dense give the
// same registers and that counts are as exact as they should be.
func SelfTest() error {
	var d [DenseBytes]byte
	copy(d[:], AppendNew(nil))
	d[encodingByte] = dense
	for pass := range 64 {
		for i := range Registers {
			DenseSet(d[:], i, uint8(i*7+pass)&registerMax)
		}
		for i := range Registers {
			if DenseGet(d[:], i) != uint8(i*7+pass)&registerMax {
				return fmt.Errorf("register %d does not keep its value", i)
			}
		}
	}
	b := AppendNew(nil)
	ToDense(&d, b)
	next := 1
	var element [8]byte
	for n := 1; n <= 100_000; n++ {
		binary.LittleEndian.PutUint64(element[:], uint64(n))
		index, value := Place(element[:])
		if DenseGet(d[:], index) < value {
			DenseSet(d[:], index, value)
		}
		var c Change
		if !IsDense(b) {
			switch Raise(b, nil, index, value, &c) {
			case Changes:
				b = append(b, make([]byte, c.Grows())...)
				b = b[:c.Apply(b)]
			case Dense:
				b = append([]byte(nil), d[:]...)
			case Corrupt:
				return errors.New("a sparse value is damaged")
			}
		}
		if n < next {
			continue
		}
		next += next/4 + 1
		count, ok := Count(b)
		exact, _ := Count(d[:])
		if !ok || count != exact && !IsDense(b) {
			return fmt.Errorf("%d elements are %d sparse and %d dense", n, count, exact)
		}
		if off := math.Abs(float64(exact) - float64(n)); off > 1+4*1.04/128*float64(n) {
			return fmt.Errorf("%d elements are counted as %d", n, exact)
		}
	}
	return nil
}
