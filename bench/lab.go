package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lab is one run of the program: where measurements start their servers and
// leave their figures.
type lab struct {
	cfg     config
	work    string // folder for data directories
	figures figures
	host    machine
	begun   time.Time
	took    map[string]time.Duration // by measurement
	failed  []string                 // measurements that ended early, and why

	product map[string]string // by variant: "Redis 7.0.15"
	name    map[string]string // by variant: "Redis, no persistence"
	loops   map[string]string // by variant: event loops or I/O threads
	refused map[string]string // variants that do not start, and why

	started int // servers so far; numbers their folders
}

func newLab(cfg config, work string) *lab {
	return &lab{
		cfg: cfg, work: work, figures: figures{}, host: inspectMachine(work), begun: time.Now(), took: map[string]time.Duration{},
		product: map[string]string{}, name: map[string]string{}, loops: map[string]string{}, refused: map[string]string{},
	}
}

// probe starts each variant once, to know what it is and whether there is one. A
// quipu that does not know how to answer locally is measured without.
func (l *lab) probe(ctx context.Context) error {
	for _, v := range allVariants {
		l.name[v] = setUp[v]
		s, err := l.start(ctx, v)
		if err != nil && v == quipuLocal && ctx.Err() == nil {
			l.refused[v] = fmt.Sprintf("quipu does not start with %q", l.cfg.localArgs)
			logf("without %s: %v", v, err)
			continue
		}
		if err != nil {
			return err
		}
		product, version, loops, err := s.identify(ctx)
		s.kill()
		if err != nil {
			return fmt.Errorf("%s: %w", v, err)
		}
		l.product[v], l.loops[v] = product+" "+version, loops
		l.name[v] = product + ", " + setUp[v]
		if v == quipuLocal && l.cfg.localArgs == "" {
			l.name[v] = product + ", defaults in place of ack local"
		}
		logf("%s: %s, event loops or I/O threads: %s", l.name[v], l.product[v], loops)
	}
	return nil
}

// available leaves out the variants that do not start.
func (l *lab) available(variants ...string) []string {
	var ok []string
	for _, v := range variants {
		if l.refused[v] == "" {
			ok = append(ok, v)
		}
	}
	return ok
}

// measureAll runs one measurement after the other.
func (l *lab) measureAll(ctx context.Context, selected []measurement) error {
	for _, m := range selected {
		l.measure(ctx, m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// measure runs one measurement. One that fails does not keep the others from
// being run; what it has found so far stays.
func (l *lab) measure(ctx context.Context, m measurement) {
	logf("== %s: %s", m.name, m.about)
	begin := time.Now()
	err := m.run(ctx, l)
	for again := 0; again < 2 && lostOffice(err); again++ {
		// The machine stood still for so long that three nodes on it chose another leader. What was measured says nothing.
		logf("== %s begins anew: %v", m.name, err)
		for c := range l.figures {
			if slices.ContainsFunc(m.metrics, func(mt metric) bool { return mt.id == c.metric }) {
				delete(l.figures, c)
			}
		}
		err = m.run(ctx, l)
	}
	if err != nil {
		l.failed = append(l.failed, fmt.Sprintf("%s: %v", m.name, err))
		logf("== %s FAILED: %v", m.name, err)
	}
	l.took[m.name] = time.Since(begin)
	logf("== %s took %.0f s", m.name, time.Since(begin).Seconds())
}

// lostOffice reports whether an error is one that clients get because the leader of three nodes has lost its office.
func lostOffice(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "UNKNOWN ") || strings.Contains(err.Error(), "TRYAGAIN "))
}

// start starts a variant in a new folder; further are arguments for it alone.
func (l *lab) start(ctx context.Context, variant string, further ...string) (*server, error) {
	dir, err := filepath.Abs(filepath.Join(l.work, strconv.Itoa(l.started)))
	if err != nil {
		return nil, err
	}
	l.started++
	s, err := startServer(ctx, variant, dir, l.cfg.commandLine(variant, further...))
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", variant, err)
	}
	return s, nil
}

// fleet is the servers of one measurement.
type fleet []*server

func (f fleet) kill() {
	for _, s := range f {
		s.kill()
	}
}

// startFilled starts the available ones of variants and fills them with keys
// counters. On an error it returns those that run.
func (l *lab) startFilled(ctx context.Context, keys int, variants ...string) (fleet, error) {
	var f fleet
	for _, v := range l.available(variants...) {
		s, err := l.start(ctx, v)
		if err != nil {
			return f, err
		}
		f = append(f, s)
		if err := s.fill(ctx, counterSet{name: benchmarkKey}, 0, keys); err != nil {
			return f, s.explain(err)
		}
	}
	return f, nil
}

// alternate calls f for each round and each of n cases, beginning with another
// case each round.
func (l *lab) alternate(ctx context.Context, n int, f func(round, i int) error) error {
	for round := range l.cfg.rounds {
		for i := range n {
			if err := f(round, (i+round)%n); err != nil {
				return err
			}
			if err := pause(ctx, l.cfg.rest()); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest between runs lets background work of the last one end: 200 ms at full
// length.
func (c config) rest() time.Duration { return min(200*time.Millisecond, c.runTime()*2/25) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// progress tells one result on the way.
func (l *lab) progress(round int, variant, what string, value float64, unit string) {
	logf("round %d of %d, %-36s %-34s %12s %s", round+1, l.cfg.rounds, what, l.name[variant], grouped(value, 2), unit)
}
