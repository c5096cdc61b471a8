// Command mutants breaks the code in small ways, one at a time, and demands that a test fails each time: `make mutants`.
//
//	go run ./internal/mutants            # all rows of the tables
//	go run ./internal/mutants pause      # rows whose name contains the word
//	go run ./internal/mutants -share 2/3 # the second of three shares; of the others only that the rows are not out of date
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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// mutant is one fault and the test that must notice it.
type mutant struct {
	name     string
	file     string // from the root of the module
	old, new string // old stands in the file exactly once
	test     string // package and name of the test, separated by a space
}

var mutants = slices.Concat(serverMutants, tlsMutants, limitMutants, timeMutants, hotKeysMutants, metricsMutants, regionMutants, opsMutants, pubsubMutants, trackingMutants, consoleMutants, connectMutants)

// passed says that all tests have just passed on the code as it is, so that each row needs one run and not two.
var passed bool

// share is which of how many shares of the rows is tried.
var share = struct{ number, of int }{1, 1}

func main() {
	word := ""
	for args := os.Args[1:]; len(args) > 0; args = args[1:] {
		switch {
		case args[0] == "-passed":
			passed = true
		case args[0] == "-share" && len(args) > 1:
			args = args[1:]
			if _, err := fmt.Sscanf(args[0], "%d/%d", &share.number, &share.of); err != nil || share.number < 1 || share.number > share.of {
				fail(fmt.Errorf("-share %s is not K/N", args[0]))
			}
		default:
			word = args[0]
		}
	}
	root, err := os.Getwd()
	if err != nil {
		fail(err)
	}
	dir, err := os.MkdirTemp("", "quipu-mutants-")
	if err != nil {
		fail(err)
	}
	ran, bad := tryAll(root, dir, word)
	os.RemoveAll(dir)
	fmt.Printf("%d faults tried, %d bad\n", ran, bad)
	if bad > 0 || ran == 0 {
		os.Exit(1)
	}
}

// tryAll tries the mutants whose name contains word, as many at once as there are processors: most of the time a test waits, or
// the linker works alone.
func tryAll(root, dir, word string) (ran, bad int) {
	var busy sync.WaitGroup
	var mu sync.Mutex // guards ran, bad and the output
	next := make(chan *mutant)
	for i := range runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			own := filepath.Join(dir, strconv.Itoa(i))
			if err := os.Mkdir(own, 0o700); err != nil {
				fail(err)
			}
			for m := range next {
				err := m.try(root, own)
				mu.Lock()
				if ran++; err != nil {
					bad++
					fmt.Printf("BAD     %s: %v\n", m.name, err)
				} else {
					fmt.Printf("noticed %s, by %s\n", m.name, m.test)
				}
				mu.Unlock()
			}
		})
	}
	for i := range mutants {
		m := &mutants[i]
		if i%share.of == share.number-1 && strings.Contains(m.name, word) {
			next <- m
		} else if _, err := m.source(root); err != nil {
			mu.Lock()
			bad++
			fmt.Printf("BAD     %s: %v\n", m.name, err)
			mu.Unlock()
		}
	}
	close(next)
	busy.Wait()
	return ran, bad
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "mutants:", err)
	os.Exit(1)
}

// try returns nil if the test passes on the code as it is and fails on the broken code.
func (m *mutant) try(root, dir string) error {
	path := filepath.Join(root, m.file)
	source, err := m.source(root)
	if err != nil {
		return err
	}
	if !passed {
		if out, err := m.run(""); err != nil {
			return fmt.Errorf("%s fails without the fault: %w\n%s", m.test, err, out)
		}
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
	case strings.Contains(out, "no tests to run"):
		return fmt.Errorf("the row is out of date: there is no %s", m.test)
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
	dir := "."
	if below, ok := strings.CutPrefix(pkg, "connect/"); ok { // a module of its own
		dir, pkg = "connect", below
	}
	cmd := exec.Command("go", append(args, "./"+pkg)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" "+flags))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// source is the file that is to be broken.
func (m *mutant) source(root string) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, fmt.Errorf("the row is out of date: %w", err)
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("the row is out of date: this text stands %d times in %s, not once: %q", n, m.file, m.old)
	}
	return source, nil
}
