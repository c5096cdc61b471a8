package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/ports"
	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// shell is where a page is played: a folder with the programs in bin, as in a checkout behind `make build`, and with free ports in place
// of those that the page names.
type shell struct {
	dir   string
	setup string
	ports map[string]string
}

// newShell makes the folder. The first port is the one of servers and clients that name none.
func newShell(t *testing.T, ports ...string) *shell {
	t.Helper()
	t.Parallel()
	redistest.Tool(t, "redis-cli")
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{dir: t.TempDir(), ports: map[string]string{}}
	for _, port := range ports {
		s.ports[port] = strconv.Itoa(redistest.FreePort(t))
	}
	if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(redistest.Binary(t), filepath.Join(s.dir, "bin/quipu")); err != nil {
		t.Fatal(err)
	}
	// make does what stands in the Makefile, with the programs that are here, whatever a make around the test was told; go has the
	// module around it; and what is killed has ended before the next line, as a person is not that quick.
	s.setup = "cd " + s.dir + "\nPATH=" + s.dir + "/bin:$PATH\nROOT=" + root + "\nPAGE_PORT=" + s.ports[ports[0]] + `
make() { export QUIPU_PORT=$PAGE_PORT; eval "$(env -u MAKEFLAGS -u ARGS make -n --no-print-directory -C "$ROOT" "$@" | tail -n 1)"; }
kill() { command kill "$@"; for pid; do case $pid in -*) ;; *) while command kill -0 "$pid" 2>/dev/null; do sleep 0.02; done;; esac; done; }
go() { local verb=$1; shift; command go "$verb" -C "$ROOT" "$@"; }
`
	return s
}

// play plays a page, with free ports in place of its own.
func (s *shell) play(t *testing.T, name string, commands int) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var moved []string
	for from, to := range s.ports {
		moved = append(moved, from, to)
	}
	p := redistest.Page{
		Text:     strings.NewReplacer(moved...).Replace(string(text)), // 17001 is found before the 7001 in it
		Setup:    s.setup,
		Hear:     func(output string) string { return killed.ReplaceAllString(output, "") },
		Await:    s.await,
		Commands: commands,
	}
	p.Play(t)
}

var namedPort = regexp.MustCompile(`--port (\d+)`)

// await waits until what a line starts is there.
func (s *shell) await(line string) string {
	switch {
	case strings.Contains(line, "--join "):
		return "" // it waits for others
	case strings.Contains(line, "bin/kfake"): // which the page starts behind three nodes
		return s.await("quipu server --port "+s.ports["7001"]) + "\n" + s.await("quipu server --port "+s.ports["7002"]) + "\n" +
			s.await("quipu server --port "+s.ports["7003"])
	case !strings.Contains(line, "quipu server") && !strings.Contains(line, "make run") && line != "":
		return ""
	}
	port := "$PAGE_PORT"
	if m := namedPort.FindStringSubmatch(line); m != nil {
		port = m[1]
	} else if strings.Contains(line, "my.conf") {
		port = s.ports["7000"]
	}
	wait := "until quipu ping --addr 127.0.0.1:" + port + " >/dev/null 2>&1; do sleep 0.02; done"
	if strings.Contains(line, "--region ") { // it becomes one a moment later
		wait += "; until redis-cli -p " + port + " REGION KEYS | grep -q '^[*]'; do sleep 0.02; done"
	}
	return wait
}

// peerPort is the port for other nodes that belongs to one for clients, and is taken with it.
func peerPort(t *testing.T, port string) string {
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(n + ports.PeerOffset)
}

// serve starts a server before the page begins.
func (s *shell) serve() {
	s.setup += "quipu server --port $PAGE_PORT --dir quipu-data 2>server.log &\n" + s.await("") + "\n"
}

// TestReadme plays README.md; its part about three nodes is played by the test in examples/cluster.
func TestReadme(t *testing.T) { newShell(t, "6379", "6380").play(t, "../README.md", 11) }

// TestGettingStartedPage plays docs/getting-started.md.
func TestGettingStartedPage(t *testing.T) {
	newShell(t, "6379", "7000").play(t, "../docs/getting-started.md", 28)
}

// TestPythonExample runs the program in Python, which needs redis-py.
func TestPythonExample(t *testing.T) {
	python := toolbox.Python(t, "redis")
	text, err := os.ReadFile("../docs/getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	var program, shown string
	for _, b := range redistest.Blocks(string(text)) {
		switch {
		case b.Note != redistest.RunBy+t.Name():
		case b.Language == "python":
			program = b.Text
		default:
			_, shown, _ = strings.Cut(b.Text, "$ python3 count.py\n")
		}
	}
	server := redistest.Quipu{}.Start(t)
	cmd := python.Command(t.Context(), "-c", strings.ReplaceAll(program, "redis.Redis()", "redis.Redis(port="+strconv.Itoa(server.Port)+")"))
	cmd.Stderr = os.Stderr
	if out, err := cmd.Output(); err != nil || shown == "" || string(out) != shown {
		t.Errorf("%v: it prints\n%s\nand not\n%s", err, out, shown)
	}
}

// TestGoExample: the page shows the program as it is, which the page runs.
func TestGoExample(t *testing.T) {
	page, err := os.ReadFile("../docs/getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("start/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```go\n"+string(program)+"```\n") {
		t.Error("docs/getting-started.md shows another program than examples/start/main.go")
	}
}

// TestDurabilityPage plays docs/durability.md.
func TestDurabilityPage(t *testing.T) {
	s := newShell(t, "6379")
	s.serve()
	s.play(t, "../docs/durability.md", 10)
}

// TestRegionsPage plays docs/regions.md.
func TestRegionsPage(t *testing.T) { newShell(t, "6379", "6380").play(t, "../docs/regions.md", 7) }

// TestSecurityPage plays docs/security.md.
func TestSecurityPage(t *testing.T) {
	s := newShell(t, "6379")
	s.serve()
	s.play(t, "../docs/security.md", 1)
}

// TestConsolePage plays docs/console.md.
func TestConsolePage(t *testing.T) { newShell(t, "6379", "8379").play(t, "../docs/console.md", 2) }

// TestOperationsPage plays docs/operations.md.
func TestOperationsPage(t *testing.T) {
	redistest.Tool(t, "curl")
	newShell(t, "6379", "8379").play(t, "../docs/operations.md", 7)
}

// TestSketchesPage plays docs/sketches.md.
func TestSketchesPage(t *testing.T) {
	s := newShell(t, "6379")
	s.serve()
	s.play(t, "../docs/sketches.md", 8)
}
