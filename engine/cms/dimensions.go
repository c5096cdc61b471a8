package cms

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

// Limits of a sketch.
const (
	MaxBytes = 128 << 20 // of a sketch as a whole
	MaxDepth = 1024      // so that one increment takes microseconds at most
)

// Errors of Dimensions.
var (
	ErrDimensions = errors.New("cms: width and depth cannot be multiplied")
	ErrTooLarge   = errors.New("cms: the sketch would be larger than its limit")
	ErrDepth      = errors.New("cms: more rows than the limit")
)

// Dimensions checks width and depth, which are positive, and the size of a cell, and returns the size in bytes of a
// sketch with them.
func Dimensions(width, depth int64, cell int) (size int, err error) {
	cells, over := bits.Mul64(uint64(width), uint64(depth))
	over2, bytes := bits.Mul64(over, uint64(cell))
	switch {
	case cells != 0 || over2 != 0:
		return 0, ErrDimensions
	case bytes > MaxBytes-headerBytes:
		return 0, ErrTooLarge
	case depth > MaxDepth:
		return 0, ErrDepth
	}
	return headerBytes + int(bytes), nil
}

// FromErrors returns the width and depth of a sketch that overestimates by more than epsilon times the sum of all counts
// with a probability of delta: ceil(2/ε) and ceil(log10 δ/log10 ½) with each operation rounded to 32 bits, as in
// RedisBloom. Both arguments are above 0 and at most 1. A dimension of 0 or less means that it cannot be had.
func FromErrors(epsilon, delta float32) (width, depth int64) {
	quotient := float32(2) / epsilon
	if quotient < 1<<62 {
		width = int64(math.Ceil(float64(quotient)))
	}
	if delta > 0 {
		depth = int64(math.Ceil(float64(minusLog10(delta) / minusLog10(0.5))))
	}
	return width, depth
}

// minusLog10 is -log10 x rounded to 32 bits, for 0 < x ≤ 1. It is computed with integers: package math has assembly for
// some processors, whose results could differ in the last bit and so make nodes disagree about a depth.
func minusLog10(x float32) float32 {
	const (
		digits = 44                 // binary digits behind the point
		log2   = 0x4d104d427de7fbcc // log10 2 · 2^64
	)
	fraction, exponent := math.Frexp(float64(x)) // x = fraction · 2^exponent, ½ ≤ fraction < 1
	m := uint64(fraction * (1 << 63))            // between 1 and 2 in units of 2^-62
	n := uint64(0)                               // log2 of it in units of 2^-digits
	for range digits {
		hi, lo := bits.Mul64(m, m)
		m = hi<<2 | lo>>62
		n <<= 1
		if m >= 1<<63 {
			m >>= 1
			n |= 1
		}
	}
	whole := uint64(1-exponent) << digits
	v, _ := bits.Mul64(whole-n, log2)
	return float32(float64(v) / (1 << digits))
}

// Shape is what the headers of two sketches have in common that can be added up.
func Shape(b []byte) []byte { return b[:widthAt+4] }

// BlankBytes is the size of an empty sketch with the dimensions that another one's header says; the error is ErrCorrupt, or of Dimensions.
func BlankBytes(header []byte) (size int, err error) {
	if len(header) < headerBytes || header[0] != version || header[flagsAt]&^flagConservative != 0 || header[3] != 0 {
		return 0, ErrCorrupt
	}
	width, depth, cell := dimensionsIn(header)
	if width == 0 || depth == 0 || !ValidCell(int64(cell)) {
		return 0, ErrCorrupt
	}
	return Dimensions(width, depth, cell)
}

// Blank makes b, which is as long as BlankBytes says and zero, an empty sketch with the dimensions that another one's header says.
func Blank(b, header []byte) {
	width, depth, cell := dimensionsIn(header)
	Init(b, width, depth, cell, header[flagsAt] != 0)
}

func dimensionsIn(header []byte) (width, depth int64, cell int) {
	return int64(binary.LittleEndian.Uint32(header[widthAt:])), int64(binary.LittleEndian.Uint32(header[depthAt:])), int(header[cellAt])
}
