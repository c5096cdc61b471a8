package exec

import (
	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// BurstMax is how many reads, or rows of equal increments with replies, can be gathered.
const BurstMax = engine.WarmMax

// BurstClient is a client whose increment was gathered.
type BurstClient interface {
	// ThroughLog takes an increment that cannot be answered ahead: the client sends it through the log. The client's
	// increments come in the order in which it sent them.
	ThroughLog(cmd *commands.Command, key []byte, delta int64, silent bool)
	// EndThroughLog is called after the last ThroughLog of several in a row.
	EndThroughLog()
	// FailedSilently is called for an increment that has an error and no reply.
	FailedSilently(cmd *commands.Command, text string)
}

// burst gathers commands of one or several clients that are carried out together: either increments that are answered
// ahead, or reads of one key each. Once the keyspace has outgrown the caches, commands together cost half of what they cost
// one by one: parts are locked once, and the cache misses of all keys overlap (engine.KeySet). Equal increments that one
// client sends in a row are one engine.Increment with a count.
//
// Invariant: reads are gathered only while there are no increments, and increments with replies only while there are no
// reads and no silent increments. Silent increments may follow increments with replies.
type burst struct {
	increments int // used elements of incs and whose
	incs       [BurstMax]engine.Increment
	whose      [BurstMax]BurstClient
	kin        [BurstMax]uint16 // Command.ID of each: which of INCR and its kin

	silent silentTable

	reads int // used elements of asked
	asked [BurstMax]burstRead

	timed bool        // a command in it was due (Timer)
	due   BurstClient // whose command that was, where it is a read

	out  [BurstMax]*protocol.Writer // where the reply of each increment or read goes
	keys engine.KeySet
}

type burstRead struct {
	cmd  *commands.Command
	args [2][]byte
	db   int
	sees Sees
}

// Gathered is the number of commands that wait for Answer; equal increments in a row count once.
func (r *Runner) Gathered() int { return r.burst.increments + r.burst.silent.n + r.burst.reads }

// GatherIncrement adds an increment to be answered ahead, with its reply to w, and returns how many elements of the burst
// are used; at BurstMax it is time for Answer. No reads may be gathered, and no silent increments: the reply would have to
// count them. key must not change until Answer. w is the client's own.
func (r *Runner) GatherIncrement(client BurstClient, cmd *commands.Command, db int, key []byte, delta int64, w *protocol.Writer) int {
	b := &r.burst
	n := b.increments
	if n > 0 {
		if last := &b.incs[n-1]; last.Delta == delta && last.Count < engine.IncrementMax && last.DB == db &&
			b.out[n-1] == w && b.kin[n-1] == uint16(cmd.ID()) && string(last.Key) == string(key) {
			last.Count++
			return n
		}
	}
	if r.Due(r.increment) {
		b.timed = true
	}
	inc := &b.incs[n]
	inc.DB, inc.Key, inc.Delta, inc.Count = db, key, delta, 1
	b.whose[n], b.out[n], b.kin[n] = client, w, uint16(cmd.ID())
	b.increments++
	return n + 1
}

// GatherRead adds a read for which Command.JoinsBurst is true, and returns how many are gathered; at BurstMax it is time
// for Answer. No increments may be gathered. args must not change until Answer.
func (r *Runner) GatherRead(client BurstClient, cmd *commands.Command, args [][]byte, db int, sees Sees, w *protocol.Writer) int {
	b := &r.burst
	n := b.reads
	if n == 0 && r.Due(cmd) { // the whole burst is timed: to ask for each read would time 64 times as many
		b.timed, b.due = true, client
	}
	b.asked[n] = burstRead{cmd, [2][]byte(args), db, sees}
	b.out[n] = w
	b.reads++
	return n + 1
}

// GathersReads reports whether reads are gathered.
func (r *Runner) GathersReads() bool { return r.burst.reads > 0 }

// GathersIncrements reports whether increments are gathered, silent ones included.
func (r *Runner) GathersIncrements() bool { return r.burst.increments+r.burst.silent.n > 0 }

// GathersSilent reports whether silent increments are gathered.
func (r *Runner) GathersSilent() bool { return r.burst.silent.n > 0 }

// Answer carries out, at log time now, what was gathered.
func (r *Runner) Answer(now int64) {
	if r.burst.timed {
		r.burst.timed = false
		r.answerTimed(now)
		return
	}
	r.answer(now)
}

func (r *Runner) answer(now int64) {
	if r.burst.reads > 0 {
		r.answerReads(now)
	}
	if r.burst.increments > 0 {
		r.answerIncrements(now)
	}
	if r.burst.silent.n > 0 {
		r.answerSilent(now)
	}
}

func (r *Runner) answerReads(now int64) {
	b := &r.burst
	b.keys.Reset(r.ks)
	for i := range b.reads {
		b.keys.Add(b.asked[i].db, b.asked[i].args[1])
	}
	b.keys.Lock()
	for i := range b.reads {
		read := &b.asked[i]
		r.runRead(read.cmd, read.args[:], read.sees.view(b.keys.View(i, now)), b.out[i])
	}
	b.keys.Unlock()
	clear(b.asked[:b.reads])
	clear(b.out[:b.reads])
	b.reads = 0
}

// answerIncrements answers increments ahead, in order, up to the first that cannot be. That one and all behind it are sent
// through the log by their clients.
func (r *Runner) answerIncrements(now int64) {
	b := &r.burst
	n := b.increments
	b.increments = 0 // first: in ThroughLog a client may ask what is gathered
	done := r.ks.AnswerAhead(b.incs[:n], now)
	for i := range done {
		r.replyIncrements(b.out[i], &b.incs[i], b.kin[i])
	}
	r.throughLog(b.incs[done:n], b.whose[done:n], b.kin[done:n], false)
	for i := range n {
		b.incs[i].Key = nil
	}
	clear(b.whose[:n])
	clear(b.out[:n])
}

func (r *Runner) throughLog(incs []engine.Increment, whose []BurstClient, kin []uint16, silent bool) {
	for i := range incs {
		for range incs[i].Count {
			whose[i].ThroughLog(r.table.All()[kin[i]], incs[i].Key, incs[i].Delta, silent)
		}
		if i == len(incs)-1 || whose[i+1] != whose[i] {
			whose[i].EndThroughLog()
		}
	}
}

// replyIncrements gives each increment of a row its reply.
func (r *Runner) replyIncrements(w *protocol.Writer, inc *engine.Increment, kin uint16) {
	for i := range inc.Count {
		if i < inc.Done {
			w.Int(inc.Sum - inc.Delta*int64(inc.Done-1-i))
		} else {
			w.Error(commands.ErrorText(inc.Err))
			r.failed(r.table.All()[kin])
		}
	}
}
