package replication

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A snapshot never takes the whole log away, and what it leaves is measured in bytes.
func TestTrapTrailingLogsByBytes(t *testing.T) {
	var empty trail
	if empty.entries(0) == 0 || empty.entries(1<<40) == 0 {
		t.Error("TrailingLogs 0")
	}
	tr := trail{step: 100}
	for i := range uint64(1000) {
		tr.add(i+1, 50)
	}
	if got := tr.entries(5000); got < 100 || got > 105 {
		t.Errorf("5000 bytes of 50-byte entries are %d entries", got)
	}
	cfg := testConfig(fastDir(t))
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
	cfg := testConfig(fastDir(t))
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
	// The default follows the size of the last snapshot.
	n.cfg.SnapshotLogBytes = 0
	n.snaps.newest.Size = 1 << 40
	if got := n.snapshotTrigger(); got != 2<<40 {
		t.Errorf("trigger %d after a snapshot of 1 TiB", got)
	}
}

// bolt must not write its freelist at each commit: NoFreelistSync shows in the meta pages.
func TestTrapBoltOptions(t *testing.T) {
	path := filepath.Join(fastDir(t), stableName)
	s, err := openStableStore(path, true, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	s.SetUint64([]byte(keyCurrentTerm), 1)
	s.SetUint64([]byte(keyCurrentTerm), 2)
	s.close()
	b, _ := os.ReadFile(path)
	size := int(binary.LittleEndian.Uint32(b[boltPageHeader+8:]))
	for i := range 2 {
		if freelist := binary.LittleEndian.Uint64(b[i*size+boltPageHeader+32:]); freelist != 1<<64-1 {
			t.Errorf("meta page %d has a freelist at page %d", i, freelist)
		}
	}
	if info, _ := os.Stat(path); info.Size() > 256<<10 {
		t.Errorf("%d bytes for one record", info.Size())
	}
}
