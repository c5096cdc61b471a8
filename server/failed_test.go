package server

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// cmdStats are the counts of calls in INFO commandstats, by command, without times.
func cmdStats(t *testing.T, info redistest.Reply) map[string]string {
	t.Helper()
	stats := map[string]string{}
	for line := range strings.Lines(info.Text) {
		if name, rest, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			stats[name] = cmdTimes.ReplaceAllString(rest, "")
		}
	}
	if len(stats) == 0 {
		t.Fatalf("no commandstats: %q", info.Text)
	}
	return stats
}

var cmdTimes = regexp.MustCompile(`usec[a-z_]*=[\d.]+,`)

// failingCalls fail in each way a command can: refused, in the session, in the keyspace, from the log, and beside them the same commands that
// succeed. WATCH is not among them: commands of a transaction that it aborts are counted as called here.
var failingCalls = []string{
	"INCR n", "INCR text", "INCR", "INCRBY n 1", "INCRBY n x", "INCRBY text 1", "DECR text", "DECR n", "DECRBY text 1", "DECRBY n 3", "DECRBY n x",
	"INCR full", "INCRBY full 1", "INCRBY full -1", "INCRBYFLOAT text 1", "INCRBYFLOAT n x", "GET n", "GET", "MGET n text", "STRLEN text", "GETRANGE n 0 x", "GETRANGE n 0 1",
	"SET text abc", "SET text abc EX 0", "SET text abc XX NX", "SETEX text 0 abc", "SETEX text 10 abc", "APPEND text", "SETRANGE text -1 x", "SETNX n 5",
	"EXPIRE n x", "EXPIRE n 100", "PERSIST n", "RENAME nosuch b", "RENAME n n", "COPY n n", "MOVE n 99", "DEL nosuch", "MSET a", "MSET a 1 b",
	"OBJECT ENCODING n", "OBJECT NOSUCH n", "OBJECT ENCODING", "SCAN x", "SCAN 0 COUNT 0", "KEYS", "KEYS nosuch*", "SELECT x", "SELECT 99", "SELECT 0", "PING", "PING a b c", "ECHO",
	"CLIENT SETNAME a\tb", "CLIENT GETNAME", "CLIENT NOSUCH", "CLIENT KILL ID 0", "CLIENT LIST ID x", "CLIENT LIST TYPE normal", "CLIENT REPLY maybe", "CLIENT UNBLOCK x", "CONFIG SET nosuch 1", "CONFIG GET port",
	"CONFIG SET timeout x", "CONFIG SET", "COMMAND GETKEYS GET", "COMMAND GETKEYS GET a", "AUTH a b", "HELLO 9", "NOSUCH", "CLUSTER INFO", "ACL SETUSER bob nonsense", "ACL SETUSER bob on",
	"ACL GETUSER bob extra", "ACL WHOAMI", "PFADD h a", "PFCOUNT h", "PFADD text a", "PFCOUNT text", "PFMERGE h text", "SLOWLOG GET x", "LATENCY HISTOGRAM get", "WAIT x 0", "WAIT 0 0",
	"MULTI", "MULTI", "EXEC", "EXEC", "DISCARD", "UNWATCH", "TOUCH n", "TYPE n", "GETDEL nosuch", "GETEX n EX x", "TTL n", "EXPIREAT n x", "SETNX text 1", "BGSAVE nonsense", "EVALSHA x 0", "MEMORY USAGE n SAMPLES -1",
}

// TestFailedCallsAreThoseOfRedis plays random commands to both servers and compares how often each was called, refused, and failed, and which errors
// there were.
func TestFailedCallsAreThoseOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		if _, err := p.ours.Do("CONFIG", "SET", "auth-failures-per-second", "100000"); err != nil {
			t.Fatal(err)
		}
		for round := range redistest.Size(6, 12, 100) {
			ack := []string{"quorum", "local"}[round%2]
			if _, err := p.ours.Do("CONFIG", "SET", "ack", ack); err != nil {
				t.Fatal(err)
			}
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 1))
			for _, line := range []string{"FLUSHALL", "SET text abc", "SET full 9223372036854775807", "SET n 1", "CONFIG RESETSTAT"} {
				p.do(strings.Fields(line)...)
			}
			var calls []string
			for range 400 {
				calls = append(calls, failingCalls[r.IntN(len(failingCalls))])
			}
			calls = append(calls, "DISCARD", "UNWATCH")
			for _, line := range calls {
				p.do(strings.Split(line, " ")...)
			}
			ours, redis := p.do("INFO", "commandstats")
			compareStats(t, fmt.Sprintf("seed %d, ack %s", seed, ack), cmdStats(t, ours), cmdStats(t, redis))
			ours, redis = p.do("INFO", "errorstats")
			compareStats(t, fmt.Sprintf("seed %d, ack %s", seed, ack), cmdStats(t, ours), cmdStats(t, redis))
			if t.Failed() {
				t.Fatal(strings.Join(calls, "; "))
			}
		}
	})
}

func compareStats(t *testing.T, when string, ours, redis map[string]string) {
	t.Helper()
	for name, want := range redis {
		if ours[name] != want {
			t.Errorf("%s: %s is %q, in Redis %q", when, name, ours[name], want)
		}
	}
	for name, is := range ours {
		if redis[name] == "" {
			t.Errorf("%s: %s is %q, Redis does not have it", when, name, is)
		}
	}
}

// TestFailedCallsOfPipelines has failing increments of all kinds in one packet, as runs, in bursts, and without replies.
func TestFailedCallsOfPipelines(t *testing.T) {
	for _, local := range []bool{false, true} {
		bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
			n := startGroupNode(t, &testGroup{}, func(c *config.Config) {
				transport(c)
				c.AckLocal = local
			})
			c := n.dial()
			expect(t, c, "SET text abc", "+OK\r\n", "SET full 9223372036854775805", "+OK\r\n", "CONFIG RESETSTAT", "+OK\r\n")
			var packet []string
			add := func(count int, commands ...string) {
				for range count {
					packet = append(packet, commands...)
				}
			}
			add(20, "INCR text", "INCRBY text 1", "DECRBY text 1")
			add(5, "INCR full", "INCRBY full 1") // two of the ten are good
			add(3, "GET text", "INCR n", "INCRBY n x")
			packet = append(packet, "CLIENT REPLY OFF")
			add(30, "DECR text", "DECRBY text 1", "DECR n")
			packet = append(packet, "CLIENT REPLY ON", "ECHO end")
			send(t, c, packet...)
			for !strings.HasSuffix(readRaw(t, c), "end\r\n") {
			}
			info, err := c.Do("INFO", "commandstats")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for name, stat := range cmdStats(t, info) {
				if strings.Contains(name, "r") && !strings.Contains(name, "client") && !strings.Contains(name, "config") {
					got = append(got, name+" "+stat)
				}
			}
			slices.Sort(got)
			want := []string{
				"cmdstat_decr calls=60,rejected_calls=0,failed_calls=30", "cmdstat_decrby calls=50,rejected_calls=0,failed_calls=50",
				"cmdstat_incr calls=28,rejected_calls=0,failed_calls=24", "cmdstat_incrby calls=28,rejected_calls=0,failed_calls=27",
			}
			if !slices.Equal(got, want) {
				t.Errorf("local %v:\n got  %q\n want %q", local, got, want)
			}
		})
	}
}
