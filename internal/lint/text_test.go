package lint

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// self is this package's folder. Its text names what it forbids.
const self = "internal/lint/"

// banned are words no file of the project contains: promises to finish later
// (an issue is the place for those), and paths of somebody's machine.
var banned = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b|\.\./shared|(^|[^\w.])/work/|/home/\w+/`)

func TestBannedWords(t *testing.T) {
	tr := mustLoad(t)
	for name, text := range tr.texts {
		if strings.HasPrefix(name, self) || path.Base(name) == "go.sum" || name == "LICENSE" {
			continue
		}
		for i, line := range strings.Split(text, "\n") {
			if m := banned.FindString(line); m != "" {
				t.Errorf("%s:%d: contains %q", name, i+1, strings.TrimSpace(m))
			}
		}
	}
}

func TestNoReplace(t *testing.T) {
	tr := mustLoad(t)
	for _, name := range []string{"go.mod", "connect/go.mod"} {
		for i, line := range strings.Split(tr.texts[name], "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "replace") {
				t.Errorf("%s:%d: replace directives break `go install`", name, i+1)
			}
		}
	}
}

// TestDependenciesExplained: each module our code imports, and each that a go.mod
// lists as direct, has a line in docs/dependencies.md.
func TestDependenciesExplained(t *testing.T) {
	tr := mustLoad(t)
	direct, all := requirements(tr.texts["go.mod"])
	moreDirect, more := requirements(tr.texts["connect/go.mod"])
	direct, all = append(direct, moreDirect...), append(all, more...)
	for _, f := range tr.files {
		for _, spec := range f.syntax.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if m := moduleOf(all, name); m != "" && !slices.Contains(direct, m) {
				direct = append(direct, m)
			}
		}
	}
	text := tr.texts["docs/dependencies.md"]
	for _, m := range direct {
		if !strings.Contains(text, "`"+m+"`") {
			t.Errorf("docs/dependencies.md does not say why we use `%s`", m)
		}
	}
}

// requirements reads the modules go.mod requires: those without an "indirect"
// mark, and all.
func requirements(gomod string) (direct, all []string) {
	inBlock := false
	for line := range strings.SplitSeq(gomod, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "require (":
			inBlock = true
			continue
		case line == ")":
			inBlock = false
			continue
		case strings.HasPrefix(line, "require "):
			line = strings.TrimPrefix(line, "require ")
		case !inBlock:
			continue
		}
		name, _, ok := strings.Cut(line, " ")
		if !ok {
			continue
		}
		all = append(all, name)
		if !strings.Contains(line, "// indirect") {
			direct = append(direct, name)
		}
	}
	return direct, all
}

// moduleOf is the module that holds the package name: the longest that fits.
func moduleOf(modules []string, name string) string {
	best := ""
	for _, m := range modules {
		if inDir(name, m) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

var markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks: each relative link of a Markdown file leads to a file, and to a heading of it where it names one.
func TestLinks(t *testing.T) {
	tr := mustLoad(t)
	for name, text := range tr.texts {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range markdownLink.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			rel := name
			if target != "" {
				rel = path.Join(path.Dir(name), target)
			}
			if _, err := os.Stat(filepath.Join(tr.root, filepath.FromSlash(rel))); err != nil {
				t.Errorf("%s: link to %s leads nowhere", name, m[1])
			} else if anchor != "" && !anchors(tr.texts[rel])[anchor] {
				t.Errorf("%s: link to %s: there is no such heading", name, m[1])
			}
		}
	}
}

var fileReference = regexp.MustCompile("`([\\w./-]+\\.(?:go|txt|md))`")

// TestFileReferences: each file that a Markdown file names in backquotes, with
// its folder, exists.
func TestFileReferences(t *testing.T) {
	tr := mustLoad(t)
	for name, text := range tr.texts {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range fileReference.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "/") {
				continue
			}
			if _, err := os.Stat(filepath.Join(tr.root, filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s: there is no file %s", name, m[1])
			}
		}
	}
}
