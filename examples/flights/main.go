// Program flights counts 20,000 real flights in a counter server through a
// plain Redis client: flights per origin and per route, and the minutes of
// delay per origin. What sketches estimate of the same flights is printed beside
// the exact answers (sketches.go).
//
//	go run ./examples/flights -addr 127.0.0.1:6379
//
// Each flight is counted exactly once although the producer, the server or the
// connection may fail at any moment; producer.go says how. With -demo it starts
// a server of its own, kills it with kill -9 several times while it counts, and
// compares every count with the exact one. With -nodes 3 that is three nodes of
// Quipu, and the one that leads is killed each time; once.go says how each
// flight is counted exactly once then.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// options are the program's command line.
type options struct {
	addr   string
	file   string
	limit  int
	window int
	top    int

	demo   bool
	server string
	nodes  int
	kills  int
	seed   uint64
}

func main() {
	var opt options
	flag.StringVar(&opt.addr, "addr", "127.0.0.1:6379", "`host:port` of the server")
	flag.StringVar(&opt.file, "file", "", "CSV `file` of flights, also .gz (default: the one in the program)")
	flag.IntVar(&opt.limit, "limit", 0, "count only the first `n` flights (0: all)")
	flag.IntVar(&opt.window, "window", 100, "flights sent before the replies are read, each as a transaction; with -nodes all as one")
	flag.IntVar(&opt.top, "top", 10, "length of the lists printed at the end")
	flag.BoolVar(&opt.demo, "demo", false, "start a server, kill it several times meanwhile, and check every count")
	flag.StringVar(&opt.server, "server", "bin/quipu", "for -demo: the server `program` (quipu or redis-server)")
	flag.IntVar(&opt.nodes, "nodes", 1, "for -demo: how many nodes of quipu the server has (1, 3 or 5); of several the one that leads is killed")
	flag.IntVar(&opt.kills, "kills", 3, "for -demo: how many times the server is killed")
	flag.Uint64Var(&opt.seed, "seed", 0, "for -demo: where the kills fall (0: chosen at random)")
	flag.Parse()
	logging.Disable() // of the client library; what goes wrong is in its errors

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := count
	if opt.demo {
		run = demo
	}
	if err := run(ctx, opt); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "flights:", err)
		os.Exit(1)
	}
}

// count is the plain example: count the file into a server that is running.
func count(ctx context.Context, opt options) error {
	flights, err := loadFlights(opt)
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: opt.addr})
	defer client.Close()

	bar := newBar(os.Stdout, len(flights))
	p := &producer{
		client:   client,
		flights:  flights,
		window:   opt.window,
		patience: 10 * time.Second,
		progress: bar.set,
		resumed: func(position int, cause error) {
			if cause != nil {
				bar.note("connection failed (%v); going on after record %s", cause, thousands(position))
			} else if position > 0 {
				bar.note("going on after record %s", thousands(position))
			}
		},
	}
	if err := p.run(ctx); err != nil {
		return err
	}
	bar.finish()
	want, err := exactly(opt)
	if err != nil {
		return err
	}
	_, err = printResults(ctx, os.Stdout, client, want, opt.top)
	return err
}
