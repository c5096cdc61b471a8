package replication

import (
	"bufio"
	"context"
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
	dir := filepath.Join(fastDir(t), "data")
	rnd := rand.New(rand.NewPCG(1, 2))
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	var acked, sent uint64 // counts
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
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
				time.AfterFunc(time.Duration(rnd.IntN(120))*time.Millisecond, func() { cmd.Process.Kill() })
			case "sent":
				sent = max(sent, v+1)
			case "ok":
				acked = max(acked, v+1)
			default:
				t.Fatalf("round %d: %s", round, lines.Text())
			}
		}
		cmd.Wait()
	}
	n := startNode(t, crashConfig(dir))
	defer n.stop(t)
	got := n.sm.state()
	if got.count < acked || got.count > sent || got != expected(got.count) {
		t.Errorf("%+v after %d acknowledged and %d sent", got, acked, sent)
	}
	t.Logf("%d numbers acknowledged over %d rounds, snapshot at %d", acked, rounds, n.Status().SnapshotIndex)
}

// TestSealedButNotRotated is the moment between the write that fills a segment and the rotation: raft-wal alone refuses every
// write from then on.
func TestSealedButNotRotated(t *testing.T) {
	cfg := testConfig(fastDir(t))
	cfg.SegmentBytes = 8 << 10
	n := startNode(t, cfg)
	meta, _ := os.ReadFile(n.logs.meta.path())
	dir := n.logs.dir
	names, _ := n.logs.fs.ListDir(dir)
	first := filepath.Join(dir, names[0])
	sealed := func() bool {
		f, err := os.Open(first)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		scan, err := scanTail(f, 1)
		if err != nil {
			t.Fatal(err)
		}
		return scan.indexStart > 0
	}
	v := uint64(0)
	for ; !sealed(); v++ {
		n.write(t, v, v+1)
	}
	n.stop(t)
	// The list of segments as it was before the rotation, without the segment that the rotation created.
	names, _ = n.logs.fs.ListDir(dir)
	for _, name := range names[1:] {
		os.Remove(filepath.Join(dir, name))
	}
	os.WriteFile(filepath.Join(dir, walMetaName), meta, 0o600)
	n = startNode(t, cfg)
	n.write(t, v, v+50)
	n.stop(t)
	n = startNode(t, cfg)
	if got := n.sm.state(); got != expected(v+50) {
		t.Errorf("%+v, want %+v", got, expected(v+50))
	}
	n.stop(t)
}

// TestTornTail leaves a half written batch behind the last commit, as a power cut does: it was never acknowledged, and must
// neither be read nor disturb what follows.
func TestTornTail(t *testing.T) {
	base := testConfig(fastDir(t))
	n := startNode(t, base)
	n.write(t, 0, 20)
	n.stop(t)
	wal := filepath.Join(groupName, walName)
	names, _ := n.logs.fs.ListDir(n.logs.dir)
	tail := filepath.Join(wal, names[len(names)-1])
	f, err := os.Open(filepath.Join(base.Dir, tail))
	if err != nil {
		t.Fatal(err)
	}
	scan, err := scanTail(f, 1)
	f.Close()
	if err != nil || scan.dirty >= 0 {
		t.Fatalf("%+v %v", scan, err)
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
		cfg := base
		cfg.Dir = fastDir(t)
		copyDir(t, base.Dir, cfg.Dir)
		f, err := os.OpenFile(filepath.Join(cfg.Dir, tail), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt(torn, scan.end)
		f.Close()
		for end := uint64(20); end <= 30; end += 5 {
			n, err := tryNode(cfg, &counter{})
			if err != nil {
				t.Errorf("%s: %v", what, err)
				break
			}
			<-n.Ready()
			if got := n.sm.state(); got != expected(end) {
				t.Errorf("%s: %+v, want %+v", what, got, expected(end))
			}
			n.write(t, end, end+5)
			n.stop(t)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	cfg := testConfig(fastDir(t))
	n := startNode(t, cfg)
	if _, err := tryNode(cfg, &counter{}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("%v", err)
	}
	n.stop(t)
	n = startNode(t, cfg)
	n.stop(t)
}

func TestIdentityIsKept(t *testing.T) {
	cfg := testConfig(fastDir(t))
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

// An entry this version does not know stops the node; nothing behind it is applied.
func TestEntryFromTheFutureStopsTheNode(t *testing.T) {
	cfg := testConfig(fastDir(t))
	fatal := make(chan error, 1)
	cfg.OnFatal = func(err error) { fatal <- err }
	n := startNode(t, cfg)
	n.write(t, 0, 3)
	n.batch.opt.Level = SemanticsLevel + 1
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
