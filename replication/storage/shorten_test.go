package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"

	"quipu/internal/redistest"
)

// shortenLog opens the log in dir; its errors fail the test.
func shortenLog(t *testing.T, dir string, create bool) *LogStore {
	t.Helper()
	cfg := testLog(t, dir)
	cfg.SegmentBytes, cfg.Create = 64<<10, create
	return openLog(t, cfg)
}

// appendTo stores entries of 1 KiB in a term, each in a write of its own.
func appendTo(t *testing.T, s *LogStore, term, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		data := fmt.Appendf(make([]byte, 0, 1<<10), "%d in %d", i, term)
		if err := s.StoreLog(&raft.Log{Index: i, Term: term, Data: data[:1<<10]}); err != nil {
			t.Fatal(err)
		}
	}
}

// markOnDisk is what the next start will find.
func markOnDisk(t *testing.T, dir string) uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, watermarkName))
	if err != nil {
		t.Fatal(err)
	}
	m, err := decodeWatermark(b)
	if err != nil {
		t.Fatal(err)
	}
	return m.index
}

// TestShortenedLogOpens deletes the end of the log, as a follower does whose entries the new leader does not have. The
// watermark must be lowered before that: whatever moment the machine stops at, the next start must not take the entries
// deleted for lost ones.
func TestShortenedLogOpens(t *testing.T) {
	const last = 200 // several segments
	for _, first := range []uint64{last, last - 1, 150, 70, 2, 1} {
		t.Run(fmt.Sprintf("from %d", first), func(t *testing.T) {
			root := redistest.FastDir(t)
			dir, during, after := filepath.Join(root, "log"), filepath.Join(root, "during"), filepath.Join(root, "after")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			s := shortenLog(t, dir, true)
			appendTo(t, s, 1, 1, last)
			if got := markOnDisk(t, dir); got != last {
				t.Fatalf("the watermark is %d after %d entries", got, last)
			}
			// The log is shorter from when its list of segments is replaced; patient stands around that.
			commits, replace := 0, s.meta.patient
			s.meta.patient = func(op func() error) error {
				if commits++; commits == 1 {
					if got := markOnDisk(t, dir); got >= first {
						t.Errorf("the watermark is still %d when the entries from %d on are deleted", got, first)
					}
					redistest.CopyDir(t, dir, during)
				}
				return replace(op)
			}
			if err := s.DeleteRange(first, last); err != nil {
				t.Fatal(err)
			}
			if commits == 0 {
				t.Fatal("the list of segments was not replaced: the test tests nothing")
			}
			redistest.CopyDir(t, dir, after)
			checkShortened(t, during, first, last)
			checkShortened(t, after, first, first-1)
			// The node that goes on instead.
			s.meta.patient = replace
			appendTo(t, s, 2, first, first+1)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if got := markOnDisk(t, dir); got != first+1 {
				t.Errorf("the watermark is %d, want %d", got, first+1)
			}
			checkShortened(t, dir, first, first+1)
		})
	}
}

// checkShortened opens a log that was shortened from first on, whose last entry is to be last, and appends to it.
func checkShortened(t *testing.T, dir string, first, last uint64) {
	t.Helper()
	s := shortenLog(t, dir, false)
	got, err := s.LastIndex()
	if err != nil || got != last {
		t.Errorf("%s: the last entry is %d (%v), want %d", filepath.Base(dir), got, err, last)
	}
	var l raft.Log
	for i := uint64(1); i < first; i++ {
		if err := s.GetLog(i, &l); err != nil || l.Term != 1 {
			t.Fatalf("%s: entry %d: term %d, %v", filepath.Base(dir), i, l.Term, err)
		}
	}
	appendTo(t, s, 3, got+1, got+3)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
