package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// cell names the runs of one server at one pipeline depth.
type cell struct {
	server string
	depth  int
}

// report gathers the measurements and writes them as Markdown.
type report struct {
	cfg     config
	servers []*server
	host    []string // lines about the machine
	runs    map[cell][]measurement
}

func newReport(cfg config, servers []*server, work string) *report {
	host := []string{fmt.Sprintf("%s, %d cores, %s/%s", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)}
	if d, err := syncTime(work); err == nil {
		host = append(host, fmt.Sprintf("fsync of 4 KiB in the data's folder: %.2f ms (median of 100)", ms(d)))
	}
	if load, ok := loadAverage(); ok {
		line := fmt.Sprintf("load average before the run: %.2f", load)
		if load > float64(runtime.NumCPU())/2 {
			line += " — **the machine was busy with something else; these figures say little**"
		}
		host = append(host, line)
	}
	return &report{cfg: cfg, servers: servers, host: host, runs: map[cell][]measurement{}}
}

func (r *report) add(s *server, depth int, m measurement) {
	c := cell{s.name, depth}
	r.runs[c] = append(r.runs[c], m)
}

// column is one column of the table.
type column struct {
	title string
	value func(c cell) string
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`INCR` of %d random counters that exist, %d clients, redis-benchmark on the same machine; medians of %d rounds.\n\n",
		r.cfg.keys, r.cfg.clients, r.cfg.rounds)
	fmt.Fprintf(&b, "* %s\n", time.Now().UTC().Format("2 January 2006"))
	for _, line := range r.host {
		fmt.Fprintf(&b, "* %s\n", line)
	}
	for _, s := range r.servers {
		fmt.Fprintf(&b, "* %s: %s, event loops or I/O threads: %s\n", s.name, s.version, s.loops)
	}
	b.WriteByte('\n')
	columns := []column{
		{"Pipeline", func(c cell) string { return fmt.Sprint(c.depth) }},
		{"Server", func(c cell) string { return c.server }},
		{"requests/s", func(c cell) string { return fmt.Sprintf("%.0f", r.rate(c)) }},
		{"lowest–highest", r.spread},
		{"p50 ms", func(c cell) string {
			return fmt.Sprintf("%.3f", r.median(c, func(m measurement) float64 { return m.p50 }))
		}},
		{"p99 ms", func(c cell) string {
			return fmt.Sprintf("%.3f", r.median(c, func(m measurement) float64 { return m.p99 }))
		}},
		{"CPU µs/request", r.cpu},
		{"× no persistence", func(c cell) string { return r.ratio(c, nameRedis) }},
		{"× fsync always", func(c cell) string { return r.ratio(c, nameRedisAlways) }},
	}
	var rows [][]string
	for _, depth := range r.cfg.pipelines {
		for _, s := range r.servers {
			row := make([]string, len(columns))
			for i, col := range columns {
				row[i] = col.value(cell{s.name, depth})
			}
			rows = append(rows, row)
		}
	}
	titles := make([]string, len(columns))
	for i, col := range columns {
		titles[i] = col.title
	}
	writeTable(&b, titles, rows)
	b.WriteString("\nCPU: of the server process, user and system. ×: throughput divided by that of the Redis set-up named.\n")
	return b.String()
}

func (r *report) median(c cell, f func(measurement) float64) float64 {
	var values []float64
	for _, m := range r.runs[c] {
		values = append(values, f(m))
	}
	return median(values)
}

func (r *report) rate(c cell) float64 {
	return r.median(c, func(m measurement) float64 { return m.rate })
}

func (r *report) spread(c cell) string {
	low, high := r.runs[c][0].rate, r.runs[c][0].rate
	for _, m := range r.runs[c] {
		low, high = min(low, m.rate), max(high, m.rate)
	}
	return fmt.Sprintf("%.0f–%.0f", low, high)
}

func (r *report) cpu(c cell) string {
	micros := r.median(c, func(m measurement) float64 { return float64(m.cpu) / float64(time.Microsecond) })
	if micros == 0 {
		return "?"
	}
	return fmt.Sprintf("%.2f", micros)
}

// ratio is the throughput of c by that of base; empty for base itself.
func (r *report) ratio(c cell, base string) string {
	b := cell{base, c.depth}
	if c.server == base || len(r.runs[b]) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.rate(c)/r.rate(b))
}

// checkBars fails if Quipu is slower than -at-least asks.
func (r *report) checkBars() error {
	var low []string
	for depth, bar := range r.cfg.atLeast {
		quipu, base := cell{nameQuipu, depth}, cell{nameRedisAlways, depth}
		if len(r.runs[quipu]) == 0 || len(r.runs[base]) == 0 {
			low = append(low, fmt.Sprintf("pipeline %d was not measured", depth))
		} else if got := r.rate(quipu) / r.rate(base); got < bar {
			low = append(low, fmt.Sprintf("pipeline %d: %.2f, wanted %.2f", depth, got, bar))
		}
	}
	if len(low) == 0 {
		return nil
	}
	slices.Sort(low)
	return fmt.Errorf("quipu beside Redis with fsync is below -at-least: %s", strings.Join(low, "; "))
}

// writeTable writes a Markdown table that also reads well as plain text:
// numbers to the right, names (the second column) to the left.
func writeTable(b *strings.Builder, titles []string, rows [][]string) {
	width := make([]int, len(titles))
	for _, row := range append([][]string{titles}, rows...) {
		for i, text := range row {
			width[i] = max(width[i], len([]rune(text)))
		}
	}
	line := func(row []string) {
		for i, text := range row {
			pad := strings.Repeat(" ", width[i]-len([]rune(text)))
			if i == 1 {
				fmt.Fprintf(b, "| %s%s ", text, pad)
			} else {
				fmt.Fprintf(b, "| %s%s ", pad, text)
			}
		}
		b.WriteString("|\n")
	}
	line(titles)
	for i, w := range width {
		if i == 1 {
			b.WriteString("|:" + strings.Repeat("-", w+1))
		} else {
			b.WriteString("|" + strings.Repeat("-", w+1) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range rows {
		line(row)
	}
}

// median is the middle of values; of an even number the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// syncTime measures the disk below dir: 4 KiB written over and synced.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 4096)
	var times []float64
	for range 100 {
		start := time.Now()
		if _, err := f.WriteAt(block, 0); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(start)))
	}
	return time.Duration(median(times)), nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// loadAverage is the average number of runnable threads over the last minute,
// where the system tells it (proc(5)).
func loadAverage() (float64, bool) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, false
	}
	var load float64
	_, err = fmt.Sscan(string(text), &load)
	return load, err == nil
}

// cpuModel is the processor's name where the system tells it.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
