package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quipu/bench/plot"
	"quipu/engine/cms"
)

const (
	countMinSeeds = 5
	countMinDelta = 0.01
)

var countMinEpsilons = []float64{0.0001, 0.0003, 0.001, 0.003, 0.01}

// countMinCase is one line of the plot.
type countMinCase struct {
	from         distribution
	conservative bool
	style        string
}

var countMinCases = []countMinCase{
	{uniform(100_000), false, "one"}, {uniform(100_000), true, "five"}, {zipf(1.05), false, "two"}, {zipf(1.05), true, "three"},
}

func (c countMinCase) name() string {
	if c.conservative {
		return c.from.name + ", conservative"
	}
	return c.from.name
}

// countMinErrors are overestimates in units of ε·N.
type countMinErrors struct{ mean, p99, worst, beyond float64 }

// measure counts a stream and asks for every item in it.
func (c countMinCase) measure(s stream, epsilon float64) (e countMinErrors, err error) {
	width, depth := cms.FromErrors(float32(epsilon), countMinDelta)
	const cell = 4
	size, err := cms.Dimensions(width, depth, cell)
	if err != nil {
		return e, err
	}
	b := make([]byte, size)
	cms.Init(b, width, depth, cell, c.conservative)
	sketch, err := cms.Open(b)
	if err != nil {
		return e, err
	}
	var cells cms.Cells
	var name []byte
	for _, n := range s.items {
		name = itemName(name[:0], n)
		sketch.Locate(&cells, name)
		if _, err := sketch.Add(cells.All(), 1); err != nil {
			return e, err
		}
	}
	var over []float64
	for n, truth := range s.counts {
		if truth == 0 {
			continue
		}
		name = itemName(name[:0], uint32(n))
		sketch.Locate(&cells, name)
		off := sketch.Estimate(cells.All()) - truth
		if off < 0 {
			return e, fmt.Errorf("%s is counted %d too low", name, -off)
		}
		x := float64(off) / (epsilon * events)
		over = append(over, x)
		e.mean += x
		if x > 1 {
			e.beyond++
		}
	}
	slices.Sort(over)
	e.mean /= float64(len(over))
	e.beyond /= float64(len(over))
	e.p99 = over[len(over)*99/100]
	e.worst = over[len(over)-1]
	return e, nil
}

func countMin() (section, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "### Count-Min\n\n"+
		"What an estimate is above the truth, in units of ε·N, over all items of %s events, on average of %d seeds; the worst\n"+
		"of all. Dimensions are those of `CMS.INITBYPROB key ε %v`, which promises at most 1 for %v %% of the items. Uniform:\n"+
		"100,000 items. Zipf: 1,000,000 items. No estimate was below the truth.\n\n"+
		"| ε | items | mean | 99 %% are below | worst | above ε·N |\n|---:|---|---:|---:|---:|---:|\n",
		plot.Grouped(events, 0), countMinSeeds, countMinDelta, 100*(1-countMinDelta))
	chart := plot.Chart{
		Title: "Error of Count-Min", About: "events that 99 % of the estimates are at most too high by, of 1,000,000",
		XLabel: "ε", LogX: true, LogY: true, Floor: 1, Rules: rules,
		Series: []plot.Series{{Name: "ε·N", Style: "limit"}},
	}
	for _, c := range countMinCases {
		chart.Series = append(chart.Series, plot.Series{Name: c.name(), Style: c.style})
	}
	for _, epsilon := range countMinEpsilons {
		label := strconv.FormatFloat(epsilon, 'f', -1, 64)
		chart.Ticks = append(chart.Ticks, plot.Tick{At: epsilon, Name: label})
		chart.Series[0].Points = append(chart.Series[0].Points, plot.Point{X: epsilon, Y: epsilon * events})
		for i, c := range countMinCases {
			seeds, err := eachSeed(countMinSeeds, func(seed uint64) (countMinErrors, error) {
				return c.measure(c.from.stream(seed), epsilon)
			})
			if err != nil {
				return section{}, err
			}
			var sum countMinErrors
			for _, e := range seeds {
				sum.mean += e.mean / countMinSeeds
				sum.p99 += e.p99 / countMinSeeds
				sum.beyond += e.beyond / countMinSeeds
				sum.worst = max(sum.worst, e.worst)
			}
			fmt.Fprintf(&text, "| %s | %s | %.3f | %.3f | %.3f | %.4f %% |\n", label, c.name(), sum.mean, sum.p99, sum.worst, 100*sum.beyond)
			chart.Series[i+1].Points = append(chart.Series[i+1].Points, plot.Point{X: epsilon, Y: sum.p99 * epsilon * events})
		}
	}
	text.WriteString("\n![Error of Count-Min](plots/count-min.svg)\n\n")
	return section{text.String(), map[string]plot.Chart{"count-min.svg": chart}}, nil
}
