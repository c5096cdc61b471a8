package main

import (
	"context"
	"fmt"
)

// keysMeasurement is bar 10: what larger tables cost.
func keysMeasurement(cfg config) measurement {
	var sizes []int
	for _, n := range []int{10_000, 100_000, 1_000_000, 10_000_000} {
		sizes = append(sizes, cfg.scaled(n))
	}
	const depth = 16
	largest, smallest := cell{"keys", quipuLocal, sizes[len(sizes)-1]}, cell{"keys", quipuLocal, sizes[0]}
	return measurement{
		name:  "keys",
		about: fmt.Sprintf("`INCR` of random counters by how many there are, pipeline %d, %d clients, redis-benchmark; one server for each number", depth, barClients),
		metrics: []metric{{
			id: "keys", title: "`INCR` at pipeline 16, requests/s", xTitle: "Keys", xName: countName,
		}},
		bars: []bar{{"10", "10,000,000 keys ÷ 10,000 keys, ack local", []check{{label: "P=16", num: largest, den: smallest, atLeast: 0.6}}}},
		charts: []chartSpec{{
			file: "throughput-by-keys", title: "Throughput by number of keys", about: "INCR of random counters, pipeline 16, thousands of requests per second",
			xLabel: "counters on the server", metric: "keys", scale: 1e-3, logX: true,
		}},
		run: func(ctx context.Context, l *lab) error {
			var all fleet
			var keysOf []int
			defer func() { all.kill() }()
			for _, keys := range sizes {
				servers, err := l.startFilled(ctx, keys, quipuQuorum, quipuLocal, peerMemory)
				all = append(all, servers...)
				if err != nil {
					return err
				}
				for range servers {
					keysOf = append(keysOf, keys)
				}
			}
			return l.alternate(ctx, len(all), func(round, i int) error {
				s := all[i]
				m, err := s.run(ctx, cfg, load{command: "incr", keys: keysOf[i], clients: barClients, depth: depth})
				if err != nil {
					return err
				}
				l.figures.add("keys", s.variant, keysOf[i], m.rate)
				l.progress(round, s.variant, countName(keysOf[i])+" keys", m.rate, "requests/s")
				return nil
			})
		},
	}
}

func countName(x int) string { return grouped(float64(x), 0) }
