package exec

import (
	"strconv"
	"strings"
	"testing"
)

// startOfLogTime is an arbitrary moment in 2023, in ms.
const startOfLogTime = 1_700_000_000_000

// words splits a line into arguments at spaces. "" is an empty argument; \xHH and other Go escapes work.
func words(tb testing.TB, line string) [][]byte {
	tb.Helper()
	var args [][]byte
	for _, word := range strings.Fields(line) {
		if word == `""` {
			args = append(args, []byte{})
			continue
		}
		text, err := strconv.Unquote(`"` + word + `"`)
		if err != nil {
			tb.Fatalf("bad word %q: %v", word, err)
		}
		args = append(args, []byte(text))
	}
	return args
}

// show writes a reply on one line: its line ends become spaces.
func show(reply []byte) string {
	return strings.TrimSuffix(strings.ReplaceAll(string(reply), "\r\n", " "), " ")
}
