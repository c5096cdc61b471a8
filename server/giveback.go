package server

import (
	"runtime"
	"runtime/debug"
)

// After a load, memory stays with the process that nothing needs: buffers kept for use again, garbage, and pages that the
// runtime keeps for a heap as large as it was. The runtime gives back little of it by itself: it collects when the heap has
// doubled, which an idle node's never does, or after two minutes, and then keeps what it expects to need again. After
// 3,000,000 INCRBY of one client 30 to 70 MiB were resident beside the data, for ever; 15 are after giving back.
//
// Giving everything back takes a collection, and page faults when the load returns. So a node does it only while it rests,
// and only when there is something to give. A client that asks INFO or PING all the time does not keep a node from
// resting: few commands with few bytes are rest.

// restWatch notices when memory is worth giving back. It belongs to the goroutine of housekeeping.
type restWatch struct {
	quiet int    // samples in a row in which little was done
	live  uint64 // bytes of the heap's objects after memory was last given back
}

const (
	// In each second of restSamples in a row, a node that rests runs at most restCommands and moves at most restBytes over
	// its sockets. Workers have let go of their spare sub-batches by then (quietTicks).
	restSamples  = 10
	restCommands = 100
	restBytes    = 256 << 10

	// worthGiving is how many bytes are worth a collection. The heap may have grown by as much with garbage.
	worthGiving = 4 << 20
)

// sampled takes what the node did in a second, and reports whether it rests.
func (r *restWatch) sampled(commands, bytes int64) bool {
	if r.quiet++; commands > restCommands || bytes > restBytes {
		r.quiet = 0
	}
	return r.quiet >= restSamples
}

// worth reports whether there is something to give back: pages that the runtime keeps unused, and what has come onto the
// heap since memory was last given back, most of which is garbage as a rule. Where it is not, one collection is in vain, and
// given remembers that.
func (r *restWatch) worth(ms *runtime.MemStats) bool {
	unused := ms.HeapIdle - ms.HeapReleased
	return unused+max(ms.HeapAlloc, r.live)-r.live >= worthGiving
}

// given is called when memory has been given back. The next time is restSamples away at least.
func (r *restWatch) given(ms *runtime.MemStats) { r.quiet, r.live = 0, ms.HeapAlloc }

// giveBack is called after each sample of the statistics.
func (srv *Server) giveBack(r *restWatch) {
	st := &srv.stats
	if !r.sampled(st.opsPerSec.Load(), st.inPerSec.Load()+st.outPerSec.Load()) {
		return
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	if !r.worth(&ms) {
		return
	}
	for _, rep := range srv.replicas {
		rep.DropSpares()
	}
	runtime.GC() // sync.Pool lets go of what is in it at the second collection only
	debug.FreeOSMemory()
	runtime.ReadMemStats(&ms)
	r.given(&ms)
}
