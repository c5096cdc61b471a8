package config

import (
	"os"
	"testing"

	"quipu/internal/redistest"
)

// TestPages: configurations that a page shows, and does not start a server with, are right.
func TestPages(t *testing.T) {
	page, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, b := range redistest.Blocks(string(page)) {
		if b.Note != redistest.RunBy+t.Name() {
			continue
		}
		seen++
		if _, err := load(t, b.Text); err != nil {
			t.Errorf("docs/install.md:%d: %v", b.Line, err)
		}
	}
	if seen == 0 {
		t.Error("no configuration found")
	}
}
