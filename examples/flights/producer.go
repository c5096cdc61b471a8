package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Keys on the server.
const (
	originPrefix = "flights:origin:" // flights from an airport
	routePrefix  = "flights:route:"  // flights from one airport to another
	delayPrefix  = "flights:delay:"  // sum of minutes of delay, negative when early
	positionKey  = "flights:position"
	producerKey  = "flights:producer"
)

// producer counts flights into a server, each exactly once. One producer may
// run at a time for a server. It takes what every Redis server has; once.go has
// the shorter way, with what Quipu has for it.
//
// A record is one transaction (MULTI … EXEC) that adds to the three counters
// and to the sketches, and stores the record's position. So the counts and the position can never
// disagree, and the position says where to go on:
//
//	run:     until all flights are counted, one session after the other
//	session: open a connection, cut off the one before it, read the position,
//	         send the transactions behind it, many at once
//
// Three things would break this, and each is ruled out here:
//
//   - A client library that sends a pipeline again by itself when a connection
//     fails (go-redis does) counts twice. A session therefore holds one
//     connection (redis.Conn): there is nothing it could retry on.
//   - The connection that failed for us may still live for the server, with
//     transactions of ours unread or waiting for the disk. A session stores who
//     it is; the next one has the server close that connection (CLIENT KILL),
//     and reads the position with a write (INCRBY 0), which the server puts
//     behind all writes it had taken before.
//   - Of many transactions in flight one could fail and a later one succeed.
//     The position would then skip a record. That is noticed and ends the run;
//     with window 1 it cannot happen.
type producer struct {
	client   *redis.Client
	flights  []flight
	window   int           // transactions in flight at most
	patience time.Duration // give up after so long without progress

	progress func(position int)              // called when more is acknowledged
	resumed  func(position int, cause error) // called at the start of a session

	acked int // highest position the server has acknowledged
}

// Outcomes after which going on would give wrong counts.
var (
	errLost = errors.New("the server has lost acknowledged records")
	errGap  = errors.New("the server refused a record and took a later one")
)

// run counts all flights from the stored position on.
func (p *producer) run(ctx context.Context) error {
	var cause error
	lastProgress, lastAcked := time.Now(), p.acked
	for {
		err := p.session(ctx, cause)
		if err == nil || errors.Is(err, errLost) || errors.Is(err, errGap) || ctx.Err() != nil {
			return err
		}
		cause = err
		if p.acked > lastAcked {
			lastProgress, lastAcked = time.Now(), p.acked
		}
		if time.Since(lastProgress) > p.patience {
			return fmt.Errorf("no progress for %v after record %d: %w", p.patience, p.acked, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// session counts flights over one connection until all are counted or it fails.
func (p *producer) session(ctx context.Context, cause error) error {
	conn := p.client.Conn()
	defer conn.Close()
	position, err := takeOver(ctx, conn)
	if err != nil {
		return err
	}
	if position < p.acked {
		return fmt.Errorf("%w: acknowledged up to %d, stored up to %d", errLost, p.acked, position)
	}
	if position > len(p.flights) {
		return fmt.Errorf("%w: the stored position %d is behind the end of the file", errGap, position)
	}
	have, err := knownFamilies(ctx, conn)
	if err != nil {
		return err
	}
	if err := have.reserve(ctx, conn); err != nil {
		return err
	}
	p.resumed(position, cause)
	p.acknowledge(position)
	for position < len(p.flights) {
		n := min(p.window, len(p.flights)-position)
		if err := p.send(ctx, conn, have, position, n); err != nil {
			return err
		}
		position += n
	}
	return nil
}

// takeOver makes conn the only connection that counts and returns the position
// after which it goes on.
func takeOver(ctx context.Context, conn *redis.Conn) (int, error) {
	info, err := conn.Do(ctx, "CLIENT", "INFO").Text()
	if err != nil {
		return 0, fmt.Errorf("CLIENT INFO: %w", err)
	}
	self := infoField(info, "id") + " " + infoField(info, "addr")
	before, err := conn.Get(ctx, producerKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("reading %s: %w", producerKey, err)
	}
	// Connection IDs start again with the server; the address tells a
	// connection of this run from one of an earlier run.
	if id, addr, ok := strings.Cut(before, " "); ok && before != self {
		if err := conn.Do(ctx, "CLIENT", "KILL", "ID", id, "ADDR", addr).Err(); err != nil {
			return 0, fmt.Errorf("CLIENT KILL: %w", err)
		}
	}
	if err := conn.Set(ctx, producerKey, self, 0).Err(); err != nil {
		return 0, fmt.Errorf("storing %s: %w", producerKey, err)
	}
	position, err := conn.IncrBy(ctx, positionKey, 0).Result()
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", positionKey, err)
	}
	return int(position), nil
}

// infoField is a field of CLIENT INFO's reply: name=value name=value …
func infoField(info, name string) string {
	for field := range strings.FieldsSeq(info) {
		if value, ok := strings.CutPrefix(field, name+"="); ok {
			return value
		}
	}
	return ""
}

// send counts the n flights after position as n transactions in one pipeline.
func (p *producer) send(ctx context.Context, conn *redis.Conn, have families, position, n int) error {
	pipe := conn.Pipeline()
	execs := make([]*redis.Cmd, n)
	for i := range n {
		pipe.Do(ctx, "MULTI")
		have.count(ctx, pipe, p.flights[position+i])
		pipe.Do(ctx, "SET", positionKey, position+i+1)
		execs[i] = pipe.Do(ctx, "EXEC")
	}
	_, pipeErr := pipe.Exec(ctx)
	var failed error
	for i, exec := range execs {
		if err := execError(exec); err != nil {
			if failed == nil {
				failed = fmt.Errorf("record %d: %w", position+i+1, err)
			}
			continue
		}
		if failed != nil {
			return fmt.Errorf("%w (record %d): %w", errGap, position+i+1, failed)
		}
		p.acknowledge(position + i + 1)
	}
	if failed != nil {
		return failed
	}
	return pipeErr
}

// count puts the commands that count a flight into pipe: three counters, and the sketches that the server has.
func (have families) count(ctx context.Context, pipe redis.Pipeliner, f flight) {
	pipe.Do(ctx, "INCR", originPrefix+f.origin)
	pipe.Do(ctx, "INCR", routePrefix+f.origin+"-"+f.destination)
	pipe.Do(ctx, "INCRBY", delayPrefix+f.origin, f.delay)
	have.add(ctx, pipe, f)
}

func (p *producer) acknowledge(position int) {
	if position > p.acked {
		p.acked = position
		p.progress(position)
	}
}

// execError is the failure of a transaction or of a command in it.
func execError(exec *redis.Cmd) error {
	replies, err := exec.Slice()
	if err != nil {
		return err
	}
	return firstError(replies)
}

// firstError finds an error in replies, which CMS.INCRBY gives for each item.
func firstError(replies []any) error {
	for _, r := range replies {
		switch r := r.(type) {
		case error:
			return r
		case []any:
			if err := firstError(r); err != nil {
				return err
			}
		}
	}
	return nil
}
