package replication

import (
	"errors"
	"io"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

func TestRestartReplaysSnapshotAndLog(t *testing.T) {
	cfg := testConfig(t.TempDir())
	n := startNode(t, cfg)
	n.write(t, 0, 1000)
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	n.write(t, 1000, 1500)
	n.stop(t)
	for range 2 {
		n = startNode(t, cfg)
		if got := n.sm.state(); got != expected(1500) {
			t.Fatalf("state %+v after the restart, want %+v", got, expected(1500))
		}
		n.stop(t)
	}
}

// unloadable is a machine that cannot load its snapshot.
type unloadable struct{ counter }

var errUnloadable = errors.New("section 7 is damaged")

func (*unloadable) Restore(io.ReaderAt, int64, uint64, int64) error { return errUnloadable }

func TestMachineRefusesSnapshot(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	n := startNode(t, cfg)
	n.write(t, 0, 3)
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	_, err := openGroup(t.Context(), cfg, &unloadable{})
	if !errors.Is(err, errUnloadable) || !strings.Contains(err.Error(), ".snap") || !strings.Contains(err.Error(), "backup") {
		t.Errorf("%v", err)
	}
	n = startNode(t, cfg)
	n.stop(t)
	if err := n.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
}

// A snapshot without a change since the last is not written again, also after a restart.
func TestSnapshotOfNothingNew(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	n := startNode(t, cfg)
	n.write(t, 0, 3)
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	want, _ := n.snaps.Newest()
	for range 2 {
		if err := n.Snapshot(); err != nil {
			t.Error(err)
		}
		if got, _ := n.snaps.Newest(); got != want {
			t.Errorf("snapshot at %d, then at %d", want, got)
		}
		n.stop(t)
		n = startNode(t, cfg)
	}
	n.stop(t)
}
