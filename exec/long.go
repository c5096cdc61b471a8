package exec

import (
	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// Commands that take long lock their parts so that no event loop waits for the locks (engine/longlock.go). Event loops are given
// none of them, see server/long.go.

func partsOf(cmd *commands.Command, args [][]byte) (parts engine.PartSet) {
	cmd.AddParts(args, &parts)
	return parts
}

// readLong executes a read that takes long.
func (r *Runner) readLong(cmd *commands.Command, args [][]byte, v engine.View, w *protocol.Writer) {
	if cmd.Piecewise {
		r.runRead(cmd, args, v.Unlocked(), w)
		return
	}
	parts := partsOf(cmd, args)
	r.ks.LockLong(&parts)
	r.runRead(cmd, args, v, w)
	r.ks.UnlockLong(&parts)
}

// writesLong reports whether executing a write may take long: by what it does, or because it copies a large value. The latter can
// be told only of the value itself. A keyspace without large values is not asked.
func (r *Runner) writesLong(cmd *commands.Command, args [][]byte, db int, now int64) bool {
	if cmd.IsOnce() {
		cmd, args = r.insideOnce(cmd, args)
	}
	largest := r.ks.LargestValue()
	return cmd.MayBeLong(args) && cmd.IsLong(args, largest) ||
		largest > engine.LongCopy && (cmd.Moves || r.ks.Captured()) &&
			r.ks.View(db, now, false).CopiedBy(cmd.FirstKey(args), cmd.Moves) > engine.LongCopy
}

// insideOnce is the command inside of ONCE, where it may take long: increments, and whatever else begins like them, are not looked up.
func (r *Runner) insideOnce(cmd *commands.Command, args [][]byte) (*commands.Command, [][]byte) {
	if len(args) > 5 && len(args[4]) > 0 && args[4][0]|0x20 != 'i' && args[4][0]|0x20 != 'd' {
		if inner := r.table.Find(args[4:]); inner != nil {
			return inner, args[4:]
		}
	}
	return cmd, args
}

// lock locks the parts of a transaction.
func (r *Runner) lock(parts *engine.PartSet, long bool) {
	if long {
		r.ks.LockLong(parts)
	} else {
		r.ks.Lock(parts)
	}
}

func (r *Runner) unlock(parts *engine.PartSet, long bool) {
	if long {
		r.ks.UnlockLong(parts)
	} else {
		r.ks.Unlock(parts)
	}
}

// txnCost is what is known beforehand of how long a transaction may take.
type txnCost struct {
	args  int  // of all its commands
	heavy bool // a command of it may take long by itself
}

func (t *txnCost) add(cmd *commands.Command, args [][]byte) {
	t.args += len(args)
	t.heavy = t.heavy || cmd.Cost != nil || cmd.Moves
}

// mayBeLong reports whether txnIsLong can be true.
func (t *txnCost) mayBeLong() bool {
	return t.heavy || commands.ArgumentsCost(t.args) > commands.LongCost
}

// txnIsLong reports whether a transaction may take long. Its operations are in body; those of its commands that are none are
// items behind c, which may be nil.
func (x *executor) txnIsLong(c *cursor, body []byte) (long bool, err error) {
	rest := x.d.rest
	defer func() { x.d.rest = rest }()
	cost, largest := 0, x.r.ks.LargestValue()
	var o op
	for x.d.rest = body; cost <= commands.LongCost; {
		more, err := x.d.next(&o)
		if err != nil {
			return false, err
		}
		if !more {
			break
		}
		if x.r.writesLong(o.cmd, o.args, o.db, x.stamp) {
			return true, nil
		}
		cost += o.cmd.CostOf(o.args, largest)
	}
	if c != nil {
		cost += c.readsCost(largest)
	}
	return cost > commands.LongCost, nil
}

// readsCost is the cost of the reads of the transaction that is the next item.
func (c *cursor) readsCost(largest int) (cost int) {
	behind := c.b.items[c.at+1:][:c.item().n]
	for i := range behind {
		if it := &behind[i]; it.kind == itemRead {
			cmd, args := c.readArgs(it)
			cost += cmd.CostOf(args, largest)
		}
	}
	return cost
}
