package mapping

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Tally is what the records of a batch come to. It belongs to one goroutine.
//
// A record is evaluated as a whole before any of it is added. What it comes to stands in buf meanwhile, in the form in
// which keys and items are looked up, so that nothing is allocated for those that are known already.
type Tally struct {
	fields
	program *Program

	keys     map[string]int32 // the number of the command in sums, then a key: its sum
	items    map[string]int32 // the number of a sum, 4 bytes, then an element or item
	sums     []sum
	parts    []part
	literals []written
	commands int
	bytes    int
	words    int // arguments of all commands

	buf        []byte
	spans      []span
	ops        []op
	buckets    []bucket
	bucket     *bucket // of the last placeholder with a unit
	vars       map[string]any
	activation map[string]any
	args       []any // of Each
}

// sum is a command that adds up, but for its name and key: a number, or elements or items.
type sum struct {
	key      string
	command  byte // its number in sums
	n        int64
	records  int
	deadline int64 // Unix milliseconds; 0: none
	first    int32 // of its parts, which are a list; -1: none
	last     int32
	count    int32 // of them
}

// part is an element or item of a sum.
type part struct {
	text    string
	n       int64
	records int
	next    int32 // -1: none
}

// written is a command that is kept as it is.
type written struct {
	command  *command
	args     []string // behind the name
	deadline int64    // Unix milliseconds; 0: none
}

// span is an argument in buf, and how much of it is counted.
type span struct {
	from, to int32
	n        int64
}

// op is a command of the current record: the key, behind a byte for its number in sums, and other arguments. Before each
// of the latter there are 4 free bytes.
type op struct {
	command     *command
	first, last int32 // spans; the first one is the key
	deadline    int64
}

// NewTally is an empty tally: what the records of a batch come to.
func (p *Program) NewTally() *Tally {
	t := &Tally{program: p, buckets: make([]bucket, p.buckets), vars: map[string]any{}}
	t.fields = fields{paths: p.paths, csv: p.csv, vals: make([]value, len(p.nodes))}
	t.activation = map[string]any{record: t.vars}
	t.forget()
	return t
}

// forget starts with new memory.
func (t *Tally) forget() {
	t.keys, t.items = map[string]int32{}, map[string]int32{}
	t.sums, t.parts, t.literals, t.args = nil, nil, nil, nil
}

// Add counts one record, which it does not keep. counted is false where the condition leaves it out; late is how many
// commands were left out because their deadline is not after now. An error says what is wrong with the record, and where
// in it; then the tally is as before.
func (t *Tally) Add(rec []byte, now time.Time) (counted bool, late int, err error) {
	p := t.program
	if !p.csv {
		err = t.readJSON(rec)
	} else if p.columns == nil {
		err = errors.New("the names of the columns are not known") // a fault of the caller
	} else {
		err = t.readCSV(rec, p.columns)
	}
	if err != nil {
		return false, 0, err
	}
	if p.when != nil {
		matches, err := p.when.match(t)
		if err != nil {
			return false, 0, fmt.Errorf("line %d: when: %w", p.whenLine, err)
		}
		if matches != yes {
			return false, 0, nil
		}
	}
	t.buf, t.spans, t.ops = t.buf[:0], t.spans[:0], t.ops[:0]
	for i := range p.commands {
		ok, err := t.evaluate(&p.commands[i], now.UnixMilli())
		if err != nil {
			return false, 0, fmt.Errorf("line %d: %w", p.commands[i].line, err)
		}
		if !ok {
			late++
		}
	}
	// Each command may need another one for its deadline, with the key.
	if n := len(t.buf) + (3*slack+MaxKey)*len(t.ops) + slack*len(t.spans); n > MaxRecordBytes {
		return false, 0, fmt.Errorf("the record comes to %d bytes of commands; %d are the limit", n, MaxRecordBytes)
	}
	for i := range t.ops {
		t.apply(&t.ops[i])
	}
	return true, late, nil
}

// evaluate has the current record fill in the templates of a command, and adds it to ops. ok is false where it is late.
func (t *Tally) evaluate(c *command, now int64) (ok bool, err error) {
	o := op{command: c, first: int32(len(t.spans))}
	t.buf = append(t.buf, c.sum)
	for i, tpl := range c.args {
		if i > 0 {
			t.buf = append(t.buf, 0, 0, 0, 0)
		}
		from := len(t.buf)
		if tpl.constant {
			t.buf = append(t.buf, tpl.text()...)
		} else if err := t.render(tpl); err != nil {
			return false, err
		}
		if err := c.checkSize(i, len(t.buf)-from); err != nil {
			return false, fmt.Errorf("%s: %w", tpl.source, err)
		}
		if i == 0 && c.expire > 0 {
			o.deadline = t.bucket.to + c.expire.Milliseconds()
			if o.deadline <= now {
				t.spans = t.spans[:o.first]
				return false, nil
			}
		}
		t.spans = append(t.spans, span{from: int32(from), to: int32(len(t.buf))})
		if len(t.buf) > MaxRecordBytes {
			return false, fmt.Errorf("the record comes to more than %d bytes of commands", MaxRecordBytes)
		}
	}
	o.last = int32(len(t.spans))
	for i := range c.amounts {
		n, err := t.amount(c, &c.amounts[i])
		if err != nil {
			return false, err
		}
		at := o.first
		if c.family == sketch {
			at += 1 + int32(i)
		}
		t.spans[at].n = n
	}
	t.ops = append(t.ops, o)
	return true, nil
}

// amount is what the current record has for an amount.
func (t *Tally) amount(c *command, a *amount) (n int64, err error) {
	n = a.n
	if a.template != nil {
		from := len(t.buf)
		if err := t.render(a.template); err != nil {
			return 0, err
		}
		n, err = c.parseAmount(t.buf[from:], a.negative)
		t.buf = t.buf[:from]
		if err != nil {
			return 0, fmt.Errorf("%s: %w", a.template.source, err)
		}
	}
	if a.negative {
		n = -n
	}
	return n, nil
}

// apply adds a command of the current record to the tally.
func (t *Tally) apply(o *op) {
	c := o.command
	spans := t.spans[o.first:o.last]
	if c.family == literal {
		t.keep(o, spans)
		return
	}
	key := t.buf[spans[0].from-1 : spans[0].to]
	at, known := t.keys[string(key)]
	if !known {
		at = t.newSum(string(key))
	} else if c.family == counter && overflows(t.sums[at].n, spans[0].n) {
		// What has been counted is a command of its own, and the next one has the deadline.
		deadline := t.sums[at].deadline
		t.sums[at].deadline = 0
		at = t.newSum(string(key))
		t.sums[at].deadline = deadline
	}
	s := &t.sums[at]
	s.n += spans[0].n
	s.records++
	if o.deadline != 0 {
		if s.deadline == 0 {
			t.addExpire(len(s.key))
		}
		s.deadline = o.deadline
	}
	for _, item := range spans[1:] {
		t.addPart(at, item)
	}
}

// newSum begins a command, where key is its number in sums and its key.
func (t *Tally) newSum(key string) int32 {
	at := int32(len(t.sums))
	t.keys[key] = at
	t.sums = append(t.sums, sum{key: key[1:], command: key[0], first: -1, last: -1})
	if key[0] == 0 {
		t.addCommand(len(sums[0]))
		t.addArgument(len(key) - 1)
		t.addArgument(maxDigits)
	}
	return at
}

// addPart adds an element or item to a sum.
func (t *Tally) addPart(at int32, item span) {
	name := t.buf[item.from-4 : item.to]
	binary.LittleEndian.PutUint32(name, uint32(at))
	i, known := t.items[string(name)]
	if known && !overflows(t.parts[i].n, item.n) {
		t.parts[i].n += item.n
		t.parts[i].records++
		return
	}
	i = int32(len(t.parts))
	text := string(name)
	t.items[text] = i
	t.parts = append(t.parts, part{text: text[4:], n: item.n, records: 1, next: -1})
	s := &t.sums[at]
	if s.count%maxElements == 0 {
		t.addCommand(len(sums[s.command]))
		t.addArgument(len(s.key))
	}
	s.count++
	if s.first < 0 {
		s.first = i
	} else {
		t.parts[s.last].next = i
	}
	s.last = i
	t.addArgument(len(text) - 4)
	if isSketch(s.command) {
		t.addArgument(maxDigits)
	}
}

// keep adds a command that is not added up.
func (t *Tally) keep(o *op, spans []span) {
	w := written{command: o.command, args: make([]string, len(spans)), deadline: o.deadline}
	t.addCommand(len(o.command.name))
	for i, s := range spans {
		w.args[i] = string(t.buf[s.from:s.to])
		t.addArgument(len(w.args[i]))
	}
	if o.deadline != 0 {
		t.addExpire(len(w.args[0]))
	}
	t.literals = append(t.literals, w)
}

// addCommand counts a command, and its name of so many bytes.
func (t *Tally) addCommand(name int) {
	t.commands++
	t.bytes += 64
	t.addArgument(name)
}

// addExpire counts a PEXPIREAT for a key of so many bytes.
func (t *Tally) addExpire(key int) {
	t.addCommand(len("PEXPIREAT"))
	t.addArgument(key)
	t.addArgument(maxDigits)
}

func (t *Tally) addArgument(size int) {
	t.bytes += size + 4
	t.words++
}

// maxDigits is how long a number of 64 bits is at most.
const maxDigits = 20

func isSketch(command byte) bool { return command >= 3 }

// overflows reports whether a sum does not fit into 64 bits.
func overflows(a, b int64) bool {
	sum := a + b
	return (a^sum)&(b^sum) < 0
}

// Commands is how many commands Each tells of.
func (t *Tally) Commands() int { return t.commands }

// Bytes is at least what the commands count towards the server's limit of a transaction: 64 for each, and for each
// argument 4 and its bytes. A record adds at most MaxRecordBytes.
func (t *Tally) Bytes() int { return t.bytes }

// Reset makes the tally empty. Its memory is used again, unless the batch was unusually large.
func (t *Tally) Reset() {
	const large = 1 << 16
	if len(t.sums) > large || len(t.parts) > 2*large || len(t.literals) > large {
		t.forget()
	}
	if cap(t.buf) > large {
		t.buf = nil
	}
	clear(t.keys)
	clear(t.items)
	clear(t.sums)
	clear(t.parts)
	clear(t.literals)
	clear(t.args)
	t.sums, t.parts, t.literals, t.args = t.sums[:0], t.parts[:0], t.literals[:0], t.args[:0]
	t.commands, t.bytes, t.words = 0, 0, 0
	clear(t.vars)
	t.rec = nil
}
