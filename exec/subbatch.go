package exec

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"unsafe"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// SubBatch gathers the commands of one owner's clients for the log, in the order in which they are to be executed, with what
// is needed to reply to each. Only writes become operations of the entry. Reads that stand behind a write of the same
// client, and replies already known, are kept as items beside the operations, and take their turn when the entry is applied.
//
// The naive way is one batch for all owners, under a lock. Then a session parses its whole pipeline under that lock, the
// other event loops wait, and each owner looks through all commands for its own. So each event loop, or goroutine of a
// connection, has a sub-batch of its own. A sub-batch needs no lock, is handed over at the end of a turn, and comes back to
// its owner with the replies.
//
// Increments of one key by the same amount form a run: one operation, at the place of its first increment. This is
// allowed because nothing else in the sub-batch looks at the key in between: any other command on the key, and any
// command without keys, ends the run.
//
// Ownership: the owner gathers; after the handover whoever seals the entry reads; then only the goroutine that applies uses
// the sub-batch, and fills in the replies; then the owner has it again.
type SubBatch struct {
	table *commands.Table

	ops   []byte // operations
	aside []byte // arguments of reads, replies already known
	items []item // one for each command, in order
	subs  []Submission
	runs  []run
	txns  []txn

	firstRun int                   // of the submission that is open: index into runs
	txnAt    int                   // offset of the open transaction's operation in ops; -1 when none is open
	guarded  int                   // transactions with a Guard
	counted  int                   // bytes of ops that are the counted section of the node that has sent the sub-batch
	sealed   int                   // bytes of the operations that went into the entry
	aborts   func() bool           // of ReadTxn
	watches  Watches               // or nil: there is no WATCH
	recent   [recentRuns]recentRun // the runs that an increment may still join, by hash of the key
	recentOf uint32                // elements of recent with another generation are void

	out      protocol.Writer             // replies of all submissions, one after the other
	failures func(cmd *commands.Command) // see TellFailures; nil: nobody cares
}

// Submission is one client's uninterrupted stretch of commands in a sub-batch.
type Submission struct {
	Client     any    // the argument of Begin; not used here
	Slot       uint64 // the argument of Begin, the client's number for the submission; not used here
	Overflowed bool   // see MaxReplyBytes
	Voided     bool   // a transaction with a Guard did not run
	Bytes      int    // memory that the commands take in the sub-batch

	first, last int // its items: [first, last)
	begin, end  int // its replies in the sub-batch's output: [begin, end)
}

// MaxReplyBytes bounds the replies one submission can collect; beyond it all of them are dropped and the submission is
// marked as Overflowed, for its client to be closed. Writes are applied all the same.
const MaxReplyBytes = 32 << 20

type itemKind uint8

// The kinds of items, and what at and n of an item are.
const (
	itemWrite   itemKind = iota // a command that is the next operation; at and n are not used
	itemRun                     // the first increment of a run, which is the next operation; at: index into runs
	itemJoin                    // a later increment of a run; at: index into runs, n: how many increments of the run come before it
	itemRead                    // a read; at: offset of its arguments in aside, n: number of arguments
	itemLiteral                 // a known reply; at: offset of the reply in aside, n: its length in bytes
	itemWatch                   // a WATCH; at: offset in aside of what it names and its keys, n: number of keys
	itemTxn                     // a transaction; at: index into txns, n: number of items behind this one that belong to it
)

const (
	itemRESP3   = 1 << iota // the reply is for a client that speaks RESP3
	itemSilent              // the client wants no reply
	itemBarrier             // a literal that is true only if the batch is applied: it fails with the batch
	itemAhead               // a read with SeesAhead
	itemByKey               // a read with SeesByKey
)

// item is a command of a client and says how the client gets its reply. Items of all kinds share two numbers, which keeps
// an item at 16 bytes: a batch has many.
type item struct {
	kind  itemKind
	flags uint8
	db    uint16
	cmd   uint16 // Command.ID of a read, a write or an increment; noCommand: it has none, or is not known
	at    uint32 // where the rest of it is: an index or an offset, see the kinds
	n     uint32 // how much of it there is: a number or a length, see the kinds
}

const (
	itemBytes = 16 // size of an item
	noCommand = math.MaxUint16
)

// run is one operation: count equal increments of one key.
type run struct {
	countAt int // offset of the count in ops
	count   uint32
	delta   int64
	ahead   bool // the replies count what is answered ahead on this node
	shared  bool // increments of several submissions

	// Set when the run is applied:
	before  int64  // the value before the run
	applied uint32 // increments that did not overflow
	err     error  // nothing was applied
}

type txn struct {
	parts    engine.PartSet // of its writes and reads
	deadline int64          // log time in ms from which on the transaction is void; 0: never
	guard    Guard
	at, end  int  // its operation in ops; empty if it has no writes
	aborted  bool // its guard said so: it has no operation in the entry
	cost     txnCost
}

const recentRuns = 512 // a power of two

// recentRun is a run that an increment of its key may still join, if generation is SubBatch.recentOf.
type recentRun struct {
	generation uint32
	db         uint16
	run        uint32 // index into runs
	keyAt      uint32 // offset of the key in ops
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

// TellFailures has fn called for each command that has replied with an error and was not executed by itself: increments of a run, and what
// Fail replies to. Runner.TellFailures does so for all others.
func (b *SubBatch) TellFailures(fn func(cmd *commands.Command)) { b.failures = fn }

// failed is called when an item has an error as its reply.
func (b *SubBatch) failed(it *item) {
	if b.failures == nil {
		return
	}
	cmd := b.commandOf(it)
	if cmd != nil {
		b.failures(cmd)
	}
}

// commandOf is the command of an item, or nil. Which of its kin a forwarded increment was is not told; its amount says which it is like.
func (b *SubBatch) commandOf(it *item) *commands.Command {
	switch {
	case it.kind == itemLiteral:
		return nil
	case it.kind == itemTxn:
		return b.table.Lookup([]byte("exec"))
	case it.kind == itemWatch:
		return b.table.Lookup([]byte("watch"))
	case it.cmd != noCommand:
		return b.table.All()[it.cmd]
	case it.kind == itemRun || it.kind == itemJoin:
		return b.table.Lookup(incrementArgs(nil, b.runs[it.at].delta)[0])
	}
	return nil
}

// Reset empties the sub-batch for reuse.
func (b *SubBatch) Reset() {
	clear(b.subs) // they hold on to their clients
	clear(b.txns)
	b.ops, b.aside, b.items, b.subs = b.ops[:0], b.aside[:0], b.items[:0], b.subs[:0]
	b.runs, b.txns, b.txnAt, b.guarded, b.counted = b.runs[:0], b.txns[:0], -1, 0, 0
	b.out.B = b.out.B[:0]
	b.endRuns()
}

// Empty reports whether no command has been gathered.
func (b *SubBatch) Empty() bool { return len(b.items) == 0 }

// Commands is how many commands were gathered since Reset: reads, known replies and each increment of a run too; a transaction has one for
// EXEC beside its own.
func (b *SubBatch) Commands() int { return len(b.items) }

// Size is the memory in bytes that the commands gathered so far take: operations, arguments of reads, known replies, items.
func (b *SubBatch) Size() int { return len(b.ops) + len(b.aside) + len(b.items)*itemBytes }

// Submissions are what the sub-batch holds, in order. Valid until Reset.
func (b *SubBatch) Submissions() []Submission { return b.subs }

// Replies are the bytes to send to the client of s, once the sub-batch has been applied or failed. Valid until Reset.
func (b *SubBatch) Replies(s *Submission) []byte { return b.out.B[s.begin:s.end] }

// Begin opens a submission of client; every command added until End belongs to it.
func (b *SubBatch) Begin(client any, slot uint64) {
	b.firstRun = len(b.runs)
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
				b.Increment(cmd, args[1], delta, as)
				return
			}
		}
		b.endRunsOf(cmd, args)
	} else {
		t := &b.txns[len(b.txns)-1]
		cmd.AddPartsOrAll(args, &t.parts)
		t.cost.add(cmd, args)
	}
	b.ops = appendCommand(b.ops, as.DB, cmd, args)
	it := as.item(itemWrite)
	it.cmd = uint16(cmd.ID()) // noCommand for those that clients cannot name
	b.items = append(b.items, it)
}

// Read adds a command that has a Read handler, to run behind what was added before.
func (b *SubBatch) Read(cmd *commands.Command, args [][]byte, as As) {
	if b.txnAt < 0 {
		b.endRunsOf(cmd, args)
	} else {
		t := &b.txns[len(b.txns)-1]
		cmd.AddPartsOrAll(args, &t.parts)
		t.cost.add(cmd, args)
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

// Barrier adds a reply that is true only if all commands before it are applied: the reply fails as that of a write does.
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
// the key, or joins the one that is open. cmd is which of these it is, nil if that is not known.
func (b *SubBatch) Increment(cmd *commands.Command, key []byte, delta int64, as As) {
	kin := uint16(noCommand)
	if cmd != nil {
		kin = uint16(cmd.ID())
	}
	recent := &b.recent[maphash.Bytes(runSeed, key)%recentRuns]
	ahead := as.Sees == SeesAhead
	if recent.generation == b.recentOf && recent.db == uint16(as.DB) &&
		string(b.ops[recent.keyAt:recent.keyAt+recent.keyLen]) == string(key) {
		if r := &b.runs[recent.run]; r.delta == delta && r.ahead == ahead {
			it := as.item(itemJoin)
			it.cmd, it.at, it.n = kin, recent.run, r.count
			r.count++
			r.shared = r.shared || int(recent.run) < b.firstRun
			binary.LittleEndian.PutUint32(b.ops[r.countAt:], r.count)
			b.items = append(b.items, it)
			return
		}
	}
	var countAt, keyAt int
	b.ops, countAt, keyAt = appendRun(b.ops, as.DB, delta, key)
	it := as.item(itemRun)
	it.cmd, it.at = kin, uint32(len(b.runs))
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

// Footprint is the memory in bytes that the sub-batch takes, and keeps when it is reset.
func (b *SubBatch) Footprint() int {
	return int(unsafe.Sizeof(*b)) + cap(b.ops) + cap(b.aside) + cap(b.items)*itemBytes + cap(b.out.B) +
		cap(b.runs)*int(unsafe.Sizeof(run{})) + cap(b.txns)*int(unsafe.Sizeof(txn{})) + cap(b.subs)*int(unsafe.Sizeof(Submission{}))
}
