package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

// Level says which of this node's pending increments a command sees.
type Level uint8

// Levels.
const (
	LevelQuorum Level = iota // none: only what is committed
	LevelByKey               // those of the keys that are at level local
	LevelLocal               // all of them
)

func (l Level) view(v engine.View) engine.View {
	if l == LevelQuorum {
		return v
	}
	return v.Local(l == LevelLocal)
}

// level is the one a read was added at.
func (it *item) level() Level {
	switch {
	case it.flags&itemLocal != 0:
		return LevelLocal
	case it.flags&itemByKey != 0:
		return LevelByKey
	}
	return LevelQuorum
}

// Barrier adds a reply that is true only if all that stands before it is applied: it fails as a write does.
func (b *Batch) Barrier(reply []byte, o Origin) {
	b.Literal(reply, o)
	b.items[len(b.items)-1].flags |= itemBarrier
}

// burst gathers increments that are answered from memory. Carried out together they cost half: their parts are locked
// once, and what they need of the keyspace is fetched at once (BenchmarkAddPending). Equal ones in a row are one.
type burst struct {
	n      int
	incs   [engine.WarmMax]engine.Increment
	silent [engine.WarmMax]bool
}

// Gather adds an increment to be answered from memory, and returns how many are gathered; at BurstMax it is time for
// Answer. key must not change until then.
func (r *Runner) Gather(key []byte, delta int64, silent bool) int {
	b := &r.burst
	if b.n > 0 {
		if last := &b.incs[b.n-1]; last.Delta == delta && last.Count < engine.IncrementMax && b.silent[b.n-1] == silent &&
			string(last.Key) == string(key) {
			last.Count++
			return b.n
		}
	}
	b.incs[b.n] = engine.Increment{Key: key, Delta: delta, Count: 1}
	b.silent[b.n] = silent
	b.n++
	return b.n
}

// BurstMax is how many increments can be gathered.
const BurstMax = engine.WarmMax

// Gathered is the number of increments that wait for Answer.
func (r *Runner) Gathered() int { return r.burst.n }

// Answer carries out what was gathered on database db at log time now and appends the replies to w. If one of them has
// to go through the log, rest is called for it and for all behind it instead.
func (r *Runner) Answer(db int, now int64, w *protocol.Writer, rest func(key []byte, delta int64, silent bool)) {
	b := &r.burst
	done := r.ks.AddPending(b.incs[:b.n], db, now)
	for i := range done {
		if !b.silent[i] {
			replyIncrements(w, &b.incs[i])
		}
	}
	for i := done; i < b.n; i++ {
		for range b.incs[i].Count {
			rest(b.incs[i].Key, b.incs[i].Delta, b.silent[i])
		}
	}
	for i := range b.n {
		b.incs[i].Key = nil
	}
	b.n = 0
}

// replyIncrements gives each increment of a row its reply.
func replyIncrements(w *protocol.Writer, inc *engine.Increment) {
	for i := range inc.Count {
		if i < inc.Done {
			w.Int(inc.Sum - inc.Delta*int64(inc.Done-1-i))
		} else {
			w.Error(errorText(inc.Err))
		}
	}
}
