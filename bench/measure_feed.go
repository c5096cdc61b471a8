package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"quipu/internal/redistest"
)

// What the feed of changes costs those who count, and how fast it is read.

// feedBlock is how long the reader has the server wait for changes, in ms.
const feedBlock = "1000"

// feedMeasurement is bars F1 to F3.
func feedMeasurement(cfg config) measurement {
	sizes := []int{1, cfg.scaled(10_000), cfg.scaled(barKeys)}
	ratio := func(variant string, limit float64) (list []check) {
		for _, keys := range sizes {
			list = append(list, check{label: countName(keys) + " keys", num: cell{"feed", variant, keys}, den: cell{"feed", feedOff, keys}, atLeast: limit})
		}
		return list
	}
	all := sizes[len(sizes)-1]
	return measurement{
		name:  "feed",
		about: fmt.Sprintf("`INCR` of random counters without a feed, with one, and with one that a client reads; pipeline 16, %d clients, redis-benchmark", barClients),
		metrics: []metric{
			{id: "feed", title: "`INCR` at pipeline 16, requests/s", xTitle: "Keys", xName: countName},
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
				if err := l.measureFeed(ctx, keys); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// measureFeed has a server of each kind, filled with keys counters.
func (l *lab) measureFeed(ctx context.Context, keys int) error {
	var servers fleet
	var begun string // cursor of the feed that nobody reads
	defer func() { servers.kill() }()
	for _, v := range feedVariants {
		s, err := l.start(ctx, v)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		before, err := feedCursor(s)
		if v == feedOff {
			err = nil
		}
		if err != nil {
			return err
		}
		if err := s.fill(ctx, counterSet{name: benchmarkKey}, 0, keys); err != nil {
			return s.explain(err)
		}
		if v == feedIdle {
			begun = before
		}
	}
	err := l.alternate(ctx, len(servers), func(round, i int) error {
		s := servers[i]
		stop := func() error { return nil }
		if s.variant == feedRead {
			var err error
			if stop, err = followFeed(s); err != nil {
				return err
			}
		}
		m, err := s.run(ctx, l.cfg, load{command: "incr", keys: keys, clients: barClients, depth: 16})
		if stopped := stop(); err == nil {
			err = stopped
		}
		if err != nil {
			return err
		}
		l.figures.add("feed", s.variant, keys, m.rate)
		l.progress(round, s.variant, countName(keys)+" keys", m.rate, "requests/s")
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range servers {
		if s.variant == feedIdle { // at the end: for some time after that somebody reads it
			err = l.timeFeed(s, begun, keys)
		}
	}
	return err
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

// followFeed reads the feed of a server until stop is called.
func followFeed(s *server) (stop func() error, err error) {
	cursor, err := feedCursor(s)
	if err != nil {
		return nil, err
	}
	c, err := redistest.Dial(s.addr())
	if err != nil {
		return nil, err
	}
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-end:
				ended <- nil
				return
			default:
			}
			if cursor, _, err = askFeed(c, cursor, feedBlock); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() error {
		close(end)
		defer c.Close()
		return <-ended
	}, nil
}
