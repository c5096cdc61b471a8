// Package toolbox finds the interpreters and libraries of other languages that
// tests run programs with.
//
// install.sh in this folder (`make tools`) installs them: the Debian packages of
// debian.txt, the Python packages of python/requirements.txt into the virtual
// environment .tools/python, the Node.js packages of node/package-lock.json
// into .tools/node, and the Java libraries of java/pom.xml into .tools/java, all
// at the root of the checkout and outside of version control. A test that needs another library adds it to the list of its language;
// every version is pinned, but those of Debian, which its release pins.
//
// A test that asks for something missing is skipped, or fails where
// redistest.Required says so.
package toolbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// Interpreter runs scripts of one language.
type Interpreter struct {
	Path  string   // the program
	Flags []string // what stands before the script
	Env   []string // what it needs in its environment, besides the test's own
}

// Command is a run of the interpreter; the caller sets input and output and starts it.
func (i Interpreter) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, i.Path, slices.Concat(i.Flags, args)...)
	cmd.Env = append(os.Environ(), i.Env...)
	return cmd
}

// Python is the interpreter of .tools/python, which must be able to import modules.
func Python(tb testing.TB, modules ...string) Interpreter {
	tb.Helper()
	i := Interpreter{
		Path: filepath.Join(root(), ".tools", "python", "bin", "python"),
		Env:  []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "PYTHONPATH="},
	}
	i.probe(tb, append([]string{"-c", "import importlib, sys\nfor m in sys.argv[1:]: importlib.import_module(m)"}, modules...)...)
	return i
}

// Node is Node.js, for which require must find modules. It finds those of .tools/node, wherever the script lies, as
// long as it is CommonJS: import statements do not look at NODE_PATH.
func Node(tb testing.TB, modules ...string) Interpreter {
	tb.Helper()
	i := Interpreter{
		Path: "node",
		Env:  []string{"NODE_PATH=" + filepath.Join(root(), ".tools", "node", "node_modules")},
	}
	i.probe(tb, append([]string{"-e", "process.argv.slice(1).forEach(m => require.resolve(m))", "--"}, modules...)...)
	return i
}

// PHP is the command-line interpreter of PHP, which must have extensions.
func PHP(tb testing.TB, extensions ...string) Interpreter {
	tb.Helper()
	i := Interpreter{Path: "php"}
	const check = `foreach (array_slice($argv, 1) as $e) { if (!extension_loaded($e)) { fwrite(STDERR, "no extension $e"); exit(1); } }`
	i.probe(tb, append([]string{"-r", check, "--"}, extensions...)...)
	return i
}

// Ruby is the interpreter of Ruby, which must be able to require libraries.
func Ruby(tb testing.TB, libraries ...string) Interpreter {
	tb.Helper()
	i := Interpreter{Path: "ruby"}
	i.probe(tb, append([]string{"-e", "ARGV.each { |l| require l }", "--"}, libraries...)...)
	return i
}

// Java compiles sources, and is the java that runs their classes, by name, with the libraries of .tools/java. Its flags make it
// start sooner: a program of a test ends before the second compiler has made anything faster.
func Java(tb testing.TB, sources ...string) Interpreter {
	tb.Helper()
	classes := tb.TempDir()
	i := Interpreter{
		Path:  "java",
		Flags: []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"},
		Env:   []string{"CLASSPATH=" + filepath.Join(root(), ".tools", "java", "*") + string(filepath.ListSeparator) + classes},
	}
	pom, err := os.ReadFile(filepath.Join(root(), "internal", "toolbox", "java", "pom.xml"))
	if err != nil {
		tb.Fatal(err)
	}
	done, err := os.ReadFile(filepath.Join(root(), ".tools", "java.done"))
	if key := fmt.Sprintf("%x", sha256.Sum256(pom)); err == nil && !strings.HasPrefix(string(done), key) {
		err = errors.New("the libraries are those of another pom.xml")
	}
	if err != nil {
		lack(tb, "java: %v; `make tools` installs it", err)
	}
	i.probe(tb, "-version")
	javac := Interpreter{Path: "javac", Flags: []string{"-J-XX:+UseSerialGC", "-J-XX:TieredStopAtLevel=1", "-proc:none"}, Env: i.Env}
	javac.probe(tb, "-version")
	if out, err := javac.Command(tb.Context(), append([]string{"-d", classes}, sources...)...).CombinedOutput(); err != nil {
		tb.Fatalf("javac: %v\n%s", err, out)
	}
	return i
}

// probe runs the interpreter with args and ends the test where that fails.
func (i *Interpreter) probe(tb testing.TB, args ...string) {
	tb.Helper()
	path, err := exec.LookPath(i.Path)
	var out []byte
	if err == nil {
		i.Path = path
		out, err = i.Command(tb.Context(), args...).CombinedOutput()
	}
	if err == nil {
		return
	}
	lack(tb, "%s %q: %v: %s; `make tools` installs it", i.Path, args[min(2, len(args)):], err, strings.TrimSpace(string(out)))
}

// lack skips the test because something is not installed, or fails it where redistest.Required says so.
func lack(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if redistest.Required() {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}

// root is the checkout this file was compiled from.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
