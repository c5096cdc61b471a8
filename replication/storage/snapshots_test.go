package storage

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"quipu/internal/redistest"
)

// A snapshot of several blocks comes back, and one damaged bit in any of them is found and placed.
func TestSnapshotBlocks(t *testing.T) {
	dir := redistest.FastDir(t)
	cfg := SnapshotConfig{
		Dir: dir, Identity: NewIdentity("a", "counts"), Logger: silent(), Guard: testGuard(dir),
		LogWritten: func() int64 { return 0 },
	}
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
