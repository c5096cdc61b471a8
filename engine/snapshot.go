package engine

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A snapshot is the content of the keyspace at the moment of Capture, written
// out while the keyspace goes on changing.
//
// Capture pins every chunk: it notes the chunk's address and how far it is used,
// and copies nothing. From then on, whoever is about to change bytes of a pinned
// chunk first appends the old bytes to the pin's undo log (12 bytes for an
// increment). When the writer comes to the chunk it copies it under the part's
// lock, which unpins it, and undoes the changes in the copy, newest first. Blocks
// made behind the noted end need no undo. Saving what changes instead of whole
// chunks matters because random writes touch every chunk within milliseconds.
//
// A chunk that changes a lot is copied as a whole once its undo log has grown to
// a quarter of it; a chunk that is given up is handed over to its pin; wide
// records are copied at the first change. Such copies go to a queue that the
// writer empties before anything else. All that is held for a snapshot counts
// against a budget; beyond it a mutator waits for the writer, but never longer
// than budgetWait per chunk: a stuck disk must not stop the keyspace, and
// WriteTo may not even have been called yet.
//
// The state of a pin is guarded by its part's lock:
//
//	pinned ──copyAll──► queued    the pin has its own copy of the chunk
//	   │ ────handOver─► queued    the pin owns the chunk itself
//	   └────writer────► done
type pin struct {
	sh    *shard
	snap  *Snapshot
	base  unsafe.Pointer
	undo  []byte
	chunk uint32
	used  uint32 // bytes that were in use at Capture
	size  uint32 // bytes of the extent
	state pinState
}

type pinState uint8

const (
	pinned pinState = iota
	queued
	done
)

const (
	undoMax     = chunkBytes / 4
	undoTrailer = 4 // offset and length behind the old bytes, u16 each
	budgetShare = 10
	budgetMin   = 8 << 20
	budgetWait  = 2 * time.Millisecond
)

// Snapshot is a consistent image of a keyspace. WriteTo may be called once;
// Release must be called in the end, and not during WriteTo.
type Snapshot struct {
	ks    *Keyspace
	pins  []pin
	plan  []planEntry
	held  atomic.Int64 // bytes of copies, handed over chunks and undo logs
	limit int64

	regions bool   // there are regions
	lost    uint64 // of them, as in shared.Part

	mu       sync.Mutex
	queue    []*pin
	spare    [][]byte // undo logs to be used again
	released bool
	room     chan struct{} // signalled when held went down
}

// Capture starts a snapshot of the keyspace as it is now. It locks all parts for
// about 30 ns per chunk of 32 KiB. There can be only one at a time.
func (ks *Keyspace) Capture() *Snapshot {
	var all PartSet
	all.AddAll()
	ks.Lock(&all)
	defer ks.Unlock(&all)
	return ks.captureLocked()
}

// Captured reports whether a snapshot is in progress.
func (ks *Keyspace) Captured() bool { return ks.snapshot.Load() != nil }

func (ks *Keyspace) captureLocked() *Snapshot {
	s := &Snapshot{ks: ks, room: make(chan struct{}, 1)}
	if !ks.snapshot.CompareAndSwap(nil, s) {
		panic("engine: BUG: a snapshot is already in progress")
	}
	for part := range Parts {
		ks.storeRegionState(part)
	}
	if g := ks.regions.Load(); g != nil {
		s.regions, s.lost = true, g.setup().lost()
	}
	n := 0
	ks.eachShard(func(sh *shard) { n += len(sh.meta) - 1 - len(sh.spare) })
	s.pins = make([]pin, 0, n)
	ks.eachShard(s.capture)
	s.limit = max(budgetMin, ks.arenaBytes.Load()/budgetShare)
	return s
}

// eachShard calls fn for all shards in order. The parts are locked.
func (ks *Keyspace) eachShard(fn func(sh *shard)) {
	for part := range Parts {
		for db := range ks.databases + 1 {
			if sh := ks.shard(part, db); sh != nil {
				fn(sh)
			}
		}
	}
}

func (s *Snapshot) capture(sh *shard) {
	records := sh.keys.Load()
	if records == 0 {
		return
	}
	s.plan = append(s.plan, planEntry{part: uint8(sh.part), db: uint16(sh.ks.dbNumber(sh.db)), records: uint64(records)})
	sh.snap = s
	for ci := uint32(1); ci < uint32(len(sh.meta)); ci++ {
		c := &sh.meta[ci]
		if c.live == 0 {
			continue
		}
		used := c.used
		if c.own {
			used = sh.at(ci << chunkRefLog).bytes()
		}
		s.pins = append(s.pins, pin{sh: sh, snap: s, chunk: ci, base: sh.base[ci], used: used, size: c.size})
		c.pin = &s.pins[len(s.pins)-1]
	}
}

// savePinned keeps the n bytes at off of a block for the snapshot, if it needs them.
func (sh *shard) savePinned(ref, off, n uint32) {
	c := &sh.meta[ref>>chunkRefLog]
	p := c.pin
	if p == nil {
		return
	}
	if c.own {
		p.copyAll(c)
		return
	}
	off += ref & chunkRefMask << refUnitLog
	if off >= p.used {
		return
	}
	if len(p.undo)+int(n)+undoTrailer > undoMax {
		p.copyAll(c)
		return
	}
	if p.undo == nil {
		p.undo = p.snap.undoLog()
	}
	was := cap(p.undo)
	p.undo = append(p.undo, bytesAt(p.base, off, n)...)
	p.undo = binary.LittleEndian.AppendUint16(p.undo, uint16(off))
	p.undo = binary.LittleEndian.AppendUint16(p.undo, uint16(n))
	if grown := cap(p.undo) - was; grown > 0 {
		p.snap.held.Add(int64(grown))
	}
}

// undone undoes the logged changes in a copy of the chunk.
func (p *pin) undone(image []byte) {
	for log := p.undo; len(log) > 0; {
		at := len(log) - undoTrailer
		off := binary.LittleEndian.Uint16(log[at:])
		n := int(binary.LittleEndian.Uint16(log[at+2:]))
		copy(image[off:], log[at-n:at])
		log = log[:at-n]
	}
}

// undoLog returns an empty undo log.
func (s *Snapshot) undoLog() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := len(s.spare); k > 0 {
		log := s.spare[k-1]
		s.spare = s.spare[:k-1]
		s.held.Add(int64(cap(log)))
		return log
	}
	s.held.Add(undoFirst)
	return make([]byte, 0, undoFirst)
}

const (
	undoFirst    = 256
	undoSpareMax = 256 // undo logs kept for use again
)

// copyAll gives the pin a copy of its chunk. The chunk itself stays where it is,
// since arguments of the operation in progress may alias it.
func (p *pin) copyAll(c *chunk) {
	p.snap.waitForRoom()
	n := int(p.used)
	copied := p.sh.ks.pages.alloc(n)
	copy(unsafe.Slice((*byte)(copied), n), unsafe.Slice((*byte)(p.base), n))
	c.pin = nil
	p.base, p.size = copied, uint32(extentBytes(n))
	p.enqueue()
}

// handOver gives the pin its chunk, which the shard has given up.
func (p *pin) handOver() {
	p.snap.waitForRoom()
	p.enqueue()
}

func (p *pin) enqueue() {
	s := p.snap
	s.held.Add(int64(p.size))
	s.mu.Lock()
	defer s.mu.Unlock()
	p.state = queued
	s.queue = append(s.queue, p)
	if s.released {
		s.dropQueue()
	}
}

// waitForRoom waits a little for the writer if the budget is used up.
func (s *Snapshot) waitForRoom() {
	if s.held.Load() < s.limit {
		return
	}
	timer := time.NewTimer(budgetWait)
	defer timer.Stop()
	for s.held.Load() >= s.limit {
		select {
		case <-s.room:
		case <-timer.C:
			return
		}
	}
}

// Pressed reports whether more than half of the snapshot's budget of memory is used. At the whole budget, whoever
// changes the keyspace waits for WriteTo.
func (s *Snapshot) Pressed() bool { return s.held.Load() > s.limit/2 }

// free gives back what a written pin holds; owned says whether it has memory of
// its own.
func (s *Snapshot) free(p *pin, owned bool) {
	n := int64(cap(p.undo))
	if owned {
		n += int64(p.size)
		s.ks.pages.release(p.base, int(p.size))
	}
	if p.undo != nil {
		s.mu.Lock()
		if len(s.spare) < undoSpareMax {
			s.spare = append(s.spare, p.undo[:0])
		}
		s.mu.Unlock()
	}
	p.undo, p.base = nil, nil
	s.held.Add(-n)
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// next returns a queued pin, nil if there is none.
func (s *Snapshot) next() *pin {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := len(s.queue)
	if k == 0 {
		return nil
	}
	p := s.queue[k-1]
	s.queue = s.queue[:k-1]
	return p
}

// Release ends the snapshot, written or not, and gives back what it holds.
func (s *Snapshot) Release() {
	for i := range s.pins {
		p := &s.pins[i]
		s.ks.LockPart(p.sh.part)
		if p.state == pinned {
			p.state = done
			p.sh.meta[p.chunk].pin = nil
		}
		p.sh.snap = nil
		s.ks.UnlockPart(p.sh.part)
	}
	s.mu.Lock()
	s.released = true
	s.dropQueue()
	s.pins, s.spare = nil, nil
	s.mu.Unlock()
	s.ks.snapshot.CompareAndSwap(s, nil)
}

// dropQueue frees what is queued, unwritten. s.mu is locked.
func (s *Snapshot) dropQueue() {
	for _, p := range s.queue {
		s.held.Add(-int64(p.size))
		s.ks.pages.release(p.base, int(p.size))
		p.base, p.undo = nil, nil
	}
	s.queue = nil
}
