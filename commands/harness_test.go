package commands

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/engine"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// shell runs single commands on a keyspace of its own, as a client in redis-cli would.
type shell struct {
	tb      testing.TB
	ks      *engine.Keyspace
	table   *Table
	db      int
	now     int64
	resp    int
	seed    uint64
	cluster uint64 // as regions are told; 0: 1
	call    Call   // used again and again: a test counts allocations
}

// startOfLogTime is an arbitrary moment in 2023, in ms.
const startOfLogTime = 1_700_000_000_000

func newShell(tb testing.TB) *shell {
	s := &shell{
		tb: tb, table: NewTable(), now: startOfLogTime, resp: 2,
		ks: engine.New(engine.Config{Databases: 16, Seed: 42}),
	}
	tb.Cleanup(func() {
		if err := s.ks.Check(); err != nil {
			tb.Errorf("keyspace broken: %v", err)
		}
		s.ks.Close()
	})
	return s
}

// do runs one command and returns its raw reply.
func (s *shell) do(args ...[]byte) []byte {
	w := &protocol.Writer{V: s.resp}
	cmd, refusal := s.table.Resolve(args)
	if cmd == nil {
		w.Error(refusal)
		return w.B
	}
	s.run(cmd, 512<<20, args, w)
	return w.B
}

// limited runs one command with another limit for built strings and shows its reply.
func (s *shell) limited(cmd *Command, maxBulk int, args [][]byte) string {
	w := &protocol.Writer{V: s.resp}
	s.run(cmd, maxBulk, args, w)
	return show(w.B)
}

func (s *shell) run(cmd *Command, maxBulk int, args [][]byte, w *protocol.Writer) {
	var parts engine.PartSet
	cmd.AddParts(args, &parts)
	s.ks.Lock(&parts)
	defer s.ks.Unlock(&parts)
	s.seed = s.seed*6364136223846793005 + 1442695040888963407
	c := &s.call
	c.Cmd, c.Args, c.W, c.Table, c.MaxBulk, c.Databases, c.Random = cmd, args, w, s.table, maxBulk, s.ks.Databases(), s.seed
	if cmd.Write != nil {
		c.RunWrite(s.ks.Txn(s.db, s.now, false))
	} else {
		cmd.Read(c, s.ks.View(s.db, s.now, false))
	}
}

// asksUnchanged asks a write whether it would change nothing, and has it reply if so.
func (s *shell) asksUnchanged(cmd *Command, args [][]byte, w *protocol.Writer) bool {
	part := engine.Part(cmd.FirstKey(args))
	s.ks.LockPart(part)
	defer s.ks.UnlockPart(part)
	c := &s.call
	c.Cmd, c.Args, c.W = cmd, args, w
	return cmd.Unchanged(c, s.ks.View(s.db, s.now, false))
}

// words splits a line into arguments at spaces. "" is an empty argument; \xHH and other Go escapes work.
func words(tb testing.TB, line string) [][]byte {
	tb.Helper()
	var args [][]byte
	for _, word := range strings.Fields(line) {
		if word == `""` {
			args = append(args, []byte{})
			continue
		}
		text, err := strconv.Unquote(`"` + word + `"`)
		if err != nil {
			tb.Fatalf("bad word %q: %v", word, err)
		}
		args = append(args, []byte(text))
	}
	return args
}

// show writes a reply on one line: its line ends become spaces.
func show(reply []byte) string {
	return strings.TrimSuffix(strings.ReplaceAll(string(reply), "\r\n", " "), " ")
}

// step is one line of a table test: a command and its reply in RESP2 and, where that differs, in RESP3.
type step struct{ line, resp2, resp3 string }

// runSteps runs a table in RESP2 and again in RESP3 on fresh keyspaces. A line "+ms" advances log time.
func runSteps(t *testing.T, steps []step) {
	t.Helper()
	for _, resp := range []int{2, 3} {
		s := newShell(t)
		s.resp = resp
		for i, st := range steps {
			if ms, ok := strings.CutPrefix(st.line, "+"); ok {
				n, err := strconv.ParseInt(ms, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				s.now += n
				continue
			}
			want := st.resp2
			if resp == 3 && st.resp3 != "" {
				want = st.resp3
			}
			if got := show(s.do(words(t, st.line)...)); got != want {
				t.Errorf("RESP%d, step %d: %s\n got %s\nwant %s", resp, i, st.line, got, want)
			}
		}
	}
}

// compareSteps runs a table against redis-server and reports where the table is wrong.
func compareSteps(t *testing.T, steps []step) {
	t.Helper()
	for _, resp := range []int{2, 3} {
		redis := dialRedis(t, resp)
		redis.do("FLUSHALL")
		for i, st := range steps {
			if strings.HasPrefix(st.line, "+") {
				continue
			}
			want := st.resp2
			if resp == 3 && st.resp3 != "" {
				want = st.resp3
			}
			if got := show(redis.send(words(t, st.line)...)); got != want {
				t.Errorf("RESP%d, step %d: %s\nredis-server: %s\nour table:    %s", resp, i, st.line, got, want)
			}
		}
	}
}

// oracle is a connection to a redis-server.
type oracle struct {
	tb   testing.TB
	conn net.Conn
	r    *bufio.Reader
}

var oraclePort int // of the redis-server that the tests of this process share, 0 while there is none

// dialRedis connects to the test's redis-server, which is started when first needed, or skips the test without one.
func dialRedis(tb testing.TB, resp int) *oracle {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Skip("SKIPPED: redis-server is not installed, so replies were not compared with it")
	}
	if oraclePort == 0 {
		startRedis(tb, path)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", oraclePort))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	o := &oracle{tb, conn, bufio.NewReaderSize(conn, 1<<16)}
	o.do("HELLO", strconv.Itoa(resp))
	return o
}

var stopRedis = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopRedis()
	os.Exit(code)
}

func startRedis(tb testing.TB, path string) {
	tb.Helper()
	port := redistest.FreePort(tb)
	cmd := exec.Command(path, "--port", strconv.Itoa(port), "--save", "", "--bind", "127.0.0.1", "--loglevel", "warning")
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	stopRedis = func() { cmd.Process.Kill(); cmd.Wait() }
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			conn.Close()
			oraclePort = port
			return
		}
		if time.Now().After(deadline) {
			tb.Fatal("redis-server does not answer")
		}
	}
}

func (o *oracle) do(args ...string) []byte {
	list := make([][]byte, len(args))
	for i, arg := range args {
		list[i] = []byte(arg)
	}
	return o.send(list...)
}

// send runs one command and returns its raw reply.
func (o *oracle) send(args ...[]byte) []byte {
	o.tb.Helper()
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, arg := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := o.conn.Write(b); err != nil {
		o.tb.Fatal(err)
	}
	reply, err := readReply(o.r, nil)
	if err != nil {
		o.tb.Fatalf("%q: %v", args, err)
	}
	return reply
}

// readReply appends the bytes of one complete reply to b.
func readReply(r *bufio.Reader, b []byte) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return b, err
	}
	if len(line) < 3 || !bytes.HasSuffix(line, []byte("\r\n")) {
		return b, fmt.Errorf("bad line %q", line)
	}
	b = append(b, line...)
	kind, rest := line[0], string(line[1:len(line)-2])
	n := 0
	if bytes.IndexByte([]byte("$=*~%>"), kind) >= 0 {
		if n, err = strconv.Atoi(rest); err != nil {
			return b, err
		}
	}
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
		return b, nil
	case '$', '=':
		if n < 0 {
			return b, nil
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return b, err
		}
		if !bytes.HasSuffix(body, []byte("\r\n")) {
			return b, fmt.Errorf("bulk of %d bytes does not end there: %q", n, body)
		}
		return append(b, body...), nil
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return b, fmt.Errorf("bad reply %q", line)
	}
	for range n {
		if b, err = readReply(r, b); err != nil {
			return b, err
		}
	}
	return b, nil
}

// TestReplyShapes makes sure that what tests take for one reply is one.
func TestReplyShapes(t *testing.T) {
	for _, reply := range []string{"+OK\r\n", "$-1\r\n", "*2\r\n:1\r\n$1\r\na\r\n", "%1\r\n+a\r\n~1\r\n_\r\n", "=5\r\ntxt:a\r\n"} {
		r := bufio.NewReader(strings.NewReader(reply))
		got, err := readReply(r, nil)
		if err != nil || string(got) != reply {
			t.Errorf("%q: %q, %v", reply, got, err)
		}
	}
}
