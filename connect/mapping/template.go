package mapping

import (
	"errors"
	"fmt"
	"strings"
)

// template is a word of a command: literal text, and placeholders for what a record has.
type template struct {
	source   string // as it is written
	pieces   []piece
	constant bool // no placeholders
}

// piece is literal text, or a placeholder.
type piece struct {
	literal    string // of a placeholder: its default
	node       int32  // -1: literal text
	hasDefault bool
	unit       unit  // the path is a time, and this the bucket it is in
	bucket     int32 // which of the tally's
	shown      string
}

// parseTemplate reads a template. Its grammar: text with {placeholders}; {{ and }} are braces.
func (c *compiler) parseTemplate(source string) (*template, error) {
	t := &template{source: source, constant: true}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			t.pieces = append(t.pieces, piece{literal: literal.String(), node: -1})
			literal.Reset()
		}
	}
	for i := 0; i < len(source); i++ {
		b := source[i]
		switch {
		case (b == '{' || b == '}') && i+1 < len(source) && source[i+1] == b:
			literal.WriteByte(b)
			i++
		case b == '}':
			return nil, fmt.Errorf("%s: a closing brace without an opening one; as text it is written }}", source)
		case b == '{':
			flush()
			end, err := placeholderEnd(source[i:])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", source, err)
			}
			p, err := c.parsePlaceholder(source[i+1 : i+end])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", source, err)
			}
			p.shown = source[i : i+end+1]
			t.pieces = append(t.pieces, p)
			t.constant = false
			i += end
		default:
			literal.WriteByte(b)
		}
	}
	flush()
	return t, nil
}

// text is what a template without placeholders comes to.
func (t *template) text() string {
	if len(t.pieces) == 0 {
		return ""
	}
	return t.pieces[0].literal
}

// placeholderEnd is the index of the brace that closes the placeholder at the beginning of source.
func placeholderEnd(source string) (int, error) {
	quoted := false
	for i := 1; i < len(source); i++ {
		switch b := source[i]; {
		case b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{':
			return 0, errors.New("a brace inside a placeholder; as text an opening brace is written {{")
		case b == '}':
			return i, nil
		}
	}
	return 0, errors.New("a placeholder is not closed; as text an opening brace is written {{")
}

// parsePlaceholder reads what stands between braces: a path, and perhaps | and a unit or default behind it.
func (c *compiler) parsePlaceholder(text string) (p piece, err error) {
	path, rest, err := c.parsePath(text)
	if err != nil {
		return p, err
	}
	p.node = c.program.add(path)
	if rest == "" {
		return p, nil
	}
	rest = rest[1:]
	if p.unit = units[rest]; p.unit != noUnit {
		p.bucket = int32(c.program.buckets)
		c.program.buckets++
		return p, nil
	}
	p.hasDefault = true
	p.literal, err = parseDefault(rest)
	return p, err
}

// parsePath reads names separated by dots, up to a | or the end, which is the rest. A backslash takes away the meaning
// of the next character. In CSV a path is the name of a column, dots and all.
func (c *compiler) parsePath(text string) (path []string, rest string, err error) {
	var name strings.Builder
	i := 0
	for ; i < len(text) && text[i] != '|'; i++ {
		switch b := text[i]; {
		case b == '\\' && i+1 < len(text):
			i++
			name.WriteByte(text[i])
		case b == '"':
			return nil, "", errors.New(`a path has no quotes; a quote in a name is written \"`)
		case b == '.' && !c.program.csv:
			path = append(path, name.String())
			name.Reset()
		default:
			name.WriteByte(b)
		}
	}
	path = append(path, name.String())
	for _, name := range path {
		if name == "" {
			return nil, "", errors.New("a path is empty, or a name in it; names are separated by dots, as in {user.id}")
		}
	}
	if len(path) > maxDepth {
		return nil, "", fmt.Errorf("a path has more than %d names", maxDepth)
	}
	return path, text[i:], nil
}

// parseDefault reads a default: text without quotes, or in quotes with \" and \\.
func parseDefault(text string) (string, error) {
	if !strings.HasPrefix(text, `"`) {
		word := strings.TrimSuffix(strings.ToLower(text), "s")
		switch word {
		case "second", "minute", "hour", "day", "week", "month", "quarter", "year":
			return "", fmt.Errorf(`%s is no unit of time here: minute, hour, day and month are; as a default, write |"%s"`, text, text)
		}
		if i := strings.IndexAny(text, "|\"\\"); i >= 0 {
			return "", fmt.Errorf(`a default with %c in it stands in quotes; a placeholder has one |, as in {weight|1} or {ts|hour}`, text[i])
		}
		return text, nil
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '"' && i == len(text)-1:
			return b.String(), nil
		case text[i] == '"':
			return "", errors.New("there is text behind the quotes of a default")
		case text[i] == '\\' && i+1 < len(text):
			i++
		}
		b.WriteByte(text[i])
	}
	return "", errors.New("the quotes of a default are not closed")
}

// render adds what a template comes to for the current record to t.buf. The bucket of its last unit is t.bucket.
func (t *Tally) render(tpl *template) error {
	for i := range tpl.pieces {
		p := &tpl.pieces[i]
		if p.node < 0 {
			t.buf = append(t.buf, p.literal...)
			continue
		}
		v := t.vals[p.node]
		if v.kind == text && v.from < v.to && p.unit == noUnit { // most often
			t.buf = append(t.buf, t.rec[v.from:v.to]...)
			continue
		}
		switch {
		case p.hasDefault && (v.kind == missing || v.kind == null || t.csv && v.from == v.to):
			t.buf = append(t.buf, p.literal...)
		case v.kind == missing:
			return fmt.Errorf("%s: the record has no %s", p.shown, t.nodes[p.node].path)
		case v.kind == null:
			return fmt.Errorf("%s: it is null in the record", p.shown)
		case v.kind >= object:
			return fmt.Errorf("%s: it is an object or array in the record", p.shown)
		case p.unit != noUnit:
			ms, err := t.time(v)
			if err != nil {
				return fmt.Errorf("%s: %w", p.shown, err)
			}
			b := &t.buckets[p.bucket]
			b.enter(ms, p.unit)
			t.buf = append(t.buf, b.name[:b.size]...)
			t.bucket = b
		default:
			t.buf = t.appendText(t.buf, v)
		}
	}
	return nil
}
