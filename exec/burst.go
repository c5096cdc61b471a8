package exec

import (
	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// BurstMax is how many commands with a reply can be gathered.
const BurstMax = engine.WarmMax

// BurstClient is a client whose increment was gathered.
type BurstClient interface {
	// ThroughLog takes an increment that cannot be answered ahead; the client's replies come in the order of its commands.
	ThroughLog(key []byte, delta int64, silent bool)
	// EndThroughLog is called once no more follow for the client.
	EndThroughLog()
}

// burst gathers commands of one or several clients that are carried out together: either increments that are answered
// ahead, or reads of one key. It costs half of what they cost one by one once the keyspace has outgrown the
// caches: their parts are locked once, and what they need of the keyspace is fetched at once (engine.KeySet). Equal
// increments of a client in a row are one.
type burst struct {
	increments int
	incs       [BurstMax]engine.Increment
	whose      [BurstMax]BurstClient

	silent silentTable

	reads int
	asked [BurstMax]burstRead

	out  [BurstMax]*protocol.Writer // where the reply goes
	keys engine.KeySet
}

type burstRead struct {
	cmd  *commands.Command
	args [2][]byte
	db   int
	sees Sees
}

// Gathered is the number of commands that wait for Answer, rows of silent increments counted once.
func (r *Runner) Gathered() int { return r.burst.increments + r.burst.silent.n + r.burst.reads }

// GatherIncrement adds an increment to be answered ahead, with its reply to w, and returns how many are gathered;
// at BurstMax it is time for Answer. No reads may be gathered and no silent increments, which it would have to count.
// key must not change until then.
func (r *Runner) GatherIncrement(client BurstClient, db int, key []byte, delta int64, w *protocol.Writer) int {
	b := &r.burst
	n := b.increments
	if n > 0 {
		if last := &b.incs[n-1]; last.Delta == delta && last.Count < engine.IncrementMax && last.DB == db &&
			b.out[n-1] == w && b.whose[n-1] == client && string(last.Key) == string(key) {
			last.Count++
			return n
		}
	}
	inc := &b.incs[n]
	inc.DB, inc.Key, inc.Delta, inc.Count = db, key, delta, 1
	b.whose[n], b.out[n] = client, w
	b.increments++
	return n + 1
}

// GatherRead adds a read for which Command.JoinsBurst is true, and returns how many are gathered; at BurstMax it is time
// for Answer. No increments may be gathered. args must not change until then.
func (r *Runner) GatherRead(cmd *commands.Command, args [][]byte, db int, sees Sees, w *protocol.Writer) int {
	b := &r.burst
	n := b.reads
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

// Answer carries out what was gathered at log time now.
func (r *Runner) Answer(now int64) {
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

// answerIncrements has the clients send through the log what cannot be answered ahead, from the first of those on.
func (r *Runner) answerIncrements(now int64) {
	b := &r.burst
	n := b.increments
	b.increments = 0 // what goes through the log may ask what is gathered
	done := r.ks.AnswerAhead(b.incs[:n], now)
	for i := range done {
		replyIncrements(b.out[i], &b.incs[i])
	}
	throughLog(b.incs[done:n], b.whose[done:n], false)
	for i := range n {
		b.incs[i].Key = nil
	}
	clear(b.whose[:n])
	clear(b.out[:n])
}

func throughLog(incs []engine.Increment, whose []BurstClient, silent bool) {
	for i := range incs {
		for range incs[i].Count {
			whose[i].ThroughLog(incs[i].Key, incs[i].Delta, silent)
		}
		if i == len(incs)-1 || whose[i+1] != whose[i] {
			whose[i].EndThroughLog()
		}
	}
}

// replyIncrements gives each increment of a row its reply.
func replyIncrements(w *protocol.Writer, inc *engine.Increment) {
	for i := range inc.Count {
		if i < inc.Done {
			w.Int(inc.Sum - inc.Delta*int64(inc.Done-1-i))
		} else {
			w.Error(commands.ErrorText(inc.Err))
		}
	}
}
