package commands

import (
	"cmp"
	"slices"

	"quipu/engine"
	"quipu/internal/glob"
	"quipu/protocol"
)

// INGEST names the position that a transaction brings a source to, such as a partition of Kafka: the transaction is executed whole,
// and the position stored with it, or, if the stored position is another one, not at all (engine/origin.go). So a connector
// needs no state of its own, and may crash, or run twice, at any time. Positions and incarnations are any bytes: the server
// knows no broker.

const ingestLogID = 65

var ingestCommands = []Command{
	{
		Name: "ingest", LogID: ingestLogID, Own: true, Arity: -3, Flags: FlagWrite | FlagDenyOOM, Beside: ingestBeside, GetKeys: noKeys,
		Categories: CatString, Group: "generic", Since: "0.2.0", Complexity: "O(1)",
		Summary: "Begin a transaction that brings a source from one position to another, or changes nothing",
		Syntax:  "source incarnation from to", Write: runIngestAlone,
		Sub: []*Command{
			{
				Name: "position", Own: true, Arity: 3, Flags: FlagReadonly, Categories: CatString, Group: "generic", Since: "0.2.0",
				Complexity: "O(1)", Summary: "Incarnation and position of a source", Syntax: "source", Read: runIngestPosition,
			},
			{
				Name: "set", LogID: 66, Own: true, Arity: 5, Flags: FlagWrite | FlagAdmin, Categories: CatAdmin | CatDangerous, Group: "generic", Since: "0.2.0",
				Complexity: "O(1)", Summary: "Set the position of a source, whatever it is", Syntax: "source incarnation position", Write: runIngestSet,
			},
			{
				Name: "forget", LogID: 67, Own: true, Arity: 3, Flags: FlagWrite | FlagAdmin, Categories: CatAdmin | CatDangerous, Group: "generic", Since: "0.2.0",
				Complexity: "O(1)", Summary: "Remove a source", Syntax: "source", Write: runIngestForget,
			},
			{
				Name: "list", Own: true, Arity: -2, Flags: FlagReadonly | FlagSlow, Categories: CatString, Group: "generic", Since: "0.2.0",
				Complexity: "O(N log N) for N sources", Summary: "Sources with their incarnations and positions", Syntax: "[MATCH pattern]", Read: runIngestList,
			},
		},
	},
}

// noKeys is the GetKeys of a command that names none and does not concern the whole keyspace.
func noKeys([][]byte) ([]KeyAt, bool) { return nil, true }

// ingestBeside is the part of the source's record.
func ingestBeside(args [][]byte) int {
	if len(args) != 5 || !validSource(args[1]) {
		return -1
	}
	return engine.SourcePart(args[1])
}

// validSource excludes the names of the subcommands.
func validSource(name []byte) bool {
	if len(name) == 0 || len(name) > engine.MaxOriginName {
		return false
	}
	for _, sub := range []string{"position", "set", "forget", "list"} {
		if equalFold(name, sub) {
			return false
		}
	}
	return true
}

// IsIngest reports whether the command is INGEST itself, which stands first in its transaction.
func (c *Command) IsIngest() bool { return c.LogID == ingestLogID }

// ParseIngest reads the arguments of INGEST; refusal is the error text if they are not valid.
func ParseIngest(args [][]byte) (o engine.Origin, refusal string) {
	if len(args) != 5 {
		return o, protocol.ErrArity("ingest")
	}
	o = engine.Origin{Kind: engine.OriginSource, Name: args[1], Epoch: args[2], From: args[3], To: args[4]}
	switch {
	case !validSource(o.Name):
		return o, protocol.ErrSourceName
	case !o.Valid():
		return o, protocol.ErrPositionTooLong
	}
	return o, ""
}

// Ingest moves the position of the source that args name; over, with a reply to the whole transaction, if that is not to be done.
// The part of the source's record is locked.
func Ingest(args [][]byte, t engine.Txn, w *protocol.Writer) (over bool) {
	o, refusal := ParseIngest(args)
	if refusal != "" {
		w.Error(refusal)
		return true
	}
	switch t.AdvanceHeld(&o) {
	case engine.Accepted:
		return false
	case engine.Full:
		w.Error(protocol.ErrManySources(engine.MaxSources))
	default:
		p, _ := t.SourceHeld(o.Name)
		w.Error(protocol.ErrStalePosition(p.Epoch, p.At))
	}
	return true
}

// runIngestAlone is reached outside of a transaction, and where INGEST is not its first command.
func runIngestAlone(c *Call, _ engine.Txn) { c.W.Error(protocol.ErrIngestInMulti) }

func runIngestPosition(c *Call, v engine.View) {
	p, ok := v.Source(c.Args[2])
	if !ok {
		c.W.NullArray()
		return
	}
	c.W.Array(2)
	c.W.Bulk(p.Epoch)
	c.W.Bulk(p.At)
}

func runIngestSet(c *Call, t engine.Txn) {
	o := engine.Origin{Kind: engine.OriginSource, Name: c.Args[2], Epoch: c.Args[3], To: c.Args[4]}
	switch {
	case !validSource(o.Name):
		c.W.Error(protocol.ErrSourceName)
	case !o.Valid():
		c.W.Error(protocol.ErrPositionTooLong)
	case !t.SetSource(&o):
		c.W.Error(protocol.ErrManySources(engine.MaxSources))
	default:
		c.W.OK()
	}
}

func runIngestForget(c *Call, t engine.Txn) {
	if t.ForgetSource(c.Args[2]) {
		c.W.Int(1)
		return
	}
	c.W.Int(0)
}

// runIngestList answers in the order of names, so that two lists can be compared.
func runIngestList(c *Call, v engine.View) {
	pattern := []byte("*")
	switch {
	case len(c.Args) == 4 && isWord(c.Args[2], "match"):
		pattern = c.Args[3]
	case len(c.Args) != 2:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	var list []engine.Source
	v.EachSource(func(s engine.Source) {
		if glob.Match(pattern, []byte(s.Name), false) {
			list = append(list, s)
		}
	})
	slices.SortFunc(list, func(a, b engine.Source) int { return cmp.Compare(a.Name, b.Name) })
	c.W.Array(len(list))
	for _, s := range list {
		c.W.Array(3)
		c.W.BulkString(s.Name)
		c.W.BulkString(s.Incarnation)
		c.W.BulkString(s.Position)
	}
}
