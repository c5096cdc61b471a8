package engine

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"
)

// TestAddRunsWhileRecordsMove: a batch makes counters of text, which frees and moves records, beside increments of those found before.
func TestAddRunsWhileRecordsMove(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // what has moved may be mapped no more
	ks := newTestKeyspace(t, Config{Databases: 1})
	rnd := rand.New(rand.NewPCG(1, 2))
	const keys = 3000
	want := map[string]int64{}
	name := func() []byte { return fmt.Appendf(nil, "{k}%d", rnd.IntN(keys)) } // all in one part
	part := Part(name())
	moves := uint32(0)
	for batch := range 8000 {
		if batch%400 == 0 { // all are numbers as text, with room: a counter takes a third of that, so that chunks are given up
			ks.LockPart(part)
			txn := ks.Txn(0, 1, false)
			for i := range keys {
				key := fmt.Appendf(nil, "{k}%d", i)
				txn.SetBytes(key, make([]byte, 60), KindString, 0)
				txn.SetBytes(key, []byte("12"), KindString, 0)
				want[string(key)] = 12
			}
			ks.UnlockPart(part)
		}
		runs := make([]Run, WarmMax)
		for i := range runs {
			runs[i] = Run{Key: name(), Delta: 1, Count: 1}
		}
		before := ks.parts[part].moved
		if n := ks.AddRuns(runs, 1, nil); n != len(runs) {
			t.Fatal(n)
		}
		moves += ks.parts[part].moved - before
		for i := range runs {
			if got := want[string(runs[i].Key)]; runs[i].Before != got || runs[i].Err != nil {
				t.Fatalf("%s was %d, %v, want %d", runs[i].Key, runs[i].Before, runs[i].Err, got)
			}
			want[string(runs[i].Key)]++
		}
	}
	if moves < 1000 {
		t.Errorf("%d times something has moved", moves)
	}
}
