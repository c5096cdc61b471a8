package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// builds are the programs that this test process has built.
var builds struct {
	mu    sync.Mutex
	dir   string
	paths map[string]string // by folder and package
}

// Main runs the tests of a package and removes the programs that they built. TestMain of each package that uses Program,
// StartKfake or StartQuipu calls it: os.Exit(testbed.Main(m)).
func Main(m *testing.M) int {
	defer func() {
		if builds.dir != "" {
			os.RemoveAll(builds.dir)
		}
	}()
	return m.Run()
}

// Program builds a program of the connect module, such as "./cmd/quipu-connect", once in a test process, and returns its
// path. It has the race detector when QUIPU_TEST_RACE=1.
func Program(tb testing.TB, pkg string) string {
	tb.Helper()
	return build(tb, moduleDir(), pkg)
}

// build builds the package pkg of the module in dir.
func build(tb testing.TB, dir, pkg string) string {
	tb.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if path := builds.paths[dir+" "+pkg]; path != "" {
		return path
	}
	if builds.dir == "" {
		var err error
		if builds.dir, err = os.MkdirTemp("", "quipu-connect-test-bin-"); err != nil {
			tb.Fatal(err)
		}
		builds.paths = map[string]string{}
	}
	// The name of the program is that which a user sees; each lies in a folder of its own.
	path := filepath.Join(builds.dir, strconv.Itoa(len(builds.paths)), filepath.Base(pkg))
	if err := compile(dir, pkg, path); err != nil {
		tb.Fatal(err)
	}
	builds.paths[dir+" "+pkg] = path
	return path
}

func compile(dir, pkg, path string) error {
	args, cgo := []string{"build", "-C", dir, "-o", path}, "CGO_ENABLED=0"
	if os.Getenv("QUIPU_TEST_RACE") == "1" {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return readSources(dir, pkg)
}

// readSources lists the folders that a program is built from. `go test` keeps a result until a file changes that the test has
// looked at; what the compiler reads in a process of its own is not among those. Nor is a file outside of the module, but
// `go test` judges that by how the path begins: so those of the server go by "connect/..".
func readSources(dir, pkg string) error {
	cmd := exec.Command("go", "list", "-C", dir, "-deps", "-f", "{{if not .Standard}}{{.Dir}}{{end}}", pkg)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list what %s is built from: %w", pkg, err)
	}
	for source := range strings.Lines(string(out)) {
		rel, err := filepath.Rel(root(), strings.TrimSpace(source))
		if err != nil || strings.HasPrefix(rel, "..") {
			continue // a module of others
		}
		if _, err := os.ReadDir(moduleDir() + "/../" + rel); err != nil {
			return err
		}
	}
	return nil
}
