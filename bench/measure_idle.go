package main

import (
	"context"
	"fmt"
)

// Figures of the idle measurement: x is the pipeline's depth of the busy
// connections, in the metric "idle-beside" with the idle ones open and in
// "idle-alone" without.
var idleDepths = []int{1, 16}

// idleMeasurement is bar 11.
func idleMeasurement(cfg config) measurement {
	idle := cfg.scaled(5000)
	var beside []check
	for _, depth := range idleDepths {
		beside = append(beside, check{
			label: depthName(depth), num: cell{"idle-beside", quipuQuorum, depth}, den: cell{"idle-alone", quipuQuorum, depth}, atLeast: 0.9,
		})
	}
	return measurement{
		name:  "idle",
		about: fmt.Sprintf("%s connections that say nothing, and `INCR` on %d others beside them", grouped(float64(idle), 0), barClients),
		metrics: []metric{
			{id: "idle-memory", title: "Resident memory of an idle connection, bytes", xTitle: "Idle", xName: countName},
			throughputMetric("idle-alone", "`INCR`, no idle connections"),
			throughputMetric("idle-beside", "`INCR` beside the idle connections"),
		},
		bars: []bar{
			{"11", "memory of an idle connection, bytes", []check{{label: "each", num: cell{"idle-memory", quipuQuorum, idle}, atMost: 4096}}},
			{"11", "throughput beside idle connections ÷ alone", beside},
		},
		run: func(ctx context.Context, l *lab) error {
			variants := []string{quipuQuorum, peerMemory}
			return l.alternate(ctx, len(variants), func(round, i int) error {
				return l.measureIdle(ctx, round, variants[i], idle)
			})
		},
	}
}

// measureIdle starts a new server each round and reads the memory first: what
// filling and load leave behind would be used by the connections. Which of the
// throughputs comes first alternates.
func (l *lab) measureIdle(ctx context.Context, round int, variant string, idle int) error {
	s, err := l.start(ctx, variant)
	if err != nil {
		return err
	}
	defer s.kill()
	if err := l.idleMemory(ctx, s, round, idle); err != nil {
		return s.explain(err)
	}
	keys := l.cfg.scaled(barKeys)
	if err := s.fill(ctx, counterSet{name: benchmarkKey}, 0, keys); err != nil {
		return s.explain(err)
	}
	alone := func() error { return l.idleThroughput(ctx, s, round, "idle-alone", keys) }
	beside := func() error {
		conns, err := openIdle(ctx, s.addr(), idle)
		if err != nil {
			return s.explain(err)
		}
		defer closeConns(conns)
		return l.idleThroughput(ctx, s, round, "idle-beside", keys)
	}
	steps := []func() error{alone, beside}
	for i := range steps {
		if err := steps[(i+round)%len(steps)](); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) idleMemory(ctx context.Context, s *server, round, idle int) error {
	if err := pause(ctx, l.cfg.settle()); err != nil {
		return err
	}
	before, err := s.resident()
	if err != nil {
		return err
	}
	conns, err := openIdle(ctx, s.addr(), idle)
	if err != nil {
		return err
	}
	defer closeConns(conns)
	if err := pause(ctx, l.cfg.settle()); err != nil {
		return err
	}
	after, err := s.resident()
	if err != nil {
		return err
	}
	each := max(after-before, 0) / float64(idle)
	l.figures.add("idle-memory", s.variant, idle, each)
	l.progress(round, s.variant, "idle connection", each, "bytes")
	return nil
}

func (l *lab) idleThroughput(ctx context.Context, s *server, round int, metric string, keys int) error {
	for _, depth := range idleDepths {
		m, err := s.run(ctx, l.cfg, load{command: "incr", keys: keys, clients: barClients, depth: depth})
		if err != nil {
			return err
		}
		l.figures.add(metric, s.variant, depth, m.rate)
		l.progress(round, s.variant, fmt.Sprintf("%s P=%d", metric, depth), m.rate, "requests/s")
	}
	return nil
}
