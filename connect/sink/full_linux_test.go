package sink

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quipu/connect/internal/testbed"
)

// TestDiskFull: a disk without room makes the sink wait, and it goes on when there is some.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("quipu-sink-test", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("cannot mount a tmpfs (root is needed): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	b := &bed{t, "sqlite:" + filepath.Join(dir, "likes.db")}
	server := testbed.StartQuipu(t, 1)
	s := b.newSink(server.Addrs, "")
	b.run(s)
	l := start(t, server, 300)
	l.await(t, 2000)
	b.awaitState(s, Writing)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	if got := b.await(s, "waiting", func(s Snapshot) bool { return s.State == Waiting }); !strings.Contains(got.Reason, "full") {
		t.Errorf("the reason is %q", got.Reason)
	}
	l.await(t, 2000)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	b.compare(l, server)
}

// fill writes until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
