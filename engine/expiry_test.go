package engine

import (
	"fmt"
	"math"
	"testing"
)

func TestReclaim(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2})
	const n = 6_000
	for db := range 2 {
		txn := ks.Txn(db, 0, true)
		locked(ks, func() {
			for i := range n {
				txn.SetInt(fmt.Appendf(nil, "k%d", i), 1, int64(1+i%100)*(1-int64(i%2)))
			}
		})
	}
	if due := ks.NextDue(); due > 1 {
		t.Errorf("NextDue = %d", due)
	}
	for now := int64(0); now <= 110; now += 10 {
		v := ks.View(1, now, false)
		want := 0
		v.Each(func([]byte, Value) bool { want++; return true })
		for p := range Parts {
			for more := true; more; {
				var removed int
				if removed, _, more = ks.Reclaim(p, now, 7); removed > 7 {
					t.Fatalf("removed %d at once", removed)
				}
			}
		}
		if got := v.Len(); got != int64(want) {
			t.Errorf("at %d: %d records left, want %d", now, got, want)
		}
		if due := ks.NextDue(); due <= now {
			t.Errorf("at %d: NextDue = %d", now, due)
		}
		if err := ks.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if due := ks.NextDue(); due != math.MaxInt64 {
		t.Errorf("NextDue = %d in the end", due)
	}
	if s := ks.Stats(0); s.Keys != n/2 || s.Expires != 0 {
		t.Errorf("Stats = %+v", s)
	}
}

func TestStatsTTL(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	fill(ks, 100, 1_000_000)
	ks.Txn(0, 400_000, false)
	if s := ks.Stats(0); s.Keys != 100 || s.Expires != 100 || s.AvgTTL < 595_000 || s.AvgTTL > 600_000 {
		t.Errorf("Stats = %+v", s)
	}
}

// Whether a record was reclaimed must not show in any reply.
func TestExpiredIsAbsent(t *testing.T) {
	for _, reclaim := range []bool{false, true} {
		ks := newTestKeyspace(t, Config{Databases: 2})
		k := []byte("k")
		locked(ks, func() { ks.Txn(0, 1, true).SetInt(k, 7, 10) })
		if reclaim {
			ks.Reclaim(Part(k), 10, 1)
		}
		locked(ks, func() {
			txn := ks.Txn(0, 10, true)
			if _, ok := txn.Get(k); ok {
				t.Error("Get found it")
			}
			if txn.SetDeadline(k, 99) {
				t.Error("SetDeadline found it")
			}
			if txn.CopyTo(txn.WithDB(1), k, k) {
				t.Error("CopyTo found it")
			}
			if txn.Delete(k) {
				t.Error("Delete found it")
			}
			if n, err := txn.Add(k, 1); n != 1 || err != nil {
				t.Errorf("Add = %d, %v", n, err)
			}
			if v, _ := txn.Get(k); v.Deadline != 0 {
				t.Error("the old deadline stayed")
			}
		})
	}
}
