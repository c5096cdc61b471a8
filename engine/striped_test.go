package engine

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/puzpuzpuz/xsync/v4"
)

func TestStriped(t *testing.T) {
	s := NewStriped()
	const writers, rounds = 8, 20_000
	var taken atomic.Int64
	var adders sync.WaitGroup
	for w := range writers {
		adders.Go(func() {
			for i := range rounds {
				s.Add(uint32(w), int64(i%3-1))
				s.Add(uint32(w*1000+i), 1)
				if i%1000 == 0 {
					taken.Add(s.Take())
				}
			}
		})
	}
	adders.Wait()
	want := int64(0)
	for i := range rounds {
		want += writers * int64(i%3)
	}
	if got := s.Sum() + taken.Load(); got != want {
		t.Errorf("sum %d, want %d", got, want)
	}
	if taken.Add(s.Take()); s.Sum() != 0 || taken.Load() != want {
		t.Errorf("took %d, want %d, left %d", taken.Load(), want, s.Sum())
	}
}

// BenchmarkCounter is to be run with -cpu 1,2,4,8: one atomic, the striped counter, and another project's.
func BenchmarkCounter(b *testing.B) {
	b.Run("atomic", func(b *testing.B) {
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				n.Add(1)
			}
		})
		checkCount(b, n.Load())
	})
	b.Run("striped", func(b *testing.B) {
		s := NewStriped()
		var next atomic.Uint32
		b.RunParallel(func(pb *testing.PB) {
			stripe := next.Add(1)
			for pb.Next() {
				s.Add(stripe, 1)
			}
		})
		checkCount(b, s.Sum())
	})
	b.Run("xsync", func(b *testing.B) {
		c := xsync.NewCounter()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.Add(1)
			}
		})
		checkCount(b, c.Value())
	})
}

func checkCount(b *testing.B, got int64) {
	b.Helper()
	if got != int64(b.N) {
		b.Errorf("counted %d of %d", got, b.N)
	}
}

// BenchmarkCounterSum is what a reader pays.
func BenchmarkCounterSum(b *testing.B) {
	b.Run("striped", func(b *testing.B) {
		s := NewStriped()
		for range b.N {
			_ = s.Sum()
		}
	})
	b.Run("xsync", func(b *testing.B) {
		c := xsync.NewCounter()
		for range b.N {
			_ = c.Value()
		}
	})
}
