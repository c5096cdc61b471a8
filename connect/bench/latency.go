package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// E3: how long it takes from producing an event until its counter can be read, while other events flow.
const (
	latencyRate  = 50_000          // events/s
	latencyWarm  = 5 * time.Second // the broker is slow at first
	probeEvery   = 5 * time.Millisecond
	probeLook    = time.Millisecond // between two questions for the counters of probes
	probeLost    = 20 * time.Second // after which a probe is never counted
	latencyP50   = "produced to readable, p50, ms"
	latencyP99   = "produced to readable, p99, ms"
	latencyMax   = "produced to readable, longest, ms"
	latencyFlow  = "events/s meanwhile (E3)"
	latencyTopic = "likes-latency"
)

func (l *lab) measureLatency(ctx context.Context) error {
	quipu, err := l.startQuipu(ctx)
	if err != nil {
		return err
	}
	defer quipu.close()
	id, err := l.broker.createTopic(ctx, latencyTopic)
	if err != nil {
		return err
	}
	p, err := l.startConnector(quipu, latencyTopic, latencyTopic)
	if err != nil {
		return err
	}
	defer p.kill()
	for round := range l.cfg.rounds {
		if err := l.latencyRound(ctx, quipu, id, round); err != nil {
			return errors.Join(err, p.alive())
		}
	}
	return l.broker.deleteTopics(ctx, latencyTopic)
}

func (l *lab) latencyRound(ctx context.Context, quipu *server, id kadm.TopicID, round int) error {
	events, err := l.broker.startFlow(ctx, latencyTopic, id, latencyRate)
	if err != nil {
		return err
	}
	defer events.stop()
	if err := pause(ctx, latencyWarm); err != nil {
		return err
	}
	if err := until(ctx, time.Minute, 50*time.Millisecond, func() (bool, error) {
		at, err := ends(ctx, l.broker.admin, latencyTopic)
		if err != nil {
			return false, err
		}
		behind, err := quipu.behind(ctx, latencyTopic, at)
		return behind < latencyRate, err // what is left is on its way
	}); err != nil {
		return fmt.Errorf("the connector does not catch up: %w", err)
	}
	before, begin := events.sent.Load(), time.Now()
	times, err := l.probe(ctx, quipu, round)
	rate := float64(events.sent.Load()-before) / time.Since(begin).Seconds()
	if err := errors.Join(err, events.end()); err != nil {
		return err
	}
	if rate < 0.95*latencyRate {
		l.warn("E3: only %s of %s events/s could be produced", number(rate), number(latencyRate))
	}
	slices.Sort(times)
	at := func(q float64) float64 { return millis(times[int(q*float64(len(times)-1))]) }
	l.figure(latencyP50, at(0.5))
	l.figure(latencyP99, at(0.99))
	l.figure(latencyMax, at(1))
	l.figure(latencyFlow, rate)
	return nil
}

// probes are events whose posts nobody else likes.
type probes struct {
	mu      sync.Mutex
	waiting []probe
	times   []time.Duration
	err     error
}

type probe struct {
	key  string
	sent time.Time
}

// probe sends events of its own among the others, and asks for their counters until each can be read.
func (l *lab) probe(ctx context.Context, quipu *server, round int) ([]time.Duration, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(l.broker.addr), kgo.DefaultProduceTopic(latencyTopic), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var p probes
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { p.look(ctx, quipu) })
	n := int(l.cfg.seconds / probeEvery.Seconds())
	for i, next := 0, time.Now(); i < n; i, next = i+1, next.Add(probeEvery) {
		if err := pause(ctx, time.Until(next)); err != nil {
			break
		}
		post := fmt.Sprintf("x%d-%06d", round, i)
		p.mu.Lock()
		p.waiting = append(p.waiting, probe{"likes:" + post, time.Now()})
		p.mu.Unlock()
		client.Produce(ctx, &kgo.Record{Value: like(post, i, time.Now().UnixMilli())}, func(_ *kgo.Record, err error) {
			if err != nil {
				p.fail(err)
			}
		})
	}
	err = until(ctx, probeLost, 10*time.Millisecond, func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.waiting) == 0, p.err
	})
	cancel()
	wg.Wait()
	if err != nil {
		return nil, fmt.Errorf("%d of %d probes are not counted: %w", n-len(p.times), n, err)
	}
	return p.times, nil
}

func (p *probes) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = errors.Join(p.err, err)
}

// look asks for the counters of all probes that are on their way.
func (p *probes) look(ctx context.Context, quipu *server) {
	for pause(ctx, probeLook) == nil {
		p.mu.Lock()
		waiting := slices.Clone(p.waiting)
		p.mu.Unlock()
		if len(waiting) == 0 {
			continue
		}
		keys := make([]string, len(waiting))
		for i, w := range waiting {
			keys[i] = w.key
		}
		values, err := quipu.client.MGet(ctx, keys...).Result()
		if err != nil {
			p.fail(err)
			return
		}
		now := time.Now()
		p.mu.Lock()
		var left []probe
		for i, w := range waiting {
			if values[i] == nil {
				left = append(left, w)
			} else {
				p.times = append(p.times, now.Sub(w.sent))
			}
		}
		p.waiting = append(left, p.waiting[len(waiting):]...)
		p.mu.Unlock()
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
