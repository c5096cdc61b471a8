package exec

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"

	"pgregory.net/rapid"
)

// action is what one client does at once: a command, a transaction, or a reply that is already known.
type action struct {
	as       As
	line     string
	txn      []action
	deadline int64 // of a transaction
	literal  bool
}

func (a action) String() string {
	if a.txn != nil {
		return fmt.Sprintf("%v until %d: %v", a.as, a.deadline, a.txn)
	}
	return fmt.Sprintf("%v %s", a.as, a.line)
}

// rig is a keyspace with its runner, and the changes it was told of.
type rig struct {
	tb      testing.TB
	table   *commands.Table
	ks      *engine.Keyspace
	r       *Runner
	changed map[string]bool // "db key"; "*" for a flush
}

func newRig(tb testing.TB, table *commands.Table) *rig {
	g := &rig{tb: tb, table: table, ks: engine.New(engine.Config{Databases: 3, Seed: 7}), changed: map[string]bool{}}
	g.r = NewRunner(g.ks, table)
	g.ks.Observe(func(c *engine.Change) {
		switch c.Op {
		case engine.OpReclaim:
		case engine.OpFlush:
			g.changed["*"] = true
		default:
			g.changed[fmt.Sprintf("%d %s", c.DB, c.Key)] = true
		}
	}, nil)
	return g
}

// close checks the keyspace and gives it back.
func (g *rig) close() {
	g.tb.Helper()
	if err := g.ks.Check(); err != nil {
		g.tb.Errorf("keyspace broken: %v", err)
	}
	g.ks.Close()
}

// one executes an action by itself and appends its reply to w.
func (g *rig) one(a action, stamp int64, w *protocol.Writer) {
	start := len(w.B)
	w.V = a.as.RESP
	switch {
	case a.literal:
		w.B = append(w.B, a.line...)
	case a.txn == nil:
		args := words(g.tb, a.line)
		if cmd := g.table.Find(args); cmd.Write != nil {
			g.r.write(cmd, args, a.as.DB, stamp, w)
		} else {
			g.r.Read(cmd, args, a.as.DB, stamp, w)
		}
	case a.deadline != 0 && a.deadline <= stamp:
		w.NullArray()
	default:
		w.Array(len(a.txn))
		for _, inner := range a.txn {
			inner.as.Silent = false
			g.one(inner, stamp, w)
		}
	}
	if a.as.Silent {
		w.B = w.B[:start]
	}
}

// add adds an action to a batch.
func add(tb testing.TB, b *SubBatch, a action) {
	if a.literal {
		b.Literal([]byte(a.line), a.as)
		return
	}
	if a.txn != nil {
		b.BeginTxn(len(a.txn), a.deadline, nil, a.as)
		for _, inner := range a.txn {
			add(tb, b, inner)
		}
		b.EndTxn()
		return
	}
	args := words(tb, a.line)
	if cmd := b.table.Find(args); cmd.Write != nil {
		b.Write(cmd, args, a.as)
	} else {
		b.Read(cmd, args, a.as)
	}
	for _, arg := range args { // the batch keeps nothing of its caller's memory
		clear(arg)
	}
}

// trio executes the same stream three ways: one by one, in batches, and by replaying the batches' entries.
type trio struct {
	single, batched, replayed *rig
	forwarded                 *rig // executes what another node sends
	batch, absorbed           *SubBatch
	stamp                     int64
}

func newTrio(tb testing.TB, table *commands.Table) *trio {
	return &trio{
		single: newRig(tb, table), batched: newRig(tb, table), replayed: newRig(tb, table),
		forwarded: newRig(tb, table), batch: NewSubBatch(table), absorbed: NewSubBatch(table), stamp: startOfLogTime,
	}
}

// step runs one batch that holds the given submissions.
func (o *trio) step(tb rapid.TB, submissions [][]action) {
	tb.Helper()
	b := o.batch
	for i, list := range submissions {
		b.Begin(i, 0)
		for _, a := range list {
			add(o.single.tb, b, a)
		}
		b.End()
	}
	payload, records := bytes.Clone(b.ops), b.AppendForward(nil)
	clear(o.batched.changed)
	if err := apply(b, o.batched.r, payload, o.stamp); err != nil {
		tb.Fatalf("Apply: %v", err)
	}
	if err := o.replayed.r.Replay(payload, o.stamp); err != nil {
		tb.Fatalf("Replay: %v", err)
	}
	for i := range b.Submissions() {
		s := &b.Submissions()[i]
		w := &protocol.Writer{}
		for _, a := range submissions[i] {
			o.single.one(a, o.stamp, w)
		}
		if got := b.Replies(s); s.Client != any(i) || s.Overflowed || !bytes.Equal(got, w.B) {
			tb.Fatalf("client %v: %v\n  batched %q\none by one %q", s.Client, submissions[i], got, w.B)
		}
	}
	o.forward(tb, records)
	o.checkTouches(tb)
	sum := o.single.ks.Checksum(o.stamp)
	if o.batched.ks.Checksum(o.stamp) != sum || o.forwarded.ks.Checksum(o.stamp) != sum || o.replayed.ks.Checksum(o.stamp) != sum {
		tb.Fatalf("after %v: states differ", submissions)
	}
	b.Reset()
}

// forward has another node execute the batch: its replies are those that the batch has got here.
func (o *trio) forward(tb rapid.TB, records []byte) {
	tb.Helper()
	a := o.absorbed
	a.Reset()
	if err := a.Absorb(records, "node", 3, func(*commands.Command, [][]byte) {}); err != nil {
		tb.Fatalf("Absorb: %v", err)
	}
	if err := apply(a, o.forwarded.r, bytes.Clone(a.ops), o.stamp); err != nil {
		tb.Fatalf("Apply what was absorbed: %v", err)
	}
	replies := a.AppendReplies(nil)
	want := bytes.Clone(o.batch.out.B)
	rest, err := o.batch.TakeReplies(replies)
	if err != nil || len(rest) > 0 || !bytes.Equal(o.batch.out.B, want) {
		tb.Fatalf("forwarded: %q, %v\nexecuted here: %q", o.batch.out.B, err, want)
	}
	if _, err := o.batch.TakeReplies(replies[:max(0, len(replies)-1)]); err == nil && len(replies) > 0 {
		tb.Fatal("an answer without its end was taken")
	}
	if _, err := o.batch.TakeReplies(replies); err != nil {
		tb.Fatal(err)
	}
}

// checkTouches checks that the batch foretold every change that its entry made.
func (o *trio) checkTouches(tb rapid.TB) {
	tb.Helper()
	touched := newTouchedKeys(o.batch.table, 0)
	for change := range o.batched.changed {
		var db int
		var key string
		if change != "*" {
			fmt.Sscanf(change, "%d %s", &db, &key)
		}
		if has := touched.has(o.batch.ops, db, []byte(key)); !has || change == "*" && !touched.all {
			tb.Fatalf("changed %q, but the batch did not say that it touches it", change)
		}
	}
}

func (o *trio) close() {
	o.single.close()
	o.batched.close()
	o.replayed.close()
	o.forwarded.close()
}

// The words that the lines of a random stream are made of: K is a key, D a number, T a time in ms, E and N the
// epoch and number of a producer.
var (
	streamLines = []string{
		"INCR K", "INCR K", "INCR K", "INCR K", "DECR K", "INCRBY K D", "INCRBY K D", "DECRBY K D",
		"GET K", "GET K", "SET K D", "SET K abc", "SET K 007", "SET K D PX T", "PEXPIRE K T", "DEL K K", "APPEND K 1", "MGET K K K",
		"MSET K D K abc", "SETRANGE K 1 9", "RENAME K K", "COPY K K DB 1 REPLACE", "COPY K K", "GETDEL K", "INCRBYFLOAT K 0.5",
		"FLUSHDB", "FLUSHALL", "DBSIZE", "SCAN 0 COUNT 100", "KEYS *", "EXISTS K K", "STRLEN K", "TYPE K", "PTTL K", "OBJECT ENCODING K",
		"ONCE OPEN p", "ONCE OPEN q TTL 1", "ONCE p E N INCR K", "ONCE p E N SET K D GET", "ONCE q 1 N MSET K 1 K 2", "ONCE p 1 N INCREX K BYFLOAT 1", "ONCE INFO p",
	}
	streamNumbers = []string{
		"1", "1", "1", "-1", "2", "0", "4611686018427387904", "9223372036854775807", "9223372036854775806", "-9223372036854775808",
		"-9223372036854775807", "x", "9223372036854775808",
	}
)

// stream makes random actions. pick draws a number in [0, n).
type stream struct {
	pick func(n int, what string) int
	keys int
	incr int // percentage of actions that are just INCR
}

func (s *stream) fill(line string) string {
	list := strings.Fields(line)
	for i, word := range list {
		switch word {
		case "K":
			list[i] = "key" + strconv.Itoa(s.pick(s.keys, "key"))
		case "D":
			list[i] = streamNumbers[s.pick(len(streamNumbers), "number")]
		case "T":
			list[i] = strconv.Itoa(1 + s.pick(9, "ms"))
		case "E":
			list[i] = strconv.Itoa(1 + s.pick(3, "epoch"))
		case "N":
			list[i] = strconv.Itoa(1 + s.pick(90, "once"))
		}
	}
	return strings.Join(list, " ")
}

func (s *stream) action(o As, stamp int64, nested bool) action {
	a := action{as: o}
	if s.incr > 0 && s.pick(100, "incr") < s.incr {
		a.line = s.fill("INCR K")
		return a
	}
	kind := s.pick(len(streamLines)+3, "line")
	switch {
	case kind < len(streamLines):
		a.line = s.fill(streamLines[kind])
	case kind == len(streamLines) || nested:
		a.line, a.literal = "+PONG\r\n", true
	default:
		if s.pick(2, "watch") == 0 {
			a.deadline = stamp + int64(s.pick(4, "deadline")-1)
		}
		a.txn = []action{}
		for range s.pick(5, "length") {
			inner := o
			inner.DB = s.pick(2, "db")
			a.txn = append(a.txn, s.action(inner, stamp, true))
		}
	}
	return a
}

// batch makes the submissions of one batch.
func (s *stream) batch(stamp int64, submissions, actions int) [][]action {
	list := make([][]action, 1+s.pick(submissions, "submissions"))
	for i := range list {
		o := As{DB: s.pick(2, "db"), RESP: 2 + s.pick(2, "resp")}
		for range s.pick(actions, "actions") {
			o.Silent = s.pick(6, "silent") == 0
			list[i] = append(list[i], s.action(o, stamp, false))
		}
	}
	return list
}

// TestBatchesEqualSingleCommands is the promise of the batch: however commands are cut into submissions and batches,
// every client is told what it would have been told had they run one by one, and replicas agree.
func TestBatchesEqualSingleCommands(t *testing.T) {
	table := commands.NewTable()
	rapid.Check(t, func(rt *rapid.T) {
		s := &stream{keys: 3, pick: func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(rt, what) }}
		o := newTrio(t, table)
		defer o.close()
		o.batch.recentOf = rapid.SampledFrom([]uint32{2, math.MaxUint32 - 3}).Draw(rt, "generation")
		for range s.pick(5, "batches") {
			o.step(rt, s.batch(o.stamp, 4, 8))
			o.stamp += int64(s.pick(5, "passed"))
		}
	})
}

// TestLongBatches repeats that with long runs, more keys than the batch remembers, and many batches.
func TestLongBatches(t *testing.T) {
	table := commands.NewTable()
	for _, c := range []struct{ keys, incr int }{{3, 90}, {40, 50}, {3 * recentRuns, 97}} {
		random := rand.New(rand.NewPCG(1, uint64(c.keys)))
		s := &stream{keys: c.keys, incr: c.incr, pick: func(n int, _ string) int { return random.IntN(n) }}
		o := newTrio(t, table)
		for range 6 {
			o.step(t, s.batch(o.stamp, 10, 300))
			o.stamp += 3
		}
		o.close()
	}
}

// TestLargeKeyspace repeats that with so much data that operations are fetched ahead of their execution.
func TestLargeKeyspace(t *testing.T) {
	table := commands.NewTable()
	random := rand.New(rand.NewPCG(2, 1))
	s := &stream{keys: 40, incr: 20, pick: func(n int, _ string) int { return random.IntN(n) }}
	o := newTrio(t, table)
	defer o.close()
	value := bytes.Repeat([]byte("v"), 1<<20)
	for range 6 {
		for _, g := range []*rig{o.single, o.batched, o.replayed, o.forwarded} {
			for _, key := range []string{"large 1", "large 2", "large 3"} {
				g.ks.LockPart(engine.Part([]byte(key)))
				g.ks.Txn(2, o.stamp, false).Set([]byte(key), value, 0)
				g.ks.UnlockPart(engine.Part([]byte(key)))
			}
			if !g.ks.WorthWarming() {
				t.Fatal("not large enough to be fetched ahead")
			}
		}
		o.step(t, s.batch(o.stamp, 10, 300))
		o.stamp += 3
	}
}
