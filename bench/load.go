package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// generator is our own load: increments of random counters that exist, on some
// connections, each with one burst of depth commands on its way at a time. It
// records how long each burst took to be answered in full.
//
// It is a closed loop: a connection that waits sends nothing. A stall delays one
// burst of each connection and no more, so very high percentiles look better
// than they would to clients that do not wait for each other; max does not.
type generator struct {
	addr    string
	set     counterSet
	keys    int
	clients int
	depth   int
	script  *script                             // what is sent in place of increments
	next    func(client int, dst []byte) []byte // or: appends a client's next command
}

// script is commands that are made before the load begins, where making them
// takes longer than sending them. Each is as long as the others.
type script struct {
	commands []byte
	size     int                                // of one
	expect   func(r *bufio.Reader, n int) error // reads n replies
}

// burst is depth commands at a random place.
func (s *script) burst(depth int) []byte {
	first := rand.IntN(len(s.commands)/s.size - depth + 1)
	return s.commands[first*s.size:][:depth*s.size]
}

// loadResult is what a generator has seen.
type loadResult struct {
	requests  int
	elapsed   time.Duration
	latencies histogram // of bursts
}

// runFor sends load for a time.
func (g generator) runFor(ctx context.Context, d time.Duration) (*loadResult, error) {
	return g.runWhile(ctx, func(ctx context.Context) error { return pause(ctx, d) })
}

// runWhile sends load as long as f runs. The context of f ends early if the load
// fails.
func (g generator) runWhile(ctx context.Context, f func(context.Context) error) (*loadResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]net.Conn, 0, g.clients)
	closeAll := func() {
		for _, c := range conns {
			c.Close()
		}
	}
	defer closeAll()
	for range g.clients {
		c, err := dial(ctx, g.addr)
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
	}
	defer context.AfterFunc(ctx, closeAll)()

	var stopped atomic.Bool
	results := make([]loadResult, g.clients)
	var wg sync.WaitGroup
	begin := time.Now()
	for i, c := range conns {
		wg.Go(func() {
			if err := g.runOne(c, i, &stopped, &results[i]); err != nil {
				cancel(err) // the first one is kept
			}
		})
	}
	err := f(ctx)
	stopped.Store(true)
	wg.Wait()
	sum := &loadResult{elapsed: time.Since(begin)}
	for i := range results {
		sum.requests += results[i].requests
		sum.latencies.merge(&results[i].latencies)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("load: %w", cause)
	}
	return sum, err
}

// runOne is one client. It finishes the burst it waits for when it is stopped.
func (g generator) runOne(c net.Conn, client int, stopped *atomic.Bool, result *loadResult) error {
	replies := bufio.NewReaderSize(c, 16<<10)
	var burst, name []byte
	expect := expectIntegers
	if g.script != nil {
		expect = g.script.expect
	}
	for !stopped.Load() {
		switch {
		case g.script != nil:
			burst = g.script.burst(g.depth)
		case g.next != nil:
			burst = burst[:0]
			for range g.depth {
				burst = g.next(client, burst)
			}
		default:
			burst = burst[:0]
			for range g.depth {
				name = g.set.name(name[:0], rand.IntN(g.keys))
				burst = appendBulk(appendBulk(append(burst, "*2\r\n"...), []byte("INCR")), name)
			}
		}
		start := time.Now()
		if _, err := c.Write(burst); err != nil {
			return err
		}
		if err := expect(replies, g.depth); err != nil {
			return err
		}
		result.latencies.record(time.Since(start))
		result.requests += g.depth
	}
	return nil
}

// expectIntegers reads n replies, which must be integers.
func expectIntegers(r *bufio.Reader, n int) error {
	for range n {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return noEOF(err)
		}
		if line[0] != ':' {
			return fmt.Errorf("the server answered %.200q", line)
		}
	}
	return nil
}

// expectLists reads n replies, which must be arrays of one integer.
func expectLists(r *bufio.Reader, n int) error {
	for range n {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return noEOF(err)
		}
		if string(line) != "*1\r\n" {
			return fmt.Errorf("the server answered %.200q", line)
		}
		if err := expectIntegers(r, 1); err != nil {
			return err
		}
	}
	return nil
}

// openIdle opens n connections. Each asks and is answered once, as the clients
// people use do, and then says nothing more.
func openIdle(ctx context.Context, addr string, n int) (conns []net.Conn, err error) {
	defer func() {
		if err != nil {
			closeConns(conns)
		}
	}()
	for i := range n {
		c, err := dial(ctx, addr)
		if err != nil {
			return conns, fmt.Errorf("idle connection %d: %w", i+1, err)
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte("PING\r\n")); err != nil {
			return conns, err
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return conns, err
		}
		var reply [7]byte
		if _, err := io.ReadFull(c, reply[:]); err != nil || string(reply[:]) != "+PONG\r\n" {
			return conns, errors.Join(fmt.Errorf("idle connection %d: got %q", i+1, reply), err)
		}
	}
	return conns, nil
}

func closeConns(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}
