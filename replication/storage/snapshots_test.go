package storage

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"quipu/internal/redistest"
)

func testSnapshots(t *testing.T) SnapshotConfig {
	dir := redistest.FastDir(t)
	return SnapshotConfig{
		Dir: dir, Identity: Identity{NodeID: "a", Cluster: "counts", Incarnation: NewIncarnation()}, Logger: silent(), Guard: testGuard(dir),
		LogWritten: func() int64 { return 0 },
	}
}

// A snapshot of several blocks comes back, and one damaged bit in any of them is found and placed.
func TestSnapshotBlocks(t *testing.T) {
	cfg := testSnapshots(t)
	s, err := OpenSnapshots(cfg)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 3*snapBlock+100)
	for i := range body {
		body[i] = byte(i >> 8)
	}
	sink, err := s.Create(raft.SnapshotVersionMax, 20, 3, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenSnapshots(cfg); err != nil {
		t.Fatal(err)
	}
	list, _ := s.List()
	if len(list) != 1 || list[0].Index != 20 || list[0].Term != 3 {
		t.Fatalf("%+v", list)
	}
	_, r, err := s.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(body))
	if _, err := r.(*snapshotFile).ReadAt(got, 0); err != nil || string(got) != string(body) {
		t.Errorf("the body is not what was written: %v", err)
	}
	r.Close()
	for i := range int64(4) {
		f, err := s.open(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		f.blocks[i] ^= 1
		var corrupt *CorruptError
		if err := f.verify(); !errors.As(err, &corrupt) || corrupt.Offset != f.start+i*snapBlock {
			t.Errorf("block %d: %v", i, err)
		}
		f.Close()
	}
}

// writeSnapshot makes a snapshot of size bytes; own is what Own is called with, nil: it is the leader's.
func writeSnapshot(t *testing.T, s *SnapshotStore, index uint64, size int, own func() bool) error {
	t.Helper()
	sink, err := s.Create(raft.SnapshotVersionMax, index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if own != nil {
		sink.(*SnapshotSink).Own(own)
	}
	if _, err := sink.Write(make([]byte, size)); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

func snapshotNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

// A snapshot that is being sent stays whole, whatever comes meanwhile.
func TestSnapshotPinned(t *testing.T) {
	cfg := testSnapshots(t)
	s, err := OpenSnapshots(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const size = diskShorten + 3*snapBlock // deleting it begins with shortening it
	if err := writeSnapshot(t, s, 1, size, nil); err != nil {
		t.Fatal(err)
	}
	list, _ := s.List()
	_, r, err := s.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	for index := range uint64(3) {
		if err := writeSnapshot(t, s, 2+index, 100, nil); err != nil {
			t.Fatal(err)
		}
	}
	f := r.(*snapshotFile)
	if err := f.verify(); err != nil {
		t.Errorf("while it is read: %v", err)
	}
	if names := snapshotNames(t, cfg.Dir); len(names) != 3 {
		t.Errorf("%v: want the newest two and the one that is read", names)
	}
	r.Close()
	r.Close()
	if len(s.pins) != 0 {
		t.Errorf("pins %v", s.pins)
	}
	// A crash here leaves three. Opening deletes none: the log, to which deleting leaves the disk, is opened later.
	opening := cfg
	opening.LogWritten = func() int64 { panic("the log is not open") }
	if s, err = OpenSnapshots(opening); err != nil {
		t.Fatal(err)
	}
	if names := snapshotNames(t, cfg.Dir); len(names) != 3 {
		t.Errorf("%v: want all that were there", names)
	}
	s.disk.written = cfg.LogWritten
	if err := writeSnapshot(t, s, 9, 100, nil); err != nil {
		t.Error(err)
	}
	if names := snapshotNames(t, cfg.Dir); len(names) != 2 {
		t.Errorf("%v: want the newest two", names)
	}
}

// TestSnapshotsOfOneIndex: a snapshot of the leader's and one of this node's own, of the same index, do not write into one file.
func TestSnapshotsOfOneIndex(t *testing.T) {
	s, err := OpenSnapshots(testSnapshots(t))
	if err != nil {
		t.Fatal(err)
	}
	installed := false
	err = writeSnapshot(t, s, 20, 3*snapBlock, func() bool {
		if !installed {
			installed = true
			if err := writeSnapshot(t, s, 20, 2*snapBlock, nil); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if !errors.Is(err, ErrSuperseded) {
		t.Errorf("own snapshot: %v", err)
	}
	list, _ := s.List()
	_, r, err := s.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if size := r.(*snapshotFile).Size(); size != 2*snapBlock {
		t.Errorf("%d bytes", size)
	}
	r.Close()
}

// A snapshot from the leader ends one of this node's own, and stays the newest if that ends later all the same.
func TestSnapshotSuperseded(t *testing.T) {
	cfg := testSnapshots(t)
	s, err := OpenSnapshots(cfg)
	if err != nil {
		t.Fatal(err)
	}
	installed := false
	install := func() bool { // asked between two pieces
		if !installed {
			installed = true
			if err := writeSnapshot(t, s, 20, 100, nil); err != nil {
				t.Error(err)
			}
		}
		return true
	}
	if err := writeSnapshot(t, s, 10, 3*snapBlock, install); !errors.Is(err, ErrSuperseded) {
		t.Errorf("own snapshot: %v", err)
	}
	if index, _ := s.Newest(); index != 20 {
		t.Errorf("the newest snapshot is that of %d", index)
	}
	// The older one ends without having looked.
	if err := writeSnapshot(t, s, 15, 100, nil); !errors.Is(err, ErrSuperseded) {
		t.Errorf("an older snapshot: %v", err)
	}
	if index, _ := s.Newest(); index != 20 {
		t.Errorf("the newest snapshot is that of %d", index)
	}
	if names := snapshotNames(t, cfg.Dir); len(names) != 1 || !strings.Contains(names[0], "20-") {
		t.Errorf("files %v", names)
	}
	// The next own one is as good as any.
	if err := writeSnapshot(t, s, 30, 2*snapBlock, func() bool { return true }); err != nil {
		t.Error(err)
	}
	if err := writeSnapshot(t, s, 31, 100, nil); err != nil {
		t.Error(err)
	}
}
