package exec

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// A sub-batch on its way to the node that leads is a sequence of records, which say what clients want in the order in which
// they said it:
//
//	submission 0x01                               what follows is a client's next submission
//	first      0x08                               the same, and it is the first one of a sub-batch
//	write      0x02 | flags | an operation of kind command (format.go)
//	increment  0x03 | flags | an operation of kind run, whose count does not matter
//	again      0x04 | flags | i uvarint           as the i-th record of kind increment in the sub-batch
//	read       0x05 | flags | db uvarint | n uvarint | n × bytes, the name of the command first
//	literal    0x06 | flags | bytes               a reply that is known
//	txn        0x07 | flags | n uvarint | deadline varint   a transaction, whose commands are the next n records
//	watch      0x09 | flags | id 8 bytes | count uvarint | db uvarint | n uvarint | n × bytes, the keys; see Watch
//	guarded    0x0a | flags | id 8 bytes | count uvarint | n uvarint   a transaction that depends on what is watched
//	counted    0x0b | an operation of kind conditional   the node's counted section; before all others
//
// The naive way ships what a sub-batch has in memory. The node that leads would have to verify that operations and items fit
// together, since it stops when it cannot execute an entry. So the leader gathers the commands once more, as it does for
// its own clients: whatever the bytes, what comes out is a sub-batch, or an error. Increments join runs on the way again, so
// that those of several loops share a run.
//
// The answer is, for each submission, a uvarint with the length of the replies shifted left by two, in bit 0 whether they
// exceeded MaxReplyBytes, in bit 1 whether a guarded transaction did not run, and then the replies.
const (
	recSubmission = 0x01 + iota
	recWrite
	recIncrement
	recAgain
	recRead
	recLiteral
	recTxn
	recFirst
	recWatch
	recGuarded
	recCounted
)

// forwardFlags are the flags of an item that mean something to another node.
const forwardFlags = itemRESP3 | itemSilent | itemBarrier

var errForward = errors.New("exec: malformed batch from another node")

// AppendForwardCounted appends the record of what ks has answered ahead, if there is anything: see AppendCounted.
func AppendForwardCounted(dst []byte, ks *engine.Keyspace, limit int) (out []byte, all bool) {
	return appendCounted(dst, []byte{recCounted}, ks, limit)
}

// AppendForward appends the records of the sub-batch. Transactions whose guard is of this node alone do not run.
func (b *SubBatch) AppendForward(dst []byte) []byte {
	d := decoder{table: b.table, databases: 1 << 16, rest: b.ops}
	for i := range b.subs {
		s := &b.subs[i]
		kind := byte(recSubmission)
		if i == 0 {
			kind = recFirst
		}
		dst = append(dst, kind)
		for at := s.first; at < s.last; at++ {
			if it := &b.items[at]; it.kind == itemTxn {
				dst, at = b.forwardTxn(dst, at, &d)
			} else {
				dst = b.forwardItem(dst, it, &d)
			}
		}
	}
	return dst
}

// forwardTxn appends the transaction at b.items[at] and returns the place of its last item. d stands at its operation.
func (b *SubBatch) forwardTxn(dst []byte, at int, d *decoder) ([]byte, int) {
	it := &b.items[at]
	t := &b.txns[it.at]
	end := at + int(it.n)
	d.rest = b.ops[t.end:]
	var watch Watch
	if t.guard != nil {
		watch = t.guard.Watch()
	}
	switch {
	case t.guard == nil:
		dst = append(dst, recTxn, it.flags&forwardFlags)
		dst = binary.AppendUvarint(dst, uint64(it.n))
		dst = binary.AppendVarint(dst, t.deadline)
	case watch.ID == 0:
		t.guard.Decided(false)
		w := protocol.Writer{V: it.resp()}
		w.NullArray()
		dst = append(dst, recLiteral, it.flags&forwardFlags)
		return appendBytes(dst, w.B), end
	default:
		dst = appendWatch(append(dst, recGuarded, it.flags&forwardFlags), watch)
		dst = binary.AppendUvarint(dst, uint64(it.n))
	}
	inner := decoder{table: b.table, databases: d.databases, scope: scopeTxn}
	if t.writes() {
		inner.rest = b.ops[t.at+txnHeaderBytes : t.end]
	}
	for at++; at <= end; at++ {
		dst = b.forwardItem(dst, &b.items[at], &inner)
	}
	return dst, end
}

// forwardItem appends the record of an item that is no transaction. d stands at the next operation.
func (b *SubBatch) forwardItem(dst []byte, it *item, d *decoder) []byte {
	flags := it.flags & forwardFlags
	switch it.kind {
	case itemWrite:
		dst = append(dst, recWrite, flags)
		return append(dst, d.skip()...)
	case itemRun:
		dst = append(dst, recIncrement, flags)
		return append(dst, d.skip()...)
	case itemJoin:
		return binary.AppendUvarint(append(dst, recAgain, flags), uint64(it.at))
	case itemLiteral:
		return appendBytes(append(dst, recLiteral, flags), b.aside[it.at:it.at+it.n])
	case itemWatch:
		args := decoder{rest: b.aside[it.at:]}
		w, _ := args.watch() // the sub-batch's own
		dst = appendWatch(append(dst, recWatch, flags), w)
		dst = binary.AppendUvarint(dst, uint64(it.db))
		dst = binary.AppendUvarint(dst, uint64(it.n))
		for range it.n {
			key, _ := args.bytes()
			dst = appendBytes(dst, key)
		}
		return dst
	default:
		dst = append(dst, recRead, flags)
		dst = binary.AppendUvarint(dst, uint64(it.db))
		dst = binary.AppendUvarint(dst, uint64(it.n))
		args := decoder{rest: b.aside[it.at:]}
		for range it.n {
			args.bytes() // the sub-batch's own
		}
		return append(dst, b.aside[it.at:len(b.aside)-len(args.rest)]...)
	}
}

// skip returns the bytes of the next operation, which is one of our own.
func (d *decoder) skip() []byte {
	var o op
	before := d.rest
	if more, err := d.next(&o); err != nil || !more {
		panic("BUG: a sub-batch cannot read its own operations")
	}
	return before[:len(before)-len(d.rest)]
}

// absorber gathers the records of another node.
type absorber struct {
	to   *SubBatch
	from string // the node that has sent them
	hold func(cmd *commands.Command, args [][]byte)
	d    decoder
	open bool
	txn  int      // records of the open transaction that are still to come; it is open while inTxn
	inTx bool     // a transaction is open
	runs []absRun // the records of kind increment
	args [][]byte
}

type absRun struct {
	db    int
	delta int64
	key   []byte
}

// maxAbsorbed bounds what is gathered from one batch of another node, in bytes: few bytes can ask for much more. A batch that
// a node has gathered itself has no more than the limit of an entry.
const maxAbsorbed = 16 << 20

const submissionBytes = int(unsafe.Sizeof(Submission{}))

// Absorb gathers what AppendForward has appended on another node, whose commands are checked as those of a client are: the
// error says that they are not what a Quipu node sends. hold is called for each write before it is added. from is the ID of that
// node, which can count as no other. The sub-batch is empty before, and of no use after an error.
func (b *SubBatch) Absorb(records []byte, from string, databases int, hold func(cmd *commands.Command, args [][]byte)) error {
	a := absorber{to: b, from: from, hold: hold, d: decoder{table: b.table, databases: databases, rest: records}}
	if len(records) > 0 && records[0] == recCounted {
		if err := a.counted(); err != nil {
			return err
		}
	}
	for len(a.d.rest) > 0 {
		if err := a.record(); err != nil {
			return err
		}
		if b.Size()+len(b.subs)*submissionBytes > maxAbsorbed {
			return errForward
		}
	}
	if a.inTx {
		return errForward
	}
	if a.open {
		b.End()
	}
	return nil
}

// counted takes over the counted section of the other node, whole: nobody waits for a reply to it.
func (a *absorber) counted() error {
	var o op
	a.d.rest = a.d.rest[1:]
	before := a.d.rest
	if len(before) == 0 || before[0] != opConditional {
		return errForward
	}
	if _, err := a.d.next(&o); err != nil {
		return err
	}
	if o.origin.Kind != engine.OriginNode || string(o.origin.Name) != a.from {
		return errForward
	}
	inner := a.d.inside(&o, scopeConditional)
	var section op
	if len(inner.rest) == 0 || inner.rest[0] != opCounted {
		return errForward
	}
	if _, err := inner.next(&section); err != nil {
		return err
	}
	if len(inner.rest) > 0 || engine.EachCounted(section.body, a.d.databases, nil) != nil {
		return errForward
	}
	a.to.ops = append(a.to.ops, before[:len(before)-len(a.d.rest)]...)
	a.to.counted = len(a.to.ops)
	return nil
}

func (a *absorber) record() error {
	kind := a.d.rest[0]
	a.d.rest = a.d.rest[1:]
	if kind == recSubmission || kind == recFirst {
		if a.inTx {
			return errForward
		}
		if kind == recFirst {
			a.runs = a.runs[:0]
		}
		if a.open {
			a.to.End()
		}
		a.to.Begin(nil, uint64(len(a.to.subs)))
		a.open = true
		return nil
	}
	if !a.open || len(a.d.rest) == 0 {
		return errForward
	}
	as := As{RESP: 2}
	flags := a.d.rest[0]
	a.d.rest = a.d.rest[1:]
	if flags&^forwardFlags != 0 {
		return errForward
	}
	if flags&itemRESP3 != 0 {
		as.RESP = 3
	}
	as.Silent = flags&itemSilent != 0
	if err := a.item(kind, flags, as); err != nil {
		return err
	}
	if a.inTx && kind != recTxn && kind != recGuarded {
		a.txn--
	}
	if a.inTx && a.txn == 0 {
		a.to.EndTxn()
		a.inTx = false
	}
	return nil
}

// item gathers a record that is no submission.
func (a *absorber) item(kind byte, flags uint8, as As) error {
	switch {
	case kind == recWrite:
		return a.write(as)
	case kind == recIncrement && !a.inTx:
		return a.increment(as)
	case kind == recAgain && !a.inTx:
		i, err := a.d.uvarint()
		if err != nil || i >= uint64(len(a.runs)) {
			return errForward
		}
		r := &a.runs[i]
		as.DB = r.db
		a.to.Increment(nil, r.key, r.delta, as)
		return nil
	case kind == recRead:
		return a.read(as)
	case kind == recLiteral:
		reply, err := a.d.bytes()
		if err != nil {
			return errForward
		}
		a.to.Literal(reply, as)
		if flags&itemBarrier != 0 {
			a.to.items[len(a.to.items)-1].flags |= itemBarrier
		}
		return nil
	case kind == recTxn && !a.inTx:
		n, err := a.d.uvarint()
		deadline, size := binary.Varint(a.d.rest)
		if err != nil || size <= 0 || n > uint64(len(a.d.rest)) {
			return errForward
		}
		a.d.rest = a.d.rest[size:]
		a.begin(int(n), deadline, nil, as)
		return nil
	case kind == recGuarded && !a.inTx && a.to.watches != nil:
		w, err := a.d.watch()
		n, err2 := a.d.uvarint()
		if err != nil || err2 != nil || n > uint64(len(a.d.rest)) {
			return errForward
		}
		guard := a.to.watches.Guard(w)
		a.begin(int(n), guard.Deadline(), guard, as)
		return nil
	case kind == recWatch && !a.inTx && a.to.watches != nil:
		return a.watch(as)
	}
	return errForward
}

func (a *absorber) begin(n int, deadline int64, guard Guard, as As) {
	a.to.BeginTxn(n, deadline, guard, as)
	a.inTx, a.txn = true, n
}

func (a *absorber) watch(as As) error {
	w, err := a.d.watch()
	if err != nil {
		return errForward
	}
	if as.DB, err = a.arguments(); err != nil {
		return err
	}
	for _, key := range a.args {
		if len(key) > engine.MaxKey {
			return errForward
		}
	}
	a.to.Watch(w, a.args, as)
	return nil
}

// arguments reads the database and the arguments of a command, into a.args.
func (a *absorber) arguments() (db int, err error) {
	if db, err = a.d.database(); err != nil {
		return 0, errForward
	}
	n, err := a.d.uvarint()
	if err != nil || n > uint64(len(a.d.rest)) {
		return 0, errForward
	}
	a.args = a.args[:0]
	for range n {
		arg, err := a.d.bytes()
		if err != nil {
			return 0, errForward
		}
		a.args = append(a.args, arg)
	}
	return db, nil
}

func (a *absorber) write(as As) error {
	var o op
	if len(a.d.rest) == 0 || a.d.rest[0] != opCommand {
		return errForward
	}
	if _, err := a.d.next(&o); err != nil {
		return err
	}
	as.DB = o.db
	a.hold(o.cmd, o.args)
	a.to.Write(o.cmd, o.args, as)
	return nil
}

func (a *absorber) increment(as As) error {
	var o op
	if len(a.d.rest) == 0 || a.d.rest[0] != opRun {
		return errForward
	}
	if _, err := a.d.next(&o); err != nil {
		return err
	}
	a.runs = append(a.runs, absRun{o.db, o.delta, o.key})
	as.DB = o.db
	a.to.Increment(nil, o.key, o.delta, as)
	return nil
}

func (a *absorber) read(as As) error {
	var err error
	if as.DB, err = a.arguments(); err != nil {
		return err
	}
	if len(a.args) == 0 {
		return errForward
	}
	cmd, refusal := a.to.table.Resolve(a.args)
	if refusal != "" || cmd.Read == nil || cmd.LongKey(a.args) {
		return errForward
	}
	a.to.Read(cmd, a.args, as)
	return nil
}

// ReadsOnly reports whether nothing of the sub-batch goes into the log, and nobody has to be asked when it is sealed.
func (b *SubBatch) ReadsOnly() bool { return len(b.ops) == 0 && b.guarded == 0 }

// ExecuteReads executes a sub-batch for which ReadsOnly is true, and collects the replies. now is log time in ms. Once the
// replies have more than limit bytes, the reads of the submissions that follow are answered with the error text refused.
func (b *SubBatch) ExecuteReads(r *Runner, now int64, limit int, refused string) error {
	x := executor{r: r, stamp: now, ahead: &r.ahead}
	b.sealed = 0
	b.out.B = b.out.B[:0]
	c := cursor{b: b}
	for i := range b.subs {
		s := &b.subs[i]
		if len(b.out.B) > limit {
			b.fail(s, refused, refused)
			continue
		}
		c.begin(s)
		if more, err := c.aside(&x); err != nil || more {
			return errPayload
		}
		c.end()
	}
	return nil
}

// ReadParts are the parts that ExecuteReads locks.
func (b *SubBatch) ReadParts() (parts engine.PartSet) {
	c := cursor{b: b}
	for i := range b.items {
		switch it := &b.items[i]; it.kind {
		case itemRead:
			cmd, args := c.readArgs(it)
			cmd.AddPartsOrAll(args, &parts)
		case itemWatch:
			parts.AddAll()
		}
	}
	return parts
}

// maxReplies is how many bytes of replies an answer has before those of further submissions are left out: their clients are
// closed, as those are who ask for more than MaxReplyBytes.
const maxReplies = 128 << 20

// The flags beside the length of a submission's replies.
const (
	replyOverflowed = 1 << iota
	replyVoided
	replyBits = iota
)

// AppendReplies appends the answer to a sub-batch that was absorbed, and executed or failed.
func (b *SubBatch) AppendReplies(dst []byte) []byte {
	for i := range b.subs {
		s := &b.subs[i]
		if len(dst) > maxReplies {
			dst = append(dst, replyOverflowed) // no bytes
			continue
		}
		n := uint64(s.end-s.begin) << replyBits
		if s.Overflowed {
			n |= replyOverflowed
		}
		if s.Voided {
			n |= replyVoided
		}
		dst = binary.AppendUvarint(dst, n)
		dst = append(dst, b.Replies(s)...)
	}
	return dst
}

// TakeReplies takes the answer of AppendReplies to this sub-batch from the front of replies, and returns the rest.
func (b *SubBatch) TakeReplies(replies []byte) (rest []byte, err error) {
	b.out.B = b.out.B[:0]
	for i := range b.subs {
		s := &b.subs[i]
		v, n := binary.Uvarint(replies)
		if n <= 0 || v>>replyBits > uint64(len(replies)-n) {
			return nil, errForward
		}
		s.begin, s.Overflowed, s.Voided = len(b.out.B), v&replyOverflowed != 0, v&replyVoided != 0
		end := n + int(v>>replyBits)
		b.out.B = append(b.out.B, replies[n:end]...)
		s.end = len(b.out.B)
		replies = replies[end:]
		if b.guarded > 0 {
			b.tellGuards(s)
		}
	}
	return replies, nil
}

// tellGuards tells the guards of a submission what another node has decided. There is one at most: a client waits for the
// outcome of an EXEC before it watches anything again.
func (b *SubBatch) tellGuards(s *Submission) {
	for i := s.first; i < s.last; i++ {
		if it := &b.items[i]; it.kind == itemTxn && b.txns[it.at].guard != nil {
			b.txns[it.at].guard.Decided(!s.Voided)
		}
	}
}
