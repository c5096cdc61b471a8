package storage

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testGuard(dir string) *DiskGuard {
	return NewDiskGuard(GuardConfig{Dir: dir, Changed: func(*DiskFullError) {}})
}

// testLog describes a log with small segments.
func testLog(t testing.TB, dir string) LogConfig {
	return LogConfig{
		Dir: dir, SegmentBytes: 8 << 10, TrailingBytes: 1 << 20, MaxEntryBytes: 8 << 20, Logger: silent(),
		Fail: func(err error) { t.Error(err) }, Guard: testGuard(dir),
	}
}

// newLog makes an empty log in a directory of its own and opens it.
func newLog(t testing.TB) (*LogStore, LogConfig) {
	t.Helper()
	cfg := testLog(t, filepath.Join(redistest.FastDir(t), "wal"))
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	first := cfg
	first.Create = true
	s, err := OpenLog(first)
	if err != nil {
		t.Fatal(err)
	}
	appendLog(t, s, 1, 2) // as a bootstrap does: a log without any entry is damage
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openLog(t, cfg), cfg
}

func openLog(t testing.TB, cfg LogConfig) *LogStore {
	t.Helper()
	s, err := OpenLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testData is what an entry of these tests holds.
func testData(index uint64) []byte {
	b := make([]byte, 56)
	for i := range b {
		b[i] = byte(index) + byte(i)
	}
	return b
}

// appendLog writes the entries [from, to), one by one.
func appendLog(t testing.TB, s *LogStore, from, to uint64) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := s.StoreLog(&raft.Log{Index: i, Term: 1, Type: raft.LogCommand, Data: testData(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// checkLog verifies that a log holds exactly the entries 1 to last.
func checkLog(t testing.TB, what string, s *LogStore, last uint64) {
	t.Helper()
	if got, err := s.LastIndex(); err != nil || got != last {
		t.Fatalf("%s: the last entry is %d, want %d (%v)", what, got, last, err)
	}
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil || string(l.Data) != string(testData(i)) || l.Index != i || l.Term != 1 || len(l.Extensions) != 0 {
			t.Fatalf("%s: entry %d is %+v, %v", what, i, l, err)
		}
	}
}
