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
)

// terminal is a program that runs on a pseudo-terminal.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	out    chan []byte
	seen   strings.Builder
}

// openTerminal starts the program on a terminal of 120 columns.
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
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120})
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

// TestRedisCLIInteractive types into redis-cli on a terminal. Its hints come from COMMAND DOCS.
func TestRedisCLIInteractive(t *testing.T) {
	s, cli := startForCLI(t)
	term := openTerminal(t, cli, "-p", port(s))
	prompt := "127.0.0.1:" + port(s)
	// Each line is typed after the prompt: until then the terminal is not in the mode that redis-cli reads it in.
	for _, line := range []struct {
		prompt, typed string
		shown         []string
	}{
		{prompt + "> ", "get nope\r", []string{"(nil)"}},
		{prompt + "> ", "mget likes nope\r", []string{"1) (nil)", "2) (nil)"}},
		{prompt + "> ", "multi\r", []string{"OK"}},
		{prompt + "(TX)> ", "incr likes\r", []string{"QUEUED"}},
		{prompt + "(TX)> ", "exec\r", []string{"1) (integer) 1"}},
		{prompt + "> ", "select 3\r", []string{"OK"}},
		{prompt + "[3]> ", "nosuch\r", []string{"(error) ERR unknown command 'nosuch'"}},
		{prompt + "[3]> ", "help incr\r", []string{"INCR", "key", "summary:", "since:", "group:"}},
		{prompt + "[3]> ", "incr ", []string{"key"}}, // the hint
		{"", "likes\r", []string{"(integer) 1"}},
	} {
		term.expect(line.prompt)
		term.send(line.typed)
		for _, text := range line.shown {
			term.expect(text)
		}
	}
	term.expect(prompt)
	term.send("quit\r")
}

// TestRedisCLIStat runs redis-cli --stat for a few lines.
func TestRedisCLIStat(t *testing.T) {
	s, cli := startForCLI(t)
	do(t, s.Dial(t), "MSET", "a", "1", "b", "2", "c", "3")
	term := openTerminal(t, cli, "-p", port(s), "--stat", "-i", "0.05")
	term.expect("keys")
	term.expect("requests")
	for range 4 {
		term.expect("\n3  ")
	}
}
