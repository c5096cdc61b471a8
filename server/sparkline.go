package server

import (
	"fmt"
	"strings"
)

// The drawing of LATENCY GRAPH, to the letter as Redis draws it.
const (
	graphColumns = 80
	graphRows    = 4
)

// drawLatency draws a series that has samples; now is in seconds.
func drawLatency(event string, of latencySeries, now int64) string {
	low, high := of.samples[0].ms, of.samples[0].ms
	for _, s := range of.samples {
		low, high = min(low, s.ms), max(high, s.ms)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s - high %d ms, low %d ms (all time high %d ms)\n%s\n", event, high, low, of.max, strings.Repeat("-", graphColumns))
	for from := 0; from < len(of.samples); from += graphColumns {
		if from > 0 {
			b.WriteByte('\n')
		}
		drawRows(&b, of.samples[from:min(from+graphColumns, len(of.samples))], low, high, now)
	}
	return b.String()
}

// drawRows draws a column for each sample, and below it how long ago that was, from top to bottom.
func drawRows(b *strings.Builder, samples []latencySample, low, high, now int64) {
	const marks = "_o#"
	steps, span := float64(len(marks)*graphRows), float64(max(high-low, 1))
	for row := range graphRows {
		for _, s := range samples {
			step := min(int(float64(s.ms-low)*steps/span), len(marks)*graphRows-1)
			switch mark := step - (graphRows-row-1)*len(marks); {
			case mark >= len(marks):
				b.WriteByte('|')
			case mark >= 0:
				b.WriteByte(marks[mark])
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	labels, longest := make([]string, len(samples)), 0
	for i, s := range samples {
		labels[i] = ago(now - s.at)
		longest = max(longest, len(labels[i]))
	}
	b.WriteString(strings.Repeat(" ", len(samples)) + "\n")
	for row := range longest {
		for _, label := range labels {
			if row < len(label) {
				b.WriteByte(label[row])
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
}

// ago is how long ago something was, in the largest unit that fits.
func ago(seconds int64) string {
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%dm", seconds/60)
	case seconds < 24*3600:
		return fmt.Sprintf("%dh", seconds/3600)
	}
	return fmt.Sprintf("%dd", seconds/(24*3600))
}
