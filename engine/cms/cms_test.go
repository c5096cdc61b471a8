package cms

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"quipu/engine/murmur2"
)

func newSketch(tb testing.TB, width, depth int64, cell int, conservative bool) Sketch {
	tb.Helper()
	size, err := Dimensions(width, depth, cell)
	if err != nil {
		tb.Fatal(err)
	}
	b := make([]byte, size)
	Init(b, width, depth, cell, conservative)
	s, err := Open(b)
	if err != nil {
		tb.Fatal(err)
	}
	if s.Width() != width || s.Depth() != depth || s.CellBytes() != cell || s.Conservative() != conservative || s.Count() != 0 {
		tb.Fatalf("%+v", s)
	}
	return s
}

func (s *Sketch) add(item string, n int64) (int64, error) {
	var cells Cells
	s.Locate(&cells, []byte(item))
	return s.Add(cells.All(), n)
}

func (s *Sketch) query(item string) int64 {
	var cells Cells
	s.Locate(&cells, []byte(item))
	return s.Estimate(cells.All())
}

// TestFromErrors has depths that glibc's log10f gives, at and beside powers of two, where a rounding decides.
func TestFromErrors(t *testing.T) {
	for _, c := range []struct {
		epsilon, delta float32
		width, depth   int64
	}{
		{0.001, 0.01, 2000, 7},
		{0.002, 0.002, 1000, 9},
		{0.01, 0.1, 200, 4},
		{0.3, 0.3, 7, 2},
		{0.7, 0.9, 3, 1},
		{0.99, 0.99, 3, 1},
		{1, 0.5, 2, 1},
		{1e-5, 0.25, 200000, 2},
		{1e-5, 0.125, 200000, 3},
		{0.5, 0.03125, 4, 5},
		{0.5, math.Nextafter32(0.03125, 0), 4, 5},
		{0.5, math.Nextafter32(0.03125, 1), 4, 5},
		{0.5, 0.0312, 4, 6},
		{0.5, 1e-5, 4, 17},
		{0.5, 1e-10, 4, 34},
		{0.5, 1e-30, 4, 100},
		{0.5, math.SmallestNonzeroFloat32, 4, 149},
		{0.5, 0, 4, 0},
		{0.5, 1, 4, 0},
		{0, 0.5, 0, 1},
	} {
		width, depth := FromErrors(c.epsilon, c.delta)
		if width != c.width || depth != c.depth {
			t.Errorf("ε = %g, δ = %g: %d × %d, want %d × %d", c.epsilon, c.delta, width, depth, c.width, c.depth)
		}
	}
}

func TestMinusLog10(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		x := float32(math.Exp(-r.Float64() * 80))
		want := -math.Log10(float64(x))
		got := float64(minusLog10(x))
		if math.Abs(got-want) > want/(1<<24)+1e-12 {
			t.Fatalf("%g: %g, want %g", x, got, want)
		}
	}
}

func TestDimensions(t *testing.T) {
	for _, c := range []struct {
		width, depth int64
		cell, size   int
		err          error
	}{
		{1, 1, 1, 25, nil},
		{2000, 7, 4, 56024, nil},
		{MaxBytes/4 - 6, 1, 4, MaxBytes, nil},
		{MaxBytes/4 - 5, 1, 4, 0, ErrTooLarge},
		{MaxBytes/4 - 6, 1, 8, 0, ErrTooLarge},
		{1, MaxDepth, 8, 8216, nil},
		{1, MaxDepth + 1, 8, 0, ErrDepth},
		{math.MaxInt64, 1, 1, 0, ErrTooLarge},
		{math.MaxInt64, 2, 1, 0, ErrTooLarge},
		{math.MaxInt64, 3, 1, 0, ErrDimensions},
		{math.MaxInt64, 2, 2, 0, ErrDimensions},
		{math.MaxInt64, math.MaxInt64, 8, 0, ErrDimensions},
		{1 << 32, 1 << 32, 1, 0, ErrDimensions},
		{1 << 32, 1<<32 - 1, 1, 0, ErrTooLarge},
	} {
		size, err := Dimensions(c.width, c.depth, c.cell)
		if size != c.size || err != c.err {
			t.Errorf("%d × %d × %d: %d, %v, want %d, %v", c.width, c.depth, c.cell, size, err, c.size, c.err)
		}
	}
}

func TestAddSteps(t *testing.T) {
	type step struct {
		item  string
		n     int64
		count int64
		err   error
		sum   int64
	}
	for _, c := range []struct {
		cell         int
		conservative bool
		steps        []step
	}{
		{4, false, []step{
			{"a", 5, 5, nil, 5}, {"a", 0, 5, nil, 5}, {"", 1, 1, nil, 6}, {"a", -5, 0, nil, 1}, {"a", -1, 0, ErrUnderflow, 1},
			{"a", 1<<32 - 2, 1<<32 - 2, nil, 1<<32 - 1}, {"a", 1, 0, ErrOverflow, 1 << 32}, {"a", 1 << 40, 0, ErrOverflow, 1<<40 + 1<<32},
			{"a", -10, 0, ErrOverflow, 1<<40 + 1<<32 - 10}, // what is saturated stays so
			{"b", math.MaxInt64, 0, ErrOverflow, math.MaxInt64},
			{"b", math.MinInt64, 0, ErrOverflow, -1},
		}},
		{1, false, []step{{"a", 254, 254, nil, 254}, {"a", 1, 0, ErrOverflow, 255}, {"b", 300, 0, ErrOverflow, 555}}},
		{2, false, []step{{"a", 65534, 65534, nil, 65534}, {"a", 2, 0, ErrOverflow, 65536}}},
		{8, false, []step{{"a", math.MaxInt64 - 1, math.MaxInt64 - 1, nil, math.MaxInt64 - 1}, {"a", 1, 0, ErrOverflow, math.MaxInt64}}},
		{2, true, []step{{"a", 65534, 65534, nil, 65534}, {"b", 3, 3, nil, 65537}, {"a", 2, 0, ErrOverflow, 65539}}},
	} {
		s := newSketch(t, 1000, 5, c.cell, c.conservative)
		for _, st := range c.steps {
			before := bytes.Clone(s.b)
			count, err := s.add(st.item, st.n)
			if count != st.count || err != st.err || s.Count() != st.sum {
				t.Errorf("cells of %d: %q %+d: %d, %v, sum %d, want %d, %v, sum %d", c.cell, st.item, st.n, count, err, s.Count(), st.count, st.err, st.sum)
			}
			if err == ErrUnderflow && !bytes.Equal(s.b, before) {
				t.Errorf("%q %+d: an underflow has changed the sketch", st.item, st.n)
			}
			if err == nil && s.query(st.item) != count {
				t.Errorf("%q: query %d, add %d", st.item, s.query(st.item), count)
			}
		}
	}
}

// model is a sketch as simple as it can be.
type model struct {
	width, depth uint32
	cell         int
	conservative bool
	cells        []uint64
	count        int64
}

func newModel(s *Sketch) *model {
	return &model{s.width, s.depth, s.cell, s.conservative, make([]uint64, s.width*s.depth), 0}
}

func (m *model) places(item string) []*uint64 {
	var p []*uint64
	for row := range m.depth {
		p = append(p, &m.cells[row*m.width+murmur2.Sum32([]byte(item), row)%m.width])
	}
	return p
}

func (m *model) query(item string) uint64 {
	least := uint64(math.MaxUint64)
	for _, p := range m.places(item) {
		least = min(least, *p)
	}
	return least
}

func (m *model) add(item string, n int64) {
	limit := largest(m.cell)
	if n < 0 {
		for _, p := range m.places(item) {
			if *p != limit && *p < uint64(-n) {
				return
			}
		}
	}
	goal := min(m.query(item)+uint64(n), limit)
	for _, p := range m.places(item) {
		switch {
		case m.conservative:
			*p = max(*p, goal)
		case n < 0 && *p == limit:
		default:
			*p = min(*p+uint64(n), limit)
		}
	}
	m.count += n
}

func (m *model) bytes() []byte {
	b := make([]byte, headerBytes, MaxDepth)
	Init(b, int64(m.width), int64(m.depth), m.cell, m.conservative)
	binary.LittleEndian.PutUint64(b[CountAt:], uint64(m.count))
	for _, v := range m.cells {
		var cell [8]byte
		binary.LittleEndian.PutUint64(cell[:], v)
		b = append(b, cell[:m.cell]...)
	}
	return b
}

var (
	genCell  = rapid.SampledFrom([]int{1, 2, 4, 8})
	genItem  = rapid.StringN(0, 9, 40)
	genShape = rapid.Custom(func(t *rapid.T) [2]int64 {
		return [2]int64{rapid.Int64Range(1, 40).Draw(t, "width"), rapid.Int64Range(1, 20).Draw(t, "depth")}
	})
)

// genSmall is an increment that brings small cells near their limits now and then.
func genSmall(t *rapid.T, least int64) int64 { return rapid.Int64Range(least, 100).Draw(t, "n") }

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := genShape.Draw(t, "shape")
		conservative := rapid.Bool().Draw(t, "conservative")
		size, _ := Dimensions(shape[0], shape[1], 1)
		cell := genCell.Draw(t, "cell")
		size = headerBytes + (size-headerBytes)*cell
		b := make([]byte, size)
		Init(b, shape[0], shape[1], cell, conservative)
		s, err := Open(b)
		if err != nil {
			t.Fatal(err)
		}
		m := newModel(&s)
		least := int64(-100)
		if conservative {
			least = 0
		}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			item, n := genItem.Draw(t, "item"), genSmall(t, least)
			got, err := s.add(item, n)
			m.add(item, n)
			if err == nil && uint64(got) != m.query(item) || errors.Is(err, ErrOverflow) && m.query(item) != largest(cell) {
				t.Fatalf("%q %+d: %d, %v, the model says %d", item, n, got, err, m.query(item))
			}
		}
		if !bytes.Equal(s.b, m.bytes()) {
			t.Fatalf("bytes differ:\n%x\n%x", s.b, m.bytes())
		}
	})
}

// TestNeverUndercounts also takes away, but never more than was added.
func TestNeverUndercounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		conservative := rapid.Bool().Draw(t, "conservative")
		size, _ := Dimensions(7, 3, 1)
		b := make([]byte, size)
		Init(b, 7, 3, 1, conservative)
		s, _ := Open(b)
		truth := map[string]int64{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			item := fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "item"))
			least := -truth[item]
			if conservative {
				least = 0
			}
			n := rapid.Int64Range(least, 20).Draw(t, "n")
			if _, err := s.add(item, n); err == ErrUnderflow {
				t.Fatalf("%q %+d: underflow, though %d were added", item, n, truth[item])
			}
			truth[item] += n
			for item, n := range truth {
				if got := s.query(item); got < min(n, 255) {
					t.Fatalf("%q: %d, truth %d", item, got, n)
				}
			}
		}
	})
}

// TestErrorBound counts a million events and demands that estimates are too high by more than ε·N for no more than a
// share δ of the items.
func TestErrorBound(t *testing.T) {
	const events, epsilon, delta = 1_000_000, 0.001, 0.01
	r := rand.New(rand.NewPCG(5, 6))
	zipf := rand.NewZipf(r, 1.05, 1, 99_999)
	for name, next := range map[string]func() uint64{"Zipf": zipf.Uint64, "uniform": func() uint64 { return r.Uint64N(100_000) }} {
		width, depth := FromErrors(epsilon, delta)
		for _, conservative := range []bool{false, true} {
			s := newSketch(t, width, depth, 4, conservative)
			truth := make([]int64, 100_000)
			item := make([]byte, 8)
			var cells Cells
			for range events {
				n := next()
				truth[n]++
				binary.LittleEndian.PutUint64(item, n)
				s.Locate(&cells, item)
				if _, err := s.Add(cells.All(), 1); err != nil {
					t.Fatal(err)
				}
			}
			beyond, items, sum := 0, 0, int64(0)
			for n, want := range truth {
				if want == 0 {
					continue
				}
				binary.LittleEndian.PutUint64(item, uint64(n))
				s.Locate(&cells, item)
				over := s.Estimate(cells.All()) - want
				items++
				sum += over
				if over < 0 {
					t.Fatalf("%s: %d is counted as %d too few", name, n, -over)
				}
				if float64(over) > epsilon*events {
					beyond++
				}
			}
			t.Logf("%s, conservative %v: %d of %d items beyond ε·N, %.1f too many on average", name, conservative, beyond, items, float64(sum)/float64(items))
			if float64(beyond) > delta*float64(items) {
				t.Errorf("%s, conservative %v: %d of %d items beyond ε·N = %v", name, conservative, beyond, items, epsilon*events)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	good := newSketch(t, 3, 2, 4, false)
	for name, change := range map[string]func(b []byte) []byte{
		"empty":      func(b []byte) []byte { return nil },
		"short":      func(b []byte) []byte { return b[:headerBytes-1] },
		"cut":        func(b []byte) []byte { return b[:len(b)-1] },
		"long":       func(b []byte) []byte { return append(b, 0) },
		"version":    func(b []byte) []byte { b[0] = 2; return b },
		"flags":      func(b []byte) []byte { b[flagsAt] = 2; return b },
		"cell":       func(b []byte) []byte { b[cellAt] = 3; return b },
		"no cell":    func(b []byte) []byte { b[cellAt] = 0; return b },
		"other cell": func(b []byte) []byte { b[cellAt] = 2; return b },
		"gap":        func(b []byte) []byte { b[3] = 1; return b },
		"gap 2":      func(b []byte) []byte { b[12] = 1; return b },
		"no width":   func(b []byte) []byte { b[widthAt] = 0; return b[:headerBytes] },
		"no depth":   func(b []byte) []byte { b[depthAt] = 0; return b[:headerBytes] },
		"huge":       func(b []byte) []byte { b[widthAt+3] = 255; b[depthAt+1] = 255; return b },
	} {
		if _, err := Open(change(bytes.Clone(good.b))); err != ErrCorrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzSketch opens hostile bytes and works on them.
func FuzzSketch(f *testing.F) {
	s := newSketch(f, 3, 2, 4, false)
	s.add("a", 7)
	f.Add(s.b, "a", int64(-3), true)
	s = newSketch(f, 5, 17, 8, true)
	for i := range s.b[headerBytes:] {
		s.b[headerBytes+i] = 255
	}
	f.Add(s.b, "b", int64(math.MaxInt64), false)
	s = newSketch(f, 1, 1, 1, false)
	f.Add(s.b, "", int64(math.MinInt64), false)
	f.Fuzz(func(t *testing.T, b []byte, item string, n int64, twice bool) {
		s, err := Open(b)
		if err != nil {
			return
		}
		if s.Conservative() && n < 0 {
			n = ^n
		}
		s.query(item)
		got, err := s.add(item, n)
		if err == nil && s.query(item) != got {
			t.Errorf("%q: %d, then %d", item, got, s.query(item))
		}
		other := bytes.Clone(s.b)
		from, err := Open(other)
		if err != nil {
			t.Fatal(err)
		}
		sources := []Sketch{from, s}
		if twice {
			sources = []Sketch{s, from, s}
		}
		before := bytes.Clone(s.b)
		if s.Merge(sources, []int64{1, 1, n}[:len(sources)]) != nil && !bytes.Equal(s.b, before) {
			t.Error("a refused merge has changed the sketch")
		}
		if _, err := Open(s.b); err != nil {
			t.Error(err)
		}
	})
}
