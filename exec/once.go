package exec

import (
	"strconv"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// onceTxn is a transaction whose first command is ONCE: it is executed at most once, as a whole. Its replies are collected as
// every node records them; its client gets them in its own version of the protocol. Only writes stand in it, since nodes that
// replay the log do not have the reads of a transaction.
type onceTxn struct {
	commands.Once
	runs bool
	slot uint16 // of the first key
	n    int    // commands
	w    protocol.Writer
}

// begin is called with the first operation of a transaction, x.op, which stands for the whole of it if it is ONCE or INGEST. The
// parts are locked. over says that nothing else is to be executed, and what the client gets for EXEC is in o.w. failed counts errors.
func (o *onceTxn) begin(x *executor, all bool, failed func(text string)) (over bool) {
	ingests := x.op.cmd.IsIngest()
	if !ingests && (!x.op.cmd.IsOnce() || len(x.op.args) != 4) {
		return false
	}
	o.w = protocol.Writer{V: 3, B: o.w.B[:0], Failed: failed}
	if ingests {
		return commands.Ingest(x.op.args, x.r.ks.Txn(0, x.stamp, all), &o.w)
	}
	var refusal string
	if o.Once, refusal = commands.ParseOnce(x.op.args); refusal != "" {
		o.w.Error(refusal)
		return true
	}
	o.runs, o.slot, o.n = !o.Refused(x.r.ks.Txn(0, x.stamp, all), &o.w), 0, 0
	return !o.runs
}

// write executes the next command, x.op, and replies to it.
func (o *onceTxn) write(x *executor, all bool, w *protocol.Writer) {
	start := len(o.w.B)
	if o.n++; o.n == 1 {
		o.w.OK()
	} else {
		if o.n == 2 {
			o.slot = engine.Slot(x.op.cmd.FirstKey(x.op.args))
		}
		x.r.writeHeld(x.op.cmd, x.op.args, x.op.db, x.stamp, all, &o.w)
	}
	w.FromRESP3(o.w.B[start:])
	if len(o.w.B) > 2*engine.MaxOnceReply {
		o.w.B = append(o.w.B[:0], make([]byte, engine.MaxOnceReply+1)...) // it is too long to be kept, whatever follows
	}
}

// end records that the transaction was executed.
func (o *onceTxn) end(x *executor, all bool) {
	if !o.runs {
		return
	}
	head := append(strconv.AppendInt([]byte{'*'}, int64(o.n), 10), '\r', '\n')
	x.r.ks.Txn(0, x.stamp, all).RecordOnce(o.Producer, o.Number, o.slot, append(head, o.w.B...))
}
