package commands

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGlob(t *testing.T) {
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
		if got := MatchGlob([]byte(c.pattern), []byte(c.s), false); got != c.want {
			t.Errorf("%q against %q: %v", c.pattern, c.s, got)
		}
	}
	if !MatchGlob([]byte("A[B-D]*"), []byte("acE"), true) || MatchGlob([]byte("A"), []byte("a"), false) {
		t.Error("case")
	}
}

// TestGlobIsNotExponential is the class of CVE-2022-36021 and CVE-2024-31228: with every '*' tried at every place this
// would not end.
func TestGlobIsNotExponential(t *testing.T) {
	pattern := []byte(strings.Repeat("*a", 400) + "b")
	s := []byte(strings.Repeat("a", 4096))
	_, steps := matchGlob(pattern, s, false)
	if limit := (len(pattern) + 1) * (len(s) + 1); steps > limit {
		t.Errorf("%d steps, more than %d", steps, limit)
	}
}

func TestGlobAgainstRedis(t *testing.T) {
	redis := dialRedis(t, 2)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	random := func(alphabet string, most int) string {
		b := make([]byte, r.IntN(most+1))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	redis.do("FLUSHALL")
	s := newShell(t)
	for range 300 {
		key := random("abc[]-^\\*?\x00\x80\xff", 6)
		redis.do("SET", key, "1")
		s.do([]byte("SET"), []byte(key), []byte("1"))
	}
	count := 2000
	if testing.Short() {
		count = 400
	}
	for range count {
		pattern := random("aabc**??[[]]--^^\\\\\x80\xff", 9)
		theirs := sortedLines(redis.do("KEYS", pattern))
		ours := sortedLines(s.do([]byte("KEYS"), []byte(pattern)))
		if strings.Join(ours, "\n") != strings.Join(theirs, "\n") {
			t.Fatalf("KEYS %q\n ours   %q\n theirs %q", pattern, ours, theirs)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add([]byte("a*[b-d]\\?"), []byte("abc?"), false)
	f.Fuzz(func(t *testing.T, pattern, s []byte, fold bool) {
		if len(pattern) > MaxPattern {
			return
		}
		if _, steps := matchGlob(pattern, s, fold); steps > (len(pattern)+1)*(len(s)+1) {
			t.Errorf("%d steps", steps)
		}
	})
}

func sortedLines(reply []byte) []string {
	lines := strings.Split(string(reply), "\r\n")
	slices.Sort(lines)
	return lines
}
