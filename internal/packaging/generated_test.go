package packaging

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/manual"
	"quipu/internal/redistest"
)

var rewrite = flag.Bool("rewrite", false, "write the generated files of ops anew")

const ops = "../../ops"

// generated are the files of ops that the program makes, by their names in the folder.
var generated = map[string]string{
	"quipu.1": "quipu.1", "quipu.conf.5": "quipu.conf.5", "quipu.conf": "quipu.conf", "quipu.bash": "bash", "_quipu": "zsh", "quipu.fish": "fish",
}

func quipu(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(redistest.Binary(t), args...)
	cmd.Env = append(os.Environ(), "QUIPU_REQUIREPASS=secret-of-whoever-generates")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("quipu %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// TestGenerated keeps the files of ops equal to what the program prints; with -rewrite it writes them.
func TestGenerated(t *testing.T) {
	if len(generated) != len(manual.Files) {
		t.Errorf("%d files are generated, and %d are in ops", len(manual.Files), len(generated))
	}
	for file, what := range generated {
		path, want := filepath.Join(ops, file), quipu(t, "generate", what)
		if *rewrite {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what quipu generate %s prints (%v): go test ./internal/packaging -run TestGenerated -rewrite", path, what, err)
		}
		if strings.Contains(want, "secret-of-whoever") {
			t.Errorf("%s has a password of whoever has made it", file)
		}
	}
}

// TestHelp: help has each setting with its text, in the words of the manual page.
func TestHelp(t *testing.T) {
	flat := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	unroff := strings.NewReplacer(`\e`, `\`, `\-`, "-", `\&...`, "…", `\&`, "", `\(mu`, "×", `\fB`, "", `\fR`, "", `\fI`, "", ".TP\n", "")
	help, short := flat(quipu(t, "server", "--help")), flat(quipu(t, "help"))
	page := flat(unroff.Replace(quipu(t, "generate", "quipu.conf.5")))
	for _, s := range config.Settings() {
		value := s.Default
		if value == "" {
			value = `""`
		}
		entry := s.Name + " " + value + " " + flat(s.Summary)
		for name, text := range map[string]string{"quipu server --help": help, "quipu help": short, "quipu.conf(5)": page} {
			if !strings.Contains(text, entry) {
				t.Errorf("%s does not say %q", name, entry)
			}
		}
	}
	program := flat(unroff.Replace(quipu(t, "generate", "quipu.1")))
	for _, text := range []string{"SIGHUP read all certificates again", "replace NODE PEER-ADDRESS take out a node", "--hosts names"} {
		if !strings.Contains(program, text) {
			t.Errorf("quipu(1) does not say %q", text)
		}
	}
	if !strings.Contains(help, "SIGHUP read all certificates again") {
		t.Error("quipu server --help does not tell of signals")
	}
}

// TestManualPages: groff has nothing to say against the pages, and sets all settings.
func TestManualPages(t *testing.T) {
	man := redistest.Tool(t, "man")
	for _, page := range []string{"quipu.1", "quipu.conf.5"} {
		cmd := exec.Command(man, "--warnings=w", "--local-file", filepath.Join(ops, page))
		cmd.Env = append(os.Environ(), "MANWIDTH=100", "LC_ALL=C.UTF-8", "MAN_KEEP_FORMATTING=")
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil || complaints.Len() > 0 {
			t.Errorf("%s: %v\n%s", page, err, complaints.String())
		}
		if text := string(out); page == "quipu.conf.5" && (!strings.Contains(text, "local-ack-max-pending 5s 64mb") || !strings.Contains(text, "LIMITS ON WHAT CLIENTS")) {
			t.Errorf("%s is shown as\n%s", page, text)
		}
	}
	lint, err := exec.LookPath("mandoc")
	if err != nil {
		return // a second opinion, where it is there
	}
	// The date is left out: a page with one would differ with each day.
	if out, err := exec.Command(lint, "-T", "lint", "-W", "warning", filepath.Join(ops, "quipu.1"), filepath.Join(ops, "quipu.conf.5")).CombinedOutput(); err != nil {
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "missing date") {
				t.Error(strings.TrimSpace(line))
			}
		}
	}
}

// aSetting is a line of the commented configuration that is a setting.
var aSetting = regexp.MustCompile(`(?m)^#([a-z][a-z0-9-]* \S.*)$`)

// TestCommentedConf: the file has every setting once, with its default: as it is, and with all # taken away, a node that starts
// with it has the very settings that it has without.
func TestCommentedConf(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(ops, "quipu.conf"))
	if err != nil {
		t.Fatal(err)
	}
	lines := aSetting.FindAllStringSubmatch(string(text), -1)
	if len(lines) != len(config.Settings()) {
		t.Errorf("%d lines for %d settings", len(lines), len(config.Settings()))
	}
	bare := filepath.Join(t.TempDir(), "quipu.conf")
	if err := os.WriteFile(bare, aSetting.ReplaceAll(text, []byte("$1")), 0o600); err != nil {
		t.Fatal(err)
	}
	node := redistest.Quipu{Port: redistest.FreePort(t), Dir: t.TempDir()}
	var want []redistest.Reply
	for _, file := range []string{"", filepath.Join(ops, "quipu.conf"), bare} {
		if node.File = file; file != "" {
			if node.File, err = filepath.Abs(file); err != nil {
				t.Fatal(err)
			}
		}
		s := node.Start(t)
		reply, err := s.Dial(t).Do("CONFIG", "GET", "*")
		if err != nil || len(reply.Elems) != 2*len(config.Settings()) {
			t.Fatalf("CONFIG GET: %d elements, %v", len(reply.Elems), err)
		}
		if want == nil {
			want = reply.Elems
		}
		for i := range want {
			if want[i].Text != reply.Elems[i].Text {
				t.Errorf("with %s %s is %q, without %q", file, want[i&^1].Text, reply.Elems[i].Text, want[i].Text)
			}
		}
		if strings.Contains(s.Output(), "ignored in the configuration file") {
			t.Errorf("%s: lines are ignored", file)
		}
		s.Terminate(redistest.DefaultTimeout)
	}
}

// TestRedisConfStarts: a node starts with the configuration of Debian's redis-server as it is, and tells once what it ignores. The
// port and the folder are the test's: others have those of the file.
func TestRedisConfStarts(t *testing.T) {
	const path = "/etc/redis/redis.conf"
	if _, err := os.ReadFile(path); err != nil {
		t.Skipf("%v: the file of Debian's redis-server, readable for root and redis, is needed", err)
	}
	s := redistest.Quipu{File: path}.Start(t)
	c := s.Dial(t)
	if reply, err := c.Do("INCR", "a"); err != nil || reply.Text != "1" {
		t.Errorf("%v, %v", reply, err)
	}
	if n := strings.Count(s.Output(), "client-output-buffer-limit"); n != 1 { // there are three lines of it
		t.Errorf("client-output-buffer-limit is told %d times", n)
	}
	for _, want := range []string{"appendonly", "daemonize", "stays in the foreground"} {
		if !strings.Contains(s.Output(), want) {
			t.Errorf("the log does not tell of %s", want)
		}
	}
}
