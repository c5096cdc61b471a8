package shared

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestUvarint: numbers are read as encoding/binary does, wherever they stand, and none that is longer than it has to be.
func TestUvarint(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		n := rnd.Uint64() >> rnd.IntN(64)
		b := binary.AppendUvarint(nil, n)
		size := len(b)
		switch rnd.IntN(4) {
		case 0:
			b[size-1] |= 0x80
			b = append(b, 0) // longer than it has to be
			size = 0
		case 1:
			b[size-1] |= 0x80 // cut off
			size = 0
		default:
			for range rnd.IntN(12) {
				b = append(b, byte(rnd.Uint32()))
			}
		}
		if size == 0 && len(b) > 1 && b[len(b)-1] == 0 && rnd.IntN(2) == 0 {
			b = append(b, make([]byte, 8)...)
		}
		r := reader{b, false}
		got := r.uvarint()
		switch {
		case size == 0 && !r.failed:
			t.Fatalf("% x is read as %d", b, got)
		case size > 0 && (r.failed || got != n || len(b)-len(r.b) != size):
			t.Fatalf("% x is read as %d, %v, %d bytes", b, got, r.failed, len(b)-len(r.b))
		}
	}
}
