package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"quipu/internal/netfault"
)

// What it costs those who count that other regions count the same keys.

// regionNames are the regions, of which the first is measured: three, but where their number is. All are on this machine, and share its
// processors.
var regionNames = []string{"eu", "us", "asia", "africa", "oceania", "south", "north", "moon"}

const regionWay = 40 * time.Millisecond // from one region to another

// regionsMeasurement is bars G1 to G5.
func regionsMeasurement(cfg config) measurement {
	hot, some, many := 1, cfg.scaled(10_000), cfg.scaled(barKeys)
	ratio := func(keys int, limit float64) check {
		return check{label: countName(keys) + " keys", num: cell{"regions", regionsOn, keys}, den: cell{"regions", regionsOff, keys}, atLeast: limit, paired: true}
	}
	return measurement{
		name:  "regions",
		about: fmt.Sprintf("`INCR` of random counters that three regions share, beside a cluster that is none; pipeline 16, %d clients, redis-benchmark; short runs in turns", barClients),
		metrics: []metric{
			{id: "regions", title: "`INCR` at pipeline 16, requests/s", xTitle: "Keys", xName: countName},
			{id: cpuOf("regions"), title: "The same, CPU time of the server for each request, µs", xTitle: "Keys", xName: countName, digits: 2},
			{id: "regions-bytes", title: "Memory of a key, bytes", xTitle: "Keys", xName: countName, digits: 1},
			{id: "regions-seen", title: "From an increment in one region until another one shows it, p99, ms; 50,000 other keys change a second, 80 ms there and back", xTitle: "Keys", xName: countName},
			{id: "regions-cut", title: "After a cut, until another region has what changed, s", xTitle: "Keys", xName: countName, digits: 2},
			{id: "regions-whole", title: "Until a region with an empty disk has everything, s", xTitle: "Keys", xName: countName, digits: 2},
		},
		bars: []bar{
			{"G1", "INCR of keys that three regions share ÷ of keys that none do", []check{ratio(hot, 0.95), ratio(some, 0.9), ratio(many, 0.75)}},
			{"G2", "memory of a key that three regions have counted, bytes", []check{{label: countName(many) + " keys", num: cell{"regions-bytes", regionsOn, many}, atMost: 75}}},
			{"G3", "until another region shows an increment, p99, ms, at 80 ms there and back", []check{{label: "50,000 other keys a second", num: cell{"regions-seen", regionsOn, many}, atMost: 180}}},
			{"G4", "after a cut, until another region has all keys, s", []check{{label: countName(many) + " keys", num: cell{"regions-cut", regionsOn, many}, atMost: 5}}},
			{"G5", "until a region with an empty disk has all keys, s", []check{{label: countName(many) + " keys", num: cell{"regions-whole", regionsOn, many}, atMost: 5}}},
		},
		run: func(ctx context.Context, l *lab) error {
			for _, v := range []string{regionsOff, regionsOn} {
				l.name[v] = "Quipu, " + setUp[v]
			}
			for _, keys := range []int{hot, some, many} {
				for round := range l.cfg.rounds {
					if err := l.regionsRound(ctx, round, keys); err != nil {
						return err
					}
				}
			}
			return l.regionsTold(ctx, many)
		},
	}
}

// regionsRound starts a cluster and three regions, fills all of them, and has the cluster and the first region run in turns.
func (l *lab) regionsRound(ctx context.Context, round, keys int) error {
	return l.withRegions(ctx, regionPlan{n: 3}, func(_ *netfault.Network, regions fleet) error {
		before, err := regions[0].dataset(ctx)
		if err != nil {
			return err
		}
		off, err := l.start(ctx, regionsOff)
		if err != nil {
			return err
		}
		defer off.kill()
		for _, s := range append(regions[:3:3], off) {
			if err := s.countAll(ctx, keys); err != nil {
				return s.explain(err)
			}
		}
		for _, s := range regions {
			if err := s.told(ctx, len(regions)-1); err != nil {
				return s.explain(err)
			}
		}
		after, err := regions[0].dataset(ctx)
		if err != nil {
			return err
		}
		l.figures.add("regions-bytes", regionsOn, keys, (after-before)/float64(keys)+indexBytes)
		cfg := l.cfg
		cfg.seconds /= pairsInRound
		for n := range pairsInRound {
			for _, s := range turn(n, fleet{off, regions[0]}) {
				m, err := s.warmAndRun(ctx, cfg, load{command: "incr", keys: keys, clients: barClients, depth: 16})
				if err != nil {
					return s.explain(err)
				}
				l.figures.add("regions", s.variant, keys, m.rate)
				l.figures.add(cpuOf("regions"), s.variant, keys, m.cpu)
				l.progress(round, s.variant, "regions "+countName(keys)+" keys", m.rate, "requests/s")
				if s == regions[0] { // what is still to be told would be told while the other one is measured
					if err := s.told(ctx, len(regions)-1); err != nil {
						return s.explain(err)
					}
				}
				if err := pause(ctx, l.cfg.rest()/pairsInRound); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// regionPlan says which regions are started.
type regionPlan struct {
	n         int
	star      bool   // the first alone has links to the others, and they to it
	elsewhere string // folder for data of all but the first; empty: beside those of the first
}

// withRegions measures something of regions that are started for it, regionWay apart but for those of a star.
func (l *lab) withRegions(ctx context.Context, plan regionPlan, measure func(net *netfault.Network, regions fleet) error) error {
	net := netfault.New()
	defer net.Close()
	if !plan.star {
		net.Delay(regionWay)
	}
	regions, err := l.startRegions(ctx, net, plan)
	defer regions.kill()
	if err != nil {
		return err
	}
	return measure(net, regions)
}

// startRegions starts regions. Their ports are known when they run, so they are started again with each other's addresses.
func (l *lab) startRegions(ctx context.Context, net *netfault.Network, plan regionPlan) (list fleet, err error) {
	for range plan.n {
		s, err := l.start(ctx, regionsOn)
		if err != nil {
			return list, err
		}
		list = append(list, s)
	}
	for i, s := range list {
		var peers []string
		for j, other := range list {
			if i == j || plan.star && i != 0 && j != 0 {
				continue
			}
			address, err := net.OpenFor(i, j, other.addr())
			if err != nil {
				return list, err
			}
			peers = append(peers, regionNames[j]+"="+address)
		}
		s.kill()
		if i > 0 && plan.elsewhere != "" {
			s.dir = filepath.Join(plan.elsewhere, filepath.Base(s.dir))
		}
		s.line = append(s.line, "--region", regionNames[i], "--region-peers", strings.Join(peers, ","))
		if err := s.launch(); err != nil {
			return list, err
		}
	}
	for i, s := range list {
		if err := s.awaitReady(ctx, ""); err != nil {
			return list, err
		}
		others := plan.n - 1
		if plan.star && i != 0 {
			others = 1
		}
		if err := s.told(ctx, others); err != nil {
			return list, s.explain(err)
		}
	}
	return list, nil
}

// told waits until the other regions have what this one has counted.
func (s *server) told(ctx context.Context, others int) error {
	for end := time.Now().Add(readyLimit); ; {
		if n, err := s.client.Do(ctx, "REGION", "WAIT", others, 1000).Int(); err == nil && n == others {
			return nil
		} else if time.Now().After(end) {
			return fmt.Errorf("other regions have not what was counted: %d of %d, %w", n, others, err)
		}
	}
}

// indexBytes is what the index takes for a key, which the figures of a server are without.
const indexBytes = 7

// countAll increments all counters, which makes each a share of this region's.
func (s *server) countAll(ctx context.Context, keys int) error {
	for low := 0; low < keys; low += fillBurst {
		p := s.client.Pipeline()
		for i := low; i < min(keys, low+fillBurst); i++ {
			p.IncrBy(ctx, string(benchmarkKey(nil, i)), int64(firstValue(i)))
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

const (
	seenProbes = 150
	seenRate   = 50_000 // other increments a second
	seenTick   = 20 * time.Millisecond
)

// regionsTold measures how long it takes until one region has what another one has counted: one increment beside many, all keys after a cut,
// and all keys for a region that begins anew.
func (l *lab) regionsTold(ctx context.Context, keys int) error {
	return l.withRegions(ctx, regionPlan{n: 3}, func(net *netfault.Network, regions fleet) error {
		eu, us := regions[0], regions[1]
		if err := eu.countAll(ctx, keys); err != nil {
			return eu.explain(err)
		}
		if err := eu.told(ctx, len(regions)-1); err != nil {
			return eu.explain(err)
		}
		seen, err := l.probeRegions(ctx, eu, us, keys, seenRate, 1)
		if err != nil {
			return err
		}
		l.figures.add("regions-seen", regionsOn, keys, seen[len(seen)*99/100])
		took := func(metric string, begun time.Time) error {
			if err := us.awaitSize(ctx, keys); err != nil { // a link that is cut knows what it was told before
				return err
			}
			if err := eu.told(ctx, len(regions)-1); err != nil {
				return eu.explain(err)
			}
			took := time.Since(begun).Seconds()
			l.figures.add(metric, regionsOn, keys, took)
			logf("%s: %.2f s", metric, took)
			return nil
		}
		net.Cut(0, 1, true)
		net.Cut(0, 2, true)
		if err := eu.countAll(ctx, keys); err != nil {
			return eu.explain(err)
		}
		net.Heal()
		if err := took("regions-cut", time.Now()); err != nil {
			return err
		}
		us.kill()
		if err := os.RemoveAll(us.dir); err != nil {
			return err
		}
		if err := us.launch(); err != nil {
			return err
		}
		if err := us.awaitReady(ctx, ""); err != nil {
			return err
		}
		return took("regions-whole", time.Now())
	})
}

// probeRegions increments a key in one region and looks for it in another one, again and again, several probers at once, while other keys change,
// rate a second. It returns how long that took, in ms, ascending.
func (l *lab) probeRegions(ctx context.Context, from, to *server, keys, rate, probers int) (seen []float64, err error) {
	ctx, stop := context.WithCancel(ctx)
	load := make(chan error, 1)
	go func() { load <- from.countSome(ctx, keys, rate) }()
	defer func() { stop(); <-load }()
	if err := pause(ctx, time.Second); err != nil {
		return nil, err
	}
	type probed struct {
		seen []float64
		err  error
	}
	done := make(chan probed)
	for n := range probers {
		go func() {
			seen, err := probe(ctx, from, to, fmt.Sprintf("probe:%d:%d:", rate, n), max(l.cfg.scaled(seenProbes), 10))
			done <- probed{seen, err}
		}()
	}
	for range probers {
		one := <-done
		seen, err = append(seen, one.seen...), errors.Join(err, one.err)
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(seen)
	logf("an increment is seen after %.0f ms (median), %.0f ms (p99), beside %d others a second", seen[len(seen)/2], seen[len(seen)*99/100], rate)
	return seen, nil
}

// probe is one prober of probeRegions.
func probe(ctx context.Context, from, to *server, name string, probes int) (seen []float64, err error) {
	for i := range probes {
		begun, key := time.Now(), name+strconv.Itoa(i)
		if err := from.client.Incr(ctx, key).Err(); err != nil {
			return nil, from.explain(err)
		}
		for {
			n, err := to.client.Exists(ctx, key).Result()
			if err != nil {
				return nil, to.explain(err)
			}
			if n == 1 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		seen = append(seen, millis(time.Since(begun)))
	}
	return seen, nil
}

// countSome increments random counters, rate a second, until the context ends.
func (s *server) countSome(ctx context.Context, keys, rate int) error {
	for tick := time.NewTicker(seenTick); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
		p := s.client.Pipeline()
		for range rate * int(seenTick/time.Millisecond) / 1000 {
			p.Incr(ctx, string(benchmarkKey(nil, rand.IntN(keys))))
		}
		if _, err := p.Exec(ctx); err != nil && ctx.Err() == nil {
			return s.explain(err)
		}
	}
}
