package lint

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// callRule forbids calls of a package's functions in some folders.
type callRule struct {
	pkg   string   // import path
	names []string // functions
	in    func(dir string) bool
	why   string
}

func inEngine(dir string) bool { return inDir(dir, "engine") }

func inCommands(dir string) bool { return inDir(dir, "commands") }

func notProgram(dir string) bool { return !isProgram(dir) }

var callRules = []callRule{
	{
		pkg: "time", in: inCommands,
		names: []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"},
		why:   "time comes from the log, so that replay gives the same state",
	},
	{
		// A snapshot being written may wait: that changes no state.
		pkg: "time", in: inEngine,
		names: []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker"},
		why:   "time is a parameter, so that replay gives the same state",
	},
	{
		pkg: "fmt", in: notProgram, names: []string{"Print", "Printf", "Println"},
		why: "only programs print; the server logs through log/slog",
	},
	{
		pkg: "log", in: notProgram,
		names: []string{"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
		why:   "the server logs through log/slog and never ends the process in a package",
	},
	{
		pkg: "os", in: notProgram, names: []string{"Exit"},
		why: "only programs exit; a package returns an error",
	},
}

func TestForbiddenCalls(t *testing.T) {
	tr := mustLoad(t)
	for _, f := range tr.files {
		if f.test {
			continue
		}
		for _, r := range callRules {
			if !r.in(f.dir) {
				continue
			}
			name, ok := importName(f.syntax, r.pkg)
			if !ok {
				continue
			}
			if name == "." {
				t.Errorf("%s: dot import of %s hides calls", f.path, r.pkg)
			}
			// Naming the function is enough: time.Now is as often passed as called.
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok || !isIdent(sel.X, name) {
					return true
				}
				for _, forbidden := range r.names {
					if sel.Sel.Name == forbidden {
						t.Errorf("%s: %s.%s: %s", tr.at(sel), r.pkg, forbidden, r.why)
					}
				}
				return true
			})
		}
	}
}

// panicPrefixes are how the message of a deliberate panic begins: a fault of
// our own (an invariant does not hold, so going on would damage counts), or
// the system refusing memory the process cannot do without. The package's name
// may stand before ("engine: BUG: …").
var panicPrefixes = []string{"BUG: ", "out of memory: "}

func TestPanics(t *testing.T) {
	tr := mustLoad(t)
	for _, f := range tr.files {
		if f.test {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			if isIdent(call.Fun, "print") || isIdent(call.Fun, "println") {
				t.Errorf("%s: the built-in print is for debugging only", tr.at(call))
			}
			if !isIdent(call.Fun, "panic") {
				return true
			}
			text := strings.TrimPrefix(leadingText(call.Args[0]), f.syntax.Name.Name+": ")
			for _, p := range panicPrefixes {
				if strings.HasPrefix(text, p) {
					return true
				}
			}
			t.Errorf("%s: a panic's message must begin with one of %q; other failures are returned as errors", tr.at(call), panicPrefixes)
			return true
		})
	}
}

// leadingText is the literal text an expression's string begins with:
// "x", "x"+y, fmt.Sprintf("x", …), errors.New("x").
func leadingText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, err := strconv.Unquote(e.Value)
			if err == nil {
				return s
			}
		}
	case *ast.BinaryExpr:
		return leadingText(e.X)
	case *ast.ParenExpr:
		return leadingText(e.X)
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			return leadingText(e.Args[0])
		}
	}
	return ""
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// importName is the name under which f uses the package pkg.
func importName(f *ast.File, pkg string) (string, bool) {
	for _, spec := range f.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err != nil || path != pkg {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name, true
		}
		return pkg[strings.LastIndexByte(pkg, '/')+1:], true
	}
	return "", false
}
