package lint

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var rewriteBook = flag.Bool("rewrite", false, "write the lines of docs/README.md and the last line of each page anew")

// contentsPage is the table of contents: the order of its links is the order of the book.
const contentsPage = "docs/README.md"

// bookLine is a line of the table of contents: the page's title, its file, the question that it answers.
var bookLine = regexp.MustCompile(`(?m)^\d+\. \[([^\]]*)\]\(([\w-]+\.md)\):? ?(.*)$`)

// bookPages are the files of the book, in its order.
func bookPages(contents string) (files []string) {
	for _, m := range bookLine.FindAllStringSubmatch(contents, -1) {
		files = append(files, m[2])
	}
	return files
}

// opening is what a page begins with: its title, and the question that it answers, which is its first paragraph.
func opening(page string) (title, question string, err error) {
	first, rest, _ := strings.Cut(page, "\n\n")
	title, ok := strings.CutPrefix(first, "# ")
	if !ok || strings.Contains(title, "\n") {
		return "", "", fmt.Errorf("the first line is no title")
	}
	question, _, _ = strings.Cut(rest, "\n\n")
	question = strings.Join(strings.Fields(question), " ")
	if !strings.HasSuffix(question, "?") || strings.Contains(question, ". ") || len(question) > 200 {
		return "", "", fmt.Errorf("the first paragraph is not one question, of 200 bytes at most, which the page answers: %q", question)
	}
	return title, question, nil
}

func TestOpening(t *testing.T) {
	for page, ok := range map[string]bool{
		"# A\n\nWhat is\nit?\n\nIt is.\n":                                    true,
		"A\n\nWhat is it?\n\nIt is.\n":                                       false,
		"# A\n\nIt is this.\n\nIt is.\n":                                     false,
		"# A\n\nIt is. What is it?\n\nIt.\n":                                 false,
		"# A\nWhat is it?\n\nIt.\n":                                          false,
		"# A\n\n" + strings.Repeat("What is it, ", 20) + "and why?\n\nIt.\n": false,
	} {
		if title, question, err := opening(page); (err == nil) != ok || ok && title+question != "AWhat is it?" {
			t.Errorf("%q: %q, %q, %v", page, title, question, err)
		}
	}
}

// TestBook: each page of docs stands in the table of contents, with its title and the question that it begins with, and
// leads at its end to the page before it, to the contents and to the next page. -rewrite writes all of that, and leaves the order.
func TestBook(t *testing.T) {
	tr := mustLoad(t)
	files := bookPages(tr.texts[contentsPage])
	place := map[string]int{}
	for i, f := range files {
		if _, twice := place[f]; twice {
			t.Errorf("%s names %s twice", contentsPage, f)
		}
		place[f] = i
	}
	titles, questions := make([]string, len(files)), make([]string, len(files))
	for name, text := range tr.texts {
		if path.Dir(name) != "docs" || !strings.HasSuffix(name, ".md") || name == contentsPage {
			continue
		}
		i, listed := place[path.Base(name)]
		if !listed {
			t.Errorf("%s does not stand in %s", name, contentsPage)
			continue
		}
		var err error
		if titles[i], questions[i], err = opening(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i, f := range files {
		if titles[i] == "" {
			t.Errorf("%s names %s, and there is no such page", contentsPage, f)
		}
	}
	if t.Failed() {
		return
	}
	checkContents(t, tr, files, titles, questions)
	for i, f := range files {
		checkOnwards(t, tr, "docs/"+f, onwards(files, titles, i))
	}
}

// TestReadmeIsShort: README.md says what this is and shows it; what is longer is a page of the book.
func TestReadmeIsShort(t *testing.T) {
	const most = 140 // lines
	if n := strings.Count(mustLoad(t).texts["README.md"], "\n"); n > most {
		t.Errorf("README.md has %d lines, at most %d: move what is longer into a page of docs and link it", n, most)
	}
}

func checkContents(t *testing.T, tr *tree, files, titles, questions []string) {
	t.Helper()
	i := -1
	want := bookLine.ReplaceAllStringFunc(tr.texts[contentsPage], func(string) string {
		i++
		return fmt.Sprintf("%d. [%s](%s): %s", i+1, titles[i], files[i], questions[i])
	})
	compareOrWrite(t, tr, contentsPage, want)
}

// onwards is the last line of a page.
func onwards(files, titles []string, i int) string {
	links := []string{"[Contents](README.md)"}
	if i > 0 {
		links = append([]string{fmt.Sprintf("[← %s](%s)", titles[i-1], files[i-1])}, links...)
	}
	if i+1 < len(files) {
		links = append(links, fmt.Sprintf("[%s →](%s)", titles[i+1], files[i+1]))
	}
	return strings.Join(links, " · ")
}

// pageEnd stands between a page and its last line.
const pageEnd = "\n---\n"

func checkOnwards(t *testing.T, tr *tree, name, line string) {
	t.Helper()
	text, _, _ := strings.Cut(tr.texts[name], pageEnd)
	compareOrWrite(t, tr, name, strings.TrimRight(text, "\n")+"\n"+pageEnd+"\n"+line+"\n")
}

func compareOrWrite(t *testing.T, tr *tree, name, want string) {
	t.Helper()
	if tr.texts[name] == want {
		return
	}
	if !*rewriteBook {
		t.Errorf("%s does not agree with the order of %s and what its pages begin with: go test ./internal/lint -run TestBook -rewrite", name, contentsPage)
		return
	}
	if err := os.WriteFile(filepath.Join(tr.root, filepath.FromSlash(name)), []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

var (
	fencedBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	heading     = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	linkInText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors are the names that GitHub gives the headings of a page.
func anchors(page string) map[string]bool {
	list, times := map[string]bool{}, map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fencedBlock.ReplaceAllString(page, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, linkInText.ReplaceAllString(m[1], "$1"))
		if n := times[name]; n > 0 {
			list[fmt.Sprintf("%s-%d", name, n)] = true
		}
		list[name] = true
		times[name]++
	}
	return list
}

func TestAnchorNames(t *testing.T) {
	got := anchors("# A b\n## What is `INCR`, and why?\n```sh\n# no heading\n```\n### See [this](x.md) …\n## A b\n")
	for _, want := range []string{"a-b", "what-is-incr-and-why", "see-this-", "a-b-1"} {
		if !got[want] {
			t.Errorf("no %s in %v", want, got)
		}
	}
	if len(got) != 4 {
		t.Errorf("more anchors than headings: %v", got)
	}
}

var (
	testName   = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)(…?)`")
	makeTarget = regexp.MustCompile("(?m)(?:^(?:\\$ )?|`|= )make ((?:-s )?[a-z][a-z-]*)")
	target     = regexp.MustCompile(`(?m)^([a-z-]+):`)
)

// TestNamesOfTests: each test that a page names as a witness exists; `TestSecure…` stands for those that begin so.
func TestNamesOfTests(t *testing.T) {
	tr := mustLoad(t)
	var declared []string
	for _, f := range tr.files {
		if f.test {
			declared = append(declared, testFunctions(f)...)
		}
	}
	all := " " + strings.Join(declared, " ") + " "
	for name, text := range tr.texts {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			word := " " + m[1] + " "
			if m[2] != "" {
				word = " " + m[1]
			}
			if !strings.Contains(all, word) {
				t.Errorf("%s: there is no test %s", name, m[1])
			}
		}
	}
}

// unwitnessed are the rows of a page's tables of failures that name no test: their last cell names one, or what the page itself shows, or
// says why there is none. rows is the number of all.
func unwitnessed(page string) (bad []string, rows int) {
	for _, section := range strings.Split(page, "\n## ")[1:] {
		if !strings.HasPrefix(section, "At each failure") {
			continue
		}
		_, table, _ := strings.Cut(section, "|---|")
		for _, row := range strings.Split(table, "\n")[1:] {
			if !strings.HasPrefix(row, "|") {
				continue
			}
			rows++
			cells := strings.Split(strings.Trim(row, "| "), "|")
			last := strings.TrimSpace(cells[len(cells)-1])
			if !testName.MatchString(last) && !strings.Contains(last, "](#") && !strings.HasPrefix(last, "none: ") {
				bad = append(bad, row)
			}
		}
	}
	return bad, rows
}

// TestFailuresAreShown: each row of the tables of failures has a witness.
func TestFailuresAreShown(t *testing.T) {
	bad, rows := unwitnessed(mustLoad(t).texts["docs/durability.md"])
	for _, row := range bad {
		t.Errorf("docs/durability.md: no test shows it: %s", row)
	}
	if rows < 30 {
		t.Errorf("only %d rows found", rows)
	}
	const head = "\n## At each failure: x\n\n| a | b |\n|---|---|\n"
	for row, shown := range map[string]bool{"| a | `TestA` |": true, "| a | [below](#b) |": true, "| a | none: of a promise |": true, "| a | |": false, "| `TestA` | – |": false} {
		if bad, rows := unwitnessed("# A\n" + head + row + "\n"); rows != 1 || (len(bad) == 0) != shown {
			t.Errorf("%s: %q of %d", row, bad, rows)
		}
	}
}

// TestMakeTargets: what pages say of make can be typed.
func TestMakeTargets(t *testing.T) {
	tr := mustLoad(t)
	known := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(tr.texts["Makefile"], -1) {
		known[m[1]] = true
	}
	seen := 0
	for name, text := range tr.texts {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
			seen++
			if word := strings.TrimPrefix(m[1], "-s "); !known[word] {
				t.Errorf("%s: make has no target %s", name, word)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d calls of make found in the pages", seen)
	}
}
