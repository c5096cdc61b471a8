package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// lab is one run of this program: what runs meanwhile, and the figures that it has left.
type lab struct {
	cfg      config
	root     string // the checkout
	work     string // folder for data, removed at the end
	selected []bar
	host     machine
	begun    time.Time

	broker  *broker
	running []*process
	started int // processes; numbers their logs

	figures  map[string][]float64 // by name, one for each round
	names    []string             // of the figures, in the order in which they came
	skipped  map[string]string    // contestants that are not here, and why
	versions []string
	warnings []string
}

func newLab(cfg config, root, work string, selected []bar) *lab {
	return &lab{
		cfg: cfg, root: root, work: work, selected: selected, host: inspectMachine(work), begun: time.Now(),
		figures: map[string][]float64{}, skipped: map[string]string{},
	}
}

// close ends all processes that still run.
func (l *lab) close() {
	if l.broker != nil {
		l.broker.close()
	}
	for _, p := range l.running {
		p.kill()
	}
}

// measure runs what the selected bars need.
func (l *lab) measure(ctx context.Context) error {
	if err := l.build(ctx); err != nil {
		return err
	}
	if err := l.inspectPrograms(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		bars []string
		run  func(context.Context) error
	}{
		{[]string{"E6"}, l.measureBehind},
		{[]string{"E7", "E7b"}, l.measureSink},
		{kafkaBars, l.startBroker}, // from here on it runs beside everything
		{[]string{"E1", "E2", "E5"}, l.measureCatchUp},
		{[]string{"E3"}, l.measureLatency},
		{[]string{"E4", "E4b"}, l.measureClients},
	} {
		if !slices.ContainsFunc(part.bars, l.wants) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// kafkaBars are those that need Kafka.
var kafkaBars = []string{"E1", "E2", "E3", "E4", "E4b", "E5"}

func (l *lab) startBroker(ctx context.Context) (err error) {
	l.broker, err = l.startKafka(ctx)
	return err
}

// wants reports whether a bar is among the selected.
func (l *lab) wants(id string) bool {
	return slices.ContainsFunc(l.selected, func(b bar) bool { return b.id == id })
}

// build builds the two programs of the checkout.
func (l *lab) build(ctx context.Context) error {
	for _, b := range []struct {
		path     *string
		dir, pkg string
	}{
		{&l.cfg.quipu, l.root, "./cmd/quipu"},
		{&l.cfg.connect, filepath.Join(l.root, "connect"), "./cmd/quipu-connect"},
	} {
		if *b.path != "" {
			continue
		}
		*b.path = filepath.Join(l.work, filepath.Base(b.pkg))
		cmd := exec.CommandContext(ctx, "go", "build", "-C", b.dir, "-trimpath", "-o", *b.path, b.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", b.pkg, err, out)
		}
	}
	return nil
}

// contestant is one of those that take turns in a measurement.
type contestant struct {
	name string
	turn func(ctx context.Context, round int) error
}

// alternate gives every contestant a turn in each round, beginning with another one each time.
func (l *lab) alternate(ctx context.Context, list []contestant) error {
	for round := range l.cfg.rounds {
		for i := range list {
			c := list[(i+round)%len(list)]
			if err := c.turn(ctx, round); err != nil {
				return fmt.Errorf("%s, round %d: %w", c.name, round+1, err)
			}
		}
	}
	return nil
}

// figure takes note of a figure of a round.
func (l *lab) figure(name string, value float64) {
	if l.figures[name] == nil {
		l.names = append(l.names, name)
	}
	l.figures[name] = append(l.figures[name], value)
	logf("%s: %s", name, number(value))
}

// warn keeps a reason to doubt the figures.
func (l *lab) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	logf("%s", text)
	if !slices.Contains(l.warnings, text) {
		l.warnings = append(l.warnings, text)
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// pause waits, and ends early with an error when ctx does.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// until asks again and again, until done says so.
func until(ctx context.Context, limit, every time.Duration, done func() (bool, error)) error {
	for end := time.Now().Add(limit); ; {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not done after %v", limit)
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}
