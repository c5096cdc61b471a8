package quipu

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"quipu/connect/internal/testbed"
)

// TestTogether: what is read together is of one moment, however long it takes; and keys of another kind are no error of the whole.
func TestTogether(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	writer := server.Client(0)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			_, err := writer.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Incr(ctx, "a")
				p.Incr(ctx, "b")
				return nil
			})
			if err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	c := New(server.Addrs, Access{})
	defer c.Close()
	last := 0
	for range 20 {
		var a, b *redis.StringCmd
		_, err := c.Together(t.Context(), nil, func(p redis.Pipeliner) {
			a = p.Get(t.Context(), "a")
			for range 20_000 { // more than a node reads from a connection at once
				p.Get(t.Context(), "nothing")
			}
			b = p.Get(t.Context(), "b")
		})
		if err != nil {
			t.Fatal(err)
		}
		if a.Val() != b.Val() {
			t.Fatalf("a is %q when b is %q", a.Val(), b.Val())
		}
		last, _ = a.Int()
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if last == 0 {
		t.Error("nothing was written meanwhile")
	}
	if err := writer.Do(t.Context(), "CMS.INITBYDIM", "sketch", 10, 2).Err(); err != nil {
		t.Fatal(err)
	}
	var wrong, right *redis.StringCmd
	_, err := c.Together(t.Context(), nil, func(p redis.Pipeliner) {
		wrong, right = p.Get(t.Context(), "sketch"), p.Get(t.Context(), "a")
	})
	if err != nil || wrong.Err() == nil || errors.Is(wrong.Err(), redis.Nil) || right.Err() != nil {
		t.Errorf("a sketch is read as %q, %v; a counter as %q, %v; %v", wrong.Val(), wrong.Err(), right.Val(), right.Err(), err)
	}
	if _, err := c.Together(t.Context(), nil, func(p redis.Pipeliner) { p.Do(t.Context(), "NONSENSE") }); err == nil {
		t.Error("a transaction that cannot be is read")
	}
}

// TestScan: all keys that match are told of, although the node in use is killed on the way.
func TestScan(t *testing.T) {
	server := testbed.StartQuipu(t, 3)
	const keys = 5000
	pipe := server.Client(server.Leader()).Pipeline()
	for i := range keys {
		pipe.Incr(t.Context(), fmt.Sprintf("n:[%d]", i))
		pipe.Incr(t.Context(), fmt.Sprintf("n:%d", i))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := New(server.Addrs, Access{})
	defer c.Close()
	seen := map[string]int{}
	if err := c.Scan(t.Context(), `n:\[*]`, nil, func(key string) {
		if seen[key]++; len(seen) == keys/2 {
			server.Kill(0) // which is asked first
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		if seen[fmt.Sprintf("n:[%d]", i)] == 0 {
			t.Fatalf("n:[%d] is missing among %d", i, len(seen))
		}
	}
	if len(seen) != keys {
		t.Errorf("%d keys, want %d", len(seen), keys)
	}
}
