package commands

import (
	"strconv"

	"quipu/engine"
	"quipu/protocol"
)

// ONCE executes a write at most once, however often it is sent: the producer numbers its writes, and what was executed is
// answered with the recorded reply (engine/once.go). It is a command around another one, and a single operation of the log.

const (
	onceLogID      = 63
	onceDefaultTTL = 24 * 3600       // seconds
	onceMaxTTL     = 365 * 24 * 3600 // seconds
)

var onceCommands = []Command{
	{
		Name: "once", LogID: onceLogID, Own: true, Shared: sharedAlways, Arity: -4, Flags: FlagWrite | FlagDenyOOM, Beside: onceBeside,
		Categories: CatString, Group: "generic", Since: "0.2.0", Complexity: "That of the command, and O(1)",
		Summary: "Execute a write at most once, and answer with its first reply",
		Syntax:  "producer epoch:integer number:integer command [arg:string [arg:string ...]]",
		Write:   runOnce,
		Sub: []*Command{
			{
				Name: "open", LogID: 64, Own: true, Arity: -3, Flags: FlagWrite | FlagDenyOOM,
				Categories: CatString, Group: "generic", Since: "0.2.0", Complexity: "O(1)",
				Summary: "Begin as a producer: get an epoch, and shut out earlier ones",
				Syntax:  "producer [TTL seconds:integer]", Write: runOnceOpen,
			},
			{
				Name: "info", Own: true, Arity: 3, Flags: FlagReadonly,
				Categories: CatString, Group: "generic", Since: "0.2.0", Complexity: "O(1)",
				Summary: "What is recorded of a producer", Syntax: "producer", Read: runOnceInfo,
			},
		},
	},
}

// The keys of ONCE are those of the command inside, which the table knows, which has ONCE in it.
func init() {
	inner := NewTable()
	onceCommands[0].GetKeys = func(args [][]byte) (keys []KeyAt, ok bool) {
		if len(args) < 5 {
			return nil, false
		}
		cmd, refusal := inner.Resolve(args[4:])
		if refusal != "" || cmd.Write == nil || cmd.IsOnce() {
			return nil, false
		}
		if cmd.GetKeys != nil {
			keys, ok = cmd.GetKeys(args[4:])
			for i := range keys {
				keys[i].Pos += 4
			}
			return keys, ok
		}
		for _, s := range cmd.Keys {
			first, last, step := s.bounds(len(args) - 4)
			for p := first; p <= last; p += step {
				keys = append(keys, KeyAt{Pos: p + 4, Flags: s.Flags})
			}
		}
		return keys, len(keys) > 0
	}
}

// onceBeside is the part of the producer's record.
func onceBeside(args [][]byte) int {
	if len(args) < 2 || !validProducer(args[1]) {
		return -1
	}
	return engine.ProducerPart(args[1])
}

// validProducer excludes the words that stand at the same place in ONCE OPEN and ONCE INFO.
func validProducer(name []byte) bool {
	return len(name) >= 1 && len(name) <= engine.MaxProducerName && !equalFold(name, "open") && !equalFold(name, "info")
}

// Once is what a call of ONCE names.
type Once struct {
	Producer      []byte
	Epoch, Number uint64
}

// ParseOnce reads the first arguments of ONCE; refusal is the error text if they are not valid.
func ParseOnce(args [][]byte) (o Once, refusal string) {
	var ok, ok2 bool
	o.Producer = args[1]
	o.Epoch, ok = parsePositive(args[2])
	o.Number, ok2 = parsePositive(args[3])
	switch {
	case !validProducer(o.Producer):
		return o, protocol.ErrProducerName
	case !ok || !ok2:
		return o, protocol.ErrOnceNumber
	}
	return o, ""
}

// IsOnce reports whether the command is ONCE itself. Without a command in it, as the first in a transaction, it is about the
// whole transaction.
func (c *Command) IsOnce() bool { return c.LogID == onceLogID }

// Refused replies to what o names and reports true, unless it is to be executed now. The part of the producer's record is
// locked.
func (o *Once) Refused(t engine.Txn, w *protocol.Writer) bool {
	p, found := t.Producer(o.Producer)
	switch v, reply := p.Judge(found, o.Epoch, o.Number); v {
	case engine.OnceNew:
		return false
	case engine.OnceKnown:
		w.FromRESP3(reply)
	case engine.OnceUnkept:
		w.Error(protocol.ErrOnceApplied)
	case engine.OnceTooOld:
		w.Error(protocol.ErrOnceStale)
	case engine.OnceFenced:
		w.Error(protocol.ErrFenced)
	default:
		w.Error(protocol.ErrNoProducer)
	}
	return true
}

func runOnce(c *Call, t engine.Txn) {
	args := c.Args
	o, refusal := ParseOnce(args)
	switch {
	case refusal != "":
		c.W.Error(refusal)
		return
	case len(args) < 5:
		c.W.Error(protocol.ErrArity("once"))
		return
	}
	cmd, refusal := c.Table.Resolve(args[4:])
	switch {
	case refusal != "":
		c.W.Error(refusal)
		return
	case cmd.Write == nil || cmd.IsOnce() || cmd.KeysIn != nil || cmd.FirstKey(args[4:]) == nil: // of keys inside of an argument, ONCE does not tell
		c.W.Error(protocol.ErrOnceCommand)
		return
	}
	if o.Refused(t, c.W) {
		return
	}
	once, w := c.Cmd, c.W
	c.once = protocol.Writer{V: 3, B: c.once.B[:0], Failed: w.Failed}
	c.Cmd, c.Args, c.W = cmd, args[4:], &c.once
	c.RunWrite(t)
	c.Cmd, c.Args, c.W = once, args, w
	slot := engine.Slot(cmd.FirstKey(args[4:]))
	t.RecordOnce(o.Producer, o.Number, slot, c.once.B)
	w.FromRESP3(c.once.B)
	w.Errors += c.once.Errors
	if cap(c.once.B) > 16*engine.MaxOnceReply {
		c.once.B = nil
	}
}

// parsePositive reads an integer from 1 on.
func parsePositive(b []byte) (uint64, bool) {
	n, ok := protocol.ParseInt(b)
	return uint64(n), ok && n > 0
}

func runOnceOpen(c *Call, t engine.Txn) {
	ttl := uint64(onceDefaultTTL)
	switch {
	case !validProducer(c.Args[2]):
		c.W.Error(protocol.ErrProducerName)
		return
	case len(c.Args) == 5 && isWord(c.Args[3], "ttl"):
		var ok bool
		if ttl, ok = parsePositive(c.Args[4]); !ok || ttl > onceMaxTTL {
			c.W.Error(protocol.ErrOnceTTL)
			return
		}
	case len(c.Args) != 3:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	epoch, ok := t.OpenProducer(c.Args[2], int64(ttl)*1000)
	if !ok {
		c.W.Error(protocol.ErrManyProducers(engine.MaxProducers))
		return
	}
	c.W.Int(int64(epoch))
}

// runOnceInfo answers with a map, or null if the producer is not open.
func runOnceInfo(c *Call, v engine.View) {
	info, ok := v.ProducerInfo(c.Args[2])
	if !validProducer(c.Args[2]) || !ok {
		c.W.Null()
		return
	}
	c.W.Map(4)
	c.W.BulkString("epoch")
	c.W.Int(int64(info.Epoch))
	c.W.BulkString("highest")
	c.W.Int(int64(info.Highest))
	c.W.BulkString("recorded")
	c.W.Array(len(info.Numbers))
	for _, n := range info.Numbers {
		c.W.BulkString(strconv.FormatUint(n, 10))
	}
	c.W.BulkString("seconds-left")
	c.W.Int((info.Deadline - v.Now() + 999) / 1000)
}
