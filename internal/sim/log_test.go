package sim

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"

	"quipu/internal/redistest"
	"quipu/replication/storage"
)

// TestLogLikeTheRealOne does the same to the simulation's log and to the one that nodes have: a simulated disk that behaves
// otherwise finds faults that are none, and hides others. It once emptied the log where a range lay before its first entry.
// Entries before the first one are not compared: the real log may still find some, which are as right as when they were there.
func TestLogLikeTheRealOne(t *testing.T) {
	for seed := range uint64(redistest.Size(3, 20, 3)) {
		ours := &logStore{&stores{}}
		ours.now.Store(newDisk())
		real, err := storage.OpenLog(storage.LogConfig{
			Dir: redistest.FastDir(t), Create: true, SegmentBytes: 64 << 10, TrailingBytes: 1 << 20, MaxEntryBytes: 1 << 10,
			Logger: slog.New(slog.DiscardHandler), Fail: func(err error) { t.Error(err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 14))
		for range 100 {
			step(t, rng, ours, real)
			first, last := compareLogs(t, ours, real)
			for range 4 {
				compareEntry(t, ours, real, first+rng.Uint64N(last-first+6))
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		real.Close()
	}
}

// step appends some entries, or deletes a range: at the beginning, at the end, or beside the log.
func step(t *testing.T, rng *rand.Rand, logs ...raft.LogStore) {
	first, _ := logs[0].FirstIndex()
	last, _ := logs[0].LastIndex()
	low, high := first, first+rng.Uint64N(last-first+10)
	switch rng.IntN(8) {
	case 0: // the end, after a conflict
		low, high = last-rng.Uint64N(last-first+1), last
	case 1: // what was deleted before
		low = first - min(first, 1+rng.Uint64N(20))
		high = low + rng.Uint64N(5)
	case 2: // what is not there yet
		low, high = last+1, last+5
	case 3, 4: // a snapshot
	default:
		var list []*raft.Log
		next := last + 1
		if last == 0 {
			next += rng.Uint64N(1000) // behind a snapshot
		}
		for i := range 1 + rng.Uint64N(20) {
			list = append(list, &raft.Log{Index: next + i, Term: 1, Type: raft.LogCommand, Data: []byte{byte(rng.Uint32())}})
		}
		for _, log := range logs {
			if err := log.StoreLogs(list); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for _, log := range logs {
		if err := log.DeleteRange(low, high); err != nil {
			t.Fatalf("%T: entries %d to %d of %d to %d: %v", log, low, high, first, last, err)
		}
	}
}

func compareLogs(t *testing.T, ours, real raft.LogStore) (first, last uint64) {
	first, err := ours.FirstIndex()
	last, err2 := ours.LastIndex()
	realFirst, err3 := real.FirstIndex()
	realLast, err4 := real.LastIndex()
	if err := errors.Join(err, err2, err3, err4); err != nil || first != realFirst || last != realLast {
		t.Errorf("entries %d to %d, and %d to %d: %v", first, last, realFirst, realLast, err)
	}
	return first, last
}

func compareEntry(t *testing.T, ours, real raft.LogStore, index uint64) {
	var a, b raft.Log
	err, err2 := ours.GetLog(index, &a), real.GetLog(index, &b)
	if !errors.Is(err2, err) || string(a.Data) != string(b.Data) || a.Index != b.Index {
		t.Errorf("entry %d: %+v, %v and %+v, %v", index, a, err, b, err2)
	}
}
