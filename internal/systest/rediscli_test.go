package systest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

func port(s *redistest.Server) string { return strconv.Itoa(s.Port) }

// eachServer runs a test of a client program against Quipu and, to prove what the test expects, against redis-server.
func eachServer(t *testing.T, flags []string, test func(t *testing.T, s *redistest.Server)) {
	t.Run("quipu", func(t *testing.T) { test(t, redistest.Quipu{Flags: flags}.Start(t)) })
	t.Run("redis", func(t *testing.T) { test(t, redistest.StartRedis(t, flags...)) })
}

// program is a program to be run to its end.
type program struct {
	path  string
	args  []string
	stdin []byte
	env   []string // added to the test's
}

// run returns what the program wrote and its exit status. A program that does not end in two minutes ends the test.
func (p program) run(t *testing.T) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Stdin = bytes.NewReader(p.stdin)
	cmd.Env = append(os.Environ(), p.env...)
	raw, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s %q does not end: %.2000s", filepath.Base(p.path), p.args, raw)
	case err != nil && !errors.As(err, &exit):
		t.Fatalf("%s %q: %v", filepath.Base(p.path), p.args, err)
	}
	return string(raw), cmd.ProcessState.ExitCode()
}

// run runs a program that must succeed and returns its output.
func run(t *testing.T, stdin []byte, path string, args ...string) string {
	t.Helper()
	out, status := program{path: path, args: args, stdin: stdin}.run(t)
	if status != 0 {
		t.Fatalf("%s %q: exit status %d: %.2000s", filepath.Base(path), args, status, out)
	}
	return out
}

// cliCase is one call of redis-cli: its arguments as words, its exit status and all it writes.
type cliCase struct {
	args   string
	status int
	out    string
}

func runCLI(t *testing.T, s *redistest.Server, cases []cliCase, stdin string) {
	t.Helper()
	cli := redistest.Tool(t, "redis-cli")
	for _, c := range cases {
		args := append([]string{"-p", port(s)}, strings.Fields(c.args)...)
		out, status := program{path: cli, args: args, stdin: []byte(stdin)}.run(t)
		if out != c.out || status != c.status {
			t.Errorf("redis-cli %s: status %d, output %q; expected %d, %q", c.args, status, out, c.status, c.out)
		}
	}
}

// TestRedisCLI calls redis-cli in its ways to read and to write.
func TestRedisCLI(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	const unknown = "ERR unknown command 'NOSUCH', with args beginning with: \n"
	eachServer(t, nil, func(t *testing.T, s *redistest.Server) {
		runCLI(t, s, []cliCase{
			{"INCR a", 0, "1\n"},
			{"--no-raw INCR a", 0, "(integer) 2\n"},
			{"-3 INCR a", 0, "3\n"},
			{"-3 --no-raw GET nope", 0, "(nil)\n"},
			{"-3 --no-raw CONFIG GET maxmemory", 0, "1# \"maxmemory\" => \"0\"\n"},
			{"-n 5 SET five 5", 0, "OK\n"},
			{"-n 5 DBSIZE", 0, "1\n"},
			{"-n 99 SET five 5", 0, "SELECT 99 failed: ERR DB index is out of range\nOK\n"},
			{"-r 3 INCR a", 0, "4\n5\n6\n"},
			{"-r 3 -i 0.01 INCR a", 0, "7\n8\n9\n"},
			{"-D | -r 2 INCR a", 0, "10|11|"},
			{"--raw MGET a nope", 0, "11\n\n"},
			{"--no-raw MGET a nope", 0, "1) \"11\"\n2) (nil)\n"},
			{"-d , MGET a nope five", 0, "11,,5\n"},
			{"--csv MGET a nope", 0, "\"11\",NULL\n"},
			{"--csv NOSUCH", 0, "ERROR,\"ERR unknown command 'NOSUCH', with args beginning with: \"\n"},
			{"--json MGET a nope", 0, "[\"11\",null]\n"},
			{"-2 --json MGET a nope", 0, "[\"11\",null]\n"},
			{"--json CONFIG GET maxmemory", 0, "{\"maxmemory\":\"0\"}\n"},
			{"--json NOSUCH", 0, "error:\"ERR unknown command 'NOSUCH', with args beginning with: \"\n"},
			{"--quoted-input SET \"k\\xff\\x00\" \"v\\xfe\"", 0, "OK\n"},
			{"--quoted-input --quoted-json GET \"k\\xff\\x00\"", 0, "\"v\\\\xfe\"\n"},
			{"--show-pushes yes -3 GET a", 0, "11\n"},
			{"--show-pushes no -3 GET a", 0, "11\n"},
			{"-c GET a", 0, "11\n"}, // the cluster mode, without a cluster
			{"-c SET a 1", 0, "OK\n"},
			{"--verbose GET a", 0, "1\n"},
			{"-u redis://127.0.0.1:" + port(s) + "/5 GET five", 0, "5\n"},
			{"NOSUCH", 0, unknown + "\n"},
			{"-e NOSUCH", 1, unknown},
			{"-e GET a", 0, "1\n"},
			{"-e INCRBY a x", 1, "ERR value is not an integer or out of range\n"},
			{"--hotkeys", 1, hotkeysRefused},
		}, "")
		runCLI(t, s, []cliCase{
			{"-x SET x", 0, "OK\n"},
			{"GET x", 0, "all of\nstandard input\n\n"},
			{"-X tag SET tag 1", 0, "OK\n"},
			{"-X tag GET tag", 0, "1\n"},
		}, "all of\nstandard input\n")
		script := "MULTI\nINCR b\nINCR b\nEXEC\nSET \"a b\" \"x y\"\nGET \"a b\"\n3 INCR b\nNOSUCH\n"
		want := "OK\nQUEUED\nQUEUED\n1\n2\nOK\nx y\n3\n4\n5\n" + unknown + "\n"
		if got := run(t, []byte(script), cli, "-p", port(s)); got != want {
			t.Errorf("commands on standard input: %q, expected %q", got, want)
		}
	})
}

const hotkeysRefused = "Error: ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that " +
	"when switching between policies at runtime LRU and LFU data will take some time to adjust.\n" +
	"\n# Scanning the entire keyspace to find hot keys as well as\n# average sizes per key type.  You can use -i 0.1 to sleep 0.1 sec\n" +
	"# per 100 SCAN commands (not usually needed).\n\n"

// TestRedisCLIRefused calls for what Quipu does not have: an error that says so, and an end.
func TestRedisCLIRefused(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	s := redistest.Quipu{}.Start(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "script.lua")
	if err := os.WriteFile(script, []byte("return 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	rdb := filepath.Join(dir, "dump.rdb")
	for _, c := range []struct {
		args   string
		status int
		error  string
	}{
		{"SYNC", 1, "SYNC with master failed: -ERR unknown command 'SYNC'"},
		{"PSYNC ? -1", 1, "SYNC with master failed: -ERR unknown command 'PSYNC'"},
		{"BLPOP a 0", 0, "ERR unknown command 'BLPOP'"},
		{"--eval " + script + " k , v", 0, "ERR unknown command 'EVAL', with args beginning with: 'return 1' '1' 'k' 'v'"},
		{"--ldb --eval " + script, 0, "ERR unknown command 'EVAL'"},
		{"--replica", 1, "SYNC with master failed: -ERR unknown command 'SYNC'"},
		{"--rdb " + rdb, 1, "SYNC with master failed: -ERR unknown command 'SYNC'"},
		{"--functions-rdb " + rdb, 1, "Failed requesting functions only RDB from server"},
		{"--cluster check 127.0.0.1:" + port(s), 1, "is not configured as a cluster node"},
		{"--cluster create 127.0.0.1:" + port(s), 1, ""},
	} {
		out, status := program{path: cli, args: append([]string{"-p", port(s)}, strings.Fields(c.args)...)}.run(t)
		if status != c.status || !strings.Contains(out, c.error) {
			t.Errorf("redis-cli %s: status %d, output %q; expected %d, %q", c.args, status, out, c.status, c.error)
		}
	}
}

// TestRedisCLIAuth connects with passwords and over a unix socket.
func TestRedisCLIAuth(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	socket := filepath.Join(t.TempDir(), "s")
	const (
		warning  = "Warning: Using a password with '-a' or '-u' option on the command line interface may not be safe.\n"
		required = "NOAUTH Authentication required.\n\n"
		wrong    = "AUTH failed: WRONGPASS invalid username-password pair or user is disabled.\n"
	)
	for i, flags := range [][]string{{"--requirepass", "secret", "--unixsocket", socket}, {"--unixsocket", socket + "2"}} {
		eachServer(t, flags, func(t *testing.T, s *redistest.Server) {
			if i == 1 {
				runCLI(t, s, []cliCase{
					{"-a any PING", 0, warning + "AUTH failed: ERR AUTH <password> called without any password configured for the " +
						"default user. Are you sure your configuration is correct?\nPONG\n"},
					{"--user default --pass any PING", 0, warning + "PONG\n"},
					{"--no-auth-warning --user bob --pass any PING", 0, wrong + "PONG\n"},
				}, "")
				return
			}
			runCLI(t, s, []cliCase{
				{"PING", 0, required},
				{"-e PING", 1, strings.TrimSuffix(required, "\n")},
				{"--scan", 1, "SCAN error: NOAUTH Authentication required.\n"},
				{"-a secret PING", 0, warning + "PONG\n"},
				{"-a wrong PING", 0, warning + wrong + required},
				{"--no-auth-warning -3 -a secret INCR a", 0, "1\n"},
				{"--no-auth-warning --user default --pass secret INCR a", 0, "2\n"},
				{"--no-auth-warning --user bob --pass secret INCR a", 0, wrong + required},
				{"--no-auth-warning -u redis://default:secret@127.0.0.1:" + port(s) + "/3 DBSIZE", 0, "0\n"},
				{"-s " + socket + " PING", 0, required},
				{"--no-auth-warning -s " + socket + " -a secret INCR a", 0, "3\n"},
			}, "")
			p := program{path: cli, args: []string{"-p", port(s), "INCR", "a"}, env: []string{"REDISCLI_AUTH=secret"}}
			if out, _ := p.run(t); out != "4\n" {
				t.Errorf("the password in the environment: %q", out)
			}
		})
	}
}

func unique(keys []string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}

// TestRedisCLIScan uses the modes that go through all keys.
func TestRedisCLIScan(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	eachServer(t, nil, func(t *testing.T, s *redistest.Server) {
		var mset []string
		for i := range 2500 {
			mset = append(mset, fmt.Sprintf("k:%d", i), "1")
		}
		mset = append(mset, "x\xff", "long", "the biggest", strings.Repeat("x", 1000))
		run(t, nil, cli, append([]string{"-p", port(s), "MSET"}, mset...)...)
		for _, c := range []struct {
			args []string
			n    int
			last string
		}{
			{[]string{"--scan"}, 2502, "x\xff"},
			{[]string{"--scan", "-i", "0.0001"}, 2502, "x\xff"},
			{[]string{"-3", "--scan"}, 2502, "x\xff"},
			{[]string{"--scan", "--pattern", "k:?"}, 10, "k:9"},
			{[]string{"--scan", "--pattern", "nope*"}, 1, ""},
			{[]string{"--scan", "--quoted-pattern", `"\x6b:1?"`}, 10, "k:19"},
			{[]string{"--scan", "--quoted-pattern", `"x\xff"`}, 1, "x\xff"},
			{[]string{"--no-raw", "--scan", "--pattern", "x*"}, 1, `"x\xff"`},
		} {
			out := run(t, nil, cli, append([]string{"-p", port(s)}, c.args...)...)
			keys := unique(strings.Split(strings.TrimSuffix(out, "\n"), "\n"))
			if len(keys) != c.n || keys[c.n-1] != c.last {
				t.Errorf("redis-cli %q found %d keys, the last %q; expected %d, %q", c.args, len(keys), keys[len(keys)-1], c.n, c.last)
			}
		}
		testSamples(t, s, cli)
	})
}

// testSamples uses the modes that report the biggest keys.
func testSamples(t *testing.T, s *redistest.Server, cli string) {
	for _, c := range []struct {
		args    string
		keys    int
		biggest string
	}{
		{"--bigkeys", 2502, `Biggest string found '"the biggest"' has 1000 bytes`},
		{"-3 --bigkeys", 2502, `Biggest string found '"the biggest"' has 1000 bytes`},
		{"--bigkeys -i 0.001", 2502, `Biggest string found '"the biggest"' has 1000 bytes`},
		{"--bigkeys --pattern k:1?", 10, `' has 1 bytes`},
		{"--memkeys", 2502, `Biggest string found '"the biggest"' has 1`},
		{"--memkeys-samples 3", 2502, `Biggest string found '"the biggest"' has 1`},
	} {
		out := run(t, nil, cli, append([]string{"-p", port(s)}, strings.Fields(c.args)...)...)
		if !strings.Contains(out, fmt.Sprintf("Sampled %d keys in the keyspace!", c.keys)) || !strings.Contains(out, c.biggest) {
			t.Errorf("redis-cli %s: %s", c.args, out)
		}
	}
}

// TestRedisCLILatency uses the modes that measure, those that end by themselves.
func TestRedisCLILatency(t *testing.T) {
	t.Parallel() // it mostly waits
	cli := redistest.Tool(t, "redis-cli")
	s := redistest.Quipu{}.Start(t)
	for _, c := range []struct{ args, out string }{
		{"--latency -i 0.2", `^\d+ \d+ [\d.]+ \d+\n$`},
		{"--latency -i 0.2 --raw", `^\d+ \d+ [\d.]+ \d+\n$`},
		{"-3 --latency -i 0.2 --csv", `^\d+,\d+,[\d.]+,\d+\n$`},
		{"--intrinsic-latency 1", `(?s)^Max latency so far: .* total runs .*Worst run took `},
	} {
		out := run(t, nil, cli, append([]string{"-p", port(s)}, strings.Fields(c.args)...)...)
		if !regexp.MustCompile(c.out).MatchString(out) {
			t.Errorf("redis-cli %s: %q", c.args, out)
		}
	}
}
