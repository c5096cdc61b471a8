package commands

import (
	"quipu/engine"
	"quipu/internal/glob"
	"quipu/protocol"
)

var introspectCommands = []Command{
	{
		Name: "command", Arity: -1, Flags: FlagLoading | FlagStale,
		Categories: CatConnection,
		Tips:       []string{"nondeterministic_output_order"},
		Summary:    "Get array of command details", Since: "2.8.13", Group: "server",
		Complexity: "O(N) for N commands",
		Sub: []*Command{
			{
				Name: "count", Arity: 2, Flags: FlagLoading | FlagStale,
				Categories: CatConnection,
				Summary:    "Get total number of commands", Since: "2.8.13", Group: "server",
				Complexity: "O(1)",
				Read:       runCommandCount,
			},
			{
				Name: "docs", Arity: -2, Flags: FlagLoading | FlagStale,
				Categories: CatConnection,
				Tips:       []string{"nondeterministic_output_order"},
				Summary:    "Get the documentation of some commands, or of all", Since: "7.0.0", Group: "server",
				Complexity: "O(N) for N commands to look up",
				Syntax:     "[command-name [command-name ...]]",
				Read:       runCommandDocs,
			},
			{
				Name: "getkeys", Arity: -4, Flags: FlagLoading | FlagStale,
				Categories: CatConnection,
				Summary:    "Extract keys given a full command", Since: "2.8.13", Group: "server",
				Complexity: "O(N) for N arguments to the command",
				Syntax:     "command [arg ...]",
				Read:       runCommandGetKeys,
			},
			{
				Name: "getkeysandflags", Arity: -4, Flags: FlagLoading | FlagStale,
				Categories: CatConnection,
				Summary:    "Extract keys and access flags given a full command", Since: "7.0.0", Group: "server",
				Complexity: "O(N) for N arguments to the command",
				Syntax:     "command [arg ...]",
				Read:       runCommandGetKeys,
			},
			{
				Name: "help", Arity: 2, Flags: FlagLoading | FlagStale,
				Categories: CatConnection,
				Summary:    "List the subcommands", Since: "5.0.0", Group: "server",
				Complexity: "O(1)",
				Read:       Help,
			},
			{
				Name: "info", Arity: -2, Flags: FlagLoading | FlagStale,
				Categories: CatConnection,
				Tips:       []string{"nondeterministic_output_order"},
				Summary:    "Get details of some commands, or of all", Since: "2.8.13", Group: "server",
				Complexity: "O(N) for N commands to look up",
				Syntax:     "[command-name [command-name ...]]",
				Read:       runCommandInfo,
			},
			{
				Name: "list", Arity: -2, Flags: FlagLoading | FlagStale,
				Categories: CatConnection,
				Tips:       []string{"nondeterministic_output_order"},
				Summary:    "Get an array of command names", Since: "7.0.0", Group: "server",
				Complexity: "O(N) for N commands",
				Syntax:     "[FILTERBY <filterby=MODULE module-name|ACLCAT category|PATTERN pattern>]",
				Read:       runCommandList,
			},
		},
		Read: runCommand,
	},
}

func runCommand(c *Call, _ engine.View) {
	top := c.Table.top
	c.W.Array(len(top))
	for _, cmd := range top {
		writeInfo(c.W, cmd)
	}
}

func runCommandCount(c *Call, _ engine.View) { c.W.Int(int64(len(c.Table.top))) }

func runCommandInfo(c *Call, v engine.View) {
	if len(c.Args) == 2 {
		runCommand(c, v)
		return
	}
	c.W.Array(len(c.Args) - 2)
	for _, name := range c.Args[2:] {
		if cmd := c.Table.LookupFull(name); cmd != nil {
			writeInfo(c.W, cmd)
		} else {
			c.W.Null()
		}
	}
}

func runCommandDocs(c *Call, _ engine.View) {
	cmds := c.Table.top
	if len(c.Args) > 2 {
		cmds = nil
		for _, name := range c.Args[2:] {
			if cmd := c.Table.LookupFull(name); cmd != nil {
				cmds = append(cmds, cmd)
			}
		}
	}
	c.W.Map(len(cmds))
	for _, cmd := range cmds {
		c.W.BulkString(cmd.full)
		c.Table.writeDocs(c.W, cmd)
	}
}

func runCommandList(c *Call, _ engine.View) {
	keep := func(*Command) bool { return true }
	switch {
	case len(c.Args) == 2:
	case len(c.Args) == 5 && isWord(c.Args[2], "filterby"):
		if keep = listFilter(c.Args[3], c.Args[4]); keep == nil {
			c.W.Error(protocol.ErrSyntax)
			return
		}
		if isWord(c.Args[3], "pattern") && len(c.Args[4]) > glob.MaxPattern {
			c.W.Error(protocol.ErrPatternTooLong)
			return
		}
	default:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	var names []string
	for _, cmd := range c.Table.all {
		if keep(cmd) {
			names = append(names, cmd.full)
		}
	}
	c.W.Array(len(names))
	for _, name := range names {
		c.W.BulkString(name)
	}
}

// listFilter is the condition of COMMAND LIST FILTERBY, nil if there is no such filter. There are no modules.
func listFilter(by, value []byte) func(*Command) bool {
	switch {
	case isWord(by, "module"):
		return func(*Command) bool { return false }
	case isWord(by, "aclcat"):
		cat := categoryByName(value)
		return func(cmd *Command) bool { return cmd.Categories&cat != 0 }
	case isWord(by, "pattern"):
		return func(cmd *Command) bool { return glob.Match(value, []byte(cmd.full), true) }
	}
	return nil
}

// runCommandGetKeys serves GETKEYS and GETKEYSANDFLAGS.
func runCommandGetKeys(c *Call, _ engine.View) {
	args := c.Args[2:]
	cmd := c.Table.Find(args)
	switch {
	case cmd == nil:
		c.W.Error(protocol.ErrCommandInvalid)
		return
	case !cmd.HasKeys() || len(cmd.Keys) > 0 && cmd.Keys[0].Flags&KeyNotKey != 0: // channels are no keys
		c.W.Error(protocol.ErrCommandNoKeys)
		return
	case !cmd.ArityOK(len(args)):
		c.W.Error(protocol.ErrCommandArity)
		return
	}
	n := 0
	valid := cmd.EachKeyFlags(args, func([]byte, KeyFlag) { n++ })
	if !valid || n == 0 && cmd.Flags&FlagNoMandatoryKeys == 0 {
		c.W.Error(protocol.ErrCommandArguments)
		return
	}
	c.W.Array(n)
	cmd.EachKeyFlags(args, func(key []byte, flags KeyFlag) {
		if c.Cmd.Name == "getkeysandflags" {
			c.W.Array(2)
			c.W.Bulk(key)
			writeNames(c.W, uint32(flags&^KeyVariable), keyFlagNames)
			return
		}
		c.W.Bulk(key)
	})
}

// Help serves the HELP subcommand of every container: its text derives from the other subcommands.
func Help(c *Call, _ engine.View) {
	parent := c.Cmd.Parent
	lines := []string{upper(parent.Name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
	for _, sub := range parent.Sub {
		if sub.Name == "help" {
			continue
		}
		line := upper(sub.Name)
		if usage := c.Table.Usage(sub); usage != "" {
			line += " " + usage
		}
		lines = append(lines, line, "    "+sub.Summary+".")
	}
	lines = append(lines, "HELP", "    Prints this help.")
	c.W.Array(len(lines))
	for _, line := range lines {
		c.W.Simple(line)
	}
}
