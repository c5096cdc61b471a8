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

// Page is a document whose console blocks a test plays: what stands behind "$ " is typed, all of it in one bash, and what stands below
// such a line is printed. What stands behind a prompt of redis-cli is one session of it. A block that has the name of a file behind its
// language is written into that file. Blocks with the note OwnTerminal go on while what follows is typed; those with NotRun or RunBy are
// left out.
type Page struct {
	Text     string
	Setup    string                     // lines for bash before those of the page
	Type     func(line string) string   // what is typed for a line; nil: the line
	Hear     func(output string) string // what a line has printed, in the words of the page; nil: all of it
	Await    func(line string) string   // what is typed behind a line in a terminal of its own, so that it is ready; nil: nothing
	Commands int                        // so many at least are in the page: none is overlooked
}

// pageLimit is how long bash may take for a page.
const pageLimit = 2 * time.Minute

// step is one thing that is done for a page.
type step struct {
	line     string // as the page has it
	typed    string // for bash
	printed  string
	commands int
	session  bool // of redis-cli, whose empty lines do not count
}

// asTyped has redis-cli print what it prints on a terminal where its output is shown, and not where it goes into a pipe. A page's
// Setup may set PAGE_PORT, the port in place of 6379 where none is named.
const asTyped = `redis-cli() {
local raw=; if [ /dev/stdout -ef "$PAGE_OUTPUT" ]; then raw=--no-raw; fi
command redis-cli $raw ${PAGE_PORT:+-p $PAGE_PORT} "$@"
}
`

// Play types what the page does, and compares what is printed with the page, in which … stands for anything.
func (p *Page) Play(t *testing.T) {
	t.Helper()
	steps := p.steps()
	mark := func(i int) string { return fmt.Sprintf("=====end of command %d", i) }
	script, commands := asTyped+p.Setup+"\n", 0
	for i, s := range steps {
		script += fmt.Sprintf("{ %s\n} 2>&1\nPAGE_STATUS=$?; echo '%s'; (exit $PAGE_STATUS)\n", s.typed, mark(i)) // $? is as the page has left it
		commands += s.commands
	}
	out := bash(t, script)
	for i, s := range steps {
		got, rest, found := strings.Cut(out, mark(i)+"\n")
		if !found {
			t.Fatalf("the shell has stopped at %q: %s", s.line, out)
		}
		if out = rest; p.Hear != nil {
			got = p.Hear(got)
		}
		if s.session {
			got = emptyLines.ReplaceAllString(got, "\n")
		}
		if !like(got, s.printed) {
			t.Errorf("$ %s\nprints\n%s\nand not\n%s", s.line, got, s.printed)
		}
	}
	if commands < p.Commands {
		t.Errorf("only %d commands found in the page", commands)
	}
}

var (
	cliPrompt  = regexp.MustCompile(`^127\.0\.0\.1:(\d+)(?:\[\d+\])?(?:\(TX\))?> (.*)$`)
	emptyLines = regexp.MustCompile(`\n+`)
)

// steps are what is typed, with what it prints.
func (p *Page) steps() (list []step) {
	write := func(line string) string {
		if p.Type != nil {
			return p.Type(line)
		}
		return line
	}
	for _, b := range Blocks(p.Text) {
		switch {
		case strings.HasPrefix(b.Note, NotRun), strings.HasPrefix(b.Note, RunBy):
		case b.File != "":
			list = append(list, step{line: "cat >" + b.File, typed: heredoc("cat >"+b.File, write(b.Text))})
		case b.Language != "console":
		case b.Note == OwnTerminal:
			list = append(list, p.background(b, write)...)
		default:
			list = append(list, typedSteps(b.Text, write)...)
		}
	}
	return list
}

// typedSteps are those of one block.
func typedSteps(text string, write func(string) string) (list []step) {
	var session []string // what is typed at the prompts of the last step
	end := func() {
		if len(session) > 0 {
			last := &list[len(list)-1]
			last.typed = heredoc(last.typed, strings.Join(session, "\n")+"\n")
			last.commands, last.session, session = len(session), true, nil
		}
	}
	for line := range strings.Lines(text) {
		bare := strings.TrimRight(line, "\n")
		if command, ok := strings.CutPrefix(bare, "$ "); ok {
			end()
			list = append(list, step{line: command, typed: write(command), commands: 1})
		} else if m := cliPrompt.FindStringSubmatch(bare); m != nil {
			if len(session) == 0 && (len(list) == 0 || list[len(list)-1].printed != "" || !strings.HasPrefix(list[len(list)-1].line, "redis-cli")) {
				open := "redis-cli -p " + m[1]
				list = append(list, step{line: open, typed: write(open)})
			}
			session = append(session, m[2])
		} else if len(list) > 0 {
			list[len(list)-1].printed += line
		}
	}
	end()
	return list
}

// background are the lines of a block that go on.
func (p *Page) background(b Block, write func(string) string) (list []step) {
	for line := range strings.Lines(b.Text) {
		command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "$ ")
		if !ok {
			continue // what it prints there comes when it comes
		}
		typed := fmt.Sprintf("{ %s\n} </dev/null >>terminals.log 2>&1 &", write(command))
		if p.Await != nil {
			typed += "\n" + p.Await(command)
		}
		list = append(list, step{line: command, typed: typed, commands: 1})
	}
	return list
}

func heredoc(command, text string) string {
	return command + " <<'=====end of text'\n" + text + "=====end of text"
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
	cmd.Env = append(os.Environ(), "PAGE_OUTPUT="+path)
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
