// Package commands holds what each command does: one entry with all its facts beside its handler, one file per family.
// Everything else about a command (arity and access checks, key positions for locking and routing, COMMAND output,
// metric labels, documentation) derives from the entry.
//
// A handler sees one database of the keyspace: a read through an engine.View, a write through an engine.Txn. It knows no
// sockets, no log and no clock of its own, so that a write does the same on every node that executes the log.
package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

// Flag is a set of properties of a command. Those below FlagSlow are reported under Redis's names by COMMAND INFO.
type Flag uint32

// The flags that Redis knows, in the order in which COMMAND INFO lists them, then our own.
const (
	FlagWrite Flag = 1 << iota
	FlagReadonly
	FlagDenyOOM
	FlagModule
	FlagAdmin
	FlagPubSub
	FlagNoScript
	FlagBlocking
	FlagLoading
	FlagStale
	FlagSkipMonitor
	FlagSkipSlowlog
	FlagAsking
	FlagFast
	FlagNoAuth
	FlagMayReplicate
	FlagNoMandatoryKeys
	FlagProtected
	FlagNoAsyncLoading
	FlagNoMulti
	FlagMovableKeys
	FlagAllowBusy

	// FlagSlow marks a command that may run long over the whole keyspace: the server runs it off the event loop.
	FlagSlow
	// FlagBulky marks a command whose reply may be as large as the values it reads, for output accounting before it runs.
	FlagBulky
	// FlagReserves marks a command that may take far more memory than it has bytes.
	FlagReserves
	// FlagAllKeys marks a command that gives out values of keys of any name: its user must be allowed to read all keys.
	FlagAllKeys
)

// Category is a set of ACL categories.
type Category uint32

// The ACL categories in Redis's order. CatRead, CatWrite, CatAdmin, CatDangerous, CatPubSub, CatFast, CatSlow and
// CatBlocking follow from the flags: an entry names only what its flags do not say.
const (
	CatKeyspace Category = 1 << iota
	CatRead
	CatWrite
	CatSet
	CatSortedSet
	CatList
	CatHash
	CatString
	CatBitmap
	CatHyperLogLog
	CatGeo
	CatStream
	CatPubSub
	CatAdmin
	CatFast
	CatSlow
	CatBlocking
	CatDangerous
	CatConnection
	CatTransaction
	CatScripting
)

// KeyFlag says what a command does with a key at some position, in Redis's terms.
type KeyFlag uint16

// The first four say how the record is touched as a whole and exclude each other: read, changed, overwritten, removed.
// The next four say what happens to the user's data in it.
const (
	KeyRO KeyFlag = 1 << iota
	KeyRW
	KeyOW
	KeyRM
	KeyAccess
	KeyUpdate
	KeyInsert
	KeyDelete
	KeyNotKey
	KeyIncomplete
	// KeyVariable marks flags that depend on the options given; Command.KeyFlags then tells those of one call.
	KeyVariable
)

// KeySpec is one series of keys among the arguments, the command's name being argument 0.
type KeySpec struct {
	First int // number of the argument that is the first key
	Last  int // that of the last key; negative counts from the end, -1 being the last argument
	Step  int // distance between two keys
	Flags KeyFlag
	Notes string // shown by COMMAND INFO
	// Counted says that the argument at First is the number of keys, which follow it; Last does not count. Only COMMAND
	// INFO knows what to do with such a spec: the command needs GetKeys.
	Counted bool
}

// KeyAt is one key among the arguments of a call.
type KeyAt struct {
	Pos   int
	Flags KeyFlag
}

// Command is everything known about one command. Entries are filled in as literals and never change once NewTable has
// joined them. At most one of Read and Write is set; with neither, the server's session runs the command.
type Command struct {
	Name  string // lower case; a subcommand's own word only ("encoding")
	LogID uint16 // number of a write in the log: unique, never reused, never changed; 0 for all others
	// Level is the semantics level from which on a write may be in the log, where that is not the first: before, nodes of an
	// earlier version may have to execute it (`quipu cluster upgrade`).
	Level uint16
	// Event is what observers of the keyspace are told of a write: the keyspace event of Redis 7.0; the command's own name
	// where Redis does not have the command; "" where Redis tells nothing. A handler that does something else than its name
	// says uses Call.event.
	Event string
	Arity int // exact count of arguments with the name, or minus the least count
	Flags Flag

	Keys []KeySpec
	// GetKeys tells where the keys are when fixed positions cannot, and false if the arguments are not valid. It takes
	// the place of Keys for locking, ACL and COMMAND GETKEYS. (It returns a slice because a callback through a field
	// would force every caller's closure and part set onto the heap.)
	GetKeys func(args [][]byte) (keys []KeyAt, ok bool)
	// Beside is a part that must be locked beside those of the keys; negative: none. The command has GetKeys. (It returns the
	// part because a PartSet that a function field is given would be on the heap for all commands.)
	Beside func(args [][]byte) (part int)
	// KeysIn takes the place of Keys for a command that changes keys which are inside of an argument, all in the part that Beside
	// tells. (It returns a slice for the reason of GetKeys.)
	KeysIn func(args [][]byte) (keys [][]byte, ok bool)
	// KeyFlags narrows the flags of a KeyVariable spec to what these arguments do.
	KeyFlags func(args [][]byte) KeyFlag

	// Own says that redis-server 7.0, with which the tests compare, does not have the command: it is newer there, in a module
	// of Redis's, or ours alone. Tests and the compatibility page go by this and by nothing else.
	Own bool

	Categories Category
	Tips       []string // hints for clients that route requests, as COMMAND INFO shows them

	Summary    string
	Since      string // version of Redis that introduced the command
	Group      string // as COMMAND DOCS and COMMAND LIST group commands: "string", "generic", "server", …
	Complexity string
	Deprecated string // version since which the command is deprecated, or empty
	ReplacedBy string
	System     bool   // for developers and operators, not for programs: doc_flags "syscmd"
	Syntax     string // arguments after the name, see parseSyntax

	Sub []*Command // subcommands; the container itself then usually has no handler

	Read  func(c *Call, v engine.View)
	Write func(c *Call, t engine.Txn)

	// Delta is set on commands that only add to one integer counter (its key is args[1]) and reply with the new value.
	// It returns what would be added, or false when the arguments are not valid; the executor may then combine
	// neighbouring ones on a key into a run.
	Delta func(args [][]byte) (int64, bool)

	// Shared says what a write does with counters that regions share: it refuses them (sharedNever), leaves them counters
	// (sharedAlways), or does if what it sets is an integer: the number of the argument, and of further ones at the distance of keys.
	Shared int

	// Unchanged, of a write with one key, replies and returns true if executing the write now would change nothing. It is
	// then answered like a read, without the log. Otherwise it does nothing.
	Unchanged func(c *Call, v engine.View) bool

	// Cost, of a command that may take long though it has few arguments, is about how many nanoseconds args may take at
	// most, where no value has more than largest bytes. args has passed the arity check, no more.
	Cost func(args [][]byte, largest int) int
	// Piecewise says that the command, a read, locks its keys one after the other where it is long (View.LockKey): it does not
	// need to see all of them at one moment.
	Piecewise bool
	// Moves says that the command copies the whole value of its first key, however small the change is.
	Moves bool

	// OfNode says that the reply, of a read, is about this node: no other one is asked.
	OfNode bool

	// Parent is the container of a subcommand, nil otherwise. Set by NewTable.
	Parent *Command
	full   string
	name   []byte // Name, for the arguments of a call that comes from the log
	id     int
}

// ReadsCounters reports whether the command, a read, may look at counters, and not only at sketches.
func (c *Command) ReadsCounters() bool { return c.Group == "string" || c.Group == "generic" }

// ReadStats counts what reads have found. All runners share one.
type ReadStats struct{ Hits, Misses *engine.Striped }

// MaxValueBytes is the longest value that APPEND and SETRANGE may build. It is fixed, and not the setting
// proto-max-bulk-len, because what a logged command does must be the same on every node and at every replay.
const MaxValueBytes = 8 << 20

// Call is one execution of a command. A handler writes exactly one reply to W and retains nothing of Args.
// What a write depends on must be the same on every node: MaxBulk and Databases are therefore settings of the
// cluster, not of a node, and Random is for reads only.
type Call struct {
	Cmd       *Command
	Args      [][]byte // Args[0] is the command's name
	W         *protocol.Writer
	Table     *Table
	MaxBulk   int    // longest value in bytes that APPEND and SETRANGE may build
	MaxReply  int    // bytes above which MGET and KEYS answer with an error instead; 0: no limit
	Databases int    // number of databases, for commands that name one
	Random    uint64 // a fresh random number; reads only
	Stats     *ReadStats
	Stripe    uint32 // of Stats

	// Frequency says how often clients of this node use a key, from 0 to 255; nil, or less than 0: nobody knows. For reads only: each node says something else.
	Frequency func(db int, key []byte) int64

	pf    *pfScratch
	once  protocol.Writer // for the command inside ONCE
	cause engine.Cause    // of what a write changes
}

// event sets what observers are told from now on that the write does.
func (c *Call) event(name string) { c.cause.Event = name }

// Cause is what observers are told as the cause of the write that Cmd is about to do.
func (c *Call) Cause() *engine.Cause {
	c.cause.Event = c.Cmd.Event
	return &c.cause
}

// RunWrite calls the handler of a write, and has observers told of the entry's event.
func (c *Call) RunWrite(t engine.Txn) { c.Cmd.Write(c, t.For(c.Cause())) }

// BeginEntry says which entry of the log is executed from now on; observers are told.
func (c *Call) BeginEntry(index uint64) { c.cause.Index = index }

// MadeBy says for whom the writes from now on are, see engine.Cause.
func (c *Call) MadeBy(client any) { c.cause.By = client }

// FullName is the name as COMMAND INFO, ACL rules and metrics show it: "set", or "object|encoding" for a subcommand.
func (c *Command) FullName() string { return c.full }

// NameBytes is Name, for the arguments of a call that comes from the log. Not to be changed.
func (c *Command) NameBytes() []byte { return c.name }

// ID is the command's place in Table.All, for counters kept in slices.
func (c *Command) ID() int { return c.id }

// IsWrite reports whether the command changes the keyspace and thus goes through the log.
func (c *Command) IsWrite() bool { return c.Write != nil }

// IsContainer reports whether the command does nothing without a subcommand.
func (c *Command) IsContainer() bool { return len(c.Sub) != 0 && c.Read == nil && c.Write == nil }

// ArityOK reports whether n arguments, the name included, are acceptable.
func (c *Command) ArityOK(n int) bool {
	if c.Arity >= 0 {
		return n == c.Arity
	}
	return n >= -c.Arity
}

// HasKeys reports whether any argument of the command can be a key. Commands without keys concern the whole keyspace
// or none of it.
func (c *Command) HasKeys() bool { return len(c.Keys) != 0 || c.GetKeys != nil || c.KeysIn != nil }

// EachKey calls fn for every key among args. It allocates nothing unless the command has GetKeys. Positions past the
// end are skipped, so it is safe before the arity check.
func (c *Command) EachKey(args [][]byte, fn func(key []byte)) {
	if c.KeysIn != nil {
		keys, _ := c.KeysIn(args)
		for _, key := range keys {
			fn(key)
		}
		return
	}
	if c.GetKeys != nil {
		keys, _ := c.GetKeys(args)
		for _, k := range keys {
			fn(args[k.Pos])
		}
		return
	}
	for i := range c.Keys {
		first, last, step := c.Keys[i].bounds(len(args))
		for p := first; p <= last; p += step {
			fn(args[p])
		}
	}
}

// EachKeyFlags is EachKey with what the call does to each key. It reports false when the arguments cannot be valid.
func (c *Command) EachKeyFlags(args [][]byte, fn func(key []byte, flags KeyFlag)) bool {
	if c.KeysIn != nil {
		keys, ok := c.KeysIn(args)
		for _, key := range keys {
			fn(key, KeyRW|KeyUpdate)
		}
		return ok
	}
	if c.GetKeys != nil {
		keys, ok := c.GetKeys(args)
		for _, k := range keys {
			fn(args[k.Pos], k.Flags)
		}
		return ok
	}
	for i := range c.Keys {
		flags := c.Keys[i].Flags
		if flags&KeyVariable != 0 && c.KeyFlags != nil {
			flags = c.KeyFlags(args)
		}
		first, last, step := c.Keys[i].bounds(len(args))
		if first > last {
			return false // PFMERGE without a source, which it allows
		}
		for p := first; p <= last; p += step {
			fn(args[p], flags)
		}
	}
	return true
}

// AddParts adds the parts of all keys among args to s: what must be locked before the command runs. It allocates
// nothing unless the command has GetKeys.
func (c *Command) AddParts(args [][]byte, s *engine.PartSet) {
	if c.KeysIn != nil { // they are all in one part
		if part := c.Beside(args); part >= 0 {
			s.Add(part)
		}
		return
	}
	if c.GetKeys != nil {
		keys, _ := c.GetKeys(args)
		for _, k := range keys {
			s.AddKey(args[k.Pos])
		}
		if c.Beside != nil {
			if part := c.Beside(args); part >= 0 {
				s.Add(part)
			}
		}
		return
	}
	for i := range c.Keys {
		first, last, step := c.Keys[i].bounds(len(args))
		for p := first; p <= last; p += step {
			s.AddKey(args[p])
		}
	}
}

// FirstKey is the first key among args, or nil.
func (c *Command) FirstKey(args [][]byte) []byte {
	if c.KeysIn != nil {
		if keys, _ := c.KeysIn(args); len(keys) != 0 {
			return keys[0]
		}
		return nil
	}
	if c.GetKeys != nil {
		if keys, _ := c.GetKeys(args); len(keys) != 0 {
			return args[keys[0].Pos]
		}
		return nil
	}
	if len(c.Keys) != 0 && c.Keys[0].First < len(args) {
		return args[c.Keys[0].First]
	}
	return nil
}

// LongKey reports whether a key among args is longer than engine.MaxKey.
func (c *Command) LongKey(args [][]byte) (long bool) {
	if c.KeysIn != nil {
		return false // a frame with such a key is refused when it is read
	}
	c.EachKey(args, func(key []byte) { long = long || len(key) > engine.MaxKey })
	return long
}

// AddPartsOrAll is AddParts that takes every part for a command without keys, which may concern the whole keyspace.
func (c *Command) AddPartsOrAll(args [][]byte, parts *engine.PartSet) {
	if c.HasKeys() {
		c.AddParts(args, parts)
	} else {
		parts.AddAll()
	}
}

// CrossesDatabases reports whether a write may change keys of another database than the one it runs on.
func (c *Command) CrossesDatabases(args [][]byte) bool {
	if c.IsOnce() && len(args) > 4 {
		return isWord(args[4], "copy") && len(args) > 7 || isWord(args[4], "move")
	}
	return c.Name == "copy" && len(args) > 3 || c.Name == "move"
}

// OneKey reports whether exactly one argument is a key, at a fixed place: the common case, locked without a set.
func (c *Command) OneKey() bool {
	return len(c.Keys) == 1 && c.Keys[0].First == c.Keys[0].Last && c.GetKeys == nil
}

// JoinsBurst reports whether a read of args can be one of a burst (exec/burst.go): it is short, and its only argument is
// its key.
func (c *Command) JoinsBurst(args [][]byte) bool {
	return c.Read != nil && len(args) == 2 && c.Flags&(FlagFast|FlagSlow) == FlagFast && c.OneKey() && c.Keys[0].First == 1
}

// bounds resolves the spec against n arguments; last < first when there is no key.
func (s *KeySpec) bounds(n int) (first, last, step int) {
	last = s.Last
	if last < 0 {
		last += n
	}
	if last >= n {
		last = n - 1
	}
	return s.First, last, s.Step
}

// The key positions most commands have.
func keyAt(pos int, flags KeyFlag) []KeySpec {
	return []KeySpec{{First: pos, Last: pos, Step: 1, Flags: flags}}
}
func keysFrom1(step int, flags KeyFlag) []KeySpec {
	return []KeySpec{{First: 1, Last: -1, Step: step, Flags: flags}}
}
