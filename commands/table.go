package commands

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"quipu/protocol"
)

// Table finds commands by name and by number in the log. It never changes once made, so it is safe for concurrent use.
type Table struct {
	top     []*Command          // top-level commands by name
	all     []*Command          // every command and subcommand; index = Command.ID
	byLog   []*Command          // index = LogID, nil where none
	buckets []*Command          // open addressing by hash of the folded name; length is a power of two
	docs    map[*Command][]*arg // parsed Syntax
}

// NewTable joins the families of this package with extra commands, usually those of the server's session. It panics on
// entries that contradict each other: that is a fault of the program, found by any test.
func NewTable(extra ...*Command) *Table {
	t := &Table{docs: map[*Command][]*arg{}}
	for _, family := range families() {
		for i := range family {
			entry := family[i]
			t.top = append(t.top, &entry)
		}
	}
	for _, cmd := range extra {
		if container := t.containerFor(cmd); container != nil {
			container.Sub = append(slices.Clone(container.Sub), cmd.Sub...)
			continue
		}
		entry := *cmd
		t.top = append(t.top, &entry)
	}
	sort.Slice(t.top, func(i, j int) bool { return t.top[i].Name < t.top[j].Name })
	for _, internal := range [][]Command{userCommands, regionInternal} {
		for i := range internal {
			entry := internal[i]
			t.registerInternal(&entry)
		}
	}
	size := 64
	for size < 8*len(t.top) {
		size *= 2
	}
	t.buckets = make([]*Command, size)
	for _, cmd := range t.top {
		if t.Lookup([]byte(cmd.Name)) != nil {
			panic("BUG: command " + cmd.Name + " is defined twice")
		}
		t.insert(cmd)
		t.register(cmd, nil)
	}
	return t
}

// LevelOf is the semantics level that the cluster must have before a call may be in the log: that of the command, or of the one
// inside ONCE.
func (t *Table) LevelOf(cmd *Command, args [][]byte) (level uint16, name string) {
	if cmd.Level <= 1 && !cmd.IsOnce() {
		return 0, ""
	}
	if cmd.IsOnce() && len(args) > 4 {
		if inner := t.Find(args[4:]); inner != nil {
			cmd = inner
		}
	}
	return cmd.Level, cmd.FullName()
}

// containerFor returns the family's container that cmd only adds subcommands to: those which need what only the server
// knows, such as MEMORY STATS. Such an entry has a name and subcommands, nothing else.
func (t *Table) containerFor(cmd *Command) *Command {
	if cmd.Arity != 0 {
		return nil
	}
	for _, have := range t.top {
		if have.Name == cmd.Name {
			return have
		}
	}
	return nil
}

// families lists the entries of each file. Entries are copied into the table, so several tables can live in one process.
func families() [][]Command {
	return [][]Command{
		counterCommands, increxCommands, stringCommands, setCommands, expireCommands, keyCommands, flushCommands,
		scanCommands, objectCommands, functionCommands, scriptCommands, introspectCommands,
		pfCommands, ucCommands, cmsCommands, topkCommands, onceCommands, ingestCommands, regionCommands,
	}
}

// register completes one entry with what follows from the others, and files it.
func (t *Table) register(cmd, parent *Command) {
	cmd.Parent, cmd.full, cmd.name, cmd.id = parent, cmd.Name, []byte(cmd.Name), len(t.all)
	if parent != nil {
		cmd.full = parent.full + "|" + cmd.Name
	}
	t.all = append(t.all, cmd)
	if err := cmd.validate(); err != nil {
		panic(fmt.Sprintf("BUG: command %s: %v", cmd.full, err))
	}
	if cmd.GetKeys != nil {
		cmd.Flags |= FlagMovableKeys
	}
	cmd.Categories |= impliedCategories(cmd.Flags, cmd.Categories)
	args, err := parseSyntax(cmd.Syntax)
	if err != nil {
		panic(fmt.Sprintf("BUG: command %s: syntax %q: %v", cmd.full, cmd.Syntax, err))
	}
	t.docs[cmd] = args
	cmd.guardShared()
	t.number(cmd)
	subs := make([]*Command, len(cmd.Sub))
	for i, sub := range cmd.Sub {
		entry := *sub
		subs[i] = &entry
		t.register(&entry, cmd)
	}
	cmd.Sub = subs
}

// registerInternal files a write that no client can name: what the server has in the log for a command of its own. It is not in All.
func (t *Table) registerInternal(cmd *Command) {
	cmd.full, cmd.name, cmd.id = cmd.Name, []byte(cmd.Name), -1
	if err := cmd.validate(); err != nil {
		panic(fmt.Sprintf("BUG: command %s: %v", cmd.full, err))
	}
	cmd.guardShared()
	t.number(cmd)
}

// number files a write under its number in the log.
func (t *Table) number(cmd *Command) {
	if cmd.LogID == 0 {
		return
	}
	for len(t.byLog) <= int(cmd.LogID) {
		t.byLog = append(t.byLog, nil)
	}
	if other := t.byLog[cmd.LogID]; other != nil {
		panic(fmt.Sprintf("BUG: commands %s and %s share number %d in the log", other.full, cmd.full, cmd.LogID))
	}
	t.byLog[cmd.LogID] = cmd
}

func (c *Command) validate() error {
	switch {
	case c.Name == "" || len(c.Name) > maxName:
		return fmt.Errorf("name of %d bytes", len(c.Name))
	case c.Arity == 0:
		return fmt.Errorf("no arity")
	case c.Read != nil && c.Write != nil:
		return fmt.Errorf("both a read and a write")
	case (c.Write != nil) != (c.LogID != 0):
		return fmt.Errorf("exactly the writes have a number in the log")
	case c.Write != nil && c.Flags&FlagWrite == 0:
		return fmt.Errorf("a write without FlagWrite")
	case c.GetKeys == nil && slices.ContainsFunc(c.Keys, func(s KeySpec) bool { return s.Counted }):
		return fmt.Errorf("counted keys without GetKeys")
	case c.KeysIn != nil && (c.Beside == nil || c.GetKeys != nil || len(c.Keys) != 0):
		return fmt.Errorf("KeysIn takes the place of Keys and GetKeys, and needs Beside")
	case c.Unchanged != nil && (c.Write == nil || !c.OneKey()):
		return fmt.Errorf("Unchanged is for writes with one key")
	case c.Write == nil && c.Read == nil && c.Flags&FlagWrite != 0:
		return fmt.Errorf("FlagWrite without a handler")
	}
	for i := 0; i < len(c.Name); i++ {
		if b := c.Name[i]; b >= 'A' && b <= 'Z' {
			return fmt.Errorf("name is not in lower case")
		}
	}
	return nil
}

func impliedCategories(f Flag, named Category) Category {
	var cat Category
	for _, rule := range [...]struct {
		flag Flag
		cat  Category
	}{
		{FlagWrite, CatWrite}, {FlagReadonly, CatRead}, {FlagAdmin, CatAdmin | CatDangerous}, {FlagPubSub, CatPubSub},
		{FlagFast, CatFast}, {FlagBlocking, CatBlocking},
	} {
		if f&rule.flag != 0 {
			cat |= rule.cat
		}
	}
	if named&CatScripting != 0 {
		cat &^= CatRead // as in Redis: what a script does is not known
	}
	if f&FlagFast == 0 {
		cat |= CatSlow
	}
	return cat
}

// maxName bounds the length of a command's name; longer words are unknown without looking.
const maxName = 32

// Lookup finds a top-level command by name in any case, or returns nil. It allocates nothing.
func (t *Table) Lookup(name []byte) *Command {
	if len(name) == 0 || len(name) > maxName {
		return nil
	}
	mask := uint64(len(t.buckets) - 1)
	for i := nameHash(name) & mask; ; i = (i + 1) & mask {
		cmd := t.buckets[i]
		if cmd == nil || equalFold(name, cmd.Name) {
			return cmd
		}
	}
}

func (t *Table) insert(cmd *Command) {
	mask := uint64(len(t.buckets) - 1)
	i := nameHash([]byte(cmd.Name)) & mask
	for t.buckets[i] != nil {
		i = (i + 1) & mask
	}
	t.buckets[i] = cmd
}

// nameHash mixes the length and the first and last eight bytes, each with bit 5 set so that case does not matter.
func nameHash(name []byte) uint64 {
	const fold = 0x2020202020202020
	var a, b uint64
	if n := len(name); n >= 8 {
		a, b = binary.LittleEndian.Uint64(name), binary.LittleEndian.Uint64(name[n-8:])
	} else {
		for i := 0; i < n; i++ {
			a |= uint64(name[i]) << (8 * i)
		}
	}
	h := (a|fold)*0x9e3779b97f4a7c15 ^ (b|fold)*0xc2b2ae3d27d4eb4f ^ uint64(len(name))
	h *= 0x9e3779b97f4a7c15
	return h >> 40
}

// equalFold compares ASCII letters without regard to case; lower must have no upper-case letters.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Subcommand finds a subcommand by its word in any case, or returns nil.
func (c *Command) Subcommand(word []byte) *Command {
	for _, sub := range c.Sub {
		if equalFold(word, sub.Name) {
			return sub
		}
	}
	return nil
}

// Find is the command that args call: the subcommand where there is one, else the top-level command, nil when the name
// or the subcommand is unknown. It does not check the arity.
func (t *Table) Find(args [][]byte) *Command {
	cmd := t.Lookup(args[0])
	if cmd == nil || len(cmd.Sub) == 0 || len(args) < 2 {
		return cmd
	}
	return cmd.called(args[1])
}

// called is the subcommand with a name, the command itself if it can do without one, or nil.
func (c *Command) called(word []byte) *Command {
	if sub := c.Subcommand(word); sub != nil || c.Write == nil {
		return sub
	}
	return c
}

// Resolve is Find with the arity checked. When the call is refused cmd is nil and refusal is the error text for the
// client. It allocates only to refuse.
func (t *Table) Resolve(args [][]byte) (cmd *Command, refusal string) {
	cmd = t.Lookup(args[0])
	if cmd == nil {
		return nil, protocol.ErrUnknownCommand(args[0], args[1:])
	}
	if len(cmd.Sub) != 0 && len(args) >= 2 {
		sub := cmd.called(args[1])
		if sub == nil {
			return nil, protocol.ErrUnknownSubcommand(args[1], cmd.Name)
		}
		cmd = sub
	}
	if !cmd.ArityOK(len(args)) {
		return nil, protocol.ErrArity(cmd.full)
	}
	return cmd, ""
}

// ByLogID finds a write by its number in the log, or returns nil.
func (t *Table) ByLogID(id uint16) *Command {
	if int(id) >= len(t.byLog) {
		return nil
	}
	return t.byLog[id]
}

// All is every command and subcommand; Command.ID is the index. Not to be changed.
func (t *Table) All() []*Command { return t.all }

// Top is the top-level commands in order of their names. Not to be changed.
func (t *Table) Top() []*Command { return t.top }
