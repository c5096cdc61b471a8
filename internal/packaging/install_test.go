package packaging

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

const root = "../.."

// installed is what `make install PREFIX=/usr` writes, with modes.
var installed = []string{
	"etc/quipu/quipu.conf 640",
	"usr/bin/quipu 755",
	"usr/bin/quipu-connect 755",
	"usr/lib/systemd/system/quipu.service 644",
	"usr/lib/sysusers.d/quipu.conf 644",
	"usr/share/bash-completion/completions/quipu 644",
	"usr/share/doc/quipu/LICENSE 644",
	"usr/share/doc/quipu/quipu.conf 644",
	"usr/share/fish/vendor_completions.d/quipu.fish 644",
	"usr/share/man/man1/quipu.1 644",
	"usr/share/man/man5/quipu.conf.5 644",
	"usr/share/zsh/site-functions/_quipu 644",
}

// makeTarget runs make, with what is built in a folder of the test.
func makeTarget(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(redistest.Tool(t, "make"), append([]string{"-s", "-C", root}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestConnectTarget: make connect builds where make install takes programs from.
func TestConnectTarget(t *testing.T) {
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for out, folder := range map[string]string{"bin": filepath.Join(checkout, "bin"), "/absolute/folder": "/absolute/folder"} {
		cmd := exec.Command(redistest.Tool(t, "make"), "-n", "-C", root, "connect", "OUT="+out)
		if line, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(line), " -o "+folder+"/ ") {
			t.Errorf("OUT=%s: %v\n%s", out, err, line)
		}
	}
}

// TestInstall: make install writes these files into an empty DESTDIR and none elsewhere, the program runs from there, the unit
// names the paths without DESTDIR, and a configuration that is there stays.
func TestInstall(t *testing.T) {
	built, dest := t.TempDir(), t.TempDir()
	// Stands for what make connect builds.
	if err := os.WriteFile(filepath.Join(built, "quipu-connect"), []byte("#!/bin/sh\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"install", "OUT=" + built, "DESTDIR=" + dest, "PREFIX=/usr"}
	makeTarget(t, args...)
	if got := listed(t, dest); !slices.Equal(got, installed) {
		t.Errorf("installed are\n%s", strings.Join(got, "\n"))
	}
	program := filepath.Join(dest, "usr/bin/quipu")
	if out, err := exec.Command(program, "version").Output(); err != nil || !strings.HasPrefix(string(out), "quipu ") {
		t.Errorf("quipu version: %q, %v", out, err)
	}
	if cmd := exec.Command(program, "connect", "check"); cmd.Run() == nil || cmd.ProcessState.ExitCode() != 7 {
		t.Error("quipu connect does not run the program beside it")
	}
	unit := read(t, filepath.Join(dest, "usr/lib/systemd/system/quipu.service"))
	if !strings.Contains(unit, "\nExecStart=/usr/bin/quipu server /etc/quipu/quipu.conf\n") || strings.Contains(unit, "@bindir@/") || strings.Contains(unit, dest) {
		t.Errorf("the unit is\n%s", unit)
	}
	own := filepath.Join(dest, "etc/quipu/quipu.conf")
	if err := os.WriteFile(own, []byte("port 7000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	makeTarget(t, args...)
	if got := read(t, own); got != "port 7000\n" {
		t.Error("a second make install replaces the configuration")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// listed are the files below a folder, with their modes.
func listed(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		list = append(list, strings.TrimPrefix(path, dir+"/")+" "+strings.TrimPrefix(info.Mode().Perm().String(), "-"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range list {
		list[i] = strings.NewReplacer("rwxr-xr-x", "755", "rw-r--r--", "644", "rw-r-----", "640").Replace(line)
	}
	slices.Sort(list)
	return list
}
