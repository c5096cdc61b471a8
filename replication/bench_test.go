package replication

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
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

// BenchmarkLogStore compares raft-wal as it comes with ours: zero-filled segments, fdatasync, CRC, watermark.
func BenchmarkLogStore(b *testing.B) {
	for _, size := range []int{200, 20_000} {
		b.Run(fmt.Sprintf("ours/%d", size), func(b *testing.B) {
			dir := b.TempDir()
			cfg := logStoreConfig{dir: dir, segment: 64 << 20, create: true, log: testConfig(dir).Logger, fail: func(err error) { b.Error(err) }, guard: &diskGuard{usage: diskSpace, dir: dir, changed: func(error) {}}}
			s, err := openLogStore(cfg)
			if err != nil {
				b.Fatal(err)
			}
			s.fs.start()
			defer s.close()
			benchStore(b, s, size)
		})
		b.Run(fmt.Sprintf("raft-wal/%d", size), func(b *testing.B) {
			s, err := wal.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			benchStore(b, s, size)
		})
	}
}

func benchStore(b *testing.B, s raft.LogStore, size int) {
	data := make([]byte, size)
	for i := range b.N {
		if err := s.StoreLogs([]*raft.Log{{Index: uint64(i + 1), Term: 1, Data: data}}); err != nil {
			b.Fatal(err)
		}
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
	var pending []chan error
	for v := range uint64(entries) {
		pending = append(pending, submit(n.batch, v))
		outcomeOf(b, pending[len(pending)-1])
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
