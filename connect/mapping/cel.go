package mapping

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// evaluation is a part of a condition that is a program of CEL.
type evaluation struct {
	program cel.Program
	nodes   []int32 // the fields that it names
	all     bool    // it uses the record as a whole, in JSON only
}

// costLimit bounds what one evaluation with loops does, such as exists, in CEL's units: a comparison is one, and so are
// ten bytes of a text. It lets one loop go through the largest record, and takes a fraction of a second. What has no
// loops needs no limit: counting would cost more than evaluating.
const costLimit = 4_000_000

// qualify has e name fields as parts of the record: x becomes _.x. Variables of macros such as exists(v, …) are bound.
func (w *condition) qualify(e ast.Expr, bound []string) {
	switch e.Kind() {
	case ast.IdentKind:
		name := e.AsIdent()
		if name != record && !slices.Contains(bound, name) && (!w.types || !slices.Contains(typeNames, name)) {
			fac := ast.NewExprFactory()
			w.next++
			e.SetKindCase(fac.NewSelect(e.ID(), fac.NewIdent(w.next, record), name))
		}
	case ast.SelectKind:
		s := e.AsSelect()
		if s.IsTestOnly() && isRecord(s.Operand()) && slices.Contains(bound, s.FieldName()) {
			w.fail("has(%s) asks for a field of the record, and here %s is a variable", s.FieldName(), s.FieldName())
		}
		w.qualify(s.Operand(), bound)
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			w.qualify(e.AsCall().Target(), bound)
		}
		w.qualifyAll(e.AsCall().Args(), bound)
	case ast.ListKind:
		w.qualifyAll(e.AsList().Elements(), bound)
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			w.qualify(entry.AsMapEntry().Key(), bound)
			w.qualify(entry.AsMapEntry().Value(), bound)
		}
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			w.qualify(field.AsStructField().Value(), bound)
		}
	case ast.ComprehensionKind:
		w.qualifyLoop(e.AsComprehension(), bound)
	}
}

func (w *condition) qualifyAll(list []ast.Expr, bound []string) {
	for _, e := range list {
		w.qualify(e, bound)
	}
}

func (w *condition) qualifyLoop(loop ast.ComprehensionExpr, bound []string) {
	w.qualify(loop.IterRange(), bound)
	w.qualify(loop.AccuInit(), bound)
	accu := append(slices.Clone(bound), loop.AccuVar())
	w.qualify(loop.Result(), accu)
	inside := append(accu, loop.IterVar())
	if loop.HasIterVar2() {
		inside = append(inside, loop.IterVar2())
	}
	if slices.Contains(inside, record) {
		w.fail("%s is the record; the variable needs another name", record)
	}
	w.qualify(loop.LoopCondition(), inside)
	w.qualify(loop.LoopStep(), inside)
}

func (w *condition) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func isRecord(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == record }

// compileCEL compiles a part of the condition as it is. It runs after the check of the whole.
func (w *condition) compileCEL(e ast.Expr) matcher {
	part := ast.NewCheckedAST(ast.NewAST(e, w.tree.SourceInfo()), w.tree.TypeMap(), w.tree.ReferenceMap())
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if len(ast.MatchDescendants(ast.NavigateExpr(w.tree, e), ast.KindMatcher(ast.ComprehensionKind))) > 0 {
		options = append(options, cel.CostLimit(costLimit))
	}
	program, err := w.env.PlanProgram(part, options...)
	if err != nil {
		w.fail("%v", err)
		return nil
	}
	m := &evaluation{program: program}
	w.needs(m, e)
	return m
}

// needs finds the fields that e names.
func (w *condition) needs(m *evaluation, e ast.Expr) {
	root := ast.NavigateExpr(w.tree, e)
	for _, use := range ast.MatchDescendants(root, func(n ast.NavigableExpr) bool { return isRecord(n) }) {
		name, ok := "", false
		if parent, inside := use.Parent(); inside && parent.Kind() == ast.SelectKind {
			name, ok = parent.AsSelect().FieldName(), true
		} else if inside && parent.Kind() == ast.CallKind {
			name, ok = indexed(parent.AsCall())
		}
		if !ok {
			m.all = true
			continue
		}
		n := w.program.add([]string{name})
		if !slices.Contains(m.nodes, n) {
			m.nodes = append(m.nodes, n)
		}
	}
	if m.all && w.program.csv {
		w.fail(`%s needs the name of a column here, as in %s["user id"]`, record, record)
	}
}

func (m *evaluation) match(t *Tally) (truth, error) {
	clear(t.vars)
	if m.all {
		t.decodeMembers(skipBlanks(t.rec, 0), t.vars)
	} else {
		for _, n := range m.nodes {
			if v := t.vals[n]; v.kind != missing {
				t.vars[t.nodes[n].name] = t.decode(v)
			}
		}
	}
	result, _, err := m.program.Eval(t.activation)
	if err != nil {
		if leadsNowhere(err) {
			return unknown, nil
		}
		return no, err
	}
	switch result {
	case types.True:
		return yes, nil
	case types.False:
		return no, nil
	}
	return no, fmt.Errorf("it comes to %s, not to true or false", shown(fmt.Append(nil, result.Value())))
}

// leadsNowhere reports whether an evaluation ended because something is not in the record. Such errors of CEL have no
// type that could be asked for.
func leadsNowhere(err error) bool {
	for _, prefix := range []string{"no such key: ", "index out of bounds: ", "unsupported index type "} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}
