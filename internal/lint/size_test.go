package lint

import (
	"go/ast"
	"testing"
)

// Sizes beyond which code is split: a file is read in one sitting, a function
// on one screen.
const (
	fileLinesMax     = 600
	functionLinesMax = 70
)

// longFiles and longFunctions are the justified exceptions, with their reasons.
// Keys: path, and path:Function or path:Type.Method.
var (
	longFiles     = map[string]string{}
	longFunctions = map[string]string{}
)

func TestFileLength(t *testing.T) {
	tr := mustLoad(t)
	needed := map[string]bool{}
	for _, f := range tr.files {
		if f.lines <= fileLinesMax || ast.IsGenerated(f.syntax) {
			continue
		}
		needed[f.path] = true
		if longFiles[f.path] == "" {
			t.Errorf("%s: %d lines, the limit is %d", f.path, f.lines, fileLinesMax)
		}
	}
	checkStale(t, longFiles, needed)
}

func TestFunctionLength(t *testing.T) {
	tr := mustLoad(t)
	needed := map[string]bool{}
	for _, f := range tr.files {
		if ast.IsGenerated(f.syntax) {
			continue
		}
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := functionLines(tr, fn)
			if n <= functionLinesMax {
				continue
			}
			key := f.path + ":" + functionName(fn)
			needed[key] = true
			if longFunctions[key] == "" {
				t.Errorf("%s: %s has %d lines, the limit is %d", tr.at(fn), functionName(fn), n, functionLinesMax)
			}
		}
	}
	checkStale(t, longFunctions, needed)
}

// functionLines counts the lines of fn from its first to its last brace. The
// cases of a table (a composite literal over several lines) are data and count
// as one line each table.
func functionLines(tr *tree, fn *ast.FuncDecl) int {
	n := span(tr, fn)
	if fn.Body == nil {
		return n
	}
	ast.Inspect(fn.Body, func(node ast.Node) bool {
		lit, ok := node.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if _, isTable := lit.Type.(*ast.ArrayType); !isTable {
			if _, isTable = lit.Type.(*ast.MapType); !isTable {
				return true
			}
		}
		n -= span(tr, lit) - 1
		return false
	})
	return n
}

func span(tr *tree, n ast.Node) int {
	return tr.fset.Position(n.End()).Line - tr.fset.Position(n.Pos()).Line + 1
}

func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	return receiverName(fn) + "." + fn.Name.Name
}

// receiverName is the type name of a method's receiver.
func receiverName(fn *ast.FuncDecl) string {
	e := fn.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// checkStale reports exceptions that nothing needs any more.
func checkStale(t *testing.T, exceptions map[string]string, needed map[string]bool) {
	t.Helper()
	for key := range exceptions {
		if !needed[key] {
			t.Errorf("the exception for %s is no longer needed; remove it", key)
		}
	}
}
