package commands

import (
	"math"
	"math/big"

	"quipu/engine"
	"quipu/protocol"
)

var counterCommands = []Command{
	{
		Name: "incr", LogID: 1, Event: "incrby", Shared: sharedAlways, Arity: 2, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyUpdate), Categories: CatString,
		Summary: "Count up by one", Since: "1.0.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key",
		Write:      runIncr, Delta: deltaIncr,
	},
	{
		Name: "incrby", LogID: 2, Event: "incrby", Shared: sharedAlways, Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyUpdate), Categories: CatString,
		Summary: "Add a whole number to a counter", Since: "1.0.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key increment",
		Write:      runIncr, Delta: deltaIncrBy,
	},
	{
		Name: "decr", LogID: 3, Event: "incrby", Shared: sharedAlways, Arity: 2, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyUpdate), Categories: CatString,
		Summary: "Count down by one", Since: "1.0.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key",
		Write:      runIncr, Delta: deltaDecr,
	},
	{
		Name: "decrby", LogID: 4, Event: "incrby", Shared: sharedAlways, Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyUpdate), Categories: CatString,
		Summary: "Subtract a whole number from a counter", Since: "1.0.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key decrement",
		Write:      runIncr, Delta: deltaDecrBy,
	},
	{
		Name: "incrbyfloat", LogID: 5, Event: "incrbyfloat", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyUpdate), Categories: CatString,
		Summary: "Add a fraction to a number", Since: "2.6.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key increment:double",
		Write:      runIncrByFloat,
	},
}

func deltaIncr([][]byte) (int64, bool) { return 1, true }

func deltaDecr([][]byte) (int64, bool) { return -1, true }

func deltaIncrBy(args [][]byte) (int64, bool) { return protocol.ParseInt(args[2]) }

func deltaDecrBy(args [][]byte) (int64, bool) {
	n, ok := protocol.ParseInt(args[2])
	return -n, ok && n != math.MinInt64
}

// runIncr serves all four integer commands: they differ in their Delta alone.
func runIncr(c *Call, t engine.Txn) {
	delta, ok := c.Cmd.Delta(c.Args)
	if !ok {
		c.W.Error(WrongDelta(c.Args))
		return
	}
	n, err := t.Add(c.Args[1], delta)
	if err != nil {
		c.engineError(err)
		return
	}
	c.W.Int(n)
}

// WrongDelta is the text for arguments that Delta refuses.
func WrongDelta(args [][]byte) string {
	if _, number := protocol.ParseInt(args[2]); number {
		return protocol.ErrDecrOverflow
	}
	return protocol.ErrNotInteger
}

func runIncrByFloat(c *Call, t engine.Txn) {
	v, found := t.Get(c.Args[1])
	if !c.isString(v, found) {
		return
	}
	current, ok := floatOf(v, found)
	if !ok {
		c.W.Error(protocol.ErrNotFloat)
		return
	}
	delta, ok := parseFloat(c.Args[2])
	if !ok {
		c.W.Error(protocol.ErrNotFloat)
		return
	}
	sum, ok := addFloats(current, delta)
	if !ok {
		c.W.Error(protocol.ErrNotFinite)
		return
	}
	result := formatFloat(sum)
	t.SetBytes(c.Args[1], result, engine.KindString, v.Deadline)
	c.W.Bulk(result)
}

// floatOf is a string value as a float, 0 where there is none.
func floatOf(v engine.Value, found bool) (*big.Float, bool) {
	switch {
	case !found:
		return new(big.Float).SetPrec(floatBits), true
	case v.Kind == engine.KindInt:
		return new(big.Float).SetPrec(floatBits).SetInt64(v.Int), true
	default:
		return parseFloat(v.Bytes)
	}
}
