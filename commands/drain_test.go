package commands

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"quipu/engine"
	"quipu/protocol"
)

// newOriginRig is a keyspace that counts in memory too.
func newOriginRig(tb testing.TB, table *Table) *rig {
	tb.Helper()
	g := newRig(tb, table)
	if err := g.ks.SetOrigin("node", 7); err != nil {
		tb.Fatal(err)
	}
	return g
}

// local answers increments of keys by 1 from memory.
func (g *rig) local(keys ...string) string {
	g.tb.Helper()
	w := &protocol.Writer{}
	for _, key := range keys {
		g.r.Gather([]byte(key), 1, false)
	}
	g.r.Answer(0, startOfLogTime, w, func(key []byte, _ int64, _ bool) { g.tb.Errorf("%q is refused", key) })
	return string(w.B)
}

// drainAll drains every part into the batch.
func (g *rig) drainAll(b *Batch, carrier uint64) {
	for part := range engine.Parts {
		b.Drain(g.ks, part, carrier)
	}
}

func (g *rig) value(key string) string {
	w := &protocol.Writer{}
	g.r.Read(g.table.Lookup([]byte("get")), [][]byte{[]byte("get"), []byte(key)}, 0, startOfLogTime, w)
	return string(w.B)
}

func TestDrainFormat(t *testing.T) {
	g := newOriginRig(t, NewTable())
	defer g.close()
	w := &protocol.Writer{}
	g.r.one("k", 1)
	g.r.one("k", 200)
	g.r.Answer(0, 1, w, nil)
	g.r.one("{k}2", -3)
	g.r.Answer(1, 1, w, nil)
	g.ks.Txn(0, 1, false).SetInt([]byte("{k}3"), 5, 300)
	g.r.one("{k}3", 1)
	g.r.Answer(0, 1, w, nil)
	if got := string(w.B); got != ":1\r\n:201\r\n:-3\r\n:6\r\n" {
		t.Errorf("replies %q", got)
	}
	b := NewBatch(g.table, 2)
	b.Begin(nil)
	g.drainAll(b, 1)
	b.End()
	want := "04 77 04 6e6f6465 0700000000000000 0000000000000000 0100000000000000 03000000 17000000" +
		"00 01 6b 9203 00" + "01 04 7b6b7d32 05 00" + "00 04 7b6b7d33 02 ac02"
	if got := hex.EncodeToString(b.Entry()[2:]); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("\n got %s\nwant %s", got, strings.ReplaceAll(want, " ", ""))
	}
	if !b.HasDrains() || b.Empty() || b.Drain(g.ks, 0x77, 1) {
		t.Error("a drain is not in the batch, or leaves something")
	}
}

func (r *Runner) one(key string, delta int64) { r.Gather([]byte(key), delta, false) }

func TestMalformedDrains(t *testing.T) {
	head := "04 77 01 6e 0700000000000000 0000000000000000 0100000000000000 "
	for _, c := range []struct{ name, payload string }{
		{"no part", "04"},
		{"no origin", "04 77 02 6e"},
		{"origin of 256 bytes", "04 77 8002" + strings.Repeat("6e", 256) + strings.Repeat("00", 16) + "0100000000000000 00000000 00000000"},
		{"fixed part cut off", head + "00000000 000000"},
		{"goes nowhere", "04 77 01 6e 0700000000000000 0100000000000000 0100000000000000 00000000 00000000"},
		{"goes back", "04 77 01 6e 0700000000000000 0200000000000000 0100000000000000 00000000 00000000"},
		{"items longer than the payload", head + "01000000 06000000 00 01 6b 02 00"},
		{"more items than bytes", head + "02000000 05000000 00 01 6b 02 00"},
		{"bytes behind the items", head + "01000000 06000000 00 01 6b 02 00 00"},
		{"item cut off", head + "01000000 04000000 00 01 6b 02"},
		{"key of another part", head + "01000000 05000000 00 01 6a 02 00"},
		{"database there is not", head + "01000000 05000000 03 01 6b 02 00"},
		{"inside of a transaction", "03 0000000000000000 2f000000" + head + "01000000 05000000 00 01 6b 02 00"},
	} {
		payload, err := hex.DecodeString(strings.ReplaceAll(c.payload, " ", ""))
		if err != nil {
			t.Fatal(c.name, err)
		}
		g := newRig(t, NewTable())
		if err := g.r.Replay(payload, startOfLogTime); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
		if g.ks.View(0, 1, false).Len() != 0 {
			t.Errorf("%s: applied", c.name)
		}
		g.close()
	}
	g := newRig(t, NewTable())
	defer g.close()
	good, _ := hex.DecodeString(strings.ReplaceAll(head+"01000000 05000000 00 01 6b 02 00", " ", ""))
	if err := g.r.Replay(good, startOfLogTime); err != nil || g.value("k") != "$1\r\n1\r\n" {
		t.Errorf("a good one: %v, %q", err, g.value("k"))
	}
}

// TestDrainAmongWrites has writes before and behind a drain in one entry, on the node that counted and on one that
// only has the log.
func TestDrainAmongWrites(t *testing.T) {
	table := NewTable()
	node, other := newOriginRig(t, table), newRig(t, table)
	defer node.close()
	defer other.close()
	b := NewBatch(table, 5)
	b.Begin(1)
	for _, a := range lines("SET k 10", "INCR k", "INCR k") {
		add(t, b, a)
	}
	node.local("k", "k", "k", "j")
	b.Drain(node.ks, engine.Part([]byte("k")), 1)
	for _, a := range lines("INCR k", "INCR k", "GET k") {
		add(t, b, a)
	}
	b.End()
	payload := bytes.Clone(b.Entry()[5:])
	if err := b.Apply(node.r, payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if got := string(b.Replies(&b.Submissions()[0])); got != "+OK\r\n:11\r\n:12\r\n:16\r\n:17\r\n$2\r\n17\r\n" {
		t.Errorf("replies %q", got)
	}
	for range 2 { // the second time it is counted already, but for the writes
		if err := other.r.Replay(payload, startOfLogTime); err != nil {
			t.Fatal(err)
		}
	}
	if got := other.value("k"); got != "$2\r\n14\r\n" {
		t.Errorf("the other node has %q", got)
	}
	if !node.changed["0 k"] || !node.ks.HasPending() {
		t.Error("the hook was not told, or j was drained with k")
	}
	if st := other.ks.Pending(); st.Stale != 1 {
		t.Errorf("%+v", st)
	}
}

// TestResend loses batches: their drains come first in the next.
func TestResend(t *testing.T) {
	table := NewTable()
	node, other := newOriginRig(t, table), newRig(t, table)
	defer node.close()
	defer other.close()
	node.local("a", "b", "c")
	lost := NewBatch(table, 0)
	lost.Begin(nil)
	node.drainAll(lost, 1)
	lost.End()
	node.local("a")
	b := NewBatch(table, 3)
	b.Begin(1)
	node.drainAll(b, 3)
	add(t, b, lines("GET a")[0])
	add(t, b, lines("DEL b")[0])
	b.End()
	node.local("a") // behind it, in a batch that gathers
	later := NewBatch(table, 0)
	later.Begin(nil)
	node.drainAll(later, 4)
	later.End()
	b.Resend(node.ks, 3, 0)
	payload := bytes.Clone(b.Entry()[3:])
	if err := b.Apply(node.r, payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if got := string(b.Replies(&b.Submissions()[0])); got != "$1\r\n2\r\n:1\r\n" {
		t.Errorf("replies %q", got)
	}
	if err := later.Apply(node.r, later.Entry(), startOfLogTime); err != nil {
		t.Fatal(err)
	}
	// The lost one comes after all: nothing is counted twice.
	for _, entry := range [][]byte{payload, later.Entry(), lost.Entry()} {
		if err := other.r.Replay(entry, startOfLogTime); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.r.Replay(lost.Entry(), startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if a, b := node.ks.Checksum(startOfLogTime), other.ks.Checksum(startOfLogTime); a != b || node.ks.HasPending() {
		t.Errorf("nodes differ: %x, %x; or something is left: %v", a, b, node.ks.HasPending())
	}
	if node.value("a") != "$1\r\n3\r\n" || node.value("c") != "$1\r\n1\r\n" || node.value("b") != "$-1\r\n" {
		t.Errorf("a %q, b %q, c %q", node.value("a"), node.value("b"), node.value("c"))
	}
}

// TestResendInPieces has more to send again than one entry may hold.
func TestResendInPieces(t *testing.T) {
	table := NewTable()
	node := newOriginRig(t, table)
	defer node.close()
	lost := NewBatch(table, 0)
	lost.Begin(nil)
	var keys []string
	for i := range 200 {
		key := strings.Repeat(string(rune('a'+i%26)), 1+i%13)
		keys = append(keys, key)
		node.local(key)
	}
	node.drainAll(lost, 1)
	lost.End()
	sum := len(lost.Entry())
	rounds := 0
	for carrier := uint64(2); node.ks.HasPending(); carrier++ {
		b := NewBatch(table, 0)
		b.WantResend()
		if b.Empty() {
			t.Fatal("a batch to resend is not worth proposing")
		}
		b.Resend(node.ks, carrier, sum/3)
		if len(b.Entry()) > sum/3 || len(b.Entry()) == 0 {
			t.Fatalf("%d bytes of %d", len(b.Entry()), sum)
		}
		if err := b.Apply(node.r, b.Entry(), startOfLogTime); err != nil {
			t.Fatal(err)
		}
		rounds++
	}
	if rounds < 3 {
		t.Errorf("%d rounds", rounds)
	}
	// A batch that a client waits for takes everything, even if it is too much.
	for _, key := range keys {
		node.local(key)
	}
	node.drainAll(NewBatch(table, 0), 1000)
	b := NewBatch(table, 0)
	b.Begin(1)
	b.End()
	if b.Resend(node.ks, 1001, sum/3); len(b.Entry()) <= sum/3 {
		t.Errorf("%d bytes", len(b.Entry()))
	}
	if err := b.Apply(node.r, b.Entry(), startOfLogTime); err != nil {
		t.Fatal(err)
	}
}

// TestLocalRuns has increments at level local go through the log: their replies continue those given from memory.
func TestLocalRuns(t *testing.T) {
	g := newOriginRig(t, NewTable())
	defer g.close()
	local := Origin{RESP: 2, Level: LevelLocal}
	b := NewBatch(g.table, 0)
	b.Begin(1)
	for _, o := range []Origin{local, local, plain, local} {
		add(t, b, action{origin: o, line: "INCR k"})
	}
	add(t, b, action{origin: local, line: "GET k"})
	add(t, b, action{origin: Origin{RESP: 2, Level: LevelByKey}, line: "GET k"})
	add(t, b, action{origin: plain, line: "GET k"})
	b.End()
	g.ks.SetLocalKeys(func(key []byte) bool { return false })
	if got := g.local("k", "k", "k"); got != ":1\r\n:2\r\n:3\r\n" {
		t.Fatal(got)
	}
	if err := b.Apply(g.r, b.Entry(), startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if got := string(b.Replies(&b.Submissions()[0])); got != ":4\r\n:5\r\n:3\r\n:7\r\n$1\r\n7\r\n$1\r\n4\r\n$1\r\n4\r\n" {
		t.Errorf("replies %q", got)
	}
	if got := g.local("k"); got != ":8\r\n" {
		t.Error(got)
	}
}

func TestBarrier(t *testing.T) {
	b := NewBatch(NewTable(), 0)
	b.Begin(1)
	b.Literal([]byte("+PONG\r\n"), plain)
	b.Barrier([]byte("+OK\r\n"), plain)
	b.End()
	g := newRig(t, b.table)
	defer g.close()
	if err := b.Apply(g.r, b.Entry(), 1); err != nil || string(b.Replies(&b.Submissions()[0])) != "+PONG\r\n+OK\r\n" {
		t.Errorf("%v, %q", err, b.Replies(&b.Submissions()[0]))
	}
	b.Fail("UNKNOWN w", "TRYAGAIN r")
	if got := string(b.Replies(&b.Submissions()[0])); got != "+PONG\r\n-UNKNOWN w\r\n" {
		t.Error(got)
	}
}

// TestRowsOfIncrements has equal increments in a row, which are carried out as one, up to where they overflow.
func TestRowsOfIncrements(t *testing.T) {
	g := newOriginRig(t, NewTable())
	defer g.close()
	const top = math.MaxInt64
	for _, c := range []struct {
		start, delta int64
		count, want  int
	}{
		{0, 1, 5, 5}, {10, -3, 200, 200}, {top - 3, 1, 5, 3}, {top - 3, 2, 5, 1}, {top, 1, 3, 0}, {-top, -1, 3, 1},
		{-top - 1, -1, 2, 0}, {top - 100, 1, 150, 100}, {5, 0, 3, 3}, {-top - 1, 1, 70, 70},
	} {
		g.ks.Txn(0, 1, false).SetInt([]byte("k"), c.start, 0)
		w := &protocol.Writer{}
		want := &protocol.Writer{}
		gathered := 0
		for i := range c.count {
			gathered = g.r.Gather([]byte("k"), c.delta, false)
			if i < c.want {
				want.Int(c.start + c.delta*int64(i+1))
			} else {
				want.Error(protocol.ErrOverflow)
			}
		}
		g.r.Answer(0, 1, w, func([]byte, int64, bool) { t.Error("refused") })
		if !bytes.Equal(w.B, want.B) || gathered != (c.count+engine.IncrementMax-1)/engine.IncrementMax {
			t.Errorf("%+v: %d in %d rows, got %.300q", c, c.count, gathered, w.B)
		}
		if st := g.ks.Pending(); st.Increments != int64(c.want) {
			t.Errorf("%+v: %d pending", c, st.Increments)
		}
		b := NewBatch(g.table, 0)
		b.Begin(nil)
		g.drainAll(b, 1)
		b.End()
		if err := b.Apply(g.r, b.Entry(), startOfLogTime); err != nil || g.ks.HasPending() {
			t.Fatal(err)
		}
		v, _ := g.ks.View(0, 1, false).Get([]byte("k"))
		if v.Int != c.start+c.delta*int64(c.want) {
			t.Errorf("%+v: %d", c, v.Int)
		}
	}
	g.r.Gather([]byte("k"), 1<<55, false)
	g.r.Gather([]byte("k"), 1<<55, false)
	g.r.Gather([]byte("k"), 1<<55, false)
	left := 0
	g.r.Answer(0, 1, &protocol.Writer{}, func([]byte, int64, bool) { left++ })
	if left != 3 {
		t.Errorf("%d of a row that is too much were left to the log", left)
	}
}

// TestAnswerLeavesTheRest has an increment that must go through the log in the middle of a burst.
func TestAnswerLeavesTheRest(t *testing.T) {
	g := newOriginRig(t, NewTable())
	defer g.close()
	w := &protocol.Writer{}
	g.ks.Txn(0, 1, false).Set([]byte("text"), []byte("x"), 0)
	g.r.Gather([]byte("a"), 1, false)
	g.r.Gather([]byte("a"), 1, true)
	g.r.Gather([]byte("text"), 1, false)
	g.r.Gather([]byte("b"), 1<<62, false)
	g.r.Gather([]byte("a"), 1, true)
	var rest []string
	g.r.Answer(0, 1, w, func(key []byte, delta int64, silent bool) {
		rest = append(rest, string(key))
		if silent != (string(key) == "a") || (delta == 1) != silent {
			t.Errorf("%q by %d, %v", key, delta, silent)
		}
	})
	if string(w.B) != ":1\r\n-"+protocol.ErrNotInteger+"\r\n" || strings.Join(rest, " ") != "b a" || g.r.Gathered() != 0 {
		t.Errorf("%q, left %q", w.B, rest)
	}
}
