package exec

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// newOriginRig is a keyspace that counts in memory too.
func newOriginRig(tb testing.TB, table *commands.Table) *rig {
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
	c := &burstClient{}
	for _, key := range keys {
		c.gather(g.r, key, 1)
	}
	g.r.Answer(startOfLogTime)
	if len(c.rest) != 0 {
		g.tb.Errorf("%q are refused", c.rest)
	}
	return string(c.w.B)
}

// burstClient is a client whose increments are answered from memory.
type burstClient struct {
	w    protocol.Writer
	db   int
	rest []string // keys of increments that have to go through the log
	ends int
}

func (c *burstClient) gather(r *Runner, key string, delta int64) int {
	return r.GatherIncrement(c, c.db, []byte(key), delta, &c.w)
}

func (c *burstClient) gatherSilent(r *Runner, key string, delta int64) bool {
	return r.GatherSilent(c, c.db, []byte(key), delta)
}

func (c *burstClient) ThroughLog(key []byte, delta int64, silent bool) {
	c.rest = append(c.rest, fmt.Sprintf("%s %d %v", key, delta, silent))
}

func (c *burstClient) EndThroughLog() { c.ends++ }

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
	g := newOriginRig(t, commands.NewTable())
	defer g.close()
	c := &burstClient{}
	c.gather(g.r, "k", 1)
	c.gather(g.r, "k", 200)
	c.db = 1
	c.gather(g.r, "{k}2", -3)
	g.r.Answer(1)
	g.ks.Txn(0, 1, false).SetInt([]byte("{k}3"), 5, 300)
	c.db = 0
	c.gather(g.r, "{k}3", 1)
	g.r.Answer(1)
	if got := string(c.w.B); got != ":1\r\n:201\r\n:-3\r\n:6\r\n" {
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
		g := newRig(t, commands.NewTable())
		if err := g.r.Replay(payload, startOfLogTime); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
		if g.ks.View(0, 1, false).Len() != 0 {
			t.Errorf("%s: applied", c.name)
		}
		g.close()
	}
	g := newRig(t, commands.NewTable())
	defer g.close()
	good, _ := hex.DecodeString(strings.ReplaceAll(head+"01000000 05000000 00 01 6b 02 00", " ", ""))
	if err := g.r.Replay(good, startOfLogTime); err != nil || g.value("k") != "$1\r\n1\r\n" {
		t.Errorf("a good one: %v, %q", err, g.value("k"))
	}
}

// TestDrainAmongWrites has writes before and behind a drain in one entry, on the node that counted and on one that
// only has the log.
func TestDrainAmongWrites(t *testing.T) {
	table := commands.NewTable()
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
	table := commands.NewTable()
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
	table := commands.NewTable()
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
	g := newOriginRig(t, commands.NewTable())
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
	b := NewBatch(commands.NewTable(), 0)
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
	g := newOriginRig(t, commands.NewTable())
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
		client := &burstClient{}
		want := &protocol.Writer{}
		gathered := 0
		for i := range c.count {
			gathered = client.gather(g.r, "k", c.delta)
			if i < c.want {
				want.Int(c.start + c.delta*int64(i+1))
			} else {
				want.Error(protocol.ErrOverflow)
			}
		}
		g.r.Answer(1)
		if !bytes.Equal(client.w.B, want.B) || len(client.rest) > 0 || gathered != (c.count+engine.IncrementMax-1)/engine.IncrementMax {
			t.Errorf("%+v: %d in %d rows, got %.300q", c, c.count, gathered, client.w.B)
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
	client := &burstClient{}
	for range 3 {
		client.gather(g.r, "k", 1<<55)
	}
	g.r.Answer(1)
	if len(client.rest) != 3 || client.ends != 1 {
		t.Errorf("%d of a row that is too much were left to the log, %d ends", len(client.rest), client.ends)
	}
}

// TestAnswerLeavesTheRest has an increment that must go through the log in the middle of a burst of two clients.
func TestAnswerLeavesTheRest(t *testing.T) {
	g := newOriginRig(t, commands.NewTable())
	defer g.close()
	one, two := &burstClient{}, &burstClient{}
	g.ks.Txn(0, 1, false).Set([]byte("text"), []byte("x"), 0)
	one.gather(g.r, "a", 1)
	two.gather(g.r, "text", 1)
	one.gather(g.r, "b", 1<<62)
	two.gather(g.r, "a", 5)
	one.gather(g.r, "c", 1)
	one.gather(g.r, "c", 1)
	g.r.Answer(1)
	if string(one.w.B) != ":1\r\n" || string(two.w.B) != "-"+protocol.ErrNotInteger+"\r\n" || g.r.Gathered() != 0 {
		t.Errorf("%q, %q", one.w.B, two.w.B)
	}
	if got := fmt.Sprint(one.rest, two.rest); got != "[b 4611686018427387904 false c 1 false c 1 false] [a 5 false]" || one.ends != 2 || two.ends != 1 {
		t.Errorf("left to the log: %s, ends %d and %d", got, one.ends, two.ends)
	}
}

// TestSilent has increments without replies added up, and those that memory cannot take left to the log.
func TestSilent(t *testing.T) {
	g := newOriginRig(t, commands.NewTable())
	defer g.close()
	one, two := &burstClient{}, &burstClient{db: 1}
	g.ks.Txn(0, 1, false).Set([]byte("text"), []byte("x"), 0)
	for i := range 1000 {
		for _, c := range []*burstClient{one, two} {
			if !c.gatherSilent(g.r, "hot", 1) || !c.gatherSilent(g.r, fmt.Sprint("key", i%10), int64(i%10)) {
				t.Fatal("full")
			}
		}
		one.gatherSilent(g.r, "text", 1)
	}
	g.r.Answer(1)
	if g.r.Gathered() != 0 || len(one.w.B)+len(two.w.B)+len(one.rest)+len(two.rest) > 0 {
		t.Errorf("%d gathered, replies %q and %q, left %q and %q", g.r.Gathered(), one.w.B, two.w.B, one.rest, two.rest)
	}
	one.gather(g.r, "hot", 1)
	two.gather(g.r, "hot", 1)
	one.gather(g.r, "key4", 0)
	g.r.Answer(1)
	if string(one.w.B) != ":1001\r\n:400\r\n" || string(two.w.B) != ":1001\r\n" {
		t.Errorf("%q, %q", one.w.B, two.w.B)
	}

	if !one.gatherSilent(g.r, "both", 1) || one.gatherSilent(g.r, "both", -1) || !two.gatherSilent(g.r, "both", -1) {
		t.Error("different amounts of a client, and only those, are to be carried out in order")
	}
	g.r.Answer(1)
	n := 0
	for one.gatherSilent(g.r, "row", 1) {
		n++
	}
	for i := range silentMax - 1 {
		if !one.gatherSilent(g.r, fmt.Sprint("more", i), 1) {
			t.Errorf("no room for key %d", i)
		}
	}
	if one.gatherSilent(g.r, "beyond", 1) || n != silentCount {
		t.Errorf("%d in a row, or too many keys", n)
	}
	g.r.Answer(1)
	if one.gatherSilent(g.r, "row", silentDelta) || one.gatherSilent(g.r, "row", -silentDelta) {
		t.Error("a large amount is added up")
	}
	g.ks.ClosePending()
	one.gatherSilent(g.r, "late", 2)
	two.gatherSilent(g.r, "late", 3)
	one.gatherSilent(g.r, "late", 2)
	g.r.Answer(1)
	if got := fmt.Sprint(one.rest, two.rest); got != "[late 2 true late 2 true] [late 3 true]" || one.ends != 1 || two.ends != 1 {
		t.Errorf("left to the log: %s, ends %d and %d", got, one.ends, two.ends)
	}
}

// TestReadsTogether has reads of several clients and databases carried out together.
func TestReadsTogether(t *testing.T) {
	g := newOriginRig(t, commands.NewTable())
	defer g.close()
	g.ks.Txn(0, 1, false).Set([]byte("a"), []byte("x"), 500)
	g.ks.Txn(1, 1, false).SetInt([]byte("a"), 7, 0)
	g.ks.Txn(0, 1, false).SetInt([]byte("gone"), 7, 10)
	var one, two protocol.Writer
	g.local("n", "n")
	ask := func(w *protocol.Writer, db int, level Level, name, key string) {
		cmd := g.table.Lookup([]byte(name))
		args := [][]byte{[]byte(name), []byte(key)}
		if !cmd.Gathers(args) {
			t.Fatalf("%s is not gathered", name)
		}
		g.r.GatherRead(cmd, args, db, level, w)
	}
	ask(&one, 0, LevelQuorum, "get", "a")
	ask(&two, 1, LevelQuorum, "get", "a")
	ask(&one, 0, LevelQuorum, "get", "gone")
	ask(&one, 0, LevelQuorum, "get", "n")
	ask(&two, 0, LevelLocal, "get", "n")
	ask(&two, 0, LevelQuorum, "pttl", "a")
	ask(&one, 2, LevelQuorum, "strlen", "a")
	g.r.Answer(100)
	if string(one.B) != "$1\r\nx\r\n$-1\r\n$-1\r\n:0\r\n" || string(two.B) != "$1\r\n7\r\n$1\r\n2\r\n:400\r\n" || g.r.Gathered() != 0 {
		t.Errorf("%q, %q", one.B, two.B)
	}
	for _, args := range []string{"mget a", "exists a", "set a", "keys *", "get a b", "object help"} {
		words := bytes.Fields([]byte(args))
		if g.table.Lookup(words[0]).Gathers(words) {
			t.Errorf("%s is gathered", args)
		}
	}
}
