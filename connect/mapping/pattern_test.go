package mapping

import (
	"slices"
	"testing"
)

// TestPatterns: which keys a source writes, as a pattern of SCAN.
func TestPatterns(t *testing.T) {
	p := compile(t, "INCR likes:{post}\nDECRBY {a}:*[x]{{:{b|hour} 2\nPFADD fans:{post} {user}\nMSET x {v} y:{k} {v}\nINCR total")
	globs := func(list []Pattern) (texts []string) {
		for _, p := range list {
			texts = append(texts, p.Glob())
		}
		return texts
	}
	if got, want := globs(p.Counters()), []string{"likes:*", `*:\*\[x\]{:*`, "total"}; !slices.Equal(got, want) {
		t.Errorf("counters %q, want %q", got, want)
	}
	if got, want := globs(p.Keys()), []string{"likes:*", `*:\*\[x\]{:*`, "fans:*", "x", "y:*", "total"}; !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	if got := p.Counters()[0].Prefix() + p.Counters()[1].Prefix(); got != "likes:" {
		t.Errorf("prefixes %q", got)
	}
}

// TestPatternsMeet: two templates that can come to the same key.
func TestPatternsMeet(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"n", "n", true},
		{"n", "m", false},
		{"n:{a}", "n:{b}", true},
		{"n:{a}", "n:{b}:{c|hour}", true}, // {a} may be x:2026-11-29T10
		{"n:{a}", "m:{a}", false},
		{"n:{a}", "n", false},
		{"n:{a}", "n:", true}, // a default may be empty
		{"{a}", "x:{b}:y", true},
		{"{a}:x", "y:{b}", true},
		{"{a}:x", "{b}:y", false},
		{"a{x}b", "ab{x}", true},
		{"a{x}bc", "a{x}bd", false},
		{"ab{x}", "a", false},
		{"{a}ab{b}", "ba", false},
		{"{a}ab{b}", "cabd", true},
	} {
		p := compile(t, "INCR "+c.a+"\nINCR "+c.b)
		list := p.Counters()
		if got, back := list[0].Meets(list[1]), list[1].Meets(list[0]); got != c.want || back != c.want {
			t.Errorf("%s and %s: %v and %v, want %v", c.a, c.b, got, back, c.want)
		}
	}
}
