package exec

import (
	"sync/atomic"
	"testing"

	"github.com/puzpuzpuz/xsync/v4"

	"quipu/commands"
	"quipu/engine"
)

// BenchmarkSilent counts one key from all processors, as event loops do whose clients want no replies: through the loop's
// own table, emptied after 1,000 commands, and without it; beside it a single atomic and a striped counter, which do
// nothing but count. Run it with -cpu 1,2,4,8.
func BenchmarkSilent(b *testing.B) {
	key := []byte("likes:post:1")
	newKeyspace := func(b *testing.B) *engine.Keyspace {
		ks := engine.New(engine.Config{})
		b.Cleanup(ks.Close)
		if err := ks.SetSelf("node", 7); err != nil {
			b.Fatal(err)
		}
		return ks
	}
	check := func(b *testing.B, ks *engine.Keyspace) {
		v := ks.View(0, 1, false).WithAhead(true)
		if got, _ := v.Get(key); got.Int != int64(b.N) {
			b.Fatalf("%d counted, not %d", got.Int, b.N)
		}
	}
	b.Run("table", func(b *testing.B) {
		ks := newKeyspace(b)
		table := commands.NewTable()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			r, c := NewRunner(ks, table), &burstClient{}
			for n := 1; pb.Next(); n++ {
				if !r.GatherSilent(c, r.increment, 0, key, 1) || n%1000 == 0 {
					r.Answer(1)
				}
			}
			r.Answer(1)
		})
		check(b, ks)
	})
	b.Run("plain", func(b *testing.B) {
		ks := newKeyspace(b)
		b.RunParallel(func(pb *testing.PB) {
			incs := []engine.Increment{{Key: key, Delta: 1}}
			for pb.Next() {
				ks.AnswerAhead(incs, 1)
			}
		})
		check(b, ks)
	})
	b.Run("atomic", func(b *testing.B) {
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				n.Add(1)
			}
		})
	})
	b.Run("xsync", func(b *testing.B) {
		n := xsync.NewCounter()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				n.Inc()
			}
		})
	})
}
