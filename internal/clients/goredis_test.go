package clients

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestGoRedis uses go-redis with its default options, and with RESP2.
func TestGoRedis(t *testing.T) {
	t.Run("default", func(t *testing.T) { testGoRedis(t, 0) })
	t.Run("RESP2", func(t *testing.T) { testGoRedis(t, 2) })
}

func testGoRedis(t *testing.T, protocol int) {
	eachTarget(t, func(t *testing.T, to *target) {
		c := redis.NewClient(&redis.Options{Addr: to.open.Addr, Protocol: protocol})
		defer c.Close()
		g := goRedis{c: c, ctx: t.Context(), to: to}
		runGo(t, map[string]func(t *testing.T){
			"connect": g.connect, "protocol": g.protocol, "count": g.count, "pipeline": g.pipeline,
			"transaction": g.transaction, "transaction-error": g.transactionError, "transaction-refused": g.transactionRefused,
			"watch-conflict": g.watchConflict, "watch-increment": g.watchIncrement, "scan": g.scan, "expiry": g.expiry,
			"errors": g.errors, "errors-auth": g.errorsAuth, "errors-memory": g.errorsMemory,
			"big-value": g.bigValue, "binary": g.binary, "pub-sub": g.pubSub, "unix-socket": g.unixSocket, "reconnect": g.reconnect,
		})
	})
}

type goRedis struct {
	c   *redis.Client
	ctx context.Context
	to  *target
}

func (g goRedis) connect(t *testing.T) { want(t, "PONG")(g.c.Ping(g.ctx).Result()) }

func (g goRedis) protocol(t *testing.T) {
	info, err := g.c.Do(g.ctx, "CLIENT", "INFO").Text()
	if resp := fmt.Sprintf(" resp=%d", g.c.Options().Protocol); err != nil || !strings.Contains(info, resp) {
		t.Errorf("got %q, %v; expected %q", info, err, resp)
	}
}

func (g goRedis) count(t *testing.T) {
	want(t, 1)(g.c.Incr(g.ctx, "count").Result())
	want(t, 11)(g.c.IncrBy(g.ctx, "count", 10).Result())
	want(t, 10)(g.c.Decr(g.ctx, "count").Result())
	want(t, -10)(g.c.DecrBy(g.ctx, "count", 20).Result())
	want(t, "-10")(g.c.Get(g.ctx, "count").Result())
	want(t, 0.1)(g.c.IncrByFloat(g.ctx, "count:float", 0.1).Result())
	want(t, 0.3)(g.c.IncrByFloat(g.ctx, "count:float", 0.2).Result())
	want(t, []any{"-10", nil})(g.c.MGet(g.ctx, "count", "count:none").Result())
}

func (g goRedis) pipeline(t *testing.T) {
	const n = 10_000
	replies, err := g.c.Pipelined(g.ctx, func(p redis.Pipeliner) error {
		for range n {
			p.Incr(g.ctx, "pipeline")
		}
		return nil
	})
	if err != nil || len(replies) != n {
		t.Fatalf("%d replies, %v", len(replies), err)
	}
	for i, r := range replies {
		if v := r.(*redis.IntCmd).Val(); v != int64(i)+1 {
			t.Fatalf("reply %d is %d", i, v)
		}
	}
}

func (g goRedis) transaction(t *testing.T) {
	p := g.c.TxPipeline()
	set, incr, get, ttl := p.Set(g.ctx, "tx", 5, 0), p.IncrBy(g.ctx, "tx", 10), p.Get(g.ctx, "tx"), p.TTL(g.ctx, "tx")
	if _, err := p.Exec(g.ctx); err != nil {
		t.Fatal(err)
	}
	want(t, "OK")(set.Result())
	want(t, 15)(incr.Result())
	want(t, "15")(get.Result())
	want(t, -1)(ttl.Result())
}

func (g goRedis) transactionError(t *testing.T) {
	want(t, "OK")(g.c.Set(g.ctx, "tx:text", "text", 0).Result())
	p := g.c.TxPipeline()
	before, text, after := p.Incr(g.ctx, "tx:before"), p.Incr(g.ctx, "tx:text"), p.Incr(g.ctx, "tx:after")
	_, err := p.Exec(g.ctx)
	wantText(t, err, notInteger)
	want(t, 1)(before.Result())
	wantText(t, text.Err(), notInteger)
	want(t, 1)(after.Result())
}

func (g goRedis) transactionRefused(t *testing.T) {
	p := g.c.TxPipeline()
	p.Incr(g.ctx, "tx:refused")
	p.Do(g.ctx, "INCR")
	_, err := p.Exec(g.ctx)
	wantText(t, err, "EXECABORT Transaction discarded because of previous errors.")
	if !redis.IsExecAbortError(err) {
		t.Errorf("%v is no EXECABORT", err)
	}
	want(t, 0)(g.c.Exists(g.ctx, "tx:refused").Result())
}

func (g goRedis) watchConflict(t *testing.T) {
	err := g.c.Watch(g.ctx, func(tx *redis.Tx) error {
		want(t, "OK")(g.c.Set(g.ctx, "watched", "theirs", 0).Result())
		_, err := tx.TxPipelined(g.ctx, func(p redis.Pipeliner) error { return p.Set(g.ctx, "watched", "ours", 0).Err() })
		return err
	}, "watched")
	if !errors.Is(err, redis.TxFailedErr) {
		t.Errorf("got %v, expected %v", err, redis.TxFailedErr)
	}
	want(t, "theirs")(g.c.Get(g.ctx, "watched").Result())
}

func (g goRedis) watchIncrement(t *testing.T) {
	increment := func(tx *redis.Tx) error {
		n, err := tx.Get(g.ctx, "optimistic").Int()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		_, err = tx.TxPipelined(g.ctx, func(p redis.Pipeliner) error { return p.Set(g.ctx, "optimistic", n+1, 0).Err() })
		return err
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for done := 0; done < 25; {
				switch err := g.c.Watch(g.ctx, increment, "optimistic"); {
				case err == nil:
					done++
				case !errors.Is(err, redis.TxFailedErr):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want(t, "100")(g.c.Get(g.ctx, "optimistic").Result())
}

func (g goRedis) scan(t *testing.T) {
	var stay []any
	for _, key := range stayKeys() {
		stay = append(stay, key, 1)
	}
	want(t, "OK")(g.c.MSet(g.ctx, stay...).Result())
	scan := func() (found []string, err error) {
		it := g.c.Scan(g.ctx, 0, "stay:*", 100).Iterator()
		for it.Next(g.ctx) {
			found = append(found, it.Val())
		}
		return found, it.Err()
	}
	wantScan(t, scan, func(round int) error {
		_, err := g.c.Pipelined(g.ctx, func(p redis.Pipeliner) error {
			for i := range 300 {
				p.Set(g.ctx, fmt.Sprint("go:", round%20, ":", i), 1, 0)
				p.Del(g.ctx, fmt.Sprint("go:", (round+10)%20, ":", i))
			}
			return nil
		})
		return err
	})
}

func (g goRedis) expiry(t *testing.T) {
	want(t, "OK")(g.c.Set(g.ctx, "expiry", 1, 100*time.Second).Result())
	ttl, err := g.c.TTL(g.ctx, "expiry").Result()
	between(t, ttl, err, 97*time.Second, 100*time.Second)
	want(t, true)(g.c.Persist(g.ctx, "expiry").Result())
	want(t, -1)(g.c.TTL(g.ctx, "expiry").Result())
	want(t, true)(g.c.Expire(g.ctx, "expiry", 50*time.Second).Result())
	ttl, err = g.c.PTTL(g.ctx, "expiry").Result()
	between(t, ttl, err, 48*time.Second, 50*time.Second)
	want(t, false)(g.c.ExpireNX(g.ctx, "expiry", time.Minute).Result())
	want(t, false)(g.c.Expire(g.ctx, "expiry:none", 50*time.Second).Result())
	want(t, -2)(g.c.TTL(g.ctx, "expiry:none").Result())
	want(t, "OK")(g.c.Set(g.ctx, "expiry:soon", 1, 30*time.Millisecond).Result())
	untilGone(t, func() (int64, error) { return g.c.Exists(g.ctx, "expiry:soon").Result() })
	if err := g.c.Get(g.ctx, "expiry:soon").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("got %v, expected %v", err, redis.Nil)
	}
}

func (g goRedis) errors(t *testing.T) {
	want(t, "OK")(g.c.Set(g.ctx, "errors", "text", 0).Result())
	for _, c := range []struct {
		err  error
		text string
	}{
		{g.c.Incr(g.ctx, "errors").Err(), notInteger},
		{g.c.Do(g.ctx, "NOPE", "a").Err(), "ERR unknown command 'NOPE', with args beginning with: 'a'"},
		{g.c.Do(g.ctx, "GET").Err(), "ERR wrong number of arguments for 'get' command"},
		{g.c.Do(g.ctx, "SET", "errors", "v", "NOPE").Err(), "ERR syntax error"},
	} {
		wantText(t, c.err, c.text)
		if _, ok := errors.AsType[redis.Error](c.err); !ok {
			t.Errorf("%v is %T, not of a server", c.err, c.err)
		}
	}
	g.connect(t)
}

func (g goRedis) errorsAuth(t *testing.T) {
	ping := func(password string) (string, error) {
		c := redis.NewClient(&redis.Options{Addr: g.to.locked.Addr, Protocol: g.c.Options().Protocol, Password: password})
		defer c.Close()
		return c.Ping(g.ctx).Result()
	}
	_, err := ping("")
	if wantText(t, err, "NOAUTH "); !redis.IsAuthError(err) {
		t.Errorf("%v is no error of authentication", err)
	}
	_, err = ping("wrong")
	if wantText(t, err, "WRONGPASS "); !redis.IsAuthError(err) {
		t.Errorf("%v is no error of authentication", err)
	}
	want(t, "PONG")(ping(password))
}

func (g goRedis) errorsMemory(t *testing.T) {
	want(t, "OK")(g.c.Set(g.ctx, "memory", 1, 0).Result())
	want(t, "OK")(g.c.ConfigSet(g.ctx, "maxmemory", "1").Result())
	err := g.c.Incr(g.ctx, "memory").Err()
	if wantText(t, err, outOfMemory); !redis.IsOOMError(err) {
		t.Errorf("%v is no OOM", err)
	}
	want(t, "1")(g.c.Get(g.ctx, "memory").Result())
	want(t, "OK")(g.c.ConfigSet(g.ctx, "maxmemory", "0").Result())
	want(t, 2)(g.c.Incr(g.ctx, "memory").Result())
}

func (g goRedis) bigValue(t *testing.T) {
	value := bigValue()
	want(t, "OK")(g.c.Set(g.ctx, "big", value, 0).Result())
	want(t, 1<<20)(g.c.StrLen(g.ctx, "big").Result())
	if got, err := g.c.Get(g.ctx, "big").Result(); err != nil || got != value {
		t.Errorf("%d other bytes, %v", len(got), err)
	}
}

func (g goRedis) binary(t *testing.T) {
	all := allBytes()
	want(t, "OK")(g.c.Set(g.ctx, all, all, 0).Result())
	want(t, all)(g.c.Get(g.ctx, all).Result())
	want(t, 1)(g.c.Exists(g.ctx, all).Result())
}

func (g goRedis) unixSocket(t *testing.T) {
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: g.to.socket, Protocol: g.c.Options().Protocol})
	defer c.Close()
	want(t, 1)(c.Incr(g.ctx, "unix").Result())
	want(t, "1")(g.c.Get(g.ctx, "unix").Result())
}

func (g goRedis) reconnect(t *testing.T) {
	renewed := g.subscriber(t, g.c.Subscribe(g.ctx, "renewed"))
	renewed.hears(t, "subscribe renewed")
	want(t, 10)(g.c.IncrBy(g.ctx, "reconnect", 10).Result())
	g.to.restart(t)
	want(t, 11)(g.c.Incr(g.ctx, "reconnect").Result())
	want(t, "11")(g.c.Get(g.ctx, "reconnect").Result())
	renewed.checkRenewed(t)
}

// TestGoRedisReplies has go-redis take apart replies that are more than a value.
func TestGoRedisReplies(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			eachTarget(t, func(t *testing.T, to *target) {
				c, ctx := redis.NewClient(&redis.Options{Addr: to.open.Addr, Protocol: protocol}), t.Context()
				defer c.Close()
				want(t, true)(c.SetNX(ctx, "k", "v", 0).Result())
				want(t, false)(c.SetNX(ctx, "k", "w", 0).Result())
				want(t, "v")(c.GetDel(ctx, "k").Result())
				if info, err := c.InfoMap(ctx, "server").Result(); err != nil || info["Server"]["redis_version"] == "" {
					t.Errorf("INFO: %v, %v", info, err)
				}
				want(t, map[string]string{"maxmemory": "0"})(c.ConfigGet(ctx, "maxmemory").Result())
				if now, err := c.Time(ctx).Result(); err != nil || time.Since(now).Abs() > time.Minute {
					t.Errorf("TIME: %v, %v", now, err)
				}
				if cmds, err := c.Command(ctx).Result(); err != nil || cmds["incr"] == nil || cmds["incr"].Arity != 2 {
					t.Errorf("COMMAND: %d entries, %v", len(cmds), err)
				}
			})
		})
	}
}
