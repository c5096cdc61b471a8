package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// percentiles of the latency figures, in hundredths of a percent: the x of their
// metrics.
var percentiles = []int{5000, 9000, 9900, 9990, 9999}

func percentileName(x int) string {
	return "p" + strconv.FormatFloat(float64(x)/100, 'f', -1, 64)
}

func quantileOf(x int) float64 { return float64(x) / 10_000 }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// runTime is the length of one run of our own load.
func (c config) runTime() time.Duration { return time.Duration(c.seconds * float64(time.Second)) }

// latencyMeasurement has no bar; it is the plot of percentiles.
func latencyMeasurement(cfg config) measurement {
	return measurement{
		name: "latency",
		about: fmt.Sprintf("latency of `INCR` of %s random counters, %d clients that each wait for their reply, own load",
			grouped(float64(cfg.scaled(barKeys)), 0), barClients),
		metrics: []metric{{id: "latency", title: "Latency, ms", xTitle: "Percentile", xName: percentileName, digits: 3}},
		charts: []chartSpec{{
			file: "latency-percentiles", title: "Latency percentiles", about: "INCR, 50 clients that each wait for their reply, milliseconds",
			xLabel: "share of requests answered at least this fast", metric: "latency", scale: 1, named: true, logY: true,
		}},
		run: func(ctx context.Context, l *lab) error {
			keys := cfg.scaled(barKeys)
			servers, err := l.startFilled(ctx, keys, allVariants...)
			defer servers.kill()
			if err != nil {
				return err
			}
			return l.alternate(ctx, len(servers), func(round, i int) error {
				s := servers[i]
				g := generator{addr: s.addr(), set: counterSet{name: benchmarkKey}, keys: keys, clients: barClients, depth: 1}
				result, err := g.runFor(ctx, cfg.runTime())
				if err != nil {
					return s.explain(err)
				}
				for _, p := range percentiles {
					l.figures.add("latency", s.variant, p, millis(result.latencies.quantile(quantileOf(p))))
				}
				l.progress(round, s.variant, "latency p99", millis(result.latencies.quantile(0.99)), "ms")
				return nil
			})
		},
	}
}
