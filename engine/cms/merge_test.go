package cms

import (
	"bytes"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestMergeSteps(t *testing.T) {
	sketch := func(cell int, conservative bool, counts ...int64) Sketch {
		s := newSketch(t, 50, 3, cell, conservative)
		for i, n := range counts {
			s.add(string(rune('a'+i)), n)
		}
		return s
	}
	for name, c := range map[string]struct {
		to      Sketch
		sources []Sketch
		weights []int64
		err     error
		a, sum  int64
	}{
		"overwrites":           {sketch(4, false, 9), []Sketch{sketch(4, false, 1), sketch(4, false, 2, 5)}, []int64{1, 1}, nil, 3, 8},
		"weights":              {sketch(4, false, 9), []Sketch{sketch(4, false, 1), sketch(4, false, 2)}, []int64{10, 3}, nil, 16, 16},
		"subtracts":            {sketch(4, false), []Sketch{sketch(4, false, 5), sketch(4, false, 2)}, []int64{1, -2}, nil, 1, 1},
		"no weight":            {sketch(4, false, 1), []Sketch{sketch(4, false, 5)}, []int64{0}, nil, 0, 0},
		"below zero":           {sketch(4, false, 9), []Sketch{sketch(4, false, 1)}, []int64{-1}, ErrOverflow, 9, 9},
		"to the limit":         {sketch(1, false), []Sketch{sketch(1, false, 200), sketch(1, false, 55)}, []int64{1, 1}, nil, 255, 255},
		"beyond":               {sketch(1, false, 9), []Sketch{sketch(1, false, 200), sketch(1, false, 56)}, []int64{1, 1}, ErrOverflow, 9, 9},
		"beyond 32 bits":       {sketch(4, false, 9), []Sketch{sketch(4, false, 1<<31), sketch(4, false, 1<<31)}, []int64{1, 1}, ErrOverflow, 9, 9},
		"beyond 63 bits":       {sketch(8, false, 9), []Sketch{sketch(8, false, 1<<62), sketch(8, false, 1<<62)}, []int64{1, 1}, ErrOverflow, 9, 9},
		"weight overflows":     {sketch(8, false, 9), []Sketch{sketch(4, false, 4)}, []int64{math.MaxInt64}, ErrOverflow, 9, 9},
		"smallest weight":      {sketch(8, false, 9), []Sketch{sketch(4, false, 1)}, []int64{math.MinInt64}, ErrOverflow, 9, 9},
		"into wider cells":     {sketch(8, false), []Sketch{sketch(1, false, 200), sketch(2, false, 65534)}, []int64{1, 2}, nil, 131268, 131268},
		"into narrower cells":  {sketch(1, false), []Sketch{sketch(8, false, 200)}, []int64{1}, nil, 200, 200},
		"too many for them":    {sketch(1, false, 9), []Sketch{sketch(8, false, 256)}, []int64{1}, ErrOverflow, 9, 9},
		"saturated":            {sketch(4, false), []Sketch{sketch(4, false, 1<<32-1)}, []int64{1}, nil, 1<<32 - 1, 1<<32 - 1},
		"saturated into wider": {sketch(8, false, 9), []Sketch{sketch(4, false, 1<<32-1)}, []int64{1}, ErrOverflow, 9, 9},
		"conservative":         {sketch(4, true), []Sketch{sketch(4, true, 1), sketch(4, false, 2)}, []int64{2, 1}, nil, 4, 4},
		"conservative, less":   {sketch(4, true, 9), []Sketch{sketch(4, true, 1)}, []int64{-1}, ErrConservative, 9, 9},
		"conservative into":    {sketch(4, false, 9), []Sketch{sketch(4, true, 1)}, []int64{1}, ErrConservative, 9, 9},
		"width":                {sketch(4, false, 9), []Sketch{newSketch(t, 51, 3, 4, false)}, []int64{1}, ErrShape, 9, 9},
		"depth":                {sketch(4, false, 9), []Sketch{newSketch(t, 50, 4, 4, false)}, []int64{1}, ErrShape, 9, 9},
	} {
		before := bytes.Clone(c.to.b)
		if err := c.to.Merge(c.sources, c.weights); err != c.err {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if got := c.to.query("a"); got != c.a || c.to.Count() != c.sum {
			t.Errorf("%s: a %d, sum %d, want %d, %d", name, got, c.to.Count(), c.a, c.sum)
		}
		if c.err != nil && !bytes.Equal(c.to.b, before) {
			t.Errorf("%s: a refused merge has changed the sketch", name)
		}
	}
}

// drawSketch is a sketch of a shape with random cells.
func drawSketch(t *rapid.T, shape [2]int64, cell int) Sketch {
	b := make([]byte, headerBytes+int(shape[0]*shape[1])*cell)
	Init(b, shape[0], shape[1], cell, false)
	s, err := Open(b)
	if err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(0, 12).Draw(t, "items") {
		s.add(genItem.Draw(t, "item"), rapid.SampledFrom([]int64{1, 2, 63, 64, 100, 1 << 14, 1 << 30, 1 << 61}).Draw(t, "n"))
	}
	return s
}

// TestMergeAgainstModel compares with sums of big integers.
func TestMergeAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := genShape.Draw(t, "shape")
		to := drawSketch(t, shape, genCell.Draw(t, "cell"))
		var sources []Sketch
		var weights []int64
		for range rapid.IntRange(1, 4).Draw(t, "sources") {
			if rapid.IntRange(0, 3).Draw(t, "self") == 0 {
				sources = append(sources, to)
			} else {
				sources = append(sources, drawSketch(t, shape, rapid.SampledFrom([]int{to.cell, to.cell, to.cell, 4}).Draw(t, "cell")))
			}
			weights = append(weights, rapid.SampledFrom([]int64{1, 1, 1, 0, 2, -1, 1 << 40}).Draw(t, "weight"))
		}
		want := make([]*big.Int, shape[0]*shape[1]+1)
		good := true
		for c := range want {
			want[c] = new(big.Int)
			for i := range sources {
				v := sources[i].Count()
				if c > 0 {
					v = int64(sources[i].load(headerBytes + uint32((c-1)*sources[i].cell)))
					if sources[i].cell < to.cell && uint64(v) == sources[i].max() && weights[i] != 0 {
						good = false
					}
				}
				want[c].Add(want[c], new(big.Int).Mul(big.NewInt(v), big.NewInt(weights[i])))
				good = good && want[c].IsInt64()
			}
			limit := new(big.Int).SetUint64(to.max())
			if c == 0 {
				limit.SetInt64(math.MaxInt64)
			}
			good = good && want[c].Sign() >= 0 && want[c].Cmp(limit) <= 0
		}
		before := bytes.Clone(to.b)
		err := to.Merge(sources, weights)
		if good != (err == nil) {
			t.Fatalf("%v, though it should be %v", err, good)
		}
		if !good {
			if !bytes.Equal(before, to.b) {
				t.Fatal("a refused merge has changed the sketch")
			}
			return
		}
		for c := range want {
			got := to.Count()
			if c > 0 {
				got = int64(to.load(headerBytes + uint32((c-1)*to.cell)))
			}
			if got != want[c].Int64() {
				t.Fatalf("cell %d: %d, want %v", c-1, got, want[c])
			}
		}
	})
}

// TestMergeLaws: the order and the grouping of merges make no difference, and a merge is what one sketch had been that
// had counted everything.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := genShape.Draw(t, "shape")
		fresh := func() Sketch {
			b := make([]byte, headerBytes+int(shape[0]*shape[1])*4)
			Init(b, shape[0], shape[1], 4, false)
			s, _ := Open(b)
			return s
		}
		all := fresh()
		var parts [3]Sketch
		for i := range parts {
			parts[i] = fresh()
			for range rapid.IntRange(0, 20).Draw(t, "items") {
				item, n := genItem.Draw(t, "item"), genSmall(t, 0)
				parts[i].add(item, n)
				all.add(item, n)
			}
		}
		merged := func(sources ...Sketch) Sketch {
			s := fresh()
			ones := []int64{1, 1, 1}
			if err := s.Merge(sources, ones[:len(sources)]); err != nil {
				t.Fatal(err)
			}
			return s
		}
		a, b, c := parts[0], parts[1], parts[2]
		for _, got := range []Sketch{
			merged(a, b, c), merged(c, a, b), merged(merged(a, b), c), merged(a, merged(b, c)), merged(merged(c, b), a),
		} {
			if !bytes.Equal(got.b, all.b) {
				t.Fatal("merges differ")
			}
		}
	})
}
