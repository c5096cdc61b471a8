package commands

import (
	"bytes"
	"math"

	"quipu/engine"
	"quipu/internal/glob"
	"quipu/protocol"
)

var scanCommands = []Command{
	{
		Name: "keys", Arity: 2, Flags: FlagReadonly | FlagSlow | FlagBulky,
		Categories: CatKeyspace | CatDangerous,
		Tips:       []string{"request_policy:all_shards", "nondeterministic_output_order"},
		Summary:    "Names of the keys that match a pattern", Since: "1.0.0", Group: "generic",
		Complexity: "O(N) for N keys in the database",
		Syntax:     "pattern",
		Read:       runKeys,
	},
	{
		Name: "scan", Arity: -2, Flags: FlagReadonly,
		Categories: CatKeyspace,
		Tips:       []string{"nondeterministic_output", "request_policy:special"},
		Summary:    "Go through the keys, a few at a time", Since: "2.8.0", Group: "generic",
		Complexity: "O(COUNT) for every call, O(N) for a complete iteration, where N is the number of keys in the database.",
		Syntax:     "cursor [MATCH pattern] [COUNT count] [TYPE type@6.0.0]",
		Read:       runScan,
	},
}

// scanStep is how many records KEYS asks of the keyspace at a time.
const scanStep = 1024

func runKeys(c *Call, v engine.View) {
	pattern := c.Args[1]
	if len(pattern) > glob.MaxPattern {
		c.W.Error(protocol.ErrPatternTooLong)
		return
	}
	if matchesAll(pattern) {
		pattern = nil
	}
	var found keyList
	for cursor := uint64(0); ; {
		cursor, _ = found.scan(v, cursor, scanStep, pattern, nil)
		if c.tooLarge(len(found.bytes)) {
			c.W.Error(errReplyTooLarge)
			return
		}
		if cursor == 0 {
			break
		}
	}
	found.reply(c.W)
}

func matchesAll(pattern []byte) bool { return len(pattern) == 1 && pattern[0] == '*' }

// keyList collects copies of keys, because the header of a reply must tell their number.
type keyList struct {
	bytes []byte
	ends  []int
}

func (l *keyList) add(key []byte) {
	l.bytes = append(l.bytes, key...)
	l.ends = append(l.ends, len(l.bytes))
}

// scan adds the keys of about count records from cursor on, those of a type (nil: any) that match a pattern (nil: all),
// and returns the next cursor and the steps that matching took. Keys are matched after they are collected, because the
// keyspace calls back with a lock held and a pattern can be slow.
func (l *keyList) scan(v engine.View, cursor uint64, count int, pattern, kind []byte) (next uint64, steps int) {
	first := len(l.ends)
	next = v.Scan(cursor, count, func(key []byte, value engine.Value) {
		if kind == nil || isWord(kind, lowerTypeName(value)) {
			l.add(key)
		}
	})
	if pattern == nil {
		return next, 0
	}
	begin := 0
	if first > 0 {
		begin = l.ends[first-1]
	}
	kept := keyList{l.bytes[:begin], l.ends[:first]}
	for _, end := range l.ends[first:] {
		ok, n := glob.MatchSteps(pattern, l.bytes[begin:end], false)
		if steps += n; ok {
			kept.add(l.bytes[begin:end]) // moves it down in place
		}
		begin = end
	}
	*l = kept
	return next, steps
}

// lowerTypeName is the type's name in lower case, as isWord wants it.
func lowerTypeName(v engine.Value) string {
	switch v.Kind {
	case engine.KindCMS:
		return "cmsk-type"
	case engine.KindTopK:
		return "topk-type"
	}
	return typeName(v, true)
}

func (l *keyList) reply(w *protocol.Writer) {
	w.Array(len(l.ends))
	begin := 0
	for _, end := range l.ends {
		w.Bulk(l.bytes[begin:end])
		begin = end
	}
}

// Bounds on one SCAN, whatever COUNT asks for: it runs on an event loop.
const (
	scanMaxCount  = 10000
	scanMaxCursor = 1<<53 - 1
	scanMaxSteps  = 2e6 // of the glob matcher, about 10 ms
)

type scanOptions struct {
	cursor  uint64
	count   int
	pattern []byte // nil: all
	kind    []byte // nil: all
}

func runScan(c *Call, v engine.View) {
	opt, ok := c.parseScan()
	if !ok {
		return
	}
	step := 64
	if len(opt.pattern) > 0 { // one key of 4 KiB and a pattern of 1 KiB can take all the steps there are
		step = max(1, min(step, 1024/len(opt.pattern)))
	}
	var found keyList
	cursor, left, steps := opt.cursor, opt.count, 0
	for {
		var n int
		cursor, n = found.scan(v, cursor, min(left, step), opt.pattern, opt.kind)
		left -= step
		steps += n
		if cursor == 0 || left <= 0 || steps > scanMaxSteps {
			break
		}
	}
	var text [20]byte
	c.W.Array(2)
	c.W.Bulk(appendUint(text[:0], cursor))
	found.reply(c.W)
}

func (c *Call) parseScan() (opt scanOptions, ok bool) {
	if opt.cursor, ok = parseCursor(c.Args[1]); !ok {
		c.W.Error(protocol.ErrInvalidCursor)
		return opt, false
	}
	opt.count = 10
	for i := 2; i < len(c.Args); i += 2 {
		word := c.Args[i]
		if i+1 == len(c.Args) {
			c.W.Error(protocol.ErrSyntax)
			return opt, false
		}
		value := c.Args[i+1]
		switch {
		case isWord(word, "count"):
			n, ok := c.intArg(value)
			if !ok {
				return opt, false
			}
			if n < 1 {
				c.W.Error(protocol.ErrSyntax)
				return opt, false
			}
			opt.count = int(min(n, scanMaxCount))
		case isWord(word, "match"):
			if len(value) > glob.MaxPattern {
				c.W.Error(protocol.ErrPatternTooLong)
				return opt, false
			}
			opt.pattern = value
			if matchesAll(value) {
				opt.pattern = nil
			}
		case isWord(word, "type"):
			opt.kind = value
		default:
			c.W.Error(protocol.ErrSyntax)
			return opt, false
		}
	}
	return opt, true
}

// parseCursor reads a cursor as strtoul does: an optional sign, digits up to a zero byte, nothing being 0. A cursor that this server
// cannot have given out reads as the last one, behind which there is nothing.
func parseCursor(b []byte) (uint64, bool) {
	b, _, _ = bytes.Cut(b, []byte{0})
	if len(b) == 0 {
		return 0, true
	}
	neg := b[0] == '-'
	if neg || b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	var n uint64
	for _, ch := range b {
		d := uint64(ch - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	if neg {
		n = -n
	}
	return min(n, scanMaxCursor), true
}
