package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// drained is a drain as the log holds it.
type drained struct {
	part  int
	id    DrainID
	count int
	items []byte
}

// cut drains a part into the log.
func cut(ks *Keyspace, part int, carrier uint64) (drained, bool) {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	f := ks.Cut(part, carrier)
	if f == nil {
		return drained{}, false
	}
	return drained{part, f.ID(ks), f.Len(), f.AppendItems(nil)}, true
}

// deliver applies a drain as the log does.
func deliver(tb rapid.TB, ks *Keyspace, d drained, now int64) DrainOutcome {
	tb.Helper()
	ks.LockPart(d.part)
	defer ks.UnlockPart(d.part)
	txn := ks.Txn(0, now, false)
	outcome := txn.Drain(d.part, &d.id)
	if outcome != DrainApply {
		return outcome
	}
	rest := d.items
	for range d.count {
		it, n, err := DecodeDrainItem(rest, d.part, ks.databases)
		if err != nil {
			tb.Fatal(err)
		}
		txn.AddDrained(&it, false)
		rest = rest[n:]
	}
	if len(rest) > 0 {
		tb.Fatalf("%d bytes behind %d items", len(rest), d.count)
	}
	return outcome
}

func newOrigin(t testing.TB, name string, incarnation uint64) *Keyspace {
	ks := newTestKeyspace(t, Config{Databases: 3, Seed: 5})
	if err := ks.SetOrigin(name, incarnation); err != nil {
		t.Fatal(err)
	}
	return ks
}

// addLocal answers one increment from memory.
func addLocal(tb rapid.TB, ks *Keyspace, db int, key string, delta, now int64) (int64, error) {
	tb.Helper()
	incs := []Increment{{DB: db, Key: []byte(key), Delta: delta}}
	if ks.AddPending(incs, now) != 1 {
		tb.Fatalf("increment of %q refused", key)
	}
	return incs[0].Sum, incs[0].Err
}

func getAt(ks *Keyspace, db int, key string, now int64, local bool) (Value, bool) {
	k := []byte(key)
	ks.LockPart(Part(k))
	defer ks.UnlockPart(Part(k))
	v := ks.View(db, now, false)
	if local {
		v = v.Local(true)
	}
	val, ok := v.Get(k)
	val.Bytes = bytes.Clone(val.Bytes)
	return val, ok
}

func write(ks *Keyspace, db int, key string, now int64, fn func(t Txn, k []byte)) {
	k := []byte(key)
	ks.LockPart(Part(k))
	defer ks.UnlockPart(Part(k))
	fn(ks.Txn(db, now, false), k)
}

func TestPendingBasics(t *testing.T) {
	ks := newOrigin(t, "n", 7)
	for want := int64(1); want <= 3; want++ {
		if got, err := addLocal(t, ks, 0, "a", 1, 10); got != want || err != nil {
			t.Fatalf("increment %d: %d, %v", want, got, err)
		}
	}
	if _, ok := getAt(ks, 0, "a", 10, false); ok {
		t.Error("a committed view sees what is pending")
	}
	if v, ok := getAt(ks, 0, "a", 10, true); !ok || v.Int != 3 || v.Kind != KindInt {
		t.Errorf("a local view sees %+v, %v", v, ok)
	}
	if _, ok := getAt(ks, 1, "a", 10, true); ok {
		t.Error("another database sees it")
	}
	if st := ks.Pending(); st.Increments != 3 || st.Keys != 1 || st.Gathered != 3 || st.Bytes == 0 {
		t.Errorf("%+v", st)
	}
	part := Part([]byte("a"))
	addLocal(t, ks, 2, "{a}2", 1, 10)
	if !ks.Gathers(part, []byte("{a}2")) || !ks.Gathers(part, []byte("a")) || ks.Gathers(part, []byte("b")) || ks.UnderWay(0, []byte("a")) {
		t.Error("wrong about what is gathered")
	}
	d, _ := cut(ks, part, 1)
	if ks.Gathers(part, []byte("a")) || !ks.UnderWay(0, []byte("a")) {
		t.Error("wrong about what is under way")
	}
	if got, _ := addLocal(t, ks, 0, "a", 1, 10); got != 4 {
		t.Errorf("behind a drain: %d", got)
	}
	if got := deliver(t, ks, d, 10); got != DrainSettled {
		t.Errorf("own drain: %v", got)
	}
	if got := deliver(t, ks, d, 10); got != DrainStale {
		t.Errorf("own drain again: %v", got)
	}
	if v, _ := getAt(ks, 0, "a", 10, false); v.Int != 3 {
		t.Errorf("committed %d", v.Int)
	}
	if got, _ := addLocal(t, ks, 0, "a", -10, 10); got != -6 {
		t.Errorf("behind a drain: %d", got)
	}
	d, _ = cut(ks, part, 2)
	deliver(t, ks, d, 10)
	if ks.HasPending() {
		t.Error("something is left")
	}
	if v, _ := getAt(ks, 0, "a", 10, false); v.Int != -6 {
		t.Errorf("committed %d", v.Int)
	}
}

func TestPendingRefusals(t *testing.T) {
	ks := newOrigin(t, "n", 7)
	write(ks, 0, "text", 1, func(t Txn, k []byte) { t.Set(k, []byte("abc"), 0) })
	write(ks, 0, "raw", 1, func(t Txn, k []byte) { t.SetBytes(k, []byte("41"), KindRaw, 0) })
	write(ks, 0, "top", 1, func(t Txn, k []byte) { t.SetInt(k, math.MaxInt64-1, 0) })
	if _, err := addLocal(t, ks, 0, "text", 1, 1); err != ErrNotInteger {
		t.Error(err)
	}
	if n, err := addLocal(t, ks, 0, "raw", 1, 1); n != 42 || err != nil {
		t.Error(n, err)
	}
	if v, _ := getAt(ks, 0, "raw", 1, true); v.Kind != KindInt || v.Int != 42 {
		t.Errorf("%+v", v)
	}
	if n, err := addLocal(t, ks, 0, "top", 1, 1); n != math.MaxInt64 || err != nil {
		t.Error(n, err)
	}
	if _, err := addLocal(t, ks, 0, "top", 1, 1); err != ErrOverflow {
		t.Error(err)
	}
	for _, delta := range []int64{math.MinInt64, math.MaxInt64, pendingMax + 1, -pendingMax - 1} {
		if n := ks.AddPending([]Increment{{Key: []byte("big"), Delta: delta}}, 1); n != 0 {
			t.Errorf("%d is taken", delta)
		}
	}
	addLocal(t, ks, 0, "big", pendingMax, 1)
	incs := []Increment{{Key: []byte("x"), Delta: 1}, {Key: []byte("big"), Delta: 1}, {Key: []byte("y"), Delta: 1}}
	if n := ks.AddPending(incs, 1); n != 1 || incs[0].Sum != 1 {
		t.Errorf("done %d of a group with one too many", n)
	}
	for i := range flightsMax {
		addLocal(t, ks, 0, "many", 1, 1)
		cut(ks, Part([]byte("many")), uint64(i))
	}
	if n := ks.AddPending([]Increment{{Key: []byte("many"), Delta: 1}}, 1); n != 0 {
		t.Error("taken behind many flights")
	}
	long := bytes.Repeat([]byte("k"), MaxKey-3)
	for i := 0; ; i++ {
		key := append(binary.BigEndian.AppendUint16([]byte("{k}"), uint16(i))[:5], long[8:]...)
		if ks.AddPending([]Increment{{Key: key, Delta: 1}}, 1) == 0 {
			break
		}
		if i > pendingPartMax/len(long)+1 {
			t.Fatal("a part gathers without end")
		}
	}
	ks.ClosePending()
	if n := ks.AddPending([]Increment{{Key: []byte("x"), Delta: 1}}, 1); n != 0 {
		t.Error("taken after the end")
	}
}

// TestPendingLives has a key expire between answer and drain, and live again.
func TestPendingLives(t *testing.T) {
	ks := newOrigin(t, "n", 7)
	write(ks, 0, "k", 1, func(t Txn, k []byte) { t.SetInt(k, 100, 50) })
	if n, _ := addLocal(t, ks, 0, "k", 1, 10); n != 101 {
		t.Error(n)
	}
	// At 50 it is gone, and counts from 0.
	if _, ok := getAt(ks, 0, "k", 50, true); ok {
		t.Error("an expired key is seen through what was pending for it")
	}
	if n, _ := addLocal(t, ks, 0, "k", 5, 50); n != 5 {
		t.Error(n)
	}
	if n, _ := addLocal(t, ks, 0, "k", 5, 50); n != 10 {
		t.Error(n)
	}
	d, _ := cut(ks, Part([]byte("k")), 1)
	if d.count != 2 {
		t.Errorf("%d items", d.count)
	}
	deliver(t, ks, d, 60)
	if v, _ := getAt(ks, 0, "k", 60, false); v.Int != 10 || v.Deadline != 0 {
		t.Errorf("%+v", v)
	}
	if st := ks.Pending(); st.Expired != 1 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
}

func TestPendingDropped(t *testing.T) {
	ks := newOrigin(t, "n", 7)
	var told []string
	ks.OnDropped(func(db int, key []byte, delta int64, err error) {
		told = append(told, fmt.Sprint(db, " ", string(key), " ", delta, " ", err))
	})
	addLocal(t, ks, 0, "a", 5, 1)
	addLocal(t, ks, 0, "b", 6, 1)
	addLocal(t, ks, 1, "c", 7, 1)
	write(ks, 0, "a", 1, func(t Txn, k []byte) { t.Set(k, []byte("text"), 0) })
	write(ks, 0, "b", 1, func(t Txn, k []byte) { t.SetInt(k, math.MaxInt64, 0) })
	if v, _ := getAt(ks, 0, "a", 1, true); string(v.Bytes) != "text" {
		t.Errorf("%+v", v)
	}
	if v, _ := getAt(ks, 0, "b", 1, true); v.Int != math.MaxInt64 {
		t.Errorf("%+v", v)
	}
	for p := range Parts {
		if d, ok := cut(ks, p, 1); ok {
			deliver(t, ks, d, 1)
		}
	}
	if st := ks.Pending(); st.Dropped != 2 || len(told) != 2 || st.Increments != 0 {
		t.Errorf("%+v, told %q", st, told)
	}
	if v, _ := getAt(ks, 1, "c", 1, false); v.Int != 7 {
		t.Errorf("%+v", v)
	}
}

// TestPendingModel drives one node that counts locally and through the log, and a
// second one that only has the log, against a simple reference.
func TestPendingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &pendingModel{now: 100, node: New(Config{Databases: 2, Seed: 3}), other: New(Config{Databases: 2, Seed: 4}), state: map[modelKey]modelValue{}}
		defer m.node.Close()
		defer m.other.Close()
		if err := m.node.SetOrigin("node", 77); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			m.step(t)
		}
		for p := range Parts {
			m.cut(p)
		}
		for len(m.log) > 0 {
			m.apply(t)
		}
		m.verify(t)
		if m.node.HasPending() {
			t.Fatal("something is left")
		}
		if a, b := m.node.Checksum(m.now), m.other.Checksum(m.now); a != b {
			t.Fatalf("nodes differ: %x, %x", a, b)
		}
	})
}

type modelKey struct {
	db  int
	key string
}

type modelValue struct {
	n, deadline int64
	text        bool
}

// pendingModel: amounts that are pending are kept increment by increment.
type pendingModel struct {
	node, other *Keyspace
	now         int64
	state       map[modelKey]modelValue
	gathered    []modelAmount
	log         []drained
	flights     [][]modelAmount
	carrier     uint64
}

type modelAmount struct {
	k               modelKey
	delta, deadline int64
}

func (m *pendingModel) get(k modelKey) (modelValue, bool) {
	v, ok := m.state[k]
	if ok && v.deadline != 0 && v.deadline <= m.now {
		return modelValue{}, false
	}
	return v, ok
}

func (m *pendingModel) pendingFor(k modelKey) (n int64, some bool) {
	for _, list := range append(m.flights, m.gathered) {
		for _, a := range list {
			if a.k == k && (a.deadline == 0 || a.deadline > m.now) {
				n += a.delta
				some = true
			}
		}
	}
	return n, some
}

// cut drains a part.
func (m *pendingModel) cut(part int) {
	m.carrier++
	d, ok := cut(m.node, part, m.carrier)
	if !ok {
		return
	}
	m.log = append(m.log, d)
	var taken, rest []modelAmount
	for _, a := range m.gathered {
		if Part([]byte(a.k.key)) == part {
			taken = append(taken, a)
		} else {
			rest = append(rest, a)
		}
	}
	m.gathered, m.flights = rest, append(m.flights, taken)
}

// apply delivers the oldest drain to both nodes, some more than once or too early.
func (m *pendingModel) apply(t *rapid.T) {
	d := m.log[0]
	for i := 1; i < len(m.log) && rapid.Bool().Draw(t, "early"); i++ {
		if m.log[i].part == d.part {
			if got := deliver(t, m.node, m.log[i], m.now); got != DrainGap {
				t.Fatalf("a drain behind a missing one: %v", got)
			}
		}
	}
	for _, a := range m.flights[0] {
		v, ok := m.get(a.k)
		switch {
		case a.deadline != 0 && a.deadline <= m.now, v.text:
		case !ok:
			m.state[a.k] = modelValue{n: a.delta}
		default:
			v.n += a.delta
			m.state[a.k] = v
		}
	}
	if got := deliver(t, m.node, d, m.now); got != DrainSettled {
		t.Fatalf("own drain: %v", got)
	}
	if got := deliver(t, m.other, d, m.now); got != DrainApply {
		t.Fatalf("drain of another node: %v", got)
	}
	if rapid.Bool().Draw(t, "again") {
		if a, b := deliver(t, m.node, d, m.now), deliver(t, m.other, d, m.now); a != DrainStale || b != DrainStale {
			t.Fatalf("a drain that came again: %v, %v", a, b)
		}
	}
	m.log, m.flights = m.log[1:], m.flights[1:]
}

func (m *pendingModel) step(t *rapid.T) {
	k := modelKey{rapid.IntRange(0, 1).Draw(t, "db"), rapid.SampledFrom([]string{"a", "b", "{a}1", "{a}2", "{a}3"}).Draw(t, "key")}
	both := func(fn func(t Txn, k []byte)) {
		write(m.node, k.db, k.key, m.now, fn)
		write(m.other, k.db, k.key, m.now, fn)
	}
	v, ok := m.get(k)
	switch rapid.SampledFrom([]string{"local", "local", "local", "local", "add", "set", "text", "del", "deadline", "cut", "cut", "apply", "time"}).Draw(t, "op") {
	case "local":
		if len(m.flights) >= flightsMax-1 {
			return
		}
		delta := rapid.Int64Range(-3, 3).Draw(t, "delta")
		pending, _ := m.pendingFor(k)
		sum, err := addLocal(t, m.node, k.db, k.key, delta, m.now)
		if v.text {
			if err != ErrNotInteger {
				t.Fatalf("%v: %v", k, err)
			}
			return
		}
		if want := v.n + pending + delta; sum != want || err != nil {
			t.Fatalf("%v: %d, %v, want %d", k, sum, err, want)
		}
		m.gathered = append(m.gathered, modelAmount{k, delta, v.deadline})
	case "add":
		if v.text {
			return
		}
		both(func(t Txn, k []byte) { _, _ = t.Add(k, 10) })
		v.n += 10
		m.state[k] = v
	case "set":
		both(func(t Txn, k []byte) { t.SetInt(k, 5, 0) })
		m.state[k] = modelValue{n: 5}
	case "text":
		both(func(t Txn, k []byte) { t.Set(k, []byte("text"), 0) })
		m.state[k] = modelValue{text: true}
	case "del":
		both(func(t Txn, k []byte) { t.Delete(k) })
		delete(m.state, k)
	case "deadline":
		if ok {
			v.deadline = m.now + rapid.Int64Range(1, 6).Draw(t, "in")
			both(func(t Txn, k []byte) { t.SetDeadline(k, v.deadline) })
			m.state[k] = v
		}
	case "cut":
		m.cut(Part([]byte(k.key)))
	case "apply":
		if len(m.log) > 0 {
			m.apply(t)
		}
	case "time":
		m.now += rapid.Int64Range(0, 4).Draw(t, "ms")
	}
	m.verify(t)
}

// verify compares what local readers and others see, and the structure.
func (m *pendingModel) verify(t *rapid.T) {
	if err := m.node.Check(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "{a}1", "{a}2", "{a}3"} {
		for db := range 2 {
			k := modelKey{db, key}
			want, ok := m.get(k)
			v, found := getAt(m.node, db, key, m.now, false)
			if found != ok || ok && !want.text && v.Int != want.n {
				t.Fatalf("%v: committed %+v, %v, want %+v, %v", k, v, found, want, ok)
			}
			pending, some := m.pendingFor(k)
			v, found = getAt(m.node, db, key, m.now, true)
			if found != (ok || some) || !want.text && v.Int != want.n+pending {
				t.Fatalf("%v: local %+v, %v, want %d+%d, %v", k, v, found, want.n, pending, ok || some)
			}
		}
	}
}
