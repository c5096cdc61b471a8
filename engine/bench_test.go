//go:build linux

package engine

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// resident returns the process's resident bytes.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return n * int64(os.Getpagesize())
}

func benchSizes(b *testing.B, run func(b *testing.B, ks *Keyspace, n int)) {
	for _, n := range []int{10_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if testing.Short() && n > 10_000 {
				b.Skip("long")
			}
			ks := New(Config{Seed: 7})
			defer ks.Close()
			fill(ks, n, 0)
			run(b, ks, n)
		})
	}
}

// cpuTime returns the CPU time of the process so far.
func cpuTime() time.Duration {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// reportCPU reports CPU time per operation, which other load disturbs less.
func reportCPU(b *testing.B, since time.Duration) {
	b.ReportMetric(float64(cpuTime()-since)/float64(b.N), "cpu-ns/op")
}

// randomKey writes one of n keys into buf, which holds "likes:post:" already.
func randomKey(buf []byte, r uint64, n int) []byte {
	x := r % uint64(n)
	for i := 19; i > 11; {
		i--
		buf[i] = byte('0' + x%10)
		x /= 10
	}
	return buf
}

func BenchmarkAdd(b *testing.B) {
	benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
		buf := []byte("likes:post:00000000")
		t := ks.Txn(0, 1, false)
		r := uint64(0)
		b.ResetTimer()
		defer reportCPU(b, cpuTime())
		for range b.N {
			r = mix(r)
			k := randomKey(buf, r, n)
			p := Part(k)
			ks.LockPart(p)
			if _, err := t.Add(k, 1); err != nil {
				b.Fatal(err)
			}
			ks.UnlockPart(p)
		}
	})
}

// BenchmarkAddWarm is BenchmarkAdd with Warm called ahead for WarmMax keys at a time.
func BenchmarkAddWarm(b *testing.B) {
	benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
		t := ks.Txn(0, 1, false)
		r := uint64(0)
		hints := make([]Hint, WarmMax)
		for i := range hints {
			hints[i].Key = []byte("likes:post:00000000")
		}
		b.ResetTimer()
		defer reportCPU(b, cpuTime())
		for i := 0; i < b.N; i += WarmMax {
			for j := range hints {
				r = mix(r)
				randomKey(hints[j].Key, r, n)
			}
			ks.Warm(hints)
			for j := range hints {
				p := Part(hints[j].Key)
				ks.LockPart(p)
				if _, err := t.Add(hints[j].Key, 1); err != nil {
					b.Fatal(err)
				}
				ks.UnlockPart(p)
			}
		}
	})
}

func BenchmarkAddRuns(b *testing.B) {
	benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
		r := uint64(0)
		runs := make([]Run, WarmMax)
		for i := range runs {
			runs[i] = Run{Key: []byte("likes:post:00000000"), Delta: 1, Count: 1}
		}
		b.ResetTimer()
		defer reportCPU(b, cpuTime())
		for i := 0; i < b.N; i += WarmMax {
			for j := range runs {
				r = mix(r)
				randomKey(runs[j].Key, r, n)
			}
			ks.AddRuns(runs, 1, nil)
		}
	})
}

func BenchmarkGetHit(b *testing.B) {
	benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
		buf := []byte("likes:post:00000000")
		v := ks.View(0, 1, false)
		r := uint64(0)
		b.ResetTimer()
		defer reportCPU(b, cpuTime())
		for range b.N {
			r = mix(r)
			k := randomKey(buf, r, n)
			p := Part(k)
			ks.LockPart(p)
			if _, ok := v.Get(k); !ok {
				b.Fatal("missing")
			}
			ks.UnlockPart(p)
		}
	})
}

// BenchmarkKeySetGet is BenchmarkGetHit with WarmMax keys at a time.
func BenchmarkKeySetGet(b *testing.B) {
	benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
		var keys [WarmMax][]byte
		for i := range keys {
			keys[i] = []byte("likes:post:00000000")
		}
		var g KeySet
		r := uint64(0)
		b.ResetTimer()
		defer reportCPU(b, cpuTime())
		for i := 0; i < b.N; i += WarmMax {
			g.Reset(ks)
			for j := range keys {
				r = mix(r)
				g.Add(0, randomKey(keys[j], r, n))
			}
			g.Lock()
			for j := range keys {
				if _, ok := g.View(j, 1).Get(keys[j]); !ok {
					b.Fatal("missing")
				}
			}
			g.Unlock()
		}
	})
}

func BenchmarkGetMiss(b *testing.B) {
	benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
		buf := []byte("likes:pos!:00000000")
		v := ks.View(0, 1, false)
		r := uint64(0)
		b.ResetTimer()
		defer reportCPU(b, cpuTime())
		for range b.N {
			r = mix(r)
			k := randomKey(buf, r, n)
			p := Part(k)
			ks.LockPart(p)
			if _, ok := v.Get(k); ok {
				b.Fatal("found")
			}
			ks.UnlockPart(p)
		}
	})
}

func BenchmarkSetString(b *testing.B) {
	benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
		buf := []byte("likes:pos?:00000000")
		t := ks.Txn(0, 1, false)
		val := []byte("some text value, short")
		r := uint64(0)
		b.ResetTimer()
		defer reportCPU(b, cpuTime())
		for range b.N {
			r = mix(r)
			k := randomKey(buf, r, n)
			p := Part(k)
			ks.LockPart(p)
			t.Set(k, val[:10+r>>60], 0)
			ks.UnlockPart(p)
		}
	})
}

func BenchmarkHotKey(b *testing.B) {
	ks := New(Config{Seed: 7})
	defer ks.Close()
	fill(ks, 10_000, 0)
	t := ks.Txn(0, 1, false)
	k := []byte("likes:post:00000001")
	for range b.N {
		p := Part(k)
		ks.LockPart(p)
		_, _ = t.Add(k, 1)
		ks.UnlockPart(p)
	}
}

func BenchmarkSlot(b *testing.B) {
	k := []byte("likes:post:00000001")
	s := 0
	for range b.N {
		s += Part(k)
	}
	runtime.KeepAlive(s)
}

func BenchmarkScan(b *testing.B) {
	ks := New(Config{Seed: 7})
	defer ks.Close()
	fill(ks, 1_000_000, 0)
	v := ks.View(0, 1, false)
	for _, count := range []int{10, 1000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			cursor, seen := uint64(0), 0
			for range b.N {
				cursor = v.Scan(cursor, count, func([]byte, Value) { seen++ })
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(seen), "ns/key")
		})
	}
}

// BenchmarkFill makes 5,000,001 counters and reports bytes per key.
func BenchmarkFill(b *testing.B) {
	for _, ttl := range []int64{0, 1 << 40} {
		b.Run(fmt.Sprintf("ttl=%v", ttl != 0), func(b *testing.B) {
			if testing.Short() {
				b.Skip("long")
			}
			for range b.N {
				const n = 5_000_001
				before, cpu := resident(), cpuTime()
				ks := New(Config{Seed: 7})
				fill(ks, n, ttl)
				m := ks.Memory()
				b.ReportMetric(float64(m.Mapped)/n, "mapped-B/key")
				b.ReportMetric(float64(m.IndexBytes)/n, "index-B/key")
				b.ReportMetric(float64(resident()-before)/n, "rss-B/key")
				b.ReportMetric(float64(cpuTime()-cpu)/n, "cpu-ns/key")
				ks.Close()
			}
		})
	}
}

// BenchmarkSnapshot writes and loads 5,000,001 counters.
func BenchmarkSnapshot(b *testing.B) {
	if testing.Short() {
		b.Skip("long")
	}
	const n = 5_000_001
	ks := New(Config{Seed: 7})
	defer ks.Close()
	fill(ks, n, 0)
	var file bytes.Buffer
	file.Grow(200 << 20)
	for range b.N {
		file.Reset()
		start := time.Now()
		s := ks.Capture()
		b.ReportMetric(float64(time.Since(start).Microseconds()), "capture-us")
		start = time.Now()
		if _, err := s.WriteTo(&file); err != nil {
			b.Fatal(err)
		}
		s.Release()
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "write-ms")
		b.ReportMetric(float64(file.Len())/n, "file-B/key")
		for _, goroutines := range []int{1, 2} {
			to := New(Config{})
			before := resident()
			start = time.Now()
			if err := to.Load(bytes.NewReader(file.Bytes()), int64(file.Len()), goroutines); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(start).Milliseconds()), fmt.Sprintf("load%d-ms", goroutines))
			b.ReportMetric(float64(resident()-before)/n, "loaded-rss-B/key")
			to.Close()
		}
	}
}

// BenchmarkSnapshotWhileWriting increments random ones of 5,000,001 counters
// while a snapshot is written to a file, and reports the slowest thousand of
// increments and what the snapshot held on top at most.
func BenchmarkSnapshotWhileWriting(b *testing.B) {
	if testing.Short() {
		b.Skip("long")
	}
	const n = 5_000_001
	ks := New(Config{Seed: 7})
	defer ks.Close()
	fill(ks, n, 0)
	buf := []byte("likes:post:00000000")
	t := ks.Txn(0, 1, false)
	r := uint64(0)
	for range b.N {
		f, err := os.Create(b.TempDir() + "/snapshot")
		if err != nil {
			b.Fatal(err)
		}
		before := resident()
		s := ks.Capture()
		done := make(chan error)
		start := time.Now()
		go func() {
			_, err := s.WriteTo(f)
			done <- err
		}()
		writes, held, rss, slowest := 0, int64(0), int64(0), time.Duration(0)
		for running := true; running; {
			batch := time.Now()
			for range 1000 {
				r = mix(r)
				k := randomKey(buf, r, n)
				p := Part(k)
				ks.LockPart(p)
				_, _ = t.Add(k, 1)
				ks.UnlockPart(p)
			}
			slowest = max(slowest, time.Since(batch))
			writes += 1000
			held = max(held, ks.Memory().SnapshotBytes)
			rss = max(rss, resident()-before)
			select {
			case err = <-done:
				running = false
			default:
			}
		}
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "write-ms")
		b.ReportMetric(float64(writes)/time.Since(start).Seconds(), "adds/s")
		b.ReportMetric(float64(slowest.Microseconds()), "slowest-1000-us")
		b.ReportMetric(100*float64(held)/float64(ks.Memory().Mapped), "held-%")
		b.ReportMetric(100*float64(rss)/float64(ks.Memory().Mapped), "rss-growth-%")
		s.Release()
		f.Close()
	}
}
