package systest

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestDamagedFiles damages one file of a data directory after kill -9, at random positions, and starts a node on it: the
// node holds exactly what was acknowledged, or it exits with a message that names the file. It never serves
// anything else.
func TestDamagedFiles(t *testing.T) {
	cases := redistest.Size(16, 16, 60)
	rng := newRand(t)
	pristine, want := makeDataDir(t, rng)
	files := listFiles(t, pristine)
	t.Logf("files: %v", files)
	served, refused := 0, 0
	for i := range cases {
		file := files[i%len(files)]
		kind := damages[rng.IntN(len(damages))]
		t.Run(fmt.Sprintf("%02d %s %s", i, kind.name, filepath.Base(file)), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			redistest.CopyDir(t, pristine, dir)
			detail := kind.damage(t, rng, filepath.Join(dir, file))
			if judgeDamaged(t, dir, file, detail, want) {
				served++
			} else {
				refused++
			}
		})
	}
	t.Logf("%d served exactly what was acknowledged, %d refused", served, refused)
}

// judgeDamaged starts a node on a damaged directory and tells whether it served.
func judgeDamaged(t *testing.T, dir, file, detail string, want dump) (served bool) {
	node := redistest.Quipu{Dir: dir, Flags: smallFiles}
	s := node.Launch(t)
	err := s.WaitReady(60 * time.Second)
	if err != nil {
		out := s.Output()
		switch {
		case s.Alive():
			t.Errorf("%s (%s): neither served nor exited: %v", file, detail, err)
		case s.Status() <= 0 || strings.Contains(out, "panic:") || strings.Contains(out, "goroutine "):
			t.Errorf("%s (%s): died (status %d) instead of refusing: %s", file, detail, s.Status(), out)
		case !namesFile(out, file):
			t.Errorf("%s (%s): the refusal does not name the file: %s", file, detail, out)
		}
		return false
	}
	c := s.Dial(t)
	got, err := readDump(c)
	if err != nil {
		t.Fatalf("%s (%s): %v: %s", file, detail, err, s.Output())
	}
	if d := want.diff(got); d != "" {
		t.Errorf("%s (%s): STARTED WITH WRONG COUNTS: %s\n%s", file, detail, d, s.Output())
		return true
	}
	// What it serves, it must go on serving.
	do(t, c, "INCR", "after the damage")
	s.Kill9()
	s = node.Launch(t)
	if err := s.WaitReady(60 * time.Second); err != nil {
		t.Errorf("%s (%s): served once, then not again: %v", file, detail, err)
		return true
	}
	c = s.Dial(t)
	if r := do(t, c, "GETDEL", "after the damage"); r.Text != "1" {
		t.Errorf("%s (%s): a write after the damage is lost: %v", file, detail, r)
	}
	if got, err = readDump(c); err != nil {
		t.Fatal(err)
	}
	if d := want.diff(got); d != "" {
		t.Errorf("%s (%s): WRONG COUNTS after a second start: %s", file, detail, d)
	}
	return true
}

// namesFile tells whether a message names the file, or the folder of its own that holds it.
func namesFile(message, file string) bool {
	if strings.Contains(message, filepath.Base(file)) {
		return true
	}
	parent := filepath.Base(filepath.Dir(file))
	return parent != "." && strings.Contains(message, parent)
}

// makeDataDir fills a data directory with snapshots and log, kills the node and returns what it held.
func makeDataDir(t *testing.T, rng *rand.Rand) (dir string, want dump) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "pristine")
	node := redistest.Quipu{Dir: dir, Flags: smallFiles}
	s := node.Start(t)
	fill(t, s.Dial(t), rng, 150)
	// A graceful stop takes a snapshot; the load after it makes the log behind it.
	if status, ok := s.Terminate(30 * time.Second); !ok || status != 0 {
		t.Fatalf("SIGTERM: status %d: %s", status, s.Output())
	}
	s = node.Start(t)
	c := s.Dial(t)
	fill(t, c, rng, 60)
	want, err := readDump(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Kill9()
	return dir, want
}

// fill runs rounds of writes of all kinds and waits for each.
func fill(t *testing.T, c *redistest.Conn, rng *rand.Rand, rounds int) {
	t.Helper()
	far := strconv.FormatInt(time.Now().Add(24*time.Hour).UnixMilli(), 10)
	for i := range rounds {
		do(t, c, "SELECT", strconv.Itoa(i%3))
		var commands [][]string
		for range 200 {
			key := "counter:" + strconv.Itoa(rng.IntN(3000))
			switch rng.IntN(6) {
			case 0:
				commands = append(commands, []string{"SET", "text:" + key, strings.Repeat("x", rng.IntN(400))})
			case 1:
				commands = append(commands, []string{"SET", "ttl:" + key, "1", "PXAT", far})
			case 2:
				commands = append(commands, []string{"MULTI"}, []string{"INCR", key}, []string{"INCR", "total"}, []string{"EXEC"})
			case 3:
				commands = append(commands, []string{"DEL", key})
			default:
				commands = append(commands, []string{"INCRBY", key, strconv.Itoa(rng.IntN(1000))})
			}
		}
		replies, err := c.Pipeline(commands...)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range replies {
			if r.IsError() {
				t.Fatalf("%q: %s", commands[i], r.Text)
			}
		}
	}
}

// listFiles lists the files of a data directory, relative to it, those that hold data.
func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() == 0 {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, rel)
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("files of %s: %v, %v", dir, files, err)
	}
	slices.Sort(files)
	return files
}

// damage is one way to spoil a file. It returns what it did.
type damage struct {
	name   string
	damage func(t *testing.T, rng *rand.Rand, path string) string
}

var damages = []damage{
	{"cut", func(t *testing.T, rng *rand.Rand, path string) string {
		b := readFile(t, path)
		at := position(rng, b)
		writeFile(t, path, b[:at])
		return fmt.Sprintf("cut at %d of %d", at, len(b))
	}},
	{"flip", func(t *testing.T, rng *rand.Rand, path string) string {
		b := readFile(t, path)
		at, bit := position(rng, b), rng.IntN(8)
		b[at] ^= 1 << bit
		writeFile(t, path, b)
		return fmt.Sprintf("bit %d of byte %d of %d flipped", bit, at, len(b))
	}},
	{"flips", func(t *testing.T, rng *rand.Rand, path string) string {
		b := readFile(t, path)
		for range 8 {
			b[position(rng, b)] ^= 1 << rng.IntN(8)
		}
		writeFile(t, path, b)
		return "8 bits flipped"
	}},
	{"zero", func(t *testing.T, rng *rand.Rand, path string) string {
		b := readFile(t, path)
		at := position(rng, b) &^ 511
		end := min(at+512*(1+rng.IntN(8)), len(b))
		clear(b[at:end])
		writeFile(t, path, b)
		return fmt.Sprintf("bytes %d to %d of %d zeroed", at, end, len(b))
	}},
	{"remove", func(t *testing.T, rng *rand.Rand, path string) string {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return "removed"
	}},
}

// position chooses a byte of the part of b that holds something: preallocated zeros at the end are rarely hit.
func position(rng *rand.Rand, b []byte) int {
	used := len(bytes.TrimRight(b, "\x00"))
	if used == 0 || rng.IntN(10) == 0 {
		used = len(b)
	}
	if rng.IntN(4) == 0 {
		used = min(used, 64) // headers
	} else if rng.IntN(4) == 0 {
		return used - 1 - rng.IntN(min(used, 256)) // the last records
	}
	return rng.IntN(used)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	info, err := os.Stat(path)
	mode := fs.FileMode(0o644)
	if err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.WriteFile(path, b, mode); err != nil {
		t.Fatal(err)
	}
}
