package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// parser reads a file line by line. A block is finished when the next one begins.
type parser struct {
	cfg   *Config
	errs  Errors
	line  int            // the current one
	first map[string]int // line of each block at the margin that may be there once, and of each source and sink

	block    func(words []word) // what to do with an indented line; nil: there is no block above
	ignored  bool               // the block could not be read, and its lines pass without further mistakes
	finish   func()             // ends the block; nil: nothing to do
	source   *Source
	sink     *Sink
	settings map[string]int // lines of the current block's settings
}

// Parse reads the text of a configuration file, which its errors call name. The error is Errors.
func Parse(name string, text []byte) (*Config, error) {
	p := &parser{cfg: &Config{File: name, Quipu: Quipu{File: name}}, first: map[string]int{}}
	if len(text) > MaxBytes {
		return nil, Errors{{File: name, Text: fmt.Sprintf("the file is larger than %d bytes", MaxBytes)}}
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	for line := range strings.SplitSeq(string(text), "\n") {
		p.line++
		p.readLine(strings.TrimSuffix(line, "\r"))
	}
	p.endBlock()
	if len(p.cfg.Sources)+len(p.cfg.Sinks) == 0 && len(p.errs) == 0 {
		p.failAt(0, `there is no source and no sink; a block "source NAME" says what to count, a block "sink NAME" where to keep counts`)
	}
	if len(p.errs) > 0 {
		slices.SortStableFunc(p.errs, func(a, b *Error) int { return a.Line - b.Line })
		if len(p.errs) > MaxErrors {
			p.errs = p.errs[:MaxErrors]
		}
		return nil, p.errs
	}
	if len(p.cfg.Quipu.Nodes) == 0 {
		p.cfg.Quipu.Nodes = []string{DefaultNode}
	}
	return p.cfg, nil
}

// fail notes a mistake in the current line.
func (p *parser) fail(format string, args ...any) { p.failAt(p.line, format, args...) }

func (p *parser) failAt(line int, format string, args ...any) {
	p.errs = append(p.errs, &Error{File: p.cfg.File, Line: line, Text: fmt.Sprintf(format, args...)})
}

func (p *parser) endBlock() {
	if p.finish != nil {
		p.finish()
	}
	p.block, p.ignored, p.finish, p.source, p.sink, p.settings = nil, false, nil, nil, nil, map[string]int{}
}

func (p *parser) readLine(text string) {
	content := strings.Trim(text, blanks)
	if content == "" || content[0] == '#' {
		return
	}
	indented := strings.IndexByte(blanks, text[0]) >= 0
	if !indented {
		p.endBlock()
		p.ignored = true // until its first line is read
	} else if p.ignored {
		return
	}
	if err := checkText(content); err != nil {
		p.fail("%v", err)
		return
	}
	if name, rest := cutWord(content); indented && name == "when" && p.source != nil {
		p.readWhen(rest)
		return
	}
	words, err := splitWords(content)
	switch {
	case err != nil:
		p.fail("%v", err)
	case !indented:
		p.beginBlock(words)
	case p.block == nil:
		p.fail("an indented line belongs to the block above, and there is none")
	default:
		p.block(words)
	}
}

// cutWord splits a line at its first blank.
func cutWord(text string) (first, rest string) {
	if i := strings.IndexAny(text, blanks); i >= 0 {
		return text[:i], strings.TrimLeft(text[i:], blanks)
	}
	return text, ""
}

var blockNames = []string{"quipu", "http", "source", "sink"}

func (p *parser) beginBlock(words []word) {
	name, args := words[0].text, texts(words[1:])
	if !slices.Contains(blockNames, name) {
		hint := "a line at the margin begins with quipu, http, source or sink"
		if n := nearest(name, blockNames); n != "" {
			hint = "did you mean " + n + "?"
		} else if isSinkSetting(name) {
			hint = "indent it, so that it belongs to the sink above"
		} else if _, known := LookupCommand(name); known || isSetting(name) {
			hint = "indent it, so that it belongs to the source above"
		}
		p.fail("unknown block %q; %s", name, hint)
		return
	}
	key := name
	if (name == "source" || name == "sink") && len(args) == 1 {
		key += " " + args[0]
	}
	if line := p.first[key]; line > 0 {
		p.fail("%s is there twice; the first one is in line %d", key, line)
		return
	}
	p.first[key] = p.line
	p.ignored = false
	switch name {
	case "quipu":
		p.beginQuipu(args)
	case "http":
		p.beginHTTP(args)
	case "sink":
		p.beginSink(args)
	default:
		p.beginSource(args)
	}
}

func texts(words []word) []string {
	list := make([]string, len(words))
	for i := range words {
		list[i] = words[i].text
	}
	return list
}

func (p *parser) beginHTTP(args []string) {
	switch {
	case len(args) != 1:
		p.fail("http takes one address, such as http 127.0.0.1:9471")
	default:
		if err := checkAddress(args[0], true); err != nil {
			p.fail("http: %v", err)
		}
		p.cfg.HTTP = args[0]
	}
	p.block = func(words []word) {
		p.fail("unknown setting %q; an http block has no settings", words[0].text)
	}
}

func (p *parser) beginSource(args []string) {
	s := &Source{File: p.cfg.File, Line: p.line, Start: StartEarliest, Follow: true, Batch: DefaultBatch}
	s.Name = p.blockName("source", "likes", args)
	p.source = s
	p.cfg.Sources = append(p.cfg.Sources, s)
	p.block = p.readSourceLine
	p.finish = p.finishSource
}

// blockName is the name of a block of some kind; "" after an error.
func (p *parser) blockName(kind, example string, args []string) string {
	switch {
	case len(args) != 1:
		p.fail("%s takes one name, such as %s %s", kind, kind, example)
	case !validName(args[0], ""):
		p.fail("the name %q is not valid: letters, digits, and - _ . are, up to %d bytes", args[0], MaxName)
	default:
		return args[0]
	}
	return ""
}

// once notes that a setting stands in the current line, and refuses one that has stood before.
func (p *parser) once(name string) bool {
	if line := p.settings[name]; line > 0 {
		p.fail("%s is given twice; the first one is in line %d", name, line)
		return false
	}
	p.settings[name] = p.line
	return true
}

func (p *parser) readWhen(text string) {
	if !p.once("when") {
		return
	}
	text = cutComment(text)
	if text == "" {
		p.fail(`when needs a condition, such as when event == "like"`)
	}
	p.source.When = Expression{Text: text, Line: p.line}
}
