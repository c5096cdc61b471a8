package replication

import (
	"context"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// A snapshot never takes the whole log away, and what it leaves is measured in bytes.
func TestTrapTrailingLogsByBytes(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	cfg.SegmentBytes, cfg.TrailingLogBytes = 4<<10, 2<<10
	n := startNode(t, cfg)
	defer n.stop(t)
	n.write(t, 0, 500)
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	first, _ := n.logs.FirstIndex()
	last, _ := n.logs.LastIndex()
	if kept := last - first + 1; kept < 30 || kept > 60 {
		t.Errorf("%d entries of %d bytes are kept for %d bytes", kept, HeaderSize+8, cfg.TrailingLogBytes)
	}
}

// Snapshots are triggered by bytes of commands. Ticks and Raft's own entries do not count.
func TestTrapSnapshotsByLogBytes(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	cfg.SnapshotLogBytes = 100 * (HeaderSize + 8)
	n := startNode(t, cfg)
	defer n.stop(t)
	for range 300 {
		n.batch.Tick()
		n.batch.Drain(context.Background())
	}
	n.write(t, 0, 99)
	if got, want := n.LogBytes(), int64(99*(HeaderSize+8)); got != want {
		t.Errorf("LogBytes() = %d, want %d", got, want)
	}
	time.Sleep(2 * monitorEvery)
	if s := n.Status(); s.SnapshotIndex != 0 {
		t.Errorf("ticks made a snapshot: %+v", s)
	}
	n.write(t, 99, 101)
	waitFor(t, "a snapshot", func() bool { return n.Status().SnapshotIndex > 0 })
}

// The default trigger follows the size of the last snapshot.
func TestTrapSnapshotTriggerGrows(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	var faked fakedStores
	faked.snapshotSize.Store(1 << 40)
	faked.into(&cfg)
	n := startNode(t, cfg)
	defer n.stop(t)
	if got := n.snapshotTrigger(); got != 2<<40 {
		t.Errorf("trigger %d after a snapshot of 1 TiB", got)
	}
}
