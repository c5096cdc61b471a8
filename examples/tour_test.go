package examples

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// cliPrompt is a line that a person types at redis-cli's prompt.
var cliPrompt = regexp.MustCompile(`^127\.0\.0\.1:6379(?:\(TX\))?> (.*)$`)

// TestTour plays the transcripts of README.md (its ```console blocks). Each block
// with redis-cli's prompt is one session of redis-cli; a block with kill -9 kills
// the server and starts it again.
func TestTour(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	node := redistest.Quipu{Dir: t.TempDir(), Port: redistest.FreePort(t)}
	server := node.Start(t)
	played := 0
	for _, block := range redistest.ConsoleBlocks(string(text)) {
		typed, want := splitTranscript(block)
		if strings.Contains(block, "kill -9") {
			server.Kill9()
			server = node.Start(t)
		}
		if len(typed) == 0 {
			continue
		}
		played += len(typed)
		cmd := exec.Command(cli, "-p", strconv.Itoa(node.Port), "--no-raw")
		cmd.Stdin = strings.NewReader(strings.Join(typed, "\n") + "\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli: %v\n%s", err, out)
		}
		got := strings.ReplaceAll(string(out), strconv.Itoa(node.Port), "6379")
		if !sameLines(got, want) {
			t.Errorf("README.md says\n%s\nbut redis-cli prints\n%s", want, got)
		}
	}
	if played < 15 {
		t.Errorf("only %d commands found in README.md", played)
	}
}

// TestCommandList: docs/compatibility.md names every command there is.
func TestCommandList(t *testing.T) {
	text, err := os.ReadFile("../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	reply, err := redistest.Quipu{}.Start(t).Dial(t).Do("COMMAND", "LIST")
	if err != nil || len(reply.Elems) < 50 {
		t.Fatalf("COMMAND LIST: %v, %v", reply, err)
	}
	for _, e := range reply.Elems {
		name := strings.ToUpper(e.Text[strings.LastIndexByte(e.Text, '|')+1:])
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/compatibility.md does not name %s", strings.ToUpper(e.Text))
		}
	}
}

// splitTranscript separates what is typed at redis-cli's prompt from what it
// prints. What the shell prints is left out.
func splitTranscript(block string) (typed []string, printed string) {
	inShell := false
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		if m := cliPrompt.FindStringSubmatch(line); m != nil {
			typed, inShell = append(typed, m[1]), false
		} else if strings.HasPrefix(line, "$ ") {
			inShell = true
		} else if !inShell {
			printed += line + "\n"
		}
	}
	return typed, printed
}

// sameLines compares line by line, without trailing spaces and empty lines. A
// line of the README that ends in … stands for any that begins so.
func sameLines(got, want string) bool {
	g, w := lines(got), lines(want)
	if len(g) != len(w) {
		return false
	}
	for i := range g {
		if prefix, ok := strings.CutSuffix(w[i], "…"); ok && strings.HasPrefix(g[i], prefix) {
			continue
		}
		if g[i] != w[i] {
			return false
		}
	}
	return true
}

func lines(s string) (out []string) {
	for line := range strings.Lines(s) {
		if line = strings.TrimRight(line, " \r\n"); line != "" {
			out = append(out, line)
		}
	}
	return out
}
