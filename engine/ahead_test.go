package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// section is a counted section as an entry holds it.
type countedSection struct {
	origin Origin
	body   []byte
}

// seal takes what a node has gathered into an entry.
func seal(ks *Keyspace) (countedSection, bool) {
	s, _ := sealUpTo(ks, 1<<20)
	return s, len(s.body) > 0
}

// sealUpTo is seal with a limit; all is what Counted says.
func sealUpTo(ks *Keyspace, limit int) (s countedSection, all bool) {
	s.body, all = ks.Counted(nil, limit, func(dst []byte, o *Origin) []byte {
		s.origin = *o
		return dst
	})
	return s, all
}

// deliver applies a section as the log does.
func deliver(tb rapid.TB, ks *Keyspace, s countedSection, now int64) Verdict {
	tb.Helper()
	txn := ks.Txn(0, now, false)
	if err := EachCounted(s.body, ks.databases, nil); err != nil {
		tb.Fatal(err)
	}
	verdict := txn.Advance(&s.origin, 0)
	if verdict == Accepted {
		if err := txn.ApplyCounted(&s.origin, s.body); err != nil {
			tb.Fatal(err)
		}
	}
	return verdict
}

func newNode(t testing.TB, name string, epoch uint64) *Keyspace {
	ks := newTestKeyspace(t, Config{Databases: 3, Seed: 5})
	if err := ks.SetSelf(name, epoch); err != nil {
		t.Fatal(err)
	}
	return ks
}

// answer answers one increment ahead.
func answer(tb rapid.TB, ks *Keyspace, db int, key string, delta, now int64) (int64, error) {
	tb.Helper()
	incs := []Increment{{DB: db, Key: []byte(key), Delta: delta}}
	if ks.AnswerAhead(incs, now) != 1 {
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
		v = v.WithAhead(true)
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

func TestAheadBasics(t *testing.T) {
	ks := newNode(t, "n", 7)
	for want := int64(1); want <= 3; want++ {
		if got, err := answer(t, ks, 0, "a", 1, 10); got != want || err != nil {
			t.Fatalf("increment %d: %d, %v", want, got, err)
		}
	}
	if _, ok := getAt(ks, 0, "a", 10, false); ok {
		t.Error("an ordinary view sees what was answered ahead")
	}
	if v, ok := getAt(ks, 0, "a", 10, true); !ok || v.Int != 3 || v.Kind != KindInt {
		t.Errorf("a local view sees %+v, %v", v, ok)
	}
	if _, ok := getAt(ks, 1, "a", 10, true); ok {
		t.Error("another database sees it")
	}
	if st := ks.Ahead(); st.Increments != 3 || st.Keys != 1 || st.Bytes == 0 {
		t.Errorf("%+v", st)
	}
	first, _ := seal(ks)
	if got, _ := answer(t, ks, 0, "a", 1, 10); got != 4 {
		t.Errorf("behind a sealed section: %d", got)
	}
	if got := deliver(t, ks, first, 10); got != Accepted {
		t.Errorf("own section: %v", got)
	}
	if got := deliver(t, ks, first, 10); got != Stale {
		t.Errorf("own section again: %v", got)
	}
	if v, _ := getAt(ks, 0, "a", 10, false); v.Int != 3 {
		t.Errorf("applied %d", v.Int)
	}
	if got, _ := answer(t, ks, 0, "a", -10, 10); got != -6 {
		t.Errorf("behind a section: %d", got)
	}
	second, _ := seal(ks)
	deliver(t, ks, second, 10)
	if ks.HasAhead() {
		t.Error("something is left")
	}
	if _, ok := seal(ks); ok {
		t.Error("a section of nothing")
	}
	if v, _ := getAt(ks, 0, "a", 10, false); v.Int != -6 {
		t.Errorf("applied %d", v.Int)
	}
}

// TestCountedAgain: a section that was not applied goes again, byte for byte, and what came later waits for the next.
func TestCountedAgain(t *testing.T) {
	ks := newNode(t, "n", 7)
	answer(t, ks, 0, "a", 1, 1)
	first, _ := seal(ks)
	answer(t, ks, 0, "a", 2, 1)
	answer(t, ks, 0, "b", 3, 1)
	again, all := sealUpTo(ks, 1<<20)
	if all || !bytes.Equal(again.body, first.body) || string(again.origin.To) != string(first.origin.To) {
		t.Fatalf("again: %x as %x, first %x as %x, all %v", again.body, again.origin.To, first.body, first.origin.To, all)
	}
	if n := ks.AnswerAhead([]Increment{{Key: []byte("c"), Delta: 1}}, 1); n != 0 {
		t.Error("answered ahead while something gathered had to stay behind")
	}
	deliver(t, ks, first, 1)
	second, all := sealUpTo(ks, 1<<20)
	if !all {
		t.Error("something is left out")
	}
	deliver(t, ks, second, 1)
	if n := ks.AnswerAhead([]Increment{{Key: []byte("c"), Delta: 1}}, 1); n != 1 {
		t.Error("not answered ahead again")
	}
	if v, _ := getAt(ks, 0, "a", 1, false); v.Int != 3 {
		t.Errorf("a is %d", v.Int)
	}
}

// TestCountedLimit: a section takes whole parts up to its limit, and says that more is left.
func TestCountedLimit(t *testing.T) {
	ks := newNode(t, "n", 7)
	for i := range 1000 {
		answer(t, ks, 0, fmt.Sprint("key", i), 1, 1)
	}
	sections := 0
	for all := false; !all; sections++ {
		var s countedSection
		s, all = sealUpTo(ks, 1000)
		if len(s.body) > 2000 {
			t.Fatalf("%d bytes", len(s.body))
		}
		if got := deliver(t, ks, s, 1); got != Accepted {
			t.Fatal(got)
		}
	}
	if sections < 5 || ks.HasAhead() || ks.View(0, 1, false).Len() != 1000 {
		t.Errorf("%d sections, %d keys", sections, ks.View(0, 1, false).Len())
	}
}

func TestAheadRefusals(t *testing.T) {
	ks := newNode(t, "n", 7)
	write(ks, 0, "text", 1, func(t Txn, k []byte) { t.Set(k, []byte("abc"), 0) })
	write(ks, 0, "raw", 1, func(t Txn, k []byte) { t.SetBytes(k, []byte("41"), KindRaw, 0) })
	write(ks, 0, "top", 1, func(t Txn, k []byte) { t.SetInt(k, math.MaxInt64-1, 0) })
	if _, err := answer(t, ks, 0, "text", 1, 1); err != ErrNotInteger {
		t.Error(err)
	}
	if n, err := answer(t, ks, 0, "raw", 1, 1); n != 42 || err != nil {
		t.Error(n, err)
	}
	if v, _ := getAt(ks, 0, "raw", 1, true); v.Kind != KindInt || v.Int != 42 {
		t.Errorf("%+v", v)
	}
	if n, err := answer(t, ks, 0, "top", 1, 1); n != math.MaxInt64 || err != nil {
		t.Error(n, err)
	}
	if _, err := answer(t, ks, 0, "top", 1, 1); err != ErrOverflow {
		t.Error(err)
	}
	for _, delta := range []int64{math.MinInt64, math.MaxInt64, tallyMax + 1, -tallyMax - 1} {
		if n := ks.AnswerAhead([]Increment{{Key: []byte("big"), Delta: delta}}, 1); n != 0 {
			t.Errorf("%d is taken", delta)
		}
	}
	answer(t, ks, 0, "big", tallyMax, 1)
	incs := []Increment{{Key: []byte("x"), Delta: 1}, {Key: []byte("big"), Delta: 1}, {Key: []byte("y"), Delta: 1}}
	if n := ks.AnswerAhead(incs, 1); n != 1 || incs[0].Sum != 1 {
		t.Errorf("done %d of several increments, one of which is too many", n)
	}
	hold := ks.Hold([]byte("held"))
	if n := ks.AnswerAhead([]Increment{{Key: []byte("held"), Delta: 1}}, 1); n != 0 || ks.Holds() != 1 {
		t.Error("answered ahead in spite of a hold")
	}
	ks.Release(hold)
	all := ks.HoldAll()
	if n := ks.AnswerAhead([]Increment{{Key: []byte("held"), Delta: 1}}, 1); n != 0 {
		t.Error("answered ahead in spite of a hold of all keys")
	}
	ks.Release(all)
	if n, _ := answer(t, ks, 0, "held", 1, 1); n != 1 || ks.Holds() != 0 {
		t.Error("still held")
	}
	long := bytes.Repeat([]byte("k"), MaxKey-3)
	for i := 0; ; i++ {
		key := append(binary.BigEndian.AppendUint16([]byte("{k}"), uint16(i))[:5], long[8:]...)
		if ks.AnswerAhead([]Increment{{Key: key, Delta: 1}}, 1) == 0 {
			break
		}
		if i > aheadPartMax/len(long)+1 {
			t.Fatal("a part gathers without end")
		}
	}
	ks.CloseAhead()
	if n := ks.AnswerAhead([]Increment{{Key: []byte("x"), Delta: 1}}, 1); n != 0 {
		t.Error("taken after the end")
	}
}

// TestAheadLives has a key expire between answer and log, and live again.
func TestAheadLives(t *testing.T) {
	ks := newNode(t, "n", 7)
	write(ks, 0, "k", 1, func(t Txn, k []byte) { t.SetInt(k, 100, 50) })
	if n, _ := answer(t, ks, 0, "k", 1, 10); n != 101 {
		t.Error(n)
	}
	if _, ok := getAt(ks, 0, "k", 50, true); ok {
		t.Error("an expired key is seen through what was answered ahead for it")
	}
	if n := ks.AnswerAhead([]Increment{{Key: []byte("k"), Delta: 5}}, 50); n != 0 {
		t.Error("answered ahead beside a tally of the key's former life")
	}
	s, _ := seal(ks)
	if n := ks.AnswerAhead([]Increment{{Key: []byte("k"), Delta: 5}}, 50); n != 0 {
		t.Error("answered ahead beside a sealed tally of the key's former life")
	}
	deliver(t, ks, s, 60)
	if _, ok := getAt(ks, 0, "k", 60, true); ok || ks.Ahead().Expired != 1 {
		t.Errorf("%v, %+v", ok, ks.Ahead())
	}
	if n, _ := answer(t, ks, 0, "k", 5, 60); n != 5 {
		t.Error(n)
	}
}

// TestCountedKeepsDeadline: an increment that makes its key again, because another node has deleted it meanwhile, gives
// it the deadline under which it was answered; the key would live for ever otherwise.
func TestCountedKeepsDeadline(t *testing.T) {
	for _, own := range []bool{true, false} {
		node, other := newNode(t, "n", 7), newNode(t, "other", 1)
		for _, ks := range []*Keyspace{node, other} {
			write(ks, 0, "k", 1, func(t Txn, k []byte) { t.SetInt(k, 100, 50) })
		}
		answer(t, node, 0, "k", 2, 10)
		s, _ := seal(node)
		at := other
		if own {
			at = node
		}
		write(at, 0, "k", 11, func(t Txn, k []byte) { t.Delete(k) })
		deliver(t, at, s, 12)
		if v, ok := getAt(at, 0, "k", 12, false); !ok || v.Int != 2 || v.Deadline != 50 {
			t.Errorf("own %v: %+v, %v", own, v, ok)
		}
	}
}

func TestAheadDropped(t *testing.T) {
	ks := newNode(t, "n", 7)
	var told []string
	ks.OnDropped(func(db int, key []byte, delta int64, err error) {
		told = append(told, fmt.Sprint(db, " ", string(key), " ", delta, " ", err))
	})
	answer(t, ks, 0, "a", 5, 1)
	answer(t, ks, 0, "b", 6, 1)
	answer(t, ks, 1, "c", 7, 1)
	write(ks, 0, "a", 1, func(t Txn, k []byte) { t.Set(k, []byte("text"), 0) })
	write(ks, 0, "b", 1, func(t Txn, k []byte) { t.SetInt(k, math.MaxInt64, 0) })
	if v, _ := getAt(ks, 0, "a", 1, true); string(v.Bytes) != "text" {
		t.Errorf("%+v", v)
	}
	if v, _ := getAt(ks, 0, "b", 1, true); v.Int != math.MaxInt64 {
		t.Errorf("%+v", v)
	}
	s, _ := seal(ks)
	var changed []string
	ks.Observe(func(c *Change) { changed = append(changed, fmt.Sprintf("%d %d %s", c.Op, c.DB, c.Key)) }, nil)
	deliver(t, ks, s, 1)
	slices.Sort(changed)
	if want := []string{fmt.Sprintf("%d 1 c", OpAdd), fmt.Sprintf("%d 0 a", OpOwnTail), fmt.Sprintf("%d 0 b", OpOwnTail)}; !slices.Equal(changed, want) {
		t.Errorf("observers were told %q", changed)
	}
	if st := ks.Ahead(); st.Dropped != 2 || len(told) != 2 || st.Increments != 0 {
		t.Errorf("%+v, told %q", st, told)
	}
	if v, _ := getAt(ks, 1, "c", 1, false); v.Int != 7 {
		t.Errorf("%+v", v)
	}
}

// TestAheadModel drives one node that counts locally and through the log, and a
// second one that only has the log, against a simple reference.
func TestAheadModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &aheadModel{now: 100, node: New(Config{Databases: 2, Seed: 3}), other: New(Config{Databases: 2, Seed: 4}), state: map[modelKey]modelValue{}}
		defer m.node.Close()
		defer m.other.Close()
		if err := m.node.SetSelf("node", 77); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			m.step(t)
		}
		for range 2 {
			m.seal()
			m.apply(t)
		}
		m.verify(t)
		if m.node.HasAhead() {
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

// aheadModel keeps what was answered ahead increment by increment.
type aheadModel struct {
	node, other *Keyspace
	now         int64
	state       map[modelKey]modelValue
	gathered    []modelAmount
	sealed      []modelAmount
	section     countedSection   // of sealed
	late        []countedSection // copies of earlier ones
}

type modelAmount struct {
	k               modelKey
	delta, deadline int64
}

func (m *aheadModel) get(k modelKey) (modelValue, bool) {
	v, ok := m.state[k]
	if ok && v.deadline != 0 && v.deadline <= m.now {
		return modelValue{}, false
	}
	return v, ok
}

func (m *aheadModel) aheadOf(k modelKey) (n int64, some, other bool) {
	v, _ := m.get(k)
	for _, list := range [][]modelAmount{m.sealed, m.gathered} {
		for _, a := range list {
			if a.k != k {
				continue
			}
			if a.deadline == 0 || a.deadline > m.now {
				n += a.delta
				some = true
			}
			other = other || a.deadline != v.deadline
		}
	}
	return n, some, other
}

// seal makes a section, or the same one again.
func (m *aheadModel) seal() {
	s, ok := seal(m.node)
	if !ok {
		return
	}
	if len(m.sealed) == 0 {
		m.sealed, m.gathered = m.gathered, nil
	}
	m.section = s
}

// apply delivers the section to both nodes, maybe twice, and late copies of earlier ones.
func (m *aheadModel) apply(t *rapid.T) {
	if len(m.sealed) == 0 {
		return
	}
	for _, a := range m.sealed {
		v, ok := m.get(a.k)
		switch {
		case a.deadline != 0 && a.deadline <= m.now, v.text:
		case !ok:
			m.state[a.k] = modelValue{n: a.delta, deadline: a.deadline}
		default:
			v.n += a.delta
			m.state[a.k] = v
		}
	}
	for _, ks := range []*Keyspace{m.node, m.other} {
		if got := deliver(t, ks, m.section, m.now); got != Accepted {
			t.Fatalf("section: %v", got)
		}
	}
	m.sealed, m.late = nil, append(m.late, m.section)
	late := rapid.SampledFrom(m.late).Draw(t, "late")
	if a, b := deliver(t, m.node, late, m.now), deliver(t, m.other, late, m.now); a != Stale || b != Stale {
		t.Fatalf("a section that came again: %v, %v", a, b)
	}
}

func (m *aheadModel) step(t *rapid.T) {
	k := modelKey{rapid.IntRange(0, 1).Draw(t, "db"), rapid.SampledFrom([]string{"a", "b", "{a}1", "{a}2", "{a}3"}).Draw(t, "key")}
	both := func(fn func(t Txn, k []byte)) {
		write(m.node, k.db, k.key, m.now, fn)
		write(m.other, k.db, k.key, m.now, fn)
	}
	v, ok := m.get(k)
	switch rapid.SampledFrom([]string{"local", "local", "local", "local", "add", "set", "text", "del", "deadline", "seal", "seal", "apply", "time"}).Draw(t, "op") {
	case "local":
		delta := rapid.Int64Range(-3, 3).Draw(t, "delta")
		ahead, _, other := m.aheadOf(k)
		incs := []Increment{{DB: k.db, Key: []byte(k.key), Delta: delta}}
		if done := m.node.AnswerAhead(incs, m.now); done == 0 {
			if !other && m.section.body == nil {
				t.Fatalf("%v: refused", k)
			}
			return
		}
		sum, err := incs[0].Sum, incs[0].Err
		if v.text {
			if err != ErrNotInteger {
				t.Fatalf("%v: %v", k, err)
			}
			return
		}
		if want := v.n + ahead + delta; sum != want || err != nil || other {
			t.Fatalf("%v: %d, %v, want %d; another deadline: %v", k, sum, err, want, other)
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
	case "seal":
		m.seal()
	case "apply":
		m.apply(t)
	case "time":
		m.now += rapid.Int64Range(0, 4).Draw(t, "ms")
	}
	m.verify(t)
}

// verify compares what local readers and others see, and the structure.
func (m *aheadModel) verify(t *rapid.T) {
	if err := m.node.Check(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "{a}1", "{a}2", "{a}3"} {
		for db := range 2 {
			k := modelKey{db, key}
			want, ok := m.get(k)
			v, found := getAt(m.node, db, key, m.now, false)
			if found != ok || ok && !want.text && v.Int != want.n {
				t.Fatalf("%v: applied %+v, %v, want %+v, %v", k, v, found, want, ok)
			}
			ahead, some, _ := m.aheadOf(k)
			v, found = getAt(m.node, db, key, m.now, true)
			if found != (ok || some) || !want.text && v.Int != want.n+ahead {
				t.Fatalf("%v: local %+v, %v, want %d+%d, %v", k, v, found, want.n, ahead, ok || some)
			}
		}
	}
}

// TestDropSpares checks that a part keeps the table of what it answered ahead for the next increments, until it is told
// not to.
func TestDropSpares(t *testing.T) {
	ks := newNode(t, "a", 1)
	part := Part([]byte("k"))
	for range 2 {
		if n, err := answer(t, ks, 0, "k", 1, 0); err != nil || n < 1 {
			t.Fatal(n, err)
		}
		s, ok := seal(ks)
		if !ok || deliver(t, ks, s, 0) != Accepted {
			t.Fatal("nothing is delivered")
		}
		if ks.parts[part].spare == nil {
			t.Fatal("the table is not kept")
		}
		if ks.DropSpares(); ks.parts[part].spare != nil {
			t.Fatal("the table is still kept")
		}
	}
	if v, ok := getAt(ks, 0, "k", 0, true); !ok || v.Int != 2 {
		t.Errorf("k is %v", v)
	}
}
