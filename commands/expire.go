package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

var expireCommands = []Command{
	{
		Name: "expire", LogID: 18, Event: "expire", Shared: sharedAlways, Arity: -3, Flags: FlagWrite | FlagFast,
		Keys: keyAt(1, KeyRW|KeyUpdate), Categories: CatKeyspace,
		Summary: "Let a key expire after some seconds", Since: "1.0.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key seconds [condition@7.0.0=NX|XX|GT|LT]",
		Write:      runExpire,
		Moves:      true,
	},
	{
		Name: "pexpire", LogID: 19, Event: "expire", Shared: sharedAlways, Arity: -3, Flags: FlagWrite | FlagFast,
		Keys: keyAt(1, KeyRW|KeyUpdate), Categories: CatKeyspace,
		Summary: "Let a key expire after some milliseconds", Since: "2.6.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key milliseconds [condition@7.0.0=NX|XX|GT|LT]",
		Write:      runExpire,
		Moves:      true,
	},
	{
		Name: "expireat", LogID: 20, Event: "expire", Shared: sharedAlways, Arity: -3, Flags: FlagWrite | FlagFast,
		Keys: keyAt(1, KeyRW|KeyUpdate), Categories: CatKeyspace,
		Summary: "Let a key expire at a moment, in Unix seconds", Since: "1.2.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key unix-time-seconds [condition@7.0.0=NX|XX|GT|LT]",
		Write:      runExpire,
		Moves:      true,
	},
	{
		Name: "pexpireat", LogID: 21, Event: "expire", Shared: sharedAlways, Arity: -3, Flags: FlagWrite | FlagFast,
		Keys: keyAt(1, KeyRW|KeyUpdate), Categories: CatKeyspace,
		Summary: "Let a key expire at a moment, in Unix milliseconds", Since: "2.6.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key unix-time-milliseconds [condition@7.0.0=NX|XX|GT|LT]",
		Write:      runExpire,
		Moves:      true,
	},
	{
		Name: "ttl", Arity: 2, Flags: FlagReadonly | FlagFast,
		Keys: keyAt(1, KeyRO|KeyAccess), Categories: CatKeyspace,
		Tips:    []string{"nondeterministic_output"},
		Summary: "Seconds until a key expires", Since: "1.0.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runTTL,
	},
	{
		Name: "pttl", Arity: 2, Flags: FlagReadonly | FlagFast,
		Keys: keyAt(1, KeyRO|KeyAccess), Categories: CatKeyspace,
		Tips:    []string{"nondeterministic_output"},
		Summary: "Milliseconds until a key expires", Since: "2.6.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runTTL,
	},
	{
		Name: "expiretime", Arity: 2, Flags: FlagReadonly | FlagFast,
		Keys: keyAt(1, KeyRO|KeyAccess), Categories: CatKeyspace,
		Summary: "The moment when a key expires, in Unix seconds", Since: "7.0.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runTTL,
	},
	{
		Name: "pexpiretime", Arity: 2, Flags: FlagReadonly | FlagFast,
		Keys: keyAt(1, KeyRO|KeyAccess), Categories: CatKeyspace,
		Summary: "The moment when a key expires, in Unix milliseconds", Since: "7.0.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runTTL,
	},
	{
		Name: "persist", LogID: 22, Event: "persist", Shared: sharedAlways, Arity: 2, Flags: FlagWrite | FlagFast,
		Keys: keyAt(1, KeyRW|KeyUpdate), Categories: CatKeyspace,
		Summary: "Let a key stay for good", Since: "2.2.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key",
		Write:      runPersist,
		Moves:      true,
	},
}

// expireOptions are the conditions of EXPIRE and kin; GT and LT take no deadline as the infinite one.
type expireOptions struct{ nx, xx, gt, lt bool }

func (c *Call) parseExpireOptions(args [][]byte) (opt expireOptions, ok bool) {
	for _, word := range args {
		switch {
		case isWord(word, "nx"):
			opt.nx = true
		case isWord(word, "xx"):
			opt.xx = true
		case isWord(word, "gt"):
			opt.gt = true
		case isWord(word, "lt"):
			opt.lt = true
		default:
			c.W.Error(protocol.ErrUnsupportedOption(word))
			return opt, false
		}
	}
	switch {
	case opt.nx && (opt.xx || opt.gt || opt.lt):
		c.W.Error(protocol.ErrExpireNXAndXXGT)
		return opt, false
	case opt.gt && opt.lt:
		c.W.Error(protocol.ErrExpireGTAndLT)
		return opt, false
	}
	return opt, true
}

// allow reports whether a record with deadline current (0: none) may get deadline next.
func (o expireOptions) allow(current, next int64) bool {
	switch {
	case o.nx && current != 0, o.xx && current == 0:
		return false
	case o.gt && (current == 0 || next <= current):
		return false
	case o.lt && current != 0 && next >= current:
		return false
	}
	return true
}

// runExpire serves EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT. A deadline in the past removes the key.
func runExpire(c *Call, t engine.Txn) {
	opt, ok := c.parseExpireOptions(c.Args[3:])
	if !ok {
		return
	}
	n, ok := c.intArg(c.Args[2])
	if !ok {
		return
	}
	deadline, ok := deadlineOf(expireKind(c.Cmd.Name), n, t.Now())
	if !ok {
		c.W.Error(protocol.ErrInvalidExpire(c.Cmd.FullName()))
		return
	}
	value, found := t.Get(c.Args[1])
	if !found || !opt.allow(value.Deadline, deadline) {
		c.W.Int(0)
		return
	}
	c.expireAt(t, c.Args[1], deadline)
	c.W.Int(1)
}

func expireKind(name string) deadlineKind {
	switch name {
	case "expire":
		return deadlineSeconds
	case "pexpire":
		return deadlineMillis
	case "expireat":
		return deadlineAtSeconds
	default:
		return deadlineAtMillis
	}
}

// expireAt gives an existing key a deadline, or removes it when that has passed.
func (c *Call) expireAt(t engine.Txn, key []byte, deadline int64) {
	if deadline <= t.Now() {
		c.event("del")
		t.Delete(key)
		return
	}
	t.SetDeadline(key, deadline)
}

// runTTL serves TTL, PTTL, EXPIRETIME and PEXPIRETIME: -2 without the key, -1 without a deadline, seconds rounded.
func runTTL(c *Call, v engine.View) {
	value, found := c.lookup(v, c.Args[1])
	if !found {
		c.W.Int(-2)
		return
	}
	if value.Deadline == 0 {
		c.W.Int(-1)
		return
	}
	left := value.Deadline - v.Now()
	switch c.Cmd.Name {
	case "ttl":
		c.W.Int(roundSeconds(left))
	case "pttl":
		c.W.Int(left)
	case "expiretime":
		c.W.Int(roundSeconds(value.Deadline))
	default:
		c.W.Int(value.Deadline)
	}
}

func runPersist(c *Call, t engine.Txn) {
	value, found := t.Get(c.Args[1])
	if !found || !t.Mortal(c.Args[1], value) {
		c.W.Int(0)
		return
	}
	t.SetDeadline(c.Args[1], 0)
	c.W.Int(1)
}

// roundSeconds turns ms into the nearest second, without overflow at the end of the range.
func roundSeconds(ms int64) int64 { return ms/1000 + (ms%1000+500)/1000 }
