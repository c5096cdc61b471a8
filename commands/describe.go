package commands

import (
	"strings"

	"quipu/protocol"
)

// The names under which COMMAND shows the bits of a set; bits without a name are not shown.
var (
	flagNames = []string{
		"write", "readonly", "denyoom", "module", "admin", "pubsub", "noscript", "blocking", "loading", "stale",
		"skip_monitor", "skip_slowlog", "asking", "fast", "no_auth", "may_replicate", "no_mandatory_keys", "protected",
		"no_async_loading", "no_multi", "movablekeys", "allow_busy",
	}
	categoryNames = []string{
		"@keyspace", "@read", "@write", "@set", "@sortedset", "@list", "@hash", "@string", "@bitmap", "@hyperloglog",
		"@geo", "@stream", "@pubsub", "@admin", "@fast", "@slow", "@blocking", "@dangerous", "@connection",
		"@transaction", "@scripting",
	}
	keyFlagNames = []string{
		"RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags",
	}
)

// CategoryNames is the names of all ACL categories, without '@', in Redis's order.
func CategoryNames() []string {
	names := make([]string, len(categoryNames))
	for i, name := range categoryNames {
		names[i] = name[1:]
	}
	return names
}

// ACLCategories is the names of the categories that the command is in, without '@'.
func (c *Command) ACLCategories() (names []string) {
	for i, name := range categoryNames {
		if c.Categories&(1<<i) != 0 {
			names = append(names, name[1:])
		}
	}
	return names
}

// categoryByName finds an ACL category by its name without '@', in any case; 0 if there is none.
func categoryByName(name []byte) Category {
	for i, known := range categoryNames {
		if equalFold(name, known[1:]) {
			return 1 << i
		}
	}
	return 0
}

func upper(s string) string { return strings.ToUpper(s) }

// LookupFull finds a command or, as "container|sub", a subcommand by name in any case, or returns nil.
func (t *Table) LookupFull(name []byte) *Command {
	head, tail, sub := strings.Cut(string(name), "|")
	cmd := t.Lookup([]byte(head))
	if cmd != nil && sub {
		return cmd.Subcommand([]byte(tail))
	}
	return cmd
}

// writeNames replies with the set of names of the bits that are set.
func writeNames(w *protocol.Writer, bits uint32, names []string) {
	n := 0
	for i := range names {
		n += int(bits >> i & 1)
	}
	w.Set(n)
	for i, name := range names {
		if bits>>i&1 != 0 {
			w.Simple(name)
		}
	}
}

// writeInfo replies with one element of COMMAND INFO.
func writeInfo(w *protocol.Writer, cmd *Command) {
	first, last, step := cmd.keyRange()
	w.Array(10)
	w.BulkString(cmd.full)
	w.Int(int64(cmd.Arity))
	writeNames(w, uint32(cmd.Flags), flagNames)
	w.Int(int64(first))
	w.Int(int64(last))
	w.Int(int64(step))
	writeNames(w, uint32(cmd.Categories), categoryNames)
	w.Set(len(cmd.Tips))
	for _, tip := range cmd.Tips {
		w.BulkString(tip)
	}
	w.Set(len(cmd.Keys))
	for i := range cmd.Keys {
		writeKeySpec(w, &cmd.Keys[i])
	}
	if len(cmd.Sub) == 0 {
		w.Set(0)
		return
	}
	w.Array(len(cmd.Sub))
	for _, sub := range cmd.Sub {
		writeInfo(w, sub)
	}
}

// keyRange joins the key positions into one range, which is all that older clients know of.
func (c *Command) keyRange() (first, last, step int) {
	for i := range c.Keys {
		s := &c.Keys[i]
		if s.Counted {
			continue // no fixed positions
		}
		if i == 0 {
			first, last, step = s.First, s.Last, s.Step
			continue
		}
		first = min(first, s.First)
		if last >= 0 && (s.Last < 0 || s.Last > last) {
			last = s.Last
		}
	}
	return first, last, step
}

func writeKeySpec(w *protocol.Writer, s *KeySpec) {
	last := s.Last
	if last >= 0 {
		last -= s.First // COMMAND INFO counts it from the first key
	}
	if s.Notes != "" {
		w.Map(4)
		w.BulkString("notes")
		w.BulkString(s.Notes)
	} else {
		w.Map(3)
	}
	w.BulkString("flags")
	writeNames(w, uint32(s.Flags), keyFlagNames)
	w.BulkString("begin_search")
	writeSearch(w, "index", intField{"index", s.First})
	w.BulkString("find_keys")
	if s.Counted {
		writeSearch(w, "keynum", intField{"keynumidx", 0}, intField{"firstkey", 1}, intField{"keystep", s.Step})
		return
	}
	writeSearch(w, "range", intField{"lastkey", last}, intField{"keystep", s.Step}, intField{"limit", 0})
}

type intField struct {
	name  string
	value int
}

func writeSearch(w *protocol.Writer, kind string, spec ...intField) {
	w.Map(2)
	w.BulkString("type")
	w.BulkString(kind)
	w.BulkString("spec")
	w.Map(len(spec))
	for _, f := range spec {
		w.BulkString(f.name)
		w.Int(int64(f.value))
	}
}

// writeDocs replies with the value COMMAND DOCS has for one command.
func (t *Table) writeDocs(w *protocol.Writer, cmd *Command) {
	args := t.docs[cmd]
	n := 0
	for _, present := range []bool{
		cmd.Summary != "", cmd.Since != "", cmd.Group != "", cmd.Complexity != "", cmd.Deprecated != "" || cmd.System,
		cmd.Deprecated != "", cmd.ReplacedBy != "", len(args) != 0, len(cmd.Sub) != 0,
	} {
		if present {
			n++
		}
	}
	w.Map(n)
	writeText(w, "summary", cmd.Summary)
	writeText(w, "since", cmd.Since)
	writeText(w, "group", cmd.Group)
	writeText(w, "complexity", cmd.Complexity)
	if cmd.Deprecated != "" || cmd.System {
		w.BulkString("doc_flags")
		var bits uint32
		if cmd.Deprecated != "" {
			bits |= 1
		}
		if cmd.System {
			bits |= 2
		}
		writeNames(w, bits, []string{"deprecated", "syscmd"})
	}
	writeText(w, "deprecated_since", cmd.Deprecated)
	writeText(w, "replaced_by", cmd.ReplacedBy)
	if len(args) != 0 {
		w.BulkString("arguments")
		writeArgs(w, args)
	}
	if len(cmd.Sub) != 0 {
		w.BulkString("subcommands")
		w.Map(len(cmd.Sub))
		for _, sub := range cmd.Sub {
			w.BulkString(sub.full)
			t.writeDocs(w, sub)
		}
	}
}

// writeText writes a field of a map, and nothing when it is empty.
func writeText(w *protocol.Writer, field, text string) {
	if text != "" {
		w.BulkString(field)
		w.BulkString(text)
	}
}

func writeArgs(w *protocol.Writer, args []*arg) {
	w.Array(len(args))
	for _, a := range args {
		n := 2
		for _, present := range []bool{
			a.key >= 0, a.token != "", a.since != "", a.until != "", a.optional || a.multiple, len(a.args) != 0,
		} {
			if present {
				n++
			}
		}
		w.Map(n)
		writeText(w, "name", a.name)
		writeText(w, "type", a.kind)
		if a.key >= 0 {
			w.BulkString("key_spec_index")
			w.Int(int64(a.key))
		}
		writeText(w, "token", a.token)
		writeText(w, "since", a.since)
		writeText(w, "deprecated_since", a.until)
		if a.optional || a.multiple {
			w.BulkString("flags")
			var bits uint32
			if a.optional {
				bits |= 1
			}
			if a.multiple {
				bits |= 2
			}
			writeNames(w, bits, []string{"optional", "multiple"})
		}
		if len(a.args) != 0 {
			w.BulkString("arguments")
			writeArgs(w, a.args)
		}
	}
}
