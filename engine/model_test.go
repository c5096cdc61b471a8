package engine

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// model is what a keyspace should be: a Go map.
type model struct {
	ks     *Keyspace
	dbs    []map[string]Value
	now    int64
	snap   *Snapshot
	snapOf uint64 // Checksum(0) at Capture
	hash   func(key []byte, seed uint64) uint64
}

func (m *model) get(db int, key string) (Value, bool) {
	v, ok := m.dbs[db][key]
	if ok && v.Deadline != 0 && v.Deadline <= m.now {
		return Value{}, false
	}
	return v, ok
}

func sameValue(a, b Value) bool {
	return a.Kind == b.Kind && a.Int == b.Int && a.Deadline == b.Deadline && bytes.Equal(a.Bytes, b.Bytes)
}

// verify compares the whole keyspace with the model.
func (m *model) verify(t *rapid.T) {
	if err := m.ks.Check(); err != nil {
		t.Fatalf("Check: %v", err)
	}
	for db := range m.dbs {
		v := m.ks.View(db, m.now, false)
		want := 0
		for key := range m.dbs[db] {
			if _, ok := m.get(db, key); ok {
				want++
			}
		}
		got := 0
		v.Each(func(key []byte, val Value) bool {
			got++
			if w, ok := m.get(db, string(key)); !ok || !sameValue(w, val) {
				t.Fatalf("db %d key %q: %+v, want %+v, %v", db, key, val, w, ok)
			}
			return true
		})
		if got != want {
			t.Fatalf("db %d has %d keys, want %d", db, got, want)
		}
	}
}

var modelKeys = func() (keys []string) {
	for i := range 60 {
		keys = append(keys, fmt.Sprintf("k%d", i), fmt.Sprintf("{tag}%d", i))
	}
	return append(keys, "", "a", string(bytes.Repeat([]byte("L"), 300)), string(bytes.Repeat([]byte("M"), 9000)), string(bytes.Repeat([]byte("N"), MaxKey)))
}()

func (m *model) step(t *rapid.T) {
	db := rapid.IntRange(0, len(m.dbs)-1).Draw(t, "db")
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	txn := m.ks.Txn(db, m.now, false)
	k := []byte(key)
	deadline := int64(0)
	if rapid.Bool().Draw(t, "ttl") {
		deadline = m.now + rapid.Int64Range(1, 50).Draw(t, "in")
	}
	m.ks.LockPart(Part(k))
	defer m.ks.UnlockPart(Part(k))
	was, present := m.get(db, key)
	switch rapid.SampledFrom([]string{"add", "add", "add", "run", "set", "set", "edit", "edit", "del", "deadline", "copy", "get"}).Draw(t, "op") {
	case "add":
		m.add(t, txn, key, was, present)
	case "run":
		m.addRun(t, txn, key, was, present)
	case "set":
		val := drawBytes(t)
		txn.Set(k, val, deadline)
		v := Value{Kind: KindString, Bytes: val, Deadline: deadline}
		if n, err := strconv.ParseInt(string(val), 10, 64); err == nil && strconv.FormatInt(n, 10) == string(val) {
			v = Value{Kind: KindInt, Int: n, Deadline: deadline}
		}
		m.dbs[db][key] = v
	case "edit":
		size := rapid.SampledFrom([]int{0, 1, 5, 40, 300, 5000, 8190, 9000, 40000}).Draw(t, "size")
		old := was.Bytes
		if was.Kind == KindInt && present {
			old = strconv.AppendInt(nil, was.Int, 10)
		}
		want := make([]byte, size)
		copy(want, old)
		got := txn.Edit(k, size).Bytes
		if !bytes.Equal(got, want) {
			t.Fatalf("Edit(%q, %d) of %d bytes differs", key, size, len(old))
		}
		if size > 0 {
			got[size-1]++
			want[size-1]++
		}
		m.dbs[db][key] = Value{Kind: KindRaw, Bytes: want, Deadline: was.Deadline}
	case "del":
		if got := txn.Delete(k); got != present {
			t.Fatalf("Delete(%q) = %v", key, got)
		}
		delete(m.dbs[db], key)
	case "deadline":
		if got := txn.SetDeadline(k, deadline); got != present {
			t.Fatalf("SetDeadline(%q) = %v", key, got)
		}
		if present {
			was.Deadline = deadline
			m.dbs[db][key] = was
		}
	case "copy":
		to := rapid.IntRange(0, len(m.dbs)-1).Draw(t, "to")
		if got := txn.CopyTo(txn.WithDB(to), k, k); got != present {
			t.Fatalf("CopyTo(%q) = %v", key, got)
		}
		if present {
			was.Bytes = bytes.Clone(was.Bytes)
			m.dbs[to][key] = was
		}
	case "get":
		if v, ok := txn.Get(k); ok != present || !sameValue(v, was) {
			t.Fatalf("Get(%q) = %+v, %v, want %+v, %v", key, v, ok, was, present)
		}
	}
}

func drawBytes(t *rapid.T) []byte {
	switch rapid.IntRange(0, 3).Draw(t, "form") {
	case 0:
		return []byte(strconv.FormatInt(rapid.Int64().Draw(t, "n"), 10))
	case 1:
		return []byte(rapid.SampledFrom([]string{"", "-0", "+1", "01", " 1", "x", "9223372036854775808", "-9223372036854775808"}).Draw(t, "s"))
	default:
		n := rapid.SampledFrom([]int{1, 30, 700, 3000, 8180, 10000, 70000}).Draw(t, "len")
		return bytes.Repeat([]byte{'a' + byte(n%26)}, n)
	}
}

// asInt returns what Add should see in a value.
func asInt(v Value, present bool) (int64, bool) {
	if !present || v.Kind == KindInt {
		return v.Int, true
	}
	return parseInt(v.Bytes)
}

func (m *model) add(t *rapid.T, txn Txn, key string, was Value, present bool) {
	delta := rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64()).Draw(t, "delta")
	n, isInt := asInt(was, present)
	sum := n + delta
	var want error
	if !isInt {
		want = ErrNotInteger
	} else if (delta > 0 && n > math.MaxInt64-delta) || (delta < 0 && n < math.MinInt64-delta) {
		want = ErrOverflow
	}
	got, err := txn.Add([]byte(key), delta)
	if err != want || err == nil && got != sum {
		t.Fatalf("Add(%q, %d) to %+v = %d, %v, want %d, %v", key, delta, was, got, err, sum, want)
	}
	if err == nil {
		m.dbs[txn.DB()][key] = Value{Kind: KindInt, Int: sum, Deadline: was.Deadline}
	}
}

func (m *model) addRun(t *rapid.T, txn Txn, key string, was Value, present bool) {
	delta := rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64()).Draw(t, "delta")
	count := rapid.IntRange(1, 5).Draw(t, "count")
	n, isInt := asInt(was, present)
	sum, fits := n, true
	for range count {
		if (delta > 0 && sum > math.MaxInt64-delta) || (delta < 0 && sum < math.MinInt64-delta) {
			fits = false
			break
		}
		sum += delta
	}
	before, ok, err := txn.AddRun([]byte(key), delta, count)
	if !isInt {
		if ok || err != ErrNotInteger && err != nil {
			t.Fatalf("AddRun(%q) to bytes: %v, %v", key, ok, err)
		}
		return
	}
	if ok != fits && (ok || fits && isInt && !timesOverflow(delta, count)) || err != nil || ok && before != n {
		t.Fatalf("AddRun(%q, %d, %d) to %d = %d, %v, %v", key, delta, count, n, before, ok, err)
	}
	if ok {
		m.dbs[txn.DB()][key] = Value{Kind: KindInt, Int: sum, Deadline: was.Deadline}
	}
}

func timesOverflow(delta int64, count int) bool {
	_, ok := times(delta, count)
	return !ok
}

// snapshotStep captures, or writes, loads and compares what was captured.
func (m *model) snapshotStep(t *rapid.T) {
	if m.snap == nil {
		m.snapOf = m.ks.Checksum(0)
		m.snap = m.ks.Capture()
		return
	}
	defer func() {
		m.snap.Release()
		m.snap = nil
	}()
	if rapid.IntRange(0, 4).Draw(t, "abandon") == 0 {
		return
	}
	var b bytes.Buffer
	if _, err := m.snap.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	ks := New(Config{Databases: len(m.dbs)})
	ks.hashWith = m.hash
	defer ks.Close()
	if err := ks.Load(bytes.NewReader(b.Bytes()), int64(b.Len()), 2); err != nil {
		t.Fatal(err)
	}
	if err := ks.Check(); err != nil {
		t.Fatal(err)
	}
	if got := ks.Checksum(0); got != m.snapOf {
		t.Fatalf("loaded checksum %x, captured %x", got, m.snapOf)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { runModel(t, nil) })
}

// A hash of three bits: everything collides, nothing may break.
func TestModelCollidingHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runModel(t, func(key []byte, seed uint64) uint64 { return uint64(len(key)%2)<<63 | uint64(len(key)%3) })
	})
}

func runModel(t *rapid.T, hash func(key []byte, seed uint64) uint64) {
	m := &model{ks: New(Config{Databases: 3, Seed: rapid.Uint64().Draw(t, "seed")}), now: 1000, hash: hash}
	m.ks.hashWith = hash
	defer m.ks.Close()
	for range 3 {
		m.dbs = append(m.dbs, map[string]Value{})
	}
	steps := rapid.IntRange(1, 150).Draw(t, "steps")
	for i := range steps {
		switch what := rapid.IntRange(0, 40).Draw(t, "what"); {
		case what == 0:
			db := rapid.IntRange(0, 2).Draw(t, "flush")
			m.ks.Txn(db, m.now, false).FlushDB()
			m.dbs[db] = map[string]Value{}
		case what <= 2:
			m.snapshotStep(t)
		case what <= 4:
			m.now += rapid.Int64Range(1, 30).Draw(t, "later")
		case what <= 6:
			for p := range Parts {
				m.ks.Reclaim(p, m.now, rapid.IntRange(1, 3).Draw(t, "max"))
			}
		default:
			m.step(t)
		}
		if i%10 == 9 {
			m.verify(t)
		}
	}
	m.verify(t)
	if m.snap != nil {
		m.snapshotStep(t)
	}
}
