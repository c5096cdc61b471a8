package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"sync"
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
	if opt.nodes != 1 && opt.nodes != 3 && opt.nodes != 5 {
		return fmt.Errorf("-nodes %d: a server has 1, 3 or 5", opt.nodes)
	}
	nodes, cleanUp, err := newServers(opt.server, opt.nodes)
	if err != nil {
		return err
	}
	defer cleanUp()
	ctx, fail := context.WithCancelCause(ctx)
	d := &demoRun{nodes: nodes, fail: fail, rng: rand.New(rand.NewPCG(opt.seed, 0))}
	defer d.end()
	if err := startAll(ctx, nodes); err != nil {
		return err
	}
	what, addresses := "", nodes[0].addr()
	for _, s := range nodes[1:] {
		what, addresses = "the one that leads ", addresses+", "+s.addr()
	}
	fmt.Printf("%s on %s, %skilled %d times (-seed %d)\n", opt.server, addresses, what, opt.kills, opt.seed)

	client := redis.NewClient(&redis.Options{Addr: nodes[0].addr()})
	defer client.Close()
	d.bar = newBar(os.Stdout, len(flights))
	d.plan(len(flights), opt.kills)
	err = d.count(ctx, opt, client, flights)
	d.crash.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	d.bar.finish()
	return d.check(ctx, opt, client)
}

// demoRun kills the server, or the node of it that leads, at planned records while the producer works.
type demoRun struct {
	nodes []*serverProcess
	bar   *bar
	rng   *rand.Rand
	kills []int                   // records after which to kill, ascending, those to come
	crash sync.WaitGroup          // the kill under way, until what was killed answers again
	fail  context.CancelCauseFunc // ends the run

	// Where there are several nodes: batches, those sent again, and those of them that a node said it had counted already. It says
	// so only where the replies were too long to be kept; else the first ones come again.
	batches, resent, applied int
}

// end leaves no process behind.
func (d *demoRun) end() {
	d.fail(nil)
	d.crash.Wait()
	for _, s := range d.nodes {
		s.kill()
	}
}

// count counts all flights: with a position beside the counts, and into several nodes with ONCE instead.
func (d *demoRun) count(ctx context.Context, opt options, client *redis.Client, flights []flight) error {
	progress := func(position int) { d.progress(ctx, position) }
	if len(d.nodes) == 1 {
		p := &producer{
			client: client, flights: flights, window: opt.window, patience: time.Minute,
			progress: progress, resumed: d.resumed,
		}
		return p.run(ctx)
	}
	p := &onceProducer{flights: flights, window: opt.window, patience: time.Minute, progress: progress}
	p.resent = func(batch int, causes []error, applied bool) {
		answer := "answered"
		if applied {
			answer = "answered that it was counted already"
			d.applied++
		}
		d.resent++
		d.bar.note("batch %d sent %d times: the client saw %q, then node %d %s",
			batch, len(causes)+1, shorten(causes[0].Error(), 60), p.at+1, answer)
	}
	for _, s := range d.nodes {
		node := redis.NewClient(s.options())
		defer node.Close()
		p.nodes = append(p.nodes, node)
	}
	err := p.run(ctx)
	d.batches = p.batches
	return err
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
	if len(d.kills) == 0 || position < d.kills[0] {
		return
	}
	d.kills = d.kills[1:]
	d.crash.Wait() // of the kill before
	delay := time.Duration(d.rng.IntN(2000)) * time.Microsecond
	d.crash.Go(func() {
		time.Sleep(delay)
		if err := d.kill(ctx); err != nil {
			d.fail(err)
		}
	})
}

// kill kills the server and starts it again: of several nodes the one that leads, when another one does.
func (d *demoRun) kill(ctx context.Context) error {
	if len(d.nodes) == 1 {
		d.nodes[0].kill()
		return d.nodes[0].start(ctx)
	}
	at, err := awaitLeader(ctx, d.nodes)
	if err != nil {
		return err
	}
	d.nodes[at].kill()
	killed := time.Now()
	d.bar.note("kill -9 of node %d, which led", at+1)
	next, err := awaitLeader(ctx, d.nodes)
	if err != nil {
		return err
	}
	d.bar.note("node %d leads, %.1f s later; node %d is started again", next+1, time.Since(killed).Seconds(), at+1)
	return d.nodes[at].start(ctx)
}

// resumed reports where the producer goes on.
func (d *demoRun) resumed(position int, cause error) {
	if cause == nil {
		return
	}
	d.bar.note("kill -9, started again: %s records stored; the client saw %q", thousands(position), shorten(cause.Error(), 60))
	d.crash.Wait()
}

// check compares the counts, and then what each node has itself: of a single one after it was stopped as an operator would, and
// started again. The sketches must give the same answers then.
func (d *demoRun) check(ctx context.Context, opt options, client *redis.Client) error {
	want, err := exactly(opt)
	if err != nil {
		return err
	}
	position, where, what := want.records, "", " and once SIGTERM"
	if len(d.nodes) > 1 {
		position, where = 0, " on each node"
		what = fmt.Sprintf(" of the one that led\n%d of %d batches were sent again, of which at least %d had been counted already", d.resent, d.batches, d.applied)
	}
	before, err := printResults(ctx, os.Stdout, client, want, opt.top)
	if err != nil {
		return err
	}
	if len(d.kills) > 0 {
		return fmt.Errorf("%d kills had no time to happen; give a smaller -window", len(d.kills))
	}
	if err := errors.Join(compare(ctx, client, want, position), before.check(want)); err != nil {
		return fmt.Errorf("-seed %d: %w", opt.seed, err)
	}
	if len(d.nodes) == 1 {
		if err := d.nodes[0].stop(); err != nil {
			return err
		}
		if err := d.nodes[0].start(ctx); err != nil {
			return err
		}
	}
	for i, s := range d.nodes {
		if err := s.compare(ctx, want, position, before); err != nil {
			return fmt.Errorf("-seed %d: at the end on node %d: %w", opt.seed, i+1, err)
		}
	}
	fmt.Printf("\nall %s counts of %s flights are exact%s, after %d times kill -9%s\n",
		thousands(len(want.counts)), thousands(want.records), where, opt.kills, what)
	return nil
}

// compare checks that this node has what is wanted, and in its sketches what was read before.
func (s *serverProcess) compare(ctx context.Context, want *exact, position int, before *estimates) error {
	opt := s.options()
	if len(s.peers) > 0 {
		// Of several, what this one has itself, which may be a moment later: the client's own write comes behind all others.
		opt.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
			return errors.Join(conn.Do(ctx, "CLIENT", "READ", "local").Err(), conn.Do(ctx, "ONCE", "OPEN", "comparison").Err())
		}
	}
	client := redis.NewClient(opt)
	defer client.Close()
	if err := compare(ctx, client, want, position); err != nil {
		return err
	}
	after, err := readEstimates(ctx, client)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(before, after) {
		return fmt.Errorf("the sketches say %v instead of %v", after, before)
	}
	return nil
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
