package lint

import (
	"go/ast"
	"go/token"
	"testing"
)

func TestDocComments(t *testing.T) {
	tr := mustLoad(t)
	for _, f := range tr.files {
		if f.test {
			continue
		}
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc == nil && isExported(d) {
					t.Errorf("%s: exported %s has no doc comment", tr.at(d), functionName(d))
				}
			case *ast.GenDecl:
				checkDeclDocs(t, tr, d)
			}
		}
	}
}

// isExported reports functions and methods that need a comment. Error and
// Unwrap of an error type say nothing that the type's comment does not.
func isExported(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return fn.Name.IsExported()
	}
	name := fn.Name.Name
	return fn.Name.IsExported() && name != "Error" && name != "Unwrap" && token.IsExported(receiverName(fn))
}

// checkDeclDocs accepts, for a group of constants or variables, a comment on
// the group, above the line or at its end; a type needs its own.
func checkDeclDocs(t *testing.T, tr *tree, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
				t.Errorf("%s: exported type %s has no doc comment", tr.at(spec), spec.Name)
			}
		case *ast.ValueSpec:
			if d.Doc != nil || spec.Doc != nil || spec.Comment != nil {
				continue
			}
			for _, name := range spec.Names {
				if name.IsExported() {
					t.Errorf("%s: exported %s has no doc comment", tr.at(spec), name)
				}
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	tr := mustLoad(t)
	has := map[string]bool{}
	for _, f := range tr.files {
		if !f.test {
			has[f.dir] = has[f.dir] || f.syntax.Doc != nil
		}
	}
	for dir, ok := range has {
		if !ok {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}
