package examples

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quipu/internal/redistest"
)

// connectors are quipu-connect and kfake, built once.
var connectors struct {
	sync.Once
	dir string
	err error
}

func buildConnectors() error {
	var err error
	if connectors.dir, err = os.MkdirTemp("", "quipu-pages-"); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-C", "../connect", "-o", connectors.dir+"/", "./cmd/quipu-connect", "./testbed/kfake")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as in the tests of connect, which then find it built
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building quipu-connect: %w\n%s", err, out)
	}
	// go test keeps a result until a file changes that the test has looked at.
	return filepath.WalkDir("../connect", func(_ string, _ fs.DirEntry, err error) error { return err })
}

// connectShell is a folder with the programs for events.
func connectShell(t *testing.T, ports ...string) *shell {
	t.Helper()
	if testing.Short() {
		t.Skip("builds quipu-connect")
	}
	redistest.Tool(t, "sqlite3")
	s := newShell(t, ports...)
	connectors.Do(func() { connectors.err = buildConnectors() })
	if connectors.err != nil {
		t.Fatal(connectors.err)
	}
	for _, name := range []string{"quipu-connect", "kfake"} {
		if err := os.Symlink(filepath.Join(connectors.dir, name), filepath.Join(s.dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	// What is counted is in the database a moment later: a person looks again.
	s.setup += `sqlite3() {
case $2 in SELECT*)
  for again in $(seq 300); do
    if command sqlite3 -cmd '.timeout 5000' "$@" 2>/dev/null | grep -q .; then break; fi
    sleep 0.05
  done
esac
command sqlite3 -cmd '.timeout 5000' "$@"
}
`
	return s
}

// TestEventsPage plays docs/events.md, and compares the flights' configuration with the one it shows.
func TestEventsPage(t *testing.T) {
	s := connectShell(t, "6379")
	conf, err := os.ReadFile("flights/flights.conf")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range redistest.Blocks(string(page)) {
		if b.Note == redistest.RunBy+t.Name() && !strings.HasSuffix(string(conf), "\n\n"+b.Text) {
			t.Errorf("the page shows another configuration than examples/flights/flights.conf:\n%s", b.Text)
		}
	}
	flights := filepath.Join(s.dir, "examples/flights")
	if err := os.MkdirAll(flights, 0o755); err != nil {
		t.Fatal(err)
	}
	moved := strings.ReplaceAll(string(conf), "6379", s.ports["6379"])
	if err := os.WriteFile(filepath.Join(flights, "flights.conf"), []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.setup += "ln -s $ROOT/examples/flights/data examples/flights/data\n"
	s.play(t, "../docs/events.md", 17)
}

// TestLikesPage plays docs/likes.md, part by part, with kfake as the broker.
func TestLikesPage(t *testing.T) {
	for _, tool := range []string{"kcat", "curl"} {
		redistest.Tool(t, tool)
	}
	s := connectShell(t, "7001", "7002", "7003", "8001", "8002", "8003", "19092")
	for i := range 3 {
		s.ports[fmt.Sprint(17001+i)] = peerPort(t, s.ports[fmt.Sprint(7001+i)])
	}
	// A person types a line and then the next one; this shell is faster than nodes that find each other, and than what counts.
	s.setup += `kcat() { command kcat "$@" && until [ "$(command redis-cli -p ` + s.ports["7001"] + ` GET likes:p1)" ]; do sleep 0.05; done; }
`
	s.play(t, "../docs/likes.md", 14)
}
