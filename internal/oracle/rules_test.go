package oracle

import (
	"slices"
	"strings"
	"sync/atomic"

	"quipu/internal/redistest"
)

// rule is one difference on purpose: what is checked of a command's replies where they are not the same bytes. It may
// let pass only what its topic in docs/compatibility.md says.
type rule struct {
	name     string
	topic    string   // the first column of the table "Different on purpose", or why no row is needed
	commands []string // "scan", "client|list"; "*" means all
	same     func(x *compared) bool
	rare     bool // a million commands may do without it
	used     *atomic.Int64
}

// compared is one command whose replies differ.
type compared struct {
	args    []string
	text    [2]string
	replies [2]redistest.Reply
	inExec  bool
	alone   bool // nothing else was sent with it, so that the servers can be asked again
	moved   bool // the clock has moved since there were no keys
	p       *player
	c       *client
}

// rules is the list with the number of uses of each.
type rules []rule

// same reports whether both sides have answered as they should.
func (rs *rules) same(p *player, x *exchange, alone bool) bool {
	if x.replies[redis] == x.replies[quipu] || p.parted {
		return true
	}
	if x.args == nil || x.replies[quipu] == "" || x.replies[redis] == "" {
		return false
	}
	var c compared
	for side, text := range x.replies {
		r, rest, err := redistest.ParseReply([]byte(text))
		if err != nil || len(rest) > 0 {
			return false
		}
		c.replies[side] = r
	}
	c.args, c.text, c.alone, c.moved, c.p, c.c = x.args, x.replies, alone && !p.clients[x.conn].multi, p.moved, p, p.clients[x.conn]
	if word(x.args, 0) == "exec" {
		return rs.sameElements(&c, x.queue)
	}
	return rs.sameCommand(&c, x.written)
}

// sameElements compares the replies of EXEC one by one.
func (rs *rules) sameElements(c *compared, queue [][]string) bool {
	a, b := c.replies[redis], c.replies[quipu]
	if a.Type != b.Type || len(a.Elems) != len(b.Elems) || len(a.Elems) != len(queue) {
		return false
	}
	for i := range a.Elems {
		e := *c
		e.args, e.inExec, e.alone = c.p.resolveAll(queue[i], quipu), true, false
		e.replies = [2]redistest.Reply{a.Elems[i], b.Elems[i]}
		for side, r := range e.replies {
			e.text[side] = string(r.Encode(nil))
		}
		if e.text[redis] != e.text[quipu] && !c.p.parted && !rs.sameCommand(&e, queue[i]) {
			return false
		}
	}
	return true
}

// sameCommand finds a rule for a command that was written, before its symbols were replaced, as in written.
func (rs *rules) sameCommand(c *compared, written []string) bool {
	theirs := c.text[redis]
	for i, arg := range written {
		if strings.HasPrefix(arg, symbol) && isError(theirs) { // an error that shows the argument
			theirs = strings.ReplaceAll(theirs, c.p.resolve(arg, redis), c.args[i])
		}
	}
	if theirs == c.text[quipu] {
		return true
	}
	name := word(c.args, 0)
	full := name + "|" + word(c.args, 1)
	for _, r := range *rs {
		if (slices.Contains(r.commands, name) || slices.Contains(r.commands, full) || r.commands[0] == "*") && r.same(c) {
			r.used.Add(1)
			return true
		}
	}
	return false
}

// unused lists the rules that no reply has needed.
func (rs *rules) unused() (names []string) {
	for _, r := range *rs {
		if r.used.Load() == 0 && !r.rare {
			names = append(names, r.name)
		}
	}
	return names
}

func newRules() *rules {
	rs := rules{
		{name: "order of KEYS", topic: "`SCAN` cursors, `RANDOMKEY`, `KEYS` order, memory figures", commands: []string{"keys"}, same: sameSet},
		{name: "order of channels", topic: "own: each server's hash tables have an order of their own", commands: []string{"pubsub|channels", "pubsub|shardchannels"}, same: sameSet, rare: true},
		{name: "one call of SCAN", topic: "`SCAN` cursors, `RANDOMKEY`, `KEYS` order, memory figures", commands: []string{"scan"}, same: sameScan},
		{name: "long patterns", topic: "`SCAN COUNT`", commands: []string{"keys", "scan", "command|list"}, same: longPattern, rare: true},
		{name: "RANDOMKEY", topic: "`SCAN` cursors, `RANDOMKEY`, `KEYS` order, memory figures", commands: []string{"randomkey"}, same: sameRandomKey},
		{name: "memory figures", topic: "`SCAN` cursors, `RANDOMKEY`, `KEYS` order, memory figures",
			commands: []string{"memory|usage", "memory|doctor", "memory|malloc-stats"}, same: sameMemory},
		{name: "memory statistics", topic: "`SCAN` cursors, `RANDOMKEY`, `KEYS` order, memory figures", commands: []string{"memory|stats"}, same: sameType},
		{name: "dead keys are counted until they are removed", topic: "`SET`, `GETEX`, `INCREX` with a deadline in the past", commands: []string{"dbsize"}, same: sameDBSize},
		{name: "INFO", topic: "`INFO`, `CLIENT LIST` within `MULTI`", commands: []string{"info"}, same: sameInfo},
		{name: "HELLO", topic: "`redis_version`", commands: []string{"hello"}, same: sameHello},
		{name: "CLIENT ID", topic: "own: connections are numbered by each server", commands: []string{"client|id"}, same: sameClientID},
		{name: "long names", topic: "A name that a client gives itself (`CLIENT SETNAME`, `SETINFO`)", commands: []string{"client|setname", "hello"}, same: longName, rare: true},
		{name: "CLIENT LIST", topic: "`CLIENT LIST` `fd=`, buffer details", commands: []string{"client|list", "client|info"}, same: sameClientList},
		{name: "OBJECT figures", topic: "`OBJECT IDLETIME`, `OBJECT REFCOUNT`", commands: []string{"object|idletime", "object|refcount"}, same: bothIntegers},
		{name: "OBJECT FREQ", topic: "`OBJECT FREQ`", commands: []string{"object|freq"}, same: sameFrequency},
		{name: "HELP", topic: "`HELP` texts, order of subcommands in `COMMAND`", same: sameHelp,
			commands: []string{"client|help", "config|help", "command|help", "object|help", "memory|help", "function|help", "script|help", "acl|help", "slowlog|help", "latency|help", "pubsub|help"}},
		{name: "times of commands", topic: "`cmdstat_…`, `latencystats` in `INFO`, `SLOWLOG`, `LATENCY`", same: sameType,
			commands: []string{"slowlog|get", "slowlog|len", "latency|doctor", "latency|histogram"}},
		{name: "COMMAND of all commands", topic: "Lua, lists, sets, sorted sets, streams, geo", commands: []string{"command"}, same: sameCommandList},
		{name: "ACL CAT", topic: "Lua, lists, sets, sorted sets, streams, geo", commands: []string{"acl|cat"}, same: sameCategory, rare: true},
		{name: "COMMAND INFO", topic: "`HELP` texts, order of subcommands in `COMMAND`", commands: []string{"command|info"}, same: sameUnordered},
		{name: "COMMAND DOCS", topic: "`HELP` texts, order of subcommands in `COMMAND`", commands: []string{"command|docs"}, same: sameDocs},
		{name: "time of the machine", topic: "own: TIME and LASTSAVE are not moved by the test in Quipu", commands: []string{"time", "lastsave"}, same: sameShape},
		{name: "snapshots in the background", topic: "own: whether a snapshot is being written depends on the disk", commands: []string{"save", "bgsave", "bgrewriteaof"}, same: sameSave},
		{name: "CONFIG GET", topic: "own: each server has settings of its own", commands: []string{"config|get"}, same: sameConfig},
		{name: "FUNCTION STATS", topic: "`FUNCTION LOAD`, `DUMP`, `RESTORE`; engines in `FUNCTION STATS`", commands: []string{"function|stats"}, same: sameFunctionStats},
		{name: "ROLE", topic: "own: the offset counts other things", commands: []string{"role"}, same: sameRole},
		{name: "random passwords", topic: "own: ACL GENPASS replies with something else each time", commands: []string{"acl|genpass"}, same: sameLength},
		{name: "cached count", topic: countTopic, same: sameButCount, rare: true,
			commands: []string{"get", "getset", "getdel", "getex", "set", "mget", "getrange", "substr", "pfcount"}},
		{name: "half an opcode", topic: "A sparse HyperLogLog whose last byte is the first half of an opcode",
			commands: []string{"pfadd"}, same: halfOpcode, rare: true},
		{name: "commands that Quipu lacks", topic: "Lua, lists, sets, sorted sets, streams, geo", commands: []string{"*"}, same: lacking},
	}
	for i := range rs {
		rs[i].used = &atomic.Int64{}
	}
	return &rs
}

func (c *compared) types() (a, b byte) { return c.replies[redis].Type, c.replies[quipu].Type }

func isError(text string) bool { return strings.HasPrefix(text, "-") }

// sameType: both succeed with the same kind of reply, or both find nothing.
func sameType(c *compared) bool {
	a, b := c.types()
	return a == b && a != '-' && c.replies[redis].IsNull() == c.replies[quipu].IsNull()
}

// sameMemory: MEMORY USAGE of Redis also finds keys that are dead and not yet removed.
func sameMemory(c *compared) bool {
	a, b := c.types()
	return sameType(c) || a == ':' && c.replies[quipu].IsNull() && b != '-' && (c.deadKeys() || c.p.setup.local)
}

// deadKeys reports whether there can be keys that are dead and not yet removed.
func (c *compared) deadKeys() bool { return c.moved || c.p.pastDeadlines() }

// sameLength: both succeed with as many bytes.
func sameLength(c *compared) bool {
	return sameType(c) && len(c.text[redis]) == len(c.text[quipu])
}

func bothIntegers(c *compared) bool {
	a, b := c.types()
	return a == ':' && b == ':'
}

// sameFrequency: Redis has the error of another policy than LFU where we have a number.
func sameFrequency(c *compared) bool {
	a, b := c.types()
	return a == '-' && b == ':' && strings.HasPrefix(c.replies[redis].Text, "ERR An LFU maxmemory policy is not selected")
}

// sameShape: the same types and lengths all the way down.
func sameShape(c *compared) bool {
	var equal func(a, b redistest.Reply) bool
	equal = func(a, b redistest.Reply) bool {
		return a.Type == b.Type && a.IsNull() == b.IsNull() && slices.EqualFunc(a.Elems, b.Elems, equal)
	}
	return c.replies[redis].Type != '-' && equal(c.replies[redis], c.replies[quipu])
}

// elements are those of an array, sorted, each once.
func elements(r redistest.Reply) []string {
	var list []string
	for _, e := range r.Elems {
		list = append(list, string(e.Encode(nil)))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// longPattern: Quipu refuses patterns of more than 1 KiB.
func longPattern(c *compared) bool {
	return c.text[quipu] == "-ERR glob pattern is too long (the limit is 1024 bytes)\r\n" && !isError(c.text[redis]) &&
		slices.ContainsFunc(c.args, func(arg string) bool { return len(arg) > 1024 })
}

// longName: Quipu refuses names of more than 256 bytes, and all that stands in the same command.
func longName(c *compared) bool {
	c.p.parted = strings.HasPrefix(c.text[quipu], "-ERR a client's name, its library's and that one's version have at most 256 bytes") &&
		slices.ContainsFunc(c.args, func(arg string) bool { return len(arg) > 256 })
	return c.p.parted
}

func sameSet(c *compared) bool {
	return sameType(c) && len(c.replies[redis].Elems) == len(c.replies[quipu].Elems) &&
		slices.Equal(elements(c.replies[redis]), elements(c.replies[quipu]))
}

// sameScan: a call that begins and ends an iteration on both sides has found the same; others have only a shape.
func sameScan(c *compared) bool {
	a, b := c.replies[redis], c.replies[quipu]
	if a.Type != '*' || b.Type != '*' || len(a.Elems) != 2 || len(b.Elems) != 2 ||
		a.Elems[0].Type != b.Elems[0].Type || a.Elems[1].Type != b.Elems[1].Type {
		return false
	}
	if strings.Trim(word(c.args, 1), "0") != "" || a.Elems[0].Text != "0" || b.Elems[0].Text != "0" {
		return true
	}
	return slices.Equal(elements(a.Elems[1]), elements(b.Elems[1]))
}

// sameRandomKey: both find a key, and Quipu's exists on both sides, or both find none.
func sameRandomKey(c *compared) bool {
	key := c.replies[quipu]
	if !sameType(c) || key.IsNull() {
		return false
	}
	if !c.alone {
		return true
	}
	for side := range c.c.conns {
		if r, err := c.c.do(side, "EXISTS", key.Text); err != nil || r.Text != "1" {
			return false
		}
	}
	return true
}

// sameDBSize: with dead keys about, the figures become the same once they are removed.
func sameDBSize(c *compared) bool {
	if !bothIntegers(c) {
		return false
	}
	if !c.deadKeys() {
		return false
	}
	if !c.alone {
		return true
	}
	if _, err := c.c.do(redis, "SCAN", "0", "COUNT", "10000"); err != nil { // looks at all keys, which removes the dead
		return false
	}
	living, err := c.c.do(redis, "DBSIZE")
	return err == nil && soon(func() bool {
		have, err := c.c.do(quipu, "DBSIZE")
		return err == nil && string(have.Encode(nil)) == string(living.Encode(nil))
	})
}

// outOfReach are the rows of the table that no sequence can run into, with the reason.
var outOfReach = map[string]string{
	"`maxmemory` and pipelines":        "no setup has a limit",
	"A write's reply":                  "is about the disk",
	"A write's reply at level `local`": "no sequence kills the node",
	"`maxmemory-policy`":               "the oracle does not fill the memory",
	"One argument":                     "larger than what sequences send",
	"`maxmemory-clients`":              "sequences leave nothing unread",
	"`PFCOUNT` of more than 800 keys":  "more keys than sequences make",
	"A key":                            "larger than what sequences send",
	"A command or transaction":         "larger than what sequences send",
	"Arguments of a command (`MSET`, `DEL` of many keys)": "more than sequences send",
	"A reply longer than 32 MiB (`MGET`, `KEYS`)":         "larger than what sequences make",
	"`KEYS`":                         "more keys than sequences make",
	"`ACL`":                          "TestUsersAgainstRedis has users; what differs in them it does not do",
	"`+command\\|argument` in `ACL`": "TestUsersAgainstRedis leaves arguments with a zero byte out",
	"`CONFIG REWRITE`":               "both run without a file",
	"`WATCH`":                        "takes a write that is under way, and steps end when both servers are at rest",
	"`CLIENT REPLY OFF`, `SKIP` within `MULTI`":             "Redis leaves a reply unfinished",
	"`CLIENT KILL` of oneself within `MULTI` or unheard":    "Redis leaves a reply unfinished, or the connection open",
	"Replies that wait for a client without authentication": "steps with RESET hold nothing else where there is a password",
	"`QUIT` after `CLIENT REPLY OFF`":                       "Redis does not end the connection",
	"`CLIENT PAUSE` of all commands":                        "Redis would have to be waited for",
	"`SELECT`, `HELLO` within `MULTI`":                      "takes a key that expires while EXEC is under way",
	"A key in the very millisecond of its deadline":         "the clock is never set to a deadline",
	"`-UNKNOWN`": "takes a failing disk",
}
