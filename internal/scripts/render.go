package scripts

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quipu/internal/redistest"
)

// foldMin is the length from which a string of one repeated byte is written as <length*byte>.
const foldMin = 65

// Render writes a raw reply down as scripts do, one element a line.
func Render(raw []byte) string { return render(raw, 0) }

// Quote writes one argument of a step.
func Quote(arg string) string { return quote(arg) }

// render writes a raw reply down, one element a line. It loses nothing: what it cannot write so that the same bytes
// follow from it is written as RAW. With unordered > 0 the elements of the aggregates at that depth are sorted.
func render(raw []byte, unordered int) string {
	r, rest, err := redistest.ParseReply(raw)
	if err != nil || len(rest) > 0 || !bytes.Equal(r.Encode(nil), raw) {
		return "RAW " + quote(string(raw))
	}
	if unordered > 0 {
		sortElems(r, 1, unordered)
	}
	return renderElem(r)
}

func renderReply(r redistest.Reply, indent string, lines *[]string) {
	add := func(s string) { *lines = append(*lines, indent+s) }
	switch r.Type {
	case '$':
		if r.Null {
			add("$-1")
		} else {
			add(renderString(r.Text))
		}
	case '=', '!':
		add(string(r.Type) + quote(r.Text))
	case '*', '~', '>', '%', '|':
		n := len(r.Elems)
		if r.Type == '%' || r.Type == '|' {
			n /= 2
		}
		if r.Null {
			n = -1
		}
		add(string(r.Type) + strconv.Itoa(n))
		for _, e := range r.Elems {
			renderReply(e, indent+"  ", lines)
		}
	default:
		text := r.Text
		if q := quote(text); len(q) != len(text)+2 {
			text = q
		}
		add(string(r.Type) + text)
	}
}

// sortElems sorts, in place, the elements of the aggregates at one depth of nesting (r's own is depth). A map's pairs stay
// together.
func sortElems(r redistest.Reply, depth, at int) {
	for _, e := range r.Elems {
		sortElems(e, depth+1, at)
	}
	if depth != at {
		return
	}
	width := 1
	if r.Type == '%' || r.Type == '|' {
		width = 2
	}
	groups := slices.Collect(slices.Chunk(slices.Clone(r.Elems), width))
	slices.SortFunc(groups, func(a, b []redistest.Reply) int {
		return strings.Compare(renderElem(a[0]), renderElem(b[0]))
	})
	for i, g := range groups {
		copy(r.Elems[i*width:], g)
	}
}

func renderElem(r redistest.Reply) string {
	var lines []string
	renderReply(r, "", &lines)
	return strings.Join(lines, "\n")
}

func renderString(s string) string {
	if len(s) >= foldMin && s[0] > ' ' && s[0] < 0x7f && s[0] != '>' && strings.Count(s, s[:1]) == len(s) {
		return fmt.Sprintf("<%d*%s>", len(s), s[:1])
	}
	return quote(s)
}

// quote writes a string as redis-cli shows it.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\', '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\a':
			b.WriteString(`\a`)
		case '\b':
			b.WriteString(`\b`)
		default:
			if c < ' ' || c > '~' {
				fmt.Fprintf(&b, `\x%02x`, c)
			} else {
				b.WriteByte(c)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}

// splitArgs splits a command line as redis-cli does ("double quotes" with escapes, 'single quotes' with \' only);
// an unquoted <n*text> stands for n times text.
func splitArgs(line string) ([]string, error) {
	var args []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return args, nil
		}
		var arg string
		var err error
		switch line[0] {
		case '"':
			arg, line, err = cutDouble(line[1:])
		case '\'':
			arg, line, err = cutSingle(line[1:])
		default:
			word, rest, _ := strings.Cut(line, " ")
			arg, line = expand(word), rest
		}
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
}

// expand turns <n*text> into n times text and leaves everything else alone.
func expand(word string) string {
	count, text, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(word, "<"), ">"), "*")
	n, err := strconv.Atoi(count)
	if !ok || err != nil || n < 0 || n > 16<<20 || word[0] != '<' || word[len(word)-1] != '>' {
		return word
	}
	return strings.Repeat(text, n)
}

func cutDouble(s string) (arg, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return closeQuote(b.String(), s[i+1:])
		case s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x':
			n, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
			if err != nil {
				return "", "", err
			}
			b.WriteByte(byte(n))
			i += 3
		case s[i] == '\\' && i+1 < len(s):
			i++
			c := s[i]
			if at := strings.IndexByte("nrtab", c); at >= 0 {
				c = "\n\r\t\a\b"[at]
			}
			b.WriteByte(c)
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", fmt.Errorf("unbalanced double quotes")
}

func cutSingle(s string) (arg, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			return closeQuote(b.String(), s[i+1:])
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '\'':
			i++
			fallthrough
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", fmt.Errorf("unbalanced single quotes")
}

func closeQuote(arg, rest string) (string, string, error) {
	if rest != "" && rest[0] != ' ' {
		return "", "", fmt.Errorf("closing quote must be followed by a space")
	}
	return arg, rest, nil
}
