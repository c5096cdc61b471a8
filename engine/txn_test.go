package engine

import (
	"bytes"
	"fmt"
	"math"
	"testing"
)

func TestParseInt(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"-1", -1, true}, {"9", 9, true}, {"10", 10, true},
		{"9223372036854775807", math.MaxInt64, true},
		{"-9223372036854775808", math.MinInt64, true},
		{"9223372036854775808", 0, false}, {"-9223372036854775809", 0, false},
		{"18446744073709551616", 0, false}, {"99999999999999999999", 0, false},
		{"", 0, false}, {"-", 0, false}, {"-0", 0, false}, {"00", 0, false}, {"01", 0, false}, {"-01", 0, false},
		{"+1", 0, false}, {" 1", 0, false}, {"1 ", 0, false}, {"1.0", 0, false}, {"0x1", 0, false}, {"--1", 0, false},
	} {
		if got, ok := parseInt([]byte(c.in)); got != c.want || ok != c.ok {
			t.Errorf("parseInt(%q) = %d, %v", c.in, got, ok)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		delta int64
		count int
		want  int64
		ok    bool
	}{
		{3, 4, 12, true}, {-3, 4, -12, true}, {0, 9, 0, true},
		{math.MinInt64, 1, math.MinInt64, true}, {math.MinInt64 / 2, 2, math.MinInt64, true},
		{math.MinInt64, 2, 0, false}, {math.MaxInt64, 1, math.MaxInt64, true}, {math.MaxInt64, 2, 0, false},
		{1 << 62, 2, 0, false}, {math.MaxInt64, math.MaxInt32, 0, false},
	} {
		if got, ok := times(c.delta, c.count); ok != c.ok || ok && got != c.want {
			t.Errorf("times(%d, %d) = %d, %v", c.delta, c.count, got, ok)
		}
	}
}

func TestBlockClass(t *testing.T) {
	last := 0
	for n := uint32(1); n <= maxBlock; n++ {
		class, size := blockClass(n)
		again, same := blockClass(size)
		if size < n || size%refUnit != 0 || class >= blockClasses || class < last || again != class || same != size {
			t.Fatalf("blockClass(%d) = %d, %d", n, class, size)
		}
		last = class
	}
}

func TestWrongKind(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	txn := ks.Txn(0, 1, true)
	locked(ks, func() {
		txn.SetBytes([]byte("sketch"), []byte("12"), KindRaw+1, 0)
		if _, err := txn.Add([]byte("sketch"), 1); err != ErrWrongKind {
			t.Errorf("Add to another kind: %v", err)
		}
		txn.Edit([]byte("raw"), 2).Bytes[0] = '1'
		txn.Edit([]byte("raw"), 2).Bytes[1] = '2'
		if n, err := txn.Add([]byte("raw"), 1); n != 13 || err != nil {
			t.Errorf("Add to raw digits: %d, %v", n, err)
		}
	})
}

// Arguments may alias what they change.
func TestAliasedArguments(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	txn := ks.Txn(0, 1, true)
	k := []byte("k")
	for _, size := range []int{1, 50, 5000, 8180, 20000, 200000} {
		for _, shift := range []int{0, 1} {
			val := make([]byte, size)
			for i := range val {
				val[i] = byte('a' + i%26)
			}
			locked(ks, func() {
				txn.SetBytes(k, val, KindString, 0)
				v, _ := txn.Get(k)
				txn.SetBytes(k, v.Bytes[shift:], KindString, 77)
				v, _ = txn.Get(k)
				if !bytes.Equal(v.Bytes, val[shift:]) || v.Deadline != 77 {
					t.Errorf("size %d, shift %d: content differs", size, shift)
				}
				txn.Set([]byte("other"), v.Bytes, 0)
				txn.Each(func(key []byte, v Value) bool { k = key; return string(key) != "k" })
				txn.SetInt(k, 5, 0)
				txn.Each(func(key []byte, v Value) bool { k = key; return string(key) != "k" })
				txn.Delete(k)
				if _, ok := txn.Get([]byte("k")); ok {
					t.Error("not deleted")
				}
				k = []byte("k")
			})
		}
	}
}

func TestAppendGrowth(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	txn := ks.Txn(0, 1, true)
	const total = 3 << 20
	k := []byte("log")
	moves := 0
	locked(ks, func() {
		var last *byte
		for n := 100; n <= total; n += 100 {
			b := txn.Edit(k, n).Bytes
			if &b[0] != last {
				moves++
				last = &b[0]
			}
			copy(b[n-100:], bytes.Repeat([]byte{byte(n / 100)}, 100))
		}
		v, _ := txn.Get(k)
		for i, c := range v.Bytes {
			if c != byte(i/100+1) {
				t.Fatalf("byte %d is %d", i, c)
			}
		}
	})
	if moves > 60 {
		t.Errorf("the value moved %d times while it grew", moves)
	}
	if got := ks.LargestValue(); got != 4<<20 {
		t.Errorf("LargestValue = %d", got)
	}
	if m := ks.Memory(); m.ArenaBytes > total+total/4 {
		t.Errorf("ArenaBytes = %d", m.ArenaBytes)
	}
}

// Deleting half of the keys and filling up again must not grow memory, and
// deleting most of them must give it back.
func TestDeleteAndRefill(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1, Seed: 3})
	const n = 60_000
	txn := ks.Txn(0, 1, true)
	keys := make([][]byte, n) // in few parts, to have many chunks in each
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "{%d}:post:%08d", i%6, i)
	}
	refill := func() {
		locked(ks, func() {
			for _, k := range keys {
				txn.SetInt(k, 1, 0)
			}
		})
	}
	drop := func(percent uint64) int64 {
		locked(ks, func() {
			for i, k := range keys {
				if mix(uint64(i))%100 < percent {
					txn.Delete(k)
				}
			}
		})
		if err := ks.Check(); err != nil {
			t.Fatal(err)
		}
		return ks.Memory().ArenaBytes + ks.Memory().IndexBytes
	}
	refill()
	full := ks.Memory().ArenaBytes + ks.Memory().IndexBytes
	half := drop(50)
	refill()
	again := ks.Memory().ArenaBytes + ks.Memory().IndexBytes
	little := drop(95)
	t.Logf("full %d, half %d, full again %d, 5 %% %d bytes", full, half, again, little)
	if half > full*75/100 || again > full*105/100 || little > full*25/100 {
		t.Error("memory did not come back")
	}
	drop(100)
	if m := ks.Memory(); m.ArenaBytes > 6*chunkBytes || m.LiveBytes > 6*sumStep || m.DeadBytes > 6*sumStep || txn.Len() != 0 {
		t.Errorf("empty: %d keys, %+v", txn.Len(), m)
	}
}

func TestFlushGivesMemoryBack(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 3})
	fill(ks, 50_000, 1<<40)
	ks.Txn(0, 1, false).FlushAll()
	ks.janitor.wait()
	m := ks.Memory()
	if m.Mapped > warmMax*chunkBytes || m.ArenaBytes != 0 || m.IndexBytes != 0 || m.LiveBytes != 0 {
		t.Errorf("after FlushAll: %+v", m)
	}
	if due := ks.NextDue(); due != math.MaxInt64 {
		t.Errorf("NextDue = %d", due)
	}
	if s := ks.Stats(0); s != (DBStats{}) {
		t.Errorf("Stats = %+v", s)
	}
}
