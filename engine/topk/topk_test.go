package topk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"quipu/engine/murmur2"
)

func newSketch(tb testing.TB, k, width, depth int64, decay float64, seed uint64) *Sketch {
	tb.Helper()
	size, err := Dimensions(k, width, depth)
	if err != nil {
		tb.Fatal(err)
	}
	b := make([]byte, size)
	Init(b, k, width, depth, decay, seed)
	s, err := Open(b)
	if err != nil {
		tb.Fatal(err)
	}
	if s.K() != k || s.Width() != width || s.Depth() != depth || s.Decay() != decay || s.Len() != 0 {
		tb.Fatalf("%+v", s)
	}
	return &s
}

// fataler is what rapid's and testing's T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// add counts an item as a command does.
func (s *Sketch) add(t fataler, item string, n uint64) (expelled []byte) {
	t.Helper()
	known, enters := s.Count([]byte(item), n)
	if !enters {
		return nil
	}
	size, err := s.Room(len(item))
	if err != nil {
		t.Fatalf("%d bytes: %v", len(item), err)
	}
	if size != len(s.b) {
		if size < len(s.b) {
			t.Fatalf("room is made by shrinking from %d to %d", len(s.b), size)
		}
		grown, err := Open(append(s.b, make([]byte, size-len(s.b))...))
		if err != nil {
			t.Fatalf("after growing: %v", err)
		}
		*s = grown
	}
	return s.Enter([]byte(item), known)
}

// check verifies every invariant of a sketch.
func (s *Sketch) check(t fataler) {
	t.Helper()
	live := uint32(0)
	var spans [][2]uint32
	for id := range s.inUse {
		e := s.entry(id)
		from, n := s.u32(e+offsetAt), s.u32(e+lengthAt)
		if from+n > s.used() {
			t.Fatalf("item %d is at %d to %d, only %d are in use", id, from, from+n, s.used())
		}
		live += n
		if n > 0 {
			spans = append(spans, [2]uint32{from, from + n})
		}
		place := s.u32(e + placeAt)
		if place >= s.inUse || s.u32(s.heap+place*4) != id {
			t.Fatalf("entry %d is not at its place %d", id, place)
		}
		if place > 0 && s.u64(s.entry(s.at((place-1)/2))) > s.u64(e) {
			t.Fatalf("place %d of the heap counts less than the one above", place)
		}
		if fp := murmur2.Sum32(s.item(id), fingerprintSeed); fp != s.u32(e+fingerprintAt) {
			t.Fatalf("entry %d has a wrong fingerprint", id)
		} else if found, ok := s.find(fp, s.item(id)); !ok || found != id {
			t.Fatalf("entry %d is not found: %d, %v", id, found, ok)
		}
	}
	if live+s.dead() != s.used() {
		t.Fatalf("%d live bytes and %d dead, %d in use", live, s.dead(), s.used())
	}
	slices.SortFunc(spans, func(a, b [2]uint32) int { return int(a[0]) - int(b[0]) })
	for i := 1; i < len(spans); i++ {
		if spans[i][0] < spans[i-1][1] {
			t.Fatalf("items overlap")
		}
	}
	listed := uint32(0)
	for i := range s.mask + 1 {
		if v := s.u32(s.index + i*4); v > s.inUse {
			t.Fatalf("slot %d has entry %d of %d", i, v, s.inUse)
		} else if v != 0 {
			listed++
		}
	}
	if listed != s.inUse {
		t.Fatalf("%d entries, %d in the index", s.inUse, listed)
	}
}

// zipf returns a generator of items with the exponent 1.05, among a million.
func zipf(seed uint64) func() uint64 {
	return rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.05, 1, 999_999).Uint64
}

// recall counts events of a generator and returns the share of the k best that are found.
func recall(tb testing.TB, s *Sketch, events int, next func() uint64) float64 {
	truth := map[uint64]int64{}
	for range events {
		n := next()
		truth[n]++
		s.add(tb, fmt.Sprint("item:", n), 1)
	}
	counts := make([]int64, 0, len(truth))
	for _, n := range truth {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	least := counts[len(counts)-int(s.K())] // what counts as much as the last of the best is as good
	found := 0
	for _, r := range s.List() {
		var n uint64
		fmt.Sscanf(string(r.Item), "item:%d", &n)
		if truth[n] >= least {
			found++
		}
		if r.Count > truth[n] {
			tb.Errorf("%s is counted as %d, more often than its %d times", r.Item, r.Count, truth[n])
		}
	}
	return float64(found) / float64(s.K())
}

// TestRecall: with the defaults, at least 0.99 of the 50 best of a million Zipf events are found.
func TestRecall(t *testing.T) {
	for seed := range uint64(2) {
		s := newSketch(t, 50, DefaultWidth(50), DefaultDepth, DefaultDecay, seed)
		if got := recall(t, s, 1_000_000, zipf(seed)); got < 0.99 {
			t.Errorf("seed %d: recall %v", seed, got)
		}
		s.check(t)
	}
}

func TestSteps(t *testing.T) {
	s := newSketch(t, 2, 100, 4, 0.9, 7)
	for i, c := range []struct {
		item     string
		n        uint64
		expelled string
	}{
		{"a", 3, "-"}, {"b\x00b", 2, "-"}, {"c", 1, "-"}, {"c", 1, "-"}, {"c", 1, "b\x00b"}, {"", 3, "-"}, {"", 1, "c"},
		{"c", 100, "a"}, {"a", 1000, ""}, {strings.Repeat("x", MaxItem), 101, "-"}, {strings.Repeat("x", MaxItem), 3, "c"},
	} {
		expelled := "-"
		if e := s.add(t, c.item, c.n); e != nil {
			expelled = string(e)
		}
		if expelled != c.expelled {
			t.Errorf("step %d: %.20q expelled, want %.20q", i, expelled, c.expelled)
		}
		s.check(t)
	}
	want := []Ranked{{[]byte("a"), 1003}, {bytes.Repeat([]byte("x"), MaxItem), 104}}
	if got := s.List(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%.200s", fmt.Sprint(got))
	}
	for item, n := range map[string]int64{"a": 1003, "b\x00b": 2, "c": 103, "": 4, "d": 0} {
		if got := s.Estimate([]byte(item)); got != n {
			t.Errorf("%q: %d, want %d", item, got, n)
		}
		if s.Has([]byte(item)) != (item == "a") {
			t.Errorf("%q: %v", item, s.Has([]byte(item)))
		}
	}
}

// TestLargeCounts: counts end at the largest that a reply can hold.
func TestLargeCounts(t *testing.T) {
	s := newSketch(t, 1, 10, 2, 0.9, 7)
	for range 3 {
		s.add(t, "a", math.MaxUint64)
	}
	s.add(t, "b", 5)
	if got := s.Estimate([]byte("a")); got != math.MaxInt64 {
		t.Error(got)
	}
	s.check(t)
}

func TestChance(t *testing.T) {
	for _, decay := range []float64{0.9, 0.925, 0.5, 0.999, 0.99999, 0.1, 1e-3, 1e-30, 1 - 1.0/(1<<53)} {
		s := newSketch(t, 1, 1, 1, decay, 0)
		for _, count := range []uint64{1, 2, 3, 63, 64, 65, 100, 127, 128, 1000, 12345, 1 << 20, 1<<20 + 77, 1 << 40, math.MaxInt64} {
			want := math.Pow(decay, float64(count))
			got := float64(s.chance(count)) / (1 << 64)
			if math.Abs(got-want) > want*1e-9+1e-17 {
				t.Errorf("%v^%d: %g, want %g", decay, count, got, want)
			}
		}
	}
	s := newSketch(t, 1, 1, 1, 1, 0)
	for _, count := range []uint64{1, 64, math.MaxInt64} {
		if s.chance(count) < math.MaxUint64-1000 {
			t.Errorf("1^%d: %x", count, s.chance(count))
		}
	}
}

// TestDecay: many attempts at once leave on average what as many single ones leave.
func TestDecay(t *testing.T) {
	const rounds = 4000
	for _, c := range []struct {
		decay    float64
		count, n uint64
	}{{0.9, 1, 1}, {0.9, 5, 3}, {0.9, 20, 50}, {0.9, 40, 300}, {0.99, 200, 300}, {0.5, 8, 200}, {1, 50, 20}, {0.999, 100, 120}} {
		s := newSketch(t, 1, 1, 1, c.decay, 9)
		var once, single float64 // count left, or minus what is over
		for range rounds {
			left, over := s.decay(c.count, c.n)
			once += float64(left) - float64(over)
			count := c.count
			for i := c.n; ; i-- {
				if i == 0 {
					single += float64(count)
					break
				}
				if count, _ = s.decay(count, 1); count == 0 {
					single -= float64(i)
					break
				}
			}
		}
		once, single = once/rounds, single/rounds
		if diff := math.Abs(once - single); diff > 0.6+0.06*math.Abs(float64(c.count)-single) {
			t.Errorf("%v, %d attempts on %d: %.2f are left, one by one %.2f", c.decay, c.n, c.count, once, single)
		}
	}
}

// TestDecayIsBounded: no increment takes more than some thousand draws.
func TestDecayIsBounded(t *testing.T) {
	for _, decay := range []float64{0.001, 0.5, 0.9, 0.99999, 1 - 1.0/(1<<53), 1} {
		for _, count := range []uint64{1, 10, 1000, 1 << 20, 1 << 40, math.MaxInt64} {
			for _, n := range []uint64{1, 100, 1 << 20, 1 << 40, math.MaxInt64} {
				s := newSketch(t, 1, 1, 1, decay, 0)
				s.decay(count, n)
				const inverse = 0xf1de83e19937733d // of the generator's step, modulo 2^64
				if draws := s.u64(stateAt) * inverse; draws > 2000 {
					t.Errorf("%v, %d attempts on %d: %d draws", decay, n, count, draws)
				}
			}
		}
	}
}

// TestModel compares what is listed with an exact count where no item meets another in the cells' place.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.Int64Range(1, 12).Draw(t, "k")
		size, _ := Dimensions(k, 4000, 8)
		b := make([]byte, size)
		Init(b, k, 4000, 8, 0.9, rapid.Uint64().Draw(t, "seed"))
		s, err := Open(b)
		if err != nil {
			t.Fatalf("%v", err)
		}
		truth := map[string]int64{}
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			item := strings.Repeat(rapid.StringN(0, 2, 4).Draw(t, "item"), rapid.SampledFrom([]int{1, 1, 1, 50, 400}).Draw(t, "times"))
			// MurmurHash2 takes in the length by XOR, as it does the last bytes: under every seed "!\x00" has the hash of "\"".
			item = strings.ReplaceAll(item, "\x00", "0")
			n := rapid.Int64Range(1, 9).Draw(t, "n")
			truth[item] += n
			expelled := s.add(t, item, uint64(n))
			if expelled != nil && truth[string(expelled)] >= truth[item] {
				t.Fatalf("%q, %d, has expelled %q, %d", item, truth[item], expelled, truth[string(expelled)])
			}
			s.check(t)
			if !s.Has([]byte(item)) && int64(s.Len()) < k {
				t.Fatalf("%q has no place though there is room", item)
			}
		}
		var counts []int64
		for item, n := range truth {
			counts = append(counts, n)
			if got := s.Estimate([]byte(item)); got != n {
				t.Fatalf("%q: %d, want %d", item, got, n)
			}
		}
		slices.Sort(counts)
		slices.Reverse(counts)
		list := s.List()
		if len(list) != min(int(k), len(counts)) {
			t.Fatalf("%d items are listed", len(list))
		}
		for i, r := range list {
			if r.Count != counts[i] || truth[string(r.Item)] != r.Count {
				t.Fatalf("%q is number %d with %d, want %d", r.Item, i, r.Count, counts[i])
			}
		}
	})
}

// TestDeterministic: equal seeds and events give equal bytes, other seeds others.
func TestDeterministic(t *testing.T) {
	var sketches [3]*Sketch
	for i, seed := range []uint64{5, 5, 6} {
		sketches[i] = newSketch(t, 20, 50, 3, 0.9, seed)
		next := zipf(3)
		for range 20_000 {
			item := next()
			sketches[i].add(t, fmt.Sprint(item), 1+item%50)
		}
		sketches[i].check(t)
	}
	if !bytes.Equal(sketches[0].b, sketches[1].b) {
		t.Error("equal sketches differ")
	}
	if bytes.Equal(sketches[0].b[stateAt+8:], sketches[2].b[stateAt+8:]) {
		t.Error("the seed makes no difference")
	}
	// The digest pins down the format: logs on disk are replayed into it.
	if got := murmur2.Sum32(sketches[0].b, 0); got != 0x87f29a72 {
		t.Errorf("the sketch has another digest, %#x", got)
	}
}

func TestDimensions(t *testing.T) {
	for _, c := range []struct {
		k, width, depth int64
		size            int
		err             error
	}{
		{1, 1, 1, 64 + 976 + 12 + 28 + 8 + 8, nil},
		{50, 400, 4, 64 + 976 + 19200 + 1400 + 512 + 400, nil},
		{MaxK + 1, 1, 1, 0, ErrK},
		{math.MaxInt64, 1, 1, 0, ErrK},
		{1, math.MaxInt64, 1, 0, ErrTooLarge},
		{1, math.MaxInt64, math.MaxInt64, 0, ErrTooLarge},
		{1, 1 << 32, 1 << 32, 0, ErrTooLarge},
		{1, MaxBytes / cellBytes, 1, 0, ErrTooLarge},
		{1, 1, MaxDepth + 1, 0, ErrDepth},
		{1, 10, MaxDepth, 64 + 976 + 7680 + 28 + 8 + 8, nil},
	} {
		if size, err := Dimensions(c.k, c.width, c.depth); size != c.size || err != c.err {
			t.Errorf("%d, %d × %d: %d, %v, want %d, %v", c.k, c.width, c.depth, size, err, c.size, c.err)
		}
	}
}

// TestRoom: items beyond the limit of a sketch are refused, and up to it they are kept.
func TestRoom(t *testing.T) {
	s := newSketch(t, 3000, 100_000, 1, 0.9, 1)
	big := strings.Repeat("x", MaxItem-8)
	for i := range 3000 {
		item := fmt.Sprintf("%08d%s", i, big)
		if known, enters := s.Count([]byte(item), uint64(i)+1); enters {
			size, err := s.Room(len(item))
			if err == ErrTooLarge {
				if i < 1900 {
					t.Errorf("no room for item %d", i)
				}
				return
			}
			if size > MaxBytes {
				t.Fatalf("%d bytes", size)
			}
			if size > len(s.b) {
				grown, err := Open(append(s.b, make([]byte, size-len(s.b))...))
				if err != nil {
					t.Fatal(err)
				}
				*s = grown
			}
			s.Enter([]byte(item), known)
		}
	}
	t.Error("the limit was never met")
}

func TestOpenRefuses(t *testing.T) {
	good := newSketch(t, 3, 5, 2, 0.9, 1)
	good.add(t, "a", 1)
	for name, change := range map[string]func(b []byte) []byte{
		"empty":        func(b []byte) []byte { return nil },
		"short":        func(b []byte) []byte { return b[:headerBytes-1] },
		"cut":          func(b []byte) []byte { return b[:good.items-1] },
		"version":      func(b []byte) []byte { b[0] = 2; return b },
		"gap":          func(b []byte) []byte { b[52] = 1; return b },
		"no k":         func(b []byte) []byte { b[kAt] = 0; return b },
		"huge k":       func(b []byte) []byte { b[kAt+3] = 255; return b },
		"no width":     func(b []byte) []byte { b[widthAt] = 0; return b },
		"huge width":   func(b []byte) []byte { b[widthAt+3] = 255; return b },
		"no depth":     func(b []byte) []byte { b[depthAt] = 0; return b },
		"huge depth":   func(b []byte) []byte { b[depthAt+3] = 255; return b },
		"decay":        func(b []byte) []byte { b[decayAt+7] = 255; return b },
		"in use":       func(b []byte) []byte { b[inUseAt] = 4; return b },
		"bytes in use": func(b []byte) []byte { b[usedAt+1] = 1; return b },
		"dead":         func(b []byte) []byte { b[deadAt] = 2; return b },
	} {
		if _, err := Open(change(bytes.Clone(good.b))); err != ErrCorrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzSketch opens hostile bytes and works on them: nothing may panic or run on, and the bytes stay a sketch.
func FuzzSketch(f *testing.F) {
	s := newSketch(f, 3, 5, 2, 0.9, 1)
	for i := range 9 {
		s.add(f, fmt.Sprint("item", i%5), uint64(i))
	}
	f.Add(s.b, []byte("item1 item2 item3 item9 item9 item9 item9 long-item-that-does-not-fit"), uint32(0), uint32(0))
	f.Add(s.b, []byte("a bb ccc"), s.entries+offsetAt, uint32(1<<31))
	f.Add(s.b, []byte("a bb ccc"), s.heap, uint32(1<<31))
	f.Add(s.b, []byte("a bb item1"), s.index, uint32(77))
	f.Fuzz(func(t *testing.T, b, script []byte, at, v uint32) {
		if len(b) > 1<<16 {
			return
		}
		if uint64(at)+4 <= uint64(len(b)) && v != 0 {
			binary.LittleEndian.PutUint32(b[at:], v)
		}
		s, err := Open(b)
		if err != nil {
			return
		}
		for i, item := range bytes.Split(script, []byte(" ")) {
			if i == 50 {
				break
			}
			s.Has(item)
			s.Estimate(item)
			known, enters := s.Count(item, uint64(i)*uint64(v)+1)
			if enters {
				size, err := s.Room(len(item))
				if err != nil {
					continue
				}
				if size > 1<<20 || size < len(s.b) {
					t.Fatalf("%d bytes need to be %d", len(s.b), size)
				}
				s, err = Open(append(s.b, make([]byte, size-len(s.b))...))
				if err != nil {
					t.Fatal(err)
				}
				s.Enter(item, known)
			}
			if _, err := Open(s.b); err != nil {
				t.Fatal(err)
			}
			s.List()
		}
	})
}
