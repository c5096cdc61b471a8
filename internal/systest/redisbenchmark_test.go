package systest

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// benchmarkLine is a result of redis-benchmark -q; the name may be followed by a remark in parentheses.
var benchmarkLine = regexp.MustCompile(`(?m)^(\w+)[^:\r\n]*: ([\d.]+|inf) requests per second`)

// benchmarkTests are those of redis-benchmark's tests whose commands Quipu has, in its order.
const benchmarkTests = "PING_INLINE PING_MBULK SET GET INCR MSET"

// benchmark runs redis-benchmark and returns the names of the tests that ended with a result, and all it wrote.
func benchmark(t *testing.T, s *redistest.Server, stdin string, args ...string) (tests, out string, status int) {
	t.Helper()
	path := redistest.Tool(t, "redis-benchmark")
	p := program{path: path, args: append([]string{"-p", port(s)}, args...), stdin: []byte(stdin)}
	out, status = p.run(t)
	out = strings.ReplaceAll(out, "\r", "\n")
	var names []string
	for _, m := range benchmarkLine.FindAllStringSubmatch(out, -1) {
		if !slices.Contains(names, m[1]) { // with --threads, two threads that end the program may both write what is buffered
			names = append(names, m[1])
		}
		t.Logf("%-40s %-12s %s/s", strings.Join(args, " "), m[1], m[2])
	}
	return strings.Join(names, " "), out, status
}

// TestRedisBenchmark runs every test of redis-benchmark that Quipu has the commands for, in the ways there are.
func TestRedisBenchmark(t *testing.T) {
	s := redistest.Quipu{}.Start(t)
	c := s.Dial(t)
	for _, b := range []struct {
		flags    string
		requests int // in the long form many times as many
	}{
		{"", 1500},
		{"-3", 1500},
		{"--threads 2", 1500},
		{"-P 16", 1500},
		{"-P 16 --threads 2 -3 -r 100000", 1500},
		{"-c 1 -r 10", 500},
		{"-c 500", 1500},
		{"-k 0", 500}, // a connection for each request
		{"-d 10000 -r 10", 500},
		{"--dbnum 3", 500},
		{"-e", 500}, // an old option that does nothing
	} {
		n := b.requests * redistest.Size(1, 1, 20)
		if redistest.Long() && strings.Contains(b.flags, "-k 0") { // closed connections hold on to their ports
			n = 1000
		}
		do(t, c, "FLUSHALL")
		args := append([]string{"-t", "ping,set,get,incr,mset", "-n", strconv.Itoa(n), "-q"}, strings.Fields(b.flags)...)
		tests, out, status := benchmark(t, s, "", args...)
		if tests != benchmarkTests || status != 0 || strings.Contains(out, "Error") || strings.Contains(out, "ERR") {
			t.Errorf("redis-benchmark %s: status %d, results for %q in %s", b.flags, status, tests, out)
		}
		db := "0"
		if strings.Contains(b.flags, "--dbnum") {
			db = "3"
		}
		do(t, c, "SELECT", db)
		if !strings.Contains(b.flags, "-r") {
			if v, _ := do(t, c, "GET", "counter:__rand_int__").Int(); v < int64(n) {
				t.Errorf("redis-benchmark %s: the counter is %d after %d increments", b.flags, v, n)
			}
		}
		do(t, c, "SELECT", "0")
	}
	if leftBehind := do(t, c, "INFO", "clients").Text; !strings.Contains(leftBehind, "blocked_clients:0") {
		t.Error(leftBehind)
	}
}

// TestRedisBenchmarkCommands runs commands of the user's instead of tests.
func TestRedisBenchmarkCommands(t *testing.T) {
	eachServer(t, nil, func(t *testing.T, s *redistest.Server) {
		c := s.Dial(t)
		for _, b := range []struct {
			args, stdin string
			want        int // status
			error       string
		}{
			{"-n 1000 -r 10 -q INCR n:__rand_int__", "", 0, ""},
			{"-n 1000 -r 10 -P 10 -q SET s:__rand_int__ __rand_int__ EX 100", "", 0, ""},
			{"-n 10 -q -x SET x", "standard input", 0, ""},
			{"-n 10 -q INCR x", "", 1, "Error from server: ERR value is not an integer or out of range"},
			{"-n 10 -q NOSUCH x", "", 1, "Error from server: ERR unknown command 'NOSUCH', with args beginning with: 'x' "},
			{"-n 10 -q -a secret -t set", "", 1, "ERR AUTH <password> called without any password configured for the default user"},
			{"-n 10 -q --cluster -t set", "", 1, "Failed to fetch cluster configuration"},
		} {
			_, out, status := benchmark(t, s, b.stdin, strings.Fields(b.args)...)
			if status != b.want || !strings.Contains(out, b.error) {
				t.Errorf("redis-benchmark %s: status %d, %s; expected %d, %q", b.args, status, out, b.want, b.error)
			}
		}
		if x := do(t, c, "GET", "x").Text; x != "standard input" {
			t.Errorf("-x stored %q", x)
		}
		sum := int64(0)
		for i := range 10 {
			n, _ := do(t, c, "GET", "n:00000000000"+strconv.Itoa(i)).Int()
			sum += n
		}
		if sum != 1000 {
			t.Errorf("%d increments were counted of 1000", sum)
		}
		lines := strings.Split(benchmarkCSV(t, s), "\n")
		if len(lines) != 7 || !strings.HasPrefix(lines[0], `"test","rps"`) {
			t.Errorf("--csv: %q", lines)
		}
	})
}

// benchmarkCSV returns the lines that redis-benchmark --csv ends with.
func benchmarkCSV(t *testing.T, s *redistest.Server) string {
	_, out, status := benchmark(t, s, "", "-t", "ping,set,get,incr,mset", "-n", "100", "--csv")
	if status != 0 {
		t.Errorf("--csv: status %d", status)
	}
	lines := slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool { return !strings.HasPrefix(line, `"`) })
	return strings.Join(lines, "\n")
}

// TestRedisBenchmarkDefault runs redis-benchmark without choosing tests. It ends itself at the first error it is sent: the
// tests before LPUSH have their results, LPUSH its error. The other tests can only be chosen, and each ends the same way.
func TestRedisBenchmarkDefault(t *testing.T) {
	s := redistest.Quipu{}.Start(t)
	c := s.Dial(t)
	for _, flags := range []string{"", "-P 10", "--threads 2", "-3", "-c 500"} {
		tests, out, status := benchmark(t, s, "", append(strings.Fields(flags), "-n", "1000", "-q")...)
		// With --threads, the thread that ends redis-benchmark may do so while another one prints the result of the test
		// before LPUSH: its line is then there twice.
		ended := strings.Join(slices.Compact(strings.Fields(tests)), " ")
		const want = "Error from server: ERR unknown command 'LPUSH', with args beginning with: 'mylist' 'VXK' "
		if ended != "PING_INLINE PING_MBULK SET GET INCR" || status != 1 || !strings.Contains(out, want) {
			t.Errorf("redis-benchmark %s: status %d, results for %q in %s", flags, status, tests, out)
		}
	}
	for test, command := range map[string]string{
		"lpush": "LPUSH", "rpush": "RPUSH", "lpop": "LPOP", "rpop": "RPOP", "sadd": "SADD", "hset": "HSET", "spop": "SPOP", "zadd": "ZADD",
		"zpopmin": "ZPOPMIN", "lrange": "LPUSH", "lrange_600": "LPUSH",
	} {
		_, out, status := benchmark(t, s, "", "-t", test, "-n", "100", "-q")
		if want := "Error from server: ERR unknown command '" + command + "'"; status != 1 || !strings.Contains(out, want) {
			t.Errorf("redis-benchmark -t %s: status %d, %s", test, status, out)
		}
	}
	_, out, status := benchmark(t, s, "", "-t", "get", "-n", "100", "-q", "--enable-tracking")
	if status != 0 || !strings.Contains(out, "GET: ") {
		t.Errorf("--enable-tracking: status %d, %s", status, out)
	}
	do(t, c, "PING")
}
