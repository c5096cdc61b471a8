package commands

import (
	"errors"
	"fmt"
	"strings"
)

// arg is one argument of a command as COMMAND DOCS describes it, parsed from Command.Syntax.
type arg struct {
	name     string
	kind     string // "key", "string", "integer", "double", "unix-time", "pattern", "pure-token", "oneof" or "block"
	token    string // word that stands before it, or the word itself for a pure token
	since    string
	until    string // version since which it is deprecated
	optional bool
	multiple bool
	key      int    // number of the key among the command's keys, -1 for other kinds
	args     []*arg // alternatives of a oneof, members of a block
}

// argKinds are the kinds of placeholders that need not be written in Syntax; all others are strings.
var argKinds = map[string]string{
	"key": "key", "pattern": "pattern",
	"seconds": "integer", "milliseconds": "integer", "increment": "integer", "decrement": "integer",
	"offset": "integer", "start": "integer", "end": "integer", "cursor": "integer", "count": "integer",
	"unix-time-seconds": "unix-time", "unix-time-milliseconds": "unix-time",
}

// parseSyntax parses the syntax of a command's arguments:
//
//	key value                 placeholders, in lower case
//	increment:double          … with a kind other than that of argKinds
//	GET                       a word to be written as it is
//	EX seconds                a word and the placeholder that belongs to it
//	[GET]                     optional
//	[condition=NX|XX]         a choice, here optional, with its name
//	FILTERBY <by=A x|B y>     a choice that is not optional, here behind a word
//	key value [key value ...] once or more often
//	[arg ...]                 any number of times
//	GET@6.2.0                 exists since that version; likewise seconds@…, condition@…=
//	address@-2.8.12           deprecated since that version
//	ID <id=client-id ...>     a block with a name, even of one argument; here what is in it may be repeated
//	<a|b> ...                 what is in the brackets, once or more often
//
// Usage prints it without kinds, names of choices and versions.
func parseSyntax(s string) ([]*arg, error) {
	p := &syntaxParser{words: splitSyntax(s)}
	args, _, err := p.sequence()
	if err == nil && p.pos < len(p.words) {
		err = fmt.Errorf("unexpected %q", p.words[p.pos])
	}
	if err != nil {
		return nil, err
	}
	keys := 0
	numberKeys(args, &keys)
	return args, nil
}

func splitSyntax(s string) []string {
	const special = "[]<>|="
	var words []string
	for len(s) > 0 {
		switch {
		case s[0] == ' ':
			s = s[1:]
		case strings.IndexByte(special, s[0]) >= 0:
			words = append(words, s[:1])
			s = s[1:]
		default:
			n := strings.IndexAny(s, special+" ")
			if n < 0 {
				n = len(s)
			}
			words = append(words, s[:n])
			s = s[n:]
		}
	}
	return words
}

func numberKeys(args []*arg, keys *int) {
	for _, a := range args {
		if a.kind == "key" {
			a.key = *keys
			*keys++
		}
		numberKeys(a.args, keys)
	}
}

type syntaxParser struct {
	words []string
	pos   int
}

func (p *syntaxParser) peek() string {
	if p.pos < len(p.words) {
		return p.words[p.pos]
	}
	return ""
}

// sequence parses arguments up to a closing bracket or '|'. repeated tells that it ends with "...".
func (p *syntaxParser) sequence() (args []*arg, repeated bool, err error) {
	for {
		switch word := p.peek(); word {
		case "", "]", ">", "|":
			return args, repeated, nil
		case "...":
			p.pos++
			repeated = true
		case "[", "<":
			group, again, err := p.group()
			if err != nil {
				return nil, false, err
			}
			if word == "<" && p.peek() == "..." {
				p.pos++
				group.multiple = true
			}
			if group.optional = word == "["; again {
				group.multiple = true
				args, group = mergeRepeated(args, group)
			}
			args = append(args, group)
		case "=":
			return nil, false, errors.New("misplaced =")
		default:
			a, err := p.word()
			if err != nil {
				return nil, false, err
			}
			args = append(args, a)
		}
	}
}

// mergeRepeated recognizes "key value [key value ...]": what precedes the optional repetition is its first time.
func mergeRepeated(before []*arg, group *arg) ([]*arg, *arg) {
	members := []*arg{group}
	if group.kind == "block" {
		members = group.args
	}
	start := len(before) - len(members)
	if start < 0 {
		return before, group
	}
	for i, a := range before[start:] {
		if a.name != members[i].name {
			return before, group
		}
	}
	group.optional = false
	return before[:start], group
}

// word parses a token, a placeholder, or a token with its placeholder or choice.
func (p *syntaxParser) word() (*arg, error) {
	text, since, _ := strings.Cut(p.words[p.pos], "@")
	since, until, _ := strings.Cut(since, "-")
	p.pos++
	if text != strings.ToUpper(text) || strings.ToLower(text) == text {
		name, kind := text, argKinds[text]
		if colon := strings.LastIndexByte(text, ':'); colon >= 0 {
			name, kind = text[:colon], text[colon+1:]
		}
		if kind == "" {
			kind = "string"
		}
		return &arg{name: name, kind: kind, since: since, until: until, key: -1}, nil
	}
	next := p.peek()
	switch {
	case next == "<":
		group, _, err := p.group()
		if err != nil {
			return nil, err
		}
		group.token = text
		return group, nil
	case next != "" && next != "..." && strings.IndexAny(next[:1], "[]|=") < 0 && next[:1] == strings.ToLower(next[:1]) && next[0] != '>':
		a, err := p.word()
		if err != nil {
			return nil, err
		}
		a.token = text
		return a, nil
	}
	return &arg{name: strings.ToLower(text), kind: "pure-token", token: text, since: since, until: until, key: -1}, nil
}

// group parses a bracket and what is in it: one argument, a block of several, or a choice.
func (p *syntaxParser) group() (a *arg, repeated bool, err error) {
	closing := map[string]string{"[": "]", "<": ">"}[p.peek()]
	p.pos++
	name, since := "", ""
	if p.pos+1 < len(p.words) && p.words[p.pos+1] == "=" {
		name, since, _ = strings.Cut(p.peek(), "@")
		p.pos += 2
	}
	var choices []*arg
	for {
		seq, again, err := p.sequence()
		if err != nil {
			return nil, false, err
		}
		if len(seq) == 0 {
			return nil, false, errors.New("empty group")
		}
		repeated = repeated || again
		choices = append(choices, blockOf(seq))
		if p.peek() != "|" {
			break
		}
		p.pos++
	}
	if p.peek() != closing {
		return nil, false, fmt.Errorf("missing %q", closing)
	}
	p.pos++
	switch {
	case len(choices) == 1 && name == "":
		return choices[0], repeated, nil
	case len(choices) == 1 && choices[0].kind == "block":
		choices[0].name, choices[0].since = name, since
		return choices[0], repeated, nil
	case len(choices) == 1:
		choices[0].multiple = repeated
		return &arg{name: name, kind: "block", since: since, key: -1, args: choices}, false, nil
	case name == "":
		name = choices[0].name
	}
	return &arg{name: name, kind: "oneof", since: since, key: -1, args: choices}, repeated, nil
}

func blockOf(seq []*arg) *arg {
	if len(seq) == 1 {
		return seq[0]
	}
	names := make([]string, len(seq))
	for i, a := range seq {
		names[i] = a.name
	}
	return &arg{name: strings.Join(names, "_"), kind: "block", key: -1, args: seq}
}

// Usage is the arguments of a command as a person reads them: "key value [NX|XX] [GET] …".
func (t *Table) Usage(cmd *Command) string { return usageOf(t.docs[cmd], " ") }

func usageOf(args []*arg, sep string) string {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = a.usage()
	}
	return strings.Join(parts, sep)
}

func (a *arg) usage() string {
	var s string
	switch a.kind {
	case "pure-token":
		s = a.token
	case "oneof":
		s = usageOf(a.args, "|")
	case "block":
		s = usageOf(a.args, " ")
	default:
		s = a.name
	}
	if a.token != "" && a.kind != "pure-token" {
		s = a.token + " " + s
	}
	switch {
	case a.multiple && a.kind == "oneof":
		s += " ..."
	case a.multiple:
		s += " [" + s + " ...]"
	}
	if a.optional {
		s = "[" + s + "]"
	}
	return s
}
