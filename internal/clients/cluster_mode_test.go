package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// clusterChecks are what each library's client for Redis Cluster is checked for, with its default options. It is told one node.
var clusterChecks = []string{
	"connect",     // it knows the nodes that serve, and answers to PING
	"count",       // INCR and GET of 100 keys of many slots
	"pipeline",    // 100 keys of many slots, every reply in its place
	"mget",        // MSET and MGET of keys of one slot
	"transaction", // of keys of one slot
	"pub-sub",     // a channel and a pattern, whichever node the library chooses; any bytes
	"sharded",     // SSUBSCRIBE and SPUBLISH, receivers counted
}

// without takes checks off a list, for a library that does not have what they are about.
func without(list []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(names, name) })
}

// clusterTarget is what a client of Redis Cluster is checked against.
type clusterTarget struct {
	addr  string // of a node: of three Quipus, one that does not lead; of Redis, the one there is
	port  int
	nodes int
}

// eachCluster runs fn against three Quipus and, as the expectations are Redis's, a Redis Cluster of one node.
func eachCluster(t *testing.T, fn func(t *testing.T, to *clusterTarget)) {
	t.Run("quipu", func(t *testing.T) {
		t.Parallel()
		nodes := redistest.StartCluster(t, 3, "--cluster-enabled", "yes")
		for _, n := range nodes { // what is published before a node is connected to the others may be lost
			waitInfo(t, n.Dial(t), []string{"INFO", "stats"}, "pubsub_peers:2")
		}
		follower := nodes[(redistest.WaitLeader(t, nodes)+1)%3]
		fn(t, &clusterTarget{addr: follower.Addr, port: follower.Port, nodes: 3})
	})
	t.Run("redis", func(t *testing.T) {
		if testing.Short() {
			t.Skip("redis-server is not what -short tests")
		}
		t.Parallel()
		port := strconv.Itoa(redistest.FreePort(t))
		server := redistest.StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", port, "--cluster-announce-ip", "127.0.0.1")
		conn := server.Dial(t)
		if r, err := conn.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383"); err != nil || r.IsError() {
			t.Fatal(r, err)
		}
		waitInfo(t, conn, []string{"CLUSTER", "INFO"}, "cluster_state:ok")
		fn(t, &clusterTarget{addr: server.Addr, port: server.Port, nodes: 1})
	})
}

// waitInfo waits until the reply to a command contains text.
func waitInfo(t *testing.T, c *redistest.Conn, command []string, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if r, err := c.Do(command...); err == nil && strings.Contains(r.Text, text) {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%v does not come to say %s: %v, %v", command, text, r, err)
		}
	}
}

// run runs a program with the port of a node.
func (to *clusterTarget) run(t *testing.T, with toolbox.Interpreter, script string, list []string) {
	converse(t, with, []string{script, strconv.Itoa(to.port)}, list, nil)
}

// TestClusterMode: see TestJava for Jedis and Lettuce, and TestClusterClients for what happens when the leader is killed.
func TestClusterMode(t *testing.T) {
	t.Parallel()
	python, nodeRedis, ioredis := toolbox.Python(t, "redis"), toolbox.Node(t, "redis"), toolbox.Node(t, "ioredis")
	php := toolbox.PHP(t, "redis", "pcntl")
	eachCluster(t, func(t *testing.T, to *clusterTarget) {
		for name, check := range map[string]func(t *testing.T){
			"go-redis":   func(t *testing.T) { goRedisCluster(t, to) },
			"rueidis":    func(t *testing.T) { rueidisCluster(t, to) },
			"redis-py":   func(t *testing.T) { to.run(t, python, "redis-py/cluster.py", clusterChecks) },
			"node-redis": func(t *testing.T) { to.run(t, nodeRedis, "node-redis/cluster.js", clusterChecks) },
			"ioredis":    func(t *testing.T) { to.run(t, ioredis, "ioredis/cluster.js", clusterChecks) },
			"phpredis": func(t *testing.T) {
				to.run(t, php, "phpredis/cluster.php", without(clusterChecks, "pipeline", "sharded"))
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				check(t)
			})
		}
	})
}

func goRedisCluster(t *testing.T, to *clusterTarget) {
	c, ctx := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{to.addr}}), t.Context()
	defer c.Close()
	key := func(i int) string { return fmt.Sprint("go-redis:", i) }
	runChecks(t, clusterChecks, map[string]func(t *testing.T){
		"connect": func(t *testing.T) {
			want(t, "PONG")(c.Ping(ctx).Result())
			slots, err := c.ClusterSlots(ctx).Result()
			if err != nil || len(slots) != 1 || len(slots[0].Nodes) != to.nodes {
				t.Errorf("%v, %v", slots, err)
			}
		},
		"count": func(t *testing.T) {
			for i := range 100 {
				want(t, 1)(c.Incr(ctx, key(i)).Result())
				want(t, "1")(c.Get(ctx, key(i)).Result())
			}
		},
		"pipeline": func(t *testing.T) {
			replies, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i := range 100 {
					p.IncrBy(ctx, key(i), int64(i))
				}
				return nil
			})
			if err != nil || len(replies) != 100 {
				t.Fatal(len(replies), err)
			}
			for i, r := range replies {
				want(t, i+1)(r.(*redis.IntCmd).Result())
			}
		},
		"mget": func(t *testing.T) {
			want(t, "OK")(c.MSet(ctx, "{go-redis}a", 1, "{go-redis}b", 2).Result())
			want(t, []any{"1", "2", nil})(c.MGet(ctx, "{go-redis}a", "{go-redis}b", "{go-redis}none").Result())
		},
		"transaction": func(t *testing.T) {
			p := c.TxPipeline()
			incr, get := p.IncrBy(ctx, "{go-redis}a", 10), p.Get(ctx, "{go-redis}a")
			if _, err := p.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			want(t, 11)(incr.Result())
			want(t, "11")(get.Result())
		},
		"pub-sub": func(t *testing.T) {
			s := goRedis{ctx: ctx}.subscriber(t, c.Subscribe(ctx, "go-redis:news"))
			p := goRedis{ctx: ctx}.subscriber(t, c.PSubscribe(ctx, "go-redis:new?"))
			s.hears(t, "subscribe go-redis:news")
			p.hears(t, "psubscribe go-redis:new?")
			for _, text := range []string{"one", allBytes()} {
				if err := c.Publish(ctx, "go-redis:news", text).Err(); err != nil { // it counts the receivers of one node
					t.Fatal(err)
				}
				s.hears(t, "message go-redis:news "+text)
				p.hears(t, "pmessage go-redis:new? go-redis:news "+text)
			}
		},
		"sharded": func(t *testing.T) {
			s := goRedis{ctx: ctx}.subscriber(t, c.SSubscribe(ctx, "go-redis:shard"))
			s.hears(t, "ssubscribe go-redis:shard")
			want(t, 1)(c.SPublish(ctx, "go-redis:shard", "one").Result())
			s.hears(t, "message go-redis:shard one")
		},
	})
}

func rueidisCluster(t *testing.T, to *clusterTarget) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{to.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, b := t.Context(), c.B
	key := func(i int) string { return fmt.Sprint("rueidis:", i) }
	runChecks(t, clusterChecks, map[string]func(t *testing.T){
		"connect": func(t *testing.T) {
			want(t, "PONG")(c.Do(ctx, b().Ping().Build()).ToString())
			want(t, to.nodes)(len(c.Nodes()), nil)
		},
		"count": func(t *testing.T) {
			for i := range 100 {
				want(t, 1)(c.Do(ctx, b().Incr().Key(key(i)).Build()).AsInt64())
				want(t, "1")(c.Do(ctx, b().Get().Key(key(i)).Build()).ToString())
			}
		},
		"pipeline": func(t *testing.T) {
			var commands rueidis.Commands
			for i := range 100 {
				commands = append(commands, b().Incrby().Key(key(i)).Increment(int64(i)).Build())
			}
			for i, reply := range c.DoMulti(ctx, commands...) {
				want(t, i+1)(reply.AsInt64())
			}
		},
		"mget": func(t *testing.T) {
			want(t, "OK")(c.Do(ctx, b().Mset().KeyValue().KeyValue("{rueidis}a", "1").KeyValue("{rueidis}b", "2").Build()).ToString())
			want(t, []string{"1", "2", ""})(c.Do(ctx, b().Mget().Key("{rueidis}a", "{rueidis}b", "{rueidis}none").Build()).AsStrSlice())
		},
		"transaction": func(t *testing.T) {
			mine, cancel := c.Dedicate()
			defer cancel()
			replies := mine.DoMulti(ctx, mine.B().Multi().Build(), mine.B().Incrby().Key("{rueidis}a").Increment(10).Build(),
				mine.B().Get().Key("{rueidis}a").Build(), mine.B().Exec().Build())
			want(t, []int64{11, 11})(replies[3].AsIntSlice())
		},
		"pub-sub": func(t *testing.T) { rueidisClusterPubSub(ctx, t, c) },
		"sharded": func(t *testing.T) { rueidisSharded(t, c) },
	})
}

// rueidisClusterPubSub subscribes with Receive, which chooses a node. PUNSUBSCRIBE would choose another, so Receive is cancelled.
func rueidisClusterPubSub(ctx context.Context, t *testing.T, c rueidis.Client) {
	events := make(chan string, 10)
	receiving, cancel := context.WithCancel(ctx)
	defer cancel()
	hook := rueidis.WithOnSubscriptionHook(receiving, func(s rueidis.PubSubSubscription) { events <- s.Kind })
	ended := make(chan error, 1)
	go func() {
		ended <- c.Receive(hook, c.B().Psubscribe().Pattern("rueidis:new?").Build(), func(m rueidis.PubSubMessage) {
			events <- m.Pattern + " " + m.Channel + " " + m.Message
		})
	}()
	s := &subscriber{events: events}
	s.hears(t, "psubscribe")
	for _, text := range []string{"one", allBytes()} {
		if err := c.Do(ctx, c.B().Publish().Channel("rueidis:news").Message(text).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		s.hears(t, "rueidis:new? rueidis:news "+text)
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Receive goes on")
	}
}
