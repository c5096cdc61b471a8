package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestLatencyGraphIsThatOfRedis draws what Redis has noted, and compares with its drawing.
func TestLatencyGraphIsThatOfRedis(t *testing.T) {
	c := redistest.StartRedis(t).Dial(t)
	if _, err := c.Do("CONFIG", "SET", "latency-monitor-threshold", "1"); err != nil {
		t.Fatal(err)
	}
	const busy = "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i end return 1"
	for round, loops := range []int{1_000_000, 4_000_000, 2_000_000} {
		if round > 0 {
			time.Sleep(time.Second) // Redis keeps one sample of a second
		}
		if reply, err := c.Do("EVAL", busy, "0", fmt.Sprint(loops)); err != nil || reply.Type == '-' {
			t.Fatal(reply, err)
		}
		compareGraphs(t, c)
	}
}

func intOf(t *testing.T, r redistest.Reply) int64 {
	t.Helper()
	n, err := r.Int()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func compareGraphs(t *testing.T, c *redistest.Conn) {
	t.Helper()
	for range 3 { // the clock may reach the next second in between
		before := time.Now().Unix()
		graph, err1 := c.Do("LATENCY", "GRAPH", "command")
		history, err2 := c.Do("LATENCY", "HISTORY", "command")
		latest, err3 := c.Do("LATENCY", "LATEST")
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatal(err1, err2, err3)
		}
		if time.Now().Unix() != before {
			continue
		}
		at := slices.IndexFunc(latest.Elems, func(e redistest.Reply) bool { return e.Elems[0].Text == "command" })
		if at < 0 {
			t.Fatalf("Redis has noted nothing: %v", latest)
		}
		series := latencySeries{max: intOf(t, latest.Elems[at].Elems[3])}
		for _, e := range history.Elems {
			series.samples = append(series.samples, latencySample{intOf(t, e.Elems[0]), intOf(t, e.Elems[1])})
		}
		if got := drawLatency("command", series, before); got != graph.Text {
			t.Fatalf("ours:\n%s\nRedis's:\n%s", got, graph.Text)
		}
		return
	}
	t.Fatal("three calls take longer than a second each time")
}

// TestLatencyDrawing has what Redis's drawing of a few seconds cannot show.
func TestLatencyDrawing(t *testing.T) {
	series := latencySeries{max: 99}
	for i := range int64(100) {
		series.samples = append(series.samples, latencySample{at: 1_000_000 - 3600*i, ms: 10 + i%4})
	}
	lines := strings.Split(drawLatency("x", series, 1_000_000), "\n")
	want := []string{
		"x - high 13 ms, low 10 ms (all time high 99 ms)", strings.Repeat("-", 80),
		strings.Repeat("   #", 20), strings.Repeat("  #|", 20), strings.Repeat(" o||", 20), strings.Repeat("_|||", 20), strings.Repeat(" ", 80),
	}
	for i, line := range want[:3] {
		if lines[i] != line {
			t.Errorf("line %d is %q, want %q", i, lines[i], line)
		}
	}
	if !strings.HasPrefix(lines[7], "01234567891111111111222211111") || !strings.HasPrefix(lines[8], "shhhhhhhhh01234567890123dddd") || len(lines[9]) != 80 {
		t.Errorf("labels are %q", lines[7:10])
	}
	if second := lines[len(lines)-8:]; len(second[1]) != 20 {
		t.Errorf("the second row of columns is %q", second)
	}
	for seconds, want := range map[int64]string{0: "0s", 59: "59s", 60: "1m", 3599: "59m", 3600: "1h", 86399: "23h", 86400: "1d"} {
		if got := ago(seconds); got != want {
			t.Errorf("%d seconds are %s, want %s", seconds, got, want)
		}
	}
}

// TestLatencyEvents: of each second the worst is kept, of so many seconds.
func TestLatencyEvents(t *testing.T) {
	var l latencyEvents
	at := time.Unix(1_000_000, 0)
	for i, ms := range []int64{5, 9, 7} {
		l.add("a", at.Add(time.Duration(i)*time.Millisecond), ms)
	}
	for i := range 2 * latencySamples {
		l.add("b", at.Add(time.Duration(i)*time.Second), int64(1000-i))
	}
	if of := l.of("a"); len(of.samples) != 1 || of.samples[0].ms != 9 || of.max != 9 {
		t.Errorf("a second of 5, 9 and 7 ms is %v", of)
	}
	if of := l.of("b"); len(of.samples) != latencySamples || of.max != 1000 || of.samples[0].ms != 1000-latencySamples {
		t.Errorf("%d samples are kept, from %v on, the worst %d", len(of.samples), of.samples[0], of.max)
	}
	if n := l.reset("b", "c"); n != 1 || len(l.all()) != 1 {
		t.Errorf("%d were reset, there are %v", n, l.all())
	}
	if n := l.reset(); n != 1 || len(l.all()) != 0 {
		t.Errorf("%d were reset, there are %v", n, l.all())
	}
}
