package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// TestReaders: the two ways of reading the file agree, and the file is the one
// described in data/README.md.
func TestReaders(t *testing.T) {
	flights, err := loadFlights(options{})
	if err != nil {
		t.Fatal(err)
	}
	got, late := map[string]int64{}, map[string]int64{}
	originDays := map[string]struct{}{}
	for _, f := range flights {
		got[originPrefix+f.origin]++
		got[routePrefix+f.origin+"-"+f.destination]++
		got[delayPrefix+f.origin] += f.delay
		originDays[f.origin+f.day] = struct{}{}
		late[f.origin+"-"+f.destination] += max(f.delay, 0)
	}
	file, err := openFlights("")
	if err != nil {
		t.Fatal(err)
	}
	want, err := exactCounts(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want.counts) || !maps.Equal(originDays, want.originDays) || !maps.Equal(late, want.late) {
		t.Error("readFlights and exactCounts disagree")
	}
	if len(flights) != 20000 || want.records != 20000 || len(want.counts) != 220+220+2977 || want.routes() != 2977 {
		t.Errorf("%d and %d flights, %d counts, %d routes", len(flights), want.records, len(want.counts), want.routes())
	}
}

// TestDemo counts part of the file in Quipu with kill -9 in the middle.
func TestDemo(t *testing.T) {
	testDemo(t, redistest.Binary(t), 1, 2)
}

// TestDemoNodes counts it in three nodes, of which the one that leads is killed.
func TestDemoNodes(t *testing.T) {
	testDemo(t, redistest.Binary(t), 3, redistest.Size(1, 1, 3))
}

// TestDemoRedis does the same with redis-server: the example is an ordinary
// Redis program, and its claim does not rest on how Quipu behaves.
func TestDemoRedis(t *testing.T) {
	testDemo(t, redistest.Tool(t, "redis-server"), 1, 2)
}

func testDemo(t *testing.T, program string, nodes, kills int) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	opt := options{server: program, limit: 4000, window: 20, top: 3, demo: true, nodes: nodes, kills: kills}
	if err := demo(ctx, opt); err != nil {
		t.Fatal(err)
	}
}

// TestSketches: Quipu has every sketch, and the whole file is in them. What the
// Top-K sketch finds depends on random numbers, so not all ten are wanted.
func TestSketches(t *testing.T) {
	client := startServer(t, redistest.Binary(t))
	flights, err := loadFlights(options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &producer{
		client: client, flights: flights, window: 100, patience: time.Minute,
		progress: func(int) {}, resumed: func(int, error) {},
	}
	if err := p.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, err := exactly(options{})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	got, err := printResults(t.Context(), &text, client, want, 5)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.check(want); err != nil {
		t.Error(err)
	}
	if len(got.distinct) != 4 || len(got.top) != topRoutes || len(got.late) != topRoutes || got.found(want) < topRoutes-3 {
		t.Errorf("the sketches say %v:\n%s", got, text.String())
	}
	for _, line := range []string{"routes, UC.COUNT", "    origins by day, PFCOUNT", " 5  ", "are among the exact 10"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("%q is not printed:\n%s", line, text.String())
		}
	}
}

// TestCheckFails: a wrong estimate is found.
func TestCheckFails(t *testing.T) {
	want := &exact{
		counts: map[string]int64{routePrefix + "A-B": 3, routePrefix + "A-C": 2, routePrefix + "B-C": 2}, late: map[string]int64{"A-B": 10},
	}
	top := []string{"A-B", "B-C"}
	right := estimates{distinct: map[string]int64{routesPF: 3}, top: top, flights: map[string]int64{"A-B": 3, "B-C": 1}, late: map[string]int64{"A-B": 11}}
	if err := right.check(want); err != nil || right.found(want) != 2 {
		t.Errorf("%v, %d found", err, right.found(want))
	}
	for _, wrong := range []estimates{
		{distinct: map[string]int64{routesUC: 4}},
		{flights: map[string]int64{"A-B": 4}},
		{late: map[string]int64{"A-B": 9}},
	} {
		if err := wrong.check(want); err == nil {
			t.Errorf("no error for %v", wrong)
		}
	}
	if n := (&estimates{top: []string{"A-B", "X-Y"}}).found(want); n != 1 {
		t.Errorf("%d found", n)
	}
}

func TestRelativeError(t *testing.T) {
	for _, c := range []struct {
		got, exact int64
		want       string
	}{{0, 0, "0"}, {7, 7, "0"}, {1, 0, "–"}, {99, 100, "-1.00 %"}, {201, 200, "+0.50 %"}} {
		if got := relativeError(c.got, c.exact); got != c.want {
			t.Errorf("relativeError(%d, %d) = %q, want %q", c.got, c.exact, got, c.want)
		}
	}
}

// TestTakeOver: a new session closes the connection of the one before, so that
// nothing sent over that can be counted later.
func TestTakeOver(t *testing.T) {
	client := startRedis(t)
	ctx := t.Context()
	first, second := client.Conn(), client.Conn()
	defer first.Close()
	defer second.Close()
	if _, err := takeOver(ctx, first); err != nil {
		t.Fatal(err)
	}
	if err := first.Set(ctx, positionKey, 7, 0).Err(); err != nil {
		t.Fatal(err)
	}
	position, err := takeOver(ctx, second)
	if err != nil || position != 7 {
		t.Fatalf("position %d, %v; want 7", position, err)
	}
	if err := first.Ping(ctx).Err(); err == nil {
		t.Error("the first connection still works")
	}
}

// TestGap: a record refused before one accepted ends the run.
func TestGap(t *testing.T) {
	client := startRedis(t)
	ctx := t.Context()
	// The route of the second record holds a list: its INCR fails in EXEC.
	if err := client.LPush(ctx, routePrefix+"B-C", "x").Err(); err != nil {
		t.Fatal(err)
	}
	p := &producer{
		client: client, window: 10, patience: time.Second,
		flights:  []flight{{"1", "A", "B", 1}, {"1", "B", "C", 2}, {"2", "C", "D", 3}},
		progress: func(int) {}, resumed: func(int, error) {},
	}
	if err := p.run(ctx); err == nil || !strings.Contains(err.Error(), errGap.Error()) {
		t.Fatalf("run returned %v", err)
	}
}

// TestSentAgain: a batch that is sent twice counts once, and a node that does not answer is passed over.
func TestSentAgain(t *testing.T) {
	client := startServer(t, redistest.Binary(t))
	nobody := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer nobody.Close()
	flights, err := loadFlights(options{limit: 210})
	if err != nil {
		t.Fatal(err)
	}
	var resent []int
	p := &onceProducer{
		nodes: []*redis.Client{nobody, client}, flights: flights, window: 100, patience: time.Minute,
		resent: func(batch int, causes []error, applied bool) { resent = append(resent, batch) },
	}
	p.progress = func(int) { p.at = 0 }
	if err := p.run(t.Context()); err != nil || p.batches != 3 || !slices.Equal(resent, []int{2, 3}) {
		t.Fatalf("%v, %d batches, sent again: %v", err, p.batches, resent)
	}
	if err := p.send(t.Context(), client, families{}, 2, flights[100:200]); !redis.HasErrorPrefix(err, "APPLIED ") {
		t.Errorf("the second batch once more, whose replies are too long to be kept: %v", err)
	}
	if err := p.send(t.Context(), client, families{}, 3, flights[200:]); err != nil {
		t.Errorf("the third batch once more, which is short: %v", err)
	}
	want, err := exactly(options{limit: 210})
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(t.Context(), client, want, 0); err != nil {
		t.Error(err)
	}
	// An error of a command in the transaction is an answer, and ends the run.
	if err := client.Set(t.Context(), routePrefix+"A-B", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	wrong := &onceProducer{nodes: p.nodes, flights: []flight{{"1", "A", "B", 1}}, window: 1, patience: time.Minute}
	if err := wrong.run(t.Context()); !redis.HasErrorPrefix(err, "value is not an integer") {
		t.Errorf("run returned %v", err)
	}
}

func startRedis(t *testing.T) *redis.Client { return startServer(t, redistest.Tool(t, "redis-server")) }

func startServer(t *testing.T, program string) *redis.Client {
	nodes, cleanUp, err := newServers(program, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cleanUp)
	server := nodes[0]
	if err := server.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.kill)
	client := redis.NewClient(&redis.Options{Addr: server.addr()})
	t.Cleanup(func() { client.Close() })
	return client
}

func TestLargest(t *testing.T) {
	got := largest(map[string]int64{"a": 1, "b": 3, "c": 3, "d": 2}, 3)
	if want := []string{"b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -999: "-999", -1234567: "-1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
