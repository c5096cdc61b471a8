package main

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
func (r *report) chart(spec chartSpec) (c chart, ok bool) {
	c = chart{title: spec.title, about: spec.about, xLabel: spec.xLabel, logX: spec.logX, logY: spec.logY}
	xs := r.l.figures.xs(spec.metric)
	for i, x := range xs {
		at := float64(x)
		name := compact(x)
		if spec.named {
			at, name = float64(i), percentileName(x)
		}
		c.ticks = append(c.ticks, tick{at, name})
	}
	for _, v := range allVariants {
		s := series{name: r.l.name[v], style: v}
		for i, x := range xs {
			if values := r.l.figures[cell{spec.metric, v, x}]; len(values) > 0 {
				s.points = append(s.points, point{c.ticks[i].at, median(values) * spec.scale})
			}
		}
		if len(s.points) > 0 {
			c.series = append(c.series, s)
		}
	}
	return c, len(c.series) > 0
}
