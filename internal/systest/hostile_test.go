//go:build linux

package systest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// victim is a node under attack, with what it looked like before.
type victim struct {
	*redistest.Server
	password string
	fds      int
}

// prompt is how long the others may have to wait for an answer during and after an attack. It is generous: the machine
// that runs the tests may be busy.
const prompt = 10 * time.Second

func newVictim(t *testing.T, settings ...string) *victim {
	t.Helper()
	v := &victim{Server: redistest.Quipu{Flags: settings}.Start(t)}
	for i := 0; i+1 < len(settings); i += 2 {
		if settings[i] == "--requirepass" {
			v.password = settings[i+1]
		}
	}
	v.checkOthers(t)
	v.fds = v.countFDs(t)
	return v
}

func (v *victim) countFDs(t *testing.T) int {
	t.Helper()
	n, err := v.FDs()
	if err != nil {
		t.Fatalf("file descriptors: %v: %s", err, v.Output())
	}
	return n
}

// checkOthers checks that a client that behaves is answered promptly and rightly.
func (v *victim) checkOthers(t *testing.T) {
	t.Helper()
	if !v.Alive() {
		t.Fatalf("the node died with status %d: %s", v.Status(), v.Output())
	}
	c, err := redistest.Dial(v.Addr)
	if err != nil {
		t.Fatalf("another client cannot connect: %v", err)
	}
	defer c.Close()
	c.Timeout = prompt
	racing := os.Getenv("QUIPU_TEST_RACE") != "" // everything takes several times as long, and shows other faults than slowness
	if racing {
		c.Timeout = time.Minute
	}
	if v.password != "" {
		do(t, c, "AUTH", v.password)
	}
	if r := do(t, c, "PING"); r.Text != "PONG" {
		t.Fatalf("another client's PING: %v", r)
	}
	for tries := 0; racing && tries < 10; tries++ {
		if r, err := c.Do("INCR", "healthy"); err != nil || !strings.HasPrefix(r.Text, "TRYAGAIN ") {
			break
		}
	}
	before, err := do(t, c, "INCR", "healthy").Int()
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := do(t, c, "INCR", "healthy").Int(); after != before+1 {
		t.Fatalf("another client's INCR: %d after %d", after, before)
	}
}

// checkRecovered checks that after the attack the node serves the others and has given back its file descriptors.
func (v *victim) checkRecovered(t *testing.T) {
	t.Helper()
	v.checkOthers(t)
	eventually(t, 30*time.Second, func() (string, bool) {
		n := v.countFDs(t)
		return fmt.Sprintf("%d file descriptors, %d before", n, v.fds), n <= v.fds+6
	})
	checkOutput(t, v.Server)
}

// attack runs one attack and then checks the node.
func (v *victim) attack(t *testing.T, name string, fn func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Cleanup(func() {
			if !t.Failed() {
				v.checkRecovered(t)
			}
		})
		fn(t)
	})
}

// refused sends bytes and expects an error that holds the text, then the end of the connection.
func refused(t *testing.T, v *victim, raw string, text string) {
	t.Helper()
	c := v.Dial(t)
	c.Timeout = prompt
	if err := c.Send([]byte(raw)); err != nil && !redistest.IsClosed(err) {
		t.Fatal(err)
	}
	r, err := c.Read()
	if err != nil || !r.IsError() || !strings.Contains(r.Text, text) {
		t.Errorf("%.60q: %v, %v; expected an error with %q", raw, r, err, text)
		return
	}
	if err := c.ReadEOF(); err != nil {
		t.Errorf("%.60q: after the error: %v", raw, err)
	}
}

// answered sends a command and expects an error that holds the text and a connection that still works.
func answered(t *testing.T, c *redistest.Conn, text string, args ...string) {
	t.Helper()
	r, err := c.Do(args...)
	if err != nil || !r.IsError() || !strings.Contains(r.Text, text) {
		t.Errorf("%.60q: %v, %v; expected an error with %q", args, r, err, text)
	}
	if err == nil {
		do(t, c, "PING")
	}
}

// TestHostileRequests sends what no client should send.
func TestHostileRequests(t *testing.T) {
	v := newVictim(t)
	const multibulk, bulk = "Protocol error: invalid multibulk length", "Protocol error: invalid bulk length"
	v.attack(t, "lengths", func(t *testing.T) {
		for _, raw := range []string{"*2147483647\r\n", "*2147483648\r\n", "*9223372036854775807\r\n", "*65537\r\n", "*1048576\r\n"} {
			refused(t, v, raw, multibulk)
		}
		for _, raw := range []string{"*1\r\n$9223372036854775807\r\n", "*1\r\n$-9223372036854775808\r\n", "*2\r\n$3\r\nGET\r\n$1048577\r\n",
			"*1\r\n$2147483647\r\n", "*1\r\n$4294967300\r\nPING\r\n"} {
			refused(t, v, raw, bulk)
		}
	})
	v.attack(t, "inline longer than 64 KiB", func(t *testing.T) {
		refused(t, v, strings.Repeat("A", 66<<10), "too big inline request")
		refused(t, v, strings.Repeat("A", 70<<10)+"\r\n", "too big inline request")
	})
	v.attack(t, "65536 arguments", func(t *testing.T) {
		args := make([]string, 65536)
		args[0] = "DEL"
		for i := range args[1:] {
			args[i+1] = fmt.Sprint("no:", i)
		}
		if r := do(t, v.Dial(t), args...); r.Text != "0" {
			t.Errorf("DEL of 65535 keys: %v", r)
		}
		refused(t, v, string(redistest.AppendCommand(nil, append(args, "one more")...)), multibulk)
	})
	v.attack(t, "large key, value, command", func(t *testing.T) {
		c := v.Dial(t)
		answered(t, c, "", "SET", strings.Repeat("k", 4097), "v")
		answered(t, c, "", "INCR", strings.Repeat("k", 4097))
		do(t, c, "SET", strings.Repeat("k", 4096), strings.Repeat("v", 1<<20))
		refused(t, v, string(redistest.AppendCommand(nil, "SET", "k", strings.Repeat("v", 1<<20+1))), bulk)
		big := []string{"MSET"}
		for i := range 9 {
			big = append(big, fmt.Sprint("big:", i), strings.Repeat("v", 1<<20))
		}
		refusedOrAnswered(t, v, big)
		if r := do(t, c, "EXISTS", "big:0", "big:1", "big:8"); r.Text != "0" {
			t.Errorf("a refused MSET of 9 MiB left %v keys", r)
		}
		do(t, c, "SETRANGE", "long", "8388607", "x") // a value is at most 8 MiB
		answered(t, c, "exceeds maximum allowed size", "APPEND", "long", "x")
		answered(t, c, "exceeds maximum allowed size", "SETRANGE", "new", "8388608", "x")
		answered(t, c, "exceeds maximum allowed size", "SETRANGE", "new", "9223372036854775807", "x")
		do(t, c, "FLUSHALL")
	})
	v.attack(t, "transaction over 8 MiB", func(t *testing.T) { bigTransaction(t, v) })
	v.attack(t, "patterns", func(t *testing.T) { badPatterns(t, v) })
	v.attack(t, "garbage", func(t *testing.T) { garbage(t, v) })
}

// refusedOrAnswered sends a command that is too large as a whole: an error, with or without the end of the connection.
func refusedOrAnswered(t *testing.T, v *victim, args []string) {
	t.Helper()
	c := v.Dial(t)
	if err := c.SendCommand(args...); err != nil && !redistest.IsClosed(err) {
		t.Fatal(err)
	}
	if r, err := c.Read(); err != nil || !r.IsError() {
		t.Errorf("%.60q: %v, %v; expected an error", args, r, err)
	}
}

// bigTransaction queues more than a transaction may hold: it is refused whole.
func bigTransaction(t *testing.T, v *victim) {
	c := v.Dial(t)
	do(t, c, "MULTI")
	refusals := 0
	for i := range 12 {
		r, err := c.Do("SET", fmt.Sprint("tx:", i), strings.Repeat("v", 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if r.IsError() {
			refusals++
		}
	}
	r, err := c.Do("EXEC")
	if err != nil || !r.IsError() {
		t.Errorf("EXEC of 12 MiB (%d commands refused): %v, %v", refusals, r, err)
	}
	if r := do(t, c, "EXISTS", "tx:0", "tx:1", "tx:11"); r.Text != "0" {
		t.Errorf("a refused transaction left %v keys", r)
	}
	do(t, c, "MULTI")
	do(t, c, "SET", "tx", "1")
	if r := do(t, c, "EXEC"); len(r.Elems) != 1 {
		t.Errorf("the next transaction: %v", r)
	}
	do(t, c, "DEL", "tx")
}

// badPatterns sends patterns on which a backtracking matcher takes for ever.
func badPatterns(t *testing.T, v *victim) {
	c := v.Dial(t)
	c.Timeout = 2 * prompt
	do(t, c, "SET", strings.Repeat("a", 4096), "1")
	patterns := []string{
		strings.Repeat("a*", 500) + "b",
		strings.Repeat("*a", 500) + "b",
		strings.Repeat("*", 1000) + "b",
		strings.Repeat("?*", 500) + "b",
		strings.Repeat("[a-z]*", 160) + "b",
		strings.Repeat("*\\a", 300) + "b",
	}
	for _, p := range patterns {
		if r := do(t, c, "KEYS", p); len(r.Elems) != 0 {
			t.Errorf("KEYS %.20s… matched", p)
		}
		do(t, c, "SCAN", "0", "MATCH", p, "COUNT", "1000")
		v.checkOthers(t)
	}
	for _, p := range []string{"[", "[a", "[^", "[a-", "\\", "[\\", "a[", "[]", "[^]", "[z-a]", strings.Repeat("[", 1000), "\x00", "\xff*"} {
		do(t, c, "KEYS", p)
	}
	answered(t, c, "", "KEYS", strings.Repeat("a", 1025))
	answered(t, c, "", "SCAN", "0", "MATCH", strings.Repeat("*", 1025))
	do(t, c, "FLUSHALL")
}

// garbage sends random bytes, and random pieces of valid requests.
func garbage(t *testing.T, v *victim) {
	rng := newRand(t)
	pieces := []string{"*1\r\n", "*3\r\n", "$4\r\n", "$-1\r\n", "PING\r\n", "PING", "\r\n", "\r", "\n", "*", "$", ":1\r\n", "*0\r\n", "*-1\r\n",
		"INCR a\r\n", "SET a \"", "'", "\x00", "*1000\r\n", "$1000\r\n", "MULTI\r\n", "EXEC\r\n", "WATCH a\r\n", "HELLO 3\r\n", "RESET\r\n",
		"SUBSCRIBE a\r\n", "CLIENT REPLY OFF\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"}
	for range 300 {
		var b []byte
		for range 1 + rng.IntN(40) {
			if rng.IntN(3) == 0 {
				for range rng.IntN(50) {
					b = append(b, byte(rng.Uint32()))
				}
			} else {
				b = append(b, pieces[rng.IntN(len(pieces))]...)
			}
		}
		c, err := redistest.Dial(v.Addr)
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			n := 1 + rng.IntN(len(b))
			if c.Send(b[:n]) != nil {
				break
			}
			b = b[n:]
		}
		if rng.IntN(2) == 0 {
			c.Timeout = time.Millisecond
			_, _ = c.ReadRaw()
		}
		c.Close()
	}
	// Some of it may have been a valid command; the data is of no interest any more.
	do(t, v.Dial(t), "FLUSHALL")
}

// TestHalfACommand leaves a command unfinished: that connection is closed, one that is merely idle is not.
func TestHalfACommand(t *testing.T) {
	t.Parallel()
	v := newVictim(t, "--command-timeout", "1s")
	idle := v.Dial(t)
	do(t, idle, "PING")
	v.attack(t, "half a command", func(t *testing.T) {
		var conns []*redistest.Conn
		for _, half := range []string{"*2\r\n$3\r\nGE", "*2\r\n", "PIN", "*", "*1\r\n$100\r\nabc", "PING\r\n*1\r\n$"} {
			c := v.Dial(t)
			if err := c.Send([]byte(half)); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		for i, c := range conns {
			for {
				r, err := c.Read()
				if redistest.IsClosed(err) {
					break
				}
				if err != nil {
					t.Fatalf("connection %d was not closed: %v", i, err)
				}
				t.Logf("connection %d: %v", i, r)
			}
		}
		do(t, idle, "PING")
		idle.Close()
	})
}

// TestBeforeAuthentication is what a client without the password may do: little.
func TestBeforeAuthentication(t *testing.T) {
	t.Parallel()
	v := newVictim(t, "--requirepass", "s3cret", "--auth-timeout", "2s")
	v.attack(t, "lengths", func(t *testing.T) {
		refused(t, v, "*11\r\n", "unauthenticated multibulk length")
		refused(t, v, "*2147483647\r\n", "multibulk length")
		refused(t, v, "*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length")
		refused(t, v, "*1\r\n$9223372036854775807\r\n", "bulk length")
		c := v.Dial(t)
		answered2 := func(args ...string) {
			if r, err := c.Do(args...); err != nil || !r.IsError() {
				t.Errorf("%.40q: %v, %v", args, r, err)
			}
		}
		answered2("SET", "a", "b", "c", "d", "e", "f", "g", "h", "i")
		answered2("AUTH", strings.Repeat("x", 16384))
	})
	v.attack(t, "output that is not read", func(t *testing.T) {
		before, err := v.RSS()
		if err != nil {
			t.Fatal(err)
		}
		var conns []*redistest.Conn
		for range 20 {
			c := v.Dial(t)
			c.Timeout = 2 * time.Second
			conns = append(conns, c)
			raw := []byte(strings.Repeat("PING\r\n", 100_000))
			// Either the server closes, or it stops reading and the send does not end.
			if err := c.Send(raw); err != nil && !redistest.IsClosed(err) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			v.checkOthers(t)
		}
		if after, err := v.RSS(); err != nil || after > before+100<<20 {
			t.Errorf("memory grew from %d to %d bytes (%v)", before, after, err)
		}
		for _, c := range conns {
			c.Close()
		}
	})
	v.attack(t, "no authentication at all", func(t *testing.T) {
		c := v.Dial(t)
		_, _ = c.Do("PING")
		if r, err := c.Read(); err != nil || !r.IsError() {
			t.Errorf("no last words: %v, %v", r, err)
		}
		if err := c.ReadEOF(); err != nil {
			t.Errorf("not closed: %v", err)
		}
	})
	v.attack(t, "guessing", func(t *testing.T) { guessing(t, v) })
}

// guessing tries passwords; whoever knows the right one gets in again soon.
func guessing(t *testing.T, v *victim) {
	errs := 0
	for i := range 50 {
		c, err := redistest.Dial(v.Addr)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Do("AUTH", fmt.Sprint("guess", i))
		if err == nil && !r.IsError() {
			t.Errorf("guess %d was accepted: %v", i, r)
		}
		if err != nil {
			errs++
		}
		c.Close()
	}
	t.Logf("%d of 50 guesses were not answered", errs)
	eventually(t, 20*time.Second, func() (string, bool) {
		c, err := redistest.Dial(v.Addr)
		if err != nil {
			return err.Error(), false
		}
		defer c.Close()
		r, err := c.Do("AUTH", v.password)
		return fmt.Sprint(r, err), err == nil && r.Text == "OK"
	})
}

// TestOutOfMemory fills the node up to maxmemory: writes that need memory are refused, everything else goes on.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	v := newVictim(t, "--maxmemory", "20mb")
	c := v.Dial(t)
	value := strings.Repeat("v", 100<<10)
	v.attack(t, "fill", func(t *testing.T) {
		stored := 0
		for ; stored < 1000; stored++ {
			r, err := c.Do("SET", fmt.Sprint("big:", stored), value)
			if err != nil {
				t.Fatal(err)
			}
			if r.IsError() {
				if r.Text != "OOM command not allowed when used memory > 'maxmemory'." {
					t.Errorf("the refusal: %s", r.Text)
				}
				break
			}
		}
		if stored < 20 || stored == 1000 {
			t.Errorf("%d values of 100 KiB fit into 20 MiB", stored)
		}
		for _, args := range [][]string{{"INCR", "n"}, {"MSET", "a", "1"}, {"APPEND", "big:0", "x"}, {"SETRANGE", "a", "0", "x"}} {
			if r, err := c.Do(args...); err != nil || !strings.HasPrefix(r.Text, "OOM ") {
				t.Errorf("%q: %v, %v", args, r, err)
			}
		}
		do(t, c, "MULTI")
		if r, _ := c.Do("INCR", "n"); !strings.HasPrefix(r.Text, "OOM ") {
			t.Errorf("INCR in MULTI: %v", r)
		}
		if r, _ := c.Do("EXEC"); !strings.HasPrefix(r.Text, "EXECABORT ") {
			t.Errorf("EXEC: %v", r)
		}
		if r := do(t, c, "GET", "big:0"); r.Text != value {
			t.Errorf("GET: %v", r)
		}
		do(t, c, "EXPIRE", "big:0", "1000")
		for i := range stored {
			do(t, c, "DEL", fmt.Sprint("big:", i))
		}
		eventually(t, prompt, func() (string, bool) {
			r, err := c.Do("SET", "again", "1")
			return fmt.Sprint(r, err), err == nil && r.Text == "OK"
		})
		c.Close()
	})
}
