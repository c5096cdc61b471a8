package clients

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// TestRueidis uses rueidis with its default options, its cache in the client among them.
func TestRueidis(t *testing.T) {
	eachTarget(t, func(t *testing.T, to *target) {
		c, err := openRueidis(to.open.Addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := rueidisClient{c: c, ctx: t.Context(), to: to}
		runGo(t, map[string]func(t *testing.T){
			"connect": r.connect, "protocol": r.protocol, "count": r.count, "pipeline": r.pipeline,
			"transaction": r.transaction, "transaction-error": r.transactionError, "transaction-refused": r.transactionRefused,
			"watch-conflict": r.watchConflict, "watch-increment": r.watchIncrement, "scan": r.scan, "expiry": r.expiry,
			"errors": r.errors, "errors-auth": r.errorsAuth, "errors-memory": r.errorsMemory,
			"big-value": r.bigValue, "binary": r.binary, "pub-sub": r.pubSub, "unix-socket": r.unixSocket, "reconnect": r.reconnect,
		})
	})
}

// TestRueidisMessages: what the server sends without being asked at that moment.
func TestRueidisMessages(t *testing.T) {
	eachTarget(t, func(t *testing.T, to *target) {
		c, err := openRueidis(to.open.Addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := rueidisClient{c: c, ctx: t.Context(), to: to}
		runChecks(t, []string{"cache", "pubsub"}, map[string]func(t *testing.T){"cache": r.cache, "pubsub": r.pubsub})
	})
}

func openRueidis(addr string, change func(o *rueidis.ClientOption)) (rueidis.Client, error) {
	o := rueidis.ClientOption{InitAddress: []string{addr}}
	if change != nil {
		change(&o)
	}
	return rueidis.NewClient(o)
}

type rueidisClient struct {
	c   rueidis.Client
	ctx context.Context
	to  *target
}

// do builds and sends one command, word by word.
func (r rueidisClient) do(words ...string) rueidis.RedisResult {
	return r.c.Do(r.ctx, r.c.B().Arbitrary(words...).Build())
}

func (r rueidisClient) connect(t *testing.T) {
	want(t, "PONG")(r.c.Do(r.ctx, r.c.B().Ping().Build()).ToString())
}

func (r rueidisClient) protocol(t *testing.T) {
	info, err := r.c.Do(r.ctx, r.c.B().ClientInfo().Build()).ToString()
	if err != nil || !strings.Contains(info, " resp=3") {
		t.Errorf("got %q, %v; expected resp=3", info, err)
	}
}

func (r rueidisClient) count(t *testing.T) {
	b := r.c.B
	want(t, 1)(r.c.Do(r.ctx, b().Incr().Key("count").Build()).AsInt64())
	want(t, 11)(r.c.Do(r.ctx, b().Incrby().Key("count").Increment(10).Build()).AsInt64())
	want(t, 10)(r.c.Do(r.ctx, b().Decr().Key("count").Build()).AsInt64())
	want(t, -10)(r.c.Do(r.ctx, b().Decrby().Key("count").Decrement(20).Build()).AsInt64())
	want(t, "-10")(r.c.Do(r.ctx, b().Get().Key("count").Build()).ToString())
	want(t, 0.1)(r.c.Do(r.ctx, b().Incrbyfloat().Key("count:float").Increment(0.1).Build()).AsFloat64())
	want(t, 0.3)(r.c.Do(r.ctx, b().Incrbyfloat().Key("count:float").Increment(0.2).Build()).AsFloat64())
	want(t, []string{"-10", ""})(r.c.Do(r.ctx, b().Mget().Key("count", "count:none").Build()).AsStrSlice())
}

func (r rueidisClient) pipeline(t *testing.T) {
	commands := make(rueidis.Commands, 10_000)
	for i := range commands {
		commands[i] = r.c.B().Incr().Key("pipeline").Build()
	}
	for i, reply := range r.c.DoMulti(r.ctx, commands...) {
		if n, err := reply.AsInt64(); err != nil || n != int64(i)+1 {
			t.Fatalf("reply %d is %d, %v", i, n, err)
		}
	}
	want(t, "10000")(r.c.Do(r.ctx, r.c.B().Get().Key("pipeline").Build()).ToString())
}

// exec sends commands within MULTI and EXEC, on a connection of their own, and
// returns what EXEC answers.
func (r rueidisClient) exec(c rueidis.DedicatedClient, commands ...rueidis.Completed) ([]rueidis.RedisMessage, error) {
	all := append(rueidis.Commands{c.B().Multi().Build()}, commands...)
	replies := c.DoMulti(r.ctx, append(all, c.B().Exec().Build())...)
	return replies[len(replies)-1].ToArray()
}

func (r rueidisClient) transaction(t *testing.T) {
	c, cancel := r.c.Dedicate()
	defer cancel()
	replies, err := r.exec(c, c.B().Set().Key("tx").Value("5").Build(), c.B().Incrby().Key("tx").Increment(10).Build(),
		c.B().Get().Key("tx").Build(), c.B().Ttl().Key("tx").Build())
	if err != nil || len(replies) != 4 {
		t.Fatalf("%d replies, %v", len(replies), err)
	}
	want(t, "OK")(replies[0].ToString())
	want(t, 15)(replies[1].AsInt64())
	want(t, "15")(replies[2].ToString())
	want(t, -1)(replies[3].AsInt64())
}

func (r rueidisClient) transactionError(t *testing.T) {
	want(t, "OK")(r.do("SET", "tx:text", "text").ToString())
	c, cancel := r.c.Dedicate()
	defer cancel()
	replies, err := r.exec(c, c.B().Incr().Key("tx:before").Build(), c.B().Incr().Key("tx:text").Build(), c.B().Incr().Key("tx:after").Build())
	if err != nil || len(replies) != 3 {
		t.Fatalf("%d replies, %v", len(replies), err)
	}
	want(t, 1)(replies[0].AsInt64())
	wantRueidisError(t, replies[1].Error(), notInteger)
	want(t, 1)(replies[2].AsInt64())
}

func (r rueidisClient) transactionRefused(t *testing.T) {
	c, cancel := r.c.Dedicate()
	defer cancel()
	_, err := r.exec(c, c.B().Incr().Key("tx:refused").Build(), c.B().Arbitrary("INCR").Build())
	wantRueidisError(t, err, "EXECABORT Transaction discarded because of previous errors.")
	want(t, 0)(r.do("EXISTS", "tx:refused").AsInt64())
}

func (r rueidisClient) watchConflict(t *testing.T) {
	err := r.c.Dedicated(func(c rueidis.DedicatedClient) error {
		want(t, "OK")(c.Do(r.ctx, c.B().Watch().Key("watched").Build()).ToString())
		want(t, "OK")(r.do("SET", "watched", "theirs").ToString())
		_, err := r.exec(c, c.B().Set().Key("watched").Value("ours").Build())
		return err
	})
	if !rueidis.IsRedisNil(err) {
		t.Errorf("got %v, expected null", err)
	}
	want(t, "theirs")(r.do("GET", "watched").ToString())
}

func (r rueidisClient) watchIncrement(t *testing.T) {
	increment := func(c rueidis.DedicatedClient) error {
		if err := c.Do(r.ctx, c.B().Watch().Key("optimistic").Build()).Error(); err != nil {
			return err
		}
		n, err := c.Do(r.ctx, c.B().Get().Key("optimistic").Build()).AsInt64()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		_, err = r.exec(c, c.B().Set().Key("optimistic").Value(fmt.Sprint(n+1)).Build())
		return err
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for done := 0; done < 25; {
				switch err := r.c.Dedicated(increment); {
				case err == nil:
					done++
				case !rueidis.IsRedisNil(err):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want(t, "100")(r.do("GET", "optimistic").ToString())
}

func (r rueidisClient) scan(t *testing.T) {
	set := r.c.B().Mset().KeyValue()
	for _, key := range stayKeys() {
		set = set.KeyValue(key, "1")
	}
	want(t, "OK")(r.c.Do(r.ctx, set.Build()).ToString())
	scan := func() (found []string, err error) {
		scanner := rueidis.NewScanner(func(cursor uint64) (rueidis.ScanEntry, error) {
			return r.c.Do(r.ctx, r.c.B().Scan().Cursor(cursor).Match("stay:*").Count(100).Build()).AsScanEntry()
		})
		for key := range scanner.Iter() {
			found = append(found, key)
		}
		return found, scanner.Err()
	}
	wantScan(t, scan, func(round int) error {
		var commands rueidis.Commands
		for i := range 300 {
			commands = append(commands, r.c.B().Set().Key(fmt.Sprint("go:", round%20, ":", i)).Value("1").Build(),
				r.c.B().Del().Key(fmt.Sprint("go:", (round+10)%20, ":", i)).Build())
		}
		for _, reply := range r.c.DoMulti(r.ctx, commands...) {
			if err := reply.Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r rueidisClient) expiry(t *testing.T) {
	b := r.c.B
	want(t, "OK")(r.c.Do(r.ctx, b().Set().Key("expiry").Value("1").Ex(100*time.Second).Build()).ToString())
	ttl, err := r.c.Do(r.ctx, b().Ttl().Key("expiry").Build()).AsInt64()
	between(t, time.Duration(ttl)*time.Second, err, 97*time.Second, 100*time.Second)
	want(t, true)(r.c.Do(r.ctx, b().Persist().Key("expiry").Build()).AsBool())
	want(t, -1)(r.c.Do(r.ctx, b().Ttl().Key("expiry").Build()).AsInt64())
	want(t, true)(r.c.Do(r.ctx, b().Expire().Key("expiry").Seconds(50).Build()).AsBool())
	ttl, err = r.c.Do(r.ctx, b().Pttl().Key("expiry").Build()).AsInt64()
	between(t, time.Duration(ttl)*time.Millisecond, err, 48*time.Second, 50*time.Second)
	want(t, false)(r.c.Do(r.ctx, b().Expire().Key("expiry:none").Seconds(50).Build()).AsBool())
	want(t, -2)(r.c.Do(r.ctx, b().Ttl().Key("expiry:none").Build()).AsInt64())
	want(t, "OK")(r.c.Do(r.ctx, b().Set().Key("expiry:soon").Value("1").Px(30*time.Millisecond).Build()).ToString())
	untilGone(t, func() (int64, error) { return r.do("EXISTS", "expiry:soon").AsInt64() })
	if err := r.do("GET", "expiry:soon").Error(); !rueidis.IsRedisNil(err) {
		t.Errorf("got %v, expected null", err)
	}
}

// wantRueidisError fails unless err is an error of the server that begins with text. rueidis takes "ERR " off.
func wantRueidisError(t *testing.T, err error, text string) {
	t.Helper()
	wantText(t, err, strings.TrimPrefix(text, "ERR "))
	if _, ok := errors.AsType[*rueidis.RedisError](err); !ok {
		t.Errorf("%v is %T, not of a server", err, err)
	}
}

func (r rueidisClient) errors(t *testing.T) {
	want(t, "OK")(r.do("SET", "errors", "text").ToString())
	wantRueidisError(t, r.do("INCR", "errors").Error(), notInteger)
	wantRueidisError(t, r.do("NOPE", "a").Error(), "ERR unknown command 'NOPE', with args beginning with: 'a'")
	wantRueidisError(t, r.do("GET").Error(), "ERR wrong number of arguments for 'get' command")
	wantRueidisError(t, r.do("SET", "errors", "v", "NOPE").Error(), "ERR syntax error")
	r.connect(t)
}

func (r rueidisClient) errorsAuth(t *testing.T) {
	_, err := openRueidis(r.to.locked.Addr, nil)
	wantRueidisError(t, err, "NOAUTH ")
	_, err = openRueidis(r.to.locked.Addr, func(o *rueidis.ClientOption) { o.Password = "wrong" })
	wantRueidisError(t, err, "WRONGPASS ")
	c, err := openRueidis(r.to.locked.Addr, func(o *rueidis.ClientOption) { o.Password = password })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want(t, "PONG")(c.Do(r.ctx, c.B().Ping().Build()).ToString())
}

func (r rueidisClient) errorsMemory(t *testing.T) {
	want(t, "OK")(r.do("SET", "memory", "1").ToString())
	want(t, "OK")(r.do("CONFIG", "SET", "maxmemory", "1").ToString())
	wantRueidisError(t, r.do("INCR", "memory").Error(), outOfMemory)
	want(t, "1")(r.do("GET", "memory").ToString())
	want(t, "OK")(r.do("CONFIG", "SET", "maxmemory", "0").ToString())
	want(t, 2)(r.do("INCR", "memory").AsInt64())
}

func (r rueidisClient) bigValue(t *testing.T) {
	value := bigValue()
	want(t, "OK")(r.do("SET", "big", value).ToString())
	want(t, 1<<20)(r.do("STRLEN", "big").AsInt64())
	if got, err := r.do("GET", "big").ToString(); err != nil || got != value {
		t.Errorf("%d other bytes, %v", len(got), err)
	}
}

func (r rueidisClient) binary(t *testing.T) {
	all := allBytes()
	want(t, "OK")(r.do("SET", all, all).ToString())
	want(t, all)(r.do("GET", all).ToString())
	want(t, 1)(r.do("EXISTS", all).AsInt64())
}

func (r rueidisClient) unixSocket(t *testing.T) {
	c, err := openRueidis(r.to.socket, func(o *rueidis.ClientOption) { o.DialCtxFn = dialUnix })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want(t, 1)(c.Do(r.ctx, c.B().Incr().Key("unix").Build()).AsInt64())
	want(t, "1")(r.do("GET", "unix").ToString())
}

func dialUnix(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	return d.DialContext(ctx, "unix", path)
}

// cache reads through the cache of the client, which is to be told of each change by another one.
func (r rueidisClient) cache(t *testing.T) {
	other, err := openRueidis(r.to.open.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	read := func() rueidis.RedisResult {
		return r.c.DoCache(r.ctx, r.c.B().Get().Key("cache:k").Cache(), time.Minute)
	}
	set := func(words ...string) {
		t.Helper()
		if err := other.Do(r.ctx, other.B().Arbitrary(words...).Build()).Error(); err != nil && !rueidis.IsRedisNil(err) {
			t.Fatal(err)
		}
	}
	for i, change := range [][]string{
		{"SET", "cache:k", "1"}, {"INCR", "cache:k"}, {"APPEND", "cache:k", "5"}, {"DEL", "cache:k"}, {"MSET", "cache:k", "7", "cache:l", "8"},
		{"SET", "cache:k", "9", "PX", "50"}, {}, {"SET", "cache:k", "1"}, {"FLUSHALL"}, {"SET", "cache:k", "2"},
	} {
		want := map[int]string{0: "1", 1: "2", 2: "25", 4: "7", 5: "9", 7: "1", 9: "2"}[i]
		if len(change) > 0 {
			set(change...)
		}
		deadline := time.Now().Add(10 * time.Second)
		for got, _ := read().ToString(); got != want; got, _ = read().ToString() {
			if want == "9" && got == "" {
				break // it has expired already
			}
			if time.Now().After(deadline) {
				t.Fatalf("behind %v the cache has %q", change, got)
			}
			time.Sleep(time.Millisecond)
		}
	}
	hits := 0
	for range 100 {
		if read().IsCacheHit() {
			hits++
		}
	}
	if hits < 90 {
		t.Errorf("%d of 100 reads were answered by the cache", hits)
	}
	for i, result := range r.c.DoMultiCache(r.ctx, rueidis.CT(r.c.B().Get().Key("cache:k").Cache(), time.Minute), rueidis.CT(r.c.B().Get().Key("cache:none").Cache(), time.Minute)) {
		if got, err := result.ToString(); i == 0 && (got != "2" || err != nil) || i == 1 && !rueidis.IsRedisNil(err) {
			t.Errorf("DoMultiCache, %d: %q, %v", i, got, err)
		}
	}
}

// pubsub listens to a channel and a pattern, and publishes.
func (r rueidisClient) pubsub(t *testing.T) {
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	c, err := openRueidis(r.to.open.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, subscribe := range []rueidis.Completed{c.B().Subscribe().Channel("pubsub:a").Build(), c.B().Psubscribe().Pattern("pubsub:*").Build()} {
		got := make(chan string, 1)
		ended := make(chan error, 1)
		one, stop := context.WithCancel(ctx)
		go func() {
			ended <- c.Receive(one, subscribe, func(m rueidis.PubSubMessage) {
				select {
				case got <- m.Channel + " " + m.Message:
				default:
				}
			})
		}()
		for heard := false; !heard; {
			if err := r.do("PUBLISH", "pubsub:a", "x").Error(); err != nil {
				t.Fatal(err)
			}
			select {
			case m := <-got:
				want(t, "pubsub:a x")(m, nil)
				heard = true
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal("nothing was heard")
			}
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the end of a subscription: %v", err)
		}
	}
}

// reconnect reads first: rueidis sends only reads again by itself when it finds
// the connection lost, as a write may have been carried out.
func (r rueidisClient) reconnect(t *testing.T) {
	want(t, 10)(r.do("INCRBY", "reconnect", "10").AsInt64())
	r.to.restart(t)
	want(t, "10")(r.c.Do(r.ctx, r.c.B().Get().Key("reconnect").Build()).ToString())
	want(t, 11)(r.do("INCR", "reconnect").AsInt64())
}
