package engine

import (
	"bytes"
	"testing"

	"quipu/engine/hll"
)

// TestFill: what a read fills in belongs to the node. A snapshot in progress does not see it, nor does the checksum.
func TestFill(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1, Seed: 5})
	sparse := hll.AppendNew(nil)
	dense := hll.AppendDense(nil, sparse, &hll.Table{})
	values := map[string][]byte{"sparse": sparse, "dense": dense, "text": []byte("sixteen bytes and more")}
	locked(ks, func() {
		txn := ks.Txn(0, 1, true)
		for key, value := range values {
			txn.SetBytes([]byte(key), value, KindString, 0)
		}
		txn.SetBytes([]byte("expired"), sparse, KindString, 5)
		txn.SetInt([]byte("number"), 7, 0)
	})
	told := map[string]int{}
	ks.Observe(func(c *Change) {
		if c.Op != OpSet {
			t.Errorf("told %d", c.Op)
		}
		told[string(c.Key)]++
	})
	before := ks.Checksum(10)
	s := ks.Capture()
	locked(ks, func() {
		v := ks.View(0, 10, true)
		for _, key := range []string{"sparse", "dense", "expired", "number", "none"} {
			v.Fill([]byte(key), hll.CountAt, hll.AppendCount(nil, 42))
		}
		v.Fill([]byte("sparse"), 0, nil)
		for key, want := range map[string]Kind{"sparse": KindRaw, "dense": KindRaw, "text": KindString, "number": KindInt} {
			if value, ok := v.Get([]byte(key)); !ok || value.Kind != want {
				t.Errorf("%s: %v, kind %d", key, ok, value.Kind)
			}
		}
		value, _ := v.Get([]byte("dense"))
		if n, ok := hll.Cached(value.Bytes); n != 42 || !ok {
			t.Errorf("cached %d, %v", n, ok)
		}
	})
	if len(told) != 2 || told["sparse"] != 1 || told["dense"] != 1 {
		t.Errorf("told of %v", told)
	}
	if ks.Checksum(10) != before {
		t.Error("the checksum shows it")
	}
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	s.Release()
	old := loaded(t, b.Bytes(), 1)
	locked(old, func() {
		for key, want := range values {
			if value, ok := old.View(0, 10, true).Get([]byte(key)); !ok || value.Kind != KindString || !bytes.Equal(value.Bytes, want) {
				t.Errorf("%s in the snapshot: %v, kind %d, %x", key, ok, value.Kind, value.Bytes)
			}
		}
	})
}

// TestChecksumOfHyperLogLogs: registers, header and key count; other strings count whole, and by kind.
func TestChecksumOfHyperLogLogs(t *testing.T) {
	sum := func(key string, value []byte, kind Kind) uint64 {
		ks := newTestKeyspace(t, Config{Databases: 1})
		locked(ks, func() { ks.Txn(0, 1, true).SetBytes([]byte(key), value, kind, 0) })
		return ks.Checksum(1)
	}
	with := func(at int, c byte) []byte {
		b := hll.AppendNew(nil)
		b[at] = c
		return b
	}
	base := sum("k", hll.AppendNew(nil), KindRaw)
	for at := range hll.AppendNew(nil) {
		cached := at >= hll.CountAt && at < hll.CountAt+hll.CountBytes
		if same := sum("k", with(at, 'x'), KindRaw) == base; same != cached {
			t.Errorf("byte %d: the same checksum: %v", at, same)
		}
	}
	if sum("k", hll.AppendNew(nil), KindString) != base || sum("l", hll.AppendNew(nil), KindRaw) == base {
		t.Error("kind or key")
	}
	if text := with(0, 'h'); sum("k", text, KindString) == sum("k", text, KindRaw) || sum("k", with(8, 'x'), KindUC) == base {
		t.Error("other values")
	}
}
