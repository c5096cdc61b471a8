package storage

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft-wal/types"
	"golang.org/x/sys/unix"
)

func mountSmall(t *testing.T, dir, size string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// On a full disk the list of segments can still be replaced, any number of times, and what a crash in the middle leaves is
// put right.
func TestSegmentListNeedsNoBlocks(t *testing.T) {
	dir := t.TempDir()
	mountSmall(t, dir, "1m")
	fail := func(err error) { t.Error(err) }
	m := &segmentList{dir: dir, fail: fail, patient: func(op func() error) error { return op() }}
	var state types.PersistentState
	commit := func() {
		t.Helper()
		state.NextSegmentID++
		if err := m.CommitState(state); err != nil {
			t.Fatal(err)
		}
		got, err := m.Load(dir)
		if err != nil || got.NextSegmentID != state.NextSegmentID {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	state.Segments = make([]types.SegmentInfo, 10)
	commit()
	os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 1<<20), 0o600)
	for range 3 {
		commit()
	}
	state.Segments = make([]types.SegmentInfo, 12)
	commit()
	os.Link(m.path(), m.path()+".old")
	commit()
	os.Remove(filepath.Join(dir, "ballast"))
	os.Remove(m.temp())
	os.Link(m.path(), m.temp())
	before, _ := os.Stat(m.path())
	commit()
	if after, _ := os.Stat(m.path()); os.SameFile(before, after) {
		t.Error("the file that counts was written in place")
	}
}

// A write of the log that finds no room waits for it, and ends when the node stops.
func TestLogWriteWaitsForRoom(t *testing.T) {
	dir := t.TempDir()
	mountSmall(t, dir, "1m")
	guard := NewDiskGuard(GuardConfig{Dir: dir, Changed: func(*DiskFullError) {}})
	fs := newSegmentFS(dir, 64<<10, slog.New(slog.DiscardHandler), func(err error) { t.Error(err) }, guard)
	f, err := fs.Create(dir, "a.wal", 48<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ballast := filepath.Join(dir, "ballast")
	fill := func() { os.WriteFile(ballast, make([]byte, 1<<20), 0o600) }
	fill()
	if _, err := f.WriteAt(make([]byte, 64<<10), 0); err != nil {
		t.Errorf("inside what is preallocated: %v", err)
	}
	if _, err := f.WriteAt(make([]byte, 8<<10), 64<<10); !isNoSpace(err) {
		t.Errorf("while the log is opened: %v", err)
	}
	fs.hasty.Store(false)
	time.AfterFunc(200*time.Millisecond, func() { os.Remove(ballast) })
	if n, err := f.WriteAt(make([]byte, 8<<10), 64<<10); n != 8<<10 || err != nil {
		t.Errorf("with room later: %d, %v", n, err)
	}
	fill()
	time.AfterFunc(200*time.Millisecond, func() { fs.hasty.Store(true) })
	if _, err := f.WriteAt(make([]byte, 8<<10), 96<<10); !isNoSpace(err) {
		t.Errorf("while the node stops: %v", err)
	}
}
