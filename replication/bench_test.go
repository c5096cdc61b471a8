package replication

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkCommit measures a commit through Batcher, Raft, log and state machine: each caller submits one number and waits.
func BenchmarkCommit(b *testing.B) {
	for _, callers := range []int{1, 2, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			cfg := testConfig(b.TempDir())
			cfg.SegmentBytes = 64 << 20
			n := startNode(b, cfg)
			defer n.stop(b)
			latencies := make([][]time.Duration, callers)
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for c := range callers {
				wg.Go(func() {
					for i := c; i < b.N; i += callers {
						start := time.Now()
						if err := <-submit(n.batch, 1); err != nil {
							b.Error(err)
							return
						}
						latencies[c] = append(latencies[c], time.Since(start))
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			all := slices.Concat(latencies...)
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkClock measures Clock.Now beside time.Now.
func BenchmarkClock(b *testing.B) {
	c := NewClock(nil)
	b.Run("Clock.Now", func(b *testing.B) {
		for b.Loop() {
			c.Now()
		}
	})
	b.Run("time.Now", func(b *testing.B) {
		for b.Loop() {
			time.Now()
		}
	})
}

// BenchmarkReplay measures the start of a node with a log of small entries.
func BenchmarkReplay(b *testing.B) {
	cfg := testConfig(b.TempDir())
	cfg.SegmentBytes = 64 << 20
	n := startNode(b, cfg)
	const entries = 20_000
	var waits []chan error
	for v := range uint64(entries) {
		waits = append(waits, submit(n.batch, v))
		outcomeOf(b, waits[len(waits)-1])
	}
	n.stop(b)
	b.ResetTimer()
	for b.Loop() {
		n := startNode(b, cfg)
		b.StopTimer()
		n.stop(b)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}
