package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/connect/internal/testbed"
)

// load changes keys of all kinds until it is stopped.
type load struct {
	client *redis.Client
	sent   atomic.Int64
	stop   func()
}

// start begins to change keys; nodes may fail meanwhile.
func start(t *testing.T, server *testbed.Quipu, keys int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{client: server.Client(0)}
	done := make(chan struct{})
	l.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(l.stop)
	go func() {
		defer close(done)
		rnd := rand.New(rand.NewPCG(1, uint64(keys)))
		for node := 0; ctx.Err() == nil; {
			p := l.client.Pipeline()
			for range 50 {
				change(ctx, p, rnd, keys)
			}
			if _, err := p.Exec(ctx); err != nil && !answered(err) {
				node++
				l.client = server.Client(node % len(server.Addrs))
				time.Sleep(20 * time.Millisecond)
				continue
			}
			l.sent.Add(50)
		}
	}()
	return l
}

func answered(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && !strings.HasPrefix(err.Error(), "CLUSTERDOWN")
}

// change is one command. Counters are most of it.
func change(ctx context.Context, p redis.Pipeliner, rnd *rand.Rand, keys int) {
	key := fmt.Sprintf("likes:%d", rnd.IntN(keys))
	switch rnd.IntN(40) {
	case 0:
		p.Del(ctx, key)
	case 1:
		p.PExpire(ctx, key, time.Duration(200+rnd.IntN(2000))*time.Millisecond)
	case 2:
		p.Persist(ctx, key)
	case 3:
		p.Set(ctx, "text:"+key, fmt.Sprint("t", rnd.IntN(1000)), 0)
	case 4:
		p.PFAdd(ctx, "fans:"+key, rnd.IntN(1000))
	default:
		p.IncrBy(ctx, key, rnd.Int64N(100))
	}
}

// await waits until some more changes were made.
func (l *load) await(t *testing.T, more int64) {
	t.Helper()
	want := l.sent.Load() + more
	for end := time.Now().Add(patience); l.sent.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d changes in %v, want %d", l.sent.Load(), patience, want)
		}
	}
}

// settle ends all deadlines that are near, so that nothing expires any more: time alone writes no row.
func settle(t *testing.T, c *redis.Client) {
	t.Helper()
	p := c.Pipeline()
	for key, row := range quipuRows(t, c) {
		if !strings.HasSuffix(row, " 0") {
			p.Persist(t.Context(), key)
		}
	}
	p.Incr(t.Context(), "likes:last")
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// quipuRows are the keys of Quipu by its other commands: "value deadline", as bed.live has them.
func quipuRows(t *testing.T, c *redis.Client) map[string]string {
	t.Helper()
	found := map[string]string{}
	for cursor := uint64(0); ; {
		keys, next, err := c.Scan(t.Context(), cursor, "*", 1000).Result()
		if err != nil {
			t.Fatal(err)
		}
		p := c.Pipeline()
		var values, deadlines []*redis.Cmd
		for _, key := range keys {
			get := "GET"
			if strings.HasPrefix(key, "fans:") {
				get = "PFCOUNT"
			}
			values, deadlines = append(values, p.Do(t.Context(), get, key)), append(deadlines, p.Do(t.Context(), "PEXPIRETIME", key))
		}
		if _, err := p.Exec(t.Context()); err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
		for i, key := range keys {
			deadline, err := deadlines[i].Int64()
			if err != nil {
				t.Fatal(err)
			}
			if deadline != -2 && values[i].Err() == nil && !strings.HasPrefix(key, OwnKeys) { // else it has expired meanwhile
				found[key] = fmt.Sprintf("%v %d", values[i].Val(), max(0, deadline))
			}
		}
		if cursor = next; cursor == 0 {
			return found
		}
	}
}

// compare ends a load, and demands that the rows become what Quipu has.
func (b *bed) compare(l *load, server *testbed.Quipu) {
	b.Helper()
	l.stop()
	c := server.Client(server.Leader())
	settle(b.T, c)
	want := quipuRows(b.T, c)
	if len(want) < 50 {
		b.Fatalf("only %d keys are compared", len(want))
	}
	b.awaitRows(want)
}
