package main

import (
	"context"
	"fmt"
	"strconv"
)

// pipelineDepths of the throughput figures; the bars use 1, 16 and 100, the
// other gives the plot its shape.
var pipelineDepths = []int{1, 4, 16, 100}

// Keys and connections of most bars.
const (
	barKeys    = 1_000_000
	barClients = 50
)

func depthName(x int) string { return "P=" + strconv.Itoa(x) }

func throughputMetric(id, title string) metric {
	return metric{id: id, title: title + ", requests/s", xTitle: "Pipeline", xName: depthName}
}

// cpuMetric is the CPU time of the server beside the throughput that a sweep leaves in a metric.
func cpuMetric(of, title string) metric {
	return metric{id: of + "-cpu", title: title + ", CPU of the server for each request, user and system, µs",
		xTitle: "Pipeline", xName: depthName, digits: 2}
}

// sweep runs the load at each depth on each server, in alternating rounds. It
// leaves the throughput in metric, and the server's CPU time in metric + "-cpu".
func (l *lab) sweep(ctx context.Context, servers fleet, metric string, ld load, depths []int) error {
	n := len(servers)
	for round := range l.cfg.rounds {
		for _, depth := range depths {
			ld.depth = depth
			for i := range n {
				s := servers[(i+round)%n]
				m, err := s.run(ctx, l.cfg, ld)
				if err != nil {
					return err
				}
				l.figures.add(metric, s.variant, depth, m.rate)
				if m.cpu > 0 {
					l.figures.add(metric+"-cpu", s.variant, depth, m.cpu)
				}
				l.progress(round, s.variant, fmt.Sprintf("%s P=%d", metric, depth), m.rate, "requests/s")
				if err := pause(ctx, l.cfg.rest()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// incrMeasurement is bars 1, 2, 3 and 6: they compare the same runs.
func incrMeasurement(cfg config) measurement {
	cpu := func(depth int, atMost float64) check {
		return check{label: depthName(depth), num: cell{"incr-cpu", quipuLocal, depth}, den: cell{"incr-cpu", peerMemory, depth}, atMost: atMost}
	}
	return measurement{
		name:  "incr",
		about: fmt.Sprintf("`INCR` of %s random counters that exist, %d clients, redis-benchmark", grouped(float64(cfg.scaled(barKeys)), 0), barClients),
		metrics: []metric{
			throughputMetric("incr", "`INCR`"),
			cpuMetric("incr", "`INCR`"),
		},
		bars: []bar{
			{"1", "durable, defaults ÷ appendfsync always, INCR", depthChecks("incr", quipuQuorum, peerAlways, map[int]float64{1: 1.1, 16: 1.9, 100: 2.7})},
			{"2", "durable ÷ no persistence, INCR", depthChecks("incr", quipuQuorum, peerMemory, map[int]float64{16: 0.95, 100: 1.7})},
			{"3", "ack local ÷ no persistence, INCR", depthChecks("incr", quipuLocal, peerMemory, map[int]float64{1: 0.95, 16: 1.8, 100: 2.5})},
			{"6", "CPU per request, ack local ÷ no persistence", []check{cpu(1, 1.05), cpu(16, 0.6), cpu(100, 0.45)}},
		},
		charts: []chartSpec{{
			file: "throughput-by-pipeline", title: "Throughput by pipeline depth",
			about: "INCR of random counters, thousands of requests per second", xLabel: "commands on their way on each connection", metric: "incr",
			scale: 1e-3, logX: true, logY: true,
		}},
		run: func(ctx context.Context, l *lab) error {
			keys := cfg.scaled(barKeys)
			servers, err := l.startFilled(ctx, keys, allVariants...)
			defer servers.kill()
			if err != nil {
				return err
			}
			if err := l.sweep(ctx, servers, "incr", load{command: "incr", keys: keys, clients: barClients}, pipelineDepths); err != nil {
				return err
			}
			for _, s := range servers {
				if err := s.checkSum(ctx, keys); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// manyClientsMeasurement is the last part of bar 1.
func manyClientsMeasurement(cfg config) measurement {
	const clients = 500
	return measurement{
		name:    "clients",
		about:   fmt.Sprintf("the same with %d clients", clients),
		metrics: []metric{throughputMetric("incr-500", "`INCR`, 500 clients")},
		bars: []bar{{"1", "durable, defaults ÷ appendfsync always, INCR", []check{{
			label: "P=1, 500 clients", num: cell{"incr-500", quipuQuorum, 1}, den: cell{"incr-500", peerAlways, 1}, atLeast: 1}}}},
		run: func(ctx context.Context, l *lab) error {
			keys := cfg.scaled(barKeys)
			servers, err := l.startFilled(ctx, keys, quipuQuorum, peerAlways)
			defer servers.kill()
			if err != nil {
				return err
			}
			return l.sweep(ctx, servers, "incr-500", load{command: "incr", keys: keys, clients: clients}, []int{1})
		},
	}
}

// hotKeyMeasurement is bar 4.
func hotKeyMeasurement(config) measurement {
	return measurement{
		name:    "hotkey",
		about:   fmt.Sprintf("`INCR` of one counter, %d clients, redis-benchmark", barClients),
		metrics: []metric{throughputMetric("hotkey", "`INCR` of one counter"), cpuMetric("hotkey", "`INCR` of one counter")},
		bars: []bar{{"4", "ack local ÷ no persistence, INCR of one key",
			depthChecks("hotkey", quipuLocal, peerMemory, map[int]float64{16: 0.95, 100: 1.2})}},
		run: func(ctx context.Context, l *lab) error {
			servers, err := l.startFilled(ctx, 1, quipuQuorum, quipuLocal, peerMemory)
			defer servers.kill()
			if err != nil {
				return err
			}
			return l.sweep(ctx, servers, "hotkey", load{command: "incr", clients: barClients}, []int{16, 100})
		},
	}
}

// getMeasurement is bar 5.
func getMeasurement(cfg config) measurement {
	return measurement{
		name:    "get",
		about:   fmt.Sprintf("`GET` of %s random counters that exist, %d clients, redis-benchmark", grouped(float64(cfg.scaled(barKeys)), 0), barClients),
		metrics: []metric{throughputMetric("get", "`GET`")},
		bars: []bar{{"5", "GET of existing keys, defaults ÷ no persistence",
			depthChecks("get", quipuQuorum, peerMemory, map[int]float64{16: 1.3, 100: 1.8})}},
		run: func(ctx context.Context, l *lab) error {
			keys := cfg.scaled(barKeys)
			servers, err := l.startFilled(ctx, keys, quipuQuorum, peerMemory)
			defer servers.kill()
			if err != nil {
				return err
			}
			return l.sweep(ctx, servers, "get", load{command: "get", keys: keys, clients: barClients}, []int{16, 100})
		},
	}
}
