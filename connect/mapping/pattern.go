package mapping

import "strings"

// Pattern says which keys a template can come to: its literal texts, in their order, with anything between each two of them.
type Pattern struct {
	Source   string // the template as it is written
	Line     int
	literals []string // at least one; the first is the beginning of the key, the last its end
}

// Counters are the patterns of the keys that are counted with INCR, INCRBY, DECR and DECRBY.
func (p *Program) Counters() []Pattern {
	return p.patterns(func(c *command) bool { return c.family == counter })
}

// Keys are the patterns of all keys that are written.
func (p *Program) Keys() []Pattern { return p.patterns(func(*command) bool { return true }) }

func (p *Program) patterns(wanted func(c *command) bool) (list []Pattern) {
	for i := range p.commands {
		c := &p.commands[i]
		if !wanted(c) {
			continue
		}
		for i, t := range c.args {
			if c.isKey(i) {
				list = append(list, t.pattern(c.line))
			}
		}
	}
	return list
}

func (t *template) pattern(line int) Pattern {
	p := Pattern{Source: t.source, Line: line, literals: []string{""}}
	for _, piece := range t.pieces {
		if piece.node < 0 {
			p.literals[len(p.literals)-1] += piece.literal
		} else {
			p.literals = append(p.literals, "")
		}
	}
	return p
}

// Prefix is the text that each of the keys begins with.
func (p Pattern) Prefix() string { return p.literals[0] }

// Glob is the pattern as SCAN MATCH reads it.
func (p Pattern) Glob() string {
	escape := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
	var b strings.Builder
	for i, text := range p.literals {
		if i > 0 {
			b.WriteByte('*')
		}
		b.WriteString(escape.Replace(text))
	}
	return b.String()
}

// Meets reports whether there is a text that is a key of both patterns.
func (p Pattern) Meets(other Pattern) bool {
	a, b := p.tokens(), other.tokens()
	// can[j] says whether what is left of a at i and of b at j have a text in common.
	can := make([]bool, len(b)+1)
	next := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				can[j] = true
			case i < len(a) && a[i] == anything: // it ends here, or takes the next of b along
				can[j] = next[j] || j < len(b) && can[j+1]
			case j < len(b) && b[j] == anything:
				can[j] = can[j+1] || i < len(a) && next[j]
			default:
				can[j] = i < len(a) && j < len(b) && a[i] == b[j] && next[j+1]
			}
		}
		can, next = next, can
	}
	return next[0]
}

// anything is the token of a placeholder; others are bytes.
const anything = -1

func (p Pattern) tokens() (list []int) {
	for i, text := range p.literals {
		if i > 0 {
			list = append(list, anything)
		}
		for _, b := range []byte(text) {
			list = append(list, int(b))
		}
	}
	return list
}
