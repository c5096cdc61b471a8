package uc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/axiomhq/hyperloglog"
	"pgregory.net/rapid"

	"quipu/engine/hll"
	"quipu/internal/redistest"
)

// added is the value after adding hashes in one command, as UC.ADD carries it out.
func added(value []byte, hashes ...uint64) []byte {
	value = slices.Clone(value)
	s, err := Open(value)
	if err != nil {
		panic(err)
	}
	if s.Dense() {
		for _, h := range hashes {
			s.raise(h)
		}
		return value
	}
	var entries []uint32
	for _, h := range hashes {
		entries = append(entries, Entry(h))
	}
	c := s.Plan(entries)
	if !c.Fits() {
		return c.Dense()
	}
	value = append(value, make([]byte, c.Len()-len(value))...)
	c.Apply(value)
	return value
}

func opened(tb testing.TB, value []byte) Sketch {
	tb.Helper()
	s, err := Open(value)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func united(tb testing.TB, values ...[]byte) []byte {
	tb.Helper()
	var u Union
	for _, v := range values {
		if err := u.Add(opened(tb, v)); err != nil {
			tb.Fatal(err)
		}
	}
	return u.Value()
}

// hashesOf are n hashes of distinct items. One in eight shares its first 25 bits with another one, so that equal indexes
// are met.
func hashesOf(seed uint64, n int) []uint64 {
	r := rand.New(rand.NewPCG(seed, 1))
	hashes := make([]uint64, n)
	for i := range hashes {
		hashes[i] = r.Uint64()
		if i > 0 && r.IntN(8) == 0 {
			hashes[i] = hashes[r.IntN(i)]&^(1<<39-1) | r.Uint64()>>25>>r.IntN(40)
		}
	}
	return hashes
}

// referenceDense is the library's dense sketch of hashes, as bytes of ours.
func referenceDense(p int, hashes []uint64) []byte {
	sketch, err := hyperloglog.NewSketch(uint8(p), false)
	if err != nil {
		panic(err)
	}
	for _, h := range hashes {
		sketch.InsertHash(h)
	}
	b, err := sketch.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return append([]byte{version, byte(p), formDense, 0}, b[8:]...)
}

// TestBytesFollowFromTheSet adds the same hashes in other orders and portions and compares all with one another, and
// dense ones with the library's registers.
func TestBytesFollowFromTheSet(t *testing.T) {
	for p := MinPrecision; p <= MaxPrecision; p++ {
		limit := sparseMax(p)
		for _, n := range []int{0, 1, limit / 2, limit, limit + limit/4 + 2, 2 * limit} {
			hashes := hashesOf(uint64(p), n)
			all := added(New(p), hashes...)
			if err := opened(t, all).Check(); err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(uint64(p), uint64(n)))
			r.Shuffle(n, func(i, j int) { hashes[i], hashes[j] = hashes[j], hashes[i] })
			parts := New(p)
			for rest := hashes; len(rest) > 0; {
				k := min(1+r.IntN(1+n/5), len(rest))
				parts = added(parts, rest[:k]...)
				rest = rest[k/2+k%2:] // the second half is added again
			}
			if !bytes.Equal(all, parts) {
				t.Errorf("precision %d, %d items: bytes depend on the order", p, n)
			}
			if n == 2*limit && !bytes.Equal(all, referenceDense(p, hashes)) {
				t.Errorf("precision %d, %d items: registers differ from the library's", p, n)
			}
		}
	}
}

// TestSparseFormEndsAtItsLimit adds one by one.
func TestSparseFormEndsAtItsLimit(t *testing.T) {
	const p = 8
	value := New(p)
	seen := map[uint32]bool{}
	for _, h := range hashesOf(7, 300) {
		value = added(value, h)
		seen[Entry(h)>>rankBits] = true
		s := opened(t, value)
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		if s.Dense() != (len(seen) > 96) || !s.Dense() && s.entries() != len(seen) {
			t.Fatalf("%d indexes: dense %v, %d bytes", len(seen), s.Dense(), s.Len())
		}
	}
}

// TestMergeLaws: union is commutative, associative and idempotent down to the bytes, and equal to adding everything to
// one sketch.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.IntRange(MinPrecision, 12).Draw(t, "lowest precision")
		var values [3][]byte
		var every []uint64
		lowest := MaxPrecision
		for i := range values {
			p := rapid.IntRange(low, low+3).Draw(t, "precision")
			n := rapid.IntRange(0, 2*sparseMax(p)).Draw(t, "items")
			if p > 9 {
				n = min(n, sparseMax(p)+50)
			}
			hashes := hashesOf(rapid.Uint64Range(0, 5).Draw(t, "seed"), n)
			values[i] = added(New(p), hashes...)
			every = append(every, hashes...)
			lowest = min(lowest, p)
		}
		merge := func(values ...[]byte) []byte {
			var u Union
			for _, v := range values {
				s, err := Open(v)
				if err != nil {
					t.Fatal(err)
				}
				if err := u.Add(s); err != nil {
					t.Fatal(err)
				}
			}
			return u.Value()
		}
		a, b, c := values[0], values[1], values[2]
		want := added(New(lowest), every...)
		for name, got := range map[string][]byte{
			"abc": merge(a, b, c), "cba": merge(c, b, a), "bac": merge(b, a, c),
			"(ab)c": merge(merge(a, b), c), "a(bc)": merge(a, merge(b, c)), "b(ca)b": merge(b, merge(c, a), b),
			"abcabc": merge(a, b, c, a, b, c),
		} {
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes, want the %d of one sketch with all items", name, len(got), len(want))
			}
		}
		for _, v := range values {
			if !bytes.Equal(merge(v), v) || !bytes.Equal(merge(v, v), v) {
				t.Fatal("the union of a sketch with itself is another one")
			}
		}
	})
}

// TestCountIsTheLibrarys compares with a sketch of the library that was fed with the same hashes.
func TestCountIsTheLibrarys(t *testing.T) {
	for _, p := range []int{4, 10, 14, 18} {
		for _, n := range []int{0, 1, 10, 100, 1000, 20_000, 200_000} {
			r := rand.New(rand.NewPCG(uint64(p), uint64(n)))
			hashes := make([]uint64, n)
			for i := range hashes {
				hashes[i] = r.Uint64()
			}
			s := opened(t, added(New(p), hashes...))
			got, err := s.Count()
			if err != nil {
				t.Fatal(err)
			}
			// Only at its highest precision does the library stay sparse as long as ours does.
			reference := newDense(p)
			if !s.Dense() {
				if reference, err = hyperloglog.NewSketch(MaxPrecision, true); err != nil {
					t.Fatal(err)
				}
			}
			for _, h := range hashes {
				reference.InsertHash(h)
			}
			want := reference.Estimate()
			if s.Dense() && got != want || got < want || got > want+1 {
				t.Errorf("precision %d, %d items: count %d, the library's is %d", p, n, got, want)
			}
		}
	}
}

// TestErrorWithinBounds: within 4 standard errors over many seeds, and exact but for single items while sparse.
func TestErrorWithinBounds(t *testing.T) {
	for _, p := range []int{6, 10, 14} {
		for _, n := range []int{1, 10, sparseMax(p), 4 << p, 40 << p} {
			for seed := range uint64(redistest.Size(3, 4, 12)) {
				r := rand.New(rand.NewPCG(seed, uint64(n)))
				hashes := make([]uint64, n)
				for i := range hashes {
					hashes[i] = Hash(fmt.Appendf(nil, "%d:%d", r.Uint64(), i))
				}
				s := opened(t, added(New(p), hashes...))
				got, err := s.Count()
				if err != nil {
					t.Fatal(err)
				}
				bound := 4 * s.StandardError() * float64(n)
				if n <= sparseMax(p) {
					bound = 4
				}
				if off := math.Abs(float64(got) - float64(n)); off > bound {
					t.Errorf("precision %d, seed %d, %d items: counted %d", p, seed, n, got)
				}
			}
		}
	}
}

// hllOf is the registers of Redis's HyperLogLog for some items, and the items' hashes.
func hllOf(from, to int) (table hll.Table, hashes []uint64) {
	redis := append(hll.AppendNew(nil)[:hll.HeaderBytes], make([]byte, hll.DenseBytes-hll.HeaderBytes)...)
	redis[4] = 0 // dense
	for i := from; i < to; i++ {
		item := fmt.Appendf(nil, "item-%d", i)
		hashes = append(hashes, Hash(item))
		if index, value := hll.Place(item); hll.DenseGet(redis, index) < value {
			hll.DenseSet(redis, index, value)
		}
	}
	table.Merge(redis)
	return table, hashes
}

// TestAddHLL folds Redis's registers into every precision and compares with the library's registers for the same items.
func TestAddHLL(t *testing.T) {
	for _, p := range []int{4, 10, 13, 14, 15, 18} {
		table, hashes := hllOf(0, 30_000)
		_, more := hllOf(20_000, 20_000+sparseMax(p)/2)
		want := referenceDense(min(p, hllPrecision), slices.Concat(hashes, more))
		for _, hllFirst := range []bool{true, false} {
			var u Union
			own := opened(t, added(New(p), more...))
			if hllFirst {
				u.AddHLL(&table)
			}
			if err := u.Add(own); err != nil {
				t.Fatal(err)
			}
			if !hllFirst {
				u.AddHLL(&table)
			}
			if !bytes.Equal(u.Value(), want) {
				t.Errorf("precision %d, HLL first %v: registers differ", p, hllFirst)
			}
		}
	}
	var empty hll.Table
	var u Union
	u.AddHLL(&empty)
	if got := u.Value(); !bytes.Equal(got, New(hllPrecision)) || u.Count() != 0 {
		t.Errorf("an empty HLL gives %d bytes, count %d", len(got), u.Count())
	}
	for i := range empty {
		empty[i] = 0xff // registers of 63, which no hash leaves
	}
	u.AddHLL(&empty)
	if err := opened(t, u.Value()).Check(); err != nil {
		t.Error(err)
	}
}

// TestConcurrentCounts counts one value from several goroutines: the race detector sees whether they share anything.
func TestConcurrentCounts(t *testing.T) {
	for _, n := range []int{500, 50_000} {
		value := added(New(14), hashesOf(3, n)...)
		s := opened(t, value)
		want, _ := s.Count()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					if got, err := s.Count(); got != want || err != nil {
						t.Errorf("count %d, %v; want %d", got, err, want)
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestOpenRefuses(t *testing.T) {
	dense := append([]byte{version, 4, formDense, 0}, make([]byte, 16)...)
	entry := []byte{1<<7 | 1, 0, 0, 0}
	for name, value := range map[string][]byte{
		"nothing": nil, "short": {1, 14, 0}, "version": {2, 14, 0, 0}, "low precision": {1, 3, 0, 0},
		"high precision": {1, 19, 0, 0}, "form": {1, 14, 2, 0}, "reserved byte": {1, 14, 0, 1},
		"part of an entry": {1, 14, 0, 0, 1}, "dense, too short": dense[:19], "dense, too long": append(slices.Clone(dense), 0),
		"too many entries": append([]byte{1, 4, 0, 0}, bytes.Repeat(entry, 7)...),
	} {
		if _, err := Open(value); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	high := slices.Clone(dense)
	high[19] = 62
	for name, value := range map[string][]byte{
		"rank 0": {1, 14, 0, 0, 0x80, 0, 0, 0}, "rank 41": {1, 14, 0, 0, 0x80 | 41, 0, 0, 0},
		"twice": slices.Concat([]byte{1, 14, 0, 0}, entry, entry), "register": high,
		"descending": slices.Concat([]byte{1, 14, 0, 0}, entry, []byte{1, 0, 0, 0}),
	} {
		s := opened(t, value)
		if err := s.Check(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Count(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("count with %s: %v", name, err)
		}
	}
	high[19] = 61
	if err := opened(t, high).Check(); err != nil {
		t.Error(err)
	}
}

// FuzzValue runs every operation on hostile bytes. Those that Check accepts must keep the laws, the others must be
// refused or changed without reading or writing elsewhere.
func FuzzValue(f *testing.F) {
	f.Add(New(14), uint64(1), uint64(2))
	f.Add(added(New(4), hashesOf(1, 5)...), uint64(1<<40), uint64(1))
	f.Add(added(New(5), hashesOf(1, 50)...), uint64(1<<63), uint64(0))
	f.Add([]byte{1, 6, 0, 0, 9, 9, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0}, uint64(1<<47), uint64(1<<46))
	f.Fuzz(func(t *testing.T, value []byte, x, y uint64) {
		s, err := Open(value)
		if err != nil {
			return
		}
		valid := s.Check() == nil
		after := added(value, x, y, x|1)
		var u Union
		if err := u.Add(s); (err == nil) != valid {
			t.Fatalf("valid %v, union: %v", valid, err)
		}
		s.Holds(x)
		if !valid {
			return
		}
		if held := s.Holds(x); held != bytes.Equal(added(value, x), value) || !opened(t, after).Holds(x) {
			t.Fatalf("holds %v before", held)
		}
		if !bytes.Equal(u.Value(), value) {
			t.Fatal("the union of one sketch is another one")
		}
		if err := opened(t, after).Check(); err != nil {
			t.Fatal(err)
		}
		both := united(t, value, added(New(s.Precision()), x, y, x|1))
		if !bytes.Equal(both, after) {
			t.Fatal("adding and merging differ")
		}
		if n, err := s.Count(); err != nil || !s.Dense() && n > uint64(2*s.entries()) {
			t.Fatalf("count %d, %v", n, err)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	for _, bench := range []struct {
		name  string
		p, n  int
		dense bool
	}{{"sparse14", 14, 3000, false}, {"sparse18", 18, 50_000, false}, {"dense14", 14, 100_000, true}} {
		b.Run(bench.name, func(b *testing.B) {
			value := added(New(bench.p), hashesOf(1, bench.n)...)
			room := make([]byte, len(value)+entryBytes)
			item := []byte("element:0000000000")
			for i := 0; b.Loop(); i++ {
				for k, n := len(item)-1, i; n > 0; k, n = k-1, n/10 {
					item[k] = '0' + byte(n%10)
				}
				h := Hash(item)
				if bench.dense {
					s, _ := Open(value)
					s.raise(h)
					continue
				}
				copy(room, value) // as an arena does where there is room
				s, _ := Open(room[:len(value)])
				c := s.Plan([]uint32{Entry(h)})
				if c.Fits() {
					c.Apply(room[:c.Len()])
				}
			}
		})
	}
}

func BenchmarkCount(b *testing.B) {
	for _, p := range []int{14, 18} {
		b.Run(fmt.Sprintf("dense%d", p), func(b *testing.B) {
			s := opened(b, added(New(p), hashesOf(1, 4<<p)...))
			for b.Loop() {
				if _, err := s.Count(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
