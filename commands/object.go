package commands

import (
	"math"

	"quipu/engine"
	"quipu/protocol"
)

var objectCommands = []Command{
	{
		Name: "object", Arity: -2,
		Summary: "How the value of a key is stored", Since: "2.2.3", Group: "generic",
		Complexity: "That of the subcommand",
		Sub: []*Command{
			{
				Name: "encoding", Arity: 3, Flags: FlagReadonly,
				Keys: keyAt(2, KeyRO), Categories: CatKeyspace,
				Tips:    []string{"nondeterministic_output"},
				Summary: "Name of the form in which a value is stored", Since: "2.2.3", Group: "generic",
				Complexity: "O(1)",
				Syntax:     "key",
				Read:       runObjectEncoding,
			},
			{
				Name: "freq", Arity: 3, Flags: FlagReadonly,
				Keys: keyAt(2, KeyRO), Categories: CatKeyspace,
				Tips:    []string{"nondeterministic_output"},
				Summary: "How often clients of this node use a key, from 0 to 255", Since: "4.0.0", Group: "generic",
				Complexity: "O(1)",
				Syntax:     "key",
				Read:       runObjectFreq,
				OfNode:     true,
			},
			{
				Name: "help", Arity: 2, Flags: FlagLoading | FlagStale,
				Categories: CatKeyspace,
				Summary:    "List the subcommands", Since: "6.2.0", Group: "generic",
				Complexity: "O(1)",
				Read:       Help,
			},
			{
				Name: "idletime", Arity: 3, Flags: FlagReadonly,
				Keys: keyAt(2, KeyRO), Categories: CatKeyspace,
				Tips:    []string{"nondeterministic_output"},
				Summary: "Seconds since a key was used (not measured)", Since: "2.2.3", Group: "generic",
				Complexity: "O(1)",
				Syntax:     "key",
				Read:       runObjectIdleTime,
			},
			{
				Name: "refcount", Arity: 3, Flags: FlagReadonly,
				Keys: keyAt(2, KeyRO), Categories: CatKeyspace,
				Tips:    []string{"nondeterministic_output"},
				Summary: "How many keys share a value", Since: "2.2.3", Group: "generic",
				Complexity: "O(1)",
				Syntax:     "key",
				Read:       runObjectRefCount,
			},
		},
	},
	{
		Name: "memory", Arity: -2,
		Summary: "What the data takes in memory", Since: "4.0.0", Group: "server",
		Complexity: "That of the subcommand",
		Sub: []*Command{
			{
				Name: "doctor", Arity: 2,
				Tips:    []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
				Summary: "Report memory problems", Since: "4.0.0", Group: "server",
				Complexity: "O(1)",
				Read:       runMemoryDoctor,
			},
			{
				Name: "help", Arity: 2, Flags: FlagLoading | FlagStale,
				Summary: "List the subcommands", Since: "4.0.0", Group: "server",
				Complexity: "O(1)",
				Read:       Help,
			},
			{
				Name: "malloc-stats", Arity: 2,
				Tips:    []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
				Summary: "Details of the allocator", Since: "4.0.0", Group: "server",
				Complexity: "O(1)",
				Read:       runMemoryMallocStats,
			},
			{
				Name: "purge", Arity: 2,
				Tips:    []string{"request_policy:all_shards", "response_policy:all_succeeded"},
				Summary: "Give unused memory back to the system", Since: "4.0.0", Group: "server",
				Complexity: "O(1)",
				Read:       runMemoryPurge,
			},
			{
				Name: "usage", Arity: -3, Flags: FlagReadonly,
				Keys:    keyAt(2, KeyRO),
				Summary: "Bytes that a key and its value take", Since: "4.0.0", Group: "server",
				Complexity: "O(1)",
				Syntax:     "key [SAMPLES count]",
				Read:       runMemoryUsage,
			},
		},
	},
}

// shortText is the longest string in bytes that Redis stores in one allocation and calls embstr.
const shortText = 44

func runObjectEncoding(c *Call, v engine.View) {
	value, found := v.Get(c.Args[2])
	switch {
	case !found:
		c.W.Null()
	case value.Kind == engine.KindInt:
		c.W.BulkString("int")
	case value.Kind == engine.KindString && len(value.Bytes) <= shortText && value.OwnTail() == nil: // PFCOUNT has no tail in Redis, it changes the string
		c.W.BulkString("embstr")
	default:
		c.W.BulkString("raw")
	}
}

// runObjectFreq answers as a Redis does whose policy is LFU, by what HOTKEYS knows: 0 for a key that is not hot. Where hot keys are not
// counted, it answers as a Redis with another policy.
func runObjectFreq(c *Call, v engine.View) {
	if _, found := v.Get(c.Args[2]); !found {
		c.W.Null()
		return
	}
	if c.Frequency != nil {
		if f := c.Frequency(v.DB(), c.Args[2]); f >= 0 {
			c.W.Int(f)
			return
		}
	}
	c.W.Error(protocol.ErrNoLFU)
}

// runObjectIdleTime answers 0 s: accesses are not recorded.
func runObjectIdleTime(c *Call, v engine.View) {
	if _, found := v.Get(c.Args[2]); !found {
		c.W.Null()
		return
	}
	c.W.Int(0)
}

// runObjectRefCount answers as Redis does, which shares one object among all values of an integer below 10,000.
func runObjectRefCount(c *Call, v engine.View) {
	value, found := v.Get(c.Args[2])
	switch {
	case !found:
		c.W.Null()
	case value.Kind == engine.KindInt && value.Int >= 0 && value.Int < 10000:
		c.W.Int(math.MaxInt32)
	default:
		c.W.Int(1)
	}
}

func runMemoryUsage(c *Call, v engine.View) {
	for i := 3; i < len(c.Args); i += 2 {
		if !isWord(c.Args[i], "samples") || i+1 == len(c.Args) {
			c.W.Error(protocol.ErrSyntax)
			return
		}
		n, ok := c.intArg(c.Args[i+1])
		if !ok {
			return
		}
		if n < 0 {
			c.W.Error(protocol.ErrSyntax)
			return
		}
	}
	size, found := v.MemoryUsage(c.Args[2])
	if !found {
		c.W.Null()
		return
	}
	c.W.Int(size)
}

func runMemoryDoctor(c *Call, _ engine.View) {
	c.W.Verbatim("txt", "No memory problem to report: the keyspace compacts itself. INFO memory has the figures.\n")
}

func runMemoryMallocStats(c *Call, _ engine.View) {
	c.W.Verbatim("txt", "The keyspace has no general allocator. INFO memory has the figures.")
}

// runMemoryPurge has nothing to do: free memory is given back to the system as it comes up.
func runMemoryPurge(c *Call, _ engine.View) { c.W.OK() }
