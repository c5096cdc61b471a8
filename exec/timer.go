package exec

import (
	"math"
	"strconv"
	"sync/atomic"

	"quipu/commands"
)

// Reading the clock twice costs as much as an increment (BenchmarkClock beside BenchmarkBatchOneKey). So a command is timed by itself only if
// it may take long (dear), or if it is due: of the short ones each command's first of a second, and then one of timedEach. What a burst, or
// runs that stand one behind the other, carry out together is timed together. Meter.All has every command timed.

// Meter has the clock, and is told what took how long. This package has no clock, because what the log does must not depend on one.
type Meter struct {
	Clock func() int64   // nanoseconds since any moment; never goes back
	Took  func(Timed)    // any goroutine, maybe with keys locked: it must not wait
	Entry func(ns int64) // likewise, of an entry of the log that took as long as Slow

	All  atomic.Bool  // time every command, and each by itself
	Slow atomic.Int64 // nanoseconds from which on an entry, or a turn of a loop, took long; 0: none does
}

// Timed is a command that was timed, or several that were executed together.
type Timed struct {
	Cmd     *commands.Command
	Args    [][]byte // valid during the call of Took only; nil of several different ones
	Client  any      // see Submission.Client; nil: a client of another node
	Count   int      // how many
	NS      int64    // of all of them together
	Sampled bool     // it was due: others like it were not timed
	Replay  bool     // nobody waits: it comes from the log
}

const (
	timedEach = 256     // one of so many is timed
	timedArgs = 64      // more arguments than that take long enough for the clock not to matter
	dearCost  = 100_000 // ns, from which on it does not matter either
	closeLook = 1000    // commands that are all timed after something took long that nobody had timed
)

// Timer decides which commands of one goroutine are timed. The zero Timer times none.
type Timer struct {
	meter   *Meter
	left    []uint8 // by Command.ID: how many are not timed before the next that is
	all     bool    // Meter.All, as of the last Refresh
	closely int     // so many more commands that are due leave the next one due as well
	looked  bool    // LookClosely was called since Fresh
	second  int64   // of log time, see beginEntry
}

// NewTimer is a Timer for commands with IDs below n.
func NewTimer(m *Meter, n int) Timer { return Timer{meter: m, left: make([]uint8, n)} }

// TimeWith has what the runner executes timed.
func (r *Runner) TimeWith(m *Meter) { r.Timer = NewTimer(m, len(r.table.All())) }

// incrementArgs is how a client asks for an increment. Increments that are executed together are all timed as INCR, whichever of its kin
// they were: they do the same.
func incrementArgs(key []byte, delta int64) [][]byte {
	switch {
	case delta == 1:
		return [][]byte{[]byte("incr"), key}
	case delta == -1:
		return [][]byte{[]byte("decr"), key}
	case delta < 0 && delta != math.MinInt64:
		return [][]byte{[]byte("decrby"), key, strconv.AppendInt(nil, -delta, 10)}
	}
	return [][]byte{[]byte("incrby"), key, strconv.AppendInt(nil, delta, 10)}
}

// Due reports whether a command is to be timed now. It is inlined (BenchmarkDue).
func (t *Timer) Due(cmd *commands.Command) bool {
	if id := uint(cmd.ID()); id < uint(len(t.left)) && t.left[id] != 0 {
		t.left[id]--
		return false
	}
	return t.due(cmd.ID())
}

func (t *Timer) due(id int) bool {
	switch {
	case t.meter == nil:
		return false
	case id < 0, t.all: // no client can name the former
	case t.closely > 0:
		t.closely--
	default:
		t.left[id] = timedEach - 1
	}
	return true
}

// Refresh takes Meter.All over. It is to be called before the commands of a turn or an entry.
func (t *Timer) Refresh() {
	if t.meter == nil {
		return
	}
	if all := t.meter.All.Load(); all != t.all {
		t.all = all
		clear(t.left)
	}
}

// Fresh is to be called about once a second: whatever comes next of each command is timed.
func (t *Timer) Fresh() {
	clear(t.left)
	t.looked = false
}

// LookClosely has the next commands timed, all of them, but once between two calls of Fresh only: a node whose processors are busy
// with something else has slow turns all the time.
func (t *Timer) LookClosely() {
	if !t.looked {
		clear(t.left)
		t.closely, t.looked = closeLook, true
	}
}

// All reports whether every command is to be timed by itself.
func (t *Timer) All() bool { return t.all }

// Now is the time of the meter's clock in ns.
func (t *Timer) Now() int64 { return t.meter.Clock() }

// Took tells the meter of what has been executed since start.
func (t *Timer) Took(start int64, done Timed) {
	done.NS = t.meter.Clock() - start
	t.meter.Took(done)
}

// timing is whether, and why, a command is timed.
type timing uint8

const (
	untimed timing = iota
	sampled
	dear // it may take long
)

// times decides whether a command is timed.
func (r *Runner) times(cmd *commands.Command, args [][]byte) timing {
	switch {
	case r.meter == nil:
		return untimed
	case (cmd.Cost != nil || len(args) > timedArgs) && cmd.CostOf(args, r.ks.LargestValue()) > dearCost,
		cmd.Flags&commands.FlagSlow != 0, cmd.Moves:
		return dear
	case r.Due(cmd):
		return sampled
	}
	return untimed
}

// beginEntry notes when an entry begins, and makes each command due once a second of log time.
func (x *executor) beginEntry() (start int64) {
	t := &x.r.Timer
	if t.meter == nil {
		return 0
	}
	t.Refresh()
	if now := x.stamp / 1000; now != t.second {
		t.second = now
		t.Fresh()
	}
	return t.Now()
}

// endEntry looks more closely if the entry took long.
func (x *executor) endEntry(start int64) {
	t := &x.r.Timer
	if t.meter == nil {
		return
	}
	ns := t.Now() - start
	if slow := t.meter.Slow.Load(); slow > 0 && ns >= slow {
		t.LookClosely()
		t.meter.Entry(ns)
	}
}

// times decides whether a command is timed, and when it begins.
func (x *executor) times(cmd *commands.Command, args [][]byte) (why timing, start int64) {
	if why = x.r.times(cmd, args); why != untimed {
		start = x.r.Now()
	}
	return why, start
}

// took tells the meter of a command. c is nil where nobody waits.
func (x *executor) took(start int64, why timing, c *cursor, cmd *commands.Command, args [][]byte) {
	done := Timed{Cmd: cmd, Args: args, Count: 1, Sampled: why == sampled, Replay: c == nil}
	if c != nil {
		done.Client = c.sub.Client
	}
	x.r.Took(start, done)
}

// tookRuns tells the meter of runs that were executed together.
func (x *executor) tookRuns(start int64, c *cursor, set *runSet) {
	done := Timed{Cmd: x.r.increment, Sampled: true, Replay: c == nil}
	for i := range set.n {
		done.Count += set.runs[i].Count
	}
	if c != nil {
		done.Client = c.sub.Client
	}
	if set.n == 1 {
		done.Args = incrementArgs(set.runs[0].Key, set.runs[0].Delta)
	}
	x.r.Took(start, done)
}

// answerTimed is answer with the clock read before and behind. What was gathered has the same share each: the commands of a burst
// are short, and most of their time is that of cache misses which overlap.
func (r *Runner) answerTimed(now int64) {
	if r.burst.reads > 0 {
		r.answerTimedReads(now)
		return
	}
	b := &r.burst
	done := Timed{Cmd: r.increment, Sampled: true}
	for i := range b.increments {
		done.Count += int(b.incs[i].Count)
		done.Client = b.whose[i]
	}
	if b.increments == 1 {
		done.Args = incrementArgs(b.incs[0].Key, b.incs[0].Delta)
	}
	for i := range b.silent.n {
		done.Count += int(b.silent.incs[i].Count)
		done.Client = b.silent.whose[i]
	}
	start := r.Now()
	r.answer(now)
	r.Took(start, done)
}

// answerTimedReads tells the meter of equal commands in a row together.
func (r *Runner) answerTimedReads(now int64) {
	b := &r.burst
	n, client := b.reads, b.due
	b.due = nil
	if n == 1 {
		read := b.asked[0]
		start := r.Now()
		r.answer(now)
		r.Took(start, Timed{Cmd: read.cmd, Args: read.args[:], Client: client, Count: 1, Sampled: true})
		return
	}
	var cmds [BurstMax]*commands.Command
	for i := range n {
		cmds[i] = b.asked[i].cmd
	}
	start := r.Now()
	r.answer(now)
	ns := r.Now() - start
	for i := 0; i < n; {
		first := i
		for i++; i < n && cmds[i] == cmds[first]; i++ {
		}
		r.meter.Took(Timed{Cmd: cmds[first], Count: i - first, NS: ns * int64(i-first) / int64(n), Sampled: true})
	}
}
