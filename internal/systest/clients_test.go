package systest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/internal/redistest"
)

func port(s *redistest.Server) string { return strconv.Itoa(s.Port) }

// TestGoRedis uses go-redis with its default options, over TCP and over a unix socket.
func TestGoRedis(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	s := redistest.Quipu{Flags: []string{"--unixsocket", socket}}.Start(t)
	for _, opt := range []*redis.Options{{Addr: s.Addr}, {Network: "unix", Addr: socket}, {Addr: s.Addr, Protocol: 2}} {
		client := redis.NewClient(opt)
		name := fmt.Sprintf("%s RESP%d", client.Options().Network, client.Options().Protocol)
		t.Run(name, func(t *testing.T) {
			defer client.Close()
			ctx := t.Context()
			if err := client.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			t.Run("basics", func(t *testing.T) { goRedisBasics(t, ctx, client) })
			t.Run("pipelines", func(t *testing.T) { goRedisPipelines(t, ctx, client) })
			t.Run("watch", func(t *testing.T) { goRedisWatch(t, ctx, client) })
			t.Run("scan", func(t *testing.T) { goRedisScan(t, ctx, client) })
			t.Run("errors", func(t *testing.T) { goRedisErrors(t, ctx, client) })
		})
	}
}

// want fails unless the value is the wanted one and there is no error.
func want[T comparable](t *testing.T, expected T) func(got T, err error) {
	return func(got T, err error) {
		t.Helper()
		if err != nil || got != expected {
			t.Errorf("got %v, %v; expected %v", got, err, expected)
		}
	}
}

func goRedisBasics(t *testing.T, ctx context.Context, c *redis.Client) {
	want(t, int64(1))(c.Incr(ctx, "n").Result())
	want(t, int64(11))(c.IncrBy(ctx, "n", 10).Result())
	want(t, int64(10))(c.Decr(ctx, "n").Result())
	want(t, 10.5)(c.IncrByFloat(ctx, "n", 0.5).Result())
	want(t, "10.5")(c.Get(ctx, "n").Result())
	want(t, "OK")(c.Set(ctx, "t", "v", time.Hour).Result())
	if d, err := c.TTL(ctx, "t").Result(); err != nil || d <= 59*time.Minute || d > time.Hour {
		t.Errorf("TTL: %v, %v", d, err)
	}
	want(t, false)(c.SetNX(ctx, "t", "w", 0).Result())
	want(t, true)(c.ExpireNX(ctx, "n", time.Minute).Result())
	want(t, true)(c.Persist(ctx, "n").Result())
	want(t, time.Duration(-1))(c.TTL(ctx, "n").Result())
	want(t, "v")(c.GetDel(ctx, "t").Result())
	want(t, "OK")(c.Set(ctx, "soon", "v", 30*time.Millisecond).Result())
	eventually(t, 10*time.Second, func() (string, bool) {
		n, err := c.Exists(ctx, "soon").Result()
		return fmt.Sprint(n, err), err == nil && n == 0
	})
	values, err := c.MGet(ctx, "n", "nope").Result()
	if err != nil || len(values) != 2 || values[0] != "10.5" || values[1] != nil {
		t.Errorf("MGET: %v, %v", values, err)
	}
	if info, err := c.Info(ctx, "server").Result(); err != nil || !strings.Contains(info, "redis_version:") {
		t.Errorf("INFO: %q, %v", info, err)
	}
	if cfg, err := c.ConfigGet(ctx, "maxmemory").Result(); err != nil || cfg["maxmemory"] != "0" {
		t.Errorf("CONFIG GET: %v, %v", cfg, err)
	}
	if now, err := c.Time(ctx).Result(); err != nil || time.Since(now).Abs() > time.Minute {
		t.Errorf("TIME: %v, %v", now, err)
	}
	if cmds, err := c.Command(ctx).Result(); err != nil || cmds["incr"] == nil || cmds["incr"].Arity != 2 {
		t.Errorf("COMMAND: %d entries, %v", len(cmds), err)
	}
}

func goRedisPipelines(t *testing.T, ctx context.Context, c *redis.Client) {
	const n = 10_000
	replies, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for range n {
			p.Incr(ctx, "pipelined")
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
	replies, err = c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Incr(ctx, "tx")
		p.Set(ctx, "position", "7", 0)
		p.Get(ctx, "tx")
		return nil
	})
	if err != nil || len(replies) != 3 || replies[2].(*redis.StringCmd).Val() != "1" {
		t.Errorf("%v, %v", replies, err)
	}
}

// goRedisWatch is the optimistic increment that every client's manual shows.
func goRedisWatch(t *testing.T, ctx context.Context, c *redis.Client) {
	const clients, each = 8, 25
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range each {
				if err := watchIncrement(ctx, c, "watched"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want(t, strconv.Itoa(clients*each))(c.Get(ctx, "watched").Result())
}

func watchIncrement(ctx context.Context, c *redis.Client, key string) error {
	for {
		err := c.Watch(ctx, func(tx *redis.Tx) error {
			n, err := tx.Get(ctx, key).Int()
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, key, n+1, 0)
				return nil
			})
			return err
		}, key)
		if !errors.Is(err, redis.TxFailedErr) {
			return err
		}
	}
}

// goRedisScan scans while other keys come and go: what is there from start to end must be found.
func goRedisScan(t *testing.T, ctx context.Context, c *redis.Client) {
	const n = 3000
	var stay []any
	for i := range n {
		stay = append(stay, "stay:"+strconv.Itoa(i), i)
	}
	want(t, "OK")(c.MSet(ctx, stay...).Result())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i = (i + 1) % 20 {
			select {
			case <-stop:
				return
			default:
			}
			_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for j := range 500 {
					key := fmt.Sprintf("go:%d:%d", i, j)
					p.Set(ctx, key, 1, 0)
					p.Del(ctx, fmt.Sprintf("go:%d:%d", (i+10)%20, j))
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		found := map[string]bool{}
		it := c.Scan(ctx, 0, "stay:*", 100).Iterator()
		for it.Next(ctx) {
			found[it.Val()] = true
		}
		if it.Err() != nil || len(found) != n {
			t.Errorf("%d of %d keys found, %v", len(found), n, it.Err())
		}
	}
	close(stop)
	wg.Wait()
}

func goRedisErrors(t *testing.T, ctx context.Context, c *redis.Client) {
	if err := c.Get(ctx, "nope").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("GET of a missing key: %v", err)
	}
	c.Set(ctx, "s", "abc", 0)
	if err := c.Incr(ctx, "s").Err(); err == nil || err.Error() != "ERR value is not an integer or out of range" {
		t.Errorf("INCR of text: %v", err)
	}
	if err := c.Do(ctx, "NOSUCH").Err(); err == nil || !strings.HasPrefix(err.Error(), "ERR unknown command") {
		t.Errorf("unknown command: %v", err)
	}
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Incr(ctx, "fine")
		p.Do(ctx, "NOSUCH")
		return nil
	})
	if err == nil || c.Exists(ctx, "fine").Val() != 0 {
		t.Errorf("transaction with an unknown command: %v", err)
	}
}

// startForCLI starts a node for a test with redis-cli.
func startForCLI(t *testing.T) (s *redistest.Server, cli string) {
	t.Helper()
	cli = redistest.Tool(t, "redis-cli")
	return redistest.Quipu{}.Start(t), cli
}

// run runs a program to its end and returns its output; more than a minute, or a failure, ends the test.
func run(t *testing.T, stdin []byte, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %.2000s", filepath.Base(path), args, err, out)
	}
	return string(out)
}

// TestRedisCLI uses redis-cli without a terminal.
func TestRedisCLI(t *testing.T) {
	s, cli := startForCLI(t)
	p := port(s)
	for _, c := range []struct{ args, out string }{
		{"INCR a", "1\n"},
		{"--no-raw INCR a", "(integer) 2\n"},
		{"-3 INCR a", "3\n"},
		{"-3 --no-raw GET nope", "(nil)\n"},
		{"-3 --no-raw CONFIG GET maxmemory", "1# \"maxmemory\" => \"0\"\n"},
		{"-n 5 SET five 5", "OK\n"},
		{"-n 5 DBSIZE", "1\n"},
		{"-r 3 INCR a", "4\n5\n6\n"},
		{"--csv MGET a nope", "\"6\",NULL\n"},
		{"NOSUCH", "ERR unknown command 'NOSUCH', with args beginning with: \n\n"},
	} {
		if got := run(t, nil, cli, append([]string{"-p", p}, strings.Fields(c.args)...)...); got != c.out {
			t.Errorf("redis-cli %s: %q, expected %q", c.args, got, c.out)
		}
	}
	script := "MULTI\nINCR b\nINCR b\nEXEC\nSET \"a b\" \"x y\"\nGET \"a b\"\n"
	if got := run(t, []byte(script), cli, "-p", p); got != "OK\nQUEUED\nQUEUED\n1\n2\nOK\nx y\n" {
		t.Errorf("commands on standard input: %q", got)
	}
	run(t, nil, cli, "-p", p, "FLUSHALL")
	var mset []string
	for i := range 2500 {
		mset = append(mset, fmt.Sprintf("k:%d", i), "1")
	}
	run(t, nil, cli, append([]string{"-p", p, "MSET"}, mset...)...)
	if keys := strings.Fields(run(t, nil, cli, "-p", p, "--scan")); len(unique(keys)) != 2500 {
		t.Errorf("--scan found %d keys", len(unique(keys)))
	}
	keys := unique(strings.Fields(run(t, nil, cli, "-p", p, "--scan", "--pattern", "k:?")))
	if len(keys) != 10 || keys[0] != "k:0" || keys[9] != "k:9" {
		t.Errorf("--scan --pattern found %v", keys)
	}
	for _, mode := range []string{"--bigkeys", "--memkeys"} {
		if got := run(t, nil, cli, "-p", p, mode); !strings.Contains(got, "Sampled 2500 keys in the keyspace!") {
			t.Errorf("%s: %s", mode, got)
		}
	}
}

func unique(keys []string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}

// TestRedisCLIPipe loads millions of commands through redis-cli --pipe.
func TestRedisCLIPipe(t *testing.T) {
	n := 5_000_000
	if testing.Short() {
		n = 100_000
	}
	s, cli := startForCLI(t)
	const keys = 1000
	var one []byte
	for i := range keys {
		one = redistest.AppendCommand(one, "INCR", "key:"+strconv.Itoa(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cli, "-p", port(s), "--pipe")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w := bufio.NewWriterSize(stdin, 1<<20)
		for range n / keys {
			if _, err := w.Write(one); err != nil {
				break
			}
		}
		_ = w.Flush()
		stdin.Close()
	}()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("redis-cli --pipe: %v: %s", err, out.String())
	}
	t.Logf("%d commands in %v", n, time.Since(began).Round(time.Millisecond))
	if want := fmt.Sprintf("errors: 0, replies: %d\n", n); !strings.Contains(out.String(), want) {
		t.Errorf("output %q, expected %q", out.String(), want)
	}
	values, err := readDatabase(s.Dial(t))
	if err != nil || len(values) != keys {
		t.Fatalf("%d keys, %v", len(values), err)
	}
	for key, v := range values {
		if v != strconv.Itoa(n/keys) {
			t.Fatalf("%s is %s, expected %d", key, v, n/keys)
		}
	}
}

var benchmarkLine = regexp.MustCompile(`(?m)^([A-Z]+)[^:\r\n]*: ([\d.]+) requests per second`)

// TestRedisBenchmark runs redis-benchmark as its users do.
func TestRedisBenchmark(t *testing.T) {
	benchmark := redistest.Tool(t, "redis-benchmark")
	s := redistest.Quipu{}.Start(t)
	c := s.Dial(t)
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	for _, extra := range []string{"", "--threads 2", "-3", "-P 16", "-P 16 --threads 2 -3 -r 100000"} {
		do(t, c, "FLUSHALL")
		args := []string{"-p", port(s), "-t", "set,get,incr,mset", "-n", strconv.Itoa(n), "-q"}
		out := run(t, nil, benchmark, append(args, strings.Fields(extra)...)...)
		out = strings.ReplaceAll(out, "\r", "\n")
		for _, bad := range []string{"WARNING", "Error", "error", "ERR"} {
			if strings.Contains(out, bad) {
				t.Errorf("redis-benchmark %s: %s", extra, out)
				break
			}
		}
		var tests []string
		for _, m := range benchmarkLine.FindAllStringSubmatch(out, -1) {
			tests = append(tests, m[1])
			t.Logf("%-32s %-5s %s/s", extra, m[1], m[2])
		}
		if got := strings.Join(tests, " "); got != "SET GET INCR MSET" {
			t.Errorf("redis-benchmark %s: results for %q in %s", extra, got, out)
		}
		if !strings.Contains(extra, "-r") {
			if v, _ := do(t, c, "GET", "counter:__rand_int__").Int(); v < int64(n) {
				t.Errorf("redis-benchmark %s: the counter is %d after %d increments", extra, v, n)
			}
		}
	}
}
