package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"quipu/connect/likes/parts"
	"quipu/connect/likes/produce"
	"quipu/connect/likes/watch"
	"quipu/connect/likes/web"
	"quipu/connect/quipu"
)

// demo is everything that runs. What it tells the page is read anew each time from who knows it; of its own it has the kills that
// are not judged yet, and the log.
type demo struct {
	system   *parts.System
	crew     *parts.Crew
	client   *quipu.Client
	producer *produce.Producer
	fire     *produce.Firehose
	feed     *watch.Feed
	sql      *watch.SQL
	sketches *watch.Sketches
	hub      *web.Hub

	kills chan struct{} // wakes audit; has room for one

	mu     sync.Mutex
	log    []killed // the last ones
	number int      // of the last one
	leader string   // name of the node that leads, empty while nobody knows
}

const (
	topPosts  = 10
	stopLimit = 2 * time.Second // for the web server's requests
)

// newDemo prepares everything and starts nothing.
func newDemo(dir string, opt options) (*demo, error) {
	kafka := ""
	if opt.broker == "kafka" {
		kafka = opt.kafka
	}
	system, err := parts.NewSystem(dir, opt.programs, kafka)
	if err != nil {
		return nil, err
	}
	crew, err := parts.NewCrew(dir, system.Specs)
	if err != nil {
		return nil, err
	}
	d := &demo{
		system: system, crew: crew, client: quipu.New(system.Nodes, quipu.Access{}), feed: watch.NewFeed(system.Feeds, "likes:p"),
		sql: watch.NewSQL(system.SQLPath), hub: web.NewHub(), kills: make(chan struct{}, 1),
	}
	var fans []string
	for _, rank := range produce.Shown {
		fans = append(fans, fansKey(rank))
	}
	d.sketches = watch.NewSketches(d.client, parts.Source, parts.TopPosts, fans)
	return d, nil
}

func fansKey(rank int) string { return "fans:" + produce.Post(rank) }

// run runs everything until ctx ends; ready is told the URL when all parts serve.
func (d *demo) run(ctx context.Context, listen string, ready func(d *demo, url string)) error {
	defer d.client.Close()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	start := func(run func(context.Context) error) {
		all.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	// The parts end last: what watches them would have nothing to read.
	crewCtx, stopCrew := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCrew()
	crewEnded := make(chan error, 1)
	go func() {
		err := d.crew.Run(crewCtx)
		cancel(err)
		crewEnded <- err
	}()
	if err := d.open(ctx); err == nil {
		for _, run := range []func(context.Context){d.fire.Run, d.feed.Run, d.sql.Run, d.tell, d.tellSketches, d.tellLeader, d.audit, d.trim} {
			start(func(ctx context.Context) error { run(ctx); return nil })
		}
		start(d.producer.Run)
		start(func(ctx context.Context) error { return d.serve(ctx, listener) })
		ready(d, "http://"+listener.Addr().String()+"/")
		<-ctx.Done()
	} else {
		cancel(err)
		listener.Close()
	}
	all.Wait()
	if d.producer != nil {
		d.producer.Close()
	}
	stopCrew()
	if err := <-crewEnded; err != nil {
		return err
	}
	if outer.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// open waits for the parts and makes what has to be there before anything is counted.
func (d *demo) open(ctx context.Context) error {
	if err := d.crew.AllUp(ctx); err != nil {
		return err
	}
	if err := d.sketches.Reserve(ctx, topPosts); err != nil {
		return err
	}
	producer, err := produce.Open(ctx, d.system.Broker, parts.Topic, parts.Partitions, d.system.Kafka)
	if err != nil {
		return err
	}
	d.producer, d.fire = producer, produce.NewFirehose(producer)
	return nil
}

// serve serves the page until ctx ends.
func (d *demo) serve(ctx context.Context, listener net.Listener) error {
	server, err := web.New(listener.Addr().String(), d.hub, d)
	if err != nil {
		return err
	}
	server.BaseContext = func(net.Listener) context.Context { return ctx } // so that pages that listen are let go
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	if server.Shutdown(limited) != nil {
		server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Like implements web.Demo. It answers when the like is in the topic.
func (d *demo) Like(ctx context.Context, post string, visitor int) (int64, error) {
	rank := produce.Rank(post)
	if rank == 0 || visitor < 0 || visitor >= produce.Visitors {
		return 0, web.ErrWrong
	}
	done := make(chan int64, 1)
	like := produce.Like{Rank: int32(rank), User: int32(produce.Crowd + visitor), At: time.Now().UnixMilli(), Done: done}
	if err := d.producer.Offer(true, like); err != nil {
		return 0, err
	}
	select {
	case n := <-done:
		return n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Firehose implements web.Demo.
func (d *demo) Firehose(on bool, rate int) {
	d.fire.Set(on, rate)
	d.tellFirehose()
}

// Kill implements web.Demo.
func (d *demo) Kill(what string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	part, err := d.victim(ctx, what)
	if err != nil {
		return err
	}
	number := d.enter(part, what == "leader")
	pid, err := d.crew.Kill(part.Name)
	if err != nil {
		d.drop(number)
		return err
	}
	d.change(number, func(k *killed) { k.PID = pid })
	select {
	case d.kills <- struct{}{}:
	default:
	}
	return nil
}

// victim is the part that a button means.
func (d *demo) victim(ctx context.Context, what string) (parts.Status, error) {
	name, err := "", error(nil)
	if what == "leader" {
		if name, err = d.system.Leader(ctx); err != nil {
			return parts.Status{}, err
		}
	}
	list, _ := d.crew.Status()
	var choice []parts.Status
	for _, s := range list {
		if s.State == parts.Up && (s.Name == name || string(s.Kind) == what && s.Kind != parts.Node) {
			choice = append(choice, s)
		}
	}
	switch {
	case len(choice) > 0: // of the connectors the one that was started less often: they take turns
		best := choice[0]
		for _, s := range choice {
			if s.Runs < best.Runs {
				best = s
			}
		}
		return best, nil
	case what == "leader" || what == "connector" || what == "broker":
		return parts.Status{}, fmt.Errorf("%s does not run at the moment", what)
	}
	return parts.Status{}, web.ErrWrong
}
