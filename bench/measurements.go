package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// measurement is one experiment. It may yield the figures of several bars: what
// can be measured on the same servers is.
type measurement struct {
	name    string
	about   string // a sentence for the report
	metrics []metric
	bars    []bar
	charts  []chartSpec
	run     func(ctx context.Context, l *lab) error
}

// metric is a kind of figure, and how a table shows it: a line for each x, a
// column for each variant.
type metric struct {
	id     string
	title  string // what is measured, with its unit
	xTitle string // what x is
	xName  func(x int) string
	digits int  // after the decimal point
	less   bool // less is better; only the comparison of two builds must know
}

// bar is a line of the goals: one or more checks.
type bar struct {
	id     string
	what   string
	checks []check
}

// check compares the median of one figure, or its ratio to that of another (den,
// unless it is zero), with a limit; either atLeast or atMost is set.
type check struct {
	label    string
	num, den cell
	atLeast  float64
	atMost   float64
	paired   bool // the ratio is the median of the ratios of pairs of runs, with its interval (figures.paired)
}

// measurements are all there are, in the order in which they run.
func measurements(cfg config) []measurement {
	return []measurement{
		incrMeasurement(cfg),
		manyClientsMeasurement(cfg),
		hotKeyMeasurement(cfg),
		getMeasurement(cfg),
		latencyMeasurement(cfg),
		keysMeasurement(cfg),
		memoryMeasurement(cfg),
		memoryTTLMeasurement(cfg),
		snapshotMeasurement(cfg),
		idleMeasurement(cfg),
		sketchMeasurement(cfg),
		feedMeasurement(cfg),
		nodesMeasurement(cfg),
		countsMeasurement(cfg),
		etcdMeasurement(),
		attacksMeasurement(cfg),
		regionsMeasurement(cfg),
		regionsMoreMeasurement(cfg),
	}
}

// choose takes the measurements that only names, by their names or by bars.
func choose(all []measurement, only string) ([]measurement, error) {
	if only == "" {
		return all, nil
	}
	wanted := strings.Split(only, ",")
	known := map[string]bool{}
	var chosen []measurement
	for _, m := range all {
		names := []string{m.name}
		for _, b := range m.bars {
			names = append(names, b.id)
		}
		take := false
		for _, name := range names {
			known[name] = true
			take = take || slices.Contains(wanted, name)
		}
		if take {
			chosen = append(chosen, m)
		}
	}
	for _, name := range wanted {
		if !known[name] {
			return nil, fmt.Errorf("-only: there is no measurement or bar %q; see -list", name)
		}
	}
	return chosen, nil
}

func list(w io.Writer, all []measurement) {
	for _, m := range all {
		fmt.Fprintf(w, "%s: %s\n", m.name, m.about)
		for _, b := range m.bars {
			fmt.Fprintf(w, "    bar %-3s %s:", b.id, b.what)
			for i, c := range b.checks {
				if i > 0 {
					fmt.Fprint(w, ",")
				}
				fmt.Fprintf(w, " %s %s", c.label, c.wanted())
			}
			fmt.Fprintln(w)
		}
	}
}

func (c check) wanted() string {
	if c.atLeast != 0 {
		return "≥ " + trimFloat(c.atLeast)
	}
	return "≤ " + trimFloat(c.atMost)
}

// depthChecks is one check of num's variant by den's for each pipeline depth.
func depthChecks(metric, num, den string, atLeast map[int]float64) []check {
	var checks []check
	for _, depth := range pipelineDepths {
		if limit, ok := atLeast[depth]; ok {
			checks = append(checks, check{
				label: fmt.Sprintf("P=%d", depth), num: cell{metric, num, depth}, den: cell{metric, den, depth}, atLeast: limit,
			})
		}
	}
	return checks
}
