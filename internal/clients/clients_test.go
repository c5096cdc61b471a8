package clients

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// password is what the second server of a target asks for.
const password = "secret"

// programLimit bounds one run of a client's program.
const programLimit = 3 * time.Minute

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// target is what a client is checked against.
type target struct {
	name   string
	open   *redistest.Server // TCP and the unix socket; may be killed and started again
	socket string
	locked *redistest.Server // asks for password
}

// eachTarget runs fn against Quipu and, where it is installed, redis-server,
// which shows that the expectations are right. -short leaves redis-server out.
func eachTarget(t *testing.T, fn func(t *testing.T, to *target)) {
	t.Parallel()
	t.Run("quipu", func(t *testing.T) {
		t.Parallel()
		socket := filepath.Join(t.TempDir(), "s")
		fn(t, &target{
			name:   "quipu",
			open:   redistest.Quipu{Flags: []string{"--unixsocket", socket}}.Start(t),
			socket: socket,
			locked: redistest.Quipu{Flags: []string{"--requirepass", password}}.Start(t),
		})
	})
	t.Run("redis", func(t *testing.T) {
		if testing.Short() {
			t.Skip("redis-server is not what -short tests")
		}
		t.Parallel()
		socket := filepath.Join(t.TempDir(), "s")
		fn(t, &target{
			name:   "redis",
			open:   redistest.StartRedis(t, "--unixsocket", socket, "--appendonly", "yes"),
			socket: socket,
			locked: redistest.StartRedis(t, "--requirepass", password),
		})
	})
}

// restart kills the open server with SIGKILL and starts it again on its data. Redis may keep answered writes back while
// its file is being synced, unless it syncs before it answers.
func (to *target) restart(t *testing.T) {
	if to.name == "redis" {
		if r, err := to.open.Dial(t).Do("CONFIG", "SET", "appendfsync", "always"); err != nil || r.IsError() {
			t.Fatal(r, err)
		}
	}
	if err := to.open.Restart(time.Minute); err != nil {
		t.Fatal(err)
	}
}

func TestRedisPy(t *testing.T) { runProgram(t, toolbox.Python(t, "redis"), "redis-py/main.py", checks) }

func TestNodeRedis(t *testing.T) {
	runProgram(t, toolbox.Node(t, "redis"), "node-redis/main.js", checks)
}

func TestIoredis(t *testing.T) {
	runProgram(t, toolbox.Node(t, "ioredis"), "ioredis/main.js", checks)
}

func TestPhpredis(t *testing.T) {
	runProgram(t, toolbox.PHP(t, "redis", "pcntl"), "phpredis/main.php", checks)
}

// runProgram runs a client's program against each target and compares what it
// prints with the wanted checks.
func runProgram(t *testing.T, with toolbox.Interpreter, script string, want []string) {
	eachTarget(t, func(t *testing.T, to *target) { runOn(t, to, with, script, want) })
}

func runOn(t *testing.T, to *target, with toolbox.Interpreter, script string, want []string) {
	args := []string{script, strconv.Itoa(to.open.Port), to.socket, strconv.Itoa(to.locked.Port)}
	converse(t, with, args, want, func() { to.restart(t) })
}

// converse runs a program, serves its "restart", and compares what it prints with the wanted checks.
func converse(t *testing.T, with toolbox.Interpreter, args, want []string, restart func()) {
	ctx, cancel := context.WithTimeout(t.Context(), programLimit)
	defer cancel()
	cmd := with.Command(ctx, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.WaitDelay = 5 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := readLines(t, stdout, stdin, restart)
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("%s: %v; standard error: %s", args[0], err, stderr.String())
	}
	judge(t, lines, want)
}

// readLines reads the program's lines to their end and serves its "restart".
func readLines(t *testing.T, stdout io.Reader, stdin io.WriteCloser, restart func()) []string {
	defer stdin.Close()
	var lines []string
	for scan := bufio.NewScanner(stdout); scan.Scan(); {
		if scan.Text() != "restart" || restart == nil {
			lines = append(lines, scan.Text())
			continue
		}
		restart()
		if _, err := io.WriteString(stdin, "restarted\n"); err != nil {
			t.Errorf("the program does not wait for the restart: %v", err)
		}
	}
	return lines
}

// judge demands the wanted checks, in order, and nothing else.
func judge(t *testing.T, lines, want []string) {
	expected := make([]string, 0, len(want)+1)
	for _, name := range want {
		expected = append(expected, "ok "+name)
	}
	expected = append(expected, "done "+strconv.Itoa(len(want)))
	for i, line := range lines {
		if i >= len(expected) || line != expected[i] {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
	for _, line := range expected[min(len(lines), len(expected)):] {
		t.Errorf("missing: %s", line)
	}
}
