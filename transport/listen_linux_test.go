package transport

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnixPermissions: from the moment it is there, a socket file is for nobody whom it is not meant for.
func TestUnixPermissions(t *testing.T) {
	dir, err := os.MkdirTemp("", "quipu") // t.TempDir is too long for the path of a socket on some systems
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	old := unix.Umask(0)
	defer unix.Umask(old)
	path := filepath.Join(dir, "socket")
	ln, err := bindUnix(path, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the socket: %v, %v", info.Mode(), err)
	}
}
