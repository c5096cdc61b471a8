package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

var flushCommands = []Command{
	{
		Name: "flushdb", LogID: 28, Arity: -1, Flags: FlagWrite,
		Categories: CatKeyspace | CatDangerous,
		Tips:       []string{"request_policy:all_shards", "response_policy:all_succeeded"},
		Summary:    "Empty the selected database", Since: "1.0.0", Group: "server",
		Complexity: "O(N) for N keys in the selected database",
		Syntax:     "[async=ASYNC@4.0.0|SYNC@6.2.0]",
		Write:      runFlushDB,
	},
	{
		Name: "flushall", LogID: 29, Arity: -1, Flags: FlagWrite,
		Categories: CatKeyspace | CatDangerous,
		Tips:       []string{"request_policy:all_shards", "response_policy:all_succeeded"},
		Summary:    "Empty every database", Since: "1.0.0", Group: "server",
		Complexity: "O(N) for N keys in all databases",
		Syntax:     "[async=ASYNC@4.0.0|SYNC@6.2.0]",
		Write:      runFlushAll,
	},
}

func runFlushDB(c *Call, t engine.Txn) {
	if c.flushMode(1) && !c.flushesShared(t, t.DB() == 0) {
		t.FlushDB()
		c.W.OK()
	}
}

func runFlushAll(c *Call, t engine.Txn) {
	if c.flushMode(1) && !c.flushesShared(t, true) {
		t.FlushAll()
		c.W.OK()
	}
}

// flushesShared refuses to empty database 0 where regions share keys of it: to each of them that would have to be told.
func (c *Call) flushesShared(t engine.Txn, zero bool) bool {
	if !zero || !t.HasRegions() {
		return false
	}
	c.W.Error(protocol.ErrSharedFlush)
	return true
}

// flushMode checks the optional ASYNC or SYNC at position pos. Both mean the same: keys are gone at once, and their
// memory is given back in the background.
func (c *Call) flushMode(pos int) bool {
	rest := c.Args[pos:]
	if len(rest) == 0 || len(rest) == 1 && (isWord(rest[0], "async") || isWord(rest[0], "sync")) {
		return true
	}
	c.W.Error(protocol.ErrSyntax)
	return false
}
