package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestSnapshotChecksum: what is computed of a capture is what the keyspace was then, while it goes on changing.
func TestSnapshotChecksum(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2, Seed: 5})
	rnd := rand.New(rand.NewPCG(3, 9))
	change := func(n int) {
		for range n {
			db, key := rnd.IntN(2), fmt.Sprint("key", rnd.IntN(3000))
			write(ks, db, key, 10, func(t Txn, k []byte) {
				switch rnd.IntN(5) {
				case 0:
					t.Delete(k)
				case 1:
					t.Set(k, []byte(strings.Repeat("x", rnd.IntN(300))), 0)
				case 2:
					t.SetInt(k, rnd.Int64(), 11+rnd.Int64N(20))
				default:
					_, _ = t.Add(k, 1)
				}
			})
		}
	}
	for round := range 20 {
		change(3000)
		now := int64(10 + round)
		want := ks.Checksum(now)
		s := ks.Capture()
		if !ks.Captured() {
			t.Fatal("not captured")
		}
		change(2000)
		got, err := s.Checksum(now, func() bool { change(20); return false })
		s.Release()
		if err != nil || got != want {
			t.Fatalf("round %d: %x, %v, want %x", round, got, err, want)
		}
	}
	s := ks.Capture()
	if _, err := s.Checksum(1, func() bool { return true }); !errors.Is(err, ErrStopped) {
		t.Errorf("not stopped: %v", err)
	}
	s.Release()
	if err := ks.Check(); err != nil {
		t.Error(err)
	}
}
