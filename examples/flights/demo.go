package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// demo counts the flights while it kills the server, and checks every count.
func demo(ctx context.Context, opt options) error {
	flights, err := loadFlights(opt)
	if err != nil {
		return err
	}
	if opt.seed == 0 {
		opt.seed = rand.Uint64()
	}
	server, cleanUp, err := newServer(opt.server)
	if err != nil {
		return err
	}
	defer cleanUp()
	if err := server.start(ctx); err != nil {
		return err
	}
	defer func() { server.kill() }()
	fmt.Printf("%s on %s, killed %d times (-seed %d)\n", opt.server, server.addr(), opt.kills, opt.seed)

	client := redis.NewClient(&redis.Options{Addr: server.addr()})
	defer client.Close()
	d := &demoRun{
		server: server,
		bar:    newBar(os.Stdout, len(flights)),
		rng:    rand.New(rand.NewPCG(opt.seed, 0)),
	}
	d.plan(len(flights), opt.kills)
	p := &producer{
		client: client, flights: flights, window: opt.window, patience: time.Minute,
		progress: func(position int) { d.progress(ctx, position) },
		resumed:  d.resumed,
	}
	err = p.run(ctx)
	if killErr := d.wait(); killErr != nil {
		return killErr
	}
	if err != nil {
		return err
	}
	d.bar.finish()
	return d.check(ctx, opt, client)
}

// newServer prepares a server with a free port and a data directory of its own,
// which cleanUp removes.
func newServer(program string) (server *serverProcess, cleanUp func(), err error) {
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "flights-demo-")
	if err != nil {
		return nil, nil, err
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, nil, err
	}
	server = &serverProcess{program: program, port: port, dir: data, log: filepath.Join(dir, "server.log")}
	return server, func() { os.RemoveAll(dir) }, nil
}

// demoRun kills the server at planned records while the producer works.
type demoRun struct {
	server *serverProcess
	bar    *bar
	rng    *rand.Rand
	kills  []int      // records after which to kill, ascending, those to come
	active chan error // result of the kill under way; nil: none
}

// plan spreads n kills over the records, each at a random place of its share.
func (d *demoRun) plan(records, n int) {
	for i := range n {
		share := records / (n + 1)
		d.kills = append(d.kills, (i*records)/(n+1)+share/2+d.rng.IntN(max(share, 1)))
	}
	slices.Sort(d.kills)
}

// progress draws the bar and starts a kill when its record has been counted.
// The kill falls a little later, into the middle of whatever is then in flight.
func (d *demoRun) progress(ctx context.Context, position int) {
	d.bar.set(position)
	if d.active != nil || len(d.kills) == 0 || position < d.kills[0] {
		return
	}
	d.kills = d.kills[1:]
	delay := time.Duration(d.rng.IntN(2000)) * time.Microsecond
	active := make(chan error, 1)
	d.active = active
	go func() {
		time.Sleep(delay)
		d.server.kill()
		active <- d.server.start(ctx)
	}()
}

// resumed reports where the producer goes on.
func (d *demoRun) resumed(position int, cause error) {
	if cause == nil {
		return
	}
	d.bar.note("kill -9, started again: %s records stored; the client saw %q", thousands(position), shorten(cause.Error(), 60))
	if err := d.wait(); err != nil {
		d.bar.note("%v", err)
	}
}

// wait returns when no kill is under way, with the error of the restart.
func (d *demoRun) wait() error {
	if d.active == nil {
		return nil
	}
	err := <-d.active
	d.active = nil
	return err
}

// check compares the counts, stops the server as an operator would, starts it
// again and compares once more. The sketches must give the same answers then.
func (d *demoRun) check(ctx context.Context, opt options, client *redis.Client) error {
	want, err := exactly(opt)
	if err != nil {
		return err
	}
	before, err := printResults(ctx, os.Stdout, client, want, opt.top)
	if err != nil {
		return err
	}
	if len(d.kills) > 0 {
		return fmt.Errorf("%d kills had no time to happen; give a smaller -window", len(d.kills))
	}
	if err := errors.Join(compare(ctx, client, want), before.check(want)); err != nil {
		return fmt.Errorf("-seed %d: %w", opt.seed, err)
	}
	if err := d.server.stop(); err != nil {
		return err
	}
	if err := d.server.start(ctx); err != nil {
		return err
	}
	if err := compare(ctx, client, want); err != nil {
		return fmt.Errorf("-seed %d: after SIGTERM and a start: %w", opt.seed, err)
	}
	after, err := readEstimates(ctx, client)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(before, after) {
		return fmt.Errorf("-seed %d: after SIGTERM and a start the sketches say %v instead of %v", opt.seed, after, before)
	}
	fmt.Printf("\nall %s counts of %s flights are exact, after %d times kill -9 and once SIGTERM\n",
		thousands(len(want.counts)), thousands(want.records), opt.kills)
	return nil
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
