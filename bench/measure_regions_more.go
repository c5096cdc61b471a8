package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quipu/internal/netfault"
)

// What regions cost each other: what telling takes from those who count, and how it goes with the number of regions.

const (
	resyncClients = 8 // each waits for its reply: few enough that they do not wait for each other
	healCut       = 2 * time.Second
	healRate      = 5_000 // increments a second of each region while it is cut off
	probers       = 4     // probe at once
)

// seenAt are the shares of increments whose time until another region shows them is in the plot, in hundredths of a percent.
var seenAt = []int{1000, 2500, 5000, 7500, 9000, 9500, 9900, 10_000}

// regionsMoreMeasurement is bars G6 to G8 and the plots of docs/regions.md.
func regionsMoreMeasurement(cfg config) measurement {
	keys := cfg.scaled(barKeys)
	limit := func(metric, variant string, x int, label string, atMost float64) []check {
		return []check{{label: label, num: cell{metric, variant, x}, atMost: atMost}}
	}
	return measurement{
		name:  "regions-more",
		about: "what it takes from a region to tell others, how long an increment is on its way, and the memory of a key by number of regions",
		metrics: []metric{
			{id: "regions-p99", title: fmt.Sprintf("`INCR` p99, ms, %d clients: while nothing is told, and while another region is told everything", resyncClients), xTitle: "Keys", xName: countName, digits: 2},
			{id: "regions-longest", title: "The longest of them, ms", xTitle: "Keys", xName: countName, digits: 1},
			{id: "regions-rows", title: "Rows a second on a link, where one key is incremented as fast as possible", xTitle: "Keys", xName: countName, digits: 1},
			{id: "regions-healed", title: "After all links were cut, until all regions have all, s", xTitle: "Keys", xName: countName, digits: 2},
			{id: "regions-seen-at", title: "From an increment in one region until another one shows it, ms; 80 ms there and back", xTitle: "Share of increments", xName: percentileName},
			{id: "regions-bytes-by", title: "Memory of a key, bytes", xTitle: "Regions that have counted it", xName: strconv.Itoa, digits: 1},
		},
		bars: []bar{
			{"G6", "INCR p99 while another region is told everything, ms", limit("regions-p99", regionsTold, keys, countName(keys)+" keys", 20)},
			{"G7", "rows a second on a link, one key at full load", limit("regions-rows", regionsOn, 1, "one key", 50)},
			{"G8", "after all links were cut, until all regions have all, s", limit("regions-healed", regionsOn, keys, "5,000 increments a second in each", 2)},
		},
		charts: []chartSpec{
			{file: "regions-convergence", title: "From an increment until another region shows it", about: "milliseconds; 80 ms from one region to another and back", xLabel: "share of increments seen at least this soon", metric: "regions-seen-at", scale: 1, named: true},
			{file: "regions-memory", title: "Memory of a key by number of regions", about: "bytes, with a key of 19 bytes", xLabel: "regions that have counted the key", metric: "regions-bytes-by", scale: 1},
		},
		run: func(ctx context.Context, l *lab) error {
			for _, v := range []string{regionsOff, regionsOn, regionsMany, regionsCalm, regionsBusy, regionsTold} {
				l.name[v] = setUp[v]
			}
			for _, f := range []func(context.Context, int) error{l.regionsBytes, l.regionsLoad, l.regionsResync, l.regionsFaults} {
				if err := f(ctx, keys); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// dataset is the memory of a server's data, and of nothing that is as large without them.
func (s *server) dataset(ctx context.Context) (float64, error) {
	n, err := s.infoNumber(ctx, "memory", "used_memory_dataset")
	return float64(n), err
}

// regionsBytes has one region after the other count all keys, and measures the first. The others know that one alone.
func (l *lab) regionsBytes(ctx context.Context, keys int) error {
	off, err := l.start(ctx, regionsOff)
	if err != nil {
		return err
	}
	defer off.kill()
	return l.withRegions(ctx, regionPlan{n: len(regionNames), star: true}, func(_ *netfault.Network, regions fleet) error {
		bytes := func(s, counts *server, others int) (n float64, err error) {
			if err := counts.countAll(ctx, keys); err != nil {
				return 0, counts.explain(err)
			}
			if others > 0 {
				if err := counts.told(ctx, others); err != nil {
					return 0, counts.explain(err)
				}
			}
			if n, err = s.dataset(ctx); err != nil {
				return 0, s.explain(err)
			}
			return n / float64(keys), nil
		}
		empty, err := regions[0].dataset(ctx)
		if err != nil {
			return err
		}
		without, err := off.dataset(ctx)
		if err != nil {
			return err
		}
		n, err := bytes(off, off, 0)
		if err != nil {
			return err
		}
		l.figures.add("regions-bytes-by", regionsOff, 1, n-without/float64(keys)+indexBytes)
		for i, s := range regions {
			others := 1
			if i == 0 {
				others = len(regions) - 1
			}
			if n, err = bytes(regions[0], s, others); err != nil {
				return err
			}
			n += indexBytes - empty/float64(keys)
			l.figures.add("regions-bytes-by", regionsMany, i+1, n)
			logf("%d regions: %.1f bytes a key", i+1, n)
		}
		return nil
	})
}

// regionsLoad measures how many rows are told, and how soon another region shows an increment.
func (l *lab) regionsLoad(ctx context.Context, keys int) error {
	return l.withRegions(ctx, regionPlan{n: 3}, func(_ *netfault.Network, regions fleet) error {
		eu, us := regions[0], regions[1]
		if err := l.regionsRows(ctx, eu); err != nil {
			return eu.explain(err)
		}
		if err := eu.countAll(ctx, keys); err != nil {
			return eu.explain(err)
		}
		if err := eu.told(ctx, len(regions)-1); err != nil {
			return eu.explain(err)
		}
		for _, beside := range []struct {
			variant string
			rate    int
		}{{regionsCalm, 0}, {regionsBusy, seenRate}} {
			seen, err := l.probeRegions(ctx, eu, us, keys, beside.rate, probers)
			if err != nil {
				return err
			}
			for _, at := range seenAt {
				l.figures.add("regions-seen-at", beside.variant, at, seen[min(len(seen)*at/10_000, len(seen)-1)])
			}
		}
		return nil
	})
}

// regionsRows counts the rows that a link tells while one key is incremented.
func (l *lab) regionsRows(ctx context.Context, s *server) error {
	ld := load{command: "incr", keys: 1, clients: barClients, depth: 16}
	if err := s.calibrate(ctx, l.cfg, ld); err != nil {
		return err
	}
	before, err := s.rows(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	if _, err := s.run(ctx, l.cfg, ld); err != nil {
		return err
	}
	after, err := s.rows(ctx)
	if err != nil {
		return err
	}
	took, most := time.Since(begun), 0
	for i, n := range after {
		most = max(most, n-before[i])
	}
	rate := float64(most) / took.Seconds()
	l.figures.add("regions-rows", regionsOn, 1, rate)
	logf("one key: %.1f rows a second on a link", rate)
	return nil
}

// rows is how many rows each link has told.
func (s *server) rows(ctx context.Context) (list []int, err error) {
	info, err := s.client.Info(ctx, "regions").Result()
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(info, "\r\n") {
		_, rest, ok := strings.Cut(line, ",rows=")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ",")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("INFO has no links: %q", info)
	}
	return list, nil
}

// memoryFolder makes a folder in memory; empty: there is none, or no room.
func memoryFolder() string {
	const shm, room = "/dev/shm", 2 << 30
	var s syscall.Statfs_t
	if err := syscall.Statfs(shm, &s); err != nil || s.Bavail*uint64(s.Bsize) < room {
		return ""
	}
	dir, err := os.MkdirTemp(shm, "quipu-bench-")
	if err != nil {
		return ""
	}
	return dir
}

// regionsResync measures increments of one region while another one, whose disk is empty, is told everything. The other regions have their data
// in memory, if that can be, as theirs is another disk than that of the first: what they are told is some ten MiB, synced in pieces, and on
// one disk the increments waited for that (on a busy machine p99 25 ms, and 4).
func (l *lab) regionsResync(ctx context.Context, keys int) error {
	elsewhere := memoryFolder()
	if elsewhere == "" {
		logf("all regions share one disk: there is no room in memory")
	} else {
		defer os.RemoveAll(elsewhere)
	}
	return l.withRegions(ctx, regionPlan{n: 3, elsewhere: elsewhere}, func(_ *netfault.Network, regions fleet) error {
		from := regions[0]
		if err := from.countAll(ctx, keys); err != nil {
			return from.explain(err)
		}
		if err := from.told(ctx, len(regions)-1); err != nil {
			return from.explain(err)
		}
		for range l.cfg.rounds {
			if err := l.resyncOnce(ctx, regions, keys); err != nil {
				return err
			}
		}
		return nil
	})
}

// resyncOnce is one round of regionsResync.
func (l *lab) resyncOnce(ctx context.Context, regions fleet, keys int) error {
	from, to := regions[0], regions[1]
	g := generator{addr: from.addr(), set: counterSet{name: benchmarkKey}, keys: keys, clients: resyncClients, depth: 1}
	note := func(variant string, r *loadResult, err error) error {
		if err != nil {
			return from.explain(err)
		}
		p99 := millis(r.latencies.quantile(0.99))
		l.figures.add("regions-p99", variant, keys, p99)
		l.figures.add("regions-longest", variant, keys, millis(r.latencies.max))
		logf("INCR p99, %s: %.2f ms, longest %.1f ms, %d requests in %.1f s", setUp[variant], p99, millis(r.latencies.max), r.requests, r.elapsed.Seconds())
		return nil
	}
	calm, err := g.runFor(ctx, l.cfg.runTime())
	if err := note(regionsCalm, calm, err); err != nil {
		return err
	}
	to.kill()
	if err := os.RemoveAll(to.dir); err != nil {
		return err
	}
	if err := to.launch(); err != nil {
		return err
	}
	if err := to.awaitReady(ctx, ""); err != nil {
		return err
	}
	during, err := g.runWhile(ctx, func(ctx context.Context) error {
		if err := to.awaitSize(ctx, keys); err != nil {
			return err
		}
		return from.told(ctx, len(regions)-1)
	})
	return note(regionsTold, during, err)
}

// awaitSize waits until a server has so many keys.
func (s *server) awaitSize(ctx context.Context, keys int) error {
	for n := int64(0); n < int64(keys); {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		var err error
		if n, err = s.client.DBSize(ctx).Result(); err != nil {
			return s.explain(err)
		}
	}
	return nil
}

// regionsFaults cuts all links while all regions count, heals them, and measures until all have all.
func (l *lab) regionsFaults(ctx context.Context, keys int) error {
	return l.withRegions(ctx, regionPlan{n: 3}, func(net *netfault.Network, regions fleet) error {
		for range l.cfg.rounds {
			for i := range regions {
				for j := range regions {
					net.Cut(i, j, i != j)
				}
			}
			counting, stop := context.WithTimeout(ctx, healCut)
			failed := make(chan error, len(regions))
			for _, s := range regions {
				go func() { failed <- s.countSome(counting, keys, healRate) }()
			}
			for range regions {
				if err := <-failed; err != nil {
					stop()
					return err
				}
			}
			stop()
			net.Heal()
			begun := time.Now()
			for _, s := range regions {
				if err := s.told(ctx, len(regions)-1); err != nil {
					return s.explain(err)
				}
			}
			healed := time.Since(begun).Seconds()
			l.figures.add("regions-healed", regionsOn, keys, healed)
			logf("all regions have all %.2f s after healing", healed)
		}
		return sameSums(ctx, regions, keys)
	})
}

// sameSums demands that all servers have the same counters.
func sameSums(ctx context.Context, list fleet, keys int) error {
	var first []any
	for _, s := range list {
		var values []any
		for low := 0; low < keys; low += fillBurst {
			names := make([]string, 0, fillBurst)
			for i := low; i < min(keys, low+fillBurst); i++ {
				names = append(names, string(benchmarkKey(nil, i)))
			}
			some, err := s.client.MGet(ctx, names...).Result()
			if err != nil {
				return s.explain(err)
			}
			values = append(values, some...)
		}
		if first == nil {
			first = values
		}
		if !slices.Equal(first, values) {
			return errors.New("the regions have told each other everything, and are not equal")
		}
	}
	return nil
}
