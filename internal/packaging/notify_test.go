package packaging

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// managerSocket is what systemd listens on for a service.
type managerSocket struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func listen(t *testing.T) *managerSocket {
	t.Helper()
	dir, err := os.MkdirTemp("", "quipu-notify-") // t.TempDir may be too long for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	m := &managerSocket{t: t, path: filepath.Join(dir, "notify")}
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.conn.Close(); os.RemoveAll(dir) })
	return m
}

// await reads messages until one has the line, and returns the lines before it.
func (m *managerSocket) await(line string) (before []string) {
	m.t.Helper()
	buf := make([]byte, 4096)
	for {
		if err := m.conn.SetReadDeadline(time.Now().Add(redistest.DefaultTimeout)); err != nil {
			m.t.Fatal(err)
		}
		n, err := m.conn.Read(buf)
		if err != nil {
			m.t.Fatalf("waiting for %s behind %q: %v", line, before, err)
		}
		lines := strings.Split(string(buf[:n]), "\n")
		if slices.Contains(lines, line) {
			return before
		}
		before = append(before, lines...)
	}
}

// TestNotify: the service manager is told READY once commands are answered, again and again that the loops go on, and STOPPING
// when the node is told to stop, by a signal or by a client.
func TestNotify(t *testing.T) {
	m := listen(t)
	node := redistest.Quipu{Env: []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=20000"}}
	s := node.Launch(t)
	for _, line := range m.await("READY=1") {
		if !strings.HasPrefix(line, "STATUS=") {
			t.Errorf("told before READY: %s", line)
		}
	}
	// No waiting for readiness: it has been told.
	if reply, err := s.Dial(t).Do("INCR", "a"); err != nil || reply.Text != "1" {
		t.Errorf("the first command after READY: %v, %v", reply, err)
	}
	m.await("WATCHDOG=1")
	m.await("WATCHDOG=1")
	status := make(chan int, 1)
	go func() { code, _ := s.Terminate(time.Minute); status <- code }()
	m.await("STOPPING=1")
	if code := <-status; code != 0 {
		t.Errorf("exit status %d", code)
	}

	s = redistest.Quipu{Env: []string{"NOTIFY_SOCKET=" + m.path}}.Launch(t)
	m.await("READY=1")
	if err := s.Dial(t).SendCommand("SHUTDOWN"); err != nil {
		t.Fatal(err)
	}
	if before := m.await("STOPPING=1"); slices.Contains(before, "WATCHDOG=1") {
		t.Error("pings that nobody asked for")
	}
	if code, ok := s.Wait(time.Minute); !ok || code != 0 {
		t.Errorf("exit status %d, %v", code, ok)
	}
}

// TestNotifyNobody: without a manager, or with one that is gone, the node serves all the same.
func TestNotifyNobody(t *testing.T) {
	s := redistest.Quipu{Env: []string{"NOTIFY_SOCKET=/does/not/exist", "WATCHDOG_USEC=20000"}}.Start(t)
	if reply, err := s.Dial(t).Do("INCR", "a"); err != nil || reply.Text != "1" {
		t.Errorf("%v, %v", reply, err)
	}
	if !strings.Contains(s.Output(), "cannot be told") {
		t.Error("nothing in the log")
	}
}

// awaitLine reads what a process writes until a line has the text, and goes on reading so that the process can write.
func awaitLine(t *testing.T, r io.Reader, text string) {
	t.Helper()
	lines := bufio.NewScanner(r)
	said := ""
	for lines.Scan() {
		said += lines.Text() + "\n"
		if strings.Contains(lines.Text(), text) {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return
		}
	}
	t.Fatalf("the process ends without %q:\n%s", text, said)
}
