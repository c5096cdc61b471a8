package hll

import (
	"encoding/binary"
	"math"
)

// histogram is how many registers have each value.
type histogram [registerMax + 1]int

// Count estimates how many different elements were added to b, which Check has accepted, without its cached count. It
// returns false if the runs of b are wrong.
func Count(b []byte) (uint64, bool) {
	var h histogram
	if IsDense(b) {
		h.addDense((*Table)(b[HeaderBytes:]))
	} else if !h.addSparse(b[HeaderBytes:]) {
		return 0, false
	}
	return h.estimate(), true
}

// Count estimates how many different elements were added.
func (t *Table) Count() uint64 {
	var h histogram
	h.addDense(t)
	return h.estimate()
}

func (h *histogram) addSparse(ops []byte) bool {
	return eachRun(ops, func(_, run int, value uint8) { h[value] += run })
}

// addDense counts pairs of registers first, and then the pairs that there are: half as many increments, and rarely two
// of the same place one behind the other, for which the second would wait.
func (h *histogram) addDense(t *Table) {
	var pairs [1 << 12]uint16
	at := 0
	for ; at+8 <= len(t); at += 6 {
		w := binary.LittleEndian.Uint64(t[at : at+8 : at+8])
		pairs[w&0xfff]++
		pairs[w>>12&0xfff]++
		pairs[w>>24&0xfff]++
		pairs[w>>36&0xfff]++
	}
	w := binary.LittleEndian.Uint64(t[len(t)-8:]) >> 16
	for range 4 {
		pairs[w&0xfff]++
		w >>= 12
	}
	for second := range 64 {
		row := (*[64]uint16)(pairs[second*64:])
		if *row == [64]uint16{} { // few values are larger than 30
			continue
		}
		sum := 0
		for first := range row {
			n := int(row[first])
			h[first] += n
			sum += n
		}
		h[second] += sum
	}
}

// estimate is Ertl's improved estimator, in the order of operations of Redis. Conversions keep products and sums apart,
// which some processors would otherwise round once instead of twice.
func (h *histogram) estimate() uint64 {
	const (
		m        = float64(Registers)
		alphaInf = 0.721347520444481703680 // 0.5 / ln 2
	)
	z := float64(m * tau((m-float64(h[hashBits+1]))/m))
	for j := hashBits; j >= 1; j-- {
		z += float64(h[j])
		z *= 0.5
	}
	z += float64(m * sigma(float64(h[0])/m))
	e := math.Round(alphaInf * m * m / z)
	if !(e < 1<<63) { // registers that no element can have given; Redis converts as amd64 does
		return 1 << 63
	}
	return uint64(e)
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x = float64(x * x)
		was := z
		z += float64(x * y)
		y += y
		if z == was {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, float64(1-x)
	for {
		x = math.Sqrt(x)
		was := z
		y *= 0.5
		d := float64(1 - x)
		z -= float64(float64(d*d) * y)
		if z == was {
			return z / 3
		}
	}
}
