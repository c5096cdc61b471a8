package scripts

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// op is what a step does on its connection.
type op byte

const (
	opCall  op = iota // send a command and read one reply
	opSend            // send a command
	opRaw             // send bytes
	opRead            // read one reply
	opSleep           // wait
	opClose           // close the connection
)

// Which replies a step holds. A missing one falls back as expected says.
const (
	redis2 = iota
	redis3
	quipu2
	quipu3
	expectations
)

var labels = [expectations]string{"", "3", "q", "q3"}

// expectation is one reply: its rendering, or a pattern for it.
type expectation struct {
	text    string // lines joined by \n
	pattern *regexp.Regexp
}

func (e *expectation) match(rendering string) bool {
	if e.pattern != nil {
		return e.pattern.MatchString(rendering)
	}
	return e.text == rendering
}

// step is one line that acts, with the replies below it.
type step struct {
	line      int // 1-based
	conn      string
	op        op
	args      []string
	raw       []byte
	pause     time.Duration
	unordered int  // depth of nesting at which elements are compared sorted; 0: none
	quipuOnly bool // between @quipu and @end
	expect    [expectations]*expectation
}

func (s *step) reads() bool { return s.op == opCall || s.op == opRead }

// expected is the reply this step must get, nil when none is written down.
func (s *step) expected(quipu bool, proto int) *expectation {
	order := []int{redis2}
	switch {
	case quipu && proto == 3:
		order = []int{quipu3, quipu2, redis3, redis2}
	case quipu:
		order = []int{quipu2, redis2}
	case proto == 3:
		order = []int{redis3, redis2}
	}
	for _, i := range order {
		if s.expect[i] != nil {
			return s.expect[i]
		}
	}
	return nil
}

// script is a parsed file. lines keeps everything that is not a reply, so that the file can be written back.
type script struct {
	path      string
	settings  []string // name, value, name, value, …
	quipuOnly []string // the same, for Quipu alone
	protocols []int
	lines     []string // source lines without the replies
	steps     map[int]*step
	order     []*step // steps in order
}

func parseFile(path string) (*script, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, string(b))
}

// parse reads a script. steps is keyed by the index of the step's line in lines.
func parse(path, source string) (*script, error) {
	s := &script{path: path, protocols: []int{2, 3}, steps: map[int]*step{}}
	p := parser{script: s}
	for i, line := range strings.Split(strings.TrimSuffix(source, "\n"), "\n") {
		if err := p.line(i+1, line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
	}
	if err := p.endReply(); err != nil {
		return nil, fmt.Errorf("%s: at the end: %w", path, err)
	}
	return s, nil
}

type parser struct {
	script    *script
	current   *step
	label     int
	reply     []string
	unordered int
	quipuOnly bool
}

func (p *parser) line(n int, line string) error {
	if gutter, rest, ok := cutReply(line); ok {
		return p.replyLine(gutter, rest)
	}
	if err := p.endReply(); err != nil {
		return err
	}
	p.script.lines = append(p.script.lines, line)
	p.current = nil
	var st *step
	var err error
	switch {
	case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
		return nil
	case strings.HasPrefix(line, "@"):
		st, err = p.directive(strings.Fields(line[1:]))
	default:
		st, err = parseStep(line)
	}
	if err != nil || st == nil {
		return err
	}
	st.line, st.quipuOnly = n, p.quipuOnly
	if st.reads() {
		st.unordered, p.unordered = p.unordered, 0
		p.current, p.label = st, redis2
	}
	p.script.steps[len(p.script.lines)-1] = st
	p.script.order = append(p.script.order, st)
	return nil
}

// cutReply splits a line of a reply into its label and the rest.
func cutReply(line string) (label, rest string, ok bool) {
	if len(line) < 5 || line[3] != ' ' {
		return "", "", false
	}
	label = strings.TrimRight(line[:4], " ")
	for _, l := range labels {
		if l == label {
			return label, line[4:], true
		}
	}
	return "", "", false
}

func (p *parser) replyLine(label, rest string) error {
	if p.current == nil {
		return fmt.Errorf("a reply without a command that waits for one")
	}
	if label == "" {
		p.reply = append(p.reply, rest)
		return nil
	}
	if err := p.endReply(); err != nil {
		return err
	}
	for i, l := range labels {
		if l == label {
			p.label = i
		}
	}
	p.reply = append(p.reply, rest)
	return nil
}

// endReply stores the lines gathered as the reply of the current step.
func (p *parser) endReply() error {
	if len(p.reply) == 0 {
		return nil
	}
	e := &expectation{text: strings.Join(p.reply, "\n")}
	if t := e.text; len(t) > 1 && t[0] == '/' && t[len(t)-1] == '/' {
		re, err := regexp.Compile(`(?s)\A(?:` + t[1:len(t)-1] + `)\z`)
		if err != nil {
			return err
		}
		e.pattern = re
	}
	if p.current.expect[p.label] != nil {
		return fmt.Errorf("two replies labelled %q", labels[p.label])
	}
	p.current.expect[p.label] = e
	p.reply = nil
	return nil
}

func (p *parser) directive(f []string) (*step, error) {
	if len(f) == 0 {
		return nil, fmt.Errorf("empty directive")
	}
	name, args := f[0], f[1:]
	switch {
	case name == "settings" && len(args) > 0 && len(args)%2 == 0:
		p.script.settings = append(p.script.settings, args...)
	case name == "quipu-settings" && len(args) > 0 && len(args)%2 == 0:
		p.script.quipuOnly = append(p.script.quipuOnly, args...)
	case name == "protocols" && len(args) > 0:
		p.script.protocols = nil
		for _, a := range args {
			if a != "2" && a != "3" {
				return nil, fmt.Errorf("unknown protocol %q", a)
			}
			p.script.protocols = append(p.script.protocols, int(a[0]-'0'))
		}
	case name == "unordered" && len(args) <= 1:
		p.unordered = 1
		if len(args) == 1 {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return nil, fmt.Errorf("bad depth %q", args[0])
			}
			p.unordered = n
		}
	case name == "quipu" && len(args) == 0:
		p.quipuOnly = true
	case name == "end" && len(args) == 0:
		p.quipuOnly = false
	case name == "sleep" && len(args) == 1:
		d, err := time.ParseDuration(args[0])
		return &step{op: opSleep, pause: d}, err
	case name == "close" && len(args) == 1:
		return &step{op: opClose, conn: args[0]}, nil
	default:
		return nil, fmt.Errorf("unknown directive @%s", strings.Join(f, " "))
	}
	return nil, nil
}

var stepLine = regexp.MustCompile(`^([a-z0-9]*)(>>|>|!|<)(?: (.*))?$`)

func parseStep(line string) (*step, error) {
	m := stepLine.FindStringSubmatch(line)
	if m == nil {
		return nil, fmt.Errorf("cannot read this line: %q", line)
	}
	st := &step{conn: m[1]}
	args, err := splitArgs(m[3])
	if err != nil {
		return nil, err
	}
	switch m[2] {
	case ">":
		st.op, st.args = opCall, args
	case ">>":
		st.op, st.args = opSend, args
	case "!":
		st.op, st.raw = opRaw, []byte(strings.Join(args, ""))
	case "<":
		st.op = opRead
	}
	if (len(args) == 0) != (st.op == opRead) {
		return nil, fmt.Errorf("%q has the wrong number of arguments", line)
	}
	return st, nil
}

// format writes the script back with the replies its steps hold now.
func (s *script) format() string {
	var b strings.Builder
	for i, line := range s.lines {
		b.WriteString(line)
		b.WriteByte('\n')
		st := s.steps[i]
		if st == nil {
			continue
		}
		for k, e := range st.expect {
			if e == nil {
				continue
			}
			label := labels[k]
			for l := range strings.SplitSeq(e.text, "\n") {
				fmt.Fprintf(&b, "%-4s%s\n", label, l)
				label = ""
			}
		}
	}
	return b.String()
}
