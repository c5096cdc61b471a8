package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"quipu/internal/redistest"
)

// segmentFiles are the paths of a log's segments, oldest first.
func segmentFiles(t *testing.T, s *LogStore) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func scanFile(t *testing.T, path string, base uint64) tailScan {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	scan, err := scanTail(f, base)
	if err != nil {
		t.Fatal(err)
	}
	return scan
}

// TestSealedButNotRotated is the moment between the write that fills a segment and the rotation: raft-wal alone refuses every
// write from then on.
func TestSealedButNotRotated(t *testing.T) {
	s, cfg := newLog(t)
	meta, err := os.ReadFile(s.meta.path())
	if err != nil {
		t.Fatal(err)
	}
	first := segmentFiles(t, s)[0]
	next := uint64(2)
	for ; scanFile(t, first, 1).indexStart == 0; next++ {
		appendLog(t, s, next, next+1)
	}
	s.Close()
	// The list of segments as it was before the rotation, without the segment that the rotation created.
	for _, path := range segmentFiles(t, s)[1:] {
		os.Remove(path)
	}
	if err := os.WriteFile(s.meta.path(), meta, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openLog(t, cfg)
	checkLog(t, "after the crash", s, next-1)
	appendLog(t, s, next, next+50)
	s.Close()
	s = openLog(t, cfg)
	checkLog(t, "after going on", s, next+49)
	s.Close()
}

// TestTornTail leaves a half written batch behind the last commit, as a power cut does: it was never acknowledged, and must
// neither be read nor disturb what follows.
func TestTornTail(t *testing.T) {
	s, base := newLog(t)
	appendLog(t, s, 2, 21)
	s.Close()
	paths := segmentFiles(t, s)
	tail := filepath.Base(paths[len(paths)-1])
	scan := scanFile(t, paths[len(paths)-1], 1)
	if scan.dirty >= 0 || scan.last != 20 {
		t.Fatalf("%+v", scan)
	}
	for what, torn := range map[string][]byte{
		"entry without commit": append([]byte{frameEntry, 0, 0, 0, 8, 0, 0, 0}, "12345678"...),
		"index without commit": {frameIndex, 0, 0, 0, 0, 0, 0, 0},
		"commit with bad CRC":  {frameEntry, 0, 0, 0, 0, 0, 0, 0, frameCommit, 0, 0, 0, 9, 9, 9, 9},
		"empty commit":         {frameCommit, 0, 0, 0, 0, 0, 0, 0},
		"garbage":              []byte("garbage that is no frame at all"),
		"behind zeros":         append(make([]byte, 64), frameEntry, 0, 0, 0, 1, 2, 3, 4),
		"length beyond file":   {frameEntry, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 1},
	} {
		cfg := testLog(t, filepath.Join(redistest.FastDir(t), "wal"))
		redistest.CopyDir(t, base.Dir, cfg.Dir)
		f, err := os.OpenFile(filepath.Join(cfg.Dir, tail), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(torn, scan.end); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for last := uint64(20); last <= 30; last += 5 {
			s := openLog(t, cfg)
			checkLog(t, what, s, last)
			appendLog(t, s, last+1, last+6)
			s.Close()
		}
	}
}

// A failed write is final: the error is reported once, and nothing is written after it.
func TestTrapLogWriteErrorIsFinal(t *testing.T) {
	s, cfg := newLog(t)
	s.Close()
	fatal := make(chan error, 2)
	cfg.Fail = func(err error) { fatal <- err }
	s = openLog(t, cfg)
	s.mark.f.Close() // the next write fails
	for i, want := range []string{os.ErrClosed.Error(), "failed before"} {
		err := s.StoreLog(&raft.Log{Index: uint64(2 + i), Term: 1, Type: raft.LogCommand})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("write %d after the damage: %v", i, err)
		}
	}
	if err := s.DeleteRange(1, 1); err == nil || !strings.Contains(err.Error(), "failed before") {
		t.Errorf("DeleteRange: %v", err)
	}
	if err := <-fatal; !errors.Is(err, os.ErrClosed) || len(fatal) != 0 {
		t.Errorf("Fail(%v), and %d more", err, len(fatal))
	}
	s.Close()
}

// An entry that no longer reads as it was written is never served: the error names the place, and Raft, which would panic,
// never sees it.
func TestTrapLogReadError(t *testing.T) {
	s, cfg := newLog(t)
	s.Close()
	fatal := make(chan error, 1)
	cfg.Fail = func(err error) { fatal <- err }
	s = openLog(t, cfg)
	defer s.Close()
	appendLog(t, s, 2, 11)
	path := segmentFiles(t, s)[0]
	offset := locateEntry(path, 1, 8)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xff}, offset+40); err != nil {
		t.Fatal(err)
	}
	s.Start()
	returned := make(chan bool, 1)
	go func() {
		defer close(returned)
		s.GetLog(8, &raft.Log{})
		returned <- true
	}()
	if <-returned {
		t.Fatal("GetLog returned to Raft, which panics then")
	}
	var corrupt *CorruptError
	if err := <-fatal; !errors.As(err, &corrupt) || corrupt.File != path || corrupt.Offset != offset {
		t.Errorf("Fail(%v), want %s at %d", err, path, offset)
	}
}

// raft-wal writes an entry that is too large without an error and can never read it again.
func TestTrapLargeEntryIsRefused(t *testing.T) {
	s, cfg := newLog(t)
	defer s.Close()
	if err := s.StoreLog(&raft.Log{Index: 2, Term: 1, Data: make([]byte, cfg.MaxEntryBytes+1)}); err == nil {
		t.Error("an entry above the limit was written")
	}
	checkLog(t, "after the refusal", s, 1)
}

// What stays in the log behind a snapshot is measured in bytes, and is never nothing.
func TestTrapTrailingByBytes(t *testing.T) {
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
}

// TestSyncsAreCounted: each write of the log is one sync.
func TestSyncsAreCounted(t *testing.T) {
	s, _ := newLog(t)
	defer s.Close()
	before := s.Syncs()
	appendLog(t, s, 2, 5)
	if got := s.Syncs(); got.Count < before.Count+1 || got.Sum <= before.Sum {
		t.Errorf("%+v, before %+v", got, before)
	}
}
