package server

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/config"
	"quipu/engine"
	"quipu/internal/redistest"
	"quipu/replica"
)

// follower builds a copy of the counters of a database from FEED, as a program would.
type follower struct {
	t      testing.TB
	cursor string
	stamp  int64
	gaps   int
	rows   map[string]feedRow
}

type feedRow struct {
	kind, value     string
	deadline, index int64
}

func (f *follower) do(c *redistest.Conn, args ...string) redistest.Reply {
	f.t.Helper()
	r, err := c.Do(args...)
	if err != nil {
		f.t.Fatalf("%v: %v", args, err)
	}
	return r
}

// read reads one page, or everything if there is a gap, and returns the number of rows.
func (f *follower) read(c *redistest.Conn, options ...string) int {
	f.t.Helper()
	if f.cursor == "" {
		f.sweep(c)
	}
	r := f.do(c, append([]string{"FEED", "READ", f.cursor}, options...)...)
	if r.IsError() && strings.HasPrefix(r.Text, "GAP ") {
		f.gaps++
		return f.sweep(c)
	}
	if r.IsError() {
		f.t.Fatalf("FEED READ %s: %s", f.cursor, r)
	}
	f.cursor = r.Elems[0].Text
	f.advance(r.Elems[1])
	f.take(r.Elems[2].Elems)
	return len(r.Elems[2].Elems)
}

func (f *follower) advance(stamp redistest.Reply) {
	n, err := stamp.Int()
	if err != nil {
		f.t.Fatal(err)
	}
	f.stamp = max(f.stamp, n)
}

func (f *follower) sweep(c *redistest.Conn) (n int) {
	f.t.Helper()
	first := ""
	for position := "0"; position != "0" || first == ""; {
		r := f.do(c, "FEED", "SNAPSHOT", position, "COUNT", "100")
		if r.IsError() {
			f.t.Fatal(r)
		}
		if first == "" {
			first = r.Elems[1].Text
			f.advance(r.Elems[2])
		}
		position = r.Elems[0].Text
		n += len(r.Elems[3].Elems)
		f.take(r.Elems[3].Elems)
	}
	for key, row := range f.rows {
		if row.index < f.index(first) {
			delete(f.rows, key)
		}
	}
	f.cursor = first
	return n
}

func (f *follower) take(rows []redistest.Reply) {
	for _, r := range rows {
		row := feedRow{kind: r.Elems[1].Text, value: r.Elems[2].Text}
		row.deadline, _ = r.Elems[3].Int()
		row.index, _ = r.Elems[4].Int()
		if row.kind == "flush" {
			for key, was := range f.rows {
				if was.index <= row.index {
					delete(f.rows, key)
				}
			}
			continue
		}
		key := r.Elems[0].Text
		was, ok := f.rows[key]
		if ok && was.index == row.index && was != row {
			f.t.Errorf("%s is %+v and %+v", key, was, row)
		}
		if !ok || was.index < row.index {
			f.rows[key] = row
		}
	}
}

func (f *follower) index(cursor string) int64 {
	_, at, _ := strings.Cut(cursor, ":")
	at, _, _ = strings.Cut(at, "/")
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// counter is what the reader holds a counter for.
func (f *follower) counter(key string) string {
	row, ok := f.rows[key]
	if !ok || row.kind != "counter" || row.deadline != 0 && row.deadline <= f.stamp {
		return "none"
	}
	return row.value
}

func newFollower(t testing.TB) *follower { return &follower{t: t, rows: map[string]feedRow{}} }

// TestFeed: rows of all kinds, options, and what is refused.
func TestFeed(t *testing.T) {
	n := startNode(t, nil)
	c := n.dial()
	f := newFollower(t)
	f.read(c)
	expect(t, c, "SET a 5", "+OK\r\n", "SET text hello", "+OK\r\n", "SET long "+strings.Repeat("x", 65), "+OK\r\n", "PFADD hll a b c", ":1\r\n", "TOPK.RESERVE top 3", "+OK\r\n",
		"CMS.INITBYDIM cms 100 3", "+OK\r\n", "CMS.INCRBY cms x 4", "*1\r\n:4\r\n", "UC.ADD uc a b", ":1\r\n", "SET gone 1", "+OK\r\n", "DEL gone", ":1\r\n", "SET due 7 EX 100", "+OK\r\n",
		"SELECT 2", "+OK\r\n", "SET elsewhere 1", "+OK\r\n", "SELECT 0", "+OK\r\n")
	f.read(c)
	for key, want := range map[string]feedRow{
		"a": {kind: "counter", value: "5"}, "text": {kind: "string", value: "hello"}, "long": {kind: "string"}, "hll": {kind: "hll", value: "3"},
		"top": {kind: "topk"}, "cms": {kind: "cms", value: "4"}, "uc": {kind: "uc", value: "2"}, "gone": {kind: "none"}, "due": {kind: "counter", value: "7"},
	} {
		got := f.rows[key]
		if got.index == 0 || (key == "due") != (got.deadline > time.Now().UnixMilli()) {
			t.Errorf("%s: %+v", key, got)
		}
		if want.value == "" {
			got.value = ""
		}
		if got.kind != want.kind || got.value != want.value {
			t.Errorf("%s is %+v, want %+v", key, got, want)
		}
	}
	if _, there := f.rows["elsewhere"]; there {
		t.Error("a key of another database")
	}
	if rows := f.read(c); rows != 0 {
		t.Errorf("%d rows though nothing has changed", rows)
	}
	expect(t, c, "MSET x1 1 x2 2 y1 3", "+OK\r\n")
	if rows := f.read(c, "MATCH", "x*", "COUNT", "1"); rows != 1 {
		t.Errorf("%d rows of at most 1", rows)
	}
	if rows := f.read(c, "MATCH", "x*"); rows != 1 || f.counter("x1") != "1" || f.counter("x2") != "2" || f.counter("y1") != "none" {
		t.Errorf("%d rows: %v", rows, f.rows)
	}
	expect(t, c, "FLUSHALL", "+OK\r\n", "SET a 1", "+OK\r\n")
	f.read(c)
	if f.counter("a") != "1" || f.counter("due") != "none" || len(f.rows) > 20 {
		t.Errorf("after FLUSHALL: %v", f.rows)
	}
	for command, want := range map[string]string{
		"FEED READ 5":                          "-ERR a cursor",
		"FEED READ x:5":                        "-INCARNATION ",
		"FEED READ " + f.cursor + " COUNT 0":   "-ERR",
		"FEED READ " + f.cursor + " BLOCK -1":  "-ERR",
		"FEED READ " + f.cursor + " BLOCK":     "-ERR syntax",
		"FEED SNAPSHOT 0 BLOCK 5":              "-ERR syntax",
		"FEED SNAPSHOT x":                      "-ERR a position",
		"FEED INFO x":                          "-ERR a cursor",
		"FEED INFO " + f.cursor:                "*16\r\n",
		"FEED READ " + f.cursor + " BLOCK 1":   "*3\r\n",
		"FEED READ $":                          "*3\r\n",
		"FEED READ " + f.cursor + "/0zz":       "*3\r\n",
		"FEED READ " + f.cursor + "99":         "*3\r\n", // this node may be behind another one
		"FEED READ " + f.cursor + " MATCH [a-": "*3\r\n",
	} {
		if got := call(t, c, command); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %.100q, want %q", command, got, want)
		}
	}
	expect(t, c, "MULTI", "+OK\r\n")
	if got := call(t, c, "FEED INFO"); !strings.HasPrefix(got, "-ERR") {
		t.Errorf("in MULTI: %q", got)
	}
}

// TestFeedBlock: a reader that waits gets what changes, and only what it asks for; it can be woken, and leave.
func TestFeedBlock(t *testing.T) {
	n := startNode(t, nil)
	c, w := n.dial(), n.dial()
	f := newFollower(t)
	f.read(c)
	blocked := func(want string) {
		t.Helper()
		eventually(t, want+" blocked clients", func() bool { return strings.Contains(call(t, w, "INFO clients"), "blocked_clients:"+want+"\r\n") })
	}
	for i := range 20 {
		if err := c.SendCommand("FEED", "READ", f.cursor, "BLOCK", "20000", "MATCH", "x*"); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			blocked("1")
		}
		expect(t, w, fmt.Sprintf("INCR y%d", i), ":1\r\n", "INCR x", fmt.Sprintf(":%d\r\n", i+1))
		r, err := c.Read()
		if err != nil || r.IsError() || len(r.Elems[2].Elems) != 1 || r.Elems[2].Elems[0].Elems[0].Text != "x" {
			t.Fatalf("%v, %v", r, err)
		}
		f.cursor = r.Elems[0].Text
	}
	before := f.index(f.cursor)
	expect(t, w, "INCR y", ":1\r\n")
	if rows := f.read(c, "BLOCK", "50", "MATCH", "x*"); rows != 0 || f.index(f.cursor) <= before || f.stamp == 0 {
		t.Errorf("%d rows when the time is over; cursor %s after %d, stamp %d", rows, f.cursor, before, f.stamp)
	}
	id := strings.TrimSpace(strings.TrimPrefix(call(t, c, "CLIENT ID"), ":"))
	c.SendCommand("FEED", "READ", f.cursor, "BLOCK", "20000")
	blocked("1")
	expect(t, w, "CLIENT UNBLOCK "+id, ":1\r\n")
	if r, err := c.Read(); err != nil || len(r.Elems) != 3 {
		t.Fatalf("%v, %v", r, err)
	}
	c.SendCommand("FEED", "READ", f.cursor, "BLOCK", "20000")
	blocked("1")
	c.Close()
	blocked("0")
}

// TestFeedRestart: a cursor is good after a restart; whoever is too far behind is told.
func TestFeedRestart(t *testing.T) {
	var cfg config.Config
	n := startNode(t, func(c *config.Config) { c.FeedRing = 1; cfg = *c })
	c := n.dial()
	f := newFollower(t)
	expect(t, c, "SET a 1", "+OK\r\n")
	f.read(c)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = n.srv.config().Dir
	n = startNode(t, func(c *config.Config) { *c = cfg })
	c = n.dial()
	expect(t, c, "INCR a", ":2\r\n", "SET b 3", "+OK\r\n")
	f.read(c)
	if f.gaps != 0 || f.counter("a") != "2" || f.counter("b") != "3" {
		t.Errorf("%d gaps, %v", f.gaps, f.rows)
	}
	var lines strings.Builder
	for i := range 120_000 { // more than the ring takes: 1 MiB
		fmt.Fprintf(&lines, "SET key:%d %d\r\n", i, i)
	}
	if err := c.Send([]byte(lines.String())); err != nil {
		t.Fatal(err)
	}
	for range 120_000 {
		readRaw(t, c)
	}
	for f.read(c) > 0 {
	}
	if f.gaps != 1 || f.counter("key:119999") != "119999" || f.counter("key:0") != "0" || f.counter("b") != "3" {
		t.Errorf("%d gaps, %d rows", f.gaps, len(f.rows))
	}
}

// TestFeedNodes: readers go from node to node while the leader changes and a node is restarted, and have in the end what the nodes have.
func TestFeedNodes(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	var busy sync.WaitGroup
	stop := make(chan struct{})
	for w := range 2 {
		conn := c.nodes[(c.leader()+1)%3].dial()
		busy.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// Errors of an election are no matter: readers are compared with the nodes.
				if _, err := conn.Do("INCRBY", fmt.Sprintf("k%d", i%300), strconv.Itoa(i+w)); err != nil {
					return
				}
				if i%7 == 0 {
					conn.Do("EXPIRE", fmt.Sprintf("k%d", i%100), "1")
				}
				if i%11 == 0 {
					conn.Do("DEL", fmt.Sprintf("k%d", i%300))
				}
			}
		})
	}
	f := newFollower(t)
	for round := range redistest.Size(20, 60, 200) {
		at := round % 3
		if round%25 == 24 {
			c.stop(at)
			c.start(at)
		}
		conn := c.nodes[at].dial()
		f.read(conn, "COUNT", strconv.Itoa(1+round*7%100))
		f.read(conn, "COUNT", "50", "BLOCK", "20")
		if round%10 == 9 {
			if got := call(t, c.nodes[(c.leader()+1)%3].dial(), "CLUSTER FAILOVER"); got != "+OK\r\n" {
				t.Log(got) // the leader has just changed
			}
		}
		conn.Close()
	}
	close(stop)
	busy.Wait()
	eventually(t, "what expires to have expired", func() bool {
		for f.read(c.nodes[0].dial()) > 0 {
		}
		conn := c.nodes[c.leader()].dial()
		for i := range 300 {
			key := fmt.Sprintf("k%d", i)
			want := strings.Trim(strings.TrimPrefix(call(t, conn, "GET "+key), "$"), "\r\n")
			if _, value, ok := strings.Cut(want, "\r\n"); ok {
				want = value
			} else {
				want = "none"
			}
			if f.counter(key) != want {
				return false
			}
		}
		return true
	})
}

// TestFeedRestored: a snapshot from the leader changes keys without telling which: every cursor of before is a gap.
func TestFeedRestored(t *testing.T) {
	n, g, machine := startRestorable(t, nil)
	c := n.dial()
	expect(t, c, "SET a 1", "+OK\r\n")
	var state bytes.Buffer
	captured := machine.Capture()
	if err := captured.Persist(&state); err != nil {
		t.Fatal(err)
	}
	captured.Release()
	f := newFollower(t)
	expect(t, c, "SET a 2", "+OK\r\n")
	f.read(c)
	g.hold()
	if err := machine.Restore(bytes.NewReader(state.Bytes()), int64(state.Len()), uint64(f.index(f.cursor))+1, n.srv.replicas[0].Stamp()); err != nil {
		t.Fatal(err)
	}
	g.release()
	f.read(c)
	if f.gaps != 1 || f.counter("a") != "1" {
		t.Errorf("%d gaps, %v", f.gaps, f.rows)
	}
}

// TestFeedPace: how long a reader is left alone when it has everything.
func TestFeedPace(t *testing.T) {
	for _, c := range []struct{ took, want time.Duration }{
		{time.Microsecond, feedRestMin},
		{time.Millisecond, 50 * time.Millisecond},
		{time.Second, feedRestMax}, // the machine was busy
	} {
		var p feedPace
		p.page(c.took/2, false)
		if !p.until.IsZero() {
			t.Error("it rests between two pages")
		}
		p.page(c.took-c.took/2, true)
		if got := time.Until(p.until); got > c.want || got < c.want-time.Second/4 {
			t.Errorf("%v: it rests for %v, not %v", c.took, got, c.want)
		}
	}
	for _, c := range []struct {
		rows int64
		ago  time.Duration
		want bool
	}{
		{25_000, feedRestMax, false}, // 50,000 rows a second, as ever
		{feedFree + feedRate/2, time.Second / 2, false},
		{feedFree + feedRate/2 + 1, time.Second / 2, true},
		{1_000_000, 20 * time.Second, true},
		{1_000_000, 24 * time.Second, false},
		{1 << 40, feedRestLong, false},
		{-1, 0, false}, // a gap
	} {
		if got := tooMany(c.rows, c.ago); got != c.want {
			t.Errorf("%d rows in %v: %v", c.rows, c.ago, got)
		}
	}
}

// TestFeedRestEnds: a reader that rests is left alone also when its BLOCK is over, but not while its rows take too much of the ring.
func TestFeedRestEnds(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.FeedRing = 1 << 20 })
	c, other := n.dial(), n.dial()
	f := newFollower(t)
	f.read(c, "BLOCK", "1")
	s := n.session(c)
	until := make(chan struct{})
	s.worker.loop.Post(func() { s.feed.until = time.Now().Add(time.Hour); close(until) })
	<-until
	expect(t, other, "INCR a", ":1\r\n")
	if rows := f.read(c, "BLOCK", "20"); rows != 0 {
		t.Errorf("%d rows while it rests", rows)
	}
	key := strings.Repeat("k", 1000)
	for i := range 600 {
		expect(t, other, fmt.Sprint("INCR ", key, i), ":1\r\n")
	}
	if rows := f.read(c, "BLOCK", "60000"); rows == 0 {
		t.Error("no rows although the ring fills")
	}
}

// TestFeedCalm: rows of many keys that were loaded are given once the load is over, also where the rate does not allow them yet.
func TestFeedCalm(t *testing.T) {
	n := startNode(t, nil)
	c, other := n.dial(), n.dial()
	f := newFollower(t)
	f.read(c, "BLOCK", "1")
	s, set := n.session(c), make(chan struct{})
	s.worker.loop.Post(func() { s.feed.since = time.Now().Add(time.Hour); close(set) }) // the rate never does
	<-set
	args := []string{"MSET"}
	for i := range 1000 {
		args = append(args, fmt.Sprint("k", i), "1")
	}
	checkReply(t, "MSET", callArgs(t, other, args...), "+OK\r\n")
	if rows := f.read(c, "BLOCK", "20"); rows != 0 {
		t.Errorf("%d rows at once", rows)
	}
	if rows := f.read(c, "BLOCK", "60000"); rows != 1000 {
		t.Errorf("%d rows", rows)
	}
}

// TestFeedNotCalm: while keys are counted that all have a row, there are no more rows, and yet it is not calm.
func TestFeedNotCalm(t *testing.T) {
	ks := engine.New(engine.Config{Databases: 1, Seed: 1})
	defer ks.Close()
	feed := ks.OpenFeed(1<<20, 1)
	r := feedReader{r: &replica.Replica{Feed: feed}}
	r.at.Store(&feedAt{})
	now := time.Now()
	for i, c := range []struct {
		bytes int // of an entry since
		calm  bool
	}{{100, false}, {0, true}, {feedCalmLog, true}, {feedCalmLog + 1, false}, {0, true}} {
		if c.bytes > 0 {
			feed.Begin(uint64(i + 1))
			feed.End(1, c.bytes)
		}
		now = now.Add(feedLook)
		if got := r.calm(now); got != c.calm {
			t.Errorf("step %d, %d bytes: %v", i, c.bytes, got)
		}
	}
}

// TestFeedBudget: what all readers together may spend, and all streams.
func TestFeedBudget(t *testing.T) {
	for _, b := range []*feedBudget{readerBudget(), streamBudget()} {
		testFeedBudget(t, b)
	}
}

func testFeedBudget(t *testing.T, b *feedBudget) {
	now := time.Unix(1000, 0)
	spend := func(took time.Duration, rows int) time.Duration {
		b.spend(now, took, rows)
		return b.rest(now)
	}
	if rest := spend(b.burst, 1<<30); rest != 0 {
		t.Errorf("after the first burst they wait for %v", rest)
	}
	if rest := spend(time.Second, 1<<30); rest != b.share*time.Second {
		t.Errorf("a second too much is a wait of %v", rest)
	}
	if rest := spend(time.Minute, 1); rest > b.share*(time.Second+time.Millisecond) {
		t.Errorf("a row on a busy machine is a wait of %v", rest)
	}
	now = now.Add(b.share*time.Second + time.Second)
	if rest := b.rest(now); rest != 0 {
		t.Errorf("later they wait for %v", rest)
	}
	if rest := spend(time.Hour, 1<<40); rest != feedRestLong {
		t.Errorf("the longest wait is %v", rest)
	}
	gone := make(chan struct{})
	close(gone)
	for range cap(b.turns) {
		b.turns <- struct{}{}
	}
	if b.turn(gone) != nil {
		t.Error("one that is gone has a turn")
	}
}
