package exec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"quipu/commands"
	"quipu/engine"
)

var (
	plain  = As{RESP: 2}
	silent = As{RESP: 2, Silent: true}
	resp3  = As{RESP: 3}
)

// lines are actions of a client that speaks RESP2, one for each line.
func lines(list ...string) (actions []action) {
	for _, line := range list {
		actions = append(actions, action{as: plain, line: line})
	}
	return actions
}

func txnOf(deadline int64, list ...string) action {
	return action{as: plain, deadline: deadline, txn: append([]action{}, lines(list...)...)}
}

// gather puts the actions into one submission of an empty batch.
func gather(tb testing.TB, b *SubBatch, actions ...action) *Submission {
	b.Begin(nil, 0)
	for _, a := range actions {
		add(tb, b, a)
	}
	b.End()
	return &b.Submissions()[len(b.Submissions())-1]
}

// TestPayloadFormat pins the bytes of each operation: logs on disk hold them.
func TestPayloadFormat(t *testing.T) {
	table := commands.NewTable()
	far := action{as: As{DB: 300, RESP: 2}, line: "DECRBY k 2"}
	for _, c := range []struct {
		name    string
		actions []action
		want    string
	}{
		{"run", lines("INCR k"), "01 00 02 01000000 01 6b"},
		{"run of three", lines("INCR k", "INCRBY k 1", "INCR k"), "01 00 02 03000000 01 6b"},
		{"run elsewhere", []action{far}, "01 ac02 03 01000000 01 6b"},
		{"largest delta", lines("INCRBY k 9223372036854775807"), "01 00 feffffffffffffffff01 01000000 01 6b"},
		{"command", lines("SET k abc"), "02 00 0c 02 01 6b 03 616263"},
		{"no arguments", lines("FLUSHALL"), "02 00 1d 00"},
		{"increment of no number", lines("INCRBY k x"), "02 00 02 02 01 6b 01 78"},
		{"empty argument", lines(`SET "" ""`), "02 00 0c 02 00 00"},
		{"reads are left out", lines("GET k", "DBSIZE"), ""},
		{
			"transaction", []action{txnOf(0x1122334455, "INCR k", "GET k", "DEL k")},
			"03 5544332211000000 0c000000 02 00 01 01 01 6b 02 00 17 01 01 6b",
		},
		{"transaction of reads", []action{txnOf(77, "GET k", "DBSIZE")}, ""},
	} {
		b := NewSubBatch(table)
		gather(t, b, c.actions...)
		if got := hex.EncodeToString(b.ops); got != strings.ReplaceAll(c.want, " ", "") {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestPayloadRoundTrip decodes what was encoded.
func TestPayloadRoundTrip(t *testing.T) {
	b := NewSubBatch(commands.NewTable())
	long := strings.Repeat("x", 300)
	gather(t, b, append(lines("INCRBY k -5", "INCRBY k -5", "MSET a 1 b "+long), txnOf(99, "SET c 2 PX 5"))...)
	d := decoder{table: b.table, databases: 1, rest: b.ops}
	var got []string
	var o op
	for {
		more, err := d.next(&o)
		if err != nil {
			t.Fatal(err)
		}
		if !more && d.scope == scopeEntry {
			break
		}
		switch {
		case !more:
			d.scope, d.rest = scopeEntry, nil
		case o.code == opRun:
			got = append(got, fmt.Sprintf("run %d %s %d×%d", o.db, o.key, o.count, o.delta))
		case o.code == opCommand:
			got = append(got, fmt.Sprintf("command %d %s", o.db, bytes.Join(o.args, []byte(" "))))
		case o.code == opTxn:
			got = append(got, fmt.Sprintf("transaction until %d", o.deadline))
			d.scope, d.rest = scopeTxn, o.body
		}
	}
	want := []string{"run 0 k 2×-5", "command 0 mset a 1 b " + long, "transaction until 99", "command 0 set c 2 PX 5"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMalformedPayloads(t *testing.T) {
	table := commands.NewTable()
	for _, c := range []struct{ name, payload string }{
		{"unknown operation", "05"}, {"operation 0", "00"}, {"operation 255", "ff"},
		{"run of nothing", "01 00 02 00000000 01 6b"},
		{"run in a database there is not", "01 03 02 01000000 01 6b"},
		{"database beyond 64 bits", "01 ffffffffffffffffffff01 02 01000000 01 6b"},
		{"delta beyond 64 bits", "01 00 ffffffffffffffffff7f 01000000 01 6b"},
		{"key longer than the payload", "01 00 02 01000000 02 6b"},
		{"key of 2^63 bytes", "01 00 02 01000000 80808080808080808001 6b"},
		{"key longer than any may be", "01 00 02 01000000 818004" + strings.Repeat("6b", engine.MaxKey+1)},
		{"key of a command longer than any may be", "02 00 0c 02 818004" + strings.Repeat("6b", engine.MaxKey+1) + "01 31"},
		{"command in a database there is not", "02 03 0c 02 01 6b 01 31"},
		{"command number 0", "02 00 00 00"},
		{"number of a command there is not", "02 00 e707 00"},
		{"command number beyond 16 bits", "02 00 81808004 01 01 6b"},
		{"too few arguments", "02 00 0c 01 01 6b"},
		{"too many arguments", "02 00 01 02 01 6b 01 6b"},
		{"2^63 arguments", "02 00 17 80808080808080808001 01 6b"},
		{"2^64-1 arguments", "02 00 17 ffffffffffffffffff01 01 6b"},
		{"more arguments than bytes", "02 00 17 05 01 6b"},
		{"argument longer than the payload", "02 00 17 01 7f 6b"},
		{"transaction longer than the payload", "03 0000000000000000 06000000 02 00 17 01 01"},
		{"transaction of 4 GiB", "03 0000000000000000 ffffffff"},
		{"transaction that cuts a command", "03 0000000000000000 05000000 02 00 17 01 01 6b"},
		{"run inside of a transaction", "03 0000000000000000 09000000 01 00 02 01000000 01 6b"},
		{"transaction inside of a transaction", "03 0000000000000000 0d000000 03 0000000000000000 00000000"},
		{"malformed transaction that is skipped", "03 0100000000000000 01000000 04"},
	} {
		payload, err := hex.DecodeString(strings.ReplaceAll(c.payload, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		g := newRig(t, table)
		allocs := testing.AllocsPerRun(1, func() { err = g.r.Replay(payload, startOfLogTime) })
		if !errors.Is(err, errPayload) || allocs > 20 || cap(g.r.args) > 8 {
			t.Errorf("%s: %v, %v allocations, room for %d arguments", c.name, err, allocs, cap(g.r.args))
		}
		g.close()
	}
}

// TestTruncatedPayloads cuts a payload at every byte: only a cut between two operations can go unnoticed.
func TestTruncatedPayloads(t *testing.T) {
	b := NewSubBatch(commands.NewTable())
	whole := map[int]bool{0: true}
	for _, a := range append(lines("INCRBY key 300", "SET k 1", "FLUSHDB"), txnOf(77, "INCR k", "DEL k")) {
		gather(t, b, a)
		whole[len(b.ops)] = true
	}
	for n := range b.ops {
		g := newRig(t, b.table)
		err := g.r.Replay(b.ops[:n], startOfLogTime)
		if (err == nil) != whole[n] || err != nil && !errors.Is(err, errPayload) {
			t.Errorf("first %d bytes: %v", n, err)
		}
		if err := apply(b, g.r, b.ops[:n], startOfLogTime); !errors.Is(err, errPayload) {
			t.Errorf("Apply of the first %d bytes: %v", n, err)
		}
		g.close()
	}
	g := newRig(t, b.table)
	defer g.close()
	if err := apply(b, g.r, append(bytes.Clone(b.ops), b.ops...), startOfLogTime); !errors.Is(err, errPayload) {
		t.Errorf("Apply of a payload that goes on: %v", err)
	}
}

// TestRuns tells which increments share an operation, and what each replies.
func TestRuns(t *testing.T) {
	for place := func(key string) uint64 { return maphash.String(runSeed, key) % recentRuns }; place("k") == place("j") || place("k") == place("other"); {
		runSeed = maphash.MakeSeed() // keys that share a place in recent end each other's runs
	}
	elsewhere := action{as: As{DB: 1, RESP: 2}, line: "INCR k"}
	for _, c := range []struct {
		name    string
		actions []action
		runs    string // counts
		replies string
	}{
		{"one key", lines("INCR k", "INCR k", "INCR k"), "3", ":1 :2 :3"},
		{"two keys", lines("INCR k", "INCR j", "INCR k", "INCR j"), "2 2", ":1 :1 :2 :2"},
		{"two deltas", lines("INCR k", "DECR k", "INCR k"), "1 1 1", ":1 :0 :1"},
		{"one delta by two names", lines("INCR k", "INCRBY k 1", "DECRBY k -1"), "3", ":1 :2 :3"},
		{"two databases", []action{lines("INCR k")[0], elsewhere, lines("INCR k")[0]}, "1 1 1", ":1 :1 :2"},
		{"read of the key", lines("INCR k", "GET k", "INCR k"), "1 1", ":1 $1 1 :2"},
		{"read of another key", lines("INCR k", "GET other", "INCR k"), "2", ":1 $-1 :2"},
		{"write of the key", lines("INCR k", "DEL j k", "INCR k"), "1 1", ":1 :1 :1"},
		{"command that reads it", lines("INCR k", "COPY k j", "INCR k"), "1 1", ":1 :1 :2"},
		{"command that fails", lines("INCR k", "INCRBY k x", "INCR k"), "1 1", ":1 -ERR value is not an integer or out of range :2"},
		{"no keys", lines("INCR k", "DBSIZE", "INCR k"), "1 1", ":1 :1 :2"},
		{"flush", lines("INCR k", "FLUSHALL", "INCR k"), "1 1", ":1 +OK :1"},
		{"literal", []action{lines("INCR k")[0], {line: "+PONG\r\n", literal: true}, lines("INCR k")[0]}, "2", ":1 +PONG :2"},
		{"transaction", []action{lines("INCR k")[0], txnOf(0, "INCR k"), lines("INCR k")[0]}, "1 1", ":1 *1 :2 :3"},
		{
			"overflow on the way", lines("SET k 9223372036854775805", "INCR k", "INCR k", "INCR k", "INCR k", "GET k"), "4",
			"+OK :9223372036854775806 :9223372036854775807 -ERR increment or decrement would overflow -ERR increment or decrement would overflow $19 9223372036854775807",
		},
		{
			"overflow of the sum of deltas", lines("INCRBY k -9223372036854775808", "INCRBY k -9223372036854775808"), "2",
			":-9223372036854775808 -ERR increment or decrement would overflow",
		},
		{"no number", lines("SET k x", "INCR k", "INCR k"), "2", "+OK -ERR value is not an integer or out of range -ERR value is not an integer or out of range"},
		{
			"no number, and a sum of deltas that overflows", lines("SET k x", "INCRBY k 4611686018427387904", "INCRBY k 4611686018427387904"), "2",
			"+OK -ERR value is not an integer or out of range -ERR value is not an integer or out of range",
		},
		{
			"text that is a number, and overflow on the way", lines("SETRANGE k 0 9223372036854775800", "INCRBY k 3", "INCRBY k 3", "INCRBY k 3"), "3",
			":19 :9223372036854775803 :9223372036854775806 -ERR increment or decrement would overflow",
		},
		{"silent ones between", []action{lines("INCR k")[0], {as: silent, line: "INCR k"}, {as: resp3, line: "INCR k"}}, "3", ":1 :3"},
	} {
		g := newRig(t, commands.NewTable())
		b := NewSubBatch(g.table)
		s := gather(t, b, c.actions...)
		if err := apply(b, g.r, b.ops, startOfLogTime); err != nil {
			t.Fatal(err)
		}
		var counts []string
		for _, r := range b.runs {
			counts = append(counts, fmt.Sprint(r.count))
		}
		if got := strings.Join(counts, " "); got != c.runs {
			t.Errorf("%s: runs of %s, want %s", c.name, got, c.runs)
		}
		if got := show(b.Replies(s)); got != c.replies {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.replies)
		}
		g.close()
	}
}

// TestLongestPrefix compares the prefix of a run that does not overflow with counting.
func TestLongestPrefix(t *testing.T) {
	g := newRig(t, commands.NewTable())
	defer g.close()
	for _, c := range []struct {
		start, delta int64
		count        uint32
		applied      uint32
	}{
		{0, 1, 5, 5}, {math.MaxInt64 - 3, 1, 5, 3}, {math.MaxInt64, 1, 1, 0}, {math.MaxInt64 - 3, 2, 1000, 1}, {math.MinInt64 + 10, -3, 100, 3},
		{-5, math.MaxInt64, 3, 1}, {math.MinInt64, 1 << 62, 9, 3}, {math.MaxInt64, -1 << 62, 3, 3}, {math.MaxInt64, -1 << 62, 9, 3}, {-math.MaxInt64, math.MaxInt64, 7, 2}, {math.MaxInt64, math.MinInt64, 9, 1}, {1, 0, 9, 9},
		{math.MaxInt64 - math.MaxUint32 + 1, 1, math.MaxUint32, math.MaxUint32 - 1}, {0, math.MaxInt64 / 100, math.MaxUint32, 100},
	} {
		key := []byte("k")
		g.ks.Txn(0, 1, false).SetInt(key, c.start, 0)
		before, applied, err := g.r.addRun(key, 0, 1, c.delta, c.count, false)
		v, _ := g.ks.View(0, 1, false).Get(key)
		if applied != c.applied || err != nil || applied > 0 && before != c.start || v.Int != c.start+int64(applied)*c.delta {
			t.Errorf("%d + %d×%d: applied %d to %d, %v, gave %d", c.start, c.count, c.delta, applied, before, err, v.Int)
		}
	}
}

// TestRunsAfterReset checks that a run never goes on in the batch's next life, nor after the generations wrap around.
func TestRunsAfterReset(t *testing.T) {
	b := NewSubBatch(commands.NewTable())
	for _, generation := range []uint32{1, 2, math.MaxUint32 - 2, math.MaxUint32 - 1, math.MaxUint32} {
		b.recentOf = generation
		for life := range 4 {
			gather(t, b, lines("INCR k", "INCR k", "FLUSHALL", "INCR k", "INCR k", "INCR k")...)
			if len(b.runs) != 2 || b.runs[0].count != 2 || b.runs[1].count != 3 {
				t.Fatalf("generation %d, life %d: %+v", generation, life, b.runs)
			}
			b.Reset()
			if !b.Empty() || b.Size() != 0 || len(b.Submissions()) != 0 {
				t.Fatal("not empty after Reset")
			}
		}
	}
	// An element of recent written just before the wrap must not look current when the generations come by again.
	b.recentOf = 2
	b.Increment(nil, []byte("old"), 1, plain)
	b.recentOf = math.MaxUint32
	b.endRuns()
	for i := range b.recent {
		if b.recent[i].generation >= b.recentOf {
			t.Fatalf("generation %d outlived the wrap to %d", b.recent[i].generation, b.recentOf)
		}
	}
}

func TestResetLetsGo(t *testing.T) {
	b := NewSubBatch(commands.NewTable())
	gather(t, b, append(lines("SET k abc"), txnOf(0, "INCR k"))...)
	b.subs[0].Client, b.txns[0].guard = t, &watching{}
	b.Reset()
	if b.subs[:1][0].Client != nil || b.txns[:1][0].guard != nil || !b.Empty() {
		t.Error("an idle sub-batch holds on to its clients")
	}
}

// TestTransactions covers deadlines and what EXEC replies, the same on Apply and with the state of a replay.
func TestTransactions(t *testing.T) {
	const now = startOfLogTime
	quiet := txnOf(0, "SET k 1", "GET k")
	quiet.as = silent
	null3 := txnOf(now, "INCR k")
	null3.as = resp3
	for _, c := range []struct {
		name    string
		actions []action
		want    string
	}{
		{"empty", []action{txnOf(0)}, "*0"},
		{"before its deadline", []action{txnOf(now+1, "INCR k", "GET k")}, "*2 :1 $1 1"},
		{"at its deadline", []action{txnOf(now, "INCR k"), lines("GET k")[0]}, "*-1 $-1"},
		{"after its deadline", []action{txnOf(now-1, "INCR k"), lines("INCR k")[0]}, "*-1 :1"},
		{"at its deadline in RESP3", []action{null3, lines("INCR k")[0]}, "_ :1"},
		{"reads at their deadline", []action{txnOf(now, "GET k", "DBSIZE"), lines("INCR k")[0]}, "*-1 :1"},
		{"reads before their deadline", []action{lines("INCR k")[0], txnOf(now+1, "GET k", "DBSIZE"), lines("INCR k")[0]}, ":1 *2 $1 1 :1 :2"},
		{"errors inside", []action{txnOf(0, "SET k x", "INCR k", "INCRBY k x", "SET k y")}, "*4 +OK -ERR value is not an integer or out of range -ERR value is not an integer or out of range +OK"},
		{"flush and views of everything", []action{txnOf(0, "SET k 1", "DBSIZE", "SCAN 0", "KEYS *", "FLUSHALL", "DBSIZE", "RANDOMKEY")}, "*7 +OK :1 *2 $1 0 *1 $1 k *1 $1 k +OK :0 $-1"},
		{"silent", []action{quiet, lines("GET k")[0]}, "$1 1"},
		{"two in a row", []action{txnOf(0, "INCR k"), txnOf(0, "INCR k", "INCR j")}, "*1 :1 *2 :2 :1"},
	} {
		g, other := newRig(t, commands.NewTable()), newRig(t, commands.NewTable())
		b := NewSubBatch(g.table)
		s := gather(t, b, c.actions...)
		if err := apply(b, g.r, b.ops, now); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if err := other.r.Replay(b.ops, now); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := show(b.Replies(s)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if g.ks.Checksum(now) != other.ks.Checksum(now) {
			t.Errorf("%s: the replay leads to another state", c.name)
		}
		g.close()
		other.close()
	}
}

// TestTransactionIsAtomic reads two keys of different parts while transactions keep them equal, and the whole keyspace
// while it is flushed; the test ends only if nothing blocks.
func TestTransactionIsAtomic(t *testing.T) {
	g := newRig(t, commands.NewTable())
	defer g.close()
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		r, b := NewRunner(g.ks, g.table), NewSubBatch(g.table)
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			b.Reset()
			s := gather(t, b, txnOf(0, "GET a", "GET b", "DBSIZE"))
			err := b.ReadTxn(r, startOfLogTime, nil)
			if got := strings.Fields(show(b.Replies(s))); err != nil || len(got) > 4 && (len(got) != 6 || got[2] != got[4]) {
				done <- fmt.Errorf("%v, read %q", err, got)
				return
			}
		}
	}()
	b := NewSubBatch(g.table)
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); b.Reset() {
		gather(t, b, txnOf(0, "INCR a", "DBSIZE", "INCR b"), txnOf(0, "INCR b", "INCR a"), txnOf(0, "FLUSHALL", "INCR a", "INCR b"), lines("KEYS *")[0])
		if err := apply(b, g.r, b.ops, startOfLogTime); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFail(t *testing.T) {
	quiet := txnOf(0, "INCR k")
	quiet.as = silent
	b := NewSubBatch(commands.NewTable())
	gather(t, b,
		action{as: plain, line: "INCR k"}, action{as: plain, line: "INCR k"}, action{as: silent, line: "INCR k"},
		action{as: plain, line: "SET k 1"}, action{as: plain, line: "GET k"}, action{as: silent, line: "GET k"},
		action{as: plain, line: "+PONG\r\n", literal: true}, txnOf(0, "INCR k", "GET k", "SET k 1"), txnOf(5, "GET k", "DBSIZE"), quiet)
	gather(t, b, lines("DBSIZE")...)
	b.Fail("W", "R")
	subs := b.Submissions()
	if got, want := show(b.Replies(&subs[0])), "-W -W -W -R +PONG -W -R"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := show(b.Replies(&subs[1])); got != "-R" {
		t.Errorf("the other client got %s", got)
	}
}

// TestTooManyReplies checks that a client is told nothing rather than something wrong, that writes are applied all the
// same, and that others get their replies.
func TestTooManyReplies(t *testing.T) {
	g := newRig(t, commands.NewTable())
	defer g.close()
	b := NewSubBatch(g.table)
	big := bytes.Repeat([]byte("x"), 1<<20)
	b.Begin(nil, 0)
	b.Write(g.table.Find(words(t, "SET k v")), [][]byte{nil, []byte("k"), big}, plain)
	b.End()
	var gets []string
	for range MaxReplyBytes >> 20 {
		gets = append(gets, "GET k")
	}
	inside := txnOf(0, append(append([]string{"INCR n"}, slices.Repeat(gets, 4)...), "INCR n")...)
	quiet := inside
	quiet.as = silent
	outside := append(lines("INCR n"), append(lines(gets...), lines("INCR n", "GET k")...)...)
	var mget action
	mget.as, mget.line = plain, "MGET"+strings.Repeat(" k", len(gets))
	for _, c := range []struct {
		name       string
		actions    []action
		overflowed bool
		want       string
	}{
		{"a pipeline", outside, true, ""},
		{"a transaction", []action{inside, lines("INCR n")[0]}, true, ""},
		{"a silent transaction", []action{quiet, lines("INCR j")[0]}, false, ":1"},
		{"one command", []action{mget}, false, "-ERR reply is too large"},
	} {
		gather(t, b, c.actions...)
		if err := apply(b, g.r, b.ops, startOfLogTime); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		s := &b.Submissions()[len(b.Submissions())-1]
		if got := show(b.Replies(s)); s.Overflowed != c.overflowed || got != c.want {
			t.Errorf("%s: overflowed %v, %d bytes, want %v, %q", c.name, s.Overflowed, len(got), c.overflowed, c.want)
		}
		if held := cap(b.out.B); held > 2*MaxReplyBytes {
			t.Errorf("%s: gathered %d bytes", c.name, held)
		}
		b.Reset()
	}
	s := gather(t, b, lines("GET n")...)
	if err := apply(b, g.r, b.ops, startOfLogTime); err != nil || show(b.Replies(s)) != "$1 7" {
		t.Errorf("%v, n is %s", err, show(b.Replies(s)))
	}
}

func TestTouchedKeys(t *testing.T) {
	const all = "*"
	other := action{as: As{DB: 2, RESP: 2}, line: "SET k 1"}
	for _, c := range []struct {
		actions []action
		want    string
	}{
		{nil, ""},
		{lines("GET k", "DBSIZE"), ""},
		{lines("INCR a", "INCR a", "DECR b"), "0a 0b"},
		{lines("SET a 1", "DEL b c", "MSET d 1 e 2"), "0a 0b 0c 0d 0e"},
		{lines("COPY a b", "RENAME c d"), "0b 0c 0d"},
		{lines("COPY a b REPLACE DB 1"), all},
		{[]action{other}, "2k"},
		{[]action{txnOf(0, "GET a", "INCR b", "SET c 1")}, "0b 0c"},
		{[]action{txnOf(9, "GET a")}, ""},
		{lines("INCR a", "FLUSHDB"), all},
		{[]action{txnOf(0, "FLUSHALL")}, all},
	} {
		b := NewSubBatch(commands.NewTable())
		gather(t, b, c.actions...)
		touched := newTouchedKeys(b.table, 0)
		var got []string
		for _, word := range strings.Fields("0a 0b 0c 0d 0e 0k 1a 1b 2a 2k") {
			if touched.has(b.ops, int(word[0]-'0'), []byte(word[1:])) {
				got = append(got, word)
			}
		}
		want := strings.Fields(c.want)
		if c.want == all {
			want = strings.Fields("0a 0b 0c 0d 0e 0k 1a 1b 2a 2k")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: touches %q, want %q", c.actions, got, want)
		}
	}
}

// TestRandomKeyInTransaction checks that reads inside of a transaction get a random number too.
func TestRandomKeyInTransaction(t *testing.T) {
	g := newRig(t, commands.NewTable())
	defer g.close()
	b := NewSubBatch(g.table)
	for i := range 64 {
		gather(t, b, lines(fmt.Sprintf("SET key%d 1", i))...)
	}
	s := gather(t, b, txnOf(0, slices.Repeat([]string{"RANDOMKEY"}, 20)...))
	if err := apply(b, g.r, b.ops, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	replies := strings.SplitAfter(string(b.Replies(s)), "key")
	if slices.Sort(replies); len(slices.Compact(replies)) < 5 {
		t.Errorf("always the same: %q", replies)
	}
	if g.r.call.Random != 0 {
		t.Error("a write could see a random number")
	}
}

// TestForwardSeveral: what several sub-batches of a node say with "again" is about their own runs.
func TestForwardSeveral(t *testing.T) {
	table := commands.NewTable()
	var records []byte
	var parts []*SubBatch
	for _, key := range []string{"a", "b", "a"} {
		b := NewSubBatch(table)
		gather(t, b, lines("INCR "+key, "INCR "+key, "GET "+key)...)
		records = b.AppendForward(records)
		parts = append(parts, b)
	}
	g := newRig(t, table)
	defer g.close()
	a := NewSubBatch(table)
	if err := a.Absorb(records, "node", 1, func(*commands.Command, [][]byte) {}); err != nil {
		t.Fatal(err)
	}
	if err := apply(a, g.r, bytes.Clone(a.ops), startOfLogTime); err != nil {
		t.Fatal(err)
	}
	replies, err := a.AppendReplies(nil), error(nil)
	for i, want := range []string{":1 :2 $1 2", ":1 :2 $1 2", ":3 :4 $1 4"} {
		if replies, err = parts[i].TakeReplies(replies); err != nil {
			t.Fatal(err)
		}
		if got := show(parts[i].Replies(&parts[i].Submissions()[0])); got != want {
			t.Errorf("sub-batch %d: %s, want %s", i, got, want)
		}
	}
	if len(replies) > 0 {
		t.Errorf("%q is left", replies)
	}
}

// TestForwardIsBounded: few bytes of another node cannot ask for much memory.
func TestForwardIsBounded(t *testing.T) {
	table := commands.NewTable()
	b := NewSubBatch(table)
	key := strings.Repeat("k", 60000)
	gather(t, b, lines("INCR "+key)...)
	records := b.AppendForward(nil)
	for range 10_000 {
		records = append(records, recRead, 0, 0, 1, 6)
		records = append(records, "dbsize"...)
		records = append(records, recAgain, 0, 0)
	}
	for name, records := range map[string][]byte{"runs": records, "submissions": bytes.Repeat([]byte{recSubmission}, 1<<20)} {
		a := NewSubBatch(table)
		if err := a.Absorb(records, "node", 1, func(*commands.Command, [][]byte) {}); err == nil || a.Footprint() > 4*maxAbsorbed {
			t.Errorf("%s: %d bytes became %d, %v", name, len(records), a.Footprint(), err)
		}
	}
}
