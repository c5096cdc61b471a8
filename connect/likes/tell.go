package main

import (
	"context"
	"time"

	"quipu/connect/likes/parts"
	"quipu/connect/likes/produce"
	"quipu/connect/likes/web"
)

const (
	numbersPause = 100 * time.Millisecond
	slowPause    = time.Second
	leaderPause  = 300 * time.Millisecond
	trimPause    = 10 * time.Second
	trimKeep     = 20_000 // likes of a partition that the broker keeps
)

// What the page is told, by the kind of the event.
type (
	helloEvent struct {
		Posts    []postName `json:"posts"`
		Visitors int        `json:"visitors"`
		Honest   string     `json:"honest"`
	}
	postName struct {
		ID    string `json:"id"`
		Title string `json:"title"`
	}
	numbersEvent struct {
		Sent    int64   `json:"sent"`
		Counted int64   `json:"counted"`
		SQL     int64   `json:"sql"`
		Waiting int     `json:"waiting"`
		Trouble bool    `json:"trouble"`
		Held    bool    `json:"held"`
		Node    string  `json:"node"`   // that the feed comes from, empty while it looks for one
		Counts  []int64 `json:"counts"` // of the posts shown
	}
	firehoseEvent struct {
		On   bool `json:"on"`
		Rate int  `json:"rate"`
	}
	partEvent struct {
		Name   string      `json:"name"`
		Kind   parts.Kind  `json:"kind"`
		State  parts.State `json:"state"`
		PID    int         `json:"pid"`
		Leader bool        `json:"leader"`
	}
	sketchesEvent struct {
		Fans []estimate `json:"fans"`
		Top  []topPost  `json:"top"`
	}
	estimate struct {
		Estimate int64 `json:"estimate"`
		Exact    int64 `json:"exact"`
	}
	topPost struct {
		Title string `json:"title"`
		estimate
	}
)

// The page says in which way the broker can be trusted.
const (
	honestKafka = "The broker is Apache Kafka. It recognizes what its producer sends again, also after kill -9, so each like is in the topic once."
	honestKfake = "The broker is kfake, which needs no Java but forgets its producers when it is killed, and would take again what they send again. " +
		"So the producer asks it for the end of each partition first, and sends only what is not there. With BROKER=kafka the broker itself does that."
)

// tell keeps the page up to date until ctx ends.
func (d *demo) tell(ctx context.Context) {
	d.hello()
	d.tellFirehose()
	numbers, slow := time.NewTicker(numbersPause), time.NewTicker(slowPause)
	defer numbers.Stop()
	defer slow.Stop()
	for {
		_, changed := d.crew.Status()
		d.tellParts()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-numbers.C:
			d.tellNumbers()
		case <-slow.C:
			_ = d.hub.Set("chart", d.sql.Chart())
		}
	}
}

func (d *demo) hello() {
	hello := helloEvent{Visitors: produce.Visitors, Honest: honestKfake}
	if d.system.Kafka {
		hello.Honest = honestKafka
	}
	for _, rank := range produce.Shown {
		hello.Posts = append(hello.Posts, postName{ID: produce.Post(rank), Title: web.Title(rank)})
	}
	_ = d.hub.Set("hello", hello)
}

// tellNumbers reads from the end of the way to its beginning, so that no number seems to be ahead of the one before.
func (d *demo) tellNumbers() {
	var n numbersEvent
	n.SQL = d.sql.Total()
	for _, rank := range produce.Shown {
		n.Counts = append(n.Counts, d.feed.Value(produce.Post(rank)[1:]))
	}
	n.Counted = d.feed.Total()
	if node := d.feed.Node(); node >= 0 {
		n.Node = d.system.Specs[node].Name
	}
	waiting, trouble := d.producer.Waiting()
	n.Sent = d.producer.Ledger.Sent()
	n.Waiting, n.Trouble = waiting, trouble != nil
	_, _, n.Held = d.fire.State()
	_ = d.hub.Set("numbers", n)
}

func (d *demo) tellFirehose() {
	on, rate, _ := d.fire.State()
	_ = d.hub.Set("firehose", firehoseEvent{On: on, Rate: rate})
}

func (d *demo) tellParts() {
	list, _ := d.crew.Status()
	d.mu.Lock()
	leader := d.leader
	d.mu.Unlock()
	var events []partEvent
	for _, s := range list {
		events = append(events, partEvent{Name: s.Name, Kind: s.Kind, State: s.State, PID: s.PID, Leader: s.Name == leader && s.State == parts.Up})
	}
	_ = d.hub.Set("parts", events)
}

// tellLeader looks again and again which node leads.
func (d *demo) tellLeader(ctx context.Context) {
	tick := time.NewTicker(leaderPause)
	defer tick.Stop()
	for {
		leader, err := d.system.Leader(ctx)
		if err != nil {
			leader = ""
		}
		d.mu.Lock()
		d.leader = leader
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tellSketches reads the sketches once a second, and the exact numbers of fans before them, as the ledger is ahead of Quipu.
func (d *demo) tellSketches(ctx context.Context) {
	tick := time.NewTicker(slowPause)
	defer tick.Stop()
	for {
		var s sketchesEvent
		for _, rank := range produce.Shown {
			s.Fans = append(s.Fans, estimate{Exact: d.producer.Ledger.Fans(rank)})
		}
		if d.sketches.Read(ctx) {
			for i, rank := range produce.Shown {
				s.Fans[i].Estimate = d.sketches.Fans(fansKey(rank))
			}
			for _, t := range d.sketches.Top() {
				s.Top = append(s.Top, topPost{web.Title(produce.Rank(t.Post)), estimate{t.Estimate, t.Exact}})
			}
			_ = d.hub.Set("sketches", s)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// trim has the broker delete what is counted, so that the firehose may run for as long as somebody likes.
func (d *demo) trim(ctx context.Context) {
	tick := time.NewTicker(trimPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if done := d.sketches.Done(); len(done) > 0 {
			limited, cancel := context.WithTimeout(ctx, slowPause)
			_ = d.producer.Trim(limited, done, trimKeep) // the next time, if the broker is away
			cancel()
		}
	}
}
