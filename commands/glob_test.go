package commands

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

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

func sortedLines(reply []byte) []string {
	lines := strings.Split(string(reply), "\r\n")
	slices.Sort(lines)
	return lines
}
