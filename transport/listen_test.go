package transport

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSameHost(t *testing.T) {
	for _, c := range []struct {
		address  net.Addr
		sameHost bool
	}{
		{&net.TCPAddr{IP: net.ParseIP("10.0.0.1")}, false},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1")}, false},
		{&net.TCPAddr{IP: net.ParseIP("127.0.0.1")}, true},
		{&net.TCPAddr{IP: net.ParseIP("127.9.9.9")}, true},
		{&net.TCPAddr{IP: net.ParseIP("::1")}, true},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}, true},
		{&net.UnixAddr{Name: "@"}, true},
	} {
		if got := isSameHost(c.address); got != c.sameHost {
			t.Errorf("%v: same host %v", c.address, got)
		}
	}
}

// TestListenUnix checks what may be in the place of a unix socket: nothing, or a socket that nobody listens on.
func TestListenUnix(t *testing.T) {
	dir, err := os.MkdirTemp("", "quipu") // t.TempDir is too long for the path of a socket on some systems
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "socket")
	ln, err := listenUnix(path, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path, 0o700); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a socket in use was taken over: %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	ln, err = listenUnix(path, 0o700)
	if err != nil {
		t.Fatalf("a socket that a dead process left behind: %v", err)
	}
	ln.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path, 0o700); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}
