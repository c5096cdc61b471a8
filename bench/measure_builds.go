package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// What -before measures of two builds.

const (
	ackQuorum = "quorum"
	ackLocal  = "local"
)

// buildKeys are the numbers of counters that INCR is measured with.
var buildKeys = []int{1, 10_000, barKeys}

// pairsInRound is how often each load runs on both servers of a round, and how often
// both are started; the time of a run is divided among them. With one pair of long
// runs the two builds are measured seconds apart, and what the machine gives changes
// within a second: eight rounds found one build beside itself at 0.87 to 1.06.
const pairsInRound = 4

// buildMeasurements are all there are, in the order in which they run.
func buildMeasurements(cfg config) []measurement {
	cfg.seconds /= pairsInRound
	benchmark := func(name, what string, ack string, keys int, ld load, depths ...int) contest {
		return contest{
			metric: requestsMetric(name+" "+strconv.Itoa(keys), what), ack: ack, depths: depths,
			fill: fillCounters(keys),
			send: func(ctx context.Context, s *server, depth int) (sample, error) {
				return s.warmAndRun(ctx, cfg, ld.at(depth))
			},
		}
	}
	incr := func(name, ack string) []contest {
		var all []contest
		for _, n := range buildKeys {
			keys := cfg.scaled(n)
			what := fmt.Sprintf("`INCR`, ack %s, %s keys", ack, countName(keys))
			if keys == 1 {
				what = fmt.Sprintf("`INCR`, ack %s, one key", ack)
			}
			c := benchmark(name, what, ack, keys, load{command: "incr", keys: keys, clients: barClients}, 1, 16, 100)
			c.check = func(ctx context.Context, s *server) error { return s.checkSum(ctx, keys) }
			all = append(all, c)
		}
		return all
	}
	keys := cfg.scaled(barKeys)
	some := countName(keys) + " keys"
	get := benchmark("get", "`GET`, "+some, ackQuorum, keys, load{command: "get", keys: keys, clients: barClients}, 16, 100)
	set := benchmark("set", "`SET` of a number, "+some, ackQuorum, keys,
		load{command: "set", args: keyPattern + " 1234567", keys: keys, clients: barClients}, 16)
	return []measurement{
		contests("incr", "`INCR` of random counters that exist, ack quorum", incr("incr", ackQuorum)...),
		contests("incr-local", "the same, ack local", incr("incr-local", ackLocal)...),
		contests("get", "`GET` of random counters that exist", get),
		contests("set", "`SET` of random counters that exist, to a number", set),
		contests("multi", "`MULTI`, two `INCR` of random counters that exist, `EXEC`; our own load", multiContest(cfg, keys)),
		contests("pfadd", "`PFADD` of new elements, and to one large key", newElementsContest(cfg), largeKeyContest(cfg)),
		countersMeasurement(cfg),
	}
}

// at is the load at a depth of the pipeline.
func (ld load) at(depth int) load {
	ld.depth = depth
	return ld
}

// contest is one load at some pipeline depths on two servers, one of each build.
type contest struct {
	metric metric
	ack    string // the servers' ack level
	depths []int
	fill   func(ctx context.Context, s *server) error
	send   func(ctx context.Context, s *server, depth int) (sample, error)
	check  func(ctx context.Context, s *server) error // that the requests did what they should; nil: send checks it
}

func requestsMetric(id, what string) metric { return metric{id: id, title: what, xName: depthName} }

// contests is a measurement that runs some contests.
func contests(name, about string, all ...contest) measurement {
	m := measurement{name: name, about: about}
	for _, c := range all {
		m.metrics = append(m.metrics, c.metric)
	}
	m.run = func(ctx context.Context, l *lab) error {
		for _, c := range all {
			if err := l.contest(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
	return m
}

func (l *lab) contest(ctx context.Context, c contest) error {
	// The servers of a round know from those before them how many requests fill a run.
	requests := map[string]map[load]int{buildBefore: {}, buildAfter: {}}
	for round := range l.cfg.rounds {
		if err := l.contestRound(ctx, c, round, requests); err != nil {
			return err
		}
	}
	return nil
}

// contestRound starts both servers, runs the load at each depth on both in turns and,
// in the last round, checks what came of it: with a million keys that takes as long as
// a run.
func (l *lab) contestRound(ctx context.Context, c contest, round int, requests map[string]map[load]int) error {
	var servers fleet
	defer func() { servers.kill() }()
	for _, build := range turn(round, bothBuilds) { // the first one has had more time since it was filled
		s, err := l.start(ctx, build, "--ack", c.ack)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		s.requests = requests[build]
		if err := c.fill(ctx, s); err != nil {
			return s.explain(err)
		}
	}
	if err := pause(ctx, l.cfg.settle()); err != nil {
		return err
	}
	for i, depth := range c.depths {
		for pair := range pairsInRound {
			if err := l.contestPair(ctx, c, round, depth, turn(i+pair, servers)); err != nil {
				return err
			}
		}
	}
	if c.check == nil || round < l.cfg.rounds-1 {
		return nil
	}
	for _, s := range servers {
		if err := c.check(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// contestPair runs the load once on both servers.
func (l *lab) contestPair(ctx context.Context, c contest, round, depth int, servers fleet) error {
	found := map[cell]float64{}
	for _, s := range servers {
		if err := pause(ctx, l.cfg.rest()/pairsInRound); err != nil {
			return err
		}
		m, err := c.send(ctx, s, depth)
		if err != nil {
			return err
		}
		found[cell{c.metric.id, s.variant, depth}] = m.rate
		found[cell{cpuOf(c.metric.id), s.variant, depth}] = m.cpu
		l.progress(round, s.variant, c.metric.id+" "+depthName(depth), m.rate, "requests/s")
	}
	l.addPair(found)
	return nil
}

// addPair leaves what one pair of runs has found of both builds. The figures of a pair
// have the same place in the lists of both, as ratios are of one pair: where one of
// them is zero, which is a CPU time that is too short to be known, both are left
// out.
func (l *lab) addPair(found map[cell]float64) {
	for c, value := range found {
		other := c
		other.variant = buildBefore
		if c.variant == buildBefore {
			other.variant = buildAfter
		}
		if value != 0 && found[other] != 0 {
			l.figures.add(c.metric, c.variant, c.x, value)
		}
	}
}

// cpuOf is the metric of the CPU time that belongs to another.
func cpuOf(metric string) string { return metric + "-cpu" }

// warmAndRun sends a load for an eighth of a run, which is not counted, and then
// for the configured time: the first requests to a new process cost more.
func (s *server) warmAndRun(ctx context.Context, cfg config, ld load) (sample, error) {
	if known := s.requests[ld]; known > 0 { // else run warms the server up as it learns the number
		if _, err := s.send(ctx, cfg, ld, requestsFor(ld, float64(known)/8)); err != nil {
			return sample{}, s.explain(err)
		}
	}
	return s.run(ctx, cfg, ld)
}

// generate sends our own load for a time; each command of the script is a request.
func (s *server) generate(ctx context.Context, g generator, d time.Duration) (sample, error) {
	before, cpuErr := s.cpuTime()
	result, err := g.runFor(ctx, d)
	if err != nil {
		return sample{}, s.explain(err)
	}
	m := sample{rate: float64(result.requests) / result.elapsed.Seconds()}
	if after, err := s.cpuTime(); err == nil && cpuErr == nil {
		m.cpu = float64(after-before) / float64(time.Microsecond) / float64(result.requests)
	}
	return m, nil
}

func fillCounters(keys int) func(context.Context, *server) error {
	return func(ctx context.Context, s *server) error {
		return s.fill(ctx, counterSet{name: benchmarkKey}, 0, keys)
	}
}

func nothingToFill(context.Context, *server) error { return nil }

func multiContest(cfg config, keys int) contest {
	transactions := transactionScript(keys)
	return contest{
		metric: requestsMetric("multi", fmt.Sprintf("`MULTI`, two `INCR`, `EXEC`, %s keys, as one request", countName(keys))),
		ack:    ackQuorum, depths: []int{16}, fill: fillCounters(keys),
		send: func(ctx context.Context, s *server, depth int) (sample, error) {
			g := generator{addr: s.addr(), clients: barClients, depth: depth, script: transactions}
			if _, err := s.generate(ctx, g, cfg.runTime()/8); err != nil { // not counted, as in warmAndRun
				return sample{}, err
			}
			return s.generate(ctx, g, cfg.runTime())
		},
	}
}

// transactionCount is how many transactions are made beforehand.
const transactionCount = 1 << 16

// transactionScript is transactions that each increment two random counters.
func transactionScript(keys int) *script {
	s := &script{expect: expectTransactions}
	random := rand.New(rand.NewPCG(1, 1))
	var name []byte
	for range transactionCount {
		s.commands = appendBulk(append(s.commands, "*1\r\n"...), []byte("MULTI"))
		for range 2 {
			name = benchmarkKey(name[:0], random.IntN(keys))
			s.commands = appendBulk(appendBulk(append(s.commands, "*2\r\n"...), []byte("INCR")), name)
		}
		s.commands = appendBulk(append(s.commands, "*1\r\n"...), []byte("EXEC"))
	}
	s.size = len(s.commands) / transactionCount
	return s
}

// expectTransactions reads the replies to n transactions of two increments.
func expectTransactions(r *bufio.Reader, n int) error {
	for range n {
		for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n"} {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return noEOF(err)
			}
			if string(line) != want {
				return fmt.Errorf("the server answered %.200q", line)
			}
		}
		if err := expectIntegers(r, 2); err != nil {
			return err
		}
	}
	return nil
}

func newElementsContest(cfg config) contest {
	return contest{
		metric: requestsMetric("pfadd-new", "`PFADD` of a new element to one of "+countName(manyKeys)+" keys"),
		ack:    ackQuorum, depths: []int{sketchDepth}, fill: nothingToFill,
		send: func(ctx context.Context, s *server, depth int) (sample, error) {
			return s.warmAndRun(ctx, cfg, addNew.at(depth))
		},
		check: func(ctx context.Context, s *server) error { return s.explain(s.checkElements(ctx)) },
	}
}

func largeKeyContest(cfg config) contest {
	return contest{
		metric: requestsMetric("pfadd-large", "`PFADD` of a random element to one key of "+countName(largeElements)),
		ack:    ackQuorum, depths: []int{sketchDepth},
		fill: func(ctx context.Context, s *server) error { return s.addElements(ctx, largeKey, 0, largeElements) },
		send: func(ctx context.Context, s *server, depth int) (sample, error) {
			return s.warmAndRun(ctx, cfg, addToLarge.at(depth))
		},
		check: func(ctx context.Context, s *server) error { return s.checkLarge(ctx) },
	}
}

// Metrics of what one set of counters costs.
const (
	bytesPerKey    = "memory"
	startAfterKill = "start-kill"
	startAfterStop = "start-stop"
)

// countersMeasurement fills both servers, reads their memory, ends them with kill -9
// and starts them again in turns; then the same after they were stopped as an operator
// does.
func countersMeasurement(cfg config) measurement {
	keys := cfg.scaled(barKeys)
	if cfg.long {
		keys = cfg.scaled(5 * barKeys)
	}
	some := countName(keys) + " counters"
	cost := func(id, title string, digits int) metric {
		return metric{id: id, title: title, xName: func(int) string { return "" }, digits: digits, less: true}
	}
	start := func(id, how string) []metric {
		return []metric{
			cost(cpuOf(id), "Start to first answer after "+how+", "+some+", CPU, s", 2),
			cost(id, "Start to first answer after "+how+", "+some+", s", 3),
		}
	}
	return measurement{
		name:  "memory",
		about: fmt.Sprintf("resident memory with %s, keys of 18 bytes, less that of the empty server; start after kill -9 and after a graceful stop", some),
		metrics: append(append([]metric{cost(bytesPerKey, "Bytes per key, "+some, 1)},
			start(startAfterKill, "kill -9")...), start(startAfterStop, "a graceful stop")...),
		run: func(ctx context.Context, l *lab) error {
			for round := range l.cfg.rounds {
				if err := l.countersRound(ctx, round, keys); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (l *lab) countersRound(ctx context.Context, round, keys int) error {
	var servers fleet
	defer func() { servers.kill() }()
	found := map[cell]float64{}
	for _, build := range turn(round, bothBuilds) {
		s, err := l.start(ctx, build, "--ack", ackQuorum)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		perKey, err := l.fillAndWeigh(ctx, s, keys)
		if err != nil {
			return s.explain(err)
		}
		found[cell{bytesPerKey, build, keys}] = perKey
		l.progress(round, build, bytesPerKey, perKey, "bytes/key")
	}
	l.addPair(found)
	if err := l.starts(ctx, startAfterKill, round, keys, servers); err != nil {
		return err
	}
	// A process that is killed after a graceful stop and a start leaves the snapshot of
	// the stop and a log of a few bytes. So the next start finds what the first did.
	for _, s := range servers {
		if err := s.terminate(ctx); err != nil {
			return s.explain(err)
		}
		if _, err := s.relaunch(ctx, string(likesKey(nil, keys-1))); err != nil {
			return s.explain(err)
		}
	}
	return l.starts(ctx, startAfterStop, round, keys, servers)
}

// fillAndWeigh fills a server and measures its bytes for each key.
func (l *lab) fillAndWeigh(ctx context.Context, s *server, keys int) (float64, error) {
	empty, err := s.resident()
	if err != nil {
		return 0, err
	}
	if err := s.fill(ctx, counterSet{name: likesKey}, 0, keys); err != nil {
		return 0, err
	}
	if err := pause(ctx, l.cfg.settle()); err != nil {
		return 0, err
	}
	return s.perKey(empty, keys)
}

// starts kills both servers and starts them again, in turns.
func (l *lab) starts(ctx context.Context, metric string, round, keys int, servers fleet) error {
	for pair := range pairsInRound {
		found := map[cell]float64{}
		for _, s := range turn(pair, servers) {
			s.crash()
			took, err := s.relaunch(ctx, string(likesKey(nil, keys-1)))
			if err != nil {
				return s.explain(err)
			}
			used, err := s.cpuTime()
			if err != nil {
				return s.explain(err)
			}
			if err := s.checkSize(ctx, keys); err != nil {
				return s.explain(err)
			}
			found[cell{metric, s.variant, keys}] = took.Seconds()
			found[cell{cpuOf(metric), s.variant, keys}] = used.Seconds()
			l.progress(round, s.variant, metric, took.Seconds(), "s")
		}
		l.addPair(found)
	}
	return nil
}
