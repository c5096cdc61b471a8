package server

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"quipu/commands"
	"quipu/config"
	"quipu/protocol"
)

// Which keys clients of this node use most. Commands are counted where their client is, in the session, so it makes no difference how they
// are executed: answered ahead, in a burst, as a run, in a transaction, by the log or by another node.
//
// To look at each command would cost more than the command. So each is looked at with the same probability, by chance and whatever was
// looked at before, and stands for as many as that is one of (its step). A worker does not roll the dice for each command: it draws how
// many come before the next one that is looked at (a geometric distribution). This costs a command the decrement of a number. Patterns of
// clients, such as the same keys in the same order in each pipeline, cannot hide from it, as they could from every n-th command.
//
// All workers share one sketch, under a lock: only what is looked at takes it, and the step is chosen so that that is about hotBudget
// a second, on the whole node, at any load (each takes 0.2 to 0.5 µs, BenchmarkHotKeys). Below that load every command is looked at, and nothing is estimated.

const (
	hotBudget   = 4096 // keys that are looked at in a second, about
	hotStepMax  = 1 << 30
	hotKeysEach = 64 // of a command with more keys than that, some are looked at, which stand for all
)

// hotKeys knows which keys are hot.
type hotKeys struct {
	step atomic.Int64 // one of so many commands is looked at; 0: none

	mu     sync.Mutex // a leaf, which may be taken with part locks held; guards the rest
	window hotWindow
	looked int64 // keys that were looked at since the step last changed, or the last second began
	stood  int64 // operations they stand for, since the last second began
}

// setHotKeys has the setting take effect.
func (srv *Server) setHotKeys(cfg *config.Config) {
	h := &srv.hot
	h.mu.Lock()
	defer h.mu.Unlock()
	switch on := h.step.Load() != 0; {
	case !cfg.HotKeys:
		h.step.Store(0)
		h.begin()
	case !on:
		h.step.Store(1)
		h.begin()
	}
}

// second is called about once a second: it chooses the step by what the second before has brought, and gives back memory.
func (h *hotKeys) second(ns int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.window.advance(ns)
	stood := h.stood
	h.looked, h.stood = 0, 0
	if step := h.step.Load(); step != 0 {
		for fits := int64(1); ; fits *= 2 {
			if stood/fits <= hotBudget || fits >= hotStepMax {
				// Clients that rest now and then should find almost the step that they need.
				h.step.Store(max(fits, step/4))
				return
			}
		}
	}
}

// counted is called when keys were looked at, with h.mu held.
func (h *hotKeys) counted(keys, each int64) {
	h.looked += keys
	h.stood += keys * each
	if step := h.step.Load(); h.looked > hotBudget && step != 0 && step < hotStepMax {
		h.looked = 0
		h.step.Store(2 * step)
	}
}

// frequency is what OBJECT FREQ answers: 8 for one operation in the last minute, and about 8 more for twice as many; -1: it is not known.
func (h *hotKeys) frequency(ns int64, db int, key []byte) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.step.Load() == 0 {
		return -1
	}
	k := h.window.of(ns, db, key)
	return frequencyOf(k.operations())
}

func frequencyOf(operations int64) int64 {
	return min(int64(math.Round(8*math.Log2(float64(operations)+1))), 255)
}

// hotSampler chooses which commands of a worker are looked at.
type hotSampler struct {
	left int64   // commands that come before the next one that is looked at
	step int64   // what that one stands for, as of when it was drawn
	rate float64 // of the exponential distribution whose whole part is the geometric one
}

// use takes a new step over. What was drawn under the old one is forgotten, which is fair: it does not say how long it is overdue.
func (d *hotSampler) use(step int64) {
	d.step = step
	if step == 0 {
		d.left = math.MaxInt64
		return
	}
	d.rate = -math.Log1p(-1 / float64(step)) // infinite for step 1
	d.draw()
}

func (d *hotSampler) draw() { d.left = int64(rand.ExpFloat64() / d.rate) }

// lookAtKeys counts a command for the hot keys: its turn has come.
func (s *Session) lookAtKeys(cmd *commands.Command, args [][]byte) {
	d, h := &s.worker.hot, &s.srv.hot
	each := d.step
	if d.use(h.step.Load()); each == 0 || d.step == 0 || !countsForKeys(cmd) || s.seen.noTouch.Load() {
		return
	}
	// Of many keys, as many as there may be, one of every is looked at, from anywhere on.
	every := int64(1 + len(args)/hotKeysEach)
	skip, looked := rand.Int64N(every), int64(0)
	h.mu.Lock()
	defer h.mu.Unlock()
	cmd.EachKeyFlags(args, func(key []byte, flags commands.KeyFlag) {
		if skip--; skip >= 0 || flags&commands.KeyNotKey != 0 {
			return
		}
		skip = every - 1
		looked++
		h.window.add(s.worker.began, s.db, key, each*every, cmd.Write != nil && flags&commands.KeyRO == 0)
	})
	h.counted(looked, each*every)
}

// countsForKeys reports whether a command is an operation on its keys. OBJECT and MEMORY are not, as in Redis, where they leave
// alone what is noted of the use of a key: who looks for hot keys makes none. What regions tell each other is not of clients.
func countsForKeys(cmd *commands.Command) bool {
	if !cmd.HasKeys() || cmd.KeysIn != nil {
		return false
	}
	return cmd.Parent == nil || cmd.Parent.Name != "object" && cmd.Parent.Name != "memory"
}

// hotKeysCommand is HOTKEYS [COUNT count | RESET].
func hotKeysCommand(s *Session, args [][]byte, w *protocol.Writer) {
	h, count := &s.srv.hot, int64(10)
	switch {
	case len(args) == 1:
	case len(args) == 2 && commands.LowerWord(args[1]) == "reset":
		h.reset()
		w.OK()
		return
	case len(args) == 3 && commands.LowerWord(args[1]) == "count":
		n, ok := protocol.ParseInt(args[2])
		if !ok || n < 1 {
			w.Error(protocol.ErrHotKeysCount)
			return
		}
		count = n
	default:
		w.Error(protocol.ErrSyntax)
		return
	}
	if h.step.Load() == 0 {
		w.Error(protocol.ErrHotKeysOff)
		return
	}
	list := h.top(s.srv.meter.Clock(), int(min(count, hotSlices*hotCounters)))
	w.Array(len(list))
	for i := range list {
		k := &list[i]
		w.Array(5)
		if k.cut > 0 {
			w.BulkString(fmt.Sprintf("%s... (%d more bytes)", k.key, k.cut))
		} else {
			w.Bulk(k.key)
		}
		w.Int(k.operations())
		w.Int(k.reads)
		w.Int(k.writes)
		w.Int(int64(k.db))
	}
}

func (h *hotKeys) top(ns int64, n int) []hotKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.window.top(ns, n)
}

// reset forgets everything. At first each command is looked at again.
func (h *hotKeys) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begin()
}

func (h *hotKeys) begin() {
	h.window = newHotWindow()
	h.looked, h.stood = 0, 0
	if h.step.Load() != 0 {
		h.step.Store(1)
	}
}
