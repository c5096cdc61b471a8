package engine

import (
	"math/rand/v2"
	"testing"
)

func TestSlot(t *testing.T) {
	for _, c := range []struct {
		key  string
		want uint16
	}{
		{"", 0},
		{"123456789", 0x31c3},
		{"foo", 12182},
		{"bar", 5061},
		{"foo{hash_tag}", 2515},
		{"{user1000}.following", 3443},
		{"{user1000}.followers", 3443},
		{"user1000", 3443},
		{"foo{}{bar}", 8363}, // an empty tag: the whole key
		{"foo{{bar}}zap", Slot([]byte("{bar"))},
		{"foo{bar}{zap}", 5061},
		{"foo{bar", Slot([]byte("foo{bar"))},
		{"}{bar}", 5061},
	} {
		if got := Slot([]byte(c.key)); got != c.want {
			t.Errorf("Slot(%q) = %d, want %d", c.key, got, c.want)
		}
	}
}

// The table of eight bytes at a time must agree with bit by bit.
func TestCRC16(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 100 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		want := uint16(0)
		for _, c := range b {
			want ^= uint16(c) << 8
			for range 8 {
				if want&0x8000 != 0 {
					want = want<<1 ^ 0x1021
				} else {
					want <<= 1
				}
			}
		}
		if got := crc16(b); got != want {
			t.Errorf("%d bytes: %#x, want %#x", n, got, want)
		}
	}
}

func TestPartSet(t *testing.T) {
	var s PartSet
	if !s.Empty() || s.IsAll() {
		t.Error("a new set is not empty")
	}
	s.Add(0)
	s.Add(255)
	s.AddKey([]byte("foo"))
	for p := range Parts {
		if want := p == 0 || p == 255 || p == 12182/64; s.Has(p) != want {
			t.Errorf("Has(%d) = %v", p, !want)
		}
	}
	if s.Empty() || s.IsAll() {
		t.Error("a set of three is empty or all")
	}
	s.AddAll()
	if !s.IsAll() {
		t.Error("not all after AddAll")
	}
	ks := newTestKeyspace(t, Config{Databases: 1})
	ks.Lock(&s)
	if ks.parts[77].mu.TryLock() {
		t.Error("part 77 is not locked")
	}
	ks.Unlock(&s)
}
