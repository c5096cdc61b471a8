package systest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quipu/internal/redistest"
)

// terminal is a program that runs on a pseudo-terminal.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	out    chan []byte
	seen   strings.Builder
}

// openTerminal starts the program on a terminal of 250 columns, so that lines of usage fit.
func openTerminal(t *testing.T, path string, args ...string) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 250})
	}
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	defer slave.Close()
	term := &terminal{t: t, master: master, cmd: exec.Command(path, args...), out: make(chan []byte, 64)}
	term.cmd.Stdin, term.cmd.Stdout, term.cmd.Stderr = slave, slave, slave
	term.cmd.Env = append(os.Environ(), "TERM=xterm", "REDISCLI_HISTFILE=/dev/null", "HOME="+t.TempDir())
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := term.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = term.cmd.Process.Kill(); _ = term.cmd.Wait() })
	go term.read()
	return term
}

func (term *terminal) read() {
	defer close(term.out)
	for {
		b := make([]byte, 4096)
		n, err := term.master.Read(b)
		if n > 0 {
			term.out <- b[:n]
		}
		if err != nil {
			return
		}
	}
}

// send types text.
func (term *terminal) send(text string) {
	term.t.Helper()
	if _, err := term.master.WriteString(text); err != nil {
		term.t.Fatal(err)
	}
}

// expect waits until the program has written text since the last expect.
func (term *terminal) expect(text string) {
	term.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if s := term.seen.String(); strings.Contains(s, text) {
			_, rest, _ := strings.Cut(s, text)
			term.seen.Reset()
			term.seen.WriteString(rest)
			return
		}
		select {
		case b, ok := <-term.out:
			if !ok {
				term.t.Fatalf("the program ended before it wrote %q; it wrote %q", text, term.seen.String())
			}
			term.seen.Write(b)
		case <-deadline:
			term.t.Fatalf("the program did not write %q; it wrote %q", text, term.seen.String())
		}
	}
}

// typed is a line typed at a prompt. Until the prompt the terminal is not in the mode that redis-cli reads it in.
type typed struct {
	prompt, line string
	shown        []string // in this order
}

func (term *terminal) play(lines []typed) {
	term.t.Helper()
	for _, l := range lines {
		term.expect(l.prompt)
		term.send(l.line)
		for _, text := range l.shown {
			term.expect(text)
		}
	}
}

// TestRedisCLIInteractive types into redis-cli on a terminal.
func TestRedisCLIInteractive(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	s := redistest.Quipu{}.Start(t)
	term := openTerminal(t, cli, "-p", port(s))
	prompt := "127.0.0.1:" + port(s)
	term.play([]typed{
		{prompt + "> ", "get nope\r", []string{"(nil)"}},
		{prompt + "> ", "mget likes nope\r", []string{"1) (nil)", "2) (nil)"}},
		{prompt + "> ", "multi\r", []string{"OK"}},
		{prompt + "(TX)> ", "incr likes\r", []string{"QUEUED"}},
		{prompt + "(TX)> ", "exec\r", []string{"1) (integer) 1"}},
		{prompt + "> ", "select 3\r", []string{"OK"}},
		{prompt + "[3]> ", "nosuch\r", []string{"(error) ERR unknown command 'nosuch'"}},
		{prompt + "[3]> ", "incr likes\r", []string{"(integer) 1"}}, // the connection is as it was
		{prompt + "[3]> ", "multi\r", []string{"OK"}},
		{prompt + "[3](TX)> ", "nosuch a\r", []string{"(error) ERR unknown command 'nosuch'"}},
		{prompt + "[3](TX)> ", "exec\r", []string{"(error) EXECABORT"}},
		{prompt + "[3]> ", "3 incr likes\r", []string{"(integer) 2", "(integer) 3", "(integer) 4"}},
		{prompt + "[3]> ", "hello 3\r", []string{`1# "server" => "redis"`, `3# "proto" => (integer) 3`}},
		{prompt + "[3]> ", "config get maxmemory\r", []string{`1# "maxmemory" => "0"`}},
		{prompt + "[3]> ", "client kill type normal skipme no\r", []string{"(integer) 1"}},
		{prompt + "[3]> ", "get likes\r", []string{"Error: "}}, // closed, or reset if it had sent this before it saw that
		{"not connected> ", "get likes\r", []string{`"1"`}},    // redis-cli connects again, and forgets to select the database
		{prompt + "[3]> ", "reset\r", []string{"RESET"}},
		{prompt + "> ", "get likes\r", []string{`"1"`}},
		{prompt + "> ", "sync\r", []string{"Entering replica output mode", "SYNC with master failed: -ERR unknown command 'sync'"}},
	})
}

// TestRedisCLIHints looks at what redis-cli shows of COMMAND DOCS while a command is being typed. What it expects is
// proved on redis-server.
func TestRedisCLIHints(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	const clear = "\x15" // control-U
	eachServer(t, nil, func(t *testing.T, s *redistest.Server) {
		term := openTerminal(t, cli, "-p", port(s))
		prompt := "127.0.0.1:" + port(s) + "> "
		term.play([]typed{
			{prompt, "incr ", []string{"key"}},
			{"", "likes\r", []string{"(integer) 1"}},
			{prompt, "incrby ", []string{"key increment"}},
			{"", "likes ", []string{"likes \x1b[0;90;49mincrement"}}, // grey, behind the argument that is given
			{"", clear + "expire ", []string{"key seconds [NX|XX|GT|LT]"}},
			{"", clear + "scan ", []string{"cursor [MATCH pattern] [COUNT count] [TYPE type]"}},
			{"", clear + "getex ", []string{"key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]"}},
			{"", clear + "set ", []string{"key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|"}},
			{"", clear + "object encoding ", []string{"key"}},
			{"", clear + "incrbyf\t", []string{"INCRBYFLOAT"}},
			{"", clear + "help incrbyf\t", []string{"help INCRBYFLOAT"}},
			{"", clear + "help incr\r", []string{"INCR", "key", "summary:", "since:", "1.0.0", "group:", "string"}},
			{prompt, "help @string\r", []string{"APPEND", "key value", "DECRBY", "key decrement", "SUBSTR", "key start end"}},
			{prompt, "help client kill\r", []string{"CLIENT KILL", "group:", "connection"}},
			{prompt, "help set\r", []string{"SET", "key value [NX|XX] [GET] [EX seconds|", "since:"}},
			{prompt, "quit\r", nil},
		})
	})
}

// TestRedisCLIRolling runs the modes that show figures until they are stopped.
func TestRedisCLIRolling(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	s := redistest.Quipu{}.Start(t)
	do(t, s.Dial(t), "MSET", "a", "1", "b", "2", "c", "3")
	for _, c := range []struct {
		args  string
		shown []string
	}{
		{"--stat -i 0.05", []string{"keys", "requests", "\n3  ", "\n3  ", "\n3  ", "\n3  "}},
		{"-3 --stat -i 0.05", []string{"keys", "requests", "\n3  ", "\n3  "}},
		{"--latency", []string{"min: ", "max: ", "samples)", "min: ", "samples)"}},
		{"--latency-history -i 0.1", []string{"samples) -- 0.1", "min: ", "samples) -- 0.1"}},
		{"--latency-dist -i 0.1", []string{"milliseconds", "From 0 to 100%", "38;5;", "38;5;"}},
	} {
		term := openTerminal(t, cli, append([]string{"-p", port(s)}, strings.Fields(c.args)...)...)
		for _, text := range c.shown {
			term.expect(text)
		}
	}
}
