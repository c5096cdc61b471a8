// Package mapping turns records into commands, as a source of the configuration says: the condition when decides which
// records count, and templates make commands of them. A Tally adds up what the records of a batch come to, so that a key
// that occurs a thousand times is one command.
//
// A template is text with placeholders: {path} for a field of the record, whose names are separated by dots, with
// numbers for the members of arrays, or for a column of CSV; {path|text} with a default where the field is missing, null
// or an empty column; {path|minute}, {path|hour}, {path|day} or {path|month} for the part of time, in UTC, that the field
// is in. Times are seconds or milliseconds since 1970, or texts as in RFC 3339. In paths, a backslash takes away the
// meaning of the next character. {{ and }} are braces.
//
// What is added up, by key: INCR, DECR, INCRBY and DECRBY become one INCRBY. PFADD and UC.ADD have each element once.
// CMS.INCRBY, TOPK.ADD and TOPK.INCRBY have each item once, with the sum. Any other command is kept as it is, in the
// order of the records, behind those that are added up; so the order between commands of the two sorts is not kept
// within a batch, nor the order in which a Top-K sketch sees its items.
package mapping

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"quipu/connect/config"
)

// Limits of what a record comes to. A record beyond them is bad.
const (
	MaxKey         = 512         // bytes of a key
	MaxArgument    = 1 << 20     // bytes of another argument: the server's proto-max-bulk-len by default
	MaxRecordBytes = 3 << 20     // of all commands of a record, as Tally.Bytes counts them
	maxTopKItem    = 64 << 10    // bytes of an item of a Top-K sketch, on the server
	maxElements    = 1000        // elements or items in a command
	maxWords       = 1000        // words of a command
	maxCommands    = 1000        // commands of a source
	slack          = 64 + 4 + 20 // for a command, an argument and a number
)

// family is how commands are added up.
type family uint8

const (
	literal  family = iota // not at all
	counter                // one sum by key
	distinct               // each element once by key
	sketch                 // one sum by key and item
)

// families are the commands that are added up.
var families = map[string]struct {
	family family
	sent   string // the command that it becomes
}{
	"INCR": {counter, "INCRBY"}, "INCRBY": {counter, "INCRBY"}, "DECR": {counter, "INCRBY"}, "DECRBY": {counter, "INCRBY"},
	"PFADD": {distinct, "PFADD"}, "UC.ADD": {distinct, "UC.ADD"},
	"CMS.INCRBY": {sketch, "CMS.INCRBY"}, "TOPK.ADD": {sketch, "TOPK.INCRBY"}, "TOPK.INCRBY": {sketch, "TOPK.INCRBY"},
}

// sums are the commands that families become. The number of one stands before its keys in a tally.
var sums = []string{"INCRBY", "PFADD", "UC.ADD", "CMS.INCRBY", "TOPK.INCRBY"}

// Program is a source, compiled. It does not change, and may be used by several goroutines.
type Program struct {
	paths
	csv      bool
	columns  []int32 // in CSV: the node of each column, -1 where it is not needed; nil: not known yet
	when     matcher // nil: every record counts
	whenLine int
	commands []command
	buckets  int
}

// command is a command of the source.
type command struct {
	line   int
	name   string
	family family
	sum    byte // which of sums it becomes
	keys   config.Keys
	args   []*template // all behind the name, but for amounts
	limits []int       // bytes of args
	// What counters and sketches count, by args less the key; one for a counter.
	amounts []amount
	expire  time.Duration // 0: no deadline
	sent    any           // name, for the client
}

// amount is how much is counted: a constant, or what a template comes to.
type amount struct {
	template *template // nil: n
	n        int64
	negative bool // subtract it
}

// compiler collects the mistakes of a source.
type compiler struct {
	program *Program
	source  *config.Source
	errs    config.Errors
}

// Compile checks all that can be known of a source without a record. The error is config.Errors.
func Compile(src *config.Source) (*Program, error) {
	c := &compiler{program: &Program{csv: src.Format == config.FormatCSV}, source: src}
	p := c.program
	if src.When.Text != "" {
		var err error
		if p.when, err = c.compileWhen(src.When.Text); err != nil {
			c.fail(src.When.Line, fmt.Errorf("when: %w", err))
		} else if err = c.checkColumns(0); err != nil {
			c.fail(src.When.Line, fmt.Errorf("when: %w", err))
		}
		p.whenLine = src.When.Line
	}
	if len(src.Commands) > maxCommands {
		c.fail(src.Line, fmt.Errorf("the source has more than %d commands", maxCommands))
		return nil, c.errs
	}
	for _, cmd := range src.Commands {
		before := len(p.nodes)
		compiled, err := c.compileCommand(cmd)
		if err == nil {
			err = c.checkColumns(before)
		}
		if err != nil {
			c.fail(cmd.Line, err)
		}
		p.commands = append(p.commands, compiled)
	}
	if len(src.Columns) > 0 && len(c.errs) == 0 {
		var err error
		if p.columns, err = p.bindColumns(src.Columns); err != nil {
			c.fail(src.Line, err)
		}
	}
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	return p, nil
}

func (c *compiler) fail(line int, err error) {
	if len(c.errs) < config.MaxErrors {
		c.errs = append(c.errs, c.source.Errorf(line, "%v", err))
	}
}

// checkColumns refuses nodes, from number from on, that are none of the columns, where these are known.
func (c *compiler) checkColumns(from int) error {
	for _, n := range c.program.nodes[from:] {
		if len(c.source.Columns) > 0 && !slices.Contains(c.source.Columns, n.name) {
			return noColumn(n.name, c.source.Columns)
		}
	}
	return nil
}

// compileCommand checks a command and compiles its words.
func (c *compiler) compileCommand(cmd config.Command) (compiled command, err error) {
	if len(cmd.Words) == 0 {
		return compiled, errors.New("the line has no command")
	}
	info, known := config.LookupCommand(cmd.Words[0])
	name, words := info.Name, cmd.Words
	switch n := len(words); {
	case !known:
		return compiled, fmt.Errorf("unknown command %q", words[0])
	case info.Refused != "":
		return compiled, fmt.Errorf("%s cannot stand in a source: %s", name, info.Refused)
	case n > maxWords:
		return compiled, fmt.Errorf("%s has more than %d words", name, maxWords)
	case n < info.Min || info.Max > 0 && n > info.Max || (n-info.Min)%info.Step != 0:
		return compiled, fmt.Errorf("wrong number of words; write %s %s", name, info.Usage)
	}
	compiled = command{line: cmd.Line, name: name, keys: info.Keys, expire: cmd.Expire, sent: name}
	var all []*template
	for _, word := range words[1:] {
		t, err := c.parseTemplate(word)
		if err != nil {
			return compiled, err
		}
		all = append(all, t)
	}
	if f, ok := families[name]; ok {
		compiled.family, compiled.name, compiled.sent = f.family, f.sent, f.sent
		compiled.sum = byte(slices.Index(sums, f.sent))
	}
	if err := compiled.takeArguments(name, all); err != nil {
		return compiled, err
	}
	return compiled, compiled.check()
}

// takeArguments separates amounts from other arguments.
func (c *command) takeArguments(name string, all []*template) (err error) {
	negative := name == "DECR" || name == "DECRBY"
	take := func(t *template) error {
		a, err := c.compileAmount(t, negative)
		c.amounts = append(c.amounts, a)
		return err
	}
	switch {
	case c.family == counter:
		c.args = all[:1]
		if len(all) == 2 {
			return take(all[1])
		}
		c.amounts = []amount{{n: 1, negative: negative}}
	case name == "TOPK.ADD":
		c.args = all
		c.amounts = slices.Repeat([]amount{{n: 1}}, len(all)-1)
	case c.family == sketch:
		c.args = all[:1:1]
		for i := 1; i < len(all); i += 2 {
			c.args = append(c.args, all[i])
			if err := take(all[i+1]); err != nil {
				return err
			}
		}
	default:
		c.args = all
	}
	return nil
}

func (c *command) compileAmount(t *template, negative bool) (a amount, err error) {
	a = amount{template: t, negative: negative}
	if t.constant {
		a.template = nil
		a.n, err = c.parseAmount([]byte(t.text()), negative)
	}
	return a, err
}

// parseAmount reads what is to be counted. The sign of a negative one is that of the text.
func (c *command) parseAmount(b []byte, negative bool) (int64, error) {
	n, ok := parseInt(b)
	switch {
	case !ok:
		return 0, fmt.Errorf("%s is not a whole number of 64 bits", shown(b))
	case n < 0 && c.name == "TOPK.INCRBY":
		return 0, fmt.Errorf("%d is below 0, which a Top-K sketch cannot count", n)
	case negative && n == -1<<63:
		return 0, fmt.Errorf("%d cannot be subtracted", n)
	}
	return n, nil
}

// isKey reports whether the argument with that index is a key.
func (c *command) isKey(i int) bool {
	switch c.keys {
	case config.TwoKeys:
		return i < 2
	case config.AllKeys:
		return true
	case config.KeysInPairs:
		return i%2 == 0
	}
	return i == 0
}

// check looks at the finished command.
func (c *command) check() error {
	for i, t := range c.args {
		c.limits = append(c.limits, c.limit(i))
		if t.constant {
			if err := c.checkSize(i, len(t.text())); err != nil {
				return err
			}
		}
	}
	if c.expire == 0 {
		return nil
	}
	if c.keys != config.FirstKey {
		return fmt.Errorf("expire is for commands with one key, and %s may have several", c.name)
	}
	found := 0
	for _, p := range c.args[0].pieces {
		if p.unit != noUnit {
			found++
		}
	}
	if found != 1 {
		return fmt.Errorf("expire needs a key with one unit of time, such as {ts|hour}, which it counts from; %s has %s",
			c.args[0].source, map[bool]string{true: "none", false: "several"}[found == 0])
	}
	return nil
}

// limit is how many bytes an argument may have, given by its index.
func (c *command) limit(i int) int {
	switch {
	case c.isKey(i):
		return MaxKey
	case c.name == "TOPK.INCRBY":
		return maxTopKItem
	}
	return MaxArgument
}

// checkSize refuses an argument, given by its index, that is too long, and an empty key.
func (c *command) checkSize(i, size int) error {
	if size > 0 && size <= c.limits[i] {
		return nil
	}
	what := "an argument"
	if c.isKey(i) {
		what = "a key"
	}
	switch {
	case size > 0:
		return fmt.Errorf("%s of %d bytes; %d are the limit", what, size, c.limits[i])
	case c.isKey(i):
		return errors.New("the key is empty")
	}
	return nil
}
