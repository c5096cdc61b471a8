package systest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quipu/internal/redistest"
)

// smallDisk is a file system of its own that a test may fill.
type smallDisk struct {
	dir     string
	ballast []string // files that take up room
}

const diskSize = 256 << 20

func mountSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("quipu-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		t.Skipf("cannot mount a tmpfs (root is needed): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return &smallDisk{dir: dir}
}

func (d *smallDisk) free(t *testing.T) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// take fills n bytes, or all there is.
func (d *smallDisk) take(t *testing.T, n int64) {
	t.Helper()
	path := filepath.Join(d.dir, fmt.Sprint("ballast", len(d.ballast)))
	f, err := os.Create(path)
	if errors.Is(err, unix.ENOSPC) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d.ballast = append(d.ballast, path)
	block := make([]byte, 64<<10)
	for ; n > 0; n -= int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			return
		}
	}
}

// release removes all that take took.
func (d *smallDisk) release(t *testing.T) {
	t.Helper()
	for _, path := range d.ballast {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	d.ballast = nil
}

// counting is one key and what is known about it.
type counting struct{ acked, unknown int64 }

// incr tries one increment and classes its outcome.
func (k *counting) incr(t *testing.T, c *redistest.Conn) (refusal string) {
	t.Helper()
	r, err := c.Do("INCR", "n")
	switch {
	case err != nil:
		k.unknown++
		return err.Error()
	case !r.IsError():
		v, err := r.Int()
		if err != nil || v < k.acked+1 || v > k.acked+k.unknown+1 {
			t.Fatalf("INCR answered %v after %d acknowledged and %d unknown", r, k.acked, k.unknown)
		}
		k.acked, k.unknown = v, 0
		return ""
	case strings.HasPrefix(r.Text, "UNKNOWN"):
		k.unknown++
	case !strings.HasPrefix(r.Text, "MISCONF"):
		t.Fatalf("INCR on a full disk: %s", r.Text)
	}
	return r.Text
}

func (k *counting) check(t *testing.T, c *redistest.Conn) {
	t.Helper()
	v, err := do(t, c, "GET", "n").Int()
	if err != nil || v < k.acked || v > k.acked+k.unknown {
		t.Fatalf("the counter is %d (%v): %d acknowledged, %d unknown", v, err, k.acked, k.unknown)
	}
}

// TestDiskFull fills the disk under a node: writes are refused before it is full, reads go on, writes resume when there is
// room, and nothing acknowledged is lost, also when the disk fills at once.
func TestDiskFull(t *testing.T) {
	t.Parallel() // it mostly waits
	d := mountSmallDisk(t)
	node := redistest.Quipu{Dir: filepath.Join(d.dir, "data"), Flags: smallFiles}
	s := node.Start(t)
	c := s.Dial(t)
	var k counting
	for range 200 {
		if refusal := k.incr(t, c); refusal != "" {
			t.Fatalf("refused with %d MiB free: %s", d.free(t)>>20, refusal)
		}
	}
	refusal := ""
	d.take(t, d.free(t)-40<<20)
	for refusal == "" && d.free(t) > 2<<20 {
		d.take(t, 2<<20)
		// The node may look at the disk only now and then.
		for deadline := time.Now().Add(300 * time.Millisecond); refusal == "" && time.Now().Before(deadline); {
			refusal = k.incr(t, c)
		}
	}
	if !strings.HasPrefix(refusal, "MISCONF") {
		t.Fatalf("with %d KiB free no write was refused by MISCONF: %q", d.free(t)>>10, refusal)
	}
	t.Logf("refused with %d MiB free: %s", d.free(t)>>20, refusal)
	if d.free(t) < 1<<20 {
		t.Errorf("refused only when %d bytes were left", d.free(t))
	}
	k.check(t, c)
	if r := do(t, c, "PING"); r.Text != "PONG" {
		t.Errorf("PING: %v", r)
	}
	d.release(t)
	resume(t, s, c, &k)
	suddenlyFull(t, d, node, s, &k)
}

// resume waits until writes are taken again.
func resume(t *testing.T, s *redistest.Server, c *redistest.Conn, k *counting) {
	t.Helper()
	eventually(t, 30*time.Second, func() (string, bool) {
		if !s.Alive() {
			t.Fatalf("the node died: %s", s.Output())
		}
		refusal := k.incr(t, c)
		return refusal, refusal == ""
	})
	k.check(t, c)
}

// suddenlyFull takes all room at once under load, kills the node, starts it on the full disk, and then makes room.
func suddenlyFull(t *testing.T, d *smallDisk, node redistest.Quipu, s *redistest.Server, k *counting) {
	t.Helper()
	c := s.Dial(t)
	for range 100 {
		k.incr(t, c)
	}
	d.take(t, diskSize)
	for deadline := time.Now().Add(2 * time.Second); s.Alive() && time.Now().Before(deadline); {
		if refusal := k.incr(t, c); refusal != "" && !s.Alive() {
			break
		}
	}
	checkOutput(t, s)
	s.Kill9()
	s = node.Launch(t)
	if err := s.WaitReady(30 * time.Second); err != nil {
		t.Logf("on a full disk the node does not start: %v", err)
		if s.Alive() || s.Status() <= 0 || !strings.Contains(s.Output(), "space") {
			t.Errorf("and does not say why: %s", s.Output())
		}
	} else {
		k.check(t, s.Dial(t))
	}
	checkOutput(t, s)
	s.Kill9()
	d.release(t)
	s = node.Start(t)
	c = s.Dial(t)
	k.check(t, c)
	resume(t, s, c, k)
}
