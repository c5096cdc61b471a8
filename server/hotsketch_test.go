package server

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// check holds the invariants of a slice's sketch.
func (s *spaceSaving) check(t *testing.T) {
	t.Helper()
	if len(s.counters) > hotCounters || len(s.index) != len(s.counters) {
		t.Fatalf("%d counters, %d in the index", len(s.counters), len(s.index))
	}
	for i, c := range s.counters {
		if c.at != i || s.index[c.id] != c {
			t.Fatalf("the counter at %d is at %d in its own words, or not in the index", i, c.at)
		}
		if parent := s.counters[max(i-1, 0)/2]; parent.total() > c.total() {
			t.Fatalf("the counter at %d has a total of %d, its parent one of %d", i, c.total(), parent.total())
		}
	}
}

// TestHotKeysAgainstExactCounts compares the sketch with a map, for streams of keys from very uneven to quite even: nothing is shown that was
// not there, and what makes up more of the operations than the sketch's share is shown, nearly whole.
func TestHotKeysAgainstExactCounts(t *testing.T) {
	for _, skew := range []float64{1.01, 1.2, 2} {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 1))
		zipf := rand.NewZipf(r, skew, 1, 1_000_000)
		w := newHotWindow()
		type exact struct{ reads, writes int64 }
		counts := map[string]*exact{}
		const operations = 40_000
		var total int64
		for range operations {
			key, weight, write := fmt.Sprintf("likes:%d", zipf.Uint64()), 1+r.Int64N(3), r.IntN(4) == 0
			w.add(5e9, 0, []byte(key), weight, write)
			if counts[key] == nil {
				counts[key] = &exact{}
			}
			if total += weight; write {
				counts[key].writes += weight
			} else {
				counts[key].reads += weight
			}
		}
		w.slices[0].check(t)
		shown := map[string]int64{}
		last := int64(1 << 62)
		for _, k := range w.top(5e9, operations) {
			name, was := string(k.key), counts[string(k.key)]
			if was == nil || k.reads > was.reads || k.writes > was.writes || k.operations() < 1 || k.operations() > last {
				t.Fatalf("seed %d, skew %v: %s is shown with %d reads and %d writes behind one of %d, had %+v", seed, skew, name, k.reads, k.writes, last, was)
			}
			last = k.operations()
			shown[name] = last
		}
		hot := 0
		for name, was := range counts {
			n := was.reads + was.writes
			if n > 2*total/hotCounters {
				hot++
				if missing := n - shown[name]; missing > total/hotCounters {
					t.Errorf("seed %d, skew %v: %s with %d of %d is shown with %d", seed, skew, name, n, total, shown[name])
				}
			}
		}
		if hot < 3 {
			t.Errorf("seed %d, skew %v: %d hot keys in the test, too few to say something", seed, skew, hot)
		}
	}
}

// TestHotKeysThatComeLate: a key that gets hot when all counters are in use finds one among many keys that are not hot, and keeps it.
func TestHotKeysThatComeLate(t *testing.T) {
	w := newHotWindow()
	for i := range 40_000 {
		key := fmt.Sprint("cold:", i)
		if i > 5000 && i%100 == 0 {
			key = "late"
		}
		w.add(0, 0, []byte(key), 1, true)
	}
	w.slices[0].check(t)
	if k := w.top(0, 1)[0]; string(k.key) != "late" || k.operations() < 300 {
		t.Errorf("the hottest is %s with %d of 349 operations", k.key, k.operations())
	}
}

// TestHotKeysOfAMinute: what was counted leaves the window little by little, and its memory is free afterwards.
func TestHotKeysOfAMinute(t *testing.T) {
	w := newHotWindow()
	for ns := int64(0); ns < 300e9; ns += 1e8 {
		w.add(ns, 0, []byte("steady"), 10, true)
		if ns < 15e9 {
			w.add(ns, 1, []byte("early"), 4, false)
		}
		if n := w.of(ns, 0, []byte("steady")).operations(); ns >= 75e9 && (n < 5900 || n > 6100) {
			t.Fatalf("after %d ms: 100 operations a second are %d in the last minute", ns/1e6, n)
		}
		want := int64(600) // in the first 15 seconds
		switch n := w.of(ns, 1, []byte("early")).operations(); {
		case ns < 15e9:
			want = 4 * (ns/1e8 + 1)
			fallthrough
		case ns < 60e9:
			if n != want {
				t.Fatalf("after %d ms: %d, want %d", ns/1e6, n, want)
			}
		case ns < 75e9:
			if want = int64(float64(600) * float64(75e9-ns) / 15e9); n < want-1 || n > want+1 {
				t.Fatalf("after %d ms: %d, want about %d", ns/1e6, n, want)
			}
		case n != 0:
			t.Fatalf("after %d ms: %d are left", ns/1e6, n)
		}
	}
	if top := w.top(300e9, 10); len(top) != 1 || string(top[0].key) != "steady" || top[0].reads != 0 {
		t.Errorf("at the end: %v", top)
	}
	for _, idle := range []int64{300e9 + hotSlices*hotSlice, 1e15} {
		w.add(300e9, 0, []byte("again"), 1, true)
		w.advance(idle)
		for i := range w.slices {
			if w.slices[i].counters != nil || w.slices[i].index != nil {
				t.Errorf("slice %d still holds memory after %d s", i, idle/1e9)
			}
		}
		w.now = 20
	}
}

// TestHotKeysMemory: neither many keys nor long ones take more than the counters have room for; long ones are told apart all the same.
func TestHotKeysMemory(t *testing.T) {
	w := newHotWindow()
	long := strings.Repeat("x", 4000)
	for i := range 20_000 {
		w.add(int64(i)*10e6, i%3, fmt.Appendf(nil, "%s%d", long, i%1000), 1, true)
	}
	bytes := 0
	for i := range w.slices {
		w.slices[i].check(t)
		for _, c := range w.slices[i].counters {
			bytes += cap(c.key) + 128
		}
	}
	if bytes > hotSlices*hotCounters*(128+2*hotKeyBytes) || bytes == 0 {
		t.Errorf("%d bytes of keys and counters", bytes)
	}
	w = newHotWindow()
	for i := range 30 {
		w.add(0, 0, []byte(long+"a"), 2, true)
		w.add(0, 0, []byte(long+"b"), 1, true)
		w.add(0, i%2, []byte("short"), 2, false)
	}
	want := []hotKey{{cut: 4001 - hotKeyBytes, writes: 60}, {db: 0, reads: 30}, {cut: 4001 - hotKeyBytes, writes: 30}, {db: 1, reads: 30}}
	for i, k := range w.top(0, 10) {
		if k.cut != want[i].cut || k.db != want[i].db || k.reads != want[i].reads || k.writes != want[i].writes {
			t.Errorf("number %d is %+v, want %+v", i, k, want[i])
		}
	}
}
