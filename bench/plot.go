package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
)

// chart is a line chart. It is drawn without a background, in colours that can be
// read on white and on dark grey alike; where the viewer says that it is dark,
// text and lines are lighter.
type chart struct {
	title, about, xLabel string
	logX, logY           bool
	ticks                []tick // of the x axis, ascending
	series               []series
}

type tick struct {
	at   float64
	name string
}

type series struct {
	name   string
	style  string // a variant
	points []point
}

type point struct{ x, y float64 }

// Measures in pixels. The plot area lies between the margins.
const (
	plotWidth, plotHeight = 760, 420
	marginLeft            = 76
	marginRight           = 28
	marginTop             = 110
	marginBottom          = 60
	legendColumn          = 330
)

// Quipu is blue, the peer orange; what answers before it is on disk is dashed, so
// that colour is not all there is to tell lines apart.
const plotStyle = `
text { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 13px; fill: #4b5563 }
.title { font-size: 17px; font-weight: 600; fill: #1f2937 }
.grid { stroke: #9ca3af; stroke-opacity: 0.35; stroke-width: 1 }
.axis { stroke: #6b7280; stroke-width: 1 }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
.quipu { stroke: #1d6fd1 } .quipu-local { stroke: #4aa3ff; stroke-dasharray: 7 4 }
.redis-always { stroke: #c2410c } .redis { stroke: #f59331; stroke-dasharray: 7 4 }
.dot { stroke: none } .dot.quipu { fill: #1d6fd1 } .dot.quipu-local { fill: #4aa3ff }
.dot.redis-always { fill: #c2410c } .dot.redis { fill: #f59331 }
@media (prefers-color-scheme: dark) {
text { fill: #b6bdc8 } .title { fill: #e5e7eb } .axis { stroke: #9ca3af }
}
`

// axis maps values to pixels.
type axis struct {
	log      bool
	low, top float64 // values
	from, to float64 // pixels
}

func (a axis) pixel(v float64) float64 {
	low, top := a.low, a.top
	if a.log {
		low, top, v = math.Log10(low), math.Log10(top), math.Log10(v)
	}
	return a.from + (v-low)/(top-low)*(a.to-a.from)
}

// niceStep is a step of 1, 2 or 5 times a power of ten that divides top into at
// most n parts.
func niceStep(top float64, n int) float64 {
	raw := top / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= raw*0.999 {
			return f * power
		}
	}
	return 10 * power
}

// yAxis chooses the range and the values that are marked.
func (c chart) yAxis() (axis, []float64) {
	low, high := math.Inf(1), 0.0
	for _, s := range c.series {
		for _, p := range s.points {
			high = max(high, p.y)
			if p.y > 0 {
				low = min(low, p.y)
			}
		}
	}
	if high <= 0 { // nothing above zero to show
		low, high = 1, 1
	}
	a := axis{log: c.logY, from: plotHeight - marginBottom, to: marginTop}
	if !c.logY {
		step := niceStep(high, 6)
		a.top = math.Ceil(high/step-1e-9) * step
		var marks []float64
		for i := 0; float64(i)*step <= a.top+step/2; i++ {
			marks = append(marks, float64(i)*step)
		}
		return a, marks
	}
	var marks []float64
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high))+1; e++ {
		for _, f := range []float64{1, 2, 5} {
			marks = append(marks, f*math.Pow(10, e))
		}
	}
	first := max(0, slices.IndexFunc(marks, func(v float64) bool { return v > low*1.0001 })-1)
	last := slices.IndexFunc(marks, func(v float64) bool { return v >= high })
	last = max(last, first+1)
	a.low, a.top = marks[first], marks[last]
	return a, marks[first : last+1]
}

func (c chart) xAxis() axis {
	a := axis{log: c.logX, low: c.ticks[0].at, top: c.ticks[len(c.ticks)-1].at, from: marginLeft + 24, to: plotWidth - marginRight - 24}
	if a.low == a.top { // one point stands in the middle
		a.low, a.top = a.low-0.5, a.top+0.5
	}
	return a
}

func (c chart) svg() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n",
		plotWidth, plotHeight, plotWidth, plotHeight)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escaped(c.title), plotStyle)
	label(&b, 16, 28, "start", "title", c.title)
	label(&b, 16, 48, "start", "about", c.about)
	x := c.xAxis()
	y, marks := c.yAxis()
	for _, v := range marks {
		at := y.pixel(v)
		class := "grid"
		if v == y.low {
			class = "axis"
		}
		line(&b, class, marginLeft, at, plotWidth-marginRight, at)
		label(&b, marginLeft-8, at+4.5, "end", "mark", grouped(v, decimals(v)))
	}
	free := 0.0 // left of it, labels stand already
	for _, t := range c.ticks {
		at := x.pixel(t.at)
		line(&b, "axis", at, plotHeight-marginBottom, at, plotHeight-marginBottom+5)
		half := float64(len(t.name)) * 4.5
		if at-half < free {
			continue
		}
		free = at + half
		label(&b, at, plotHeight-marginBottom+21, "middle", "mark", t.name)
	}
	label(&b, (marginLeft+plotWidth-marginRight)/2, plotHeight-14, "middle", "mark", c.xLabel)
	for i, s := range c.series {
		c.drawSeries(&b, s, x, y)
		lx, ly := float64(16+i%2*legendColumn), float64(68+i/2*18)
		line(&b, "line "+s.style, lx, ly, lx+34, ly)
		label(&b, lx+42, ly+4.5, "start", "legend", s.name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (c chart) drawSeries(b *bytes.Buffer, s series, x, y axis) {
	var path, dots bytes.Buffer
	for _, p := range s.points {
		if y.log && p.y <= 0 { // has no place on a logarithmic axis
			continue
		}
		fmt.Fprintf(&path, "%.1f,%.1f ", x.pixel(p.x), y.pixel(p.y))
		fmt.Fprintf(&dots, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="4"><title>%s: %s</title></circle>`+"\n",
			s.style, x.pixel(p.x), y.pixel(p.y), escaped(s.name), grouped(p.y, decimals(p.y)))
	}
	fmt.Fprintf(b, `<polyline class="line %s" points="%s"/>`+"\n", s.style, path.String())
	b.Write(dots.Bytes())
}

func line(b *bytes.Buffer, class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

func label(b *bytes.Buffer, x, y float64, anchor, class, text string) {
	fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, escaped(text))
}

func escaped(text string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(text)) // a Buffer takes everything
	return b.String()
}

// decimals is how many digits after the point show v to two digits at least.
func decimals(v float64) int {
	if v <= 0 || v >= 10 || v == math.Trunc(v) {
		return 0
	}
	return int(max(1, -math.Floor(math.Log10(v)*1.0000001)))
}
