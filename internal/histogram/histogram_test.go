package histogram

import (
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestObserve: each value is counted where it belongs, at the bounds as well.
func TestObserve(t *testing.T) {
	for _, unit := range []int64{1, 32_000} {
		last := unit << (Bounds - 1)
		for _, c := range []struct {
			v      int64
			bucket int
		}{
			{-5, 0}, {0, 0}, {1, 0}, {unit, 0}, {unit + 1, 1}, {2 * unit, 1}, {2*unit + 1, 2}, {4 * unit, 2}, {4*unit + 1, 3},
			{last - 1, Bounds - 1}, {last, Bounds - 1}, {last + 1, Bounds}, {1<<63 - 1, Bounds},
		} {
			h := New(unit)
			h.Observe(c.v)
			got := h.Read()
			bucket := Bounds
			for i := Bounds - 1; i >= 0 && got.UpTo[i] == 1; i-- {
				bucket = i
			}
			if bucket != c.bucket || got.Count != 1 || got.Sum != max(c.v, 0) {
				t.Errorf("unit %d, value %d: bucket %d, want %d; %+v", unit, c.v, bucket, c.bucket, got)
			}
		}
	}
}

// TestValues: what is read is what was counted, by a model that compares with each bound.
func TestValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.Int64Range(1, 1<<20).Draw(t, "unit")
		values := rapid.SliceOf(rapid.Int64Range(0, unit<<(Bounds+1))).Draw(t, "values")
		h := New(unit)
		for _, v := range values {
			h.Observe(v)
		}
		got := h.Read()
		for i, bound := range got.Bounds {
			n := uint64(0)
			for _, v := range values {
				if v <= bound {
					n++
				}
			}
			if got.UpTo[i] != n || bound != unit<<i {
				t.Fatalf("%d values up to %d, want %d", got.UpTo[i], bound, n)
			}
		}
	})
}

// TestTogether: nothing is lost that goroutines count at once.
func TestTogether(t *testing.T) {
	const goroutines, each = 8, 10_000
	h := New(1)
	var busy sync.WaitGroup
	for range goroutines {
		busy.Go(func() {
			for i := range each {
				h.Observe(int64(i))
			}
		})
	}
	busy.Wait()
	if got := h.Read(); got.Count != goroutines*each || got.Sum != goroutines*each*(each-1)/2 {
		t.Errorf("%+v", got)
	}
}

func BenchmarkObserve(b *testing.B) {
	h := New(32_000)
	for i := range b.N {
		h.Observe(int64(i))
	}
}
