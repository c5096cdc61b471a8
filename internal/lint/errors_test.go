package lint

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
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

// errorClass is the first word of an error text: the class that clients decide by.
var errorClass = regexp.MustCompile(`^([A-Z]{3,}|[A-Z][A-Za-z]*:) [A-Za-z]`)

// TestErrorClassesAreDocumented: docs/compatibility.md tells what each first word of an error means.
func TestErrorClassesAreDocumented(t *testing.T) {
	tr := mustLoad(t)
	_, section, ok := strings.Cut(tr.texts["docs/compatibility.md"], "### Errors by which clients decide\n")
	section, never, ok2 := strings.Cut(section, "\nNever sent")
	if !ok || !ok2 {
		t.Fatal("docs/compatibility.md has no section about the errors by which clients decide")
	}
	never, _, _ = strings.Cut(never, "\n### ")
	classes := map[string]bool{}
	for _, f := range tr.files {
		if f.test || !inDir(f.dir, "protocol") && !inDir(f.dir, "commands") {
			continue
		}
		for _, d := range f.syntax.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			ast.Inspect(gen, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value)
					if m := errorClass.FindStringSubmatch(text); m != nil {
						classes[m[1]] = true
					}
				}
				return true
			})
		}
	}
	if len(classes) < 12 {
		t.Fatalf("only %d classes were found: this test looks in the wrong place", len(classes))
	}
	for class := range classes {
		if !strings.Contains(section, "`"+class+"`") {
			t.Errorf("docs/compatibility.md does not tell what the error %s means", class)
		}
		if strings.Contains(never, "`"+class+"`") {
			t.Errorf("docs/compatibility.md says that %s is never sent", class)
		}
	}
}
