package glob

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "a", true}, {"*", "", false}, {"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "b", false}, {"a", "ab", false},
		{"a*", "a", true}, {"a**", "a", true}, {"*a", "ba", true}, {"*a", "ab", false}, {"a*c", "abbbc", true}, {"a*c*e", "abcde", true},
		{"?", "a", true}, {"?", "ab", false}, {"a?c", "abc", true}, {"??", "a", false}, {"*?", "a", true}, {"?*", "", false},
		{"[ab]", "b", true}, {"[ab]", "c", false}, {"[^ab]", "c", true}, {"[^ab]", "a", false}, {"[a-c]", "b", true}, {"[c-a]", "b", true},
		{"[a-", "a", true}, {"[a-", "-", true}, {"[a", "a", true}, {"[", "a", false}, {"[^", "a", true}, {"[]", "a", false}, {"[^]", "a", true},
		{"[a-]", "^", true}, {"[a-]", "_", true}, {"[a-]", "b", false}, {"[\\]]", "]", true}, {"[\\", "\\", true}, {"\\", "\\", true}, {"\\*", "*", true},
		{"\\*", "a", false}, {"a\\", "a\\", true}, {"h[a-z]llo*", "hello world", true}, {"*a*a*b", "aaaaaaaaaaaaab", true}, {"[\xf0-a]", "\x00", true},
	} {
		if got := Match([]byte(c.pattern), []byte(c.s), false); got != c.want {
			t.Errorf("%q against %q: %v", c.pattern, c.s, got)
		}
	}
	if !Match([]byte("A[B-D]*"), []byte("acE"), true) || Match([]byte("A"), []byte("a"), false) {
		t.Error("case")
	}
}

// TestMatchIsNotExponential is the class of CVE-2022-36021 and CVE-2024-31228: with every '*' tried at every place this
// would not end.
func TestMatchIsNotExponential(t *testing.T) {
	pattern := []byte(strings.Repeat("*a", 400) + "b")
	s := []byte(strings.Repeat("a", 4096))
	_, steps := MatchSteps(pattern, s, false)
	if limit := (len(pattern) + 1) * (len(s) + 1); steps > limit {
		t.Errorf("%d steps, more than %d", steps, limit)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte("a*[b-d]\\?"), []byte("abc?"), false)
	f.Fuzz(func(t *testing.T, pattern, s []byte, fold bool) {
		if len(pattern) > MaxPattern {
			return
		}
		if _, steps := MatchSteps(pattern, s, fold); steps > (len(pattern)+1)*(len(s)+1) {
			t.Errorf("%d steps", steps)
		}
	})
}
