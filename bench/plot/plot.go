// Package plot draws line charts as SVG, without a library and without a script in the picture.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Chart is a line chart. It is drawn without a background, in colours that can be
// read on white and on dark grey alike; where the viewer says that it is dark,
// text and lines are lighter.
type Chart struct {
	Title, About, XLabel string
	LogX, LogY           bool
	Ticks                []Tick // of the x axis, ascending
	Series               []Series
	Bands                []Band  // behind the lines
	Floor                float64 // with LogY: points below it are drawn at it; 0: those at 0 or below are left out
	Rules                string  // more rules for the style sheet
}

// Tick is a mark on the x axis.
type Tick struct {
	At   float64
	Name string
}

// Series is a line with a dot at each point. Style is a class of the style sheet.
type Series struct {
	Name   string
	Style  string
	Points []Point
}

// Point is in units of the axes.
type Point struct{ X, Y float64 }

// Band is an area across the whole chart, from Low to High.
type Band struct {
	Style     string
	Low, High float64
}

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
.band { fill-opacity: 0.18; stroke: none }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
.quipu { stroke: #1d6fd1 } .quipu-local { stroke: #4aa3ff; stroke-dasharray: 7 4 }
.redis-always { stroke: #c2410c } .redis { stroke: #f59331; stroke-dasharray: 7 4 }
.regions-many, .regions-busy { stroke: #1d6fd1 } .regions-calm { stroke: #4aa3ff; stroke-dasharray: 7 4 } .regions-off { stroke: #c2410c }
.dot { stroke: none } .dot.quipu { fill: #1d6fd1 } .dot.quipu-local { fill: #4aa3ff }
.dot.redis-always { fill: #c2410c } .dot.redis { fill: #f59331 }
.dot.regions-many, .dot.regions-busy { fill: #1d6fd1 } .dot.regions-calm { fill: #4aa3ff } .dot.regions-off { fill: #c2410c }
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
func (c Chart) yAxis() (axis, []float64) {
	low, high := math.Inf(1), 0.0
	for _, s := range c.Series {
		for _, p := range s.Points {
			high = max(high, p.Y)
			if y := max(p.Y, c.Floor); y > 0 {
				low = min(low, y)
			}
		}
	}
	for _, band := range c.Bands {
		low, high = min(low, band.Low), max(high, band.High)
	}
	if high <= 0 { // nothing above zero to show
		low, high = 1, 1
	}
	a := axis{log: c.LogY, from: plotHeight - marginBottom, to: marginTop}
	if !c.LogY {
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

func (c Chart) xAxis() axis {
	a := axis{log: c.LogX, low: c.Ticks[0].At, top: c.Ticks[len(c.Ticks)-1].At, from: marginLeft + 24, to: plotWidth - marginRight - 24}
	if a.low == a.top { // one point stands in the middle
		a.low, a.top = a.low-0.5, a.top+0.5
	}
	return a
}

// SVG draws the chart.
func (c Chart) SVG() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n",
		plotWidth, plotHeight, plotWidth, plotHeight)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s%s</style>\n", escaped(c.Title), plotStyle, c.Rules)
	label(&b, 16, 28, "start", "title", c.Title)
	label(&b, 16, 48, "start", "about", c.About)
	x := c.xAxis()
	y, marks := c.yAxis()
	for _, band := range c.Bands {
		top := y.pixel(band.High)
		fmt.Fprintf(&b, `<rect class="band %s" x="%d" y="%.1f" width="%d" height="%.1f"/>`+"\n",
			band.Style, marginLeft, top, plotWidth-marginRight-marginLeft, y.pixel(band.Low)-top)
	}
	for _, v := range marks {
		at := y.pixel(v)
		class := "grid"
		if v == y.low {
			class = "axis"
		}
		line(&b, class, marginLeft, at, plotWidth-marginRight, at)
		label(&b, marginLeft-8, at+4.5, "end", "mark", Grouped(v, decimals(v)))
	}
	free := 0.0 // left of it, labels stand already
	for _, t := range c.Ticks {
		at := x.pixel(t.At)
		line(&b, "axis", at, plotHeight-marginBottom, at, plotHeight-marginBottom+5)
		half := float64(len(t.Name)) * 4.5
		if at-half < free {
			continue
		}
		free = at + half
		label(&b, at, plotHeight-marginBottom+21, "middle", "mark", t.Name)
	}
	label(&b, (marginLeft+plotWidth-marginRight)/2, plotHeight-14, "middle", "mark", c.XLabel)
	columns, width := 2, legendColumn
	if len(c.Series) > 4 { // more than two rows would reach into the chart
		columns, width = 3, legendColumn*2/3
	}
	for i, s := range c.Series {
		c.drawSeries(&b, s, x, y)
		lx, ly := float64(16+i%columns*width), float64(68+i/columns*18)
		line(&b, "line "+s.Style, lx, ly, lx+34, ly)
		label(&b, lx+42, ly+4.5, "start", "legend", s.Name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (c Chart) drawSeries(b *bytes.Buffer, s Series, x, y axis) {
	var path, dots bytes.Buffer
	for _, p := range s.Points {
		at := p.Y
		if y.log {
			at = max(p.Y, c.Floor)
		}
		if y.log && at <= 0 { // has no place on a logarithmic axis
			continue
		}
		fmt.Fprintf(&path, "%.1f,%.1f ", x.pixel(p.X), y.pixel(at))
		fmt.Fprintf(&dots, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="4"><title>%s: %s</title></circle>`+"\n",
			s.Style, x.pixel(p.X), y.pixel(at), escaped(s.Name), Grouped(p.Y, decimals(p.Y)))
	}
	fmt.Fprintf(b, `<polyline class="line %s" points="%s"/>`+"\n", s.Style, path.String())
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

// Grouped writes a number with a comma between groups of three digits.
func Grouped(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'f', digits, 64)
	end := len(s)
	if digits > 0 {
		end -= digits + 1
	}
	for i := end - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
