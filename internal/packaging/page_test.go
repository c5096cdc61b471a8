package packaging

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// TestInstallPage types what docs/install.md types, with another port and with what is built in a folder of its own.
func TestInstallPage(t *testing.T) {
	for _, name := range []string{"redis-cli", "make", "man"} {
		redistest.Tool(t, name)
	}
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(redistest.FreePort(t))
	page := redistest.Page{
		Text: strings.ReplaceAll(read(t, "../../docs/install.md"), "7000", port),
		Setup: "export MANWIDTH=100 LC_ALL=C.UTF-8\ncd " + t.TempDir() +
			"\nmake() { command make -C " + checkout + " OUT=" + t.TempDir() + " \"$@\"; }\n",
		Commands: 20,
	}
	page.Play(t)
}
