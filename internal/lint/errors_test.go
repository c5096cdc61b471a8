package lint

import (
	"go/ast"
	"path"
	"testing"
)

// TestErrorTextsAreUsed: an error text that no code but a test can send is a promise about nothing.
func TestErrorTextsAreUsed(t *testing.T) {
	tr := mustLoad(t)
	var declared []*ast.Ident
	uses := map[string]int{}
	for _, f := range tr.files {
		if f.test {
			continue
		}
		if path.Base(f.path) == "errors.go" {
			for _, d := range f.syntax.Decls {
				declared = append(declared, namesOf(d)...)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				uses[id.Name]++
			}
			return true
		})
	}
	if len(declared) < 50 {
		t.Fatalf("only %d names were found: this test looks in the wrong place", len(declared))
	}
	for _, name := range declared {
		if uses[name.Name] < 2 { // once where it is declared
			t.Errorf("%s: no code uses %s", tr.at(name), name.Name)
		}
	}
}

// namesOf is the constants, variables and functions that a declaration makes.
func namesOf(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				names = append(names, v.Names...)
			}
		}
	}
	return names
}
