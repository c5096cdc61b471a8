package exec

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// newNodeRig is a keyspace that answers ahead too.
func newNodeRig(tb testing.TB, table *commands.Table) *rig {
	tb.Helper()
	g := newRig(tb, table)
	if err := g.ks.SetSelf("node", 7); err != nil {
		tb.Fatal(err)
	}
	return g
}

// answer answers increments of keys by 1 ahead.
func (g *rig) answer(keys ...string) string {
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

// burstClient is a client whose increments are answered ahead.
type burstClient struct {
	w    protocol.Writer
	db   int
	rest []string // keys of increments that have to go through the log
	ends int
}

func (c *burstClient) gather(r *Runner, key string, delta int64) int {
	return r.GatherIncrement(c, r.increment, c.db, []byte(key), delta, &c.w)
}

func (c *burstClient) gatherSilent(r *Runner, key string, delta int64) bool {
	return r.GatherSilent(c, r.increment, c.db, []byte(key), delta)
}

func (c *burstClient) ThroughLog(_ *commands.Command, key []byte, delta int64, silent bool) {
	c.rest = append(c.rest, fmt.Sprintf("%s %d %v", key, delta, silent))
}

func (c *burstClient) EndThroughLog() { c.ends++ }

func (c *burstClient) FailedSilently(*commands.Command, string) {}

func (g *rig) value(key string) string {
	w := &protocol.Writer{}
	g.r.Read(g.table.Lookup([]byte("get")), [][]byte{[]byte("get"), []byte(key)}, 0, startOfLogTime, w)
	return string(w.B)
}

// sealEntry makes the payload of an entry: what g has answered ahead, then the sub-batches.
func (g *rig) sealEntry(subs ...*SubBatch) (*Batch, []byte) {
	b := &Batch{}
	for _, s := range subs {
		b.Add(s)
	}
	payload, _ := AppendCounted(nil, g.ks, 1<<20)
	return b, b.Seal(payload, 0, startOfLogTime)
}

// apply executes a sub-batch whose operations, and nothing else, are the payload.
func apply(s *SubBatch, r *Runner, payload []byte, stamp int64) error {
	b := &Batch{}
	b.Add(s)
	b.Seal(nil, 0, stamp)
	return b.Execute(r, payload, stamp)
}

func TestCountedFormat(t *testing.T) {
	g := newNodeRig(t, commands.NewTable())
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
	payload, all := AppendCounted([]byte("xy"), g.ks, 1<<20)
	want := "7879 04 6e 04 6e6f6465 08 0000000000000007 08 0000000000000000 08 0000000000000001 1e000000 05 19000000" +
		"77 03 00 01 6b 9203 00" + "01 04 7b6b7d32 05 00" + "00 04 7b6b7d33 02 ac02"
	if got := hex.EncodeToString(payload); got != strings.ReplaceAll(want, " ", "") || !all {
		t.Errorf("\n got %s\nwant %s", got, strings.ReplaceAll(want, " ", ""))
	}
	if err := g.r.Replay(payload[2:], 1); err != nil || g.ks.HasAhead() {
		t.Errorf("%v, or something is left", err)
	}
	if payload, all = AppendCounted([]byte("xy"), g.ks, 1<<20); string(payload) != "xy" || !all {
		t.Errorf("a section of nothing: %x", payload)
	}
}

func TestMalformedConditionals(t *testing.T) {
	head := "04 6e 01 6e 08 0000000000000007 08 0000000000000000 08 0000000000000001 "
	for _, c := range []struct{ name, payload string }{
		{"no kind", "04"},
		{"no origin", "04 6e 02 6e"},
		{"a kind there is not", "04 78 01 6e 00 00 00 00000000"},
		{"epoch of a node that is no number", "04 6e 01 6e 01 07 08 0000000000000000 08 0000000000000001 00000000"},
		{"origin of 256 bytes", "04 73 8002" + strings.Repeat("6e", 256) + "00 00 00 00000000"},
		{"no length", head + "0000"},
		{"body longer than the payload", head + "0d000000 05 07000000 77 01 00 01 6b 02 00"},
		{"counted longer than the body", head + "0c000000 05 08000000 77 01 00 01 6b 02 00"},
		{"bytes behind the items", head + "0d000000 05 08000000 77 01 00 01 6b 02 00 00"},
		{"item cut off", head + "0b000000 05 06000000 77 01 00 01 6b 02"},
		{"key of another part", head + "0c000000 05 07000000 77 01 00 01 6a 02 00"},
		{"database there is not", head + "0c000000 05 07000000 77 01 03 01 6b 02 00"},
		{"counted by itself", "05 07000000 77 01 00 01 6b 02 00"},
		{"inside of itself", head + "25000000" + head + "00000000"},
		{"inside of a transaction", "03 0000000000000000 2a000000" + head + "0c000000 05 07000000 77 01 00 01 6b 02 00"},
	} {
		payload, err := hex.DecodeString(strings.ReplaceAll(c.payload, " ", ""))
		if err != nil {
			t.Fatal(c.name, err)
		}
		g := newRig(t, commands.NewTable())
		if err := g.r.Replay(payload, startOfLogTime); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
		g.close()
	}
	g := newRig(t, commands.NewTable())
	defer g.close()
	good, _ := hex.DecodeString(strings.ReplaceAll(head+"0c000000 05 07000000 77 01 00 01 6b 02 00", " ", ""))
	if err := g.r.Replay(good, startOfLogTime); err != nil || g.value("k") != "$1\r\n1\r\n" {
		t.Errorf("a good one: %v, %q", err, g.value("k"))
	}
}

// TestConditional has a source's transaction come twice, with an increment beside it that is under no condition.
func TestConditional(t *testing.T) {
	g := newRig(t, commands.NewTable())
	defer g.close()
	body := NewSubBatch(g.table)
	gather(t, body, txnOf(0, "INCRBY likes 5", "SET last 7"), lines("INCR likes")[0], txnOf(0, "SET last 8"))
	beside := NewSubBatch(g.table)
	gather(t, beside, lines("INCR beside")...)
	entry := func(from, to string) []byte {
		o := engine.Origin{Kind: engine.OriginSource, Name: []byte("topic:0"), Epoch: []byte("id"), From: []byte(from), To: []byte(to)}
		e := appendConditional(nil, &o)
		e = append(e, byte(len(body.ops)), 0, 0, 0)
		return append(append(e, body.ops...), beside.ops...)
	}
	for i, c := range []struct{ from, to, likes string }{
		{"", "10", "6"}, {"", "10", "6"}, {"10", "20", "12"}, {"11", "20", "12"}, {"20", "21", "18"},
	} {
		if err := g.r.Replay(entry(c.from, c.to), startOfLogTime); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("$%d\r\n%s\r\n", len(c.likes), c.likes)
		if got := g.value("likes"); got != want || g.value("beside") != fmt.Sprintf("$1\r\n%d\r\n", i+1) {
			t.Errorf("%d: likes %q, beside %q", i, got, g.value("beside"))
		}
	}
}

// TestCountedBeforeWrites has a counted section before writes in one entry, on the node that counted and on one that only
// has the log. The entry is applied twice there: the second time, all but the counted section counts again.
func TestCountedBeforeWrites(t *testing.T) {
	table := commands.NewTable()
	node, other := newNodeRig(t, table), newRig(t, table)
	defer node.close()
	defer other.close()
	s := NewSubBatch(table)
	node.answer("k", "k", "k", "j")
	gather(t, s, lines("INCR k", "INCR k", "GET k")...)
	b, payload := node.sealEntry(s)
	if err := b.Execute(node.r, payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if got := string(s.Replies(&s.Submissions()[0])); got != ":4\r\n:5\r\n$1\r\n5\r\n" {
		t.Errorf("replies %q", got)
	}
	for range 2 {
		if err := other.r.Replay(payload, startOfLogTime); err != nil {
			t.Fatal(err)
		}
	}
	if got := other.value("k"); got != "$1\r\n7\r\n" {
		t.Errorf("the other node has %q", got)
	}
	if !node.changed["0 k"] || node.ks.HasAhead() {
		t.Error("the hook was not told, or something is left")
	}
	if st := other.ks.Ahead(); st.Stale != 1 || st.Sections != 1 {
		t.Errorf("%+v", st)
	}
}

// TestEpochs: a late copy of an earlier run of a node is not counted again, and the run after it counts.
func TestEpochs(t *testing.T) {
	table := commands.NewTable()
	other := newRig(t, table)
	defer other.close()
	var entries [][]byte
	for epoch := uint64(1); epoch <= 3; epoch++ {
		node := newRig(t, table)
		if err := node.ks.SetSelf("node", epoch); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			node.answer("k")
			_, payload := node.sealEntry()
			if err := node.r.Replay(payload, startOfLogTime); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, payload)
		}
		node.close()
	}
	replay := func(list ...int) {
		for _, i := range list {
			if err := other.r.Replay(entries[i], startOfLogTime); err != nil {
				t.Fatal(err)
			}
		}
	}
	replay(0, 1)    // the first run
	replay(2)       // the second
	replay(0, 1, 0) // late copies of the first
	replay(3)       // the second goes on
	replay(4, 5, 2, 3, 0)
	if got := other.value("k"); got != "$1\r\n6\r\n" {
		t.Errorf("%q, want 6 increments, each once", got)
	}
}

// TestLostEntry loses an entry: its counted section goes again, by itself, and what was answered later follows.
func TestLostEntry(t *testing.T) {
	table := commands.NewTable()
	node, other := newNodeRig(t, table), newRig(t, table)
	defer node.close()
	defer other.close()
	node.answer("a", "b", "c")
	_, lost := node.sealEntry()
	node.answer("a")
	again, all := AppendCounted(nil, node.ks, 1<<20)
	if all || !bytes.Equal(again, lost) {
		t.Fatalf("again %x, lost %x, all %v", again, lost, all)
	}
	if err := node.r.Replay(again, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	s := NewSubBatch(table)
	gather(t, s, lines("GET a", "DEL b")...)
	b, payload := node.sealEntry(s)
	if err := b.Execute(node.r, payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if got := string(s.Replies(&s.Submissions()[0])); got != "$1\r\n2\r\n:1\r\n" {
		t.Errorf("replies %q", got)
	}
	// The lost one comes after all: nothing is counted twice.
	for _, entry := range [][]byte{again, payload, lost} {
		if err := other.r.Replay(entry, startOfLogTime); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.r.Replay(lost, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if a, b := node.ks.Checksum(startOfLogTime), other.ks.Checksum(startOfLogTime); a != b || node.ks.HasAhead() {
		t.Errorf("nodes differ: %x, %x; or something is left: %v", a, b, node.ks.HasAhead())
	}
	if node.value("a") != "$1\r\n2\r\n" || node.value("c") != "$1\r\n1\r\n" || node.value("b") != "$-1\r\n" {
		t.Errorf("a %q, b %q, c %q", node.value("a"), node.value("b"), node.value("c"))
	}
}

// TestRunsAhead has increments at level local go through the log: their replies continue those given ahead.
func TestRunsAhead(t *testing.T) {
	g := newNodeRig(t, commands.NewTable())
	defer g.close()
	g.ks.SetLocalKeys(func(key []byte) bool { return false })
	local := As{RESP: 2, Sees: SeesAhead}
	s := NewSubBatch(g.table)
	s.Begin(1, 0)
	for _, as := range []As{local, local, plain, local} {
		add(t, s, action{as: as, line: "INCR k"})
	}
	add(t, s, action{as: local, line: "GET k"})
	add(t, s, action{as: As{RESP: 2, Sees: SeesByKey}, line: "GET k"})
	add(t, s, action{as: plain, line: "GET k"})
	s.End()
	b, payload := g.sealEntry(s)
	if got := g.answer("k", "k", "k"); got != ":1\r\n:2\r\n:3\r\n" {
		t.Fatal(got)
	}
	if err := b.Execute(g.r, payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if got := string(s.Replies(&s.Submissions()[0])); got != ":4\r\n:5\r\n:3\r\n:7\r\n$1\r\n7\r\n$1\r\n4\r\n$1\r\n4\r\n" {
		t.Errorf("replies %q", got)
	}
	if got := g.answer("k"); got != ":8\r\n" {
		t.Error(got)
	}
}

func TestBarrier(t *testing.T) {
	b := NewSubBatch(commands.NewTable())
	b.Begin(1, 0)
	b.Literal([]byte("+PONG\r\n"), plain)
	b.Barrier([]byte("+OK\r\n"), plain)
	b.End()
	g := newRig(t, b.table)
	defer g.close()
	if err := apply(b, g.r, b.ops, 1); err != nil || string(b.Replies(&b.Submissions()[0])) != "+PONG\r\n+OK\r\n" {
		t.Errorf("%v, %q", err, b.Replies(&b.Submissions()[0]))
	}
	b.Fail("UNKNOWN w", "TRYAGAIN r")
	if got := string(b.Replies(&b.Submissions()[0])); got != "+PONG\r\n-UNKNOWN w\r\n" {
		t.Error(got)
	}
}

// TestManySubBatches has sub-batches of several owners in one entry: each gets its own replies.
func TestManySubBatches(t *testing.T) {
	table := commands.NewTable()
	node, other := newNodeRig(t, table), newRig(t, table)
	defer node.close()
	defer other.close()
	var subs []*SubBatch
	for i := range 20 {
		s := NewSubBatch(table)
		gather(t, s, lines("INCR k", "INCR k", fmt.Sprintf("SET own%d %d", i, i), "GET k")...)
		gather(t, s, lines("INCR other")...)
		subs = append(subs, s)
	}
	b, payload := node.sealEntry(subs...)
	if b.Empty() || b.Size() < len(payload) {
		t.Errorf("%d bytes for %d of payload", b.Size(), len(payload))
	}
	if err := b.Execute(node.r, payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	for i, s := range subs {
		want := fmt.Sprintf(":%d :%d +OK $%d %d", 2*i+1, 2*i+2, len(fmt.Sprint(2*i+2)), 2*i+2)
		if got := show(s.Replies(&s.Submissions()[0])); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
		if got := show(s.Replies(&s.Submissions()[1])); got != fmt.Sprintf(":%d", i+1) {
			t.Errorf("%d: %s", i, got)
		}
	}
	if err := other.r.Replay(payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if a, b := node.ks.Checksum(startOfLogTime), other.ks.Checksum(startOfLogTime); a != b {
		t.Errorf("nodes differ: %x, %x", a, b)
	}
}

// watching is a guard as WATCH is one.
func (g *watching) Decided(ran bool) { g.decided = append(g.decided, ran) }
func (g *watching) Watch() Watch     { return g.name }
func (g *watching) Deadline() int64  { return 0 }

type watching struct {
	key     string
	name    Watch
	asked   int
	decided []bool
}

func (g *watching) Aborts(_ int64, touched func(db int, key []byte) bool) bool {
	g.asked++
	return touched(0, []byte(g.key))
}

// TestGuards has transactions that watch keys behind operations of the same entry.
func TestGuards(t *testing.T) {
	table := commands.NewTable()
	for _, c := range []struct {
		before string // in a sub-batch of another owner
		ahead  string // answered ahead
		line   string // before it in its own
		aborts bool
	}{
		{before: "INCR k", aborts: true}, {before: "INCR j"}, {before: "SET k 1", aborts: true}, {before: "GET k"}, {before: "FLUSHALL", aborts: true},
		{ahead: "k", aborts: true}, {ahead: "j"}, {line: "DEL k", aborts: true}, {line: "MSET a 1 k 2", aborts: true}, {line: "COPY k j"},
		{line: "COPY j k", aborts: true}, {before: "ONCE p 1 1 INCR k", aborts: true}, {before: "ONCE p 1 1 INCR j"},
		{before: "MOVE j 1", aborts: true}, {before: "ONCE p 1 1 MOVE j 1", aborts: true}, {before: "ONCE p 1 1 COPY j i DB 1", aborts: true},
		{before: "ONCE p 1 1 COPY j i"}, {},
	} {
		node, other := newNodeRig(t, table), newRig(t, table)
		var subs []*SubBatch
		if c.before != "" {
			s := NewSubBatch(table)
			gather(t, s, lines(c.before)...)
			subs = append(subs, s)
		}
		if c.ahead != "" {
			node.answer(c.ahead)
		}
		s := NewSubBatch(table)
		s.Begin(nil, 0)
		if c.line != "" {
			add(t, s, lines(c.line)[0])
		}
		guards := []*watching{{key: "k"}, {key: "k"}, {key: "own"}}
		for i, g := range guards {
			s.BeginTxn(2, 0, g, plain)
			add(t, s, lines("GET j")[0])
			if i < 2 {
				add(t, s, lines("SET own 1")[0])
			} else {
				add(t, s, lines("GET own")[0])
			}
			s.EndTxn()
		}
		add(t, s, lines("INCR after")[0])
		s.End()
		b, payload := node.sealEntry(append(subs, s)...)
		if err := b.Execute(node.r, payload, startOfLogTime); err != nil {
			t.Fatal(err)
		}
		replies := string(s.Replies(&s.Submissions()[0]))
		aborted, ran := strings.Count(replies, "*-1\r\n"), strings.Count(replies, "*2\r\n")
		all := c.before == "FLUSHALL" || strings.Contains(c.before, "MOVE") || strings.Contains(c.before, " DB ") // keys of any database
		switch {
		case all && aborted != 3:
			t.Errorf("%+v: %q", c, replies)
		case all:
		case c.aborts && (aborted != 2 || ran != 1): // the third finds that nobody has written own
			t.Errorf("%+v: %q", c, replies)
		case !c.aborts && (aborted != 1 || ran != 2):
			t.Errorf("%+v: %q", c, replies)
		}
		if !strings.HasSuffix(replies, ":1\r\n") || guards[0].asked != 1 || guards[2].asked != 1 {
			t.Errorf("%+v: %q, asked %d times", c, replies, guards[0].asked)
		}
		if err := other.r.Replay(payload, startOfLogTime); err != nil {
			t.Fatal(err)
		}
		if a, b := node.ks.Checksum(startOfLogTime), other.ks.Checksum(startOfLogTime); a != b {
			t.Errorf("%+v: nodes differ: %x, %x", c, a, b)
		}
		node.close()
		other.close()
	}
}

// TestForwardCounted: what a node has answered ahead stands before all that it sends along, counts on the node that leads, and for
// that node alone.
func TestForwardCounted(t *testing.T) {
	table := commands.NewTable()
	node, leader := newNodeRig(t, table), newRig(t, table)
	defer node.close()
	defer leader.close()
	node.answer("a", "a", "b")
	records, all := AppendForwardCounted(nil, node.ks, 1<<20)
	b := NewSubBatch(table)
	gather(t, b, lines("INCR a", "GET b")...)
	section := len(records)
	records = b.AppendForward(records)
	if !all || section == 0 {
		t.Fatalf("%d bytes, all %v", section, all)
	}
	a := NewSubBatch(table)
	nothing := func(*commands.Command, [][]byte) {}
	if err := a.Absorb(records, "other", 3, nothing); err == nil {
		t.Error("a node has counted for another")
	}
	a.Reset()
	if err := a.Absorb(records, "node", 3, nothing); err != nil {
		t.Fatal(err)
	}
	if a.ReadsOnly() {
		t.Error("a section is no read")
	}
	if err := apply(a, leader.r, bytes.Clone(a.ops), startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if got := show(a.Replies(&a.Submissions()[0])); got != ":3 $1 1" {
		t.Errorf("replies %s", got)
	}
	// The section alone, for which nobody waits; it is counted already.
	a.Reset()
	if err := a.Absorb(records[:section], "node", 3, nothing); err != nil {
		t.Fatal(err)
	}
	if err := apply(a, leader.r, bytes.Clone(a.ops), startOfLogTime); err != nil {
		t.Fatal(err)
	}
	if got := leader.value("a"); got != "$1\r\n3\r\n" {
		t.Errorf("a is %q", got)
	}
	for i := range section { // whatever is cut off or changed, there is an error or a section
		a.Reset()
		_ = a.Absorb(records[:i], "node", 3, nothing)
		bad := bytes.Clone(records[:section])
		bad[i] ^= 0x41
		a.Reset()
		if a.Absorb(bad, "node", 3, nothing) == nil {
			if err := apply(a, leader.r, bytes.Clone(a.ops), startOfLogTime); err != nil {
				t.Fatalf("byte %d: accepted, and then %v", i, err)
			}
		}
	}
	if err := leader.ks.Check(); err != nil {
		t.Error(err)
	}
}
