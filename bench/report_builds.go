package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// tolerated is the ratio below which a figure of the newer build is marked.
const tolerated = 0.97

// buildReport writes what a lab has found of two builds.
type buildReport struct {
	l        *lab
	measured []measurement
}

// gain is how much better the newer build is in one figure: the median of the
// ratios of the pairs, and the interval that holds the true median with 95 %
// certainty. Above 1 it is better, whether that is more requests or less memory.
type gain struct {
	before, after    float64
	ratio, low, high float64
	known            bool
}

func (r buildReport) gain(metric string, x int, less bool) gain {
	older, newer := cell{metric, buildBefore, x}, cell{metric, buildAfter, x}
	g := gain{before: median(r.l.figures[older]), after: median(r.l.figures[newer])}
	num, den := newer, older
	if less {
		num, den = older, newer
	}
	g.ratio, g.low, g.high, g.known = r.l.figures.paired(num, den)
	return g
}

func (g gain) below() bool { return g.known && g.ratio < tolerated }

// columns are both figures, the ratio and its range.
func (g gain) columns(digits int) []string {
	if !g.known {
		return []string{"not known", "not known", "", ""}
	}
	ratio := grouped(g.ratio, 3)
	if g.below() {
		ratio = "**" + ratio + "**"
	}
	return []string{grouped(g.before, digits), grouped(g.after, digits), ratio, grouped(g.low, 2) + "–" + grouped(g.high, 2)}
}

// page is the whole report.
func (r buildReport) page() string {
	var b strings.Builder
	page := relative(r.l.cfg.out, filepath.Join("docs", "performance.md"))
	b.WriteString("# Quipu before and after\n\nWritten by `make bench-before`; [performance.md](" + page + ") says what is measured and how.\n\n")
	lines := r.l.where()
	for _, build := range bothBuilds {
		lines = append(lines, build+": "+r.l.product[build])
	}
	for _, line := range append(lines, r.l.course()...) {
		fmt.Fprintf(&b, "* %s\n", line)
	}
	b.WriteString("\nFigures: medians. Ratio: the median of the ratios of all pairs of runs, above 1 where after is better;\n" +
		"behind it the interval that holds the true median with 95 % certainty, or the lowest and the highest\n" +
		"where there are fewer than six pairs. CPU: user and system time of the server for each request.\n\n")
	for _, text := range []string{r.requestsTable(), r.costsTable()} {
		if text != "" {
			b.WriteString(text + "\n")
		}
	}
	fmt.Fprintf(&b, "Below %s:", trimFloat(tolerated))
	if below := r.below(); len(below) > 0 {
		b.WriteString("\n\n* " + strings.Join(below, "\n* ") + "\n")
	} else {
		b.WriteString(" nothing.\n")
	}
	return b.String()
}

// metrics are those whose figures are better if they are less, or the others.
func (r buildReport) metrics(less bool) []metric {
	var all []metric
	for _, m := range r.measured {
		for _, mt := range m.metrics {
			if mt.less == less {
				all = append(all, mt)
			}
		}
	}
	return all
}

// requestsTable has CPU time first: it is the steadier figure, as what others do
// on the machine takes time away from a server and adds little to its CPU time.
// The table is empty if no such measurement was chosen; so is costsTable.
func (r buildReport) requestsTable() string {
	var rows [][]string
	for _, mt := range r.metrics(false) {
		xs := r.l.figures.xs(mt.id)
		if len(xs) == 0 {
			rows = append(rows, []string{mt.title, "", "not measured", "", "", "", "", "", "", ""})
		}
		for _, x := range xs {
			row := append([]string{mt.title, mt.xName(x)}, r.gain(cpuOf(mt.id), x, true).columns(2)...)
			rows = append(rows, append(row, r.gain(mt.id, x, false).columns(0)...))
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return table([]string{
		"What", "Pipeline", "CPU before, µs", "CPU after, µs", "before ÷ after", "95 %",
		"Requests/s before", "Requests/s after", "after ÷ before", "95 %",
	}, "llrrrrrrrr", rows)
}

func (r buildReport) costsTable() string {
	var rows [][]string
	for _, mt := range r.metrics(true) {
		xs := r.l.figures.xs(mt.id)
		if len(xs) == 0 {
			rows = append(rows, []string{mt.title, "not measured", "", "", ""})
		}
		for _, x := range xs {
			rows = append(rows, append([]string{mt.title}, r.gain(mt.id, x, true).columns(mt.digits)...))
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return table([]string{"What", "Before", "After", "before ÷ after", "95 %"}, "lrrrr", rows)
}

// below names the figures that became worse by more than is tolerated.
func (r buildReport) below() []string {
	var all []string
	add := func(what string, g gain) {
		if g.below() {
			line := fmt.Sprintf("%s: %.3f (%.2f–%.2f)", what, g.ratio, g.low, g.high)
			if g.high < 1 {
				line += ", the whole interval below 1"
			}
			all = append(all, line)
		}
	}
	for _, mt := range r.metrics(false) {
		for _, x := range r.l.figures.xs(mt.id) {
			what := mt.title + ", " + mt.xName(x)
			add(what+", CPU", r.gain(cpuOf(mt.id), x, true))
			add(what+", throughput", r.gain(mt.id, x, false))
		}
	}
	for _, mt := range r.metrics(true) {
		for _, x := range r.l.figures.xs(mt.id) {
			add(mt.title, r.gain(mt.id, x, true))
		}
	}
	return all
}
