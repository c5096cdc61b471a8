package exec

import (
	"encoding/binary"
	"hash/maphash"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// SubBatch gathers the commands of one owner's clients for the log, in the order in which they are to run, and remembers
// for each what its client must be told. Only writes become operations of the entry; reads that stand behind a write of
// the same client, and replies already known, are kept beside them and take their turn when the entry is applied.
//
// The obvious way is one gathering batch for all owners, under a lock. It was so: a session parsed its whole pipeline
// under that lock, the other event loops waited, and each owner looked through everybody's commands for its own. A
// sub-batch belongs to one event loop or connection goroutine. It needs no lock, is handed over at the end of a turn,
// and comes back to its owner alone.
//
// Increments of one key by the same amount form a run: one operation, at the place of its first increment. That is
// allowed because nothing else in the sub-batch looks at the key in between: any other command on the key, and any
// command without keys, ends the run.
//
// It is built by its owner, then read by whoever seals the entry, then touched by the state machine alone, then,
// complete, read by its owner.
type SubBatch struct {
	table *commands.Table

	ops   []byte // operations
	aside []byte // arguments of reads, replies already known
	items []item
	subs  []Submission
	runs  []run
	txns  []txn

	txnAt    int         // offset of the open transaction's operation in ops; -1 when none is open
	guarded  int         // transactions with a Guard
	sealed   int         // bytes of the operations that went into the entry
	aborts   func() bool // of ReadTxn
	recent   [recentRuns]recentRun
	recentOf uint32 // entries of recent with another generation are void

	out protocol.Writer // replies of all submissions, one after the other
}

// Submission is one client's uninterrupted stretch of commands in a sub-batch.
type Submission struct {
	Client     any    // whoever gathered it; the sub-batch only carries it
	Slot       uint64 // the client's own number for it; the sub-batch only carries it
	Overflowed bool
	Bytes      int // memory its commands take in the sub-batch

	first, last int // its items
	begin, end  int // its replies in the sub-batch's output
}

// MaxReplyBytes bounds the replies one submission can collect; beyond it all of them are dropped and the submission is
// marked as Overflowed, for its client to be closed. Writes are applied all the same.
const MaxReplyBytes = 32 << 20

type itemKind uint8

const (
	itemWrite   itemKind = iota // next operation
	itemRun                     // next operation, a run; at: its place in runs
	itemJoin                    // a later increment of a run; at: the run's place in runs, n: its position in the run
	itemRead                    // at: offset of its arguments in aside, n: their number
	itemLiteral                 // at: offset of its reply in aside, n: its length
	itemTxn                     // at: its place in txns, n: number of items that follow and belong to it
)

const (
	itemRESP3   = 1 << iota // the reply is for a client that speaks RESP3
	itemSilent              // the client wants no reply
	itemBarrier             // a literal that stands for what was done before: it fails with the batch
	itemAhead               // a read with SeesAhead
	itemByKey               // a read with SeesByKey
)

type item struct {
	kind  itemKind
	flags uint8
	db    uint16
	cmd   uint16 // Command.ID of a read
	at, n uint32 // see itemKind
}

const itemBytes = 16 // size of an item

type run struct {
	countAt int // offset of the count in ops
	count   uint32
	delta   int64
	ahead   bool // the replies count what is answered ahead on this node

	before  int64 // set when applied
	applied uint32
	err     error
}

type txn struct {
	parts    engine.PartSet // of its writes and reads
	deadline int64
	guard    Guard
	at, end  int  // its operation in ops; empty if it has no writes
	aborted  bool // its guard said so: it has no operation in the entry
}

const recentRuns = 512 // a power of two

type recentRun struct {
	generation uint32
	db         uint16
	run        uint32
	keyAt      uint32
	keyLen     uint32
}

var runSeed = maphash.MakeSeed()

// NewSubBatch returns an empty sub-batch.
func NewSubBatch(table *commands.Table) *SubBatch {
	b := &SubBatch{table: table, recentOf: 1}
	b.Reset()
	return b
}

// CountErrors has fn called with the text of each error that is replied to a command of the sub-batch. fn may run on any
// goroutine, one at a time.
func (b *SubBatch) CountErrors(fn func(text string)) { b.out.Failed = fn }

// Reset empties the sub-batch for reuse.
func (b *SubBatch) Reset() {
	clear(b.subs) // they hold on to their clients
	clear(b.txns)
	b.ops, b.aside, b.items, b.subs = b.ops[:0], b.aside[:0], b.items[:0], b.subs[:0]
	b.runs, b.txns, b.txnAt, b.guarded = b.runs[:0], b.txns[:0], -1, 0
	b.out.B = b.out.B[:0]
	b.endRuns()
}

// Empty reports whether nothing has been gathered.
func (b *SubBatch) Empty() bool { return len(b.items) == 0 }

// Size is the memory gathered so far in bytes, operations and what stands beside them.
func (b *SubBatch) Size() int { return len(b.ops) + len(b.aside) + len(b.items)*itemBytes }

// Submissions are what the sub-batch holds, in order. Valid until Reset.
func (b *SubBatch) Submissions() []Submission { return b.subs }

// Replies are the bytes to send to the client of s, once the sub-batch has been applied or failed. Valid until Reset.
func (b *SubBatch) Replies(s *Submission) []byte { return b.out.B[s.begin:s.end] }

// Begin opens a submission of client; every command added until End belongs to it.
func (b *SubBatch) Begin(client any, slot uint64) {
	b.subs = append(b.subs, Submission{Client: client, Slot: slot, first: len(b.items), Bytes: -b.Size()})
}

// End closes the submission and returns the bytes it takes.
func (b *SubBatch) End() int {
	s := &b.subs[len(b.subs)-1]
	s.last = len(b.items)
	s.Bytes += b.Size()
	return s.Bytes
}

func (as As) item(kind itemKind) item {
	it := item{kind: kind, db: uint16(as.DB)}
	if as.RESP == 3 {
		it.flags |= itemRESP3
	}
	if as.Silent {
		it.flags |= itemSilent
	}
	switch as.Sees {
	case SeesAhead:
		it.flags |= itemAhead
	case SeesByKey:
		it.flags |= itemByKey
	}
	return it
}

func (it *item) sees() Sees {
	switch {
	case it.flags&itemAhead != 0:
		return SeesAhead
	case it.flags&itemByKey != 0:
		return SeesByKey
	}
	return SeesApplied
}

func (it *item) resp() int {
	if it.flags&itemRESP3 != 0 {
		return 3
	}
	return 2
}

// Write adds a command that has a Write handler and whose arity is right.
func (b *SubBatch) Write(cmd *commands.Command, args [][]byte, as As) {
	if b.txnAt < 0 {
		if cmd.Delta != nil {
			if delta, ok := cmd.Delta(args); ok {
				b.Increment(args[1], delta, as)
				return
			}
		}
		b.endRunsOf(cmd, args)
	} else {
		t := &b.txns[len(b.txns)-1]
		cmd.AddPartsOrAll(args, &t.parts)
	}
	b.ops = appendCommand(b.ops, as.DB, cmd, args)
	b.items = append(b.items, as.item(itemWrite))
}

// Read adds a command that has a Read handler, to run behind what was added before.
func (b *SubBatch) Read(cmd *commands.Command, args [][]byte, as As) {
	if b.txnAt < 0 {
		b.endRunsOf(cmd, args)
	} else {
		cmd.AddPartsOrAll(args, &b.txns[len(b.txns)-1].parts)
	}
	it := as.item(itemRead)
	it.cmd, it.at, it.n = uint16(cmd.ID()), uint32(len(b.aside)), uint32(len(args))
	for _, arg := range args {
		b.aside = appendBytes(b.aside, arg)
	}
	b.items = append(b.items, it)
}

// Literal adds a reply that is already known.
func (b *SubBatch) Literal(reply []byte, as As) {
	it := as.item(itemLiteral)
	it.at, it.n = uint32(len(b.aside)), uint32(len(reply))
	b.aside = append(b.aside, reply...)
	b.items = append(b.items, it)
}

// Barrier adds a reply that is true only if all that stands before it is applied: it fails as a write does.
func (b *SubBatch) Barrier(reply []byte, as As) {
	b.Literal(reply, as)
	b.items[len(b.items)-1].flags |= itemBarrier
}

// BeginTxn opens a transaction of n commands. It is not applied if the entry's stamp reaches deadline (0 = never), or if
// guard, which may be nil, says so when the entry is sealed.
func (b *SubBatch) BeginTxn(n int, deadline int64, guard Guard, as As) {
	b.endRuns()
	it := as.item(itemTxn)
	it.at, it.n = uint32(len(b.txns)), uint32(n)
	b.items = append(b.items, it)
	b.txns = append(b.txns, txn{deadline: deadline, guard: guard})
	if guard != nil {
		b.guarded++
	}
	b.txnAt = len(b.ops)
	b.ops = appendTxn(b.ops, deadline)
}

// EndTxn closes the transaction. One without writes leaves nothing in the entry.
func (b *SubBatch) EndTxn() {
	t := &b.txns[len(b.txns)-1]
	if body := len(b.ops) - b.txnAt - txnHeaderBytes; body > 0 {
		binary.LittleEndian.PutUint32(b.ops[b.txnAt+txnLengthOffset:], uint32(body))
	} else {
		b.ops = b.ops[:b.txnAt]
	}
	t.at, t.end = b.txnAt, len(b.ops)
	b.txnAt = -1
}

// writes reports whether the transaction has an operation.
func (t *txn) writes() bool { return t.end > t.at }

// Increment adds an increment outside of a transaction, as one of INCR, DECR, INCRBY and DECRBY does: it starts a run of
// the key, or joins the one that is open.
func (b *SubBatch) Increment(key []byte, delta int64, as As) {
	recent := &b.recent[maphash.Bytes(runSeed, key)%recentRuns]
	ahead := as.Sees == SeesAhead
	if recent.generation == b.recentOf && recent.db == uint16(as.DB) &&
		string(b.ops[recent.keyAt:recent.keyAt+recent.keyLen]) == string(key) {
		if r := &b.runs[recent.run]; r.delta == delta && r.ahead == ahead {
			it := as.item(itemJoin)
			it.at, it.n = recent.run, r.count
			r.count++
			binary.LittleEndian.PutUint32(b.ops[r.countAt:], r.count)
			b.items = append(b.items, it)
			return
		}
	}
	var countAt, keyAt int
	b.ops, countAt, keyAt = appendRun(b.ops, as.DB, delta, key)
	it := as.item(itemRun)
	it.at = uint32(len(b.runs))
	b.runs = append(b.runs, run{countAt: countAt, count: 1, delta: delta, ahead: ahead})
	b.items = append(b.items, it)
	*recent = recentRun{b.recentOf, uint16(as.DB), it.at, uint32(keyAt), uint32(len(key))}
}

// endRunsOf makes sure that no later increment joins a run of a key that the command looks at.
func (b *SubBatch) endRunsOf(cmd *commands.Command, args [][]byte) {
	if len(b.runs) == 0 {
		return
	}
	switch {
	case cmd.OneKey():
		b.recent[maphash.Bytes(runSeed, args[cmd.Keys[0].First])%recentRuns].generation = b.recentOf - 1
	case cmd.HasKeys():
		cmd.EachKey(args, func(key []byte) {
			b.recent[maphash.Bytes(runSeed, key)%recentRuns].generation = b.recentOf - 1
		})
	default:
		b.endRuns()
	}
}

func (b *SubBatch) endRuns() {
	b.recentOf++
	if b.recentOf <= 1 { // wrapped around: old generations would look current again
		b.recent, b.recentOf = [recentRuns]recentRun{}, 2
	}
}

// Footprint is the memory in bytes the sub-batch keeps for its next life.
func (b *SubBatch) Footprint() int {
	return cap(b.ops) + cap(b.aside) + cap(b.items)*itemBytes + cap(b.out.B) + cap(b.runs)*64
}
