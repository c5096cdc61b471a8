package replication

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSmallDisk fills a real file system of 12 MiB to the brim, from the log and from outside.
func TestSmallDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("SKIPPED: cannot mount a tmpfs: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	cfg := Config{Dir: filepath.Join(dir, "data"), Logger: testConfig("").Logger, SnapshotLogBytes: 1 << 30}
	cfg.OnFatal = func(err error) { t.Errorf("the node stopped: %v", err) }
	n := startNode(t, cfg)
	var count uint64
	// A hundred numbers in one entry.
	write := func() (err error) {
		var waits []chan error
		b := n.batch.Lock(0).(*testBatch)
		for i := range uint64(100) {
			waits = append(waits, b.add(count+i))
		}
		n.batch.Unlock()
		n.batch.Flush()
		for _, ch := range waits {
			err = outcomeOf(t, ch)
		}
		if err == nil {
			count += 100
		}
		return err
	}
	fill := func() {
		t.Helper()
		for range 200_000 {
			if err := write(); err != nil {
				var full *DiskFullError
				if !isNotApplied(err) || !errors.As(err, &full) {
					t.Fatalf("outcome %v", err)
				}
				return
			}
		}
		t.Fatal("never full")
	}
	ballast := filepath.Join(dir, "ballast")
	os.WriteFile(ballast, make([]byte, 9<<20), 0o600)
	fill()
	n.stop(t)
	n = startNode(t, cfg)
	if got := n.sm.state(); got != expected(count) {
		t.Errorf("%+v, want %+v", got, expected(count))
	}
	waitFor(t, "writes to be refused again", func() bool { return n.Writable() != nil })
	// As full as it gets: reads and restarts go on all the same.
	os.WriteFile(filepath.Join(dir, "more"), make([]byte, 12<<20), 0o600)
	n.stop(t)
	n = startNode(t, cfg)
	if got := n.sm.state(); got != expected(count) {
		t.Errorf("%+v, want %+v", got, expected(count))
	}
	os.Remove(filepath.Join(dir, "more"))
	os.Remove(ballast)
	start := time.Now()
	waitFor(t, "writes to resume", func() bool { return n.Writable() == nil })
	t.Logf("%d writes fitted; resumed after %v", count, time.Since(start))
	for range 100 {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	n.stop(t)
}
