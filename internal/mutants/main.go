// Command mutants breaks the code in small ways, one at a time, and demands that a test fails each time: `make mutants`.
//
//	go run ./internal/mutants            # all rows of table.go
//	go run ./internal/mutants pause      # rows whose name contains the word
//
// A row is a fault that the tests once overlooked, or one that would make counts wrong without an error anywhere. Its test
// is not one of rapid's, which write what has failed into the tree. Nothing in the tree is changed: the broken file is
// handed to the compiler by `go build -overlay`, through GOFLAGS, so that a binary that a test builds has the fault as well.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// mutant is one fault and the test that must notice it.
type mutant struct {
	name     string
	file     string // from the root of the module
	old, new string // old stands in the file exactly once
	test     string // package and name of the test, separated by a space
}

func main() {
	word := ""
	if len(os.Args) > 1 {
		word = os.Args[1]
	}
	root, err := os.Getwd()
	if err != nil {
		fail(err)
	}
	dir, err := os.MkdirTemp("", "quipu-mutants-")
	if err != nil {
		fail(err)
	}
	ran, bad := 0, 0
	for _, m := range mutants {
		if !strings.Contains(m.name, word) {
			continue
		}
		ran++
		if err := m.try(root, dir); err != nil {
			bad++
			fmt.Printf("BAD     %s: %v\n", m.name, err)
			continue
		}
		fmt.Printf("noticed %s, by %s\n", m.name, m.test)
	}
	os.RemoveAll(dir)
	fmt.Printf("%d faults tried, %d bad\n", ran, bad)
	if bad > 0 || ran == 0 {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "mutants:", err)
	os.Exit(1)
}

// try returns nil if the test passes on the code as it is and fails on the broken code.
func (m *mutant) try(root, dir string) error {
	path := filepath.Join(root, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the row is out of date: %w", err)
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return fmt.Errorf("the row is out of date: this text stands %d times in %s, not once: %q", n, m.file, m.old)
	}
	if out, err := m.run(""); err != nil {
		return fmt.Errorf("%s fails without the fault: %w\n%s", m.test, err, out)
	} else if strings.Contains(out, "no tests to run") {
		return fmt.Errorf("the row is out of date: there is no %s", m.test)
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, bytes.Replace(source, []byte(m.old), []byte(m.new), 1), 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
	if err != nil {
		return err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return err
	}
	switch out, err := m.run("-overlay=" + list); {
	case err == nil:
		return fmt.Errorf("SURVIVED: %s passes with %q in place of %q in %s", m.test, m.new, m.old, m.file)
	case strings.Contains(out, "[build failed]"):
		return fmt.Errorf("the fault does not compile:\n%s", out)
	case !strings.Contains(out, "--- FAIL:") && !strings.Contains(out, "panic: "):
		return fmt.Errorf("no test failed, but: %w\n%s", err, out)
	}
	return nil
}

// run runs the row's test with flags for the go command and returns what it wrote.
func (m *mutant) run(flags string) (string, error) {
	pkg, test, ok := strings.Cut(m.test, " ")
	if !ok {
		return "", errors.New("the row names no package")
	}
	args := []string{"test", "-vet=off", "-timeout", "2m", "-run", "^" + test + "$"}
	if flags != "" {
		args = append(args, "-count=1") // a test that only starts the binary has not changed, and go test would tell its last result
	}
	cmd := exec.Command("go", append(args, "./"+pkg)...)
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" "+flags))
	out, err := cmd.CombinedOutput()
	return string(out), err
}
