package exec

import (
	"math/bits"
	"math/rand/v2"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// Runner executes commands on a keyspace for one goroutine: it locks the parts of the command's keys, calls the
// handler and unlocks. Goroutines share the keyspace, but not a Runner, which has scratch memory.
type Runner struct {
	ks        *engine.Keyspace
	table     *commands.Table
	call      commands.Call
	parts     engine.PartSet
	args      [][]byte // scratch for the arguments of operations
	ahead     warmer
	set       runSet
	executing executor
	burst     burst
	once      onceTxn
	counts    engine.Cause                // of runs
	unread    protocol.Writer             // takes the replies that nobody waits for
	onLoop    bool                        // see OnLoop
	failures  func(cmd *commands.Command) // see TellFailures; nil: nobody cares

	Timer
	increment *commands.Command // INCR, for the Timer
	exec      *commands.Command // EXEC, likewise; nil: the table has none
}

// OnLoop says that the runner is an event loop's, which is only given what is short (server/long.go).
func (r *Runner) OnLoop() { r.onLoop = true }

// NewRunner returns a runner on ks whose commands come from table.
func NewRunner(ks *engine.Keyspace, table *commands.Table) *Runner {
	return &Runner{
		ks: ks, table: table, increment: table.Lookup([]byte("incr")), exec: table.Lookup([]byte("exec")),
		call: commands.Call{Table: table, MaxBulk: commands.MaxValueBytes, MaxReply: MaxReplyBytes, Databases: ks.Databases()},
	}
}

// CountReads makes the runner count the hits and misses of reads in a stripe of stats.
func (r *Runner) CountReads(stats *commands.ReadStats, stripe uint32) {
	r.call.Stats, r.call.Stripe = stats, stripe
}

// Frequencies has OBJECT FREQ answered by of, which may be called with keys locked.
func (r *Runner) Frequencies(of func(db int, key []byte) int64) { r.call.Frequency = of }

// TellFailures has fn called for each command that has replied with an error, where somebody waits for the reply.
func (r *Runner) TellFailures(fn func(cmd *commands.Command)) { r.failures = fn }

// failed is called when a command has replied with an error.
func (r *Runner) failed(cmd *commands.Command) {
	if r.failures != nil {
		r.failures(cmd)
	}
}

// Read runs a command that has a Read handler on database db at log time now and appends its reply to w.
func (r *Runner) Read(cmd *commands.Command, args [][]byte, db int, now int64, w *protocol.Writer) {
	r.ReadAt(nil, cmd, args, db, now, SeesApplied, w)
}

// ReadAt is Read for a client, see Timed.Client, and for a command that may see what this node has answered ahead.
func (r *Runner) ReadAt(client any, cmd *commands.Command, args [][]byte, db int, now int64, sees Sees, w *protocol.Writer) {
	why := r.times(cmd, args)
	if why == untimed {
		r.readAt(cmd, args, db, now, sees, w)
		return
	}
	start := r.Now()
	r.readAt(cmd, args, db, now, sees, w)
	r.Took(start, Timed{Cmd: cmd, Args: args, Client: client, Count: 1, Sampled: why == sampled})
}

func (r *Runner) readAt(cmd *commands.Command, args [][]byte, db int, now int64, sees Sees, w *protocol.Writer) {
	switch {
	case cmd.MayBeLong(args) && !r.onLoop && cmd.HasKeys() && cmd.IsLong(args, r.ks.LargestValue()):
		r.readLong(cmd, args, sees.view(r.ks.View(db, now, false)), w)
	case cmd.OneKey():
		part := engine.Part(args[cmd.Keys[0].First])
		r.ks.LockPart(part)
		r.runRead(cmd, args, sees.view(r.ks.View(db, now, false).In(part)), w)
		r.ks.UnlockPart(part)
	case cmd.HasKeys():
		r.lockKeys(cmd, args)
		r.runRead(cmd, args, sees.view(r.ks.View(db, now, r.parts.IsAll())), w)
		r.ks.Unlock(&r.parts)
	default:
		r.runRead(cmd, args, r.ks.View(db, now, false), w)
	}
}

// Unchanged replies to a write and returns true if executing it now would change nothing, as far as its Unchanged can
// tell. cmd has one.
func (r *Runner) Unchanged(client any, cmd *commands.Command, args [][]byte, db int, now int64, w *protocol.Writer) bool {
	if !r.Due(cmd) {
		return r.unchanged(cmd, args, db, now, w)
	}
	start := r.Now()
	done := r.unchanged(cmd, args, db, now, w)
	if done {
		r.Took(start, Timed{Cmd: cmd, Args: args, Client: client, Count: 1, Sampled: true})
	}
	return done
}

func (r *Runner) unchanged(cmd *commands.Command, args [][]byte, db int, now int64, w *protocol.Writer) bool {
	part := engine.Part(args[cmd.Keys[0].First])
	r.ks.LockPart(part)
	defer r.ks.UnlockPart(part)
	r.call.Cmd, r.call.Args, r.call.W = cmd, args, w
	errors := w.Errors
	done := cmd.Unchanged(&r.call, r.ks.View(db, now, false).In(part))
	if w.Errors != errors {
		r.failed(cmd)
	}
	return done
}

// write runs a command that has a Write handler. Only the state machine calls it.
func (r *Runner) write(cmd *commands.Command, args [][]byte, db int, now int64, w *protocol.Writer) {
	switch {
	case cmd.HasKeys() && r.writesLong(cmd, args, db, now):
		parts := partsOf(cmd, args)
		r.ks.LockLong(&parts)
		r.runWrite(cmd, args, r.ks.Txn(db, now, parts.IsAll()), w)
		r.ks.UnlockLong(&parts)
	case cmd.OneKey():
		part := engine.Part(args[cmd.Keys[0].First])
		r.ks.LockPart(part)
		r.writeIn(part, cmd, args, db, now, w)
		r.ks.UnlockPart(part)
	case cmd.HasKeys():
		r.lockKeys(cmd, args)
		r.runWrite(cmd, args, r.ks.Txn(db, now, r.parts.IsAll()), w)
		r.ks.Unlock(&r.parts)
	default:
		r.runWrite(cmd, args, r.ks.Txn(db, now, false), w)
	}
}

func (r *Runner) lockKeys(cmd *commands.Command, args [][]byte) {
	r.parts = partsOf(cmd, args)
	r.ks.Lock(&r.parts)
}

func (r *Runner) runRead(cmd *commands.Command, args [][]byte, v engine.View, w *protocol.Writer) {
	r.call.Cmd, r.call.Args, r.call.W = cmd, args, w
	errors := w.Errors
	if cmd.HasKeys() {
		cmd.Read(&r.call, v)
	} else {
		r.call.Random = rand.Uint64()
		cmd.Read(&r.call, v)
		r.call.Random = 0 // a write that depended on it would differ from node to node
	}
	if w.Errors != errors {
		r.failed(cmd)
	}
}

// writeHeld is write for a caller that holds the locks of the command's keys; all says that they are all parts' locks.
func (r *Runner) writeHeld(cmd *commands.Command, args [][]byte, db int, now int64, all bool, w *protocol.Writer) {
	if cmd.OneKey() {
		r.writeIn(engine.Part(args[cmd.Keys[0].First]), cmd, args, db, now, w)
	} else {
		r.runWrite(cmd, args, r.ks.Txn(db, now, all), w)
	}
}

// writeIn runs a command whose only key is in a part that is locked.
func (r *Runner) writeIn(part int, cmd *commands.Command, args [][]byte, db int, now int64, w *protocol.Writer) {
	r.call.Cmd, r.call.Args, r.call.W = cmd, args, w
	errors := w.Errors
	cmd.Write(&r.call, r.ks.TxnIn(part, db, now, r.call.Cause()))
	if w.Errors != errors {
		r.failed(cmd)
	}
}

func (r *Runner) runWrite(cmd *commands.Command, args [][]byte, t engine.Txn, w *protocol.Writer) {
	r.call.Cmd, r.call.Args, r.call.W = cmd, args, w
	errors := w.Errors
	r.call.RunWrite(t)
	if w.Errors != errors {
		r.failed(cmd)
	}
}

// BeginEntry tells the runner which entry of the log it executes from now on; observers of the keyspace are told.
func (r *Runner) BeginEntry(index uint64) {
	r.call.BeginEntry(index)
	r.counts = engine.Cause{Event: "incrby", Index: index}
}

// addRun applies a run of count increments of delta, all or, where they overflow, the longest prefix that does not.
// It returns the value before the run and how many increments were applied; the rest overflowed. With ahead, what this node
// has answered ahead is added to the value before, so that the run's replies continue the replies given ahead.
func (r *Runner) addRun(key []byte, db int, now, delta int64, count uint32, ahead bool) (before int64, applied uint32, err error) {
	part := engine.Part(key)
	r.ks.LockPart(part)
	defer r.ks.UnlockPart(part)
	t := r.ks.TxnIn(part, db, now, &r.counts)
	if ahead {
		defer func() { before = countAhead(before, delta*int64(applied), t.Ahead(key)) }()
	}
	before, ok, err := t.AddRun(key, delta, int(count))
	switch {
	case err != nil:
		return 0, 0, err
	case ok:
		return before, count, nil
	}
	// Sums only grow along a run, or only shrink, so the longest prefix is found in steps that halve. A step may fit
	// again, three times at most, because one twice as large is refused also when only its own total is beyond 64 bits.
	for step := uint32(1) << (bits.Len32(count) - 1); step > 0; {
		if step > count-applied {
			step /= 2
			continue
		}
		was, ok, err := t.AddRun(key, delta, int(step))
		switch {
		case err != nil:
			return 0, 0, err
		case !ok:
			step /= 2
		default:
			if applied == 0 {
				before = was
			}
			applied += step
		}
	}
	return before, applied, nil
}

// countAhead adds what is answered ahead of a counter to its value before a run that brought added, unless the sum before
// or after the run overflows: what is answered ahead will then be dropped when it is applied.
func countAhead(before, added, ahead int64) int64 {
	overflows := func(n int64) bool { return (n+ahead < n) != (ahead < 0) }
	if overflows(before) || overflows(before+added) {
		return before
	}
	return before + ahead
}
