package exec

import (
	"encoding/binary"
	"hash/maphash"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// Batch gathers the commands of many clients for one log entry, in the order in which they are to run, and remembers
// for each what its client must be told. Only writes are put into the entry; reads that stand behind a write of the
// same client, and replies already known, are kept beside it and take their turn when the entry is applied.
//
// Increments of one key with the same delta form a run: one operation in the entry, applied at the place of its first
// increment. That is allowed because nothing else in the batch looks at the key in between: any other command on the
// key, and any command without keys, ends the run.
//
// A batch is built under the batcher's lock, then sealed, then touched by the state machine alone, then, complete, read
// by the transports.
type Batch struct {
	table    *commands.Table
	reserved int // bytes kept free at the start of entry for its header

	entry []byte
	local []byte // arguments of reads, literal replies
	items []item
	subs  []Submission
	runs  []run
	txns  []txn

	txnAt    int // offset of the open transaction's operation in entry; -1 when none is open
	drains   int // operations of this node's pending increments
	resends  int // of them at the start of the entry, without items
	resend   bool
	aborts   func() bool // of ReadTxn
	usual    int         // bytes of a recent entry, for the size of the next buffer
	returned bool        // the entry's buffer is ours again
	recent   [recentRuns]recentRun
	recentOf uint32 // entries of recent with another generation are void

	out protocol.Writer // replies of all submissions, one after the other
}

// Submission is one client's uninterrupted stretch of commands in a batch.
type Submission struct {
	Client     any // whoever gathered it; the batch only carries it
	Overflowed bool
	Bytes      int // memory its commands take in the batch

	first, last int // its items
	begin, end  int // its replies in the batch's output
}

// MaxReplyBytes bounds the replies one submission can collect; beyond it all of them are dropped and the submission is
// marked as Overflowed, for its client to be closed. Writes are applied all the same.
const MaxReplyBytes = 32 << 20

type itemKind uint8

const (
	itemWrite   itemKind = iota // next operation of the entry
	itemRun                     // next operation of the entry, a run; a: index into runs
	itemJoin                    // a later increment of run a; b: its position in the run
	itemRead                    // a: offset of its arguments in local, b: their number
	itemLiteral                 // a: offset of its reply in local, b: its length
	itemTxn                     // a: index into txns; b: number of items that follow and belong to it
	itemDrain                   // next operation of the entry; nobody waits for it
)

const (
	itemRESP3   = 1 << iota // the reply is for a client that speaks RESP3
	itemSilent              // the client wants no reply
	itemBarrier             // a literal that stands for what was done before: it fails with the batch
	itemLocal               // a read that sees this node's pending increments
	itemByKey               // the same, of the keys at level local
)

type item struct {
	kind  itemKind
	flags uint8
	db    uint16
	cmd   uint16 // Command.ID of a read
	a, b  uint32
}

const itemBytes = 16 // size of an item

type run struct {
	countAt int // offset of the count in entry
	count   uint32
	delta   int64
	local   bool // the replies count what is pending on this node

	before  int64 // set when applied
	applied uint32
	err     error
}

type txn struct {
	parts    engine.PartSet // of its writes and reads
	deadline int64
	writes   bool // some; only then has it an operation in the entry
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

// NewBatch returns an empty batch that leaves the first reserved bytes of its entry to the caller.
func NewBatch(table *commands.Table, reserved int) *Batch {
	b := &Batch{table: table, reserved: reserved, recentOf: 1}
	b.Reset()
	return b
}

// CountErrors has fn called with the text of each error that is replied to a command of the batch. fn may run on any
// goroutine, one at a time.
func (b *Batch) CountErrors(fn func(text string)) { b.out.Failed = fn }

// Reset empties the batch for reuse. The entry's buffer is left to whoever got it from Entry, unless it was returned.
func (b *Batch) Reset() {
	b.usual = min(max(len(b.entry), b.usual-b.usual/8), 64<<10)
	if b.returned {
		b.entry, b.returned = b.entry[:b.reserved], false
	} else {
		b.entry = make([]byte, b.reserved, b.reserved+max(b.usual, 512))
	}
	clear(b.subs) // they hold on to their clients
	b.local, b.items, b.subs = b.local[:0], b.items[:0], b.subs[:0]
	b.runs, b.txns, b.txnAt = b.runs[:0], b.txns[:0], -1
	b.drains, b.resends, b.resend = 0, 0, false
	b.out.B = b.out.B[:0]
	b.endRuns()
}

// Empty reports whether nothing has been gathered.
func (b *Batch) Empty() bool { return len(b.items) == 0 && !b.resend }

// Size is the memory gathered so far in bytes, entry and local parts.
func (b *Batch) Size() int { return len(b.entry) - b.reserved + len(b.local) + len(b.items)*itemBytes }

// Entry is the entry's buffer: reserved bytes, then the payload.
func (b *Batch) Entry() []byte { return b.entry }

// ReturnEntry says that nobody else has the entry's buffer any more.
func (b *Batch) ReturnEntry() { b.returned = true }

// Submissions are what the batch holds, in order. Valid until Reset.
func (b *Batch) Submissions() []Submission { return b.subs }

// Replies are the bytes to send to the client of s, once the batch has been applied or failed. Valid until Reset.
func (b *Batch) Replies(s *Submission) []byte { return b.out.B[s.begin:s.end] }

// Begin opens a submission of client; every command added until End belongs to it.
func (b *Batch) Begin(client any) {
	b.subs = append(b.subs, Submission{Client: client, first: len(b.items), Bytes: -b.Size()})
}

// End closes the submission and returns the bytes it takes.
func (b *Batch) End() int {
	s := &b.subs[len(b.subs)-1]
	s.last = len(b.items)
	s.Bytes += b.Size()
	return s.Bytes
}

// Origin says under which conditions a command was read from its client.
type Origin struct {
	DB     int
	RESP   int  // 2 or 3
	Silent bool // no reply wanted
	Level  Level
}

func (o Origin) item(kind itemKind) item {
	it := item{kind: kind, db: uint16(o.DB)}
	if o.RESP == 3 {
		it.flags |= itemRESP3
	}
	if o.Silent {
		it.flags |= itemSilent
	}
	switch o.Level {
	case LevelLocal:
		it.flags |= itemLocal
	case LevelByKey:
		it.flags |= itemByKey
	}
	return it
}

// Write adds a command that has a Write handler and whose arity is right.
func (b *Batch) Write(cmd *commands.Command, args [][]byte, o Origin) {
	if b.txnAt < 0 {
		if cmd.Delta != nil {
			if delta, ok := cmd.Delta(args); ok {
				b.Increment(args[1], delta, o)
				return
			}
		}
		b.endRunsOf(cmd, args)
	} else {
		t := &b.txns[len(b.txns)-1]
		cmd.AddPartsOrAll(args, &t.parts)
		t.writes = true
	}
	b.entry = appendCommand(b.entry, o.DB, cmd, args)
	b.items = append(b.items, o.item(itemWrite))
}

// Read adds a command that has a Read handler, to run behind what was added before.
func (b *Batch) Read(cmd *commands.Command, args [][]byte, o Origin) {
	if b.txnAt < 0 {
		b.endRunsOf(cmd, args)
	} else {
		cmd.AddPartsOrAll(args, &b.txns[len(b.txns)-1].parts)
	}
	it := o.item(itemRead)
	it.cmd, it.a, it.b = uint16(cmd.ID()), uint32(len(b.local)), uint32(len(args))
	for _, arg := range args {
		b.local = appendBytes(b.local, arg)
	}
	b.items = append(b.items, it)
}

// Literal adds a reply that is already known.
func (b *Batch) Literal(reply []byte, o Origin) {
	it := o.item(itemLiteral)
	it.a, it.b = uint32(len(b.local)), uint32(len(reply))
	b.local = append(b.local, reply...)
	b.items = append(b.items, it)
}

// BeginTxn opens a transaction of n commands. It is not applied if the entry's stamp reaches deadline (0 = never).
func (b *Batch) BeginTxn(n int, deadline int64, o Origin) {
	b.endRuns()
	it := o.item(itemTxn)
	it.a, it.b = uint32(len(b.txns)), uint32(n)
	b.items = append(b.items, it)
	b.txns = append(b.txns, txn{deadline: deadline})
	b.txnAt = len(b.entry)
	b.entry = appendTxn(b.entry, deadline)
}

// EndTxn closes the transaction. One without writes leaves nothing in the entry.
func (b *Batch) EndTxn() {
	if b.txns[len(b.txns)-1].writes {
		body := len(b.entry) - b.txnAt - txnHeaderBytes
		binary.LittleEndian.PutUint32(b.entry[b.txnAt+txnLengthOffset:], uint32(body))
	} else {
		b.entry = b.entry[:b.txnAt]
	}
	b.txnAt = -1
}

// Increment adds an increment outside of a transaction, as one of INCR, DECR, INCRBY and DECRBY does: it starts a run of
// the key, or joins the one that is open.
func (b *Batch) Increment(key []byte, delta int64, o Origin) {
	slot := &b.recent[maphash.Bytes(runSeed, key)%recentRuns]
	if slot.generation == b.recentOf && slot.db == uint16(o.DB) &&
		string(b.entry[slot.keyAt:slot.keyAt+slot.keyLen]) == string(key) && b.runs[slot.run].delta == delta &&
		b.runs[slot.run].local == (o.Level == LevelLocal) {
		r := &b.runs[slot.run]
		it := o.item(itemJoin)
		it.a, it.b = slot.run, r.count
		r.count++
		binary.LittleEndian.PutUint32(b.entry[r.countAt:], r.count)
		b.items = append(b.items, it)
		return
	}
	var countAt, keyAt int
	b.entry, countAt, keyAt = appendRun(b.entry, o.DB, delta, key)
	it := o.item(itemRun)
	it.a = uint32(len(b.runs))
	b.runs = append(b.runs, run{countAt: countAt, count: 1, delta: delta, local: o.Level == LevelLocal})
	b.items = append(b.items, it)
	*slot = recentRun{b.recentOf, uint16(o.DB), it.a, uint32(keyAt), uint32(len(key))}
}

// endRunsOf makes sure that no later increment joins a run of a key that the command looks at.
func (b *Batch) endRunsOf(cmd *commands.Command, args [][]byte) {
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

func (b *Batch) endRuns() {
	b.recentOf++
	if b.recentOf <= 1 { // wrapped around: old generations would look current again
		b.recent, b.recentOf = [recentRuns]recentRun{}, 2
	}
}

// Touches reports whether any write gathered in the batch may change a key for which match says true. FLUSHDB and
// other writes that name no key, or one of another database, touch everything. A transaction that is still open is
// left out.
func (b *Batch) Touches(match func(db int, key []byte) bool) bool {
	end := len(b.entry)
	if b.txnAt >= 0 {
		end = b.txnAt
	}
	d := decoder{table: b.table, databases: engine.MaxDatabases, trusted: true, rest: b.entry[b.reserved:end]}
	found, err := d.touches(match)
	if err != nil {
		panic("BUG: a batch cannot read its own entry: " + err.Error())
	}
	return found
}

// Footprint is the memory in bytes the batch keeps for its next life.
func (b *Batch) Footprint() int {
	return cap(b.entry) + cap(b.local) + cap(b.items)*itemBytes + cap(b.out.B) + cap(b.runs)*64
}
