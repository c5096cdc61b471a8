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
	got := map[string]int64{}
	for _, f := range flights {
		got[originPrefix+f.origin]++
		got[routePrefix+f.origin+"-"+f.destination]++
		got[delayPrefix+f.origin] += f.delay
	}
	file, err := openFlights("")
	if err != nil {
		t.Fatal(err)
	}
	want, records, err := exactCounts(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Error("readFlights and exactCounts disagree")
	}
	if len(flights) != 20000 || records != 20000 || len(want) != 220+220+2977 {
		t.Errorf("%d and %d flights, %d counts", len(flights), records, len(want))
	}
}

// TestDemo counts part of the file in Quipu with kill -9 in the middle.
func TestDemo(t *testing.T) {
	testDemo(t, redistest.Binary(t))
}

// TestDemoRedis does the same with redis-server: the example is an ordinary
// Redis program, and its claim does not rest on how Quipu behaves.
func TestDemoRedis(t *testing.T) {
	testDemo(t, redistest.Tool(t, "redis-server"))
}

func testDemo(t *testing.T, program string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	opt := options{server: program, limit: 4000, window: 20, top: 3, demo: true, kills: 2}
	if err := demo(ctx, opt); err != nil {
		t.Fatal(err)
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
		flights:  []flight{{"A", "B", 1}, {"B", "C", 2}, {"C", "D", 3}},
		progress: func(int) {}, resumed: func(int, error) {},
	}
	if err := p.run(ctx); err == nil || !strings.Contains(err.Error(), errGap.Error()) {
		t.Fatalf("run returned %v", err)
	}
}

func startRedis(t *testing.T) *redis.Client {
	server, cleanUp, err := newServer(redistest.Tool(t, "redis-server"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cleanUp)
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
