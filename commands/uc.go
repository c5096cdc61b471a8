package commands

import (
	"bytes"
	"strconv"

	"quipu/engine"
	"quipu/engine/hll"
	"quipu/engine/uc"
	"quipu/protocol"
)

// UC.* is a distinct count with a choice of precision; its values are those of engine/uc.
var ucCommands = []Command{
	{
		Name: "uc.reserve", LogID: 40, Event: "uc.reserve", Own: true, Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagModule | FlagFast,
		Keys:    keyAt(1, KeyRW|KeyInsert),
		Summary: "Create a distinct count with a precision from 4 to 18", Since: ucSince, Group: "module",
		Complexity: "O(1)",
		Syntax:     "key precision:integer",
		Write:      runUCReserve,
	},
	{
		Name: "uc.add", LogID: 41, Event: "uc.add", Own: true, Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagModule | FlagFast,
		Keys:    keyAt(1, KeyRW|KeyInsert),
		Summary: "Add items to a distinct count, which is created with precision 14 if missing", Since: ucSince, Group: "module",
		Complexity: "O(1) for each item, and once a move of the entries behind it while the count is sparse",
		Syntax:     "key item [item ...]",
		Write:      runUCAdd,
		Unchanged:  ucAddUnchanged,
	},
	{
		Name: "uc.count", Own: true, Arity: -2, Flags: FlagReadonly | FlagModule,
		Keys:    keysFrom1(1, KeyRO|KeyAccess),
		Summary: "Estimate the number of distinct items in one count, or in the union of several", Since: ucSince, Group: "module",
		Complexity: "O(N) for N registers of all keys",
		Syntax:     "key [key ...]",
		Read:       runUCCount,
		Cost:       ucMergeCost,
	},
	{
		Name: "uc.merge", LogID: 42, Event: "uc.merge", Own: true, Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagModule,
		Keys: []KeySpec{
			{First: 1, Last: 1, Step: 1, Flags: KeyRW | KeyAccess | KeyInsert},
			{First: 2, Last: -1, Step: 1, Flags: KeyRO | KeyAccess},
		},
		Summary: "Merge distinct counts and HyperLogLogs into a distinct count", Since: ucSince, Group: "module",
		Complexity: "O(N) for N registers of all keys",
		Syntax:     "destkey:key sourcekey:key [sourcekey:key ...]",
		Write:      runUCMerge,
		Cost:       ucMergeCost,
	},
	{
		Name: "uc.info", Own: true, Arity: 2, Flags: FlagReadonly | FlagModule,
		Keys:    keyAt(1, KeyRO|KeyAccess),
		Summary: "Precision, form, size and estimate of a distinct count", Since: ucSince, Group: "module",
		Complexity: "O(N) for N registers",
		Syntax:     "key",
		Read:       runUCInfo,
	},
}

// ucSince stands in the place of a version of Redis, which does not have these commands.
const ucSince = "1.0.0"

const (
	errUCExists    = "ERR UC: key already exists"
	errUCMissing   = "ERR UC: key does not exist"
	errUCSize      = "ERR UC: more than 64 MiB of sketches in one command"
	errUCPrecision = "ERR UC: precision must be an integer from 4 to 18"
)

func runUCReserve(c *Call, t engine.Txn) {
	if value, found := t.Get(c.Args[1]); found {
		if value.Kind != engine.KindUC {
			c.W.Error(protocol.ErrWrongType)
			return
		}
		c.W.Error(errUCExists)
		return
	}
	precision, ok := protocol.ParseInt(c.Args[2])
	if !ok || precision < uc.MinPrecision || precision > uc.MaxPrecision {
		c.W.Error(errUCPrecision)
		return
	}
	t.SetBytes(c.Args[1], uc.New(int(precision)), engine.KindUC, 0)
	c.W.OK()
}

func runUCAdd(c *Call, t engine.Txn) {
	key, items := c.Args[1], c.Args[2:]
	content, found := t.Content(key)
	if !found {
		ucCreate(t, key, items)
		c.W.Int(1)
		return
	}
	s, ok := c.openUC(engine.Value{Kind: content.Kind, Bytes: content.Bytes}, found)
	if !ok {
		return
	}
	add := ucInsert
	if s.Dense() {
		add = ucRaise
	}
	if add(t, key, content, s, items) {
		c.W.Int(1)
	} else {
		c.W.Int(0)
	}
}

// openUC is the sketch that a value holds. Where it holds none it replies so and returns false.
func (c *Call) openUC(v engine.Value, found bool) (s uc.Sketch, ok bool) {
	if !c.isSketch(v, found, engine.KindUC, errUCMissing) {
		return s, false
	}
	s, err := uc.Open(v.Bytes)
	if err != nil {
		c.W.Error(errCorruptSketch)
		return s, false
	}
	return s, true
}

// ucAddUnchanged answers UC.ADD of items that are all counted.
func ucAddUnchanged(c *Call, v engine.View) bool {
	value, found := v.Get(c.Args[1])
	if !found || value.Kind != engine.KindUC {
		return false
	}
	s, err := uc.Open(value.Bytes)
	if err != nil {
		return false
	}
	for _, item := range c.Args[2:] {
		if !s.Holds(uc.Hash(item)) {
			return false
		}
	}
	c.W.Int(0)
	return true
}

// ucCreate stores a new sketch of items. It has the bytes that adding them one by one would leave.
func ucCreate(t engine.Txn, key []byte, items [][]byte) {
	value := uc.New(uc.DefaultPrecision)
	s, err := uc.Open(value)
	if err != nil {
		panic("BUG: a new sketch is none: " + err.Error())
	}
	if change := s.Plan(ucEntries(nil, items)); change.Fits() {
		value = append(value, make([]byte, change.Len()-len(value))...)
		change.Apply(value)
	} else {
		value = change.Dense()
	}
	t.SetBytes(key, value, engine.KindUC, 0)
}

// ucRaise adds items to a dense sketch, in place.
func ucRaise(t engine.Txn, key []byte, content engine.Content, s uc.Sketch, items [][]byte) (changed bool) {
	for _, item := range items {
		at, rank := s.Register(uc.Hash(item))
		if content.Bytes[at] < rank {
			content.Touch(at, 1)
			content.Bytes[at] = rank
			changed = true
		}
	}
	if changed {
		t.Changed(key, content)
	}
	return changed
}

// ucInsert adds items to a sparse sketch, all in one move.
func ucInsert(t engine.Txn, key []byte, _ engine.Content, s uc.Sketch, items [][]byte) (changed bool) {
	var few [8]uint32
	change := s.Plan(ucEntries(few[:0], items))
	switch {
	case change.None():
		return false
	case change.Fits():
		content := t.Resize(key, change.Len(), engine.KindUC)
		change.Apply(content.Bytes)
		t.Changed(key, content)
	default:
		before, _ := t.Get(key)
		t.SetBytes(key, change.Dense(), engine.KindUC, before.Deadline)
	}
	return true
}

func ucEntries(entries []uint32, items [][]byte) []uint32 {
	if len(items) > cap(entries) {
		entries = make([]uint32, 0, len(items))
	}
	for _, item := range items {
		entries = append(entries, uc.Entry(uc.Hash(item)))
	}
	return entries
}

func runUCCount(c *Call, v engine.View) {
	var union uc.Union
	total := 0
	for _, key := range c.Args[1:] {
		value, found := c.lookup(v, key)
		if found && (!c.ucFits(&total, value) || !c.ucJoin(&union, value)) {
			return
		}
	}
	c.W.Int(int64(union.Count()))
}

// ucBytesMax bounds the bytes of all sketches that one command goes through: about 2 ms each MiB, during which nobody
// else is served.
const ucBytesMax = 64 << 20

// ucFits counts a value among those of a command, and replies if they are too much together.
func (c *Call) ucFits(total *int, value engine.Value) bool {
	if *total += len(value.Bytes); *total > ucBytesMax {
		c.W.Error(errUCSize)
		return false
	}
	return true
}

// ucJoin adds a sketch to a union. It replies with an error, and returns false, where the value is none.
func (c *Call) ucJoin(union *uc.Union, value engine.Value) bool {
	s, ok := c.openUC(value, true)
	if ok && union.Add(s) != nil {
		c.W.Error(errCorruptSketch)
		return false
	}
	return ok
}

// ucJoinHLL adds a string that is a HyperLogLog of Redis.
func (c *Call) ucJoinHLL(union *uc.Union, value engine.Value) bool {
	if value.Kind == engine.KindInt || !hll.Check(value.Bytes) {
		c.W.Error(protocol.ErrNotHyperLogLog)
		return false
	}
	var registers hll.Table
	if !registers.Merge(value.Bytes) {
		c.W.Error(protocol.ErrCorruptHyperLogLog)
		return false
	}
	union.AddHLL(&registers)
	return true
}

// runUCMerge has the destination in the union, and gives it the lowest precision of all that exist: registers can be
// folded into fewer, not split into more. A union without any key has the default precision.
func runUCMerge(c *Call, t engine.Txn) {
	var union uc.Union
	total := 0
	dest, found := t.Get(c.Args[1])
	if found && !c.ucJoin(&union, dest) {
		return
	}
	for _, key := range c.Args[2:] {
		value, there := t.Get(key)
		switch {
		case !there:
		case !c.ucFits(&total, value):
			return
		case stringKind(value.Kind):
			if !c.ucJoinHLL(&union, value) {
				return
			}
		default:
			if !c.ucJoin(&union, value) {
				return
			}
		}
	}
	value := uc.New(uc.DefaultPrecision)
	if union.Precision() != 0 {
		value = union.Value()
	}
	if !found || !bytes.Equal(value, dest.Bytes) {
		t.SetBytes(c.Args[1], value, engine.KindUC, dest.Deadline)
	}
	c.W.OK()
}

func runUCInfo(c *Call, v engine.View) {
	s, ok := c.openUC(c.lookup(v, c.Args[1]))
	if !ok {
		return
	}
	count, err := s.Count()
	if err != nil {
		c.W.Error(errCorruptSketch)
		return
	}
	encoding := "sparse"
	if s.Dense() {
		encoding = "dense"
	}
	c.W.Map(6)
	c.W.BulkString("precision")
	c.W.Int(int64(s.Precision()))
	c.W.BulkString("encoding")
	c.W.BulkString(encoding)
	c.W.BulkString("registers")
	c.W.Int(1 << s.Precision())
	c.W.BulkString("bytes")
	c.W.Int(int64(s.Len()))
	c.W.BulkString("count")
	c.W.Int(int64(count))
	c.W.BulkString("standard_error")
	c.W.DoubleText(strconv.AppendFloat(nil, s.StandardError(), 'g', -1, 64))
}
