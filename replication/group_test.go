package replication

import (
	"testing"
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
