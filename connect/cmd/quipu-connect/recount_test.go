package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/app"
	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/files"
	"quipu/connect/internal/testbed"
)

// stream writes transactions, every fifth of which is aborted, until it is stopped; then it says how often each key is committed.
func stream(t *testing.T, broker *testbed.Broker) (stop func() map[string]int64) {
	producer := broker.Client(t, kgo.TransactionalID("stream"), kgo.DefaultProduceTopic("likes"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	counts, quit, done := map[string]int64{}, make(chan struct{}), make(chan error, 1)
	one := func(i int) error {
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
		commit := i%5 != 4
		records := make([]*kgo.Record, 100)
		for j := range records {
			key := fmt.Sprintf("n:k%d", (i*7+j)%60)
			if commit {
				counts[key]++
			}
			records[j] = &kgo.Record{Value: fmt.Appendf(nil, `{"k":%q}`, key[2:])}
		}
		if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			return err
		}
		return producer.EndTransaction(t.Context(), kgo.TransactionEndTry(commit))
	}
	go func() {
		for i := 0; ; i++ {
			select {
			case <-quit:
				done <- nil
				return
			default:
			}
			if err := one(i); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() map[string]int64 {
		close(quit)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return counts
	}
}

func TestRecountRunning(t *testing.T) { testRecountRunning(t, testbed.StartKfake(t)) }

// TestRecountKafka is TestRecountRunning with the real broker.
func TestRecountKafka(t *testing.T) { testRecountRunning(t, testbed.StartKafka(t)) }

// testRecountRunning: while a producer and a connector go on, a recount finds nothing; and exactly what somebody doubled, lost, or made up.
func testRecountRunning(t *testing.T, broker *testbed.Broker) {
	b := &bed{T: t, broker: broker, server: testbed.StartQuipu(t, 1), conf: filepath.Join(t.TempDir(), "likes.conf")}
	broker.CreateTopic(t, "likes", 4)
	b.configure("")
	stop := stream(t, broker)
	testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "run", b.conf)
	c := b.server.Client(0)
	b.atLeast("n:k59", 20)
	for _, args := range [][]string{{}, {"-batch", "7"}, {"-passes", "3", "-batch", "7"}} {
		expectRecount(t, 0, []string{"keys compared 60", "keys differing 0"}, append([]string{b.conf, "likes"}, args...)...)
	}
	for _, change := range []struct {
		key string
		by  int64
	}{{"n:k3", 7}, {"n:k5", -4}, {"n:ghost", 12}, {"n:k8", 1}} {
		if err := c.IncrBy(t.Context(), change.key, change.by).Err(); err != nil {
			t.Fatal(err)
		}
	}
	expectRecount(t, 1, []string{
		"keys compared 61", "keys differing 4 missing in Quipu 0, only in Quipu 1, no number in Quipu 0", "sum of differences +16",
		"of their sizes: 24", `"n:ghost" 12 0 +12 "n:k3"`, "4 of 61 keys differ",
	}, b.conf, "likes", "-batch", "7")
	if err := c.Del(t.Context(), "n:k9").Err(); err != nil {
		t.Fatal(err)
	}
	expectRecount(t, 0, []string{"keys differing 5", "keys repaired 5"}, b.conf, "likes", "-repair", "-batch", "7")
	expectRecount(t, 0, []string{"keys differing 0"}, b.conf, "likes", "-batch", "7")
	want := stop()
	want["n:ghost"] = 0
	for key, n := range want {
		b.await(key, int(n))
	}
	expectRecount(t, 0, []string{"keys differing 0"}, b.conf, "likes", "-repair") // up to the end, where a marker is
	values(t, c, want)
}

// atLeast waits until a counter has come so far.
func (b *bed) atLeast(key string, least int64) {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if n, _ := b.server.Client(0).Get(b.Context(), key).Int64(); n >= least {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("%s is not %d after 30 s", key, least)
		}
	}
}

// TestRecountKilled: a repair that is killed at any chunk, before it is applied or behind, and is run again, adds everything once.
func TestRecountKilled(t *testing.T) {
	r := newRepairs(t, 1)
	const batch = 5
	for at := 1; at <= repairKeys/batch; at++ {
		for _, late := range []bool{false, true} {
			r.spoil()
			g := newGate(t, r.server.Addrs[0], increments, at, late)
			p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "recount", r.conf(g.addr), "s", "-repair", "-batch", fmt.Sprint(batch))
			select {
			case <-g.held:
			case <-time.After(time.Minute):
				t.Fatalf("chunk %d did not come:\n%s", at, p.Output())
			}
			p.Kill()
			done := at - 1
			if late {
				done = at
			}
			if n := r.chunk(); n != done {
				t.Fatalf("killed at chunk %d (late: %v), %d are applied", at, late, n)
			}
			left := repairKeys - done*batch
			expectRecount(t, 0, []string{fmt.Sprintf("keys differing %d ", left)}, r.conf(r.server.Addrs[0]), "s", "-repair", "-batch", fmt.Sprint(batch))
			values(t, r.c, r.want)
		}
	}
}

// TestRecountZombie: a repair that is held up, while everything is repaired by others, is not applied any more, and says so.
func TestRecountZombie(t *testing.T) {
	r := newRepairs(t, 1)
	r.spoil()
	g := newGate(t, r.server.Addrs[0], increments, 3, false)
	p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "recount", r.conf(g.addr), "s", "-repair", "-batch", "5")
	select {
	case <-g.held:
	case <-time.After(time.Minute):
		t.Fatalf("chunk 3 did not come:\n%s", p.Output())
	}
	for key, n := range r.want { // by hand: so the other recount repairs nothing, and no position of its own tells it apart
		if err := r.c.Set(t.Context(), key, n, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	expectRecount(t, 0, []string{"keys differing 0"}, r.conf(r.server.Addrs[0]), "s", "-repair")
	close(g.open)
	if status := p.Wait(time.Minute); status != 1 || !strings.Contains(p.Output(), "at the same time") ||
		!strings.Contains(p.Output(), "10 keys were repaired before that") {
		t.Errorf("ended with status %d:\n%s", status, p.Output())
	}
	values(t, r.c, r.want)
}

// TestRecountFailover: the node that leads is killed while a chunk is on its way, before it is applied or behind: the repair goes on with
// others, and adds everything once.
func TestRecountFailover(t *testing.T) {
	r := newRepairs(t, 3)
	for _, late := range []bool{false, true} {
		leader := r.server.Leader()
		r.c = r.server.Client(leader)
		r.spoil()
		g := newGate(t, r.server.Addrs[leader], increments, 4, late)
		rest := slices.Delete(slices.Clone(r.server.Addrs), leader, leader+1)
		p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "recount", r.conf(append([]string{g.addr}, rest...)...), "s", "-repair", "-batch", "5")
		select {
		case <-g.held:
		case <-time.After(time.Minute):
			t.Fatalf("chunk 4 did not come:\n%s", p.Output())
		}
		r.server.Kill(leader)
		close(g.open)
		if status := p.Wait(time.Minute); status != 0 || !strings.Contains(p.Output(), "keys repaired       40") {
			t.Errorf("late: %v: status %d\n%s", late, status, p.Output())
		}
		values(t, r.server.Client(r.server.Leader()), r.want)
		r.server.Start(leader)
	}
}

// TestRecountParked: records that are set aside do not count for the recount either, until retry has counted them, be it in the middle of it.
func TestRecountParked(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	log := write(t, "log.jsonl", strings.Repeat("{\"k\":\"a\",\"w\":1}\n{\"k\":\"a\"}\n{\"k\":\"b\",\"w\":3}\n", 20))
	conf := func(addr, weight string) string {
		return write(t, "t.conf", fmt.Sprintf("quipu %s\nsource s\n  file %s\n  on-bad-record park dead\n  INCRBY n:{k} %s\n", addr, log, weight))
	}
	if _, _, err := play(t, "", "run", "-until-end", conf(server.Addrs[0], "{w}")); err != nil {
		t.Fatal(err)
	}
	mended := conf(server.Addrs[0], "{w|5}")
	expectRecount(t, 0, []string{"keys compared 2", "keys differing 0"}, mended, "s")

	g := newGate(t, server.Addrs[0], reads, 1, false) // the first chunk: all is counted to a vector before
	p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "recount", conf(g.addr, "{w|5}"), "s", "-batch", "1")
	select {
	case <-g.held:
	case <-time.After(time.Minute):
		t.Fatalf("no chunk came:\n%s", p.Output())
	}
	if _, _, err := play(t, "", "retry", mended, "s"); err != nil {
		t.Fatal(err)
	}
	close(g.open)
	if status := p.Wait(time.Minute); status != 0 {
		t.Errorf("retry in the middle: status %d\n%s", status, p.Output())
	}
	expectRecount(t, 0, []string{"keys differing 0"}, mended, "s")
	values(t, server.Client(0), map[string]int64{"n:a": 120, "n:b": 60})
}

// TestRecountKinds: what is no sum is not compared; what holds a text cannot be repaired; a key that has a deadline gets it again; events that
// came late, and buckets that have expired, are no difference.
func TestRecountKinds(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	c := server.Client(0)
	now := time.Now().UTC()
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "{\"k\":\"k%d\",\"u\":%d,\"ts\":%d}\n", i%5, i, now.Unix())
		fmt.Fprintf(&text, "{\"k\":\"k%d\",\"u\":%d,\"ts\":%d}\n", i%5, i, now.Add(-30*24*time.Hour).Unix()) // late
	}
	fmt.Fprintf(&text, "{\"k\":\"k0\",\"u\":0,\"ts\":%d}\n", now.Truncate(time.Minute).Add(-24*time.Hour-30*time.Second).Unix()) // ends about now, or is late
	conf := write(t, "t.conf", fmt.Sprintf("quipu %s\nsource s\n  file %s\n  INCR n:{k}\n  INCRBY m:{k}:{ts|minute} 2 expire 1d\n"+
		"  PFADD u:{k} {u}\n  DECR mixed:{k}\n  SET mixed:k1 {u}\n  INCR {k}:free\n", server.Addrs[0], write(t, "log.jsonl", text.String())))
	if _, _, err := play(t, "", "run", "-until-end", conf); err != nil {
		t.Fatal(err)
	}
	// 5 n: and m: and {k}:free, 4 of mixed; not mixed:k1, 5 of u:
	expectRecount(t, 0, []string{"keys compared 19", "keys differing 0", "other commands write them 6", "note: keys of {k}:free"}, conf, "s")

	bucket := "m:k2:" + now.Format("2006-01-02T15:04")
	deadline, err := c.PExpireTime(t.Context(), bucket).Result()
	if err != nil || deadline <= 0 {
		t.Fatalf("%s has no deadline: %v, %v", bucket, deadline, err)
	}
	for _, args := range [][]any{
		{"DEL", bucket}, {"SET", "n:k1", "text"}, {"INCRBY", "m:made:up", 5}, {"PEXPIRE", "m:made:up", 3_600_000}, {"INCRBY", "k9:free", 1},
		{"SET", "n:ours?", "x"}, {"SET", "m:soon", 5, "EX", 30},
	} {
		if err := c.Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	expectRecount(t, 1, []string{
		"keys compared 20", "keys differing 3 missing in Quipu 1, only in Quipu 1, no number in Quipu 1", `"n:k1" no number 20 -20`, "keys repaired 2",
		"the others hold no number",
	}, conf, "s", "-repair")
	values(t, c, map[string]int64{bucket: 20, "m:made:up": 0, "k9:free": 1, "m:soon": 5})
	if again, err := c.PExpireTime(t.Context(), bucket).Result(); err != nil || again != deadline {
		t.Errorf("%s is repaired with the deadline %v, %v, want %v", bucket, again, err, deadline)
	}
	if left, err := c.PTTL(t.Context(), "m:made:up").Result(); err != nil || left <= 0 {
		t.Errorf("m:made:up has lost its deadline: %v, %v", left, err)
	}
}

// TestRecountDoubts: where the log does not have all that was counted, or others may count into the same keys, nothing is repaired unless it
// is forced.
func TestRecountDoubts(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	c := server.Client(0)
	source := func(name, log, key string) string {
		return fmt.Sprintf("source %s\n  file %s\n  INCR %s\n", name, write(t, "log.jsonl", log), key)
	}
	conf := func(sources ...string) string {
		return write(t, "t.conf", fmt.Sprintf("quipu %s\n%s", server.Addrs[0], strings.Join(sources, "")))
	}
	count := func(path string) {
		t.Helper()
		if _, _, err := play(t, "", "run", "-until-end", path); err != nil {
			t.Fatal(err)
		}
	}
	five := strings.Repeat("{\"k\":\"a\"}\n", 5)

	twice := conf(source("one", five, "n:{k}"), source("two", five, "n:{k}"))
	count(twice)
	expectRecount(t, 1, []string{"not exact: n:{k} in line 4", "0 are repaired"}, twice, "one", "-repair")
	values(t, c, map[string]int64{"n:a": 10})

	skipped := conf(source("s", five, "s:{k}"))
	count(skipped)
	if _, _, err := play(t, "", "accept", skipped, "s/0", "-at", "3:30"); err != nil { // the last two count again
		t.Fatal(err)
	}
	count(skipped)
	values(t, c, map[string]int64{"s:a": 7})
	expectRecount(t, 1, []string{"s/0: the log has 5 records from 0 to 5:50, the connectors have seen 7", "a gap of -2 records", "0 are repaired"}, skipped, "s", "-repair")
	values(t, c, map[string]int64{"s:a": 7})
	expectRecount(t, 0, []string{"keys repaired 1"}, skipped, "s", "-repair", "-force")
	values(t, c, map[string]int64{"s:a": 5})

	path := write(t, "log.jsonl", five)
	anew := conf("source anew\n  file " + path + "\n  INCR anew:{k}\n")
	count(anew)
	if err := os.WriteFile(path, []byte("{\"k\":\"b\"}\n"+five), 0o600); err != nil {
		t.Fatal(err)
	}
	expectRecount(t, 1, []string{"anew/0: the log is not the one that was counted"}, anew, "anew")
	if _, _, err := play(t, "", "accept", anew, "anew"); err != nil {
		t.Fatal(err)
	}
	count(anew)
	expectRecount(t, 1, []string{"(1) were counted before this one", "0 are repaired"}, anew, "anew", "-repair")
	values(t, c, map[string]int64{"anew:a": 10, "anew:b": 1})
}

// TestRecountRetention: records that were counted and are gone from the topic make the recount inexact.
func TestRecountRetention(t *testing.T) {
	b := newBed(t, "")
	b.produce(200)
	if _, _, err := play(t, "", "run", "-until-end", b.conf); err != nil {
		t.Fatal(err)
	}
	expectRecount(t, 0, []string{"keys differing 0"}, b.conf, "likes")
	var offsets kadm.Offsets
	offsets.AddOffset("likes", 2, 7, -1)
	if _, err := b.broker.Admin(t).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	expectRecount(t, 1, []string{`"n:a" 200 193 +7`, "not exact: likes/2: the log has", "0 are repaired"}, b.conf, "likes", "-repair")
	b.await("n:a", 200)
}

// TestRecountBase: where the topic has no more what was counted first, a restored backup stands for that.
func TestRecountBase(t *testing.T) {
	b := newBed(t, "")
	c := b.server.Client(0)
	count := func() {
		t.Helper()
		b.produce(200)
		if _, _, err := play(t, "", "run", "-until-end", b.conf); err != nil {
			t.Fatal(err)
		}
	}
	count()
	values(t, c, map[string]int64{"n:a": 200})
	for key, n := range map[string]int64{"n:hand": 5, "n:lost": 6} { // what the backup has is taken for right
		if err := c.IncrBy(t.Context(), key, n).Err(); err != nil {
			t.Fatal(err)
		}
	}
	base := restored(t, b.server)
	count()
	var offsets kadm.Offsets
	offsets.AddOffset("likes", 2, 7, -1)
	if _, err := b.broker.Admin(t).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	if err := c.IncrBy(t.Context(), "n:a", 3).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Del(t.Context(), "n:lost").Err(); err != nil {
		t.Fatal(err)
	}
	expectRecount(t, 1, []string{"not exact: likes/2: the log has", "keys differing 2"}, b.conf, "likes")
	expectRecount(t, 0, []string{
		"keys compared 3", "keys differing 2 missing in Quipu 1", `"n:lost" 0 6 -6 "n:a" 403 400 +3`, "keys repaired 2",
	}, b.conf, "likes", "-base", base.Addrs[0], "-repair")
	values(t, c, map[string]int64{"n:a": 400, "n:hand": 5, "n:lost": 6})

	at, err := base.Client(0).Do(t.Context(), "INGEST", "POSITION", "likes/0").StringSlice()
	if err != nil {
		t.Fatal(err)
	}
	set := func(incarnation, position string) {
		t.Helper()
		if err := base.Client(0).Do(t.Context(), "INGEST", "SET", "likes/0", incarnation, position).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set(at[0], "100000 c100000")
	expectRecount(t, 1, []string{"base: likes/0 is at 100000"}, b.conf, "likes", "-base", base.Addrs[0])
	set("another", at[1])
	expectRecount(t, 1, []string{"base: likes/0 is of another log"}, b.conf, "likes", "-base", base.Addrs[0])
	set(at[0], at[1])
	g := newGate(t, base.Addrs[0], reads, 1, false)
	p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "recount", b.conf, "likes", "-base", g.addr)
	select {
	case <-g.held:
	case <-time.After(time.Minute):
		t.Fatalf("the base was not read:\n%s", p.Output())
	}
	set(at[0], at[1]+" l1")
	close(g.open)
	if status := p.Wait(time.Minute); status != 1 || !strings.Contains(p.Output(), "somebody counts there") {
		t.Errorf("somebody counts in the base: status %d\n%s", status, p.Output())
	}
}

// TestRecountRefusals: what cannot be recounted is said, with status 1 or 2.
func TestRecountRefusals(t *testing.T) {
	r := newRepairs(t, 1)
	conf := r.conf(r.server.Addrs[0])
	for _, c := range []struct {
		status int
		text   string
		args   []string
	}{
		{2, "recount FILE SOURCE", []string{conf}},
		{2, "recount FILE SOURCE", []string{conf, "s", "-from", "0"}},
		{1, "as a whole", []string{conf, "s/0"}},
		{1, "has no source", []string{conf, "t"}},
		{1, "-batch is from 1 to", []string{conf, "s", "-batch", "0"}},
		{1, "more than 39 keys", []string{conf, "s", "-keys", "39"}},
		{0, "keys compared 40", []string{conf, "s", "-keys", "39", "-passes", "5"}},
	} {
		expectRecount(t, c.status, []string{c.text}, c.args...)
	}
	other := write(t, "t.conf", fmt.Sprintf("quipu %s\nsource other\n  file %s\n  INCR n:{k}\n", r.server.Addrs[0], r.log))
	expectRecount(t, 1, []string{"nothing of it is counted yet"}, other, "other")

	closed := files.Kind
	closed.Open = nil
	p := &app.Program{
		Name: "quipu-connect", Kinds: map[config.Kind]count.Kind{config.KindFile: closed},
		In: strings.NewReader(""), Out: io.Discard, Err: io.Discard,
	}
	if err := p.Run(t.Context(), []string{"recount", conf, "s"}); err == nil || !strings.Contains(err.Error(), "cannot be read again") {
		t.Errorf("a kind that cannot be read again: %v", err)
	}
}
