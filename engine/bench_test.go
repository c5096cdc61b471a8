//go:build linux

package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quipu/engine/shared"
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

// BenchmarkSharedAdd is an increment of a shared key that three regions have counted, beside BenchmarkAdd. A frame of each part is cut after
// every 4,096 increments of it, as a link would.
func BenchmarkSharedAdd(b *testing.B) {
	for _, keys := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			ks := New(Config{Databases: 1})
			defer ks.Close()
			ks.SetRegionRing(64 << 20)
			fill(ks, keys, 0)
			if _, err := ks.Txn(0, 1000, false).OpenRegions("eu", []string{"*"}, 0); err != nil {
				b.Fatal(err)
			}
			shareWithTwo(b, ks)
			var acked [Parts]uint64
			runs := make([]Run, WarmMax)
			names := make([][]byte, keys)
			for i := range names {
				names[i] = likesKey(nil, i)
			}
			rnd := rand.New(rand.NewPCG(1, 2))
			b.ResetTimer()
			defer reportCPU(b, cpuTime())
			for i := 0; i < b.N; i += WarmMax {
				for j := range runs {
					runs[j] = Run{Key: names[rnd.IntN(keys)], Delta: 1, Count: 1}
				}
				ks.AddRuns(runs, 1000, nil)
				for j := range runs {
					part := Part(runs[j].Key)
					if p := &ks.regions.Load().parts[part]; p.Pos >= acked[part]+4096 {
						_, acked[part] = ks.Frame(nil, part, acked[part], 1000)
					}
				}
			}
			b.ReportMetric(float64(ks.liveBytes.Load())/float64(keys)+7, "B/key")
		})
	}
}

// BenchmarkMergeFrame is a row of a key, of 1,000,000 that three regions have counted, in frames of 48 random ones of a part; and of a key that is
// not there yet, in full parts.
func BenchmarkMergeFrame(b *testing.B) {
	const keys, rows = 1_000_000, 48
	var names [Parts][][]byte
	for i := range keys {
		name := likesKey(nil, i)
		names[Part(name)] = append(names[Part(name)], name)
	}
	share := shared.Key{HasOwn: true, Own: shared.Share{Cum: 6000, Seq: 1 << 29, RSeq: 1 << 20}}
	b.Run("changed", func(b *testing.B) {
		ks := New(Config{Databases: 1})
		defer ks.Close()
		fill(ks, keys, 0)
		if _, err := ks.Txn(0, 1000, false).OpenRegions("eu", []string{"*"}, 0); err != nil {
			b.Fatal(err)
		}
		shareWithTwo(b, ks)
		rnd := rand.New(rand.NewPCG(1, 2))
		var frame []byte
		b.ResetTimer()
		defer reportCPU(b, cpuTime())
		for i := 0; i < b.N; i += rows {
			part, to := i/rows%Parts, uint64(1<<30+i+rows)
			frame = shared.AppendFrame(frame[:0], shared.FrameDelta, 1, 0, to)
			for range rows {
				share.Own.Cum = 6000 + rnd.Int64N(1000)
				share.Own.Seq++
				frame = share.AppendRow(frame, names[part][rnd.IntN(len(names[part]))])
			}
			if v, _, err := ks.Txn(0, 1000, false).MergeFrame(part, frame, nil); v != shared.Applied || err != nil {
				b.Fatal(v, err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		var frames [Parts][]byte
		for part := range frames {
			frames[part] = shared.AppendFrame(nil, shared.FrameFull, 1, 0, 1<<30)
			for _, name := range names[part] {
				frames[part] = share.AppendRow(frames[part], name)
			}
		}
		begun := cpuTime()
		for range b.N {
			ks := New(Config{Databases: 1})
			txn := ks.Txn(0, 1000, false)
			if _, err := txn.OpenRegions("eu", []string{"*"}, 0); err != nil {
				b.Fatal(err)
			}
			for i, name := range []string{"us", "asia"} {
				if o, err := txn.RegionOrigin(RegionOrigin{Name: name, Incarnation: 5}); int(o) != i+1 || err != nil {
					b.Fatal(o, err)
				}
				for part, frame := range frames {
					frame[1] = byte(i + 1)
					if v, _, err := txn.MergeFrame(part, frame, nil); v != shared.Applied || err != nil {
						b.Fatal(v, err)
					}
				}
			}
			ks.Close()
		}
		b.ReportMetric(float64(cpuTime()-begun)/float64(b.N)/keys/2, "cpu-ns/row")
	})
}

// shareWithTwo merges into a keyspace what two other regions have counted of all its keys.
func shareWithTwo(b *testing.B, ks *Keyspace) {
	txn := ks.Txn(0, 1000, false)
	for _, name := range []string{"us", "asia"} {
		o, err := txn.RegionOrigin(RegionOrigin{Name: name, Incarnation: 5})
		if err != nil {
			b.Fatal(err)
		}
		for part := range Parts {
			frame := shared.AppendFrame(nil, shared.FrameFull, o, 0, 1<<30)
			var names [][]byte
			ks.LockPart(part)
			if sh := ks.shard(part, 0); sh != nil {
				sh.eachRecord(func(_ uint32, r record) { names = append(names, append([]byte(nil), r.key()...)) })
			}
			ks.UnlockPart(part)
			for i, name := range names {
				k := shared.Key{HasOwn: true, Own: shared.Share{Cum: int64(5000 + i), Seq: 1 << 29, RSeq: 1 << 20}}
				frame = k.AppendRow(frame, name)
			}
			if v, _, err := txn.MergeFrame(part, frame, nil); v != shared.Applied || err != nil {
				b.Fatal(v, err)
			}
		}
	}
}

// BenchmarkRegionBegins is what an incarnation that takes the place of another one costs the regions that know it, and what telling it a part
// does while that is locked.
func BenchmarkRegionBegins(b *testing.B) {
	const keys = 200_000
	ks := New(Config{Databases: 1})
	defer ks.Close()
	if _, err := ks.Txn(0, 1000, false).OpenRegions("eu", []string{"*"}, 0); err != nil {
		b.Fatal(err)
	}
	for i := range keys {
		ks.AddRuns([]Run{{Key: likesKey(nil, i), Delta: 1, Count: 1}}, 1000, nil)
	}
	shareWithTwo(b, ks)
	b.Run("lose", func(b *testing.B) {
		txn, g := ks.Txn(0, 1000, false), ks.regions.Load()
		for b.Loop() {
			for part := range Parts {
				p := ks.sharedPart(part, 1000)
				shared.Lose(&p.Part, restless{&regionStore{txn.In(part), p, part, &p.Part}}, 1)
				g.parts[part].Lost = 0
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
	})
	b.Run("whole", func(b *testing.B) {
		var frame []byte
		for i := 0; b.Loop(); i++ {
			frame, _ = ks.Frame(frame[:0], i%Parts, 1<<55, 1000)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(keys/Parts), "ns/key")
	})
}
