package lint

import (
	"path"
	"regexp"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// players are the tests that type what a page shows, all its console blocks that say nothing else of themselves.
var players = map[string]string{
	"README.md":               "TestReadme",
	"docs/getting-started.md": "TestGettingStartedPage",
	"docs/durability.md":      "TestDurabilityPage",
	"docs/cluster.md":         "TestClusterPage",
	"docs/regions.md":         "TestRegionsPage",
	"docs/events.md":          "TestEventsPage",
	"docs/likes.md":           "TestLikesPage",
	"docs/security.md":        "TestSecurityPage",
	"docs/install.md":         "TestInstallPage",
	"docs/operations.md":      "TestOperationsPage",
	"docs/console.md":         "TestConsolePage",
	"docs/sketches.md":        "TestSketchesPage",
}

// typedLine is a line that a reader would type. In a block that is a drawing, or what a program says, there is none.
var typedLine = regexp.MustCompile(`(?m)^(\$ |\w+> |127\.0\.0\.1:\d+> |(sudo |bin/|\./)?(make|go|quipu|quipu-connect|redis-cli|redis-benchmark|docker|curl|git|sqlite3|psql|createdb|kcat|systemctl|export|kill|python3?|node) )`)

// TestExamplesAreRun: each fenced block of README.md and of the book is run by a test, or says above itself why not:
//
//	<!-- run by TestName -->      and that test names the page
//	<!-- not run: a reason -->
//
// A block of console is typed by the page's player, a block with the name of a file is written into it and used by a command below,
// and text is a drawing or what a program says.
func TestExamplesAreRun(t *testing.T) {
	tr := mustLoad(t)
	played := map[string]bool{}
	for name, text := range tr.texts {
		if name != "README.md" && (path.Dir(name) != "docs" || !strings.HasSuffix(name, ".md")) {
			continue
		}
		for _, b := range redistest.Blocks(text) {
			played[name] = played[name] || b.Language == "console"
			if problem := notRun(tr, name, text, b); problem != "" {
				t.Errorf("%s:%d: %s", name, b.Line, problem)
			}
		}
	}
	for name, test := range players {
		if !played[name] {
			t.Errorf("%s: %s has nothing to play", name, test)
		}
	}
}

// notRun says why nobody knows whether a block is true; "" for one that is run.
func notRun(tr *tree, name, page string, b redistest.Block) string {
	if reason, is := strings.CutPrefix(b.Note, redistest.NotRun); is {
		if len(reason) < 15 {
			return "a reason, please"
		}
		return ""
	}
	if test, is := strings.CutPrefix(b.Note, redistest.RunBy); is {
		return testsPage(tr, test, name)
	}
	switch {
	case b.Language == "":
		return "a block says what it is: console, conf, text …"
	case b.Language == "console":
		if players[name] == "" {
			return "no test plays this page: see players in internal/lint/examples_test.go"
		}
		return testsPage(tr, players[name], name)
	case b.File != "":
		if players[name] == "" || !usedBelow(page, b) {
			return "no command below uses " + b.File
		}
	case b.Language != "text":
		return "no test runs it: make it console, or a file that a command uses, or say `run by` or `not run:` in a comment above"
	case typedLine.MatchString(b.Text):
		return "text is not run, and here is a command: make it console"
	}
	return ""
}

// testsPage says what is wrong with a test that is said to run something of a page.
func testsPage(tr *tree, test, page string) string {
	for _, f := range tr.files {
		if !f.test || !strings.Contains(tr.texts[f.path], "/"+path.Base(page)) {
			continue
		}
		for _, declared := range testFunctions(f) {
			if declared == test {
				return ""
			}
		}
	}
	return "no test " + test + " names " + page
}

// usedBelow: a line that is typed below the block names its file.
func usedBelow(page string, b redistest.Block) bool {
	for _, later := range redistest.Blocks(page) {
		if later.Line > b.Line && later.Language == "console" && !strings.HasPrefix(later.Note, redistest.NotRun) && strings.Contains(later.Text, b.File) {
			return true
		}
	}
	return false
}

func TestNotRun(t *testing.T) {
	tr := mustLoad(t)
	for _, c := range []struct {
		block redistest.Block
		run   bool
	}{
		{redistest.Block{Language: "console", Text: "$ a\n"}, true},
		{redistest.Block{Language: "sh", Text: "make build\n"}, false},
		{redistest.Block{Language: "python", Text: "import redis\n"}, false},
		{redistest.Block{Language: "sh", Note: "not run: it takes half an hour"}, true},
		{redistest.Block{Language: "sh", Note: "not run: no"}, false},
		{redistest.Block{Language: "sh", Note: "run by TestClusterPage"}, true},
		{redistest.Block{Language: "sh", Note: "run by TestNothing"}, false},
		{redistest.Block{Language: "sh", Note: "run by TestLikesPage"}, false}, // of another page
		{redistest.Block{Language: "conf", File: "x.conf"}, true},
		{redistest.Block{Language: "conf", File: "y.conf"}, false},
		{redistest.Block{Language: "text", Text: "a ─► b\n"}, true},
		{redistest.Block{Language: "text", Text: "first\nbin/quipu server\n"}, false},
		{redistest.Block{}, false},
	} {
		if got := notRun(tr, "docs/cluster.md", "```console\n$ quipu x.conf\n```\n", c.block); (got == "") != c.run {
			t.Errorf("%+v: %q", c.block, got)
		}
	}
	if got := notRun(tr, "docs/dependencies.md", "", redistest.Block{Language: "console", Text: "$ a\n"}); got == "" {
		t.Error("a page without a player may show commands")
	}
}
