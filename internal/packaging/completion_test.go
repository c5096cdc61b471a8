package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// completed are command lines, whose last word is being typed, and what completion offers: exactly these, or among others those
// with a + in front.
var completed = []struct{ line, want string }{
	{"quipu clu", "cluster"},
	{"quipu ", "+server +cluster +ping +generate +tls"},
	{"quipu cluster ", "+status +replace +upgrade"},
	{"quipu cluster re", "remove replace"},
	{"quipu cluster status --ad", "--addr"},
	{"quipu server --max-a", "--max-arguments"},
	{"quipu --max-a", "--max-arguments"},
	{"quipu server --loglevel ", "debug notice verbose warning"},
	{"quipu server --port 1 --protected-mode ", "no yes"},
	{"quipu --transport e", "epoll"},
	{"quipu server --port ", ""},
	{"quipu server folder/qu", "folder/quipu.conf"},
	{"quipu server --dir fol", "+folder"},
	{"quipu restore folder/qu", "folder/quipu.conf"},
	{"quipu connect acc", "accept"},
	{"quipu connect run folder/qu", "folder/quipu.conf"},
	{"quipu tls ", "init"},
	{"quipu version --", ""},
}

// completionFolder is where the command lines are typed.
func completionFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "folder", "quipu.conf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// absolute is the path of a file of ops, for shells that run elsewhere.
func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(ops, name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// judge compares what a shell offers with what is wanted.
func judge(t *testing.T, line string, got []string, want string) {
	t.Helper()
	slices.Sort(got)
	if !strings.Contains(want, "+") {
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
		return
	}
	for _, name := range strings.Fields(want) {
		if !slices.Contains(got, strings.TrimPrefix(name, "+")) {
			t.Errorf("%s: %s is not among %q", line, name, got)
		}
	}
}

// bashOffers asks a real bash.
func bashOffers(t *testing.T, dir, line string) []string {
	t.Helper()
	words := strings.Split(line, " ")
	script := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _quipu; printf '%s\n' "${COMPREPLY[@]}"`
	cmd := exec.Command(redistest.Tool(t, "bash"), append([]string{"--norc", "-c", script, "bash", absolute(t, "quipu.bash")}, words...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return strings.Fields(string(out))
}

func TestBash(t *testing.T) {
	dir := completionFolder(t)
	for _, tc := range completed {
		judge(t, tc.line, bashOffers(t, dir, tc.line), tc.want)
	}
	for _, s := range config.Settings() { // a whole name that is the beginning of no other completes to itself
		if got := bashOffers(t, dir, "quipu server --"+s.Name); !slices.Contains(got, "--"+s.Name) {
			t.Errorf("--%s is not offered", s.Name)
		}
	}
	complete := exec.Command("bash", "--norc", "-c", `source "$1"; complete -p quipu`, "bash", absolute(t, "quipu.bash"))
	if out, err := complete.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "complete -F _quipu quipu" {
		t.Errorf("%s, %v", out, err)
	}
}

// TestFish asks a real fish.
func TestFish(t *testing.T) {
	fish := redistest.Tool(t, "fish")
	dir := completionFolder(t)
	for _, tc := range completed {
		if strings.HasPrefix(tc.line, "quipu --") { // without the subcommand, fish offers none of its flags
			continue
		}
		cmd := exec.Command(fish, "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, absolute(t, "quipu.fish"), tc.line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", tc.line, err, out)
		}
		var got []string
		for line := range strings.Lines(string(out)) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			got = append(got, strings.TrimSuffix(name, "/"))
		}
		judge(t, tc.line, got, tc.want)
	}
}

// zshScript runs completion in a zsh that has no terminal: what completion hands to zsh's own functions is printed, words as "word
// NAME" and the wish for files as "files".
const zshScript = `
compdef () { print -r -- "compdef $*" }
_describe () { local name=$@[-1] one; for one in "${(@P)name}"; do print -r -- "word ${one%%:*}"; done }
compadd () { shift; print -rl -- "word "$^@ }
_files () { print files }
_message () { print message }
source "$1"; shift
words=("$@"); CURRENT=$#
_quipu
`

// TestZsh has a real zsh run the function. Zsh itself picks the words that begin as what is typed, so the test does.
func TestZsh(t *testing.T) {
	zsh := redistest.Tool(t, "zsh")
	dir := completionFolder(t)
	for _, tc := range completed {
		typed := strings.Split(tc.line, " ")
		cmd := exec.Command(zsh, append([]string{"-f", "-c", zshScript, "zsh", absolute(t, "_quipu")}, typed...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState.ExitCode() != 1 { // 1: nothing is offered
			t.Fatalf("%s: %v\n%s", tc.line, err, out)
		}
		var got []string
		last := typed[len(typed)-1]
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if lines[0] != "compdef _quipu quipu" {
			t.Fatalf("%s: the file begins with %q", tc.line, lines[0])
		}
		for _, line := range lines[1:] {
			name, isWord := strings.CutPrefix(line, "word ")
			switch {
			case isWord && strings.HasPrefix(name, last):
				got = append(got, name)
			case line == "files":
				found, err := filepath.Glob(filepath.Join(dir, last+"*"))
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range found {
					got = append(got, strings.TrimPrefix(path, dir+"/"))
				}
			case !isWord && line != "message":
				t.Errorf("%s: zsh says %q", tc.line, line)
			}
		}
		judge(t, tc.line, got, tc.want)
	}
}
