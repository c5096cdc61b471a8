package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// Keys that stay must be seen exactly once while masses of others come and go.
func TestScanWhileChanging(t *testing.T) {
	for _, count := range []int{1, 10, 500} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			ks := newTestKeyspace(t, Config{Databases: 1, Seed: 11})
			txn := ks.Txn(0, 1, false)
			set := func(key string, there bool) {
				k := []byte(key)
				ks.LockPart(Part(k))
				defer ks.UnlockPart(Part(k))
				if there {
					txn.SetInt(k, 1, 0)
				} else {
					txn.Delete(k)
				}
			}
			const stay, others = 2000, 60_000
			for i := range stay {
				set(fmt.Sprintf("stay%d", i), true)
			}
			r := rand.New(rand.NewPCG(5, 6))
			seen := make(map[string]int)
			calls := 0
			for cursor := uint64(0); ; {
				cursor = txn.Scan(cursor, count, func(key []byte, v Value) { seen[string(key)]++ })
				if cursor == 0 {
					break
				}
				if cursor >= 1<<53 {
					t.Fatalf("cursor %#x", cursor)
				}
				if calls++; calls%max(1, 400/count) != 0 {
					continue
				}
				// Waves: fill up, then empty again, so that tables grow, split, shrink and join.
				grow := calls/max(1, 400/count)%10 < 5
				for range others / 100 {
					set(fmt.Sprintf("other%d", r.IntN(others)), grow)
				}
				if calls%3 == 0 && !grow {
					for i := range others {
						set(fmt.Sprintf("other%d", i), false)
					}
				}
			}
			for i := range stay {
				if n := seen[fmt.Sprintf("stay%d", i)]; n != 1 {
					t.Errorf("stay%d was seen %d times", i, n)
				}
			}
		})
	}
}

// A cursor goes on in a keyspace loaded from a snapshot.
func TestScanAfterLoad(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1, Seed: 12})
	fill(ks, 20_000, 0)
	seen := make(map[string]int)
	see := func(key []byte, v Value) { seen[string(key)]++ }
	cursor := ks.View(0, 1, false).Scan(0, 7000, see)
	other := loaded(t, saved(t, ks), 1)
	for cursor != 0 {
		cursor = other.View(0, 1, false).Scan(cursor, 7, see)
	}
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%q was seen %d times", k, n)
		}
	}
	if len(seen) != 20_000 {
		t.Errorf("%d keys were seen", len(seen))
	}
}

func TestScanHostileCursor(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	fill(ks, 5000, 0)
	v := ks.View(0, 1, false)
	rapid.Check(t, func(t *rapid.T) {
		next := v.Scan(rapid.Uint64().Draw(t, "cursor"), rapid.Int().Draw(t, "count"), func([]byte, Value) {})
		if next >= 1<<53 {
			t.Fatalf("next cursor %#x", next)
		}
	})
}

func TestScanBounds(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	fill(ks, 30_000, 0)
	v := ks.View(0, 1, false)
	for cursor := uint64(0); ; {
		n := 0
		if cursor = v.Scan(cursor, 10, func([]byte, Value) { n++ }); cursor == 0 {
			break
		}
		if n < 10 || n > 10+2*lineCells {
			t.Fatalf("COUNT 10 gave %d keys", n)
		}
	}
	if next := v.Scan(0, math.MaxInt, func([]byte, Value) {}); next != 0 {
		t.Errorf("a huge COUNT did not reach the end: %#x", next)
	}
}

func TestRandomKey(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2})
	fill(ks, 100, 0)
	v := ks.View(0, 1, false)
	seen := make(map[string]int)
	for i := range 5000 {
		k, ok := v.RandomKey(uint64(i))
		if !ok {
			t.Fatal("no key")
		}
		seen[string(k)]++
	}
	for k, n := range seen {
		if n < 10 || n > 150 {
			t.Errorf("%s was drawn %d times of 5000, expected about 50", k, n)
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d of 100 keys were drawn", len(seen))
	}
	if _, ok := v.WithDB(1).RandomKey(1); ok {
		t.Error("a key in an empty database")
	}
	fill(ks, 100, 50)
	if _, ok := ks.View(0, 50, false).RandomKey(1); ok {
		t.Error("an expired key")
	}
}
