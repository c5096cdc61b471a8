package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"quipu/commands"
	"quipu/protocol"
)

// What LATENCY notes. The first two are Redis's; of the others there are none here: nothing forks, and expiry holds nobody up.
const (
	commandEvent     = "command"
	fastCommandEvent = "fast-command"
	eventLoopEvent   = "event-loop" // a turn of an event loop, longer than its commands explain
	logEntryEvent    = "log-entry"  // the execution of an entry of the log
)

// latencySamples is how many seconds of an event are kept, each with its worst time.
const latencySamples = 160

// latencyEvents are the samples of LATENCY, of the events above.
type latencyEvents struct {
	mu     sync.Mutex // a leaf; guards series
	series map[string]*latencySeries
}

type latencySeries struct {
	samples []latencySample // oldest first
	max     int64           // ms, of all times
}

// latencySample is the worst of a second.
type latencySample struct{ at, ms int64 }

func (l *latencyEvents) add(event string, at time.Time, ms int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.series == nil {
		l.series = map[string]*latencySeries{}
	}
	s := l.series[event]
	if s == nil {
		s = &latencySeries{}
		l.series[event] = s
	}
	s.max = max(s.max, ms)
	if n := len(s.samples); n > 0 && s.samples[n-1].at == at.Unix() {
		s.samples[n-1].ms = max(s.samples[n-1].ms, ms)
		return
	}
	if len(s.samples) == latencySamples {
		s.samples = slices.Delete(s.samples, 0, 1)
	}
	s.samples = append(s.samples, latencySample{at.Unix(), ms})
}

// of is a copy of the series of an event; without samples if there is none.
func (l *latencyEvents) of(event string) latencySeries {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.series[event]
	if s == nil {
		return latencySeries{}
	}
	return latencySeries{slices.Clone(s.samples), s.max}
}

// namedSeries is a series and its event.
type namedSeries struct {
	event string
	latencySeries
}

// all are copies of all series, by name. Each has a sample.
func (l *latencyEvents) all() (list []namedSeries) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, event := range slices.Sorted(maps.Keys(l.series)) {
		s := l.series[event]
		list = append(list, namedSeries{event, latencySeries{slices.Clone(s.samples), s.max}})
	}
	return list
}

// reset forgets events, or all, and returns how many.
func (l *latencyEvents) reset(events ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(events) == 0 {
		n = len(l.series)
		clear(l.series)
	}
	for _, event := range events {
		if _, ok := l.series[event]; ok {
			delete(l.series, event)
			n++
		}
	}
	return n
}

// latencyHandlers is LATENCY with its subcommands.
func latencyHandlers() handler {
	entry := func(name string, arity int, since, complexity, syntax, summary string, tips ...string) commands.Command {
		if tips == nil {
			tips = []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}
		}
		return commands.Command{Name: name, Arity: arity, Flags: flagsAdmin, Since: since, Group: "server",
			Complexity: complexity, Syntax: syntax, Summary: summary, Tips: tips}
	}
	help := entry("help", 2, "2.8.13", "O(1)", "", "List the subcommands")
	help.Flags, help.Tips, help.Read = commands.FlagLoading|commands.FlagStale, nil, commands.Help
	return handler{
		entry: commands.Command{Name: "latency", Arity: -2, Since: "2.8.13", Group: "server", Complexity: "That of the subcommand", Summary: "What took long, and how long commands take"},
		run:   missingSubcommand,
		subs: []handler{
			{entry: entry("doctor", 2, "2.8.13", "O(1)", "", "What took long, in words, and what to do about it"), run: latencyDoctor},
			{entry: entry("graph", 3, "2.8.13", "O(1)", "event:string", "A drawing of how long something took"), run: latencyGraph},
			{entry: entry("histogram", -2, "7.0.0", "O(N) for N commands", "[command:string ...]", "How many calls of commands took up to how long"), run: latencyHistogram},
			{entry: entry("history", 3, "2.8.13", "O(1)", "event:string", "When something took how long"), run: latencyHistory},
			{entry: entry("latest", 2, "2.8.13", "O(1)", "", "What took long last"), run: latencyLatest},
			{entry: entry("reset", -2, "2.8.13", "O(1)", "[event:string ...]", "Forget what took long", "request_policy:all_nodes", "response_policy:all_succeeded"), run: latencyReset},
			{entry: help},
		},
	}
}

func latencyLatest(s *Session, _ [][]byte, w *protocol.Writer) {
	list := s.srv.latency.all()
	w.Array(len(list))
	for _, of := range list {
		last := of.samples[len(of.samples)-1]
		w.Array(4)
		w.BulkString(of.event)
		w.Int(last.at)
		w.Int(last.ms)
		w.Int(of.max)
	}
}

func latencyHistory(s *Session, args [][]byte, w *protocol.Writer) {
	samples := s.srv.latency.of(string(args[2])).samples
	w.Array(len(samples))
	for _, at := range samples {
		w.Array(2)
		w.Int(at.at)
		w.Int(at.ms)
	}
}

func latencyReset(s *Session, args [][]byte, w *protocol.Writer) {
	events := make([]string, len(args)-2)
	for i, arg := range args[2:] {
		events[i] = string(arg)
	}
	w.Int(int64(s.srv.latency.reset(events...)))
}

func latencyGraph(s *Session, args [][]byte, w *protocol.Writer) {
	series := s.srv.latency.of(string(args[2]))
	if len(series.samples) == 0 {
		w.Error(protocol.ErrNoLatencySamples(args[2]))
		return
	}
	w.Verbatim("txt", drawLatency(string(args[2]), series, time.Now().Unix()))
}

// latencyHistogram answers with the times of commands by their length, for those named, with their subcommands, or all.
func latencyHistogram(s *Session, args [][]byte, w *protocol.Writer) {
	s.srv.settleTimes()
	asked := s.srv.table.All()
	if len(args) > 2 {
		asked = nil
		for _, name := range args[2:] {
			if cmd := s.srv.table.LookupFull(name); cmd != nil {
				asked = append(append(asked, cmd), cmd.Sub...)
			}
		}
	}
	part := protocol.Writer{V: w.V}
	n := 0
	for _, cmd := range asked {
		s.srv.times.read(cmd.ID(), func(h *timeHistogram) {
			n++
			part.BulkString(cmd.FullName())
			writeHistogram(h, &part)
		})
	}
	w.Map(n)
	w.Raw(part.B)
}

func writeHistogram(h *timeHistogram, w *protocol.Writer) {
	var list [][2]int64
	h.cumulative(func(usec, count int64) { list = append(list, [2]int64{usec, count}) })
	w.Map(2)
	w.BulkString("calls")
	w.Int(h.total)
	w.BulkString("histogram_usec")
	w.Map(len(list))
	for _, row := range list {
		w.Int(row[0])
		w.Int(row[1])
	}
}

// latencyAdvice is what LATENCY DOCTOR has to say about an event.
var latencyAdvice = map[string]string{
	commandEvent: "SLOWLOG GET has the commands. Those that look at all keys (KEYS, SCAN with a large COUNT), and sketches of\n" +
		"  megabytes, take long by nature: they run beside the event loops, and nobody waits but who needs their keys.",
	fastCommandEvent: "These commands take microseconds. That one took milliseconds has another reason: no processor was free (compare\n" +
		"  used_cpu_user in INFO cpu with the clock), memory was swapped, or a long command had locked the same keys.",
	eventLoopEvent: "A turn of a loop took longer than its commands explain: no processor was free, or memory was swapped. Give the node the\n" +
		"  processors that io-loops counts on.",
	logEntryEvent: "Executing an entry of the log took long: transactions of many commands, commands of many keys, or copies of large values\n" +
		"  while a snapshot is taken. SLOWLOG GET has the commands.",
}

func latencyDoctor(s *Session, _ [][]byte, w *protocol.Writer) {
	threshold := s.srv.config().LatencyThreshold
	if threshold == 0 {
		w.Verbatim("txt", "Nothing is noted: latency-monitor-threshold is 0. CONFIG SET latency-monitor-threshold 100 has all noted that takes 100 ms and more.\n")
		return
	}
	var b strings.Builder
	for _, of := range s.srv.latency.all() {
		describeSeries(&b, of)
	}
	if b.Len() == 0 {
		fmt.Fprintf(&b, "Nothing has taken %d ms or more since LATENCY was reset. Waits for the disk are not among it: INFO persistence has log_write_stalled_ms.\n", threshold)
	}
	w.Verbatim("txt", b.String())
}

func describeSeries(b *strings.Builder, of namedSeries) {
	var sum int64
	for _, at := range of.samples {
		sum += at.ms
	}
	worst := slices.MaxFunc(of.samples, func(x, y latencySample) int { return cmp.Compare(x.ms, y.ms) })
	first, last := of.samples[0].at, of.samples[len(of.samples)-1].at
	fmt.Fprintf(b, "%s: in %d of the last %d seconds, %d ms on the average, %d ms at worst (at %s); of all times %d ms.\n  %s\n",
		of.event, len(of.samples), max(last-first+1, 1), sum/int64(len(of.samples)), worst.ms, time.Unix(worst.at, 0).UTC().Format(time.DateTime), of.max, latencyAdvice[of.event])
}
