package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
)

// TestPlot draws charts of all kinds. Each is well-formed and inside of its frame.
func TestPlot(t *testing.T) {
	line := []Point{{1, 70}, {16, 900}, {100, 2500}}
	charts := map[string]Chart{
		"log": {Title: `<&">`, LogX: true, LogY: true, Ticks: []Tick{{1, "1"}, {16, "16"}, {100, "100"}},
			Series: []Series{{"a & b", "quipu", line}, {"c", "redis", line[1:]}}},
		"linear": {Ticks: []Tick{{0, "p50"}, {1, "p90"}}, Series: []Series{{"a", "quipu-local", []Point{{0, 0.25}, {1, 0.125}}}}},
		"zero":   {LogY: true, Ticks: []Tick{{0, "x"}}, Series: []Series{{"a", "redis-always", []Point{{0, 0}}}}},
		"floor": {LogY: true, Floor: 0.01, Ticks: []Tick{{0, "x"}, {1, "y"}}, Bands: []Band{{"x", 0.5, 20}},
			Series: []Series{{"a", "redis", []Point{{0, 0}, {1, 3}}}}},
		"point": {LogX: true, Ticks: []Tick{{1, "x"}}, Series: []Series{{"a", "redis-always", []Point{{1, 1000}}}}},
	}
	for name, c := range charts {
		points := 0
		d := xml.NewDecoder(bytes.NewReader(c.SVG()))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, c.SVG())
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
				points++
			}
		}
		want := 0
		for _, s := range c.Series {
			want += len(s.Points)
		}
		if name == "zero" {
			want = 0 // has no place on a logarithmic axis
		}
		if points != want || bytes.Contains(c.SVG(), []byte("NaN")) || bytes.Contains(c.SVG(), []byte("Inf")) {
			t.Errorf("%s: %d points, want %d\n%s", name, points, want, c.SVG())
		}
		y, marks := c.yAxis()
		for _, s := range c.Series {
			for _, p := range s.Points {
				if p.Y > 0 && (p.Y < y.low || p.Y > y.top) {
					t.Errorf("%s: %v is outside of the axis from %v to %v", name, p.Y, y.low, y.top)
				}
			}
		}
		for _, band := range c.Bands {
			if band.Low < y.low || band.High > y.top {
				t.Errorf("%s: a band is outside of the axis from %v to %v", name, y.low, y.top)
			}
		}
		if len(marks) < 2 {
			t.Errorf("%s: marks %v", name, marks)
		}
	}
}
