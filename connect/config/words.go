package config

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is a word of a line. One in quotes is never a keyword.
type word struct {
	text   string
	quoted bool
}

const blanks = " \t"

// checkText refuses what no line may contain; text has no line ends.
func checkText(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("the line is not valid UTF-8")
	}
	for _, r := range text {
		if r != '\t' && unicode.IsControl(r) {
			return errors.New("the line contains a control character")
		}
	}
	return nil
}

// splitWords splits a line, without the comment at its end.
func splitWords(text string) ([]word, error) {
	var words []word
	for {
		text = strings.TrimLeft(text, blanks)
		switch {
		case text == "" || text[0] == '#':
			return words, nil
		case text[0] == '"':
			w, rest, err := cutQuoted(text[1:])
			if err != nil {
				return nil, err
			}
			words = append(words, word{w, true})
			text = rest
		default:
			end := strings.IndexAny(text, blanks)
			if end < 0 {
				end = len(text)
			}
			words = append(words, word{text[:end], false})
			text = text[end:]
		}
	}
}

// cutQuoted reads a word behind its opening quote.
func cutQuoted(text string) (w, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			rest = text[i+1:]
			if rest != "" && !strings.ContainsRune(blanks, rune(rest[0])) {
				return "", "", errors.New("a blank is missing behind a closing quote")
			}
			return b.String(), rest, nil
		case '\\':
			i++
			if i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", "", errors.New(`in quotes a backslash stands before a quote or a backslash only: \" or \\`)
			}
			b.WriteByte(text[i])
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", errors.New("a quote is not closed")
}

// cutComment removes the comment at the end of an expression in CEL. There quotes are " and ', and a backslash takes
// the next character along.
func cutComment(text string) string {
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' && (i == 0 || strings.IndexByte(blanks, text[i-1]) >= 0):
			return strings.TrimRight(text[:i], blanks)
		}
	}
	return strings.TrimRight(text, blanks)
}

// quoteWord writes a word so that splitWords gives it again and takes it for no keyword.
func quoteWord(w string) string {
	if w != "" && w != expireWord && w[0] != '"' && w[0] != '#' && !strings.ContainsAny(w, blanks) {
		return w
	}
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(w) + `"`
}
