package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

// ConsoleBlocks returns the text of each ```console block of a page.
func ConsoleBlocks(page string) (blocks []string) {
	for _, m := range consoleBlock.FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// Page is a document whose console blocks a test plays: what stands behind "$ " is typed, all of it in one bash, and what stands below
// such a line is printed.
type Page struct {
	Text     string
	Setup    string                     // lines for bash before those of the page
	Type     func(line string) string   // what is typed for a line; nil: the line
	Hear     func(output string) string // what a line has printed, in the words of the page; nil: all of it
	Commands int                        // so many at least are in the page: none is overlooked
}

// pageLimit is how long bash may take for a page.
const pageLimit = 2 * time.Minute

// Play types what the page does, and compares what is printed with the page, in which … stands for anything.
func (p *Page) Play(t *testing.T) {
	t.Helper()
	typed, printed := p.lines()
	mark := func(i int) string { return fmt.Sprintf("=====end of command %d", i) }
	script := p.Setup
	for i, line := range typed {
		if p.Type != nil {
			line = p.Type(line)
		}
		script += fmt.Sprintf("{ %s\n} 2>&1\necho '%s'\n", line, mark(i))
	}
	out := bash(t, script)
	for i, want := range printed {
		got, rest, found := strings.Cut(out, mark(i)+"\n")
		if !found {
			t.Fatalf("the shell has stopped at %q: %s", typed[i], out)
		}
		if out = rest; p.Hear != nil {
			got = p.Hear(got)
		}
		if !like(got, want) {
			t.Errorf("$ %s\nprints\n%s\nand not\n%s", typed[i], got, want)
		}
	}
	if len(typed) < p.Commands {
		t.Errorf("only %d commands found in the page", len(typed))
	}
}

// lines are what is typed, and at the same places what it prints.
func (p *Page) lines() (typed, printed []string) {
	for _, block := range ConsoleBlocks(p.Text) {
		for line := range strings.Lines(block) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				typed, printed = append(typed, strings.TrimRight(command, "\n")), append(printed, "")
			} else {
				printed[len(printed)-1] += line
			}
		}
	}
	return typed, printed
}

// bash has bash run a script and returns what it prints; what it leaves running is killed.
func bash(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.out") // and no pipe, which what is left running would hold open
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	Tool(t, "bash")
	cmd := exec.Command("bash", "--norc") // by this name it speaks of itself
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killAll := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	defer killAll()
	watchdog := time.AfterFunc(pageLimit, killAll)
	defer watchdog.Stop()
	if err := cmd.Wait(); err != nil {
		t.Logf("bash: %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// like compares line by line, without regard to the number of blanks; … stands for anything.
func like(got, want string) bool {
	g, w := strings.Split(strings.TrimSpace(got), "\n"), strings.Split(strings.TrimSpace(want), "\n")
	if len(g) != len(w) {
		return false
	}
	for i := range g {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.Join(strings.Fields(w[i]), " ")), "…", ".*")
		if !regexp.MustCompile("^" + pattern + "$").MatchString(strings.Join(strings.Fields(g[i]), " ")) {
			return false
		}
	}
	return true
}
