package replication

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

const damageWrites = 900

// damagedBase makes a data directory with two snapshots and several segments and copies it while the node runs, as kill -9
// would leave it.
func damagedBase(t *testing.T) (dir string, cfg Config) {
	live := testConfig(filepath.Join(redistest.FastDir(t), "live"))
	live.SegmentBytes = 16 << 10
	live.TrailingLogBytes = 12 << 10
	n := startNode(t, live)
	for i := uint64(0); i < 3; i++ {
		n.write(t, i*damageWrites/3, (i+1)*damageWrites/3)
		if i < 2 {
			if err := n.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitForSpare(t, live.Dir)
	dir = filepath.Join(redistest.FastDir(t), "base")
	redistest.CopyDir(t, live.Dir, dir)
	n.stop(t)
	return dir, live
}

func waitForSpare(t *testing.T, dir string) {
	t.Helper()
	waitFor(t, "a spare segment", func() bool {
		_, err := os.Stat(filepath.Join(dir, groupName, walName, "next.spare"))
		return err == nil
	})
}

func listFiles(t *testing.T, dir string) (files []string) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, rel)
		}
		return nil
	})
	return files
}

// damage changes one file and describes what it did.
func damage(t *testing.T, path string, rnd *rand.Rand) string {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kind := rnd.IntN(8)
	if len(b) == 0 && kind < 7 {
		kind = 7
	}
	at := 0
	if len(b) > 0 {
		at = rnd.IntN(len(b))
	}
	what := ""
	switch kind {
	case 0, 1:
		b, what = b[:at], fmt.Sprintf("cut at %d of %d", at, len(b))
	case 2, 3, 4, 5:
		if kind == 5 {
			at = rnd.IntN(min(len(b), 256)) // headers are where a bit does the most
		}
		bit := rnd.IntN(8)
		b[at] ^= 1 << bit
		what = fmt.Sprintf("bit %d of byte %d of %d flipped", bit, at, len(b))
	case 6:
		from := at &^ 511
		clear(b[from:min(len(b), from+512)])
		what = fmt.Sprintf("sector at %d of %d cleared", from, len(b))
	case 7:
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return "removed"
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return what
}

// TestDamagedFiles cuts files and flips bits: a node either comes back with exactly the acknowledged state and goes on, or
// refuses and names the file.
func TestDamagedFiles(t *testing.T) {
	base, cfg := damagedBase(t)
	files := listFiles(t, base)
	work := redistest.FastDir(t)
	cases := 320
	if testing.Short() || raceDetector {
		cases = 60
	}
	started, refused := 0, 0
	for i := range cases {
		rnd := rand.New(rand.NewPCG(uint64(i), 77))
		file := files[i%len(files)]
		dir := filepath.Join(work, fmt.Sprint(i))
		redistest.CopyDir(t, base, dir)
		what := fmt.Sprintf("case %d: %s: %s", i, file, damage(t, filepath.Join(dir, file), rnd))
		cfg.Dir = dir
		n, err := tryNode(cfg, &counter{})
		if err != nil {
			refused++
			checkRefusal(t, what, filepath.Base(file), err)
		} else {
			started++
			<-n.Ready()
			checkRecovered(t, what, n, cfg)
		}
		os.RemoveAll(dir)
	}
	t.Logf("%d files, %d cases: %d started with the exact state, %d refused", len(files), cases, started, refused)
}

func checkRefusal(t *testing.T, what, file string, err error) {
	t.Helper()
	var corrupt *CorruptError
	var newer *VersionError
	named := strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "missing")
	if !errors.As(err, &corrupt) && !errors.As(err, &newer) || !named {
		t.Errorf("%s: unclear refusal: %v", what, err)
	} else if testing.Verbose() {
		t.Logf("%s: refused: %v", what, err)
	}
}

// checkRecovered verifies the state, writes on, and verifies again after a restart.
func checkRecovered(t *testing.T, what string, n *node, cfg Config) {
	t.Helper()
	if got := n.sm.state(); got != expected(damageWrites) {
		t.Errorf("%s: WRONG STATE %+v", what, got)
		n.stop(t)
		return
	}
	n.write(t, damageWrites, damageWrites+40)
	n.stop(t)
	n = startNode(t, cfg)
	if got := n.sm.state(); got != expected(damageWrites+40) {
		t.Errorf("%s: WRONG STATE after going on: %+v", what, got)
	}
	n.stop(t)
}
