package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

// There is no Lua and no cache of scripts. What asks for a script that should be in the cache gets the true answer, that
// it is not there, because clients decide by it: behind NOSCRIPT they send EVAL or SCRIPT LOAD, whose unknown command or
// subcommand ends the matter. An unknown command at once makes Redisson send the same EVALSHA again without end.
var scriptCommands = []Command{
	{
		Name: "evalsha", Arity: -3, Flags: FlagNoScript | FlagStale | FlagSkipMonitor | FlagNoMandatoryKeys,
		Keys: []KeySpec{{First: 2, Step: 1, Flags: KeyRW | KeyAccess | KeyUpdate, Counted: true}}, GetKeys: scriptKeys(KeyRW | KeyAccess | KeyUpdate),
		Categories: CatScripting,
		Summary:    "Run a script from the cache of scripts, which is always empty", Since: "2.6.0", Group: "scripting",
		Complexity: "O(1)",
		Syntax:     "sha1 numkeys:integer [key ...] [arg ...]",
		Read:       runEvalSHA,
	},
	{
		Name: "evalsha_ro", Arity: -3, Flags: FlagReadonly | FlagNoScript | FlagStale | FlagSkipMonitor | FlagNoMandatoryKeys,
		Keys: []KeySpec{{First: 2, Step: 1, Flags: KeyRO | KeyAccess, Counted: true}}, GetKeys: scriptKeys(KeyRO | KeyAccess),
		Categories: CatScripting,
		Summary:    "Run a script that only reads from the cache of scripts, which is always empty", Since: "7.0.0", Group: "scripting",
		Complexity: "O(1)",
		Syntax:     "sha1 numkeys:integer [key ...] [arg ...]",
		Read:       runEvalSHA,
	},
	{
		Name: "script", Arity: -2,
		Summary: "The cache of scripts, which is always empty", Since: "2.6.0", Group: "scripting",
		Complexity: "That of the subcommand",
		Sub: []*Command{
			{
				Name: "exists", Arity: -3, Flags: FlagNoScript,
				Categories: CatScripting,
				Tips:       []string{"request_policy:all_shards", "response_policy:agg_logical_and"},
				Summary:    "Whether scripts are in the cache", Since: "2.6.0", Group: "scripting",
				Complexity: "O(N) for N scripts",
				Syntax:     "<sha1> ...",
				Read:       runScriptExists,
			},
			{
				Name: "flush", Arity: -2, Flags: FlagNoScript,
				Categories: CatScripting,
				Tips:       []string{"request_policy:all_nodes", "response_policy:all_succeeded"},
				Summary:    "Empty the cache of scripts", Since: "2.6.0", Group: "scripting",
				Complexity: "O(1)",
				Syntax:     "[async@6.2.0=ASYNC|SYNC]",
				Read:       runScriptFlush,
			},
			{
				Name: "help", Arity: 2, Flags: FlagLoading | FlagStale,
				Categories: CatScripting,
				Summary:    "List the subcommands", Since: "5.0.0", Group: "scripting",
				Complexity: "O(1)",
				Read:       Help,
			},
			{
				Name: "kill", Arity: 2, Flags: FlagNoScript | FlagAllowBusy,
				Categories: CatScripting,
				Tips:       []string{"request_policy:all_shards", "response_policy:one_succeeded"},
				Summary:    "Kill the script in execution", Since: "2.6.0", Group: "scripting",
				Complexity: "O(1)",
				Read:       runScriptKill,
			},
		},
	},
}

// scriptKeys finds the keys of EVALSHA: the argument behind the script says how many follow. Without a valid number
// there are none.
func scriptKeys(flags KeyFlag) func(args [][]byte) ([]KeyAt, bool) {
	return func(args [][]byte) (keys []KeyAt, ok bool) {
		if len(args) < 3 {
			return nil, true
		}
		n, ok := protocol.ParseInt(args[2])
		if !ok || n < 1 || n > int64(len(args)-3) {
			return nil, true
		}
		for i := range int(n) {
			keys = append(keys, KeyAt{3 + i, flags})
		}
		return keys, true
	}
}

// sha1Digits is the length of the name of a script, in hexadecimal digits.
const sha1Digits = 40

func runEvalSHA(c *Call, _ engine.View) {
	if len(c.Args[1]) == sha1Digits {
		switch n, ok := c.intArg(c.Args[2]); {
		case !ok:
			return
		case n > int64(len(c.Args)-3):
			c.W.Error(errScriptManyKeys)
			return
		case n < 0:
			c.W.Error(errScriptNegativeKeys)
			return
		}
	}
	c.W.Error(protocol.ErrNoScript)
}

func runScriptExists(c *Call, _ engine.View) {
	c.W.Array(len(c.Args) - 2)
	for range c.Args[2:] {
		c.W.Int(0)
	}
}

func runScriptFlush(c *Call, _ engine.View) {
	if len(c.Args) > 3 || len(c.Args) == 3 && !isWord(c.Args[2], "sync") && !isWord(c.Args[2], "async") {
		c.W.Error(errScriptFlushOption)
		return
	}
	c.W.OK()
}

func runScriptKill(c *Call, _ engine.View) { c.W.Error(errNotBusy) }
