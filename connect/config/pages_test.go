package config

import (
	"os"
	"regexp"
	"testing"
)

var shownFile = regexp.MustCompile("(?s)<!-- run by TestPages -->\n```conf\n(.*?)```")

// TestPages: configurations that the page shows, and that nothing there is run with, are right. Behind a block quipu stands a source,
// without which there is nothing to do.
func TestPages(t *testing.T) {
	page, err := os.ReadFile("../../connect/../docs/events.md") // so that go test sees when it changes, see testbed.readSources
	if err != nil {
		t.Fatal(err)
	}
	shown := shownFile.FindAllSubmatch(page, -1)
	for _, m := range shown {
		if _, err := Parse("shown.conf", append(m[1], "source s\n  file f\n  INCR k\n"...)); err != nil {
			t.Error(err)
		}
	}
	if len(shown) == 0 {
		t.Error("no configuration found")
	}
}
