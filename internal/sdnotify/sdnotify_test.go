package sdnotify

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestTell: lines arrive as one datagram, at a file and at an abstract socket.
func TestTell(t *testing.T) {
	names := []string{filepath.Join(t.TempDir(), "notify")}
	if runtime.GOOS == "linux" {
		names = append(names, "@quipu-test-"+strconv.Itoa(os.Getpid()))
	}
	for _, name := range names {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		m := FromEnviron(environ(map[string]string{"NOTIFY_SOCKET": name}))
		if err := m.Tell("READY=1", "STATUS=serving"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "READY=1\nSTATUS=serving" {
			t.Errorf("%s: %q, %v", name, buf[:n], err)
		}
		conn.Close()
		if err := m.Tell("WATCHDOG=1"); err == nil {
			t.Errorf("%s: a manager that is gone is told without an error", name)
		}
	}
}

func environ(m map[string]string) func(string) string {
	return func(name string) string { return m[name] }
}

func TestFromEnviron(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, tc := range []struct {
		env  map[string]string
		none bool
		want time.Duration
	}{
		{map[string]string{}, true, 0},
		{map[string]string{"WATCHDOG_USEC": "1000"}, true, 0},
		{map[string]string{"NOTIFY_SOCKET": "/s"}, false, 0},
		{map[string]string{"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "2000000"}, false, 2 * time.Second},
		{map[string]string{"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": own}, false, 2 * time.Second},
		{map[string]string{"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, false, 0},
		{map[string]string{"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "-5"}, false, 0},
		{map[string]string{"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "x"}, false, 0},
	} {
		if m := FromEnviron(environ(tc.env)); (m == nil) != tc.none || m.Watchdog() != tc.want {
			t.Errorf("%v: %v", tc.env, m)
		}
	}
	if err := (*Manager)(nil).Tell("READY=1"); err != nil {
		t.Error(err)
	}
}
