package systest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// newRand returns a random source and prints its seed.
func newRand(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("QUIPU_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("QUIPU_TEST_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("QUIPU_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// do runs one command that must not fail.
func do(t testing.TB, c *redistest.Conn, args ...string) redistest.Reply {
	t.Helper()
	r, err := c.Do(args...)
	if err != nil {
		t.Fatalf("%.200q: %v", args, err)
	}
	if r.IsError() {
		t.Fatalf("%.200q: %s", args, r.Text)
	}
	return r
}

// databases is how many databases a node has by default.
const databases = 16

// record is what a key holds.
type record struct {
	value    string
	deadline int64 // ms since 1970; 0: none
}

// dump is everything a server holds: the records of each database.
type dump [databases]map[string]record

// readDump reads all databases. The server must be idle.
func readDump(c *redistest.Conn) (dump, error) {
	var d dump
	for db := range d {
		if _, err := c.Do("SELECT", strconv.Itoa(db)); err != nil {
			return d, err
		}
		values, err := readDatabase(c)
		if err != nil {
			return d, fmt.Errorf("database %d: %w", db, err)
		}
		d[db] = map[string]record{}
		var keys []string
		for key, value := range values {
			d[db][key] = record{value: value}
			keys = append(keys, key)
		}
		deadlines, err := readDeadlines(c, keys)
		if err != nil {
			return d, err
		}
		for i, at := range deadlines {
			d[db][keys[i]] = record{values[keys[i]], at}
		}
	}
	_, err := c.Do("SELECT", "0")
	return d, err
}

// readDeadlines is PEXPIRETIME for many keys; 0 stands for none and -2 for a key that is gone.
func readDeadlines(c *redistest.Conn, keys []string) ([]int64, error) {
	deadlines := make([]int64, 0, len(keys))
	for len(keys) > 0 {
		part := keys[:min(len(keys), 1000)]
		keys = keys[len(part):]
		commands := make([][]string, len(part))
		for i, key := range part {
			commands[i] = []string{"PEXPIRETIME", key}
		}
		replies, err := c.Pipeline(commands...)
		if err != nil {
			return nil, err
		}
		for _, r := range replies {
			at, err := r.Int()
			if err != nil {
				return nil, err
			}
			if at == -1 {
				at = 0
			}
			deadlines = append(deadlines, at)
		}
	}
	return deadlines, nil
}

// readDatabase reads all keys and values of the connection's database: by SCAN, then MGET. DBSIZE must agree unless a key
// expires meanwhile.
func readDatabase(c *redistest.Conn) (map[string]string, error) {
	values := map[string]string{}
	cursor := "0"
	for {
		r, err := c.Do("SCAN", cursor, "COUNT", "1000")
		if err != nil {
			return nil, err
		}
		if r.IsError() || len(r.Elems) != 2 {
			return nil, fmt.Errorf("SCAN %s: %v", cursor, r)
		}
		if keys := r.Elems[1].Elems; len(keys) > 0 {
			if err := readValues(c, keys, values); err != nil {
				return nil, err
			}
		}
		if cursor = r.Elems[0].Text; cursor == "0" {
			return values, nil
		}
	}
}

func readValues(c *redistest.Conn, keys []redistest.Reply, values map[string]string) error {
	args := []string{"MGET"}
	for _, k := range keys {
		args = append(args, k.Text)
	}
	r, err := c.Do(args...)
	if err != nil {
		return err
	}
	if len(r.Elems) != len(keys) {
		return fmt.Errorf("MGET of %d keys: %v", len(keys), r)
	}
	for i, v := range r.Elems {
		if !v.IsNull() {
			values[keys[i].Text] = v.Text
		}
	}
	return nil
}

// diff describes the first differences between two dumps; "" when there are none.
func (d dump) diff(other dump) string {
	var b strings.Builder
	n := 0
	report := func(format string, args ...any) {
		if n++; n <= 5 {
			fmt.Fprintf(&b, format+"\n", args...)
		}
	}
	for db := range d {
		for key, want := range d[db] {
			if got, ok := other[db][key]; !ok {
				report("db%d %.80q: lost (was %.80q)", db, key, want.value)
			} else if got != want {
				report("db%d %.80q: %.80v instead of %.80v", db, key, got, want)
			}
		}
		for key, got := range other[db] {
			if _, ok := d[db][key]; !ok {
				report("db%d %.80q: %.80v appeared", db, key, got)
			}
		}
	}
	if n > 5 {
		fmt.Fprintf(&b, "… %d differences in all\n", n)
	}
	return b.String()
}

// checkOutput fails the test when a node complained about itself.
func checkOutput(t testing.TB, s *redistest.Server) {
	t.Helper()
	out := s.Output()
	for _, bad := range []string{"panic:", "BUG", "DATA RACE", "fatal error:", "goroutine 1 ["} {
		if i := strings.Index(out, bad); i >= 0 {
			t.Fatalf("the node wrote %q: %s", bad, out[max(0, i-200):min(len(out), i+4000)])
		}
	}
}

// eventually polls until ok says yes; it is for what has no event to wait for, such as memory and file descriptors.
func eventually(t testing.TB, limit time.Duration, ok func() (string, bool)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		state, done := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not reached in %v: %s", limit, state)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
