package sink

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestSweep: a sink that has no watermark reads all keys, and then what changes; texts, deadlines and absent keys come out as such.
func TestSweep(t *testing.T) {
	b, f := sqliteBed(t), newFake(t, "i1")
	for i := range 5 {
		f.set(fmt.Sprintf("k%d", i), int64(i))
	}
	f.do(func(f *fake) { f.keys["text"] = fakeKey{"string", "twelve", 1 << 50, f.index} })
	f.do(func(f *fake) { f.keys["number"] = fakeKey{"string", "12", 0, f.index} })
	f.do(func(f *fake) { f.keys["connect:sink:totals"] = fakeKey{"string", "{}", 0, f.index} })
	s := b.newSink([]string{f.addr}, "")
	b.run(s)
	want := map[string]string{"k0": "0 0", "k1": "1 0", "k2": "2 0", "k3": "3 0", "k4": "4 0", "text": "twelve 1125899906842624", "number": "12 0"}
	b.awaitRows(want)
	f.set("k1", 11)
	f.do(func(f *fake) { f.keys["k2"] = fakeKey{"none", nil, 0, f.index} })
	want["k1"] = "11 0"
	delete(want, "k2")
	b.awaitRows(want)
	f.do(func(f *fake) { f.stamp = 1 << 50 })
	delete(want, "text")
	b.awaitRows(want)
	f.do(func(f *fake) {
		f.flushed = f.index - 1
		f.keys = map[string]fakeKey{}
	})
	f.set("k7", 7)
	b.awaitRows(map[string]string{"k7": "7 0"})
}

// TestGap: after a gap all keys are read again, and those that have gone meanwhile are tombstones.
func TestGap(t *testing.T) {
	b, f := sqliteBed(t), newFake(t, "i1")
	for i := range 5 {
		f.set(fmt.Sprintf("k%d", i), int64(i))
	}
	stop := b.run(b.newSink([]string{f.addr}, ""))
	b.awaitRows(map[string]string{"k0": "0 0", "k1": "1 0", "k2": "2 0", "k3": "3 0", "k4": "4 0"})
	stop()
	f.do(func(f *fake) {
		delete(f.keys, "k1")
		f.keys["k3"] = fakeKey{"counter", int64(33), 0, f.index}
		f.gap = f.index
	})
	b.run(b.newSink([]string{f.addr}, ""))
	b.awaitRows(map[string]string{"k0": "0 0", "k2": "2 0", "k3": "33 0", "k4": "4 0"})
}

// TestPattern: with another pattern all keys are read again, and rows that do not match are tombstones.
func TestPattern(t *testing.T) {
	b, f := sqliteBed(t), newFake(t, "i1")
	f.set("a", 1)
	stop := b.run(b.newSink([]string{f.addr}, ""))
	b.awaitRows(map[string]string{"a": "1 0"})
	stop()
	f.do(func(f *fake) { f.keys = map[string]fakeKey{"b": {"counter", int64(1), 0, f.index}} }) // as if it matched the pattern alone
	b.run(b.newSink([]string{f.addr}, "  match b\n"))
	b.awaitRows(map[string]string{"b": "1 0"})
}

// TestIncarnation: rows of other data stay as they are until the sink is adopted; then rows with lower indexes replace them.
func TestIncarnation(t *testing.T) {
	b, f := sqliteBed(t), newFake(t, "i1")
	f.index = 1000
	f.set("a", 1)
	f.set("b", 2)
	s := b.newSink([]string{f.addr}, "")
	b.run(s)
	b.awaitRows(map[string]string{"a": "1 0", "b": "2 0"})
	f.do(func(f *fake) {
		f.incarnation, f.index = "i2", 10
		f.keys = map[string]fakeKey{"a": {"counter", int64(7), 0, 10}}
	})
	if got := b.awaitState(s, NewIncarnation); !strings.Contains(got.Reason, "i1") || !strings.Contains(got.Reason, "i2") {
		t.Errorf("the reason is %q", got.Reason)
	}
	b.awaitRows(map[string]string{"a": "1 0", "b": "2 0"})
	b.adopt()
	b.awaitRows(map[string]string{"a": "7 0"})
	b.awaitState(s, Writing)
	if w := b.watermark(); w.Incarnation != "i2" {
		t.Errorf("the watermark is %+v", w)
	}
}

// TestAhead: a database with rows of a log that Quipu has no more is noticed, also when Quipu has passed them, and adopted.
func TestAhead(t *testing.T) {
	b, f := sqliteBed(t), newFake(t, "i1")
	f.index = 1000
	f.set("a", 1)
	stop := b.run(b.newSink([]string{f.addr}, ""))
	b.awaitRows(map[string]string{"a": "1 0"})
	stop()
	f.do(func(f *fake) {
		f.index = 500
		f.keys = map[string]fakeKey{"a": {"counter", int64(3), 0, 400}}
	})
	s := b.newSink([]string{f.addr}, "")
	s.aheadLooks = 3
	stop = b.run(s)
	b.await(s, "waiting", func(s Snapshot) bool { return s.State == Waiting && strings.Contains(s.Reason, "Quipu is at 500") })
	b.awaitState(s, Ahead)
	stop()
	f.do(func(f *fake) { f.index = 2000 })
	s = b.newSink([]string{f.addr}, "")
	b.run(s)
	b.awaitState(s, Ahead)
	b.awaitRows(map[string]string{"a": "1 0"})
	b.adopt()
	b.awaitRows(map[string]string{"a": "3 0"})
}

// TestNodeBehind: a node that does not come along is left for one that has more, and rows of an old state never replace newer ones.
func TestNodeBehind(t *testing.T) {
	b, slow, fresh := sqliteBed(t), newFake(t, "i1"), newFake(t, "i1")
	for _, f := range []*fake{slow, fresh} {
		f.set("a", 1)
	}
	b.run(b.newSink([]string{slow.addr, fresh.addr}, ""))
	b.awaitRows(map[string]string{"a": "1 0"})
	fresh.set("a", 2)
	fresh.set("b", 3)
	b.awaitRows(map[string]string{"a": "2 0", "b": "3 0"})
	slow.do(func(f *fake) {})
	fresh.do(func(f *fake) { f.gap, f.keys["b"] = f.index, fakeKey{"counter", int64(4), 0, f.index} })
	b.awaitRows(map[string]string{"a": "2 0", "b": "4 0"})
}

// TestTakeOver: of two that run the same sink one writes; the other one does as soon as it leaves, or is silent for long enough.
func TestTakeOver(t *testing.T) {
	b, f := sqliteBed(t), newFake(t, "i1")
	one, two := b.newSink([]string{f.addr}, ""), b.newSink([]string{f.addr}, "")
	stop := b.run(one)
	b.awaitState(one, Writing)
	b.run(two)
	b.awaitState(two, Standby)
	f.set("a", 1)
	b.awaitRows(map[string]string{"a": "1 0"})
	left := time.Now()
	stop()
	b.awaitState(two, Writing)
	if took := time.Since(left); took > two.silence/2 {
		t.Errorf("taken over after %v", took)
	}
	if w := b.watermark(); w.Generation != 2 {
		t.Errorf("the watermark is %+v", w)
	}
	f.set("a", 2)
	b.awaitRows(map[string]string{"a": "2 0"})
}

// TestFinish: everything that is there is written, and then it ends.
func TestFinish(t *testing.T) {
	b, f := sqliteBed(t), newFake(t, "i1")
	want := map[string]string{}
	for i := range 20 {
		f.set(fmt.Sprintf("k%d", i), int64(i))
		want[fmt.Sprintf("k%d", i)] = fmt.Sprintf("%d 0", i)
	}
	s := b.newSink([]string{f.addr}, "")
	s.Finish()
	done := make(chan struct{})
	go func() { s.Run(t.Context()); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("it does not end: %+v", s.Report.Snapshot())
	}
	b.awaitRows(want)
	if w := b.watermark(); w.Owner != "" {
		t.Errorf("it still owns the sink: %+v", w)
	}
}

// TestFailed: what a person has to mend is said, and it goes on when it is mended.
func TestFailed(t *testing.T) {
	b, f := sqliteBed(t), newFake(t, "i1")
	b.exec("CREATE TABLE quipu_sink (sink text)")
	s := b.newSink([]string{f.addr}, "")
	b.run(s)
	if got := b.awaitState(s, Failed); !strings.Contains(got.Reason, "column cursor is missing") || !strings.Contains(got.Reason, "drop the table") {
		t.Errorf("the reason is %q", got.Reason)
	}
	b.exec("DROP TABLE quipu_sink")
	b.awaitState(s, Writing)
}
