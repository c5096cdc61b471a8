package commands

import (
	"quipu/engine"
	"quipu/engine/hll"
	"quipu/protocol"
)

// PF* is Redis's HyperLogLog. Its values are strings that hold the bytes of engine/hll; clients may read and write them
// with any command for strings, and whatever they leave is checked each time.
//
// The count cached in the value's header is a node's own: PFCOUNT, which is no write and not in the log, keeps it in the
// tail that the node has behind the value, and replies that show the value show that count in the header (pf_own.go).
var pfCommands = []Command{
	{
		Name: "pfadd", LogID: 31, Event: "pfadd", Shared: sharedAlways, Arity: -2, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyRW|KeyInsert), Categories: CatHyperLogLog,
		Summary: "Add elements to a HyperLogLog", Since: "2.8.9", Group: "hyperloglog",
		Complexity: "O(1) for each element",
		Syntax:     "key [element ...]",
		Write:      runPFAdd,
		Unchanged:  pfAddUnchanged,
	},
	{
		Name: "pfcount", Arity: -2, Flags: FlagReadonly,
		Keys: []KeySpec{{First: 1, Last: -1, Step: 1, Flags: KeyRW | KeyAccess,
			Notes: "RW because it may change the internal representation of the key, and propagate to replicas"}},
		Categories: CatHyperLogLog,
		Summary:    "Estimate the number of distinct elements in one HyperLogLog, or in the union of several", Since: "2.8.9", Group: "hyperloglog",
		Complexity: "O(1) for one key whose count is cached, else O(N) for N keys with a large constant",
		Syntax:     "key [key ...]",
		Read:       runPFCount,
		Piecewise:  true,
		Cost:       perKey(pfMergeCost),
	},
	{
		Name: "pfmerge", LogID: 32, Event: "pfadd", Shared: sharedAlways, Arity: -2, Flags: FlagWrite | FlagDenyOOM,
		Keys:       []KeySpec{{First: 1, Last: 1, Step: 1, Flags: KeyRW | KeyAccess | KeyInsert}, {First: 2, Last: -1, Step: 1, Flags: KeyRO | KeyAccess}},
		Categories: CatHyperLogLog,
		Summary:    "Merge HyperLogLogs into the first", Since: "2.8.9", Group: "hyperloglog",
		Complexity: "O(N) for N keys with a large constant",
		Syntax:     "destkey:key sourcekey:key [sourcekey:key ...]",
		Write:      runPFMerge,
		Cost:       perKey(pfMergeCost),
	},
	{
		Name: "pfdebug", LogID: 33, Shared: sharedAlways, Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagAdmin,
		Keys: keyAt(2, KeyRW|KeyAccess), Categories: CatHyperLogLog,
		Summary: "Show the registers, the opcodes or the encoding of a HyperLogLog, or make it dense", Since: "2.8.9", Group: "hyperloglog",
		Complexity: "O(N) for N registers",
		System:     true,
		Syntax:     "subcommand key",
		Write:      runPFDebug,
		Unchanged:  pfDebugUnchanged,
	},
	{
		Name: "pfselftest", Arity: 1, Flags: FlagAdmin | FlagSlow, Categories: CatHyperLogLog,
		Summary: "Check the HyperLogLog code", Since: "2.8.9", Group: "hyperloglog",
		Complexity: "O(N) for the 100,000 elements it adds",
		System:     true,
		Read:       runPFSelfTest,
	},
}

const pfMergeCost = 5000 // ns, see cost.go

// pfScratch is memory that a goroutine's PF* commands work in.
type pfScratch struct {
	table  hll.Table
	dense  [hll.DenseBytes]byte
	sparse []byte
}

// keptSparse is the largest sparse that stays allocated; only values that clients have made by hand are larger.
const keptSparse = hll.SparseMax + 8

func (c *Call) pfScratch() *pfScratch {
	if c.pf == nil {
		c.pf = &pfScratch{sparse: make([]byte, 0, keptSparse)}
	}
	return c.pf
}

// isHLL reports whether a value is a HyperLogLog. Where it is not, it replies so.
func (c *Call) isHLL(v engine.Value) bool {
	switch {
	case !stringKind(v.Kind):
		c.W.Error(protocol.ErrWrongType)
	case v.Kind == engine.KindInt || !hll.Check(v.Bytes):
		c.W.Error(protocol.ErrNotHyperLogLog)
	default:
		return true
	}
	return false
}

// ownHLL reports whether a value that was opened is a HyperLogLog, which is about to be changed. Where it is none, it
// replies so.
func (c *Call) ownHLL(content engine.Content) bool {
	if !c.isHLL(engine.Value{Kind: content.Kind, Bytes: content.Bytes}) {
		return false
	}
	content.MakeRaw() // as Redis, which shares strings as it was given them, and changes its own copy
	return true
}

// hllEdit is a HyperLogLog in the keyspace while elements are added to it.
type hllEdit struct {
	t       engine.Txn
	key     []byte
	content engine.Content // to be told before bytes change, unless moved
	moved   bool           // by EditWithTail: all of the old value is kept where a snapshot needs it
	b       []byte         // the value
	n       int            // bytes of it in use: it may have room behind them
	room    int            // bytes more to ask for than are needed
	own     ownHLLTail
}

// touch is to be called before the bytes of b from from on change.
func (e *hllEdit) touch(from, n int) {
	if !e.moved {
		e.content.Touch(from, n)
	}
}

func (e *hllEdit) resize(n int) {
	e.content, e.moved = e.t.EditWithTail(e.key, e.content, n, e.own.room(n)), true
	e.b = e.content.Bytes
}

// keepOwn keeps what this node knows about the value, which has been changed and has lost its tail.
func (e *hllEdit) keepOwn() {
	tail := e.own.of(e.b)
	if tail != nil && !e.content.SetOwnTail(tail) {
		e.resize(e.n)
		e.content.SetOwnTail(tail)
	}
}

func runPFAdd(c *Call, t engine.Txn) {
	elements := c.Args[2:]
	e := hllEdit{t: t, key: c.Args[1], room: min(3*max(0, len(elements)-1), 256)}
	content, found := t.Content(e.key)
	updated := !found
	if found {
		if !c.ownHLL(content) {
			return
		}
		e.content, e.b, e.n = content, content.Bytes, len(content.Bytes)
		e.own.open(content.OwnTail())
	} else {
		var empty [24]byte
		e.n = len(hll.AppendNew(empty[:0]))
		e.resize(e.n + min(3*len(elements), 256))
		copy(e.b, empty[:e.n])
	}
	ok := true
	for _, element := range elements {
		var raised bool
		if raised, ok = e.add(c, element); !ok {
			break
		}
		updated = updated || raised
	}
	if e.n != len(e.b) {
		e.resize(e.n)
	}
	if updated && ok {
		if stale := hll.CountAt + hll.CountBytes - 1; found {
			e.touch(stale, 1)
		}
		hll.MarkStale(e.b)
		e.own.markStale()
	}
	if updated {
		e.own.skipped = e.own.skipped && ok
		e.keepOwn()
		t.Changed(e.key, e.content)
	}
	switch {
	case !ok:
		c.W.Error(protocol.ErrCorruptHyperLogLog) // what was added before stays, as in Redis
	case updated:
		c.W.Int(1)
	default:
		c.W.Int(0)
	}
}

// add adds one element. It returns false if the runs of a sparse value turn out to be wrong.
func (e *hllEdit) add(c *Call, element []byte) (raised, ok bool) {
	index, value := hll.Place(element)
	if !hll.IsDense(e.b) {
		var change hll.Change
		var skips *hll.Skips
		if e.own.skipped {
			skips = &e.own.skips
		}
		switch hll.Raise(e.b[:e.n], skips, index, value, &change) {
		case hll.Unchanged:
			return false, true
		case hll.Corrupt:
			return false, false
		case hll.Changes:
			grown := e.n + change.Grows()
			if grown > len(e.b) {
				e.resize(grown + min(e.room, max(0, hll.SparseMax-grown)))
			}
			e.touch(hll.CountAt, e.n-hll.CountAt)
			was := e.n
			e.n = change.Apply(e.b[:grown])
			if e.own.skipped {
				e.own.skips.Follow(e.b[:e.n], &change, was)
			}
			return true, true
		}
		dense := &c.pfScratch().dense
		if !hll.ToDense(dense, e.b[:e.n]) {
			return false, false
		}
		e.n = len(dense)
		e.resize(e.n)
		copy(e.b, dense[:])
	}
	if hll.DenseGet(e.b, index) >= value {
		return false, true
	}
	e.touch(hll.DenseSpot(index))
	hll.DenseSet(e.b, index, value)
	return true, true
}

// pfAddUnchanged answers a PFADD that raises no register.
func pfAddUnchanged(c *Call, v engine.View) bool {
	value, found := v.Get(c.Args[1])
	if !found || !isOwnHLL(value) {
		return false
	}
	dense, skips := hll.IsDense(value.Bytes), skipsOf(value.OwnTail())
	for _, element := range c.Args[2:] {
		index, rank := hll.Place(element)
		if dense {
			if hll.DenseGet(value.Bytes, index) < rank {
				return false
			}
			continue
		}
		var change hll.Change
		if hll.Raise(value.Bytes, skips, index, rank, &change) != hll.Unchanged {
			return false
		}
	}
	c.W.Int(0)
	return true
}

// isOwnHLL reports whether a value is a HyperLogLog, and one that PFADD and PFDEBUG would not make raw first.
func isOwnHLL(v engine.Value) bool {
	return (v.Kind == engine.KindRaw || v.Kind == engine.KindString && len(v.Bytes) > shortText) && hll.Check(v.Bytes)
}

func runPFCount(c *Call, v engine.View) {
	if len(c.Args) > 2 {
		c.countUnion(v)
		return
	}
	key := c.Args[1]
	value, found := c.lookup(v, key)
	if !found {
		c.W.Int(0)
		return
	}
	if !c.isHLL(value) {
		return
	}
	count, ok := countHLL(v, key, value)
	if !ok {
		c.W.Error(protocol.ErrCorruptHyperLogLog)
		return
	}
	c.W.Int(int64(count))
}

// countHLL counts the HyperLogLog that is at a key, and keeps the count in the value's tail. ok is false if it is corrupt.
func countHLL(v engine.View, key []byte, value engine.Value) (count uint64, ok bool) {
	var own ownHLLTail
	own.open(value.OwnTail())
	if value.Kind != engine.KindRaw && !own.counted {
		keepRaw(v, key, value)
		value, _ = v.Get(key)
	}
	if count, ok = own.cached(value.Bytes); ok {
		return count, true
	}
	if count, ok = hll.Count(value.Bytes); !ok {
		return 0, false
	}
	var cache [hll.CountBytes]byte
	own.keep(v, key, hll.AppendCount(cache[:0], count))
	v.TellOwnTail(key)
	return count, true
}

func (c *Call) countUnion(v engine.View) {
	table := &c.pfScratch().table
	*table = hll.Table{}
	for _, key := range c.Args[1:] {
		if !c.mergeKey(v, key, table) {
			return
		}
	}
	c.W.Int(int64(table.Count()))
}

// mergeKey merges the HyperLogLog at a key, if there is one. Where there is something else it replies so and returns false.
func (c *Call) mergeKey(v engine.View, key []byte, table *hll.Table) bool {
	v.LockKey(key)
	defer v.UnlockKey(key)
	value, found := c.lookup(v, key)
	switch {
	case !found:
	case !c.isHLL(value):
		return false
	case !table.Merge(value.Bytes):
		c.W.Error(protocol.ErrCorruptHyperLogLog)
		return false
	}
	return true
}

func runPFMerge(c *Call, t engine.Txn) {
	scratch := c.pfScratch()
	table := &scratch.table
	*table = hll.Table{}
	dense := false
	for _, key := range c.Args[1:] {
		value, found := t.Get(key)
		if !found {
			continue
		}
		if !c.isHLL(value) {
			return
		}
		dense = dense || hll.IsDense(value.Bytes)
		if !table.Merge(value.Bytes) {
			c.W.Error(protocol.ErrCorruptHyperLogLog)
			return
		}
	}
	key := c.Args[1]
	to := hll.AppendNew(scratch.sparse[:0])
	var own ownHLLTail
	dest, _ := t.Content(key)
	if value, found := t.Get(key); found {
		own.openCount(value.OwnTail())
		if to = append(to[:0], value.Bytes[:hll.HeaderBytes]...); !dense {
			to = append(to, value.Bytes[hll.HeaderBytes:]...)
		}
	}
	if !dense {
		var sparse bool
		if to, sparse = table.WriteSparse(to); !sparse {
			dense = true
		}
	}
	if cap(to) <= keptSparse {
		scratch.sparse = to
	}
	if dense {
		to = hll.AppendDense(scratch.dense[:0], to, table)
	}
	hll.MarkStale(to)
	own.markStale()
	t.Changed(key, own.rewrite(t, key, dest, to))
	c.W.OK()
}

func runPFDebug(c *Call, t engine.Txn) {
	key := c.Args[2]
	content, found := t.Content(key)
	if !found {
		c.W.Error(errNoDebugKey)
		return
	}
	if !c.ownHLL(content) || c.debugHLL(content.Bytes) {
		return
	}
	dense := &c.pfScratch().dense
	if !hll.ToDense(dense, content.Bytes) {
		c.W.Error(protocol.ErrCorruptHyperLogLog)
		return
	}
	var own ownHLLTail
	own.openCount(content.OwnTail())
	own.rewrite(t, key, content, dense[:]) // the same registers: no event, and WATCH does not see it
	if isWord(c.Args[1], "todense") {
		c.W.Int(1)
		return
	}
	c.debugHLL(dense[:])
}

// pfDebugUnchanged answers a PFDEBUG that has nothing to convert.
func pfDebugUnchanged(c *Call, v engine.View) bool {
	value, found := v.Get(c.Args[2])
	return found && isOwnHLL(value) && c.debugHLL(value.Bytes)
}

// debugHLL replies to PFDEBUG. It returns false, without a reply, if the value has to be made dense first.
func (c *Call) debugHLL(b []byte) bool {
	dense := hll.IsDense(b)
	switch sub := c.Args[1]; {
	case isWord(sub, "getreg"):
		if !dense {
			return false
		}
		c.W.Array(hll.Registers)
		for i := range hll.Registers {
			c.W.Int(int64(hll.DenseGet(b, i)))
		}
	case isWord(sub, "decode"):
		if dense {
			c.W.Error(errNotSparse)
			break
		}
		c.W.Bulk(hll.AppendDecoded(nil, b))
	case isWord(sub, "encoding"):
		name := "sparse"
		if dense {
			name = "dense"
		}
		c.W.Simple(name)
	case isWord(sub, "todense"):
		if !dense {
			return false
		}
		c.W.Int(0)
	default:
		c.W.Error(protocol.ErrUnknownPFDebug(sub))
	}
	return true
}

func runPFSelfTest(c *Call, _ engine.View) {
	if err := hll.SelfTest(); err != nil {
		c.W.Error("ERR " + err.Error())
		return
	}
	c.W.OK()
}
