package exec

import (
	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// cursor goes through the items of a sub-batch while its entry is executed. It stands for the clients who wait: the
// executor gives the cursor the result of each operation. Between two operations the executor has the cursor execute the
// items that are not operations of the entry: reads, known replies, transactions that only read.
//
// A nil cursor stands for nobody: the executor then calls no methods but done, void and hasResults, which do nothing.
type cursor struct {
	b    *SubBatch
	sub  *Submission
	at   int // the next item
	last int // the first item behind the submission

	set  *runSet // executed last; its runs may belong to several submissions
	used int     // runs of set whose results their items have

	start      int  // where in the output the reply of the item begins
	overflowed bool // the submission's replies exceeded MaxReplyBytes: there will be none

	outer    *item // the transaction that is being executed, else nil
	outerEnd int   // the first item behind the transaction
	outerOut int   // where in the output the transaction's reply begins
	args     [][]byte
}

// begin goes on with a submission.
func (c *cursor) begin(s *Submission) {
	c.sub, c.at, c.last = s, s.first, s.last
	s.begin, s.Voided = len(c.b.out.B), false
	c.overflowed = false
}

// end closes the submission.
func (c *cursor) end() { c.sub.end, c.sub.Overflowed = len(c.b.out.B), c.overflowed }

func (c *cursor) item() *item { return &c.b.items[c.at] }

func (c *cursor) txn() *txn { return &c.b.txns[c.item().at] }

// writer is the output, for the reply of the item at c.at.
func (c *cursor) writer() *protocol.Writer {
	w := &c.b.out
	c.start = len(w.B)
	w.V = c.item().resp()
	return w
}

// done goes on to the next item, once the reply of this one is in the output. Inside of a transaction the flags of EXEC, whose
// reply has all the others in it, say whether anybody gets the reply, even if a CLIENT REPLY stands among the commands.
func (c *cursor) done() {
	if c == nil {
		return
	}
	it := c.item()
	if c.outer != nil {
		it = c.outer
	}
	c.keep(it, c.start)
	c.at++
}

// keep takes the output from start on back if the client of the item wants no reply, and the whole output of the submission
// if that has more than MaxReplyBytes.
func (c *cursor) keep(it *item, start int) {
	w := &c.b.out
	if it.flags&itemSilent != 0 {
		w.B = w.B[:start]
	} else if c.overflowed || len(w.B)-c.sub.begin > MaxReplyBytes {
		c.overflowed = true
		w.B = w.B[:c.sub.begin]
	}
}

// unheard reports whether nobody will get the reply to the item.
func (c *cursor) unheard(it *item) bool { return it.flags&itemSilent != 0 || c.overflowed }

// fills reports whether a read must be executed even if nobody gets its reply, since it may keep a tail, as PFCOUNT does.
func (c *cursor) fills(it *item) bool {
	keys := c.b.table.All()[it.cmd].Keys
	return len(keys) > 0 && keys[0].Flags&commands.KeyRW != 0
}

// aside executes items that are not operations, up to the item of the next operation; false at the end of the submission.
func (c *cursor) aside(x *executor) (more bool, err error) {
	for c.at < c.last {
		it := c.item()
		switch it.kind {
		case itemRead:
			w := c.writer()
			if !c.unheard(it) || c.fills(it) {
				cmd, args := c.readArgs(it)
				x.r.ReadAt(c.sub.Client, cmd, args, int(it.db), x.stamp, it.sees(), w)
			}
			c.done()
		case itemLiteral:
			c.literal(it)
		case itemWatch:
			c.watch(x, it, c.writer())
			c.done()
		case itemTxn:
			t := c.txn()
			switch {
			case t.aborted:
				c.void()
			case t.writes():
				return true, nil
			case expired(t.deadline, x.stamp):
				c.void()
			default:
				if err := x.timedTxn(c, func() error { return c.readTxn(x) }); err != nil {
					return false, err
				}
			}
		case itemJoin: // of a run that stands in an earlier submission
			if !c.b.runs[it.at].reply(c.writer(), it.n) {
				c.b.failed(it)
			}
			c.done()
		default:
			return true, nil
		}
	}
	return false, nil
}

func (c *cursor) literal(it *item) {
	w := c.writer()
	w.B = append(w.B, c.b.aside[it.at:it.at+it.n]...)
	c.done()
}

func (c *cursor) readArgs(it *item) (*commands.Command, [][]byte) {
	d := decoder{rest: c.b.aside[it.at:]}
	return c.b.table.All()[it.cmd], c.readN(&d, it.n)
}

// readN reads n arguments of the sub-batch's own. They are valid until the next call.
func (c *cursor) readN(d *decoder, n uint32) [][]byte {
	c.args = c.args[:0]
	for range n {
		arg, err := d.bytes()
		if err != nil {
			panic("BUG: a sub-batch cannot read its own arguments")
		}
		c.args = append(c.args, arg)
	}
	return c.args
}

// runs is how many of the runs that come next, also those of later submissions, may be executed together: no item between
// them looks at the keyspace. A run whose replies count what is answered ahead is executed alone, with SeesAhead.
//
// To end a set with its submission is not good enough: clients that send one increment at a time then wait for their
// records one after the other (a third more CPU time of ours with 50 of them and 10,000 keys).
func (c *cursor) runs() (n int, sees Sees) {
	for i := c.at; i < len(c.b.items) && n < engine.WarmMax; i++ {
		switch it := &c.b.items[i]; it.kind {
		case itemRun:
			if c.b.runs[it.at].ahead {
				if n == 0 {
					return 1, SeesAhead
				}
				return n, SeesApplied
			}
			n++
		case itemJoin, itemLiteral:
		default:
			return n, SeesApplied
		}
	}
	return n, SeesApplied
}

// ownerOf is the client that alone wants the next n runs, or nil: there may be several.
func (c *cursor) ownerOf(n int) any {
	if c == nil {
		return nil
	}
	for i := c.at; i < c.last && n > 0; i++ {
		if it := &c.b.items[i]; it.kind == itemRun {
			if c.b.runs[it.at].shared {
				return nil
			}
			n--
		}
	}
	if n > 0 {
		return nil
	}
	return c.sub.Client
}

// hasResults reports whether the next runs have been executed, together with those before them.
func (c *cursor) hasResults() bool { return c != nil && c.set != nil && c.used < c.set.n }

// ran replies to the runs of the set, as far as they belong to this submission, to the known replies between them, and to
// the joins behind the last run. It is the hot path of INCR, and does by itself what writer and done do for other items.
func (c *cursor) ran() error {
	b, w, set, next := c.b, &c.b.out, c.set, c.used
	for ; c.at < c.last; c.at++ {
		it := &b.items[c.at]
		start := len(w.B)
		switch {
		case it.kind == itemJoin:
			if !b.runs[it.at].reply(w, it.n) {
				b.failed(it)
			}
		case it.kind == itemRun && next < set.n:
			r := &b.runs[it.at]
			r.before, r.applied, r.err = set.runs[next].Before, set.applied[next], set.runs[next].Err
			next++
			if !r.reply(w, 0) {
				b.failed(it)
			}
		case it.kind == itemLiteral && next < set.n:
			w.B = append(w.B, b.aside[it.at:it.at+it.n]...)
		case next < set.n:
			return errPayload
		default:
			c.used = next
			return nil
		}
		if it.flags&itemSilent != 0 || len(w.B)-c.sub.begin > MaxReplyBytes || c.overflowed {
			c.keep(it, start)
		}
	}
	c.used = next
	return nil
}

// reply replies to the i-th increment of a run that was applied, the same in both protocols. false: it has failed.
func (r *run) reply(w *protocol.Writer, i uint32) bool {
	switch {
	case r.err != nil:
		w.Error(commands.ErrorText(r.err))
		return false
	case i >= r.applied:
		w.Error(protocol.ErrOverflow)
		return false
	}
	w.Int(r.before + r.delta*int64(i+1))
	return true
}

// void replies to a transaction that does not run, and passes over its items.
func (c *cursor) void() {
	if c == nil {
		return
	}
	it := c.item()
	if g := c.txn().guard; g != nil {
		g.Decided(false)
		c.sub.Voided = true
	}
	c.writer().NullArray()
	c.keep(it, c.start)
	c.at += 1 + int(it.n)
}

// replaceTxn ends a transaction whose EXEC has another reply, in RESP3, than its commands would have made.
func (c *cursor) replaceTxn(reply []byte) {
	if c == nil {
		return
	}
	w := &c.b.out
	w.B, w.V = w.B[:c.outerOut], c.outer.resp()
	w.FromRESP3(reply)
	c.keep(c.outer, c.outerOut)
	c.at, c.outer = c.outerEnd, nil
}

// beginTxn replies to EXEC; the items of the transaction come next.
func (c *cursor) beginTxn() {
	it := c.item()
	c.writer().Array(int(it.n))
	c.outer, c.outerEnd, c.outerOut = it, c.at+1+int(it.n), c.start
	c.at++
}

// asideInTxn is aside inside of a transaction, whose parts are locked; false at the end of the transaction. all says that all
// parts are locked.
func (c *cursor) asideInTxn(x *executor, all bool) (more bool, err error) {
	for c.at < c.outerEnd {
		it := c.item()
		switch it.kind {
		case itemRead:
			w := c.writer()
			if !c.unheard(c.outer) || c.fills(it) {
				cmd, args := c.readArgs(it)
				why, start := x.times(cmd, args)
				x.r.runRead(cmd, args, x.r.ks.View(int(it.db), x.stamp, all), w)
				if why != untimed {
					x.took(start, why, c, cmd, args)
				}
			}
			c.done()
		case itemLiteral:
			c.literal(it)
		case itemWrite:
			return true, nil
		default:
			return false, errPayload
		}
	}
	c.keep(c.outer, c.outerOut)
	c.outer = nil
	return false, nil
}

// readTxn executes a transaction without writes.
func (c *cursor) readTxn(x *executor) error {
	t := c.txn()
	parts, long := t.parts, !x.r.onLoop && t.cost.mayBeLong() && c.readsCost(x.r.ks.LargestValue()) > commands.LongCost
	x.r.lock(&parts, long)
	defer x.r.unlock(&parts, long)
	if c.b.aborts != nil && c.b.aborts() {
		c.void()
		return nil
	}
	behind := x.d.rest // a transaction that only reads has no operation in the entry
	x.d.rest = nil
	err := x.txnBody(c, &parts)
	x.d.rest = behind
	return err
}

// ReadTxn runs a transaction that has only reads and known replies: BeginTxn to EndTxn added its commands to an empty
// sub-batch. Nothing of it goes into the log. aborts, if not nil, is asked while all keys are locked, before anything is
// executed: the transaction's own reads may touch what its client watches (PFCOUNT).
func (b *SubBatch) ReadTxn(r *Runner, now int64, aborts func() bool) error {
	b.aborts = aborts
	defer func() { b.aborts = nil }()
	x := executor{r: r, stamp: now, ahead: &r.ahead}
	b.sealed = 0
	return x.subBatch(b)
}
