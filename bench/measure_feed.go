package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"quipu/internal/redistest"
)

// What the feed of changes costs those who count, and how fast it is read.

// feedBlock is how long the reader has the server wait for changes, in ms.
const feedBlock = "1000"

// feedMeasurement is bars F1 to F3.
func feedMeasurement(cfg config) measurement {
	sizes := []int{1, cfg.scaled(10_000), cfg.scaled(barKeys)}
	all := sizes[len(sizes)-1]
	ratio := func(variant string, limit float64) (list []check) {
		for _, keys := range sizes {
			metric := "feed"
			if variant == feedRead && keys == all {
				metric = "feed-long"
			}
			list = append(list, check{label: countName(keys) + " keys", num: cell{metric, variant, keys}, den: cell{metric, feedOff, keys}, atLeast: limit, paired: true})
		}
		return list
	}
	return measurement{
		name:  "feed",
		about: fmt.Sprintf("`INCR` of random counters without a feed, with one, and with one that a client reads; pipeline 16, %d clients, redis-benchmark; short runs in turns", barClients),
		metrics: []metric{
			{id: "feed", title: "`INCR` at pipeline 16, requests/s", xTitle: "Keys", xName: countName},
			{id: cpuOf("feed"), title: "The same, CPU time of the server for each request, µs", xTitle: "Keys", xName: countName, digits: 2},
			{id: "feed-long", title: "The same in runs of " + trimFloat(cfg.seconds*feedLong) + " s", xTitle: "Keys", xName: countName},
			{id: cpuOf("feed-long"), title: "The same, CPU time of the server for each request, µs", xTitle: "Keys", xName: countName, digits: 2},
			{id: "feed-read", title: "Reading the feed after all keys have changed, s", xTitle: "Keys", xName: countName},
		},
		bars: []bar{
			{"F1", "INCR with a feed that nobody reads ÷ without a feed", ratio(feedIdle, 0.98)},
			{"F2", "INCR with a feed that one client reads ÷ without a feed", ratio(feedRead, 0.95)},
			{"F3", "reading all keys from the feed, s", []check{{label: countName(all) + " keys", num: cell{"feed-read", feedIdle, all}, atMost: 2}}},
		},
		run: func(ctx context.Context, l *lab) error {
			for _, v := range feedVariants {
				l.name[v] = "Quipu, " + setUp[v]
			}
			for _, keys := range sizes {
				if err := l.measureFeed(ctx, keys, keys == all); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// feedLong is how many times as long as others the runs are in which many keys are read: 25 s at full length. A reader of
// 1,000,000 keys is given them every 24 s or so while they are counted, and at once when counting stops: a short run has too
// many of its passes, or none.
const feedLong = 10

// measureFeed measures what the feed costs in short runs that alternate between a server of each kind, as -before
// does with two builds, and for the same reason: what is measured is less than the machine changes by within seconds.
func (l *lab) measureFeed(ctx context.Context, keys int, many bool) error {
	cfg := l.cfg
	cfg.seconds /= pairsInRound
	requests := map[string]map[load]int{feedOff: {}, feedIdle: {}, feedRead: {}}
	for round := range l.cfg.rounds {
		if err := l.feedRound(ctx, cfg, round, keys, many, requests); err != nil {
			return err
		}
	}
	return nil
}

// feedRound starts and fills the servers, has them run in turns and, in the last round, reads all of the feed.
func (l *lab) feedRound(ctx context.Context, cfg config, round, keys int, many bool, requests map[string]map[load]int) error {
	servers, begun, err := l.startFeeds(ctx, round, keys, requests)
	defer func() { servers.kill() }()
	if err != nil {
		return err
	}
	for n := range pairsInRound {
		for _, s := range turn(n, servers) {
			if s.variant == feedRead && many {
				continue
			}
			if err := l.feedRun(ctx, cfg, "feed", round, keys, s); err != nil {
				return err
			}
		}
	}
	cfg.seconds = l.cfg.seconds * feedLong
	for _, s := range servers {
		if s.variant != feedIdle && many {
			s.requests = map[load]int{}
			if err := l.feedRun(ctx, cfg, "feed-long", round, keys, s); err != nil {
				return err
			}
		}
	}
	if round < l.cfg.rounds-1 {
		return nil
	}
	for _, s := range servers {
		if s.variant == feedIdle { // at the end: for some time after that somebody reads it
			err = l.timeFeed(s, begun, keys)
		}
	}
	return err
}

// startFeeds starts and fills a server of each kind, in another order each round. begun is the cursor of the feed that nobody reads.
func (l *lab) startFeeds(ctx context.Context, round, keys int, requests map[string]map[load]int) (servers fleet, begun string, err error) {
	for _, v := range turn(round, feedVariants) {
		s, err := l.start(ctx, v)
		if err != nil {
			return servers, "", err
		}
		servers = append(servers, s)
		s.requests = requests[v]
		if v == feedIdle {
			if begun, err = feedCursor(s); err != nil {
				return servers, "", err
			}
		}
		if err := s.fill(ctx, counterSet{name: benchmarkKey}, 0, keys); err != nil {
			return servers, "", s.explain(err)
		}
	}
	return servers, begun, pause(ctx, l.cfg.settle())
}

// feedRun is one run on one server.
func (l *lab) feedRun(ctx context.Context, cfg config, metric string, round, keys int, s *server) error {
	stop := func() error { return nil }
	if s.variant == feedRead {
		var err error
		if stop, err = followFeed(s); err != nil {
			return err
		}
	}
	m, err := s.warmAndRun(ctx, cfg, load{command: "incr", keys: keys, clients: barClients, depth: 16})
	if stopped := stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return err
	}
	l.figures.add(metric, s.variant, keys, m.rate)
	l.figures.add(cpuOf(metric), s.variant, keys, m.cpu)
	l.progress(round, s.variant, metric+" "+countName(keys)+" keys", m.rate, "requests/s")
	return pause(ctx, l.cfg.rest()/pairsInRound)
}

// feedCursor is where the feed is now.
func feedCursor(s *server) (string, error) {
	c, err := redistest.Dial(s.addr())
	if err != nil {
		return "", err
	}
	defer c.Close()
	cursor, _, err := askFeed(c, "$", "0")
	return cursor, err
}

// askFeed reads a page, and returns the next cursor and the number of rows. It looks at as little of the reply as it can: what is
// measured is the server.
func askFeed(c *redistest.Conn, cursor, block string) (next string, rows int, err error) {
	if err := c.SendCommand("FEED", "READ", cursor, "COUNT", "10000", "BLOCK", block); err != nil {
		return "", 0, err
	}
	raw, err := c.ReadRaw()
	if err != nil {
		return "", 0, err
	}
	// *3, the length of the cursor, the cursor, the stamp, the number of rows
	lines := strings.SplitN(string(raw[:min(len(raw), 200)]), "\r\n", 6)
	if len(lines) < 6 || lines[0] != "*3" {
		return "", 0, fmt.Errorf("FEED READ: %.100q", raw)
	}
	rows, err = strconv.Atoi(lines[4][1:])
	return lines[2], rows, err
}

// timeFeed reads everything that has changed since a cursor, and checks how much that is.
func (l *lab) timeFeed(s *server, cursor string, keys int) error {
	c, err := redistest.Dial(s.addr())
	if err != nil {
		return err
	}
	defer c.Close()
	begin, rows := time.Now(), 0
	for {
		next, n, err := askFeed(c, cursor, "0")
		if err != nil {
			return err
		}
		cursor, rows = next, rows+n
		if n == 0 && !strings.Contains(cursor, "/") {
			break
		}
	}
	took := time.Since(begin).Seconds()
	if rows < keys {
		return fmt.Errorf("the feed has %d rows for %d keys", rows, keys)
	}
	l.figures.add("feed-read", s.variant, keys, took)
	logf("%d rows of the feed in %.2f s", rows, took)
	return nil
}

// followFeed reads the feed of a server until stop is called, which ends the connection at once: a server whose load has ended
// would give the reader all that is left, while the next one is measured.
func followFeed(s *server) (stop func() error, err error) {
	cursor, err := feedCursor(s)
	if err != nil {
		return nil, err
	}
	c, err := redistest.Dial(s.addr())
	if err != nil {
		return nil, err
	}
	var stopped atomic.Bool
	ended := make(chan error, 1)
	go func() {
		for {
			if cursor, _, err = askFeed(c, cursor, feedBlock); err != nil {
				if stopped.Load() {
					err = nil
				}
				ended <- err
				return
			}
		}
	}()
	return func() error {
		stopped.Store(true)
		c.Close()
		return <-ended
	}, nil
}
