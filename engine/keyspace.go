package engine

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// Keyspace is a set of databases. Methods may be called from many goroutines,
// subject to the part locks that each one names.
type Keyspace struct {
	databases int
	seed      uint64
	observers []observer
	changes   []Change                             // one for each part, guarded by its lock: what observers are shown
	feed      *Feed                                // nil: none
	regions   atomic.Pointer[regions]              // nil: none
	ring      int                                  // bytes of changedKeys of all parts
	hashWith  func(key []byte, seed uint64) uint64 // nil for xxh3; tests inject collisions

	parts  [Parts]part
	due    [Parts]atomic.Int64     // lower bound of each part's deadlines
	shards []atomic.Pointer[shard] // [part × (databases + 1) + database]; nil until first used; the last database is hidden

	pages pages
	slabs slabs

	// Sums over all shards; those of live and dead bytes lag by up to sumStep
	// per shard.
	arenaBytes atomic.Int64 // ordinary chunks
	wideBytes  atomic.Int64 // touched pages of wide records
	liveBytes  atomic.Int64
	deadBytes  atomic.Int64

	lengths lengths
	clock   atomic.Int64 // highest time a Txn has used

	aheadParts  atomic.Int64 // parts with anything answered ahead
	aheadClosed atomic.Bool
	aheadFull   atomic.Bool // the last counted section did not take everything
	counted     counted
	self        self
	holds       [Parts * partHolds]uint32 // number of holds, guarded by the lock of the part
	heldAll     atomic.Int32
	sources     atomic.Int64  // records of the hidden database for origins of kind OriginSource
	producers   atomic.Int64  // and of kind OriginProducer
	userChanges atomic.Uint64 // see UserChanges
	onceScratch onceScratch   // of the goroutine that applies
	dropped     func(db int, key []byte, delta int64, err error)
	localKey    func(key []byte) bool
	stats       struct{ sections, landed, stale, gaps, expired, dropped atomic.Int64 }

	longLocks longLocks
	snapshot  atomic.Pointer[Snapshot] // the one in progress
	janitor   janitor
}

// part is one part of the keyspace. Its lock guards the part's shards in all databases,
// what the part has answered ahead, and its holds. Without the lock, a shard may be
// looked up for its atomic counters only.
type part struct {
	mu    sync.Mutex
	moved uint32 // grows when a record is moved or freed: while it is the same, a reference leads to the record it led to
	partAhead
	_ [16]byte
}

var _ [64]byte = [unsafe.Sizeof(part{})]byte{} // one cache line per part

// SetRegionRing says how many bytes of memory what is known of shared keys that changed lately may take; a table takes an eighth more. To be called before the keyspace is used.
func (ks *Keyspace) SetRegionRing(bytes int) { ks.ring = bytes }

// New makes an empty keyspace. Close gives its memory back.
func New(cfg Config) *Keyspace {
	if cfg.Databases == 0 {
		cfg.Databases = 16
	}
	if cfg.Databases < 0 || cfg.Databases > MaxDatabases {
		panic("BUG: number of databases out of range")
	}
	ks := &Keyspace{databases: cfg.Databases, seed: cfg.Seed}
	ks.slabs.pages = &ks.pages
	ks.lengths.largest.Store(1 << shortLength)
	ks.janitor.idle.L = &ks.janitor.mu
	ks.shards = make([]atomic.Pointer[shard], Parts*(cfg.Databases+1))
	for p := range ks.due {
		ks.due[p].Store(noDeadline)
	}
	return ks
}

// Close waits for background work and unmaps everything. Nothing may use the
// keyspace or a snapshot of it any more.
func (ks *Keyspace) Close() {
	ks.janitor.wait()
	ks.pages.close()
}

// Databases returns the number of databases.
func (ks *Keyspace) Databases() int { return ks.databases }

// Seed returns the seed of the key hash: that of the Config, or after Load that
// of the snapshot.
func (ks *Keyspace) Seed() uint64 { return ks.seed }

func (ks *Keyspace) hash(key []byte) uint64 {
	if ks.hashWith != nil {
		return ks.hashWith(key, ks.seed)
	}
	return xxh3.HashSeed(key, ks.seed)
}

// Lock locks the parts of a set, in ascending order.
func (ks *Keyspace) Lock(s *PartSet) {
	for w, set := range s {
		for ; set != 0; set &= set - 1 {
			ks.parts[w<<6+bits.TrailingZeros64(set)].mu.Lock()
		}
	}
}

// Unlock unlocks the parts of a set.
func (ks *Keyspace) Unlock(s *PartSet) {
	for w, set := range s {
		for ; set != 0; set &= set - 1 {
			ks.parts[w<<6+bits.TrailingZeros64(set)].mu.Unlock()
		}
	}
}

// LockPart locks one part.
func (ks *Keyspace) LockPart(p int) { ks.parts[p].mu.Lock() }

// UnlockPart unlocks one part.
func (ks *Keyspace) UnlockPart(p int) { ks.parts[p].mu.Unlock() }

// shard returns a shard, nil if it was never written to.
func (ks *Keyspace) shard(part, db int) *shard { return ks.shardPointer(part, db).Load() }

func (ks *Keyspace) shardPointer(part, db int) *atomic.Pointer[shard] {
	return &ks.shards[part*(ks.databases+1)+db]
}

// makeShard returns a shard and makes it if needed. The part is locked.
func (ks *Keyspace) makeShard(part, db int) *shard {
	if uint(db) > uint(ks.databases) { // its index would be that of another part
		panic("engine: BUG: there is no such database")
	}
	p := ks.shardPointer(part, db)
	if sh := p.Load(); sh != nil {
		return sh
	}
	sh := newShard(ks, part, db)
	p.Store(sh)
	return sh
}

// lowerDue lowers a part's bound. The part is locked.
func (ks *Keyspace) lowerDue(part int, deadline int64) {
	if deadline < ks.due[part].Load() {
		ks.due[part].Store(deadline)
	}
}

// refreshDue recomputes a part's bound from its shards. The part is locked.
func (ks *Keyspace) refreshDue(part int) {
	due := int64(noDeadline)
	for db := range ks.databases + 1 {
		if sh := ks.shard(part, db); sh != nil {
			due = min(due, sh.due)
		}
	}
	ks.due[part].Store(due)
}

// NextDue returns a lower bound of the earliest deadline in the keyspace in
// milliseconds of log time, math.MaxInt64 if there is none.
func (ks *Keyspace) NextDue() int64 {
	due := int64(math.MaxInt64)
	for p := range ks.due {
		due = min(due, ks.due[p].Load())
	}
	return due
}
