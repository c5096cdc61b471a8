package commands

import (
	"bytes"

	"quipu/engine"
	"quipu/protocol"
)

// FUNCTION exists so that tools which empty a server or look around on it go on: there are no functions. Those that
// Redis calls writes are flagged so for clients and ACL rules, but are reads: there is nothing to change.
var functionCommands = []Command{
	{
		Name: "function", Arity: -2,
		Summary: "Functions, of which there are none", Since: "7.0.0", Group: "scripting",
		Complexity: "That of the subcommand",
		Sub: []*Command{
			{
				Name: "delete", Arity: 3, Flags: FlagNoScript | FlagWrite,
				Categories: CatScripting,
				Tips:       []string{"request_policy:all_shards", "response_policy:all_succeeded"},
				Summary:    "Remove a library of functions", Since: "7.0.0", Group: "scripting",
				Complexity: "O(1)",
				Syntax:     "library-name",
				Read:       runFunctionDelete,
			},
			{
				Name: "flush", Arity: -2, Flags: FlagNoScript | FlagWrite,
				Categories: CatScripting,
				Tips:       []string{"request_policy:all_shards", "response_policy:all_succeeded"},
				Summary:    "Remove all functions", Since: "7.0.0", Group: "scripting",
				Complexity: "O(N) for N functions deleted",
				Syntax:     "[async=ASYNC|SYNC]",
				Read:       runFunctionFlush,
			},
			{
				Name: "help", Arity: 2, Flags: FlagLoading | FlagStale,
				Categories: CatScripting,
				Summary:    "List the subcommands", Since: "7.0.0", Group: "scripting",
				Complexity: "O(1)",
				Read:       Help,
			},
			{
				Name: "kill", Arity: 2, Flags: FlagNoScript | FlagAllowBusy,
				Categories: CatScripting,
				Tips:       []string{"request_policy:all_shards", "response_policy:one_succeeded"},
				Summary:    "Kill the function in execution", Since: "7.0.0", Group: "scripting",
				Complexity: "O(1)",
				Read:       runFunctionKill,
			},
			{
				Name: "list", Arity: -2, Flags: FlagNoScript,
				Categories: CatScripting,
				Tips:       []string{"nondeterministic_output_order"},
				Summary:    "Libraries of functions", Since: "7.0.0", Group: "scripting",
				Complexity: "O(N) for N functions",
				Syntax:     "[LIBRARYNAME library-name-pattern] [WITHCODE]",
				Read:       runFunctionList,
			},
			{
				Name: "stats", Arity: 2, Flags: FlagNoScript | FlagAllowBusy,
				Categories: CatScripting,
				Tips:       []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
				Summary:    "Show the function in execution and the engines", Since: "7.0.0", Group: "scripting",
				Complexity: "O(1)",
				Read:       runFunctionStats,
			},
		},
	},
}

func runFunctionDelete(c *Call, _ engine.View) { c.W.Error(errNoLibrary) }

func runFunctionKill(c *Call, _ engine.View) { c.W.Error(errNotBusy) }

func runFunctionFlush(c *Call, _ engine.View) {
	switch {
	case len(c.Args) > 3:
		c.W.Error(protocol.ErrSubcommandSyntax(c.Args[1], c.Cmd.Parent.Name))
	case len(c.Args) == 3 && !isWord(c.Args[2], "sync") && !isWord(c.Args[2], "async"):
		c.W.Error(protocol.ErrFunctionFlushOption)
	default:
		c.W.OK()
	}
}

func runFunctionList(c *Call, _ engine.View) {
	named, withCode := false, false
	for i := 2; i < len(c.Args); i++ {
		switch word := c.Args[i]; {
		case !withCode && isWord(word, "withcode"):
			withCode = true
		case !named && isWord(word, "libraryname"):
			if i++; i == len(c.Args) {
				c.W.Error(errLibraryName)
				return
			}
			named = true
		default:
			word, _, _ = bytes.Cut(word, []byte{0})
			c.W.Error(errUnknownArgument + string(word))
			return
		}
	}
	c.W.Array(0)
}

func runFunctionStats(c *Call, _ engine.View) {
	c.W.Map(2)
	c.W.BulkString("running_script")
	c.W.Null()
	c.W.BulkString("engines")
	c.W.Map(0)
}
