package exec

import (
	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// Replay executes the operations of an entry's payload at its stamp, as every node does that has no client waiting for
// them. An error means the payload cannot be understood; the state is then undefined and the node must stop.
func (r *Runner) Replay(payload []byte, stamp int64) error {
	d := decoder{table: r.table, databases: r.ks.Databases(), rest: payload, args: r.args}
	w := &r.unread
	var o op
	r.ahead.begin(&d, payload, r.ks)
	g := &r.group
	g.clear()
	for {
		r.ahead.step(r.ks, d.rest)
		more, err := d.next(&o)
		if g.n > 0 && (!more || err != nil || o.code != opRun || g.full()) {
			r.execute(g, stamp)
			g.clear()
		}
		if err != nil || !more {
			r.args = d.args
			return err
		}
		w.B = w.B[:0]
		switch o.code {
		case opRun:
			g.add(&o)
		case opCommand:
			r.write(o.cmd, o.args, o.db, stamp, w)
		case opDrain:
			if err := r.drain(&o, stamp); err != nil {
				return err
			}
		case opTxn:
			if err := r.replayTxn(&d, &o, stamp, w); err != nil {
				return err
			}
		}
	}
}

// replayTxn executes the transaction o; d only lends its scratch memory.
func (r *Runner) replayTxn(d *decoder, o *op, stamp int64, w *protocol.Writer) error {
	body := decoder{table: d.table, databases: d.databases, nested: true, rest: o.body, args: d.args}
	var parts engine.PartSet
	if err := body.parts(&parts); err != nil || expired(o.deadline, stamp) {
		return err
	}
	r.ks.Lock(&parts)
	defer r.ks.Unlock(&parts)
	body.rest = o.body
	var inner op
	for {
		more, err := body.next(&inner)
		if err != nil || !more {
			d.args = body.args
			return err
		}
		w.B = w.B[:0]
		r.runWrite(inner.cmd, inner.args, r.ks.Txn(inner.db, stamp, parts.IsAll()), w)
	}
}

func expired(deadline, stamp int64) bool { return deadline != 0 && deadline <= stamp }

// Apply executes the batch's own entry at its stamp together with the reads gathered beside it, and collects the
// replies. payload is the entry without the reserved bytes.
func (b *Batch) Apply(r *Runner, payload []byte, stamp int64) error {
	d := decoder{table: b.table, databases: r.ks.Databases(), trusted: true, rest: payload, args: r.args}
	a := applier{b: b, r: r, stamp: stamp, d: d, ahead: &r.ahead}
	a.ahead.begin(&d, payload, r.ks)
	r.group.clear()
	b.out.B = b.out.B[:0]
	for range b.resends {
		if err := a.drain(); err != nil {
			return err
		}
	}
	for i := range b.subs {
		s := &b.subs[i]
		s.begin = len(b.out.B)
		a.begin, a.overflowed = s.begin, false
		for at := s.first; at < s.last; {
			n, err := a.item(at)
			if err != nil {
				return err
			}
			at += n
		}
		s.end, s.Overflowed = len(b.out.B), a.overflowed
	}
	r.args = a.d.args
	return a.endOfPayload()
}

// applier walks the items of a batch and the operations of its entry side by side.
type applier struct {
	b     *Batch
	r     *Runner
	stamp int64
	d     decoder
	op    op
	args  [][]byte // arguments of a read
	ahead *warmer

	begin      int  // where the output of the submission begins
	overflowed bool // its replies exceeded MaxReplyBytes: there will be none
}

// item executes the item at position i and returns how many items it covered.
func (a *applier) item(i int) (n int, err error) {
	b, w := a.b, &a.b.out
	it := &b.items[i]
	start := len(w.B)
	w.V = it.resp()
	n = 1
	switch it.kind {
	case itemRun:
		err = a.run(i)
	case itemJoin:
		b.replyRun(it.a, it.b)
	case itemWrite:
		if err = a.nextOp(opCommand); err == nil {
			a.r.write(a.op.cmd, a.op.args, a.op.db, a.stamp, w)
		}
	case itemRead:
		if !a.unheard(it) || a.fills(it) {
			cmd, args := a.readArgs(it)
			a.r.ReadAt(cmd, args, int(it.db), a.stamp, it.level(), w)
		}
	case itemLiteral:
		w.B = append(w.B, b.local[it.a:it.a+it.b]...)
	case itemTxn:
		n = 1 + int(it.b)
		err = a.txn(i)
	case itemDrain:
		err = a.drain()
	}
	a.settle(it, start)
	return n, err
}

// unheard reports whether nobody will get the reply to the item.
func (a *applier) unheard(it *item) bool { return it.flags&itemSilent != 0 || a.overflowed }

// fills reports whether a read leaves something behind even if nobody gets its reply, as PFCOUNT does.
func (a *applier) fills(it *item) bool {
	keys := a.b.table.All()[it.cmd].Keys
	return len(keys) > 0 && keys[0].Flags&commands.KeyRW != 0
}

// settle takes back the output from start on if nobody is to get it, and all of the submission's if it is too much.
func (a *applier) settle(it *item, start int) {
	w := &a.b.out
	if it.flags&itemSilent != 0 {
		w.B = w.B[:start]
	} else if a.overflowed || len(w.B)-a.begin > MaxReplyBytes {
		a.overflowed = true
		w.B = w.B[:a.begin]
	}
}

func (a *applier) nextOp(code byte) error {
	if !a.d.nested { // inside a transaction parts are locked, which looking ahead would lock again
		a.ahead.step(a.r.ks, a.d.rest)
	}
	return a.decode(code)
}

// decode reads the next operation, which must have the code.
func (a *applier) decode(code byte) error {
	more, err := a.d.next(&a.op)
	if err == nil && (!more || a.op.code != code) {
		err = errPayload
	}
	return err
}

func (a *applier) endOfPayload() error {
	if len(a.d.rest) != 0 {
		return errPayload
	}
	return nil
}

// replyRun replies to the i-th increment of a run that has been applied.
func (b *Batch) replyRun(index, i uint32) {
	run := &b.runs[index]
	switch {
	case run.err != nil:
		b.out.Error(commands.ErrorText(run.err))
	case i >= run.applied:
		b.out.Error(protocol.ErrOverflow)
	default:
		b.out.Int(run.before + run.delta*int64(i+1))
	}
}

func (a *applier) readArgs(it *item) (*commands.Command, [][]byte) {
	d := decoder{rest: a.b.local[it.a:]}
	a.args = a.args[:0]
	for range it.b {
		arg, err := d.bytes()
		if err != nil {
			panic("BUG: a batch cannot read its own arguments")
		}
		a.args = append(a.args, arg)
	}
	return a.b.table.All()[it.cmd], a.args
}

// txn executes the transaction item at position i with the parts of all its commands locked.
func (a *applier) txn(i int) error {
	b, w := a.b, &a.b.out
	it := &b.items[i]
	t := &b.txns[it.a]
	behind := a.d.rest
	a.d.rest = nil
	if t.writes {
		a.d.rest = behind
		if err := a.nextOp(opTxn); err != nil {
			return err
		}
		behind, a.d.rest = a.d.rest, a.op.body
	}
	if expired(t.deadline, a.stamp) {
		a.d.rest = behind
		w.NullArray()
		return nil
	}
	a.r.ks.Lock(&t.parts)
	defer a.r.ks.Unlock(&t.parts)
	if b.aborts != nil && b.aborts() {
		a.d.rest = behind
		w.NullArray()
		return nil
	}
	w.Array(int(it.b))
	a.d.nested = true
	for j := i + 1; j <= i+int(it.b); j++ {
		start := len(w.B)
		if err := a.txnItem(&b.items[j], it, t.parts.IsAll()); err != nil {
			return err
		}
		a.settle(it, start)
	}
	err := a.endOfPayload()
	a.d.nested, a.d.rest = false, behind
	return err
}

// txnItem executes one command of a transaction; the locks are held. Whether anybody gets its reply depends on the
// transaction, not on the command: CLIENT REPLY may stand in between.
func (a *applier) txnItem(it, txn *item, held bool) error {
	w := &a.b.out
	w.V = it.resp()
	switch it.kind {
	case itemWrite:
		if err := a.nextOp(opCommand); err != nil {
			return err
		}
		a.r.runWrite(a.op.cmd, a.op.args, a.r.ks.Txn(a.op.db, a.stamp, held), w)
	case itemRead:
		if !a.unheard(txn) || a.fills(it) {
			cmd, args := a.readArgs(it)
			a.r.runRead(cmd, args, a.r.ks.View(int(it.db), a.stamp, held), w)
		}
	case itemLiteral:
		w.B = append(w.B, a.b.local[it.a:it.a+it.b]...)
	default:
		return errPayload
	}
	return nil
}

func (it *item) resp() int {
	if it.flags&itemRESP3 != 0 {
		return 3
	}
	return 2
}

// Fail replies to every command without executing anything: writes get the text write, reads behind them the text
// read, both without the leading '-'; replies that were known stay as they are.
func (b *Batch) Fail(write, read string) {
	w := &b.out
	w.B = w.B[:0]
	for i := range b.subs {
		s := &b.subs[i]
		s.begin = len(w.B)
		for at := s.first; at < s.last; at++ {
			it := &b.items[at]
			start := len(w.B)
			switch it.kind {
			case itemRead:
				w.Error(read)
			case itemLiteral:
				if it.flags&itemBarrier != 0 {
					w.Error(write)
				} else {
					w.B = append(w.B, b.local[it.a:it.a+it.b]...)
				}
			case itemDrain:
			case itemTxn:
				if b.txns[it.a].writes {
					w.Error(write)
				} else {
					w.Error(read)
				}
				at += int(it.b)
			default:
				w.Error(write)
			}
			if it.flags&itemSilent != 0 {
				w.B = w.B[:start]
			}
		}
		s.end, s.Overflowed = len(w.B), false
	}
}

// ReadTxn runs a transaction that has only reads and known replies: begin adds its commands to an empty batch.
// It takes no part in the log. aborts, if not nil, is asked while all keys are locked, before anything is executed: the
// transaction's own reads may touch what its client watches (PFCOUNT).
func (b *Batch) ReadTxn(r *Runner, now int64, aborts func() bool) error {
	b.aborts = aborts
	defer func() { b.aborts = nil }()
	return b.Apply(r, b.entry[b.reserved:], now)
}
