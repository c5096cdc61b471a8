package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// onceName is the name under which onceProducer numbers what it sends.
const onceName = "flights"

// onceProducer counts flights into several nodes, each flight exactly once, whichever node fails. A batch of flights is one
// transaction (MULTI … EXEC) whose first command is ONCE, with the number of the batch. As long as there is no answer the same
// batch is sent again with the same number, through the next node. The server keeps the number together with what it has
// counted, so a batch that was counted although no answer came gets its answer now, and is not counted again.
//
// So nothing of what producer has to rule out matters here. A connection that failed for us may live on for the server: a copy
// of a batch that arrives late is not counted. A library may send by itself again what failed. And the counts need no position
// beside them: this program knows which batch is next. Only one that may itself be killed has to store that, with SET in the
// same transaction.
//
// There is one batch under way at a time; up to 64 could be.
type onceProducer struct {
	nodes    []*redis.Client
	flights  []flight
	window   int           // flights in a batch
	patience time.Duration // give up after so long without an answer

	progress func(position int)                            // called when more is acknowledged
	resent   func(batch int, causes []error, applied bool) // called when a batch is acknowledged that was sent more than once

	at      int // the node to ask
	epoch   int64
	batches int // acknowledged
}

// sendAgain is how the errors begin after which a batch is sent again. All others are answers.
var sendAgain = []string{"UNKNOWN ", "TRYAGAIN ", "CLUSTERDOWN ", "MOVED ", "LOADING ", "READONLY ", "MISCONF "}

// run counts all flights.
func (p *onceProducer) run(ctx context.Context) error {
	var have families
	_, err := p.ask(ctx, func(node *redis.Client) (err error) {
		have, err = p.open(ctx, node)
		return err
	})
	if err != nil {
		return err
	}
	position := 0
	for flights := range slices.Chunk(p.flights, p.window) {
		number := p.batches + 1
		causes, err := p.ask(ctx, func(node *redis.Client) error { return p.send(ctx, node, have, number, flights) })
		applied := redis.HasErrorPrefix(err, "APPLIED ") // counted before, with replies that are too long to be kept
		if err != nil && !applied {
			return fmt.Errorf("batch %d: %w", number, err)
		}
		if len(causes) > 0 {
			p.resent(number, causes, applied)
		}
		p.batches = number
		position += len(flights)
		p.progress(position)
	}
	return nil
}

// ask asks one node after the other until one has an answer. causes is why it asked again, each time.
func (p *onceProducer) ask(ctx context.Context, question func(node *redis.Client) error) (causes []error, err error) {
	for since := time.Now(); ; {
		err := question(p.nodes[p.at])
		if err == nil || isAnswer(err) {
			return causes, err
		}
		if time.Since(since) > p.patience {
			return causes, fmt.Errorf("no answer for %v: %w", p.patience, err)
		}
		causes = append(causes, err)
		p.at = (p.at + 1) % len(p.nodes)
		select {
		case <-ctx.Done():
			return causes, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// isAnswer tells an error that is an answer from a connection that failed, and from errors after which to send again.
func isAnswer(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && !slices.ContainsFunc(sendAgain, func(start string) bool { return redis.HasErrorPrefix(err, start) })
}

// open begins as a producer, and makes the sketches. All of it may be done twice.
func (p *onceProducer) open(ctx context.Context, node *redis.Client) (have families, err error) {
	if have, err = knownFamilies(ctx, node); err != nil {
		return have, err
	}
	if err := have.reserve(ctx, node); err != nil {
		return have, err
	}
	p.epoch, err = node.Do(ctx, "ONCE", "OPEN", onceName).Int64()
	return have, err
}

// send has the node count a batch of flights as one transaction.
func (p *onceProducer) send(ctx context.Context, node *redis.Client, have families, number int, flights []flight) error {
	pipe := node.Pipeline()
	pipe.Do(ctx, "MULTI")
	pipe.Do(ctx, "ONCE", onceName, p.epoch, number)
	for _, f := range flights {
		have.count(ctx, pipe, f)
	}
	exec := pipe.Do(ctx, "EXEC")
	if _, err := pipe.Exec(ctx); err != nil {
		return err // the first one: the reason, where EXEC says only that it aborts
	}
	return execError(exec)
}
