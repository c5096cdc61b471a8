package clients

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// TestClusterClients has clients of Redis Cluster, with their default options, use three nodes with cluster-enabled: they find
// the node that leads, and the next one when it is killed.
func TestClusterClients(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3, "--cluster-enabled", "yes")
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.Addr)
	}
	follower := nodes[(redistest.WaitLeader(t, nodes)+1)%3]
	t.Run("redis-cli -c", func(t *testing.T) {
		out := runTool(t, "redis-cli", "-c", "-p", strconv.Itoa(follower.Port), "INCR", "cli")
		if out != "1\n" {
			t.Errorf("%q", out)
		}
	})
	t.Run("redis-cli --cluster check", func(t *testing.T) {
		out := runTool(t, "redis-cli", "--cluster", "check", follower.Addr)
		for _, want := range []string{"All nodes agree about slots configuration", "All 16384 slots covered", "2 additional replica(s)"} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
	})
	t.Run("redis-benchmark", func(t *testing.T) {
		// With --cluster it wants two masters at least, of a Redis Cluster as well. Without, one for each node will do.
		leader := nodes[redistest.WaitLeader(t, nodes)]
		out := runTool(t, "redis-benchmark", "-p", strconv.Itoa(leader.Port), "-t", "incr,get,set", "-n", "3000", "-r", "100", "-q")
		if strings.Count(out, "requests per second") < 3 || strings.Contains(out, "ERR") || strings.Contains(out, "MOVED") {
			t.Errorf("%s", out)
		}
	})
	t.Run("redis-py", func(t *testing.T) {
		python := toolbox.Python(t, "redis").Command(t.Context(), "redis-py/cluster.py", strconv.Itoa(follower.Port))
		if out, err := python.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("go-redis", func(t *testing.T) {
		c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses})
		defer c.Close()
		clusterCounts(t, nodes, func(ctx context.Context, key string) (int64, error) {
			n, err := c.Incr(ctx, key).Result()
			if err != nil {
				c.ReloadState(ctx) // by itself it asks for the nodes once a minute, if none of those it knows answers with MOVED
			}
			return n, err
		})
		p := c.Pipeline()
		for i := range clusterKeys {
			p.Incr(t.Context(), fmt.Sprintf("go-redis:%d", i))
		}
		if list, err := p.Exec(t.Context()); err != nil || len(list) != clusterKeys {
			t.Errorf("a pipeline over all slots: %d replies, %v", len(list), err)
		}
	})
	t.Run("rueidis", func(t *testing.T) {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addresses})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clusterCounts(t, nodes, func(ctx context.Context, key string) (int64, error) {
			return c.Do(ctx, c.B().Incr().Key(key).Build()).AsInt64()
		})
	})
}

func runTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), redistest.Tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

const clusterKeys = 50

// clusterCounts counts on keys of many slots, kills the node that leads in the middle, and goes on: each key has at least
// what was answered, and not more than was tried.
func clusterCounts(t *testing.T, nodes []*redistest.Server, incr func(ctx context.Context, key string) (int64, error)) {
	t.Helper()
	name := t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
	answered, tried := map[string]int64{}, map[string]int64{}
	killed := -1
	for i := range 10 * clusterKeys {
		if i == 5*clusterKeys {
			killed = redistest.WaitLeader(t, nodes)
			nodes[killed].Kill9()
		}
		key := fmt.Sprintf("%s:%d", name, i%clusterKeys)
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			tried[key]++
			n, err := incr(t.Context(), key)
			if err == nil {
				answered[key]++
				if n < answered[key] || n > tried[key] {
					t.Fatalf("%s is %d after %d answers to %d tries", key, n, answered[key], tried[key])
				}
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", key, err)
			}
		}
	}
	if err := nodes[killed].Restart(time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := nodes[killed].WaitServes(time.Minute); err != nil {
		t.Fatal(err)
	}
}
