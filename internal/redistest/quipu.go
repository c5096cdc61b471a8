package redistest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Tags are the build tags of the binary. TestMain may set them.
var Tags string

// readyLimit is how long a Quipu node may replay before a test gives up on it.
const readyLimit = 60 * time.Second

var build struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Main runs a package's tests and removes the binary they built. TestMain calls it.
func Main(m *testing.M) int {
	defer func() {
		if build.dir != "" {
			os.RemoveAll(build.dir)
		}
	}()
	return m.Run()
}

// Binary returns the path of the quipu binary. It is built once per test process, with the race detector when
// QUIPU_TEST_RACE=1; QUIPU_BIN names a ready one instead.
func Binary(tb testing.TB) string {
	tb.Helper()
	build.once.Do(func() { build.path, build.err = buildBinary() })
	if build.err != nil {
		tb.Fatal(build.err)
	}
	return build.path
}

// Variant builds another binary, with other build tags, into a folder of the test.
func Variant(tb testing.TB, tags string) string {
	tb.Helper()
	root, err := moduleRoot()
	if err != nil {
		tb.Fatal(err)
	}
	path, err := compile(root, tb.TempDir(), tags)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func buildBinary() (string, error) {
	if path := os.Getenv("QUIPU_BIN"); path != "" {
		return filepath.Abs(path)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if build.dir, err = os.MkdirTemp("", "quipu-test-bin-"); err != nil {
		return "", err
	}
	return compile(root, build.dir, Tags)
}

// compile builds the binary into dir.
func compile(root, dir, tags string) (string, error) {
	path := filepath.Join(dir, "quipu")
	args := []string{"build", "-o", path, "-tags", tags}
	if os.Getenv("QUIPU_TEST_RACE") == "1" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/quipu")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/quipu: %w\n%s", err, out)
	}
	return path, readSources(root)
}

// readSources lists the folders that the binary is built from. `go test` keeps a result until a file changes that the
// test has looked at; what the compiler reads in a process of its own is not among those. Without this, tests that only
// start the binary would be reported as passed again after any change of the server.
func readSources(root string) error {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.Dir}}{{end}}", "./cmd/quipu")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("listing what cmd/quipu is built from: %w", err)
	}
	for dir := range strings.Lines(string(out)) {
		if dir = strings.TrimSpace(dir); strings.HasPrefix(dir, root) {
			if _, err := os.ReadDir(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// moduleRoot is the nearest folder above the working directory that has a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}

// Quipu says how to start a node.
type Quipu struct {
	Dir   string   // data directory; a new temporary one when empty
	Port  int      // 0 takes a free one
	File  string   // configuration file; none when empty
	Flags []string // further flags: "--name", "value", …
	Env   []string // further environment: "NAME=value"
}

// Start starts a node and waits until it answers; anything else ends the test.
func (q Quipu) Start(tb testing.TB) *Server {
	tb.Helper()
	// Another process can take a port between FreePort and the node's bind: then another port is tried.
	for attempt := 0; ; attempt++ {
		s := q.Launch(tb)
		err := s.WaitReady(readyLimit)
		if err == nil {
			return s
		}
		if q.Port != 0 || attempt >= 3 || !strings.Contains(s.Output(), "address already in use") {
			tb.Fatal(err)
		}
	}
}

// Launch starts a node and returns at once.
func (q Quipu) Launch(tb testing.TB) *Server {
	tb.Helper()
	path := Binary(tb)
	if q.Dir == "" {
		q.Dir = tb.TempDir()
	}
	if q.Port == 0 {
		q.Port = FreePort(tb)
	}
	s := &Server{name: "quipu", Port: q.Port, Addr: "127.0.0.1:" + strconv.Itoa(q.Port)}
	args := []string{"server"}
	if q.File != "" {
		args = append(args, q.File)
	}
	args = append(args, "--port", strconv.Itoa(q.Port), "--dir", q.Dir)
	args = append(args, q.Flags...)
	if err := launch(tb, s, path, args, q.Env); err != nil {
		tb.Fatal(err)
	}
	s.Dir = q.Dir // set after launch: the process runs in the test's folder, as it would for a user
	return s
}
