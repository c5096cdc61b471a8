package lint

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// goFile is one parsed Go source file of the module.
type goFile struct {
	path   string // slash-separated, relative to the module's root
	dir    string // folder of path, "." for the root
	test   bool   // a _test.go file
	lines  int
	syntax *ast.File
}

// tree is the whole checkout: every Go file parsed, every other text file read.
type tree struct {
	root  string
	fset  *token.FileSet
	files []*goFile
	texts map[string]string // every text file, Go files included, by path
}

// loadTree parses the module once for all tests.
var loadTree = sync.OnceValues(func() (*tree, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	t := &tree{root: root, fset: token.NewFileSet(), texts: map[string]string{}}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if skippedDir(rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || rel == ".git" { // a file where git worktrees are used
			return nil
		}
		return t.load(name, rel)
	})
	return t, err
})

// skippedDir reports folders that are not part of the project's text: version
// control, build results, data of a running server, and recorded fuzz inputs.
func skippedDir(rel string) bool {
	switch rel {
	case ".git", ".tools", "bin", "quipu-data", "bench-results":
		return true
	}
	return strings.HasPrefix(rel, "quipu-bench-") || strings.Contains(rel, "testdata/fuzz")
}

func (t *tree) load(name, rel string) error {
	const textMax = 4 << 20 // bytes; larger files are data
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a temporary file, gone since the folder was read
	}
	if err != nil || info.Size() > textMax {
		return err
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !utf8.Valid(src) {
		return nil
	}
	t.texts[rel] = string(src)
	if !strings.HasSuffix(rel, ".go") {
		return nil
	}
	syntax, err := parser.ParseFile(t.fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.files = append(t.files, &goFile{
		path:   rel,
		dir:    path.Dir(rel),
		test:   strings.HasSuffix(rel, "_test.go"),
		lines:  strings.Count(string(src), "\n"),
		syntax: syntax,
	})
	return nil
}

// moduleRoot walks up from the package's folder to the one with go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fs.ErrNotExist
		}
		dir = parent
	}
}

func mustLoad(t *testing.T) *tree {
	t.Helper()
	tr, err := loadTree()
	if err != nil {
		t.Fatalf("reading the module: %v", err)
	}
	return tr
}

// at is the position of a node as path:line.
func (t *tree) at(n ast.Node) token.Position {
	p := t.fset.Position(n.Pos())
	p.Column = 0
	return p
}

// inDir reports whether dir is root or below it.
func inDir(dir, root string) bool {
	return dir == root || strings.HasPrefix(dir, root+"/")
}

// isProgram reports the folders whose code is a program for a person at a
// terminal: it may print and exit.
func isProgram(dir string) bool {
	return inDir(dir, "cmd") || inDir(dir, "connect/cmd") || inDir(dir, "connect/bench") || inDir(dir, "connect/testbed") || dir == "connect/likes" || inDir(dir, "bench") || inDir(dir, "examples") || inDir(dir, "internal/mutants")
}

// testFunctions are the names of a file's tests, fuzz targets and benchmarks.
func testFunctions(f *goFile) (names []string) {
	for _, d := range f.syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && testFunction.MatchString(fn.Name.Name) {
			names = append(names, fn.Name.Name)
		}
	}
	return names
}

var testFunction = regexp.MustCompile("^(Test|Fuzz|Benchmark)[A-Z]")
