package quipu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/connect/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// proxy stands before a server, and cuts connections.
type proxy struct {
	addr string
	cut  atomic.Int32 // how many answers to EXEC are still to be lost
	deaf atomic.Int32 // how many requests with EXEC are still to be lost
}

func newProxy(t *testing.T, server string) *proxy {
	p := &proxy{}
	p.addr = testbed.Relay(t, server, func() testbed.Traffic {
		var lose atomic.Bool
		return testbed.Traffic{
			Request: func(sent []byte) bool {
				if bytes.Contains(bytes.ToUpper(sent), []byte("\r\nEXEC\r\n")) {
					if p.deaf.Add(-1) >= 0 {
						return false
					}
					lose.Store(p.cut.Add(-1) >= 0)
				}
				return true
			},
			Answer: func([]byte) bool { return !lose.Load() },
		}
	})
	return p
}

func increment(source string, i int) *Transaction {
	from := fmt.Sprint(i)
	if i == 0 {
		from = ""
	}
	return &Transaction{
		Source: source, Incarnation: "1", From: from, To: fmt.Sprint(i + 1),
		Commands: func(p redis.Pipeliner) { p.Incr(context.Background(), "n:"+source) },
	}
}

// TestLostAnswers: a transaction whose answer was lost counts once, and so does one whose request was.
func TestLostAnswers(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	p := newProxy(t, server.Addrs[0])
	c := New([]string{p.addr}, Access{})
	defer c.Close()
	for i := range 60 {
		switch i % 3 {
		case 1:
			p.cut.Store(1 + int32(i%2))
		case 2:
			p.deaf.Store(1)
		}
		if _, err := c.Apply(t.Context(), increment("s", i), nil); err != nil {
			t.Fatalf("transaction %d: %v", i, err)
		}
	}
	if n, err := server.Client(0).Get(t.Context(), "n:s").Int(); err != nil || n != 60 {
		t.Errorf("counted %d, %v, want 60", n, err)
	}
	if _, at, _, err := c.Position(t.Context(), "s", nil); err != nil || at != "60" {
		t.Errorf("position %q, %v", at, err)
	}
}

// TestMoved: a transaction that begins somewhere else changes nothing, and hears where the source is.
func TestMoved(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	c := New(server.Addrs, Access{})
	defer c.Close()
	if _, err := c.Apply(t.Context(), increment("s", 0), nil); err != nil {
		t.Fatal(err)
	}
	var moved *Moved
	if _, err := c.Apply(t.Context(), increment("s", 7), nil); !errors.As(err, &moved) || moved.Position != "1" || moved.Incarnation != "1" {
		t.Errorf("error %v (%+v), want that the source is at 1", err, moved)
	}
	again := increment("s", 1)
	again.Incarnation = "2"
	if _, err := c.Apply(t.Context(), again, nil); !errors.As(err, &moved) {
		t.Errorf("another incarnation: error %v", err)
	}
	if n, err := server.Client(0).Get(t.Context(), "n:s").Int(); err != nil || n != 1 {
		t.Errorf("counted %d, %v, want 1", n, err)
	}
}

// TestRefusals: a command that has no effect is told by its place; a transaction that can never be taken is an error at once.
func TestRefusals(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	c := New(server.Addrs, Access{})
	defer c.Close()
	if err := server.Client(0).Set(t.Context(), "text", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	refused, err := c.Apply(t.Context(), &Transaction{Source: "s", Incarnation: "1", To: "1", Commands: func(p redis.Pipeliner) {
		p.Incr(t.Context(), "n")
		p.Incr(t.Context(), "text")
		p.Incr(t.Context(), "n")
	}}, nil)
	if err != nil || len(refused) != 1 || refused[1] == nil {
		t.Errorf("refused %v, %v, want the second", refused, err)
	}
	_, err = c.Apply(t.Context(), &Transaction{Source: "s", Incarnation: "1", From: "1", To: "2", Commands: func(p redis.Pipeliner) {
		for range 20 {
			p.Append(t.Context(), "large", strings.Repeat("x", 500_000))
		}
	}}, nil)
	if !errors.Is(err, ErrNotTaken) {
		t.Errorf("a transaction of 10 MB: %v", err)
	}
	if _, err := c.Apply(t.Context(), &Transaction{Source: strings.Repeat("s", 256), Incarnation: "1", To: "1", Commands: func(redis.Pipeliner) {}}, nil); err == nil {
		t.Error("a name of 256 bytes is taken")
	}
}

// TestWrongPassword: what was never sent, because Quipu refuses the password, is neither taken for applied or read nor tried for ever.
func TestWrongPassword(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	if err := server.Client(0).ConfigSet(t.Context(), "requirepass", "right").Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := New(server.Addrs, Access{Password: "wrong"})
	defer c.Close()
	if _, err := c.Apply(ctx, increment("s", 0), nil); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS ") {
		t.Errorf("a transaction ends with %v", err)
	}
	if _, err := c.Together(ctx, nil, func(p redis.Pipeliner) { p.Get(ctx, "n:s") }); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS ") {
		t.Errorf("a transaction of reads ends with %v", err)
	}
}

// TestAnyNode: while nodes are killed, one after the other, transactions go on through the others. A node that has just been started does not
// know the user yet, and must not be taken for one that refuses it.
func TestAnyNode(t *testing.T) {
	server := testbed.StartQuipu(t, 3)
	err := server.Client(server.Leader()).Do(t.Context(), "ACL", "SETUSER", "counter", "on", ">secret", "~n:*", "+multi", "+exec", "+ingest", "+incr").Err()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // the others know the user when they have applied that
		for c := server.Client(i); !slices.Contains(c.Do(t.Context(), "ACL", "USERS").Val().([]any), any("counter")); {
			time.Sleep(time.Millisecond)
		}
	}
	c := New(server.Addrs, Access{User: "counter", Password: "secret"})
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	var n atomic.Int32
	go func() {
		for ctx.Err() == nil && n.Load() < 1500 {
			if _, err := c.Apply(ctx, increment("s", int(n.Load())), nil); err != nil {
				done <- err
				return
			}
			n.Add(1)
		}
		done <- ctx.Err()
	}()
	for i := range 3 {
		time.Sleep(200 * time.Millisecond)
		server.Kill(i)
		time.Sleep(500 * time.Millisecond)
		server.Start(i)
		server.Leader()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got, err := server.Client(server.Leader()).Get(t.Context(), "n:s").Int(); err != nil || got != int(n.Load()) {
		t.Errorf("counted %d, %v, want %d", got, err, n.Load())
	}
}
