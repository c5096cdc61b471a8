package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// printResults prints what the server has counted, exactly and in sketches.
func printResults(ctx context.Context, w io.Writer, client *redis.Client, want *exact, n int) (*estimates, error) {
	if err := printTop(ctx, w, client, n); err != nil {
		return nil, err
	}
	e, err := readEstimates(ctx, client)
	if err != nil {
		return nil, err
	}
	e.print(w, want, n)
	return e, nil
}

// printTop prints the airports and the routes with the most flights, as the
// server has counted them.
func printTop(ctx context.Context, w io.Writer, client *redis.Client, n int) error {
	origins, err := readCounts(ctx, client, originPrefix+"*")
	if err != nil {
		return err
	}
	delays, err := readCounts(ctx, client, delayPrefix+"*")
	if err != nil {
		return err
	}
	routes, err := readCounts(ctx, client, routePrefix+"*")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n    %-10s %8s %14s %10s\n", "origin", "flights", "delay minutes", "a flight")
	for i, key := range largest(origins, n) {
		name := strings.TrimPrefix(key, originPrefix)
		delay := delays[delayPrefix+name]
		fmt.Fprintf(w, "%2d  %-10s %8s %14s %10.1f\n", i+1, name, thousands(int(origins[key])),
			thousands(int(delay)), float64(delay)/float64(origins[key]))
	}
	fmt.Fprintf(w, "\n    %-10s %8s\n", "route", "flights")
	for i, key := range largest(routes, n) {
		fmt.Fprintf(w, "%2d  %-10s %8s\n", i+1, strings.TrimPrefix(key, routePrefix), thousands(int(routes[key])))
	}
	return nil
}

// largest returns the keys of the n largest counts; equal counts by name.
func largest(counts map[string]int64, n int) []string {
	keys := make([]string, 0, len(counts))
	for key := range counts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	return keys[:min(n, len(keys))]
}

// bar draws progress: in place on a terminal, a line for each tenth elsewhere.
// Its methods may be called from several goroutines.
type bar struct {
	w        *os.File
	terminal bool
	total    int
	start    time.Time

	mu    sync.Mutex
	drawn int // percent (terminal) or tenths last drawn, -1 at the start
	done  int
}

func newBar(w *os.File, total int) *bar {
	info, err := w.Stat()
	b := &bar{
		w: w, total: total, drawn: -1, start: time.Now(),
		terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
	}
	b.set(0)
	return b
}

// set moves the bar to done.
func (b *bar) set(done int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = done
	step := 10
	if b.terminal {
		step = 100
	}
	at := step
	if b.total > 0 {
		at = done * step / b.total
	}
	if at == b.drawn {
		return
	}
	b.drawn = at
	if b.terminal {
		fmt.Fprint(b.w, "\r", b.line())
	} else {
		fmt.Fprintln(b.w, b.line())
	}
}

// line is what is drawn; mu is held.
func (b *bar) line() string {
	const width = 30
	full := width
	if b.total > 0 {
		full = b.done * width / b.total
	}
	rate := 0.0
	if s := time.Since(b.start).Seconds(); s > 0 {
		rate = float64(b.done) / s
	}
	return fmt.Sprintf("[%s%s] %6s of %s flights, %s/s ", strings.Repeat("#", full), strings.Repeat(".", width-full),
		thousands(b.done), thousands(b.total), thousands(int(rate)))
}

// note prints a line above the bar.
func (b *bar) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terminal {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
	fmt.Fprintf(b.w, format+"\n", args...)
	if b.terminal {
		fmt.Fprint(b.w, b.line())
	}
}

// finish ends the bar's line.
func (b *bar) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terminal {
		fmt.Fprintln(b.w, "\r"+b.line())
	}
}

// thousands writes n with commas: 20,000.
func thousands(n int) string {
	s := strconv.Itoa(n)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
