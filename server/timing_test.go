package server

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/replication"
)

// stepClock is a clock that goes on by a step whenever it is read.
type stepClock struct{ now, step, reads atomic.Int64 }

func (c *stepClock) read() int64 {
	c.reads.Add(1)
	return c.now.Add(c.step.Load())
}

// startStepped starts a node whose commands take a step of the clock each, where they are timed.
func startStepped(t testing.TB, step time.Duration, change func(*config.Config)) (*testNode, *stepClock) {
	t.Helper()
	g, clock := &testGroup{}, &stepClock{}
	clock.step.Store(int64(step))
	srv, err := NewWithGroups(testConfig(t, change), nil, func(_ replication.Config, sm replication.StateMachine) (replication.Group, error) {
		g.Group = replication.NewMemoryGroup(sm, g.clock)
		return g, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.meter.Clock = clock.read
	return runNode(t, srv), clock
}

func slowNames(t *testing.T, c *redistest.Conn) string {
	t.Helper()
	log, err := c.Do("SLOWLOG", "GET", "-1")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(slowCalls(t, log), " ")
}

// TestSlowCommandsAreTimed: at the default threshold, what may take long is in the slow log each time, and what is short once a turn
// or an entry has taken longer than its commands explain.
func TestSlowCommandsAreTimed(t *testing.T) {
	n, clock := startStepped(t, time.Microsecond, func(c *config.Config) { c.LatencyThreshold = 10 })
	c := n.dial()
	words := strings.Repeat(" x", 300)
	expect(t, c, "SET a 1", "+OK\r\n", "GET a", "$1\r\n1\r\n", "CMS.INITBYDIM s 10 10", "+OK\r\n", "SET b 1", "+OK\r\n")
	clock.step.Store(int64(20 * time.Millisecond))
	for range 2 {
		expect(t, c, "KEYS nosuch", "*0\r\n", "DEL"+words, ":0\r\n", "RENAME a a", "+OK\r\n", "CONFIG SET timeout 0", "+OK\r\n")
	}
	log := slowNames(t, c)
	for _, call := range []string{`["keys" "nosuch"]`, `["rename" "a" "a"]`, `["config" "SET" "timeout" "0"]`, `"x" "... (270 more arguments)"]`} {
		if strings.Count(log, call) < 2 && call[1:4] != `"x"` || !strings.Contains(log, call) {
			t.Errorf("%s is not in the slow log as often as it was called: %s", call, log)
		}
	}
	// The turns and entries so far were slow, so what comes next is timed, all of it.
	expect(t, c, "SLOWLOG RESET", "+OK\r\n")
	for range 3 {
		expect(t, c, "GET a", "$1\r\n1\r\n", "SET b 1", "+OK\r\n", "PING", "+PONG\r\n")
	}
	log = slowNames(t, c)
	for _, call := range []string{`["get" "a"]`, `["set" "b" "1"]`, `["ping"]`} {
		if strings.Count(log, call) < 3 {
			t.Errorf("%s is not in the slow log three times: %s", call, log)
		}
	}
	for event, least := range map[string]string{"command": "20", "fast-command": "20", "event-loop": "20", "log-entry": "20"} {
		history, err := c.Do("LATENCY", "HISTORY", event)
		if err != nil || len(history.Elems) == 0 || intOf(t, history.Elems[0].Elems[1]) < 20 {
			t.Errorf("LATENCY HISTORY %s is %v (%v), want samples of %s ms and more", event, history, err, least)
		}
	}
}

// TestClockIsRarelyRead holds what the times of commands cost: a turn of a loop reads the clock, and of the short commands one of many.
func TestClockIsRarelyRead(t *testing.T) {
	for _, local := range []bool{false, true} {
		n, clock := startStepped(t, time.Microsecond, func(c *config.Config) { c.AckLocal = local })
		for _, h := range hotCommands {
			p := newPipelineClient(n.dial(), h.command, h.lines)
			p.roundTrip(t)
			const bursts = 50
			before := clock.reads.Load()
			for range bursts {
				p.roundTrip(t)
			}
			reads := clock.reads.Load() - before
			t.Logf("local %v: %s: %d readings for %d commands", local, h.name, reads, bursts*hotDepth)
			if reads == 0 || reads > bursts*hotDepth/12 {
				t.Errorf("local %v: %s: %d readings of the clock for %d commands", local, h.name, reads, bursts*hotDepth)
			}
		}
	}
}

// TestCallsOfATurn: equal commands in a row are counted together, but before INFO behind them, and at the end of the turn.
func TestCallsOfATurn(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		c := n.dial()
		send(t, c, "GET n", "GET n", "GET n", "INFO commandstats", "GET n", "GET n") // no writes, which INFO waits for, in another turn
		for range 3 {
			checkReply(t, "GET", readRaw(t, c), "$-1\r\n")
		}
		if info := readRaw(t, c); !strings.Contains(info, "cmdstat_get:calls=3,") {
			t.Errorf("behind three reads: %s", info)
		}
		checkReply(t, "GET", readRaw(t, c)+readRaw(t, c), "$-1\r\n$-1\r\n")
		get := n.srv.table.Lookup([]byte("get")).ID()
		eventually(t, "the calls of the turn", func() bool { return n.srv.commandCalls()[get] == 5 })
	})
}

// TestTimesStandForAllCalls: what was not timed has the time of what was, in cmdstat and in the histograms.
func TestTimesStandForAllCalls(t *testing.T) {
	n, _ := startStepped(t, 3*time.Microsecond, nil)
	c := n.dial()
	if reply, err := c.Do("GET", "a"); err != nil || reply.Type != '$' {
		t.Fatal(reply, err)
	}
	const calls = 1000
	for i := range calls {
		expect(t, c, "SET a 1", "+OK\r\n", "INCR n", fmt.Sprintf(":%d\r\n", i+1))
	}
	info, err := c.Do("INFO", "everything")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"cmdstat_set":                  "calls=1000,usec=3000,usec_per_call=3.00,rejected_calls=0,failed_calls=0",
		"cmdstat_incr":                 "calls=1000,usec=3000,usec_per_call=3.00,rejected_calls=0,failed_calls=0",
		"latency_percentiles_usec_set": "p50=3.007,p99=3.007,p99.9=3.007",
	} {
		if got := infoField(info.Text, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	hist, err := c.Do("LATENCY", "HISTOGRAM", "set", "nosuch", "incr", "config")
	want := fmt.Sprintf("$5\r\ncalls\r\n:%[1]d\r\n$14\r\nhistogram_usec\r\n*2\r\n:4\r\n:%[1]d\r\n", calls)
	if got := string(hist.Encode(nil)); err != nil || got != "*4\r\n$3\r\nset\r\n*4\r\n"+want+"$4\r\nincr\r\n*4\r\n"+want {
		t.Errorf("LATENCY HISTOGRAM is %q (%v)", got, err)
	}
	expect(t, c, "CONFIG SET latency-tracking no", "+OK\r\n", "INFO latencystats", "$16\r\n# Latencystats\r\n\r\n", "CONFIG RESETSTAT", "+OK\r\n",
		"CONFIG SET latency-tracking yes latency-tracking-info-percentiles 100", "+OK\r\n", "SET a 1", "+OK\r\n")
	if info, err = c.Do("INFO", "everything"); err != nil || infoField(info.Text, "cmdstat_set") != "calls=1,usec=3,usec_per_call=3.00,rejected_calls=0,failed_calls=0" {
		t.Errorf("after CONFIG RESETSTAT cmdstat_set is %s (%v)", infoField(info.Text, "cmdstat_set"), err)
	}
}

// TestSettledTimesOnlyGrow: programs take the difference of two readings of cmdstat.
func TestSettledTimesOnlyGrow(t *testing.T) {
	times := timings{tracking: true, of: make([]commandTime, 1)}
	c := &times.of[0]
	c.settle(5, c, true)
	if c.total != 0 || c.settled != 0 {
		t.Errorf("calls of unknown length took %v", c.total)
	}
	was := 0.0
	for i, ns := range []int64{1_000_000, 10, 500, 0} {
		if ns > 0 {
			times.add(0, ns, 1, true)
		}
		times.add(0, 7000, 1, false)
		c.settle(int64(10+10*i), c, true)
		c.forgetSamples()
		if c.total < was+7000 || c.settled != int64(10+10*i) || c.hist.total != c.settled {
			t.Errorf("round %d: %v ns of %d calls, %d in the histogram, were %v", i, c.total, c.settled, c.hist.total, was)
		}
		was = c.total
	}
}

// TestTimesOfRowsAreWhole: of calls that were timed together no nanosecond is lost, although each call's share is no whole number.
func TestTimesOfRowsAreWhole(t *testing.T) {
	times := timings{of: make([]commandTime, 1)}
	c := &times.of[0]
	times.add(0, 299, 100, false)
	if c.total != 299 {
		t.Errorf("100 calls that took 299 ns together took %v", c.total)
	}
	times.add(0, 299, 100, true)
	c.settle(1100, c, false)
	if c.total != 299+2990 {
		t.Errorf("1000 calls like 100 of 299 ns took %v", c.total-299)
	}
	c.forgetSamples()
	c.settle(2100, c, false)
	if c.total != 299+2*2990 {
		t.Errorf("1000 calls more took %v", c.total-299-2990)
	}
}

// TestCallsAreSettledOnce: CONFIG RESETSTAT waits for whoever has sums of calls that are not settled yet. They would else be settled
// behind it, as if all of them had come since.
func TestCallsAreSettledOnce(t *testing.T) {
	n := startNode(t, nil)
	srv := n.srv
	srv.loops.mu.Lock() // sums of calls are taken under it
	settled := make(chan struct{})
	go func() {
		srv.settleTimes()
		close(settled)
	}()
	defer func() {
		srv.loops.mu.Unlock()
		<-settled
	}()
	eventually(t, "the times to be locked before calls are added up", func() bool {
		if srv.times.mu.TryLock() {
			srv.times.mu.Unlock()
			return false
		}
		return true
	})
}

func TestHistogram(t *testing.T) {
	last := -1
	for ns := int64(0); ns < 1<<34; ns += 1 + ns/100 {
		b := bucketOf(ns)
		if longest := longestIn(b); b < last || longest < ns || float64(longest) > float64(ns)*1.032+1 || bucketOf(longest) != b {
			t.Fatalf("%d ns is in bucket %d, up to %d, behind %d", ns, b, longest, last)
		}
		last = b
	}
	if b := bucketOf(1 << 62); b != histogramBuckets-1 {
		t.Errorf("a long time is in bucket %d of %d", b, histogramBuckets)
	}
	var h, like timeHistogram
	for us := range int64(100) {
		h.add((us+1)*1000, 1)
	}
	for percent, want := range map[float64]int64{0: 1, 50: 50, 99: 99, 100: 100} {
		if got := float64(h.percentile(percent)) / 1000; got < float64(want) || got > float64(want)*1.04 {
			t.Errorf("%v per cent take up to %v µs, want %d", percent, got, want)
		}
	}
	like.addLike(&h, 12300)
	var sum int64
	for _, n := range like.buckets {
		sum += n
	}
	if sum != 12300 || like.total != sum || like.percentile(50) != h.percentile(50) {
		t.Errorf("12300 like those are %d, half of them up to %d", sum, like.percentile(50))
	}
	var list []string
	h.cumulative(func(usec, count int64) { list = append(list, fmt.Sprint(usec, " ", count)) })
	if got := strings.Join(list, ", "); got != "1 1, 2 2, 4 4, 8 8, 16 16, 33 33, 66 65, 132 100" && got != "1 1, 2 2, 4 4, 8 8, 16 16, 33 32, 66 65, 132 100" {
		t.Errorf("cumulative: %s", got)
	}
}

// TestTimesOfKin: increments are executed together, and their times are those of one sample.
func TestTimesOfKin(t *testing.T) {
	n, _ := startStepped(t, 3*time.Microsecond, nil)
	c := n.dial()
	expect(t, c, "INCRBY n 5", ":5\r\n", "DECR n", ":4\r\n", "DECRBY n 2", ":2\r\n")
	info, err := c.Do("INFO", "commandstats")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"incrby", "decr", "decrby"} {
		if got, want := infoField(info.Text, "cmdstat_"+name), "calls=1,usec=3,usec_per_call=3.00,rejected_calls=0,failed_calls=0"; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
