// Program bench measures quipu-connect on this machine, in one run, beside what else reads a topic of Kafka: a bare consumer,
// kcat, and Kafka Streams; and its sinks, beside a loop that writes the same rows.
//
//	go run ./bench                       # all bars; bench-results/events.md
//	go run ./bench -list                 # the bars
//	go run ./bench -only E1,E3           # only what these bars need
//	go run ./bench -events 300000 -rounds 1 -seconds 3
//	go run ./bench -keyed                # the topic is keyed by post, which saves Kafka Streams its repartition topic
//
// It starts Apache Kafka (testbed/kafka), PostgreSQL and Quipu, each with its data on disk, and writes a topic of 4 partitions with events of
// 106 bytes. The contestants take turns in rounds, figures are medians of the rounds, and bars are ratios of medians: absolute figures
// of different machines, or of the same machine on another day, cannot be compared. Everything runs on the same machine and takes
// processors away from everything else.
//
// After each catching up the counters are added up: a connector that lost events or counted some twice ends the program with an error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// config is the command line.
type config struct {
	events  int
	rounds  int
	seconds float64
	only    string
	list    bool
	keyed   bool
	strict  bool
	threads int

	quipu   string
	connect string
	dir     string
	out     string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		if err := bare(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	cfg, err := parseFlags(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, cfg)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (config, error) {
	var cfg config
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.IntVar(&cfg.events, "events", 3_000_000, "events in the topic that is caught up with")
	f.IntVar(&cfg.rounds, "rounds", 3, "rounds; the results are medians")
	f.Float64Var(&cfg.seconds, "seconds", 20, "length of a round of E3 and E6; one of E4 takes a quarter of it for each load")
	f.StringVar(&cfg.only, "only", "", "only what these `bars` need, separated by commas")
	f.BoolVar(&cfg.list, "list", false, "list the bars, and end")
	f.BoolVar(&cfg.keyed, "keyed", false, "the records of the topic are keyed by post, and Kafka Streams counts by key")
	f.BoolVar(&cfg.strict, "strict", false, "end with an error if a bar is missed")
	f.IntVar(&cfg.threads, "streams-threads", 2, "num.stream.threads of Kafka Streams")
	f.StringVar(&cfg.quipu, "quipu", "", "quipu `program`; empty: it is built")
	f.StringVar(&cfg.connect, "connect", "", "quipu-connect `program`; empty: it is built")
	f.StringVar(&cfg.dir, "dir", "", "`folder` in which the data folders are made (and removed); its disk is the one measured; empty: the checkout")
	f.StringVar(&cfg.out, "out", "", "Markdown `file` for the results; empty: bench-results/events.md in the checkout")
	if err := f.Parse(args); err != nil {
		return cfg, err
	}
	switch {
	case f.NArg() > 0:
		return cfg, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case cfg.events < 1000 || cfg.rounds < 1 || cfg.seconds <= 0 || cfg.threads < 1:
		return cfg, errors.New("-events must be at least 1000, -rounds and -streams-threads at least 1, -seconds above 0")
	}
	return cfg, nil
}

func run(ctx context.Context, cfg config) error {
	selected, err := choose(cfg.only)
	if err != nil {
		return err
	}
	if cfg.list {
		for _, b := range selected {
			fmt.Printf("%s  %s: %s\n", b.id, b.what, b.wanted())
		}
		return nil
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	if cfg.out == "" {
		cfg.out = filepath.Join(root, "bench-results", "events.md")
	}
	if cfg.dir == "" {
		cfg.dir = root
	}
	work, err := os.MkdirTemp(cfg.dir, "quipu-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	l := newLab(cfg, root, work, selected)
	defer l.close()
	if err := l.measure(ctx); err != nil {
		return err
	}
	if err := l.write(); err != nil {
		return err
	}
	fmt.Println(l.barsTable())
	if missed := l.missed(); cfg.strict && len(missed) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(missed, ", "))
	}
	return nil
}

// choose returns the bars with the given names.
func choose(only string) ([]bar, error) {
	if only == "" {
		return bars, nil
	}
	var list []bar
	for id := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(bars, func(b bar) bool { return strings.EqualFold(b.id, strings.TrimSpace(id)) })
		if i < 0 {
			return nil, fmt.Errorf("there is no bar %q", id)
		}
		list = append(list, bars[i])
	}
	return list, nil
}

// findRoot is the folder of the checkout, at or above the working folder.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, kafkaScript)); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("there is no %s at or above the working folder", kafkaScript)
		}
		dir = parent
	}
}

// logf tells how far the run is; results go to standard output and into a file.
func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
