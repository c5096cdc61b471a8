package clients

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestRedisCLI drives redis-cli, and so the C library hiredis that it is built on,
// by its standard input, as scripts do.
func TestRedisCLI(t *testing.T) {
	path := redistest.Tool(t, "redis-cli")
	eachTarget(t, func(t *testing.T, to *target) {
		c := redisCLI{path: path, to: to}
		c.session = c.open(t)
		runGo(t, map[string]func(t *testing.T){
			"connect": c.connect, "protocol": c.protocol, "count": c.count, "pipeline": c.pipeline,
			"transaction": c.transaction, "transaction-error": c.transactionError, "transaction-refused": c.transactionRefused,
			"watch-conflict": c.watchConflict, "watch-increment": c.watchIncrement, "scan": c.scan, "expiry": c.expiry,
			"errors": c.errors, "errors-auth": c.errorsAuth, "errors-memory": c.errorsMemory,
			"big-value": c.bigValue, "binary": c.binary, "pub-sub": c.pubSub, "unix-socket": c.unixSocket, "reconnect": c.reconnect,
		})
	})
}

type redisCLI struct {
	path    string
	to      *target
	session *cliSession
}

// cliSession is a redis-cli that gets line after line on its standard input.
type cliSession struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// open starts a session that lasts as long as the test at most.
func (c redisCLI) open(t *testing.T, flags ...string) *cliSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programLimit)
	cmd := exec.CommandContext(ctx, c.path, append([]string{"--no-raw", "-p", strconv.Itoa(c.to.open.Port)}, flags...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	return &cliSession{in: in, out: bufio.NewReader(out)}
}

// elapsed is the line that follows the answer to a command that took half a second or more.
var elapsed = regexp.MustCompile(`^\(\d+\.\d\ds\)$`)

// read returns the next line of an answer.
func (s *cliSession) read() (string, error) {
	for {
		line, err := s.out.ReadString('\n')
		if line = strings.TrimSuffix(line, "\n"); err != nil || !elapsed.MatchString(line) {
			return line, err
		}
	}
}

// send sends a line and returns the one that answers it.
func (s *cliSession) send(line string) (string, error) {
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		return "", err
	}
	return s.read()
}

// talk sends lines, each with the wanted answer behind it.
func (s *cliSession) talk(t *testing.T, linesAndAnswers ...string) {
	t.Helper()
	for i := 0; i < len(linesAndAnswers); i += 2 {
		line, wanted := linesAndAnswers[i], linesAndAnswers[i+1]
		if got, err := s.send(line); err != nil || got != wanted {
			t.Fatalf("%s: got %q, %v; expected %q", line, got, err, wanted)
		}
	}
}

// more reads further lines of an answer.
func (s *cliSession) more(t *testing.T, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if got, err := s.read(); err != nil || got != w {
			t.Fatalf("got %q, %v; expected %q", got, err, w)
		}
	}
}

// run runs redis-cli with arguments to its end.
func (c redisCLI) run(stdin []byte, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), programLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, args...)
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

func (c redisCLI) port() string { return strconv.Itoa(c.to.open.Port) }

func (c redisCLI) connect(t *testing.T) { c.session.talk(t, "PING", "PONG") }

func (c redisCLI) protocol(t *testing.T) {
	info, err := c.session.send("CLIENT INFO")
	if err != nil || !strings.Contains(info, " resp=2") {
		t.Errorf("got %q, %v; expected resp=2", info, err)
	}
	info, err = c.open(t, "-3").send("CLIENT INFO")
	if err != nil || !strings.Contains(info, " resp=3") {
		t.Errorf("got %q, %v; expected resp=3", info, err)
	}
}

func (c redisCLI) count(t *testing.T) {
	c.session.talk(t,
		"INCR count", "(integer) 1",
		"INCRBY count 10", "(integer) 11",
		"DECR count", "(integer) 10",
		"DECRBY count 20", "(integer) -10",
		"GET count", `"-10"`,
		"INCRBYFLOAT count:float 0.1", `"0.1"`,
		"INCRBYFLOAT count:float 0.2", `"0.3"`,
		"MGET count count:none", `1) "-10"`)
	c.session.more(t, "2) (nil)")
}

func (c redisCLI) pipeline(t *testing.T) {
	commands := bytes.Repeat(redistest.AppendCommand(nil, "INCR", "pipeline"), 10_000)
	out, stderr, err := c.run(commands, "-p", c.port(), "--pipe")
	if err != nil || !strings.Contains(out, "errors: 0, replies: 10000\n") {
		t.Errorf("%v: %s%s", err, out, stderr)
	}
	c.session.talk(t, "GET pipeline", `"10000"`)
}

func (c redisCLI) transaction(t *testing.T) {
	c.session.talk(t, "MULTI", "OK", "SET tx 5", "QUEUED", "INCRBY tx 10", "QUEUED", "GET tx", "QUEUED", "TTL tx", "QUEUED", "EXEC", "1) OK")
	c.session.more(t, "2) (integer) 15", `3) "15"`, "4) (integer) -1")
}

func (c redisCLI) transactionError(t *testing.T) {
	c.session.talk(t, "SET tx:text text", "OK", "MULTI", "OK",
		"INCR tx:before", "QUEUED", "INCR tx:text", "QUEUED", "INCR tx:after", "QUEUED", "EXEC", "1) (integer) 1")
	c.session.more(t, "2) (error) "+notInteger, "3) (integer) 1")
}

func (c redisCLI) transactionRefused(t *testing.T) {
	c.session.talk(t, "MULTI", "OK", "INCR tx:refused", "QUEUED",
		"INCR", "(error) ERR wrong number of arguments for 'incr' command",
		"EXEC", "(error) EXECABORT Transaction discarded because of previous errors.",
		"EXISTS tx:refused", "(integer) 0")
}

func (c redisCLI) watchConflict(t *testing.T) {
	c.session.talk(t, "WATCH watched", "OK")
	c.open(t).talk(t, "SET watched theirs", "OK")
	c.session.talk(t, "MULTI", "OK", "SET watched ours", "QUEUED", "EXEC", "(nil)", "GET watched", `"theirs"`)
}

func (c redisCLI) watchIncrement(t *testing.T) {
	increment := func(s *cliSession) (done bool, err error) {
		if _, err := s.send("WATCH optimistic"); err != nil {
			return false, err
		}
		value, err := s.send("GET optimistic")
		if err != nil {
			return false, err
		}
		n := 0
		if value != "(nil)" {
			if n, err = strconv.Atoi(strings.Trim(value, `"`)); err != nil {
				return false, err
			}
		}
		var answer string
		for _, line := range []string{"MULTI", fmt.Sprint("SET optimistic ", n+1), "EXEC"} {
			if answer, err = s.send(line); err != nil {
				return false, err
			}
		}
		if answer != "1) OK" && answer != "(nil)" {
			return false, fmt.Errorf("EXEC answered %q", answer)
		}
		return answer != "(nil)", nil
	}
	var wg sync.WaitGroup
	for range 4 {
		s := c.open(t)
		wg.Go(func() {
			for count := 0; count < 25; {
				done, err := increment(s)
				if err != nil {
					t.Error(err)
					return
				}
				if done {
					count++
				}
			}
		})
	}
	wg.Wait()
	c.session.talk(t, "GET optimistic", `"100"`)
}

func (c redisCLI) scan(t *testing.T) {
	c.session.talk(t, "MSET "+strings.Join(stayKeys(), " 1 ")+" 1", "OK")
	scan := func() ([]string, error) {
		out, _, err := c.run(nil, "-p", c.port(), "--scan", "--pattern", "stay:*")
		return strings.Fields(out), err
	}
	others := c.open(t)
	wantScan(t, scan, func(round int) error {
		for i := range 100 {
			for _, command := range []string{
				fmt.Sprintf("SET go:%d:%d 1", round%20, i),
				fmt.Sprintf("DEL go:%d:%d", (round+10)%20, i),
			} {
				if _, err := others.send(command); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (c redisCLI) expiry(t *testing.T) {
	ttl := func(command string, unit, min, max time.Duration) {
		answer, err := c.session.send(command)
		n, _ := strconv.Atoi(strings.TrimPrefix(answer, "(integer) "))
		between(t, time.Duration(n)*unit, err, min, max)
	}
	c.session.talk(t, "SET expiry 1 EX 100", "OK")
	ttl("TTL expiry", time.Second, 97*time.Second, 100*time.Second)
	c.session.talk(t, "PERSIST expiry", "(integer) 1", "TTL expiry", "(integer) -1", "EXPIRE expiry 50", "(integer) 1")
	ttl("PTTL expiry", time.Millisecond, 48*time.Second, 50*time.Second)
	c.session.talk(t, "EXPIRE expiry:none 50", "(integer) 0", "TTL expiry:none", "(integer) -2", "SET expiry:soon 1 PX 30", "OK")
	untilGone(t, func() (int64, error) {
		answer, err := c.session.send("EXISTS expiry:soon")
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(strings.TrimPrefix(answer, "(integer) "), 10, 64)
	})
	c.session.talk(t, "GET expiry:soon", "(nil)")
}

func (c redisCLI) errors(t *testing.T) {
	c.session.talk(t,
		"SET errors text", "OK",
		"INCR errors", "(error) "+notInteger,
		"NOPE a", "(error) ERR unknown command 'NOPE', with args beginning with: 'a' ",
		"GET", "(error) ERR wrong number of arguments for 'get' command",
		"SET errors v NOPE", "(error) ERR syntax error",
		"PING", "PONG")
	// With -e an error is the program's exit status.
	_, stderr, err := c.run(nil, "-p", c.port(), "-e", "INCR", "errors")
	if err == nil || !strings.HasPrefix(stderr, notInteger) {
		t.Errorf("redis-cli -e: %v, %q", err, stderr)
	}
}

func (c redisCLI) errorsAuth(t *testing.T) {
	locked := []string{"-p", strconv.Itoa(c.to.locked.Port)}
	out, stderr, err := c.run(nil, append(locked, "PING")...)
	if err != nil || !strings.HasPrefix(out, "NOAUTH Authentication required.") {
		t.Errorf("%q %q %v", out, stderr, err)
	}
	out, stderr, err = c.run(nil, append(locked, "--no-auth-warning", "-a", "wrong", "PING")...)
	if !strings.HasPrefix(stderr, "AUTH failed: WRONGPASS invalid username-password pair") {
		t.Errorf("%q %q %v", out, stderr, err)
	}
	out, stderr, err = c.run(nil, append(locked, "--no-auth-warning", "-a", password, "PING")...)
	if err != nil || out != "PONG\n" || stderr != "" {
		t.Errorf("%q %q %v", out, stderr, err)
	}
}

func (c redisCLI) errorsMemory(t *testing.T) {
	c.session.talk(t,
		"SET memory 1", "OK",
		"CONFIG SET maxmemory 1", "OK",
		"INCR memory", "(error) "+outOfMemory+".",
		"GET memory", `"1"`,
		"CONFIG SET maxmemory 0", "OK",
		"INCR memory", "(integer) 2")
}

// bigValue sends the value as the last argument, by -x.
func (c redisCLI) bigValue(t *testing.T) {
	value := bigValue()
	out, stderr, err := c.run([]byte(value), "-p", c.port(), "-x", "SET", "big")
	if err != nil || out != "OK\n" {
		t.Errorf("%q %q %v", out, stderr, err)
	}
	c.session.talk(t, "STRLEN big", "(integer) 1048576")
	out, stderr, err = c.run(nil, "-p", c.port(), "GET", "big")
	if err != nil || out != value+"\n" {
		t.Errorf("%d other bytes, %q, %v", len(out), stderr, err)
	}
}

func (c redisCLI) binary(t *testing.T) {
	var all strings.Builder
	for i := range 256 {
		fmt.Fprintf(&all, `\x%02x`, i)
	}
	c.session.talk(t, fmt.Sprintf(`SET "%s" "%s"`, all.String(), all.String()), "OK", fmt.Sprintf(`STRLEN "%s"`, all.String()), "(integer) 256")
	out, stderr, err := c.run(fmt.Appendf(nil, `GET "%s"`, all.String()), "-p", c.port())
	if err != nil || out != allBytes()+"\n" {
		t.Errorf("%q %q %v", out, stderr, err)
	}
}

// pubSub: redis-cli that has subscribed does nothing else until it is stopped, so each subscription has one.
func (c redisCLI) pubSub(t *testing.T) {
	subscribe := func(command, name string, flags ...string) *cliSession {
		s := c.open(t, flags...)
		s.talk(t, command+" "+name, "Reading messages... (press Ctrl-C to quit)")
		s.more(t, fmt.Sprintf(`1) "%s"`, strings.ToLower(command)), fmt.Sprintf(`2) "%s"`, name), "3) (integer) 1")
		return s
	}
	const bytes = `"\x00\x01\x1f\x80\xff"`
	c.session.talk(t, "PUBLISH news nobody", "(integer) 0")
	channel, pattern, sharded := subscribe("SUBSCRIBE", "news"), subscribe("PSUBSCRIBE", "new?", "-3"), subscribe("SSUBSCRIBE", "news")
	c.session.talk(t, "PUBLISH news "+bytes, "(integer) 2", "PUBLISH newt two", "(integer) 1", "SPUBLISH news three", "(integer) 1",
		"PUBLISH new nobody", "(integer) 0", "PUBLISH news four", "(integer) 2")
	channel.more(t, `1) "message"`, `2) "news"`, "3) "+bytes, `1) "message"`, `2) "news"`, `3) "four"`)
	pattern.more(t, `1) "pmessage"`, `2) "new?"`, `3) "news"`, "4) "+bytes, `1) "pmessage"`, `2) "new?"`, `3) "newt"`, `4) "two"`,
		`1) "pmessage"`, `2) "new?"`, `3) "news"`, `4) "four"`)
	sharded.more(t, `1) "smessage"`, `2) "news"`, `3) "three"`)
}

func (c redisCLI) unixSocket(t *testing.T) {
	c.open(t, "-s", c.to.socket).talk(t, "INCR unix", "(integer) 1")
	c.session.talk(t, "GET unix", `"1"`)
}

// reconnect lets a first command find out that the connection is lost: without a
// terminal, redis-cli reports that on standard error and connects for the next.
func (c redisCLI) reconnect(t *testing.T) {
	c.session.talk(t, "INCRBY reconnect 10", "(integer) 10")
	c.to.restart(t)
	c.session.talk(t, "PING\nINCR reconnect", "(integer) 11")
}
