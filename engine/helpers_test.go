package engine

import (
	"bytes"
	"fmt"
	"testing"
)

// newTestKeyspace makes a keyspace that is checked and closed when the test ends.
func newTestKeyspace(t testing.TB, cfg Config) *Keyspace {
	t.Helper()
	ks := New(cfg)
	t.Cleanup(func() {
		if err := ks.Check(); err != nil {
			t.Errorf("Check: %v", err)
		}
		ks.Close()
	})
	return ks
}

// locked runs fn with all parts locked.
func locked(ks *Keyspace, fn func()) {
	var all PartSet
	all.AddAll()
	ks.Lock(&all)
	defer ks.Unlock(&all)
	fn()
}

func likesKey(buf []byte, i int) []byte {
	return fmt.Appendf(buf[:0], "likes:post:%08d", i)
}

// fill adds n counters with keys likes:post:%08d and values above 20,000.
func fill(ks *Keyspace, n int, deadline int64) {
	t := ks.Txn(0, 1, false)
	var buf []byte
	for i := range n {
		buf = likesKey(buf, i)
		p := Part(buf)
		ks.LockPart(p)
		t.SetInt(buf, int64(20000+i), deadline)
		ks.UnlockPart(p)
	}
}

// saved returns a snapshot of the keyspace.
func saved(t testing.TB, ks *Keyspace) []byte {
	t.Helper()
	s := ks.Capture()
	defer s.Release()
	var b bytes.Buffer
	n, err := s.WriteTo(&b)
	if err != nil {
		t.Fatalf("WriteTo: %v", err)
	}
	if n != int64(b.Len()) {
		t.Fatalf("WriteTo returned %d, wrote %d", n, b.Len())
	}
	return b.Bytes()
}

// loaded returns a keyspace with the content of a snapshot.
func loaded(t testing.TB, snapshot []byte, databases int) *Keyspace {
	t.Helper()
	ks := newTestKeyspace(t, Config{Databases: databases, Seed: 99})
	if err := ks.Load(bytes.NewReader(snapshot), int64(len(snapshot)), 2); err != nil {
		t.Fatalf("Load: %v", err)
	}
	return ks
}
