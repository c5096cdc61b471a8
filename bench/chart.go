package main

import "quipu/bench/plot"

// chartSpec says which figures a plot shows: the medians of a metric, a line for
// each variant, by x.
type chartSpec struct {
	file   string // its name without .svg
	title  string
	about  string // what y is, with its unit
	xLabel string
	metric string
	scale  float64 // y is the figure times scale
	named  bool    // x are names at equal distances, not numbers
	logX   bool
	logY   bool
}

// chart finds the points; ok is false if there are none.
func (r *report) chart(spec chartSpec) (c plot.Chart, ok bool) {
	c = plot.Chart{Title: spec.title, About: spec.about, XLabel: spec.xLabel, LogX: spec.logX, LogY: spec.logY}
	xs := r.l.figures.xs(spec.metric)
	for i, x := range xs {
		at := float64(x)
		name := compact(x)
		if spec.named {
			at, name = float64(i), percentileName(x)
		}
		c.Ticks = append(c.Ticks, plot.Tick{At: at, Name: name})
	}
	for _, v := range columns {
		s := plot.Series{Name: r.l.name[v], Style: v}
		for i, x := range xs {
			if values := r.l.figures[cell{spec.metric, v, x}]; len(values) > 0 {
				s.Points = append(s.Points, plot.Point{X: c.Ticks[i].At, Y: median(values) * spec.scale})
			}
		}
		if len(s.Points) > 0 {
			c.Series = append(c.Series, s)
		}
	}
	return c, len(c.Series) > 0
}
