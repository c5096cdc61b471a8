package protocol

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The tests here ask a real Redis 7.0, if one is installed, whether the tables of this package are right.

// startOracle starts a Redis for the length of the test and returns the path of its socket.
func startOracle(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: redis-server is not installed, so nothing was compared with it")
	}
	if version, _ := exec.Command(path, "--version").Output(); !strings.Contains(string(version), "v=7.0.") {
		t.Skipf("SKIPPED: the tables are those of Redis 7.0, this is %s", version)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir,
		"--enable-debug-command", "yes")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cmd.Wait() })
	for range 200 {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return socket
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("redis-server does not answer")
	return ""
}

// ask sends in on a connection of its own, ends the sending side and returns all that comes back.
func ask(t *testing.T, socket, in string) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, in); err != nil {
		t.Fatalf("%.60q: %v", in, err)
	}
	conn.(*net.UnixConn).CloseWrite()
	out, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil && len(out) == 0 {
		t.Fatalf("%.60q: %v", in, err)
	}
	return string(out)
}

// TestOracleGrammar relies on a Redis that knows no command "x": its answer then shows the arguments it saw.
func TestOracleGrammar(t *testing.T) {
	socket := startOracle(t)
	lim := redisLimits()
	for _, c := range grammarCases {
		var p Parser
		var want Writer
		for rest := []byte(c.in); ; {
			args, n, err := p.Next(rest, &lim, nil)
			if err != nil {
				want.Error(err.Error())
			}
			if n == 0 {
				break
			}
			if len(args) > 0 {
				want.Error(ErrUnknownCommand(args[0], args[1:]))
			}
			rest = rest[n:]
		}
		if got := ask(t, socket, c.in); got != string(want.B) {
			t.Errorf("%.60q: Redis says %.200q, we say %.200q", c.in, got, want.B)
		}
	}
}

func TestOracleNumbers(t *testing.T) {
	socket := startOracle(t)
	for _, text := range []string{"0", "-1", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
		"-9223372036854775809", "18446744073709551617", "100000000000000000000", "", "-", "+1", "-0", "00", "01", " 1", "1 ",
		"1.0", "0x1", "1e3"} {
		want := "-" + ErrNotInteger + "\r\n"
		if n, ok := ParseInt([]byte(text)); ok {
			want = fmt.Sprintf(":%d\r\n", n)
		}
		in := fmt.Sprintf("DEL k\r\n*3\r\n$6\r\nINCRBY\r\n$1\r\nk\r\n$%d\r\n%s\r\n", len(text), text)
		if _, got, _ := strings.Cut(ask(t, socket, in), "\r\n"); got != want {
			t.Errorf("%q: Redis says %q, we say %q", text, got, want)
		}
	}
}

func TestOracleReplies(t *testing.T) {
	socket := startOracle(t)
	cases := []struct {
		in    string
		write func(w *Writer)
	}{
		{"DEBUG PROTOCOL string", func(w *Writer) { w.BulkString("Hello World") }},
		{"DEBUG PROTOCOL integer", func(w *Writer) { w.Int(12345) }},
		{"DEBUG PROTOCOL double", func(w *Writer) { w.Double(3.141) }},
		{"DEBUG PROTOCOL null", func(w *Writer) { w.Null() }},
		{"DEBUG PROTOCOL true", func(w *Writer) { w.Bool(true) }},
		{"DEBUG PROTOCOL false", func(w *Writer) { w.Bool(false) }},
		{"DEBUG PROTOCOL bignum", func(w *Writer) { w.BigNumber("1234567999999999999999999999999999999") }},
		{"DEBUG PROTOCOL verbatim", func(w *Writer) { w.Verbatim("txt", "This is a verbatim\nstring") }},
		{"DEBUG PROTOCOL array", func(w *Writer) { w.Array(3); w.Int(0); w.Int(1); w.Int(2) }},
		{"DEBUG PROTOCOL set", func(w *Writer) { w.Set(3); w.Int(0); w.Int(1); w.Int(2) }},
		{"DEBUG PROTOCOL map", func(w *Writer) {
			w.Map(3)
			for i := range 3 {
				w.Int(int64(i))
				w.Bool(i == 1)
			}
		}},
		{"WATCH k\r\nSET k 1\r\nMULTI\r\nPING\r\nEXEC", func(w *Writer) { w.OK(); w.OK(); w.OK(); w.Queued(); w.NullArray() }},
		{"PING", func(w *Writer) { w.Pong() }},
	}
	for _, c := range doubleCases {
		if c.f == 0 {
			continue // a sorted set has no negative zero
		}
		cases = append(cases, struct {
			in    string
			write func(w *Writer)
		}{"ZADD z " + strconv.FormatFloat(c.f, 'g', -1, 64) + " m\r\nZSCORE z m\r\nDEL z",
			func(w *Writer) { w.Int(1); w.Double(c.f); w.Int(1) }})
	}
	for _, c := range cases {
		for _, v := range []int{2, 3} {
			w := Writer{V: v}
			c.write(&w)
			reply := ask(t, socket, fmt.Sprintf("HELLO %d\r\nPING hello-end\r\n%s\r\n", v, c.in))
			if _, got, _ := strings.Cut(reply, "hello-end\r\n"); got != string(w.B) {
				t.Errorf("%q in version %d: Redis says %q, we say %q", c.in, v, got, w.B)
			}
		}
	}
}

// errorCases are the texts that Redis 7.0 can be made to say, in this order: the last command of in gets the error, those
// before it and the cases before this one set the stage.
var errorCases = []struct{ in, want string }{
	{"SET k v EX 1 PX 1", ErrSyntax},
	{"LPUSH l a\r\nINCR l", ErrWrongType},
	{"SET k abc\r\nINCR k", ErrNotInteger},
	{"SET k abc\r\nINCRBYFLOAT k 1", ErrNotFloat},
	{"INCRBYFLOAT nokey inf", ErrNotFinite},
	{"SPOP nokey -1", ErrNotPositive},
	{"SETRANGE k -1 x", ErrOffsetRange},
	{"SET big 9223372036854775807\r\nINCR big", ErrOverflow},
	{"DECRBY k -9223372036854775808", ErrDecrOverflow},
	{"SETRANGE k 600000000 x", ErrStringTooLong},
	{"WAIT 0 x", ErrTimeoutNumber},
	{"WAIT 0 -1", ErrTimeoutNegative},
	{"RENAME nokey x", ErrNoSuchKey},
	{"COPY k k", ErrSameObject},
	{"SELECT 99", ErrDBIndex},
	{"SELECT 99999999999", ErrOutOfRangeBetween(-1<<31, 1<<31-1)},
	{"SCAN x", ErrInvalidCursor},
	{"EXPIRE k 1 NX GT", ErrExpireNXAndXXGT},
	{"EXPIRE k 1 GT LT", ErrExpireGTAndLT},
	{"EXPIRE k 1 foo", ErrUnsupportedOption([]byte("foo"))},
	{`EXPIRE k 1 "f\n\x00oo"`, ErrUnsupportedOption([]byte("f\n\x00oo"))},
	{"SET k v EX 0", ErrInvalidExpire("set")},
	{"SETEX k 0 v", ErrInvalidExpire("setex")},
	{"SET k v\r\nOBJECT FREQ k", ErrNoLFU},
	{"FUNCTION FLUSH foo", ErrFunctionFlushOption},
	{"MULTI\r\nMULTI", ErrNestedMulti},
	{"EXEC", ErrExecWithoutMulti},
	{"DISCARD", ErrDiscardWithoutMulti},
	{"MULTI\r\nWATCH k", ErrWatchInMulti},
	{"MULTI\r\nSYNC", ErrNotInMulti},
	{"MULTI\r\nnosuch\r\nEXEC", ErrExecAbort},
	{"MULTI\r\nEXEC x", ErrExecAbortBecause(ErrArity("exec"))},
	{"CONFIG SET maxmemory 1\r\nSET k v", ErrOOM},
	{"MULTI\r\nSET k v\r\nCONFIG SET maxmemory 0\r\nEXEC", ErrExecAbort},
	{"CONFIG SET maxmemory 0\r\nAUTH x", ErrNoPasswordSet},
	{"AUTH nobody x", ErrWrongPass},
	{"CONFIG SET requirepass pw\r\nRESET\r\nGET k", ErrNoAuth},
	{"HELLO 3", ErrNoAuthHello},
	{"AUTH pw\r\nCONFIG SET requirepass \"\"\r\nHELLO 4", ErrNoProto},
	{"HELLO x", ErrProtoNotNumber},
	{"HELLO 3 foo", ErrHelloOption([]byte("foo"))},
	{`CLIENT SETNAME "a b"`, ErrClientName},
	{"CLIENT KILL 1.2.3.4:5", ErrNoSuchClient},
	{"CLIENT LIST ID x", ErrClientID},
	{"CLIENT KILL ID 0", ErrClientIDZero},
	{"CLIENT KILL USER foo", ErrNoSuchUser([]byte("foo"))},
	{"CLIENT LIST TYPE foo", ErrClientType([]byte("foo"))},
	{"CLIENT PAUSE 1 foo", ErrPauseMode},
	{"CLIENT UNBLOCK 1 foo", ErrUnblockReason},
	{"CLIENT CACHING YES", ErrNotTracking},
	{"CLIENT foo", ErrUnknownSubcommand([]byte("foo"), "client")},
	{"client " + strings.Repeat("x", 200) + " a", ErrUnknownSubcommand([]byte(strings.Repeat("x", 200)), "client")},
	{`OBJECT "f\r\noo"`, ErrUnknownSubcommand([]byte("f\r\noo"), "object")},
	{"DEBUG foo", ErrSubcommandSyntax([]byte("foo"), "debug")},
	{"GET", ErrArity("get")},
	{"CONFIG SET port", ErrArity("config|set")},
	{"CONFIG SET foo bar", ErrConfigUnknown([]byte("foo"))},
	{"CONFIG SET databases 4", ErrConfigSet("databases", ConfigImmutable)},
	{"CONFIG SET enable-debug-command no", ErrConfigSet("enable-debug-command", ConfigImmutable)},
	{"CONFIG SET dir /tmp", ErrConfigSet("dir", ConfigProtected)},
	{"CONFIG SET maxmemory 1 maxmemory 2", ErrConfigSet("maxmemory", ConfigDuplicate)},
	{"CONFIG SET maxmemory x", ErrConfigSet("maxmemory", ConfigNotMemory)},
	{"CONFIG SET maxclients x", ErrConfigSet("maxclients", ConfigNotInteger)},
	{"CONFIG SET maxclients 0", ErrConfigSet("maxclients", ConfigNotBetween(1, 1<<32-1))},
	{"CONFIG SET protected-mode x", ErrConfigSet("protected-mode", ConfigNotBool)},
	{"CONFIG SET appendfsync x", ErrConfigSet("appendfsync", ConfigNotOneOf("everysec", "always", "no"))},
	{"CONFIG REWRITE", ErrNoConfigFile},
	{"COMMAND GETKEYS nosuch a", ErrCommandInvalid},
	{"COMMAND GETKEYS ECHO a", ErrCommandNoKeys},
	{"COMMAND GETKEYS SET a", ErrCommandArity},
	{"COMMAND GETKEYS ZUNIONSTORE a 9 b", ErrCommandArguments},
	{"EVALSHA a 0", ErrNoScript},
	{"READONLY", ErrClusterDisabled},
	{"REPLICAOF NO ONE\r\nCLIENT NO-EVICT x", ErrSyntax},
}

func TestOracleErrors(t *testing.T) {
	socket := startOracle(t)
	for _, c := range errorCases {
		reply := strings.TrimSuffix(ask(t, socket, c.in+"\r\n"), "\r\n")
		last := reply[strings.LastIndex(reply, "\n")+1:]
		if last != "-"+c.want {
			t.Errorf("%q: Redis says %q, we say %q", c.in, last, c.want)
		}
	}
}

// TestOracleUnauthenticated compares the limits before AUTH.
func TestOracleUnauthenticated(t *testing.T) {
	socket := startOracle(t)
	if got := ask(t, socket, "CONFIG SET requirepass pw\r\n"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	lim := UnauthenticatedLimits()
	for _, in := range []string{"*11\r\n", "*2147483647\r\n", "*2147483648\r\n", "*10\r\n", "*1\r\n$16384\r\n", "*1\r\n$16385\r\n",
		"*1\r\n$536870912\r\n", "*1\r\n$536870913\r\n", "*1\r\n$-1\r\n"} {
		var want Writer
		if _, _, err := new(Parser).Next([]byte(in), &lim, nil); err != nil {
			want.Error(err.Error())
		}
		if got := ask(t, socket, in); got != string(want.B) {
			t.Errorf("%q: Redis says %q, we say %q", in, got, want.B)
		}
	}
}
