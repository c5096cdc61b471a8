package examples

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestClusterPage plays docs/cluster.md: all that is typed there, in one shell, with other ports.
func TestClusterPage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	redistest.Tool(t, "redis-cli")
	text, err := os.ReadFile("../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(redistest.Binary(t), filepath.Join(dir, "quipu")); err != nil {
		t.Fatal(err)
	}
	page, shown := movePorts(t, string(text))
	var typed []string
	var printed []string // by the command of the same place
	for _, block := range consoleBlocks(page) {
		for line := range strings.Lines(block) {
			line = strings.TrimRight(line, "\n")
			if m := shellPrompt.FindStringSubmatch(line); m != nil {
				typed, printed = append(typed, m[1]), append(printed, "")
			} else {
				printed[len(printed)-1] += line + "\n"
			}
		}
	}
	script := "cd " + dir + "\nPATH=" + dir + ":$PATH\n"
	for i, line := range typed {
		script += fmt.Sprintf("{ %s\n} 2>&1\necho \"%s%d\"\n", addressed(line, page), mark, i)
	}
	out := runPage(t, script)
	for i, want := range printed {
		got, rest, found := strings.Cut(out, fmt.Sprintf("%s%d\n", mark, i))
		if !found {
			t.Fatalf("the shell has stopped at %q: %s", typed[i], out)
		}
		got = killed.ReplaceAllString(got, "")
		if out = rest; !likeLines(got, want) {
			t.Errorf("$ %s\nprints\n%s\nand not\n%s", shown(typed[i]), shown(got), shown(want))
		}
	}
	if len(typed) < 45 {
		t.Errorf("only %d commands found in the page", len(typed))
	}
}

// killed is what bash says of a job that was killed.
var killed = regexp.MustCompile(`(?m)^bash: line \d+: +\d+ Killed .*\n`)

const mark = "=====end of command "

var firstNode = regexp.MustCompile(`--port (\d+) --dir n1`)

// addressed names the nodes to ask where the page leaves that to the default: there is none at that port here.
func addressed(line, page string) string {
	asks := strings.Contains(line, "quipu cluster ") && !strings.Contains(line, "--addr")
	if !asks {
		return line
	}
	return strings.Replace(line, "quipu cluster ", "quipu cluster --addr 127.0.0.1:"+firstNode.FindStringSubmatch(page)[1]+" ", 1)
}

// movePorts puts free ports in place of those of the page; shown puts them back.
func movePorts(t *testing.T, page string) (moved string, shown func(string) string) {
	var free []int
	for range 8 {
		free = append(free, redistest.FreePort(t))
	}
	slices.Sort(free) // nodes are shown in the order of their addresses
	var there, back []string
	for i, port := range free {
		from, to := strconv.Itoa(6379+i%4+1000*(i/4)), strconv.Itoa(port)
		there, back = append(there, from, to), append(back, to, from)
	}
	return strings.NewReplacer(there...).Replace(page), strings.NewReplacer(back...).Replace
}

// runPage has bash run a script, and returns what it prints.
func runPage(t *testing.T, script string) string {
	cmd := exec.Command("bash")
	cmd.Stdin = strings.NewReader(script)
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killAll := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the shell, and all that it has started
	defer killAll()
	watchdog := time.AfterFunc(2*time.Minute, killAll)
	defer watchdog.Stop()
	err := cmd.Wait()
	if err != nil {
		t.Logf("bash: %v", err)
	}
	return out.String()
}

// likeLines compares line by line, without regard to the number of spaces; … stands for anything.
func likeLines(got, want string) bool {
	g, w := lines(got), lines(want)
	if len(g) != len(w) {
		return false
	}
	for i := range g {
		var pattern []string
		for _, part := range strings.Split(strings.Join(strings.Fields(w[i]), " "), "…") {
			pattern = append(pattern, regexp.QuoteMeta(part))
		}
		if !regexp.MustCompile("^" + strings.Join(pattern, ".*") + "$").MatchString(strings.Join(strings.Fields(g[i]), " ")) {
			return false
		}
	}
	return true
}
