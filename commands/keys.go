package commands

import (
	"bytes"
	"math"

	"quipu/engine"
	"quipu/protocol"
)

var keyCommands = []Command{
	{
		Name: "del", LogID: 23, Event: "del", Shared: sharedAlways, Arity: -2, Flags: FlagWrite,
		Keys: keysFrom1(1, KeyRM|KeyDelete), Categories: CatKeyspace,
		Tips:    []string{"request_policy:multi_shard", "response_policy:agg_sum"},
		Summary: "Remove keys", Since: "1.0.0", Group: "generic",
		Complexity: "O(N) for N keys to remove",
		Syntax:     "key [key ...]",
		Write:      runDel,
	},
	{
		Name: "unlink", LogID: 24, Event: "del", Shared: sharedAlways, Arity: -2, Flags: FlagWrite | FlagFast,
		Keys: keysFrom1(1, KeyRM|KeyDelete), Categories: CatKeyspace,
		Tips:    []string{"request_policy:multi_shard", "response_policy:agg_sum"},
		Summary: "Delete a key; the same as DEL", Since: "4.0.0", Group: "generic",
		Complexity: "O(N) for N keys to remove",
		Syntax:     "key [key ...]",
		Write:      runDel,
	},
	{
		Name: "exists", Arity: -2, Flags: FlagReadonly | FlagFast,
		Keys: keysFrom1(1, KeyRO), Categories: CatKeyspace,
		Tips:    []string{"request_policy:multi_shard", "response_policy:agg_sum"},
		Summary: "Count which of the given keys are there", Since: "1.0.0", Group: "generic",
		Complexity: "O(N) for N keys to check",
		Syntax:     "key [key ...]",
		Read:       runExists,
	},
	{
		Name: "type", Arity: 2, Flags: FlagReadonly | FlagFast,
		Keys: keyAt(1, KeyRO), Categories: CatKeyspace,
		Summary: "Name of the data type of a value", Since: "1.0.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runType,
	},
	{
		Name: "touch", Arity: -2, Flags: FlagReadonly | FlagFast,
		Keys: keysFrom1(1, KeyRO), Categories: CatKeyspace,
		Tips:    []string{"request_policy:multi_shard", "response_policy:agg_sum"},
		Summary: "Count how many of the keys exist", Since: "3.2.1", Group: "generic",
		Complexity: "O(N) for N keys to touch",
		Syntax:     "key [key ...]",
		Read:       runExists,
	},
	{
		Name: "rename", LogID: 25, Event: "rename_to", Arity: 3, Flags: FlagWrite,
		Keys: []KeySpec{{First: 1, Last: 1, Step: 1, Flags: KeyRW | KeyAccess | KeyDelete}, {First: 2, Last: 2, Step: 1, Flags: KeyOW | KeyUpdate}}, Categories: CatKeyspace,
		Summary: "Give a key another name", Since: "1.0.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key newkey:key",
		Write:      runRename,
		Moves:      true,
	},
	{
		Name: "renamenx", LogID: 26, Event: "rename_to", Arity: 3, Flags: FlagWrite | FlagFast,
		Keys: []KeySpec{{First: 1, Last: 1, Step: 1, Flags: KeyRW | KeyAccess | KeyDelete}, {First: 2, Last: 2, Step: 1, Flags: KeyOW | KeyInsert}}, Categories: CatKeyspace,
		Summary: "Give a key another name that is not taken yet", Since: "1.0.0", Group: "generic",
		Complexity: "O(1)",
		Syntax:     "key newkey:key",
		Write:      runRename,
		Moves:      true,
	},
	{
		Name: "copy", LogID: 27, Event: "copy_to", Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagReserves,
		Keys: []KeySpec{{First: 1, Last: 1, Step: 1, Flags: KeyRO | KeyAccess}, {First: 2, Last: 2, Step: 1, Flags: KeyOW | KeyUpdate}}, Categories: CatKeyspace,
		Summary: "Duplicate a value under another key or in another database", Since: "6.2.0", Group: "generic",
		Complexity: "O(N) for N bytes of the value",
		Syntax:     "source:key destination:key [DB destination-db:integer] [REPLACE]",
		Write:      runCopy,
		Moves:      true,
	},
	{
		Name: "move", LogID: 30, Event: "move_to", Arity: 3, Flags: FlagWrite | FlagFast,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyUpdate), Categories: CatKeyspace,
		Summary: "Move a key and its expiration to another database", Since: "1.0.0", Group: "generic",
		Complexity: "O(N) for N bytes of the value",
		Syntax:     "key db:integer",
		Write:      runMove,
		Moves:      true,
	},
	{
		Name: "randomkey", Arity: 1, Flags: FlagReadonly,
		Categories: CatKeyspace,
		Tips:       []string{"request_policy:all_shards", "nondeterministic_output"},
		Summary:    "Name of some key, chosen at random", Since: "1.0.0", Group: "generic",
		Complexity: "O(1)",
		Read:       runRandomKey,
	},
	{
		Name: "dbsize", Arity: 1, Flags: FlagReadonly | FlagFast,
		Categories: CatKeyspace,
		Tips:       []string{"request_policy:all_shards", "response_policy:agg_sum"},
		Summary:    "How many keys the selected database has", Since: "1.0.0", Group: "server",
		Complexity: "O(1)",
		Read:       runDBSize,
	},
}

// runDel serves DEL and UNLINK: memory is given back in the background either way.
func runDel(c *Call, t engine.Txn) {
	var n int64
	for _, key := range c.Args[1:] {
		if t.Delete(key) {
			n++
		}
	}
	c.W.Int(n)
}

// runExists serves EXISTS and TOUCH; a key named twice counts twice.
func runExists(c *Call, v engine.View) {
	var n int64
	for _, key := range c.Args[1:] {
		if _, found := c.lookup(v, key); found {
			n++
		}
	}
	c.W.Int(n)
}

func runType(c *Call, v engine.View) {
	value, found := c.lookup(v, c.Args[1])
	c.W.Simple(typeName(value, found))
}

// typeName is the type as TYPE and SCAN TYPE call it.
func typeName(v engine.Value, found bool) string {
	if !found {
		return "none"
	}
	switch v.Kind {
	case engine.KindUC:
		return "uc"
	case engine.KindCMS:
		return "CMSk-TYPE"
	case engine.KindTopK:
		return "TopK-TYPE"
	}
	return "string"
}

// runRename serves RENAME and RENAMENX.
func runRename(c *Call, t engine.Txn) {
	from, to := c.Args[1], c.Args[2]
	onlyNew := c.Cmd.Name == "renamenx"
	if _, found := t.Get(from); !found {
		c.W.Error(protocol.ErrNoSuchKey)
		return
	}
	done := true
	if bytes.Equal(from, to) {
		done = false
	} else if _, taken := t.Get(to); onlyNew && taken {
		done = false
	}
	if done {
		t.MoveTo(t, from, to, "rename_from", c.Cmd.Event)
	}
	switch {
	case !onlyNew:
		c.W.OK()
	case done:
		c.W.Int(1)
	default:
		c.W.Int(0)
	}
}

func runCopy(c *Call, t engine.Txn) {
	from, to := c.Args[1], c.Args[2]
	db, replace := t.DB(), false
	for i := 3; i < len(c.Args); i++ {
		switch {
		case isWord(c.Args[i], "replace"):
			replace = true
		case isWord(c.Args[i], "db") && i+1 < len(c.Args):
			i++
			var ok bool
			if db, ok = c.databaseArg(c.Args[i]); !ok {
				return
			}
		default:
			c.W.Error(protocol.ErrSyntax)
			return
		}
	}
	if db == t.DB() && bytes.Equal(from, to) {
		c.W.Error(protocol.ErrSameObject)
		return
	}
	target := t.WithDB(db)
	_, found := t.Get(from)
	_, taken := target.Get(to)
	if !found || taken && !replace {
		c.W.Int(0)
		return
	}
	t.CopyTo(target, from, to)
	if value, _ := t.Get(from); value.Kind == engine.KindString && value.OwnTail() != nil {
		keepRaw(target.View, to, value)
	}
	c.W.Int(1)
}

func runMove(c *Call, t engine.Txn) {
	key := c.Args[1]
	db, ok := c.databaseArg(c.Args[2])
	switch {
	case !ok:
		return
	case db == t.DB():
		c.W.Error(protocol.ErrSameObject)
		return
	}
	target := t.WithDB(db)
	_, found := t.Get(key)
	_, taken := target.Get(key)
	if !found || taken {
		c.W.Int(0)
		return
	}
	t.MoveTo(target, key, key, "move_from", c.Cmd.Event)
	c.W.Int(1)
}

// databaseArg reads the number of a database, or replies with an error and returns false.
func (c *Call) databaseArg(arg []byte) (int, bool) {
	n, ok := c.intArg(arg)
	switch {
	case !ok:
		return 0, false
	case n < math.MinInt32 || n > math.MaxInt32:
		c.W.Error(protocol.ErrOutOfRangeBetween(math.MinInt32, math.MaxInt32))
		return 0, false
	case n < 0 || n >= int64(c.Databases):
		c.W.Error(protocol.ErrDBIndex)
		return 0, false
	}
	return int(n), true
}

func runRandomKey(c *Call, v engine.View) {
	key, ok := v.RandomKey(c.Random)
	if !ok {
		c.W.Null()
		return
	}
	c.W.Bulk(key)
}

func runDBSize(c *Call, v engine.View) { c.W.Int(v.Len()) }
