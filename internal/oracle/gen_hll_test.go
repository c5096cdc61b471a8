package oracle

import (
	"strconv"

	"quipu/engine/hll"
)

// wordHLLKeys are keys that mostly hold HyperLogLogs.
var wordHLLKeys = []string{"h", "{t}h", "h\x00", "a"}

// elements are so many that a HyperLogLog may become dense.
func (g *generator) elements() []string {
	if g.password { // a client that has not given it may send few
		return []string{"1", "2", "3"}
	}
	list := make([]string, 20+g.r.IntN([]int{20, 300, 1500}[g.r.IntN(3)]))
	for i := range list {
		list[i] = strconv.Itoa(g.r.IntN(1 << 20))
	}
	return list
}

// hyperLogLog is the value of one, often a damaged one.
func (g *generator) hyperLogLog() string {
	b := hll.AppendNew(nil)
	if g.oneIn(3) { // the registers in small pieces
		b = append(b[:hll.HeaderBytes], g.opcodes(1+g.r.IntN(200))...)
	} else if g.oneIn(2) {
		var t hll.Table
		for i := range t {
			switch t[i] = byte(g.r.Uint32()); {
			case g.oneIn(2):
				t[i] = 0
			case g.oneIn(2):
				t[i] &= 0x11
			}
		}
		b = hll.AppendDense(nil, b, &t)
	}
	if g.oneIn(3) {
		for i := range hll.CountBytes {
			b[hll.CountAt+i] = byte(g.r.IntN(256))
		}
	}
	switch g.r.IntN(8) {
	case 0:
		b[g.r.IntN(len(b))] = byte(g.r.IntN(256))
		b = wholeOpcodes(b)
	case 1:
		b = wholeOpcodes(b[:g.r.IntN(len(b))])
	case 2:
		b = append(b, g.opcodes(1+g.r.IntN(3))...)
	case 3:
		b[g.r.IntN(hll.HeaderBytes)]++
	}
	return string(b)
}

// wholeOpcodes completes an XZERO cut in half at the end.
func wholeOpcodes(b []byte) []byte {
	at := hll.HeaderBytes
	for at < len(b) {
		if at++; b[at-1]>>6 == 1 {
			at++
		}
	}
	if at > len(b) && len(b) > hll.HeaderBytes {
		b = append(b, 0)
	}
	return b
}

// opcodes are n opcodes of sparse HyperLogLogs. None is cut in half.
func (g *generator) opcodes(n int) string {
	var b []byte
	for range n {
		switch op := byte(g.r.IntN(256)); {
		case g.oneIn(4):
			b = append(b, 0x40|op&0x0f, byte(g.r.IntN(256)))
		case g.oneIn(2):
			b = append(b, op|0x80)
		default:
			b = append(b, op&0x3f)
		}
	}
	return string(b)
}
