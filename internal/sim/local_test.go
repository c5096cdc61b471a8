package sim

import (
	"sync"
	"time"

	"quipu/engine"
)

// Clients at ack level local. A node answers them by itself, from memory: what a process has answered is lost with it if it was in
// no entry, and never otherwise, whatever becomes of the leader, of messages, and of the node's own state.

const localKey = "local"

// life is what one process has answered ahead.
type life struct {
	mu       sync.Mutex
	over     bool
	answered int64
	pending  int64 // of them, not applied on this node when the process ended
}

// stop has nothing more answered.
func (l *life) stop(run *running) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.pending = run.rep.Keyspace.Ahead().Increments
}

// locals are the bounds of what the key must hold.
type locals struct {
	mu          sync.Mutex
	least, most int64
}

// end adds what a process has answered that is over.
func (l *locals) end(one *life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.least += one.answered - one.pending
	l.most += one.answered
}

// count increments the key until the world ends, ahead where the node may, else through the log.
func (l *locals) count(c *client) {
	var of *running
	last := int64(0)
	for !c.w.ended() {
		time.Sleep(time.Duration(c.rng.IntN(6)) * time.Millisecond)
		run := c.home.now()
		if run == nil || !run.ready() {
			continue
		}
		if of != run {
			of, last = run, 0
		}
		n := run.ahead()
		if n == 0 {
			reply, o := c.do("INCR " + localKey)
			l.mu.Lock()
			if o != notRun {
				l.most++
			}
			if o == done {
				l.least++
				if n, ok := number(reply); !ok || n <= last {
					c.w.errorf("INCR %s on %s: %q after %d", localKey, c.home.name, reply, last)
				}
			}
			l.mu.Unlock()
			continue
		}
		if n <= last {
			c.w.errorf("INCR %s, ahead, on %s: %d after %d", localKey, c.home.name, n, last)
		}
		last = n
	}
}

// ahead answers one increment; 0: it must go through the log.
func (r *running) ahead() int64 {
	if !r.rep.MayAnswerAhead() || r.rep.WritableAhead() != nil || !r.reading.TryRLock() {
		return 0
	}
	defer r.reading.RUnlock()
	r.local.mu.Lock()
	defer r.local.mu.Unlock()
	incs := []engine.Increment{{Key: []byte(localKey), Delta: 1}}
	if r.local.over || r.rep.Keyspace.AnswerAhead(incs, r.rep.Stamp()) == 0 {
		return 0
	}
	r.rep.AnsweredAhead()
	r.local.answered++
	return incs[0].Sum
}

// settle waits until nothing is answered ahead any more on nodes that all run.
func (l *locals) settle(w *world) {
	for _, n := range w.nodes {
		run := n.now()
		for end := w.time() + 20*time.Second; run.rep.Keyspace.HasAhead(); time.Sleep(20 * time.Millisecond) {
			if w.time() > end {
				w.errorf("%s does not get rid of %+v", n.name, run.rep.Keyspace.Ahead())
				return
			}
		}
	}
}

// check compares the key with what was answered: by processes that live all of it, by others at least what they had applied.
func (l *locals) check(c *client) {
	for _, n := range c.w.nodes {
		run := n.now()
		run.local.stop(run)
		l.least += run.local.answered
		l.most += run.local.answered
		run.local.answered, run.local.pending = 0, 0
	}
	for end := c.w.time() + 10*time.Second; c.w.time() < end; {
		reply, o := c.do("GET " + localKey)
		if o != done {
			continue
		}
		if n, ok := number(reply); !ok || n < l.least || n > l.most {
			c.w.errorf("%s is %q; between %d and %d were answered", localKey, reply, l.least, l.most)
		}
		return
	}
}
