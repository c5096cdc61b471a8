package murmur2

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestVerification is the procedure by which SMHasher identifies hash functions, with its value for MurmurHash2.
func TestVerification(t *testing.T) {
	var key, sums []byte
	for i := range 256 {
		sums = binary.LittleEndian.AppendUint32(sums, Sum32(key, uint32(256-i)))
		key = append(key, byte(i))
	}
	if got := Sum32(sums, 0); got != 0x27864c1e {
		t.Errorf("%#x", got)
	}
}

func TestRows(t *testing.T) {
	data := make([]byte, 40)
	for i := range data {
		data[i] = byte(i*37 + 200)
	}
	for n := range data {
		for _, first := range []uint32{0, 8, 1919, 1<<32 - 3} {
			var h [RowsMax]uint32
			Rows(&h, first, data[:n])
			for i := range h {
				if want := Sum32(data[:n], first+uint32(i)); h[i] != want {
					t.Fatalf("%d bytes, seed %d + %d: %#x, want %#x", n, first, i, h[i], want)
				}
			}
		}
	}
}

func TestModulus(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []uint32{1, 2, 3, 7, 8, 2000, 2719, 1 << 20, 1<<27 + 1, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		m := NewModulus(n)
		for _, h := range []uint32{0, 1, n - 1, n, n + 1, 2*n - 1, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			if got := m.Of(h); got != h%n {
				t.Fatalf("%d mod %d = %d", h, n, got)
			}
		}
		for range 1000 {
			if h := r.Uint32(); m.Of(h) != h%n {
				t.Fatalf("%d mod %d = %d", h, n, m.Of(h))
			}
		}
	}
}

func BenchmarkRows(b *testing.B) {
	item := []byte("item:1234567")
	b.Run("together", func(b *testing.B) {
		var h [RowsMax]uint32
		for b.Loop() {
			Rows(&h, 0, item)
		}
	})
	b.Run("one by one", func(b *testing.B) {
		var h [RowsMax]uint32
		for b.Loop() {
			for i := range 7 {
				h[i] = Sum32(item, uint32(i))
			}
		}
	})
}
