package target

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// longKey is how many bytes of a key fit in an index of PostgreSQL (2,704 for an entry), also in hexadecimal and with the sink beside it.
const longKey = 1000

// columnText is how the bytes of a key or a value stand in a column of text, which takes only UTF-8 without NUL. No two keys look the
// same: what begins with a backslash is never a key as it is. In order:
//
//   - \sha256:… of a key of more than longKey bytes, with the hash in hexadecimal;
//   - \x…, the bytes in hexadecimal, of what is not UTF-8, contains a NUL, or begins with a backslash;
//   - anything else as it is.
func columnText(s string) string {
	switch {
	case len(s) > longKey:
		sum := sha256.Sum256([]byte(s))
		return `\sha256:` + hex.EncodeToString(sum[:])
	case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 || strings.HasPrefix(s, `\`):
		return `\x` + hex.EncodeToString([]byte(s))
	}
	return s
}
