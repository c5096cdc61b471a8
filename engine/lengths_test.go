package engine

import (
	"fmt"
	"testing"
)

// TestLargestValueFalls: the bound follows the values that are there, whichever way they come and go.
func TestLargestValueFalls(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2})
	expect := func(what string, want int) {
		t.Helper()
		if got := ks.LargestValue(); got != want {
			t.Errorf("%s: LargestValue is %d instead of %d", what, got, want)
		}
		if err := ks.Check(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	txn := ks.Txn(0, 1, true)
	set := func(key string, n int, deadline int64) {
		locked(ks, func() { txn.SetBytes([]byte(key), make([]byte, n), KindString, deadline) })
	}
	del := func(key string) { locked(ks, func() { txn.Delete([]byte(key)) }) }
	expect("empty", 64)
	set("small", 100, 0)
	expect("100 bytes", 128)
	set("page", 4096, 0)
	expect("4096 bytes", 4096)
	set("big", 1<<20, 0)
	expect("1 MiB", 1<<20)
	set("bigger", 1<<20+1, 0)
	expect("and a byte", 2<<20)
	del("bigger")
	del("big")
	expect("deleted", 4096)
	set("big", 1<<20, 0)
	set("big", 5, 0)
	expect("overwritten", 4096)
	set("big", 1<<20, 0)
	locked(ks, func() { txn.SetInt([]byte("big"), 5, 0) })
	expect("a counter now", 4096)
	locked(ks, func() { txn.Edit([]byte("big"), 1<<20) })
	expect("made longer", 1<<20)
	locked(ks, func() { txn.Edit([]byte("big"), 1<<20-1) })
	locked(ks, func() { txn.Edit([]byte("big"), 10) })
	expect("made shorter", 4096)
	set("big", 1<<20, 50)
	ks.Reclaim(Part([]byte("big")), 50, 10)
	expect("expired", 4096)
	locked(ks, func() {
		txn.SetBytes([]byte("big"), make([]byte, 1<<20), KindRaw, 0)
		txn.MoveTo(txn.WithDB(1), []byte("big"), []byte("big"), "", "")
	})
	expect("in another database", 1<<20)
	for i := range 200 { // of the same class, in the same shards and in others
		set(fmt.Sprint(i), 1<<20-i, 0)
	}
	ks.Txn(1, 1, false).FlushDB()
	expect("one of many flushed", 1<<20)
	ks.Txn(0, 1, false).FlushAll()
	expect("flushed", 64)
}
