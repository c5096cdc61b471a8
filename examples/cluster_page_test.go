package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// TestClusterPage plays docs/cluster.md: all that is typed there, in one shell, with other ports.
func TestClusterPage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel() // it mostly waits
	redistest.Tool(t, "redis-cli")
	text, err := os.ReadFile("../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(redistest.Binary(t), filepath.Join(dir, "quipu")); err != nil {
		t.Fatal(err)
	}
	moved, shown := movePorts(t)
	page := redistest.Page{
		Text:     string(text),
		Setup:    "cd " + dir + "\nPATH=" + dir + ":$PATH\n",
		Type:     func(line string) string { return moved(addressed(line)) },
		Hear:     func(output string) string { return shown(killed.ReplaceAllString(output, "")) },
		Commands: 45,
	}
	page.Play(t)
}

// killed is what bash says of a job that was killed.
var killed = regexp.MustCompile(`(?m)^bash: line \d+: +\d+ Killed .*\n`)

// addressed names the nodes to ask where the page leaves that to the default: there is none at that port here.
func addressed(line string) string {
	asks := strings.Contains(line, "quipu cluster ") && !strings.Contains(line, "--addr")
	if !asks {
		return line
	}
	return strings.Replace(line, "quipu cluster ", "quipu cluster --addr 127.0.0.1:6379 ", 1)
}

// movePorts puts free ports in place of those of the page; shown puts them back.
func movePorts(t *testing.T) (moved, shown func(string) string) {
	var free []int
	for range 8 {
		free = append(free, redistest.FreePort(t))
	}
	slices.Sort(free) // nodes are shown in the order of their addresses
	var there, back []string
	for i, port := range free {
		from, to := strconv.Itoa(6379+i%4+1000*(i/4)), strconv.Itoa(port)
		there, back = append(there, from, to), append(back, to, from)
	}
	return strings.NewReplacer(there...).Replace, strings.NewReplacer(back...).Replace
}
