package replica

import (
	"time"

	"quipu/engine"
)

// ReclaimEvery is how often Reclaim is to be called while keys expire.
const ReclaimEvery = 50 * time.Millisecond

const (
	reclaimBudget = 20 * time.Millisecond // per round, so that expiring in masses takes no more than 40 % of a core
	reclaimKeys   = 256                   // keys removed while a part is locked once

	// reclaimYield is how many expired keys a chunk a pass must find to be worth it; after a pass that finds fewer, the next
	// one waits longer. Reading a chunk of records takes about 5 µs, removing a key somewhat less than 1 µs.
	reclaimYield = 32
	reclaimFree  = 200         // a pass that reads fewer chunks, in about 1 ms, is always worth it
	reclaimWait  = time.Second // longest time from the beginning of a pass to that of the next
)

// reclaimer frees expired keys, part by part, in passes over the keyspace. Where deadlines are spread over all of a
// large keyspace, every chunk has a due one at any time. Waiting between passes lets enough of them fall due to be worth
// reading the chunks again: 100,000 keys a second out of 3,000,000 take 8 % of a core with waits of up to a second, 30 %
// without (BenchmarkReclaim). An expired key is absent at once all the same; what waits is its memory.
type reclaimer struct {
	part    int           // the next part of the pass
	begun   time.Time     // when the pass began
	wait    time.Duration // from the beginning of this pass to that of the next
	removed int           // keys removed in this pass
	read    int           // chunks read in this pass
}

// proceed goes on with the pass within the budget of a round; now is log time in ms.
func (r *reclaimer) proceed(ks *engine.Keyspace, now int64) (removed int) {
	start := time.Now()
	if r.part == 0 {
		if start.Sub(r.begun) < r.wait {
			return 0
		}
		r.begun, r.removed, r.read = start, 0, 0
	}
	for r.part < engine.Parts {
		n, read, more := ks.Reclaim(r.part, now, reclaimKeys)
		removed, r.read = removed+n, r.read+read
		if !more {
			r.part++
		}
		if time.Since(start) > reclaimBudget {
			break
		}
	}
	r.removed += removed
	if r.part == engine.Parts {
		r.part = 0
		r.pace()
	}
	return removed
}

// pace chooses when the next pass may begin: twice as late after one that was not worth it, half as late after one that
// was.
func (r *reclaimer) pace() {
	switch {
	case r.read < reclaimFree:
		r.wait = 0
	case r.removed < r.read*reclaimYield:
		r.wait = min(max(2*r.wait, ReclaimEvery), reclaimWait)
	default:
		r.wait /= 2
	}
}

// Reclaim frees keys whose deadline the log has passed. The clock alone is not enough: an entry that is not yet
// applied may have an earlier stamp, and must find every key that was alive then. If keys are due and nothing is being
// written, a tick moves log time past the deadlines. Reclaim is called by one goroutine, and returns when it is to be called again
// at the latest.
func (r *Replica) Reclaim() (pause time.Duration) {
	stamp := r.Stamp()
	due := r.Keyspace.NextDue()
	switch now := r.Clock.Now(); {
	case due > now:
		return max(ReclaimEvery, time.Duration(min(due-now, 1000))*time.Millisecond)
	case due > stamp:
		r.batcher.Tick()
	default:
		r.opt.Reclaimed(r.reclaimer.proceed(r.Keyspace, stamp))
	}
	return ReclaimEvery
}
