package clients

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

// runSecureGo runs the checks of a client in Go: those of connections that must fail are the same for each. connect opens one
// and sends PING.
func (to *secured) runSecureGo(t *testing.T, connect func(addr, password string, config *tls.Config) error, has map[string]func(t *testing.T)) {
	good, none, unknown := to.ca.Good(t), to.ca.Trusting(t), to.unknown.Trusting(t)
	unknown.Certificates = good.Certificates
	for _, c := range []*tls.Config{good, none, unknown} {
		c.ServerName = "" // so it is the address that the client connects to
	}
	refused := func(host, password string, config *tls.Config, text string) func(t *testing.T) {
		return func(t *testing.T) {
			if err := connect(to.addr(host), password, config); err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("got error %v, expected %q", err, text)
			}
		}
	}
	has["no-certificate"] = refused("localhost", securePassword, none, "")
	has["unknown-authority"] = refused("localhost", securePassword, unknown, "unknown authority")
	has["other-name"] = refused("127.0.0.1", securePassword, good, "doesn't contain any IP SANs")
	has["wrong-password"] = refused("localhost", "wrong", good, "WRONGPASS ")
	runChecks(t, secureChecks, has)
}

func (to *secured) addr(host string) string { return fmt.Sprintf("%s:%d", host, to.port) }

func TestSecureGoRedis(t *testing.T) {
	t.Parallel()
	eachSecured(t, func(t *testing.T, to *secured) {
		open := func(addr, password string, config *tls.Config) *redis.Client {
			return redis.NewClient(&redis.Options{Addr: addr, Username: secureUser, Password: password, TLSConfig: config, MaxRetries: -1, DialerRetries: 1})
		}
		g := secureGoRedis{open(to.addr("localhost"), securePassword, to.ca.Good(t)), t.Context()}
		defer g.c.Close()
		connect := func(addr, password string, config *tls.Config) error {
			c := open(addr, password, config)
			defer c.Close()
			return c.Ping(t.Context()).Err()
		}
		to.runSecureGo(t, connect, map[string]func(t *testing.T){
			"connect": g.connect, "count": g.count, "pipeline": g.pipeline, "transaction": g.transaction, "big-value": g.bigValue,
			"noperm-command": g.deniedCommand, "noperm-key": g.deniedKey, "noperm-pipeline": g.deniedInPipeline,
			"noperm-transaction": g.deniedInTransaction,
		})
	})
}

type secureGoRedis struct {
	c   *redis.Client
	ctx context.Context
}

// denied fails unless err is what the library takes for a lack of rights.
func (g secureGoRedis) denied(t *testing.T, err error) {
	t.Helper()
	if wantText(t, err, "NOPERM "); !redis.IsPermissionError(err) {
		t.Errorf("%v is no error of permission", err)
	}
}

func (g secureGoRedis) connect(t *testing.T) {
	want(t, secureUser)(g.c.Do(g.ctx, "ACL", "WHOAMI").Text())
}

func (g secureGoRedis) count(t *testing.T) {
	want(t, 1)(g.c.Incr(g.ctx, "app:n").Result())
	want(t, 42)(g.c.IncrBy(g.ctx, "app:n", 41).Result())
	want(t, "42")(g.c.Get(g.ctx, "app:n").Result())
}

func (g secureGoRedis) pipeline(t *testing.T) {
	replies, err := g.c.Pipelined(g.ctx, func(p redis.Pipeliner) error {
		for range 1000 {
			p.Incr(g.ctx, "app:pipeline")
		}
		return nil
	})
	if err != nil || len(replies) != 1000 {
		t.Fatalf("%d replies, %v", len(replies), err)
	}
	for i, r := range replies {
		if v := r.(*redis.IntCmd).Val(); v != int64(i)+1 {
			t.Fatalf("reply %d is %d", i, v)
		}
	}
}

func (g secureGoRedis) transaction(t *testing.T) {
	p := g.c.TxPipeline()
	set, incr := p.Set(g.ctx, "app:tx", 5, 0), p.IncrBy(g.ctx, "app:tx", 10)
	if _, err := p.Exec(g.ctx); err != nil {
		t.Fatal(err)
	}
	want(t, "OK")(set.Result())
	want(t, 15)(incr.Result())
}

func (g secureGoRedis) bigValue(t *testing.T) {
	value := strings.Repeat("v", 1_000_000)
	want(t, "OK")(g.c.Set(g.ctx, "app:big", value, 0).Result())
	if got, err := g.c.Get(g.ctx, "app:big").Result(); err != nil || got != value {
		t.Errorf("%d other bytes, %v", len(got), err)
	}
}

func (g secureGoRedis) deniedCommand(t *testing.T) {
	g.denied(t, g.c.FlushAll(g.ctx).Err())
	g.connect(t)
}

func (g secureGoRedis) deniedKey(t *testing.T) {
	g.denied(t, g.c.Incr(g.ctx, "other").Err())
	g.connect(t)
}

func (g secureGoRedis) deniedInPipeline(t *testing.T) {
	p := g.c.Pipeline()
	before, denied, after := p.Incr(g.ctx, "app:pipe"), p.Incr(g.ctx, "other"), p.Incr(g.ctx, "app:pipe")
	_, err := p.Exec(g.ctx)
	g.denied(t, err)
	want(t, 1)(before.Result())
	g.denied(t, denied.Err())
	want(t, 2)(after.Result())
}

// deniedInTransaction: EXEC says that it was aborted, and the denied command why.
func (g secureGoRedis) deniedInTransaction(t *testing.T) {
	p := g.c.TxPipeline()
	p.Incr(g.ctx, "app:denied")
	denied := p.Incr(g.ctx, "other")
	_, err := p.Exec(g.ctx)
	if wantText(t, err, "EXECABORT "); !redis.IsExecAbortError(err) {
		t.Errorf("%v is no EXECABORT", err)
	}
	g.denied(t, denied.Err())
	want(t, 0)(g.c.Exists(g.ctx, "app:denied").Result())
}

func TestSecureRueidis(t *testing.T) {
	t.Parallel()
	eachSecured(t, func(t *testing.T, to *secured) {
		open := func(addr, password string, config *tls.Config) (rueidis.Client, error) {
			return openRueidis(addr, func(o *rueidis.ClientOption) {
				o.Username, o.Password, o.TLSConfig = secureUser, password, config
				o.Dialer.Timeout = 5 * time.Second
			})
		}
		c, err := open(to.addr("localhost"), securePassword, to.ca.Good(t))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := secureRueidis{rueidisClient{c: c, ctx: t.Context()}}
		connect := func(addr, password string, config *tls.Config) error {
			c, err := open(addr, password, config)
			if err == nil {
				c.Close()
			}
			return err
		}
		to.runSecureGo(t, connect, map[string]func(t *testing.T){
			"connect": r.connect, "count": r.count, "pipeline": r.pipeline, "transaction": r.transaction, "big-value": r.bigValue,
			"noperm-command": r.deniedCommand, "noperm-key": r.deniedKey, "noperm-pipeline": r.deniedInPipeline,
			"noperm-transaction": r.deniedInTransaction,
		})
	})
}

type secureRueidis struct{ rueidisClient }

func (r secureRueidis) denied(t *testing.T, err error) {
	t.Helper()
	wantText(t, err, "NOPERM ")
	if _, ok := errors.AsType[*rueidis.RedisError](err); !ok {
		t.Errorf("%v is %T, not of a server", err, err)
	}
}

func (r secureRueidis) connect(t *testing.T) { want(t, secureUser)(r.do("ACL", "WHOAMI").ToString()) }

func (r secureRueidis) count(t *testing.T) {
	want(t, 1)(r.do("INCR", "app:n").AsInt64())
	want(t, 42)(r.do("INCRBY", "app:n", "41").AsInt64())
	want(t, "42")(r.do("GET", "app:n").ToString())
}

func (r secureRueidis) pipeline(t *testing.T) {
	commands := make(rueidis.Commands, 1000)
	for i := range commands {
		commands[i] = r.c.B().Incr().Key("app:pipeline").Build()
	}
	for i, reply := range r.c.DoMulti(r.ctx, commands...) {
		if n, err := reply.AsInt64(); err != nil || n != int64(i)+1 {
			t.Fatalf("reply %d is %d, %v", i, n, err)
		}
	}
}

func (r secureRueidis) transaction(t *testing.T) {
	c, cancel := r.c.Dedicate()
	defer cancel()
	replies, err := r.exec(c, c.B().Set().Key("app:tx").Value("5").Build(), c.B().Incrby().Key("app:tx").Increment(10).Build())
	if err != nil || len(replies) != 2 {
		t.Fatal(replies, err)
	}
	want(t, "OK")(replies[0].ToString())
	want(t, 15)(replies[1].AsInt64())
}

func (r secureRueidis) bigValue(t *testing.T) {
	value := strings.Repeat("v", 1_000_000)
	want(t, "OK")(r.do("SET", "app:big", value).ToString())
	if got, err := r.do("GET", "app:big").ToString(); err != nil || got != value {
		t.Errorf("%d other bytes, %v", len(got), err)
	}
}

func (r secureRueidis) deniedCommand(t *testing.T) {
	r.denied(t, r.do("FLUSHALL").Error())
	r.connect(t)
}

func (r secureRueidis) deniedKey(t *testing.T) {
	r.denied(t, r.do("INCR", "other").Error())
	r.connect(t)
}

func (r secureRueidis) deniedInPipeline(t *testing.T) {
	incr := func(key string) rueidis.Completed { return r.c.B().Incr().Key(key).Build() }
	replies := r.c.DoMulti(r.ctx, incr("app:pipe"), incr("other"), incr("app:pipe"))
	want(t, 1)(replies[0].AsInt64())
	r.denied(t, replies[1].Error())
	want(t, 2)(replies[2].AsInt64())
}

func (r secureRueidis) deniedInTransaction(t *testing.T) {
	c, cancel := r.c.Dedicate()
	defer cancel()
	_, err := r.exec(c, c.B().Incr().Key("app:denied").Build(), c.B().Incr().Key("other").Build())
	wantRueidisError(t, err, "EXECABORT ")
	want(t, 0)(r.do("EXISTS", "app:denied").AsInt64())
}
