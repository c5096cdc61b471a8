package redistest

import (
	"slices"
	"strings"
	"testing"
)

func TestPageLines(t *testing.T) {
	page := Page{Text: "text\n```console\n$ one\nprints\n  this\n$ two | three\n```\n$ not typed\n```\n$ nor this\n```\n```console\n$ four\n…\n```\n"}
	typed, printed := page.lines()
	if !slices.Equal(typed, []string{"one", "two | three", "four"}) || !slices.Equal(printed, []string{"prints\n  this\n", "", "…\n"}) {
		t.Errorf("%q print %q", typed, printed)
	}
}

func TestLike(t *testing.T) {
	for _, tc := range []struct {
		got, want string
		like      bool
	}{
		{"", "", true},
		{"a   b\nc\n", " a b\nc", true},
		{"a (1) b\n", "a (…) …", true},
		{"a\n", "a\nb\n", false},
		{"a\nb\n", "a\n", false},
		{"a\n\nb\n", "a\nb\n", false},
		{"ab\n", "a.\n", false},
		{"ab\n", "a\n", false},
		{"ba\n", "a\n", false},
	} {
		if like(tc.got, tc.want) != tc.like {
			t.Errorf("%s is taken wrongly for %s", strings.TrimSpace(tc.got), strings.TrimSpace(tc.want))
		}
	}
}
