package parts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSystem: the configuration that is written is the one that docs/likes.md shows, but for the addresses, which all differ.
func TestSystem(t *testing.T) {
	dir := t.TempDir()
	s, err := NewSystem(dir, "bin", "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "likes.md"))
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.NewReplacer(strings.Join(s.Nodes, " "), "127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003", s.Broker, "127.0.0.1:19092").Replace(string(text))
	if !strings.Contains(string(page), "```conf likes.conf\n"+moved+"```") {
		t.Errorf("docs/likes.md does not show\n%s", moved)
	}
	seen := map[string]bool{}
	for _, addr := range append(append([]string{s.Broker}, s.Nodes...), s.Feeds...) {
		if seen[addr] {
			t.Errorf("%s is used twice", addr)
		}
		seen[addr] = true
	}
	if len(s.Specs) != Nodes+1+Connectors {
		t.Errorf("there are %d parts", len(s.Specs))
	}
}
