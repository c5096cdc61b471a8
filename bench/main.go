// Program bench measures Quipu beside Redis on this machine, in one run, or two
// builds of Quipu beside each other.
//
//	make bench                                # everything, half an hour
//	make bench-quick                          # the same in small, 4 minutes
//	go run ./bench -list                      # the measurements and their bars
//	go run ./bench -only 1,5,9 -out /tmp/b    # only what these bars need
//	go run ./bench -redis /path/to/valkey-server
//	go run ./bench -before /path/to/older/quipu # two builds, 15 minutes; -quick: 3
//
// It writes results.md and plots/*.svg into the folder -out and, with -readme,
// a summary into a page between two markers; with -before it writes
// before-after.md instead. What the figures mean, and what
// makes them wrong, is in docs/performance.md.
//
// A measurement (measure_*.go) starts servers of its own, each with a data
// directory on disk, and repeats its runs in rounds that alternate between the
// servers, so that a machine that gets slower meanwhile is unfair to none. It
// leaves figures; bars are ratios of medians of figures, and so are the plots.
// Figures of different runs or machines cannot be compared, ratios within a run
// can.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// config is the command line.
type config struct {
	redis     string
	benchmark string
	quipu     string
	before    string
	redisArgs string
	quipuArgs string
	localArgs string
	cpus      string
	threads   int

	dir    string
	out    string
	readme string
	tables bool
	only   string
	attack string // only attacks whose names have it
	list   bool
	strict bool

	rounds  int
	seconds float64 // length of one run
	scale   float64 // of the numbers of keys and idle connections
	quick   bool
	long    bool
}

func main() {
	cfg, err := parseFlags(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, cfg)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (config, error) {
	var cfg config
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.StringVar(&cfg.redis, "redis", "redis-server", "the peer's `program`: redis-server or valkey-server")
	f.StringVar(&cfg.benchmark, "benchmark", "redis-benchmark", "redis-benchmark `program`")
	f.StringVar(&cfg.quipu, "quipu", "bin/quipu", "quipu `program`")
	f.StringVar(&cfg.before, "before", "", "compare this older quipu `program` with that of -quipu, instead of Quipu with Redis")
	f.StringVar(&cfg.redisArgs, "redis-args", "", "further `arguments` of the peer, separated by spaces")
	f.StringVar(&cfg.quipuArgs, "quipu-args", "", "further `arguments` of quipu server, separated by spaces")
	f.StringVar(&cfg.localArgs, "local-args", "--ack local", "`arguments` that make quipu answer before the sync; empty: its defaults take that place, to try the harness")
	f.StringVar(&cfg.cpus, "cpus", "", "run every server under taskset on these `CPUs` (such as 0 or 0,2); empty: wherever the system puts it")
	f.IntVar(&cfg.threads, "threads", 0, "threads of redis-benchmark, for machines with many cores; 0: its single-threaded default")
	f.StringVar(&cfg.dir, "dir", ".", "`folder` in which the data directories are made (and removed); its disk is the one measured")
	f.StringVar(&cfg.out, "out", "bench", "`folder` for results.md and plots; with -before bench-results, if it is not given")
	f.StringVar(&cfg.readme, "readme", "", "also write a summary into this Markdown `file`, between its markers")
	f.BoolVar(&cfg.tables, "tables", false, "write the tables of figures into -readme, and not the bars")
	f.StringVar(&cfg.only, "only", "", "only the measurements with these `names` or bars, separated by commas")
	f.StringVar(&cfg.attack, "attack", "", "only the attacks with these `words` in their name")
	f.BoolVar(&cfg.list, "list", false, "list the measurements and their bars, and end")
	f.BoolVar(&cfg.strict, "strict", false, "end with an error if a bar is missed or, with -before, a figure is below 0.97 of before")
	f.IntVar(&cfg.rounds, "rounds", 5, "rounds; the results are medians; with -before 6, if it is not given")
	f.Float64Var(&cfg.seconds, "seconds", 2.5, "length of one run; with -before 2, if it is not given")
	f.Float64Var(&cfg.scale, "scale", 1, "multiplies the numbers of keys and connections; bars are meant for 1")
	f.BoolVar(&cfg.quick, "quick", false, "small and short, for a first look and for CI: 2 rounds of 0.5 s (with -before 4), a tenth of the keys")
	f.BoolVar(&cfg.long, "long", false, "with -before: memory and start with 5,000,000 counters instead of 1,000,000")
	if err := f.Parse(args); err != nil {
		return cfg, err
	}
	if f.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if cfg.before != "" && cfg.readme != "" {
		return cfg, errors.New("-readme is for the comparison with Redis, not for -before")
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	cfg.setDefaults(given)
	if cfg.rounds < 1 || cfg.seconds <= 0 || cfg.scale <= 0 || cfg.scale > 1 {
		return cfg, errors.New("-rounds must be at least 1, -seconds above 0, -scale above 0 and at most 1")
	}
	return cfg, nil
}

// setDefaults sets those flags that were not given where their defaults depend on
// other flags. The rounds of two builds are even in number, so that neither build is
// first more often.
func (c *config) setDefaults(given map[string]bool) {
	rounds, seconds, scale, out := c.rounds, c.seconds, c.scale, c.out
	if c.before != "" {
		rounds, seconds, out = 6, 2, "bench-results"
	}
	switch {
	case c.quick && c.before != "":
		rounds, seconds, scale = 4, 0.5, 0.1
	case c.quick:
		rounds, seconds, scale = 2, 0.5, 0.1
	}
	if !given["rounds"] {
		c.rounds = rounds
	}
	if !given["seconds"] {
		c.seconds = seconds
	}
	if !given["scale"] {
		c.scale = scale
	}
	if !given["out"] {
		c.out = out
	}
}

// scaled is n at the scale of this run.
func (c config) scaled(n int) int { return max(1, int(float64(n)*c.scale+0.5)) }

func run(ctx context.Context, cfg config) error {
	all := measurements(cfg)
	if cfg.before != "" {
		all = buildMeasurements(cfg)
	}
	selected, err := choose(all, cfg.only)
	if err != nil {
		return err
	}
	if cfg.list {
		list(os.Stdout, selected)
		return nil
	}
	if cfg.readme != "" { // before half an hour of work
		if _, _, err := readmeBlock(cfg.readme); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(cfg.dir, "quipu-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	l := newLab(cfg, work)
	if cfg.before != "" {
		return l.compareBuilds(ctx, selected)
	}
	return l.compareProducts(ctx, selected)
}

// compareProducts measures Quipu beside Redis.
func (l *lab) compareProducts(ctx context.Context, selected []measurement) error {
	if err := l.probe(ctx); err != nil {
		return err
	}
	if err := l.measureAll(ctx, selected); err != nil {
		return err
	}
	r := newReport(l, selected)
	if err := r.write(); err != nil {
		return err
	}
	fmt.Println(r.barsTable())
	return l.verdict(r.missed())
}

// verdict is an error if a measurement failed or, where that is asked for, a goal
// was missed.
func (l *lab) verdict(missed []string) error {
	if len(l.failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(l.failed, "; "))
	}
	if l.cfg.strict && len(missed) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(missed, ", "))
	}
	return nil
}

// logf tells how far the run is; results go to standard output and into files.
func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
