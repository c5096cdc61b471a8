package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSaveAndLoad(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 4, Seed: 5})
	fill(ks, 30_000, 0)
	locked(ks, func() {
		txn := ks.Txn(3, 1, true)
		for i := range 300 {
			txn.SetBytes(fmt.Appendf(nil, "s%d", i), bytes.Repeat([]byte{byte(i)}, i*i), KindString, int64(i%3)*1000)
		}
		txn.SetBytes([]byte("big"), make([]byte, 3<<20), KindRaw, 0)
		txn.SetInt(bytes.Repeat([]byte("k"), MaxKey), -5, 3)
		txn.SetInt(nil, -1<<63, 0)
	})
	snapshot := saved(t, ks)
	other := loaded(t, snapshot, 4)
	for _, now := range []int64{0, 1500, 5000} {
		if a, b := ks.Checksum(now), other.Checksum(now); a != b {
			t.Errorf("at %d: checksum %x, loaded %x", now, a, b)
		}
	}
	if other.Seed() != 5 || other.LargestValue() != 4<<20 {
		t.Errorf("seed %d, largest value %d", other.Seed(), other.LargestValue())
	}
	if err := other.Load(bytes.NewReader(snapshot), int64(len(snapshot)), 1); err == nil {
		t.Error("loaded into a keyspace with keys")
	}
	few := New(Config{Databases: 2})
	defer few.Close()
	if err := few.Load(bytes.NewReader(snapshot), int64(len(snapshot)), 1); err == nil {
		t.Error("loaded keys of a database that is not there")
	}
}

func TestEmptySnapshot(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1, Seed: 9})
	other := loaded(t, saved(t, ks), 1)
	if other.View(0, 1, false).Len() != 0 || other.Seed() != 9 {
		t.Error("not empty, or another seed")
	}
}

// Writers of all kinds go on during the snapshot; it must show the moment of Capture.
func TestSnapshotWhileWriting(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2, Seed: 5})
	fill(ks, 40_000, 0)
	const writers, keys = 3, 4000
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for !stop.Load() {
				from := fmt.Appendf(nil, "w%d:%d", w, r.IntN(keys))
				to := fmt.Appendf(nil, "w%d:%d", w, r.IntN(keys))
				var s PartSet
				s.AddKey(from)
				s.AddKey(to)
				ks.Lock(&s)
				txn := ks.Txn(1, 1, false)
				txn.Add(from, -1)
				txn.Add(to, 1)
				switch r.IntN(8) {
				case 0: // free, reuse and move blocks
					txn.SetBytes(from, nil, KindString, 0)
					txn.Delete(from)
					txn.SetInt(to, 0, 0)
				case 1:
					txn.SetDeadline(to, int64(1e12))
				case 2:
					txn.SetDeadline(to, 0)
				}
				ks.Unlock(&s)
			}
		})
	}
	wg.Go(func() { editAndFlush(ks, &stop) })
	for round := range 8 {
		// Nothing may change between the checksum and Capture, which locks itself.
		sum, s := captureWithSum(ks)
		time.Sleep(time.Duration(round) * time.Millisecond)
		var b bytes.Buffer
		if _, err := s.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		s.Release()
		other := New(Config{Databases: 2})
		if err := other.Load(bytes.NewReader(b.Bytes()), int64(b.Len()), 2); err != nil {
			t.Fatal(err)
		}
		if err := other.Check(); err != nil {
			t.Fatal(err)
		}
		if got := other.Checksum(0); got != sum {
			t.Fatalf("round %d: checksum %x, at Capture %x", round, got, sum)
		}
		other.Close()
	}
	stop.Store(true)
	wg.Wait()
	if m := ks.Memory(); m.SnapshotBytes != 0 {
		t.Errorf("still %d bytes held", m.SnapshotBytes)
	}
}

// editAndFlush fills database 0 with values of all sizes and empties it, again and again.
func editAndFlush(ks *Keyspace, stop *atomic.Bool) {
	for i := 0; !stop.Load(); i++ {
		if i%50 == 49 {
			locked(ks, func() { ks.Txn(0, 1, true).FlushDB() })
			continue
		}
		k := fmt.Appendf(nil, "b%d", i%20)
		ks.LockPart(Part(k))
		b := ks.Txn(0, 1, false).Edit(k, (i*997)%100_000).Bytes
		for j := range b {
			b[j] = byte(i)
		}
		ks.UnlockPart(Part(k))
	}
}

// captureWithSum captures and returns the checksum of that very moment.
func captureWithSum(ks *Keyspace) (uint64, *Snapshot) {
	var all PartSet
	all.AddAll()
	ks.Lock(&all)
	defer ks.Unlock(&all)
	sum := uint64(0)
	ks.eachShard(func(sh *shard) {
		sh.eachRecord(func(_ uint32, r record) { sum += digest(sh.db, r, 0, 0) })
	})
	return sum, ks.captureLocked()
}

// A writer that is stuck, or never comes, must not stop the keyspace.
func TestAbandonedSnapshot(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	fill(ks, 30_000, 0)
	before := ks.Checksum(0)
	s := ks.Capture()
	s.limit = 1 << 16
	txn := ks.Txn(0, 1, false)
	start := time.Now()
	for i := range 64 {
		k := likesKey(nil, i)
		ks.LockPart(Part(k))
		txn.Set(k, make([]byte, 20_000), 0)
		txn.Edit(k, 30_000)
		txn.Delete(k)
		ks.UnlockPart(Part(k))
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("writes took %v", d)
	}
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	s.Release()
	if got := loaded(t, b.Bytes(), 1).Checksum(0); got != before {
		t.Errorf("checksum %x, want %x", got, before)
	}
	s = ks.Capture()
	if _, err := s.WriteTo(&brokenWriter{left: 100_000}); !errors.Is(err, errBroken) {
		t.Errorf("WriteTo: %v", err)
	}
	s.Release()
	ks.Capture().Release()
}

var errBroken = errors.New("broken")

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errBroken
	}
	return len(b), nil
}

// Every cut and every flipped bit must be noticed.
func TestDamagedSnapshot(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2, Seed: 5})
	locked(ks, func() {
		for i := range 14 {
			ks.Txn(i%2, 1, true).Set(fmt.Appendf(nil, "key%d", i), fmt.Appendf(nil, "%d", i*i*i), int64(i%3))
		}
	})
	snapshot := saved(t, ks)
	load := func(b []byte) error {
		ks := New(Config{Databases: 2})
		defer ks.Close()
		return ks.Load(bytes.NewReader(b), int64(len(b)), 1)
	}
	for n := range len(snapshot) {
		var corrupt *CorruptError
		if err := load(snapshot[:n]); !errors.As(err, &corrupt) || corrupt.Offset > int64(n) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(snapshot), err)
		}
	}
	for n := range len(snapshot) {
		b := bytes.Clone(snapshot)
		b[n] ^= 1 << (n % 8)
		var corrupt *CorruptError
		var version *VersionError
		if err := load(b); !errors.As(err, &corrupt) && !(n == 8 && errors.As(err, &version)) {
			t.Fatalf("bit flipped in byte %d of %d: %v", n, len(snapshot), err)
		}
	}
	if err := load(append(bytes.Clone(snapshot), 0)); err == nil {
		t.Error("a byte too many was accepted")
	}
	ks2 := New(Config{Databases: 2})
	defer ks2.Close()
	if err := ks2.Load(brokenReader{}, 1000, 1); !errors.Is(err, errBroken) {
		t.Errorf("unreadable snapshot: %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

var _ io.ReaderAt = brokenReader{}
