// Program compare measures Quipu beside redis-server on this machine, in one
// run, with redis-benchmark as the load.
//
//	make compare                     # three rounds, a few minutes
//	make compare ARGS=-quick         # one minute at most
//	go run ./bench/compare -h
//
// Three servers run at once, each on its own port and data directory: Redis
// without persistence, Redis with `appendonly yes` and `appendfsync always`,
// and Quipu with its defaults, which also fsync before they answer. The load
// (INCR of random keys that all exist) goes to one server at a time. Rounds
// alternate between the servers and begin with another one each time, so that
// a machine that gets slower meanwhile is unfair to none. The figures are
// medians over the rounds; figures of different runs or machines cannot be
// compared, ratios within a run can.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// config is the command line.
type config struct {
	redis     string
	benchmark string
	quipu     string
	dir       string
	out       string

	rounds    int
	keys      int
	clients   int
	threads   int
	requests  int
	pipelines []int
	atLeast   map[int]float64
	quick     bool
}

func main() {
	cfg, err := parseFlags(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, cfg)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (config, error) {
	var cfg config
	var pipelines, atLeast string
	f := flag.NewFlagSet("compare", flag.ExitOnError)
	f.StringVar(&cfg.redis, "redis", "redis-server", "redis-server `program`; empty: leave Redis out")
	f.StringVar(&cfg.benchmark, "benchmark", "redis-benchmark", "redis-benchmark `program`")
	f.StringVar(&cfg.quipu, "quipu", "bin/quipu", "quipu `program`; empty: leave Quipu out")
	f.StringVar(&cfg.dir, "dir", ".", "`folder` in which the data directories are made (and removed); its disk is the one measured")
	f.StringVar(&cfg.out, "o", "", "also write the report to this Markdown `file`")
	f.IntVar(&cfg.rounds, "rounds", 3, "rounds; the report gives medians")
	f.IntVar(&cfg.keys, "keys", 1_000_000, "counters, all of which exist before the first round")
	f.IntVar(&cfg.clients, "clients", 50, "connections of redis-benchmark")
	f.IntVar(&cfg.threads, "threads", 0, "threads of redis-benchmark (0: its single-threaded default)")
	f.IntVar(&cfg.requests, "requests", 300_000, "requests of a run at pipeline 1; deeper pipelines get up to 12 times as many")
	f.StringVar(&pipelines, "pipelines", "1,16,100", "pipeline depths, separated by commas")
	f.StringVar(&atLeast, "at-least", "", "fail if Quipu's throughput is below these multiples of Redis with fsync, as `depth=ratio,…`")
	f.BoolVar(&cfg.quick, "quick", false, "small and short, for a first look and for CI")
	if err := f.Parse(args); err != nil {
		return cfg, err
	}
	if cfg.quick {
		cfg.rounds, cfg.keys, cfg.requests = 2, 100_000, 40_000
	}
	if cfg.rounds < 1 || cfg.keys < 1 || cfg.clients < 1 || cfg.requests < 1 {
		return cfg, fmt.Errorf("rounds, keys, clients and requests must be at least 1")
	}
	for field := range strings.SplitSeq(pipelines, ",") {
		depth, err := strconv.Atoi(field)
		if err != nil || depth < 1 {
			return cfg, fmt.Errorf("-pipelines: %q is not a depth", field)
		}
		cfg.pipelines = append(cfg.pipelines, depth)
	}
	var err error
	cfg.atLeast, err = parseBars(atLeast)
	return cfg, err
}

// parseBars reads "16=1.5,100=2".
func parseBars(s string) (map[int]float64, error) {
	bars := map[int]float64{}
	if s == "" {
		return bars, nil
	}
	for field := range strings.SplitSeq(s, ",") {
		depth, ratio, _ := strings.Cut(field, "=")
		d, err1 := strconv.Atoi(depth)
		r, err2 := strconv.ParseFloat(ratio, 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("-at-least: %q is not depth=ratio", field)
		}
		bars[d] = r
	}
	return bars, nil
}

func run(ctx context.Context, cfg config) error {
	work, err := os.MkdirTemp(cfg.dir, "quipu-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	servers, err := startAll(ctx, cfg, work)
	defer stopAll(servers)
	if err != nil {
		return err
	}
	rep := newReport(cfg, servers, work)
	for _, s := range servers {
		logf("filling %s with %d counters", s.name, cfg.keys)
		if err := s.fill(ctx, cfg.keys); err != nil {
			return fmt.Errorf("filling: %w", s.explain(err))
		}
	}
	if err := measureAll(ctx, cfg, servers, rep); err != nil {
		return err
	}
	for _, s := range servers {
		if err := s.checkSum(ctx, cfg.keys); err != nil {
			return s.explain(err)
		}
	}
	text := rep.markdown()
	fmt.Println()
	fmt.Print(text)
	if cfg.out != "" {
		page := "# Quipu beside Redis\n\nWritten by `make compare ARGS=\"-o " + cfg.out + "\"`.\n\n" + text
		if err := os.WriteFile(cfg.out, []byte(page), 0o644); err != nil {
			return err
		}
	}
	return rep.checkBars()
}

// measureAll runs every round: for each depth, each server once, beginning with
// another server each round.
func measureAll(ctx context.Context, cfg config, servers []*server, rep *report) error {
	for round := range cfg.rounds {
		for _, depth := range cfg.pipelines {
			for i := range servers {
				s := servers[(i+round)%len(servers)]
				m, err := s.measure(ctx, cfg, depth)
				if err != nil {
					return fmt.Errorf("pipeline %d: %w", depth, s.explain(err))
				}
				logf("round %d of %d, pipeline %3d: %-30s %9.0f requests/s", round+1, cfg.rounds, depth, s.name, m.rate)
				rep.add(s, depth, m)
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(200 * time.Millisecond): // let background work of the last run end
				}
			}
		}
	}
	return nil
}

// logf tells how far the run is; the report itself goes to standard output.
func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
