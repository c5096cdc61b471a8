package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func raise(t *testing.T, dir string, want uint64) {
	t.Helper()
	if n, err := RaiseBoot(dir); err != nil || n != want {
		t.Fatalf("RaiseBoot: %d, %v; want %d", n, err, want)
	}
}

func bootBytes(t *testing.T, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, bootName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a crash leaves after each step of a replacement: the next start never gets a number that was returned before.
func TestBootSurvivesCrash(t *testing.T) {
	dir := t.TempDir()
	if err := CreateBoot(dir); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 3; n++ {
		raise(t, dir, n)
	}
	three := bootBytes(t, dir)
	raise(t, dir, 4)
	four := bootBytes(t, dir)
	for _, c := range []struct {
		what           string
		boot, tmp, old []byte // nil: no such file
		linked         string // another name of the file boot
		want           uint64
	}{
		{"nothing was done", three, nil, nil, "", 4},
		{"half of the temporary file was written", three, four[:7], nil, "", 4},
		{"the temporary file was written over a longer one", three, append(four[:len(four):len(four)], "rest"...), nil, "", 4},
		{"the temporary file was written and synced", three, four, nil, "", 4},
		{"the file has a second name", three, four, nil, ".old", 4},
		{"it was renamed and the replaced file has two names", four, three, three, "", 5},
		{"it was renamed and the replaced file is not yet the temporary one", four, nil, three, "", 5},
		{"all was done", four, three, nil, "", 5},
		{"only the second rename reached the disk", three, nil, nil, ".tmp", 4},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, bootName)
		for name, b := range map[string][]byte{path: c.boot, path + ".tmp": c.tmp, path + ".old": c.old} {
			if b == nil {
				continue
			}
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.linked != "" {
			if err := os.Link(path, path+c.linked); err != nil {
				t.Fatal(err)
			}
		}
		t.Log(c.what)
		raise(t, dir, c.want)
		raise(t, dir, c.want+1)
	}
}

// A counter that is damaged or missing is never begun anew.
func TestBootDamage(t *testing.T) {
	dir := t.TempDir()
	if err := CreateBoot(dir); err != nil {
		t.Fatal(err)
	}
	raise(t, dir, 1)
	raise(t, dir, 2)
	path := filepath.Join(dir, bootName)
	good := bootBytes(t, dir)
	refused := func(what string) {
		t.Helper()
		var corrupt *CorruptError
		var newer *VersionError
		n, err := RaiseBoot(dir)
		if !errors.As(err, &corrupt) && !errors.As(err, &newer) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %d, %v", what, n, err)
		}
	}
	damaged := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(what)
	}
	for i := range good {
		b := append([]byte(nil), good...)
		b[i] ^= 1
		damaged("flipped bit", b)
		damaged("cut", good[:i])
	}
	damaged("longer", append(good[:len(good):len(good)], 0))
	damaged("a body of another length", bootFile.encode([]byte("1234567")))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refused("removed")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	raise(t, dir, 3)
}
