package quipu

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/connect/internal/testbed"
)

// TestReachRefused: Reach says that Quipu does not let a user in; whoever does not ask hears it at the first transaction.
func TestReachRefused(t *testing.T) {
	server := testbed.StartQuipu(t, 1, "--auth-failures-per-second", "1000")
	if err := server.Client(0).Do(t.Context(), "ACL", "SETUSER", "counter", "on", ">right", "~n:*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, by := range []Access{{User: "counter", Password: "wrong"}, {User: "nobody", Password: "right"}} {
		c := New(server.Addrs, by)
		defer c.Close()
		_, err := c.Apply(ctx, increment("s", 0), nil)
		if err == nil || !strings.Contains(err.Error(), "WRONGPASS ") {
			t.Errorf("%+v: a transaction ends with %v", by, err)
		}
		var refused *Refused
		if err := c.Reach(ctx); !errors.As(err, &refused) || refused.Node != server.Addrs[0] || !strings.HasPrefix(refused.Err.Error(), "WRONGPASS ") {
			t.Errorf("%+v: Reach says %v", by, err)
		}
	}
	right := New(server.Addrs, Access{User: "counter", Password: "right"})
	defer right.Close()
	if err := right.Reach(ctx); err != nil {
		t.Errorf("the right password: %v", err)
	}
	if _, err := right.Apply(ctx, increment("s", 0), nil); err != nil {
		t.Errorf("the right password: %v", err)
	}
}

// TestReachOne: one node that lets the client in is enough; nodes that do not answer are no refusal.
func TestReachOne(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	silent := "127.0.0.1:1"
	c := New([]string{silent, server.Addrs[0]}, Access{})
	defer c.Close()
	if err := c.Reach(t.Context()); err != nil {
		t.Error(err)
	}
	alone := New([]string{silent}, Access{})
	defer alone.Close()
	var refused *Refused
	if err := alone.Reach(t.Context()); err == nil || errors.As(err, &refused) || !strings.HasPrefix(err.Error(), silent+": ") {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestReachStarting: a node that has just been started does not know its users yet. Nobody is refused for that.
func TestReachStarting(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	admin := server.Client(0)
	for i := range 30 { // a log that takes some time to read until it comes to the user
		var words []any
		for k := range 10_000 {
			words = append(words, fmt.Sprint("n:", i, ":", k), k)
		}
		if err := admin.MSet(t.Context(), words...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "counter", "on", ">right", "~n:*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill(0)
	ctx, stop := context.WithCancel(t.Context())
	var knocking sync.WaitGroup
	for range 4 {
		knocking.Go(func() {
			for ctx.Err() == nil {
				c := New(server.Addrs, Access{User: "counter", Password: "right"})
				var refused *Refused
				if err := c.Reach(ctx); errors.As(err, &refused) {
					t.Error(err)
				}
				c.Close()
			}
		})
	}
	server.Start(0)
	stop()
	knocking.Wait()
}
