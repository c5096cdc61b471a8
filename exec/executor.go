package exec

import (
	"quipu/engine"
	"quipu/protocol"
)

// executor executes the operations of one entry, in order, at its stamp. The same code serves both cases: on replay, and
// for entries of other nodes, the results are thrown away; where clients of this node wait, a cursor over their sub-batch
// takes the results, and executes the reads between the operations in their places.
type executor struct {
	r     *Runner
	stamp int64 // log time in ms
	d     decoder
	op    op
	ahead *warmer
}

// Replay executes the operations of an entry's payload at its stamp, where no client of this node waits for them. An error
// means that the payload cannot be understood; the state is then undefined and the node must stop.
func (r *Runner) Replay(payload []byte, stamp int64) error {
	x := r.executor(payload, stamp)
	defer x.end()
	start := x.beginEntry()
	err := x.untilBytes(0)
	x.endEntry(start)
	return err
}

// Execute executes the entry that the batch was sealed into, whose payload is payload, at its stamp, together with the
// batch's reads, and collects the replies in the sub-batches.
func (b *Batch) Execute(r *Runner, payload []byte, stamp int64) error {
	x := r.executor(payload, stamp)
	defer x.end()
	start := x.beginEntry()
	defer x.endEntry(start)
	if err := x.untilBytes(len(payload) - b.ahead); err != nil {
		return err
	}
	for _, s := range b.subs {
		if err := x.subBatch(s); err != nil {
			return err
		}
	}
	if len(x.d.rest) > 0 {
		return errPayload
	}
	return nil
}

func (r *Runner) executor(payload []byte, stamp int64) *executor {
	x := &r.executing
	*x = executor{r: r, stamp: stamp, ahead: &r.ahead}
	x.d = decoder{table: r.table, databases: r.ks.Databases(), rest: payload, args: r.args}
	x.ahead.begin(&x.d, payload, r.ks)
	r.set.clear()
	return x
}

// end keeps the scratch memory, unless it has become large, and drops all references to the entry and to who waits for it.
func (x *executor) end() {
	x.r.args, x.ahead.d.args = keepArgs(x.d.args), keepArgs(x.ahead.d.args)
	x.d.args, x.d.rest, x.op = nil, nil, op{}
	x.ahead.op, x.ahead.inner = op{}, op{}
	x.r.once.Producer = nil
	x.r.call.Args, x.r.call.W = nil, nil
	if cap(x.r.unread.B) > keptScratch {
		x.r.unread.B = nil
	}
	if cap(x.r.once.w.B) > keptScratch {
		x.r.once.w.B = nil
	}
}

// keptScratch is how many bytes each piece of scratch memory may keep for the next entry.
const keptScratch = 64 << 10

// keepArgs is what to keep of the scratch memory for arguments, which point into the entry.
func keepArgs(args [][]byte) [][]byte {
	const header = 24 // bytes of a slice
	if cap(args)*header > keptScratch {
		return nil
	}
	clear(args[:cap(args)])
	return args
}

// untilBytes executes operations, with nobody waiting, until so many bytes are left.
func (x *executor) untilBytes(left int) error {
	for len(x.d.rest) > left {
		if err := x.step(nil); err != nil {
			return err
		}
	}
	return nil
}

// subBatch executes one sub-batch.
func (x *executor) subBatch(s *SubBatch) error {
	left := len(x.d.rest) - s.sealed
	if left < 0 {
		return errPayload
	}
	if err := x.untilBytes(len(x.d.rest) - s.counted); err != nil {
		return err
	}
	c := cursor{b: s}
	s.out.B = s.out.B[:0]
	for i := range s.subs {
		c.begin(&s.subs[i])
		x.r.call.MadeBy(s.subs[i].Client)
		for {
			more, err := c.aside(x)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if err := x.step(&c); err != nil {
				return err
			}
		}
		c.end()
	}
	x.r.call.MadeBy(nil)
	if len(x.d.rest) != left || c.hasResults() {
		return errPayload
	}
	return nil
}

// step executes the next operation, or the next runs together, and gives the results to c; nil: nobody wants them.
func (x *executor) step(c *cursor) error {
	if c.hasResults() {
		return c.ran()
	}
	if x.d.nextIsRun() {
		return x.stepRuns(c)
	}
	x.ahead.step(x.r.ks, x.d.rest)
	if err := x.decode(); err != nil {
		return err
	}
	switch x.op.code {
	case opCommand:
		w, err := x.writer(c, itemWrite)
		if err != nil {
			return err
		}
		why, start := x.times(x.op.cmd, x.op.args)
		x.r.write(x.op.cmd, x.op.args, x.op.db, x.stamp, w)
		if why != untimed {
			x.took(start, why, c, x.op.cmd, x.op.args)
		}
		c.done()
		return nil
	case opTxn:
		return x.timedTxn(c, func() error { return x.txn(c) })
	default:
		if c != nil {
			return errPayload // clients do not gather conditional operations, and those of nodes stand before everything else
		}
		return x.conditional()
	}
}

// decode reads the next operation; there is one.
func (x *executor) decode() error {
	more, err := x.d.next(&x.op)
	if err == nil && !more {
		err = errPayload
	}
	return err
}

// writer is where the result of an operation goes. The operation must be that of c's next item, which has this kind.
func (x *executor) writer(c *cursor, kind itemKind) (*protocol.Writer, error) {
	if c == nil {
		w := &x.r.unread
		w.B = w.B[:0]
		return w, nil
	}
	if c.item().kind != kind {
		return nil, errPayload
	}
	return c.writer(), nil
}

// stepRuns executes the next runs together: as many as stand one behind the other in the entry, as the set takes, and as c
// allows (see cursor.runs).
func (x *executor) stepRuns(c *cursor) error {
	limit, sees := engine.WarmMax, SeesApplied
	if c != nil {
		if limit, sees = c.runs(); limit == 0 {
			return errPayload
		}
		if x.r.All() {
			limit = 1
		}
	}
	set := &x.r.set
	set.clear()
	for set.n < limit && x.d.nextIsRun() {
		if err := x.decode(); err != nil {
			return err
		}
		set.add(&x.op)
	}
	if x.r.counts.By = nil; x.r.ks.Observed() {
		x.r.counts.By = c.ownerOf(set.n)
	}
	timed := x.r.Due(x.r.increment)
	var start int64
	if timed {
		start = x.r.Now()
	}
	if sees == SeesAhead {
		x.r.executeAhead(set, x.stamp)
	} else {
		x.r.execute(set, x.stamp)
	}
	if timed {
		x.tookRuns(start, c, set)
	}
	if c != nil {
		c.set, c.used = set, 0
		return c.ran()
	}
	return nil
}

// conditional executes the body of x.op if the stored position of its origin is the one that x.op names.
func (x *executor) conditional() error {
	t := x.r.ks.Txn(0, x.stamp, false).For(&x.r.counts)
	origin := x.op.origin
	inner := &executor{r: x.r, stamp: x.stamp, ahead: x.ahead, d: *x.d.inside(&x.op, scopeConditional)}
	if t.Advance(&origin, 0) != engine.Accepted {
		return nil
	}
	for len(inner.d.rest) > 0 {
		if inner.d.rest[0] != opCounted {
			if err := inner.step(nil); err != nil {
				return err
			}
			continue
		}
		if err := inner.decode(); err != nil {
			return err
		}
		if err := t.ApplyCounted(&origin, inner.op.body); err != nil {
			return errPayload
		}
	}
	return nil
}

// timedTxn has run execute a transaction, which is timed as EXEC if that is due.
func (x *executor) timedTxn(c *cursor, run func() error) error {
	exec := x.r.exec
	if exec == nil || !x.r.Due(exec) {
		return run()
	}
	start := x.r.Now()
	err := run()
	x.took(start, sampled, c, exec, nil)
	return err
}

// txn executes the transaction x.op, all parts of its keys locked together.
func (x *executor) txn(c *cursor) error {
	if c != nil && c.item().kind != itemTxn {
		return errPayload
	}
	body, behind, scope, void := x.op.body, x.d.rest, x.d.scope, expired(x.op.deadline, x.stamp)
	x.d.scope = scopeTxn
	parts, long, err := x.txnParts(c, body)
	switch {
	case err != nil:
	case void:
		c.void()
	default:
		x.d.rest = body
		x.r.lock(&parts, long)
		err = x.txnBody(c, &parts)
		x.r.unlock(&parts, long)
	}
	x.d.scope, x.d.rest = scope, behind
	return err
}

// txnParts is what must be locked for a transaction, and whether for long.
func (x *executor) txnParts(c *cursor, body []byte) (parts engine.PartSet, long bool, err error) {
	var cost txnCost
	if c != nil {
		t := c.txn()
		parts, cost = t.parts, t.cost
	} else {
		x.d.rest = body
		err = x.d.parts(&parts, &cost)
	}
	if err == nil && (cost.mayBeLong() || x.r.ks.Captured() && x.r.ks.LargestValue() > engine.LongCopy) {
		long, err = x.txnIsLong(c, body)
	}
	return parts, long, err
}

// txnBody executes the commands of a transaction; the locks are held.
func (x *executor) txnBody(c *cursor, parts *engine.PartSet) error {
	if c != nil {
		c.beginTxn()
	}
	once, first := &x.r.once, true
	once.runs = false
	for {
		more, err := len(x.d.rest) > 0, error(nil)
		if c != nil {
			more, err = c.asideInTxn(x, parts.IsAll())
		}
		if err == nil && !more {
			break
		}
		if err == nil {
			err = x.decode()
		}
		if err != nil {
			return err
		}
		w, err := x.writer(c, itemWrite)
		if err != nil {
			return err
		}
		if first {
			if over := once.begin(x, parts.IsAll(), w.Failed); over {
				c.replaceTxn(once.w.B)
				x.d.rest = nil
				return nil
			}
		}
		why, start := x.times(x.op.cmd, x.op.args)
		switch {
		case once.runs:
			once.write(x, parts.IsAll(), w)
		case first && x.op.cmd.IsIngest():
			w.OK() // it has moved the position
		default:
			x.r.writeHeld(x.op.cmd, x.op.args, x.op.db, x.stamp, parts.IsAll(), w)
		}
		if why != untimed {
			x.took(start, why, c, x.op.cmd, x.op.args)
		}
		first = false
		c.done()
	}
	if len(x.d.rest) > 0 {
		return errPayload
	}
	once.end(x, parts.IsAll())
	return nil
}

func expired(deadline, stamp int64) bool { return deadline != 0 && deadline <= stamp }

// parts adds what must be locked to run the commands of a transaction's body, and what they cost, and leaves the decoder at its
// end.
func (d *decoder) parts(parts *engine.PartSet, cost *txnCost) error {
	var o op
	for {
		more, err := d.next(&o)
		if err != nil || !more {
			return err
		}
		o.cmd.AddPartsOrAll(o.args, parts)
		cost.add(o.cmd, o.args)
	}
}
