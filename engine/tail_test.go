package engine

import (
	"bytes"
	"fmt"
	"testing"
)

// ownTail is what the node keeps of a key. All parts are locked.
func ownTail(ks *Keyspace, db int, key string) string {
	v, _ := ks.View(db, 1, true).Get([]byte(key))
	return string(v.OwnTail())
}

// TestOwnTail: a tail comes back, and the value, checksums, snapshots and copies do not show it.
func TestOwnTail(t *testing.T) {
	for _, length := range []int{0, 1, 10, 64, 300, 5000, 8175, 8185, 20_000} {
		ks := newTestKeyspace(t, Config{Databases: 2, Seed: 5})
		txn := ks.Txn(0, 1, true)
		value := bytes.Repeat([]byte{'v'}, length)
		key, tail := []byte("key"), []byte("tail of the node")
		locked(ks, func() {
			txn.SetBytes(key, value, KindString, 0)
			txn.SetBytes([]byte("other"), value, KindString, 0)
			txn.SetInt([]byte("number"), 7, 0)
		})
		before := ks.Checksum(1)
		s := ks.Capture()
		ks.Observe(func(c *Change) { t.Errorf("told of %+v", c) }, nil)
		locked(ks, func() {
			v := ks.View(0, 1, true)
			for _, k := range []string{"key", "number", "none"} {
				v.SetOwnTail([]byte(k), tail)
			}
			if got := ownTail(ks, 0, "key"); got != string(tail) {
				t.Errorf("%d bytes: the tail is %q", length, got)
			}
			if ownTail(ks, 0, "other") != "" || ownTail(ks, 0, "number") != "" {
				t.Error("others have a tail")
			}
			v.SetOwnTail(key, bytes.Repeat([]byte{'t'}, MaxTail))
			v.SetOwnTail(key, tail[:4])
			if got, ok := v.Get(key); !ok || got.Kind != KindString || !bytes.Equal(got.Bytes, value) || string(got.OwnTail()) != "tail" {
				t.Errorf("%d bytes: kind %d, %d bytes, %q", length, got.Kind, len(got.Bytes), got.OwnTail())
			}
		})
		ks.observers = nil
		if err := ks.Check(); err != nil {
			t.Errorf("%d bytes: %v", length, err)
		}
		if ks.Checksum(1) != before {
			t.Error("the checksum shows it")
		}
		var captured bytes.Buffer
		if _, err := s.WriteTo(&captured); err != nil {
			t.Fatal(err)
		}
		s.Release()
		for _, snapshot := range [][]byte{captured.Bytes(), saved(t, ks)} {
			other := loaded(t, snapshot, 2)
			locked(other, func() {
				if ownTail(other, 0, "key") != "" || other.View(0, 1, true).Len() != 3 {
					t.Error("it is in a snapshot")
				}
			})
			if other.Checksum(1) != before {
				t.Error("the snapshot is another")
			}
		}
		locked(ks, func() {
			txn.CopyTo(txn.WithDB(1), key, key)
			if ownTail(ks, 1, "key") != "" {
				t.Error("it is in a copy")
			}
			ks.View(0, 1, true).SetOwnTail(key, nil)
			if ownTail(ks, 0, "key") != "" {
				t.Error("it cannot be taken away")
			}
		})
	}
}

// TestOwnTailHoldsForItsValue: every change of the value drops the tail, and nothing else does.
func TestOwnTailHoldsForItsValue(t *testing.T) {
	key := []byte("key")
	with := func(length int, kept bool, what string, change func(txn Txn)) {
		t.Helper()
		ks := newTestKeyspace(t, Config{Databases: 2, Seed: 5})
		locked(ks, func() {
			txn := ks.Txn(0, 1, true)
			txn.SetBytes(key, make([]byte, length), KindString, 0)
			txn.View.SetOwnTail(key, []byte("tail"))
			change(txn)
			db := 0
			if what == "moved to another database" {
				db = 1
			}
			if got := ownTail(ks, db, "key"); (got == "tail") != kept || got != "" && got != "tail" {
				t.Errorf("%d bytes, %s: the tail is %q", length, what, got)
			}
		})
	}
	for _, length := range []int{2, 100, 8170, 20_000} {
		for _, size := range []int{length, length - 1, length + 1, length + 6, length + 5000, 1} {
			with(length, false, fmt.Sprint("set to ", size, " bytes"), func(txn Txn) { txn.SetBytes(key, make([]byte, size), KindString, 0) })
			with(length, false, fmt.Sprint("edited to ", size, " bytes"), func(txn Txn) { txn.Edit(key, size) })
		}
		with(length, false, "bytes changed in place", func(txn Txn) {
			c, _ := txn.Content(key)
			c.Touch(1, 1)
			c.Bytes[1] = 'x'
		})
		with(length, false, "a counter", func(txn Txn) { txn.SetInt(key, 5, 0) })
		with(length, false, "deleted and created", func(txn Txn) {
			txn.Delete(key)
			txn.SetBytes(key, make([]byte, length), KindString, 0)
		})
		with(length, false, "replaced by a copy", func(txn Txn) {
			txn.SetBytes([]byte("from"), make([]byte, length), KindString, 0)
			txn.View.SetOwnTail([]byte("from"), []byte("of another"))
			txn.CopyTo(txn, []byte("from"), key)
		})
		with(length, true, "raw", func(txn Txn) {
			c, _ := txn.Content(key)
			c.MakeRaw()
		})
		with(length, true, "given deadlines", func(txn Txn) {
			txn.SetDeadline(key, 50)
			txn.SetDeadline(key, 60)
			txn.SetDeadline(key, 0)
		})
		with(length, true, "renamed and back", func(txn Txn) {
			other := []byte("other")
			txn.SetBytes(other, make([]byte, length), KindString, 0)
			txn.MoveTo(txn, key, other, "", "")
			txn.MoveTo(txn, other, key, "", "")
		})
		with(length, true, "moved to another database", func(txn Txn) { txn.MoveTo(txn.WithDB(1), key, key, "", "") })
		with(length, true, "moved by compaction", func(txn Txn) {
			sh, _, ref := txn.open(key)
			if c := &sh.meta[ref>>chunkRefLog]; !c.own {
				sh.cur = 0 // which is never emptied
				sh.evacuate(ref >> chunkRefLog)
			}
		})
	}
}
