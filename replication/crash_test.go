package replication

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"quipu/internal/redistest"
)

const crashDirEnv = "QUIPU_REPLICATION_CRASH_DIR"

func crashConfig(dir string) Config {
	cfg := testConfig(dir)
	cfg.SegmentBytes = 8 << 10 // rotates every few dozen entries
	cfg.SnapshotLogBytes = 30 << 10
	cfg.TrailingLogBytes = 10 << 10
	return cfg
}

// crashChild writes the numbers that follow what it finds, several outstanding, and prints "sent n" before and "ok n" after
// each, until it is killed.
func crashChild(dir string) {
	sm := &counter{}
	n, err := tryNode(crashConfig(dir), sm)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	<-n.Ready()
	next := sm.state().count
	fmt.Println("start", next)
	acks := make(chan chan error, 8)
	go func() {
		for v := next; ; v++ {
			if err := <-<-acks; err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
			fmt.Println("ok", v)
		}
	}()
	for v := next; ; v++ {
		fmt.Println("sent", v)
		acks <- submit(n.batch, v)
	}
}

// TestKillNine kills a writing process again and again: what it acknowledged is there, in order, once; rotations, snapshots
// and compactions are under way all the time.
func TestKillNine(t *testing.T) {
	dir := filepath.Join(redistest.FastDir(t), "data")
	rnd := rand.New(rand.NewPCG(1, 2))
	rounds := redistest.Size(5, 12, 50)
	var acked, sent uint64 // counts
	var wrote int          // rounds in which something was acknowledged
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		before := acked
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			word, rest, _ := strings.Cut(lines.Text(), " ")
			v, _ := strconv.ParseUint(rest, 10, 64)
			switch word {
			case "start":
				if v < acked || v > sent {
					t.Fatalf("round %d: %d counted after %d were acknowledged and %d sent", round, v, acked, sent)
				}
				acked, sent = v, v
				life := time.Duration(rnd.IntN(120)) * time.Millisecond
				if round%3 == 2 { // the monitor has snapshots taken
					life += 2 * monitorEvery
				}
				time.AfterFunc(life, func() { cmd.Process.Kill() })
			case "sent":
				sent = max(sent, v+1)
			case "ok":
				acked = max(acked, v+1)
			default:
				t.Fatalf("round %d: %s", round, lines.Text())
			}
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
			t.Fatalf("round %d: the process ended by itself: %v\n%s", round, err, complaint.Bytes())
		}
		if acked > before {
			wrote++
		}
	}
	if wrote < rounds/2 {
		t.Errorf("something was acknowledged in %d rounds of %d: the test tests nothing", wrote, rounds)
	}
	n := startNode(t, crashConfig(dir))
	defer n.stop(t)
	got := n.sm.state()
	if got.count < acked || got.count > sent || got != expected(got.count) {
		t.Errorf("%+v after %d acknowledged and %d sent", got, acked, sent)
	}
	if n.Status().SnapshotIndex == 0 {
		t.Error("no snapshot was taken")
	}
	t.Logf("%d numbers acknowledged over %d rounds, snapshot at %d", acked, rounds, n.Status().SnapshotIndex)
}

func TestSecondProcessIsRefused(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	n := startNode(t, cfg)
	if _, err := tryNode(cfg, &counter{}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("%v", err)
	}
	n.stop(t)
	n = startNode(t, cfg)
	n.stop(t)
}

func TestIdentityIsKept(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	cfg.ClusterName = "counts"
	n := startNode(t, cfg)
	first := n.Status()
	n.stop(t)
	cfg.ClusterName = ""
	n = startNode(t, cfg)
	second := n.Status()
	n.stop(t)
	if first.NodeID == "" || first.NodeID != second.NodeID || first.Incarnation != second.Incarnation || second.ClusterName != "counts" {
		t.Errorf("%+v, then %+v", first, second)
	}
	cfg.NodeID = "another"
	if _, err := tryNode(cfg, &counter{}); err == nil || !strings.Contains(err.Error(), first.NodeID) {
		t.Errorf("opened as another node: %v", err)
	}
	cfg.NodeID, cfg.ClusterName = "", "another"
	if _, err := tryNode(cfg, &counter{}); err == nil || !strings.Contains(err.Error(), "counts") {
		t.Errorf("opened as another cluster: %v", err)
	}
	os.RemoveAll(filepath.Join(cfg.Dir, groupName)) // a wiped disk
	n = startNode(t, cfg)
	if n.Status().NodeID == first.NodeID {
		t.Error("a wiped node kept its ID and can vote twice")
	}
	n.stop(t)
}

// The boot counter rises at each start, and a node without it does not start.
func TestBootRises(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	for want := uint64(1); want <= 3; want++ {
		n := startNode(t, cfg)
		if got := n.Status().Boot; got != want {
			t.Errorf("start %d has boot counter %d", want, got)
		}
		n.write(t, 0, 1)
		n.stop(t)
	}
	path := filepath.Join(cfg.Dir, groupName, "boot")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, damage := range map[string]func() error{
		"missing": func() error { return os.Remove(path) },
		"damaged": func() error { return os.WriteFile(path, flipped(good, len(good)-8), 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if _, err := tryNode(cfg, &counter{}); !errors.As(err, &corrupt) || corrupt.File != path {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := startNode(t, cfg)
	if got := n.Status().Boot; got != 4 {
		t.Errorf("boot counter %d after the damage was undone, want 4", got)
	}
	n.stop(t)
}

// An entry this version does not know stops the node; nothing behind it is applied.
func TestEntryFromTheFutureStopsTheNode(t *testing.T) {
	cfg := testConfig(redistest.FastDir(t))
	fatal := make(chan error, 1)
	cfg.OnFatal = func(err error) { fatal <- err }
	n := startNode(t, cfg)
	n.write(t, 0, 3)
	n.fsm.level.Store(uint32(SemanticsLevel + 1)) // the next entry gets it
	if err := outcomeOf(t, submit(n.batch, 3)); err == nil {
		t.Error("acknowledged")
	}
	if err := <-fatal; !strings.Contains(err.Error(), "newer version") {
		t.Error(err)
	}
	// Not even what would be applicable behind it.
	valid := make([]byte, HeaderSize+8)
	encodeEntry(valid, entryHeader{level: 1, stamp: 1 << 50})
	n.fsm.Apply(&raft.Log{Type: raft.LogCommand, Index: 1 << 40, Data: valid})
	if n.sm.state() != expected(3) {
		t.Error("applied")
	}
	n.batch.Close()
	if err := n.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	again := make(chan error, 1)
	cfg.OnFatal = func(err error) { again <- err }
	n, err := tryNode(cfg, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-again; !strings.Contains(err.Error(), "newer version") {
		t.Error(err)
	}
	n.batch.Close()
	n.Shutdown(context.Background())
}
