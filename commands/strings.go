package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

var stringCommands = []Command{
	{
		Name: "get", Arity: 2, Flags: FlagReadonly | FlagFast | FlagBulky,
		Keys: keyAt(1, KeyRO|KeyAccess), Categories: CatString,
		Summary: "Read a value", Since: "1.0.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runGet,
	},
	{
		Name: "getset", LogID: 7, Event: "set", Shared: 2, Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast | FlagBulky,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyUpdate), Categories: CatString,
		Summary: "Store a value and reply with the one before", Since: "1.0.0", Group: "string",
		Complexity: "O(1)",
		Deprecated: "6.2.0", ReplacedBy: "`SET` with the `!GET` argument",
		Syntax: "key value",
		Write:  runGetSet,
	},
	{
		Name: "getdel", LogID: 8, Event: "del", Shared: sharedAlways, Arity: 2, Flags: FlagWrite | FlagFast | FlagBulky,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyDelete), Categories: CatString,
		Summary: "Read a value and remove it", Since: "6.2.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key",
		Write:      runGetDel,
	},
	{
		Name: "getex", LogID: 9, Event: "expire", Shared: sharedAlways, Arity: -2, Flags: FlagWrite | FlagFast | FlagBulky,
		Keys: []KeySpec{{First: 1, Last: 1, Step: 1, Flags: KeyRW | KeyAccess | KeyUpdate,
			Notes: "RW and UPDATE because it changes the TTL"}}, Categories: CatString,
		Summary: "Read a value and change when it expires", Since: "6.2.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key [expiration=EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]",
		Write:      runGetEx,
		Moves:      true,
	},
	{
		Name: "mget", Arity: -2, Flags: FlagReadonly | FlagFast | FlagBulky,
		Keys: keysFrom1(1, KeyRO|KeyAccess), Categories: CatString,
		Tips:    []string{"request_policy:multi_shard"},
		Summary: "Read several values at once", Since: "1.0.0", Group: "string",
		Complexity: "O(N) for N keys to retrieve",
		Syntax:     "key [key ...]",
		Read:       runMGet,
	},
	{
		Name: "strlen", Arity: 2, Flags: FlagReadonly | FlagFast,
		Keys: keyAt(1, KeyRO), Categories: CatString,
		Summary: "Length of a value in bytes", Since: "2.2.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runStrLen,
	},
	{
		Name: "append", LogID: 10, Event: "append", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyRW|KeyInsert), Categories: CatString,
		Summary: "Add bytes to the end of a value", Since: "2.0.0", Group: "string",
		Complexity: "O(1) on average, as long as what is appended is short.",
		Syntax:     "key value",
		Write:      runAppend,
	},
	{
		Name: "getrange", Arity: 4, Flags: FlagReadonly | FlagBulky,
		Keys: keyAt(1, KeyRO|KeyAccess), Categories: CatString,
		Summary: "Read part of a value", Since: "2.4.0", Group: "string",
		Complexity: "O(N) for N bytes of the returned string",
		Syntax:     "key start end",
		Read:       runGetRange,
	},
	{
		Name: "substr", Arity: 4, Flags: FlagReadonly | FlagBulky,
		Keys: keyAt(1, KeyRO|KeyAccess), Categories: CatString,
		Summary: "Read part of a value", Since: "1.0.0", Group: "string",
		Complexity: "O(N) for N bytes of the returned string",
		Deprecated: "2.0.0", ReplacedBy: "`GETRANGE`",
		Syntax: "key start end",
		Read:   runGetRange,
	},
	{
		Name: "setrange", LogID: 11, Event: "setrange", Arity: 4, Flags: FlagWrite | FlagDenyOOM | FlagReserves,
		Keys: keyAt(1, KeyRW|KeyUpdate), Categories: CatString,
		Summary: "Write into a value from some position on", Since: "2.2.0", Group: "string",
		Complexity: "O(M) where M is the length of the value argument.",
		Syntax:     "key offset value",
		Write:      runSetRange,
	},
}

func runGet(c *Call, v engine.View) {
	value, found := c.lookup(v, c.Args[1])
	if c.isString(value, found) {
		c.bulkValue(value, found)
	}
}

func runMGet(c *Call, v engine.View) {
	start := len(c.W.B)
	c.W.Array(len(c.Args) - 1)
	for _, key := range c.Args[1:] {
		value, found := c.lookup(v, key)
		c.bulkValue(value, found && stringKind(value.Kind))
		if c.tooLarge(len(c.W.B) - start) {
			c.W.B = c.W.B[:start]
			c.W.Error(errReplyTooLarge)
			return
		}
	}
}

func runGetSet(c *Call, t engine.Txn) {
	value, found := t.Get(c.Args[1])
	if !c.isString(value, found) {
		return
	}
	c.bulkValue(value, found)
	t.Set(c.Args[1], c.Args[2], 0)
}

func runGetDel(c *Call, t engine.Txn) {
	value, found := t.Get(c.Args[1])
	if !c.isString(value, found) {
		return
	}
	c.bulkValue(value, found)
	if found {
		t.Delete(c.Args[1])
	}
}

func runGetEx(c *Call, t engine.Txn) {
	opt, ok := parseSetOptions(c.Args[2:], false)
	if !ok {
		c.W.Error(protocol.ErrSyntax)
		return
	}
	key := c.Args[1]
	value, found := t.Get(key)
	if !found {
		c.W.Null()
		return
	}
	if !c.isString(value, found) {
		return
	}
	var deadline int64
	if opt.expiry.timed() {
		if deadline, ok = c.positiveDeadline(opt.expiry, opt.amount, t.Now()); !ok {
			return
		}
	}
	c.bulkValue(value, found)
	switch {
	case opt.expiry == deadlinePersist:
		if t.Mortal(key, value) {
			c.event("persist")
			t.SetDeadline(key, 0)
		}
	case opt.expiry.timed():
		c.expireAt(t, key, deadline)
	}
}

func runStrLen(c *Call, v engine.View) {
	value, found := c.lookup(v, c.Args[1])
	if !c.isString(value, found) {
		return
	}
	c.W.Int(int64(textLen(value)))
}

func textLen(v engine.Value) int {
	if v.Kind == engine.KindInt {
		var buf [20]byte
		return len(appendInt(buf[:0], v.Int))
	}
	return len(v.Bytes)
}

func runGetRange(c *Call, v engine.View) {
	start, ok := c.intArg(c.Args[2])
	if !ok {
		return
	}
	end, ok := c.intArg(c.Args[3])
	if !ok {
		return
	}
	value, found := c.lookup(v, c.Args[1])
	if !c.isString(value, found) {
		return
	}
	var digits [20]byte
	if value.Kind == engine.KindInt {
		value.Bytes = appendInt(digits[:0], value.Int)
	}
	from, to := bounds(int64(len(value.Bytes)), start, end)
	c.bulkShown(value, from, to)
}

// bounds are the positions of a slice of n bytes from start to end, both included, negative ones counting from the end.
func bounds(n, start, end int64) (from, to int) {
	if n == 0 || start < 0 && end < 0 && start > end {
		return 0, 0
	}
	if start < 0 {
		start = max(n+start, 0)
	}
	if end < 0 {
		end = max(n+end, 0)
	}
	end = min(end, n-1)
	if start > end {
		return 0, 0
	}
	return int(start), int(end + 1)
}

func runAppend(c *Call, t engine.Txn) {
	key, tail := c.Args[1], c.Args[2]
	value, found := t.Get(key)
	if !found {
		t.Set(key, tail, 0)
		c.W.Int(int64(len(tail)))
		return
	}
	if !c.isString(value, found) {
		return
	}
	length := textLen(value)
	size, ok := c.grownSize(int64(length), len(tail))
	if !ok {
		return
	}
	content := t.Edit(key, size)
	copy(content.Bytes[length:], tail)
	t.Changed(key, content)
	c.W.Int(int64(size))
}

func runSetRange(c *Call, t engine.Txn) {
	key, patch := c.Args[1], c.Args[3]
	offset, ok := c.intArg(c.Args[2])
	if !ok {
		return
	}
	if offset < 0 {
		c.W.Error(protocol.ErrOffsetRange)
		return
	}
	value, found := t.Get(key)
	if !c.isString(value, found) {
		return
	}
	length := 0
	if found {
		length = textLen(value)
	}
	if len(patch) == 0 {
		c.W.Int(int64(length))
		return
	}
	end, ok := c.grownSize(offset, len(patch))
	if !ok {
		return
	}
	size := max(end, length)
	content := t.Edit(key, size)
	copy(content.Bytes[offset:], patch)
	t.Changed(key, content)
	c.W.Int(int64(size))
}

// grownSize is base + more, the length of a string to be built. If it is too long, it replies so and returns false.
func (c *Call) grownSize(base int64, more int) (int, bool) {
	if base > int64(c.MaxBulk)-int64(more) {
		c.W.Error(protocol.ErrStringTooLong)
		return 0, false
	}
	return int(base) + more, true
}
