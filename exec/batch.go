package exec

// Batch is what becomes one entry of the log: sub-batches, in the order in which they were handed over. A counted section
// may stand before them in the entry; it is no part of the batch, and is executed first.
type Batch struct {
	subs  []*SubBatch
	size  int // bytes
	ahead int // bytes of the payload before the first sub-batch: of the counted section
}

// Add adds a sub-batch, which must not change any more.
func (b *Batch) Add(s *SubBatch) {
	b.subs = append(b.subs, s)
	b.size += s.Size()
}

// Size is the memory that the sub-batches take, in bytes.
func (b *Batch) Size() int { return b.size }

// Empty reports whether there are no sub-batches.
func (b *Batch) Empty() bool { return len(b.subs) == 0 }

// Reset empties the batch for reuse.
func (b *Batch) Reset() {
	clear(b.subs)
	b.subs, b.size, b.ahead = b.subs[:0], 0, 0
}

// Guard decides whether a transaction runs: WATCH is one. Aborts is asked once, when the transaction's entry is sealed at
// log time stamp. All earlier entries are applied then, or never will be. touched tells whether an operation that stands
// before the transaction in its own entry may change a key.
type Guard interface {
	Aborts(stamp int64, touched func(db int, key []byte) bool) bool
	// Decided says whether the transaction runs. It is called with false where Aborts returned true, too, and after that with
	// true only where another node has decided.
	Decided(ran bool)
	// Watch is what to tell a node that this one forwards the transaction to; with ID 0 it cannot decide, and nothing runs.
	Watch() Watch
	// Deadline is the earliest log time in ms at which the transaction is void; 0: never.
	Deadline() int64
}

// Seal appends the operations of all sub-batches to an entry whose payload begins at from in buf, and leaves out the
// transactions that their guards abort. So each guard decides once, on one node, and every node executes what is in the
// entry.
func (b *Batch) Seal(buf []byte, from int, stamp int64) []byte {
	b.ahead = len(buf) - from
	var seen *touchedKeys
	for _, s := range b.subs {
		start := len(buf)
		if s.guarded == 0 {
			buf = append(buf, s.ops...)
		} else {
			if seen == nil {
				seen = newTouchedKeys(s.table, from)
			}
			buf = s.sealGuarded(buf, stamp, seen)
		}
		s.sealed = len(buf) - start
	}
	return buf
}

// sealGuarded is Seal for a sub-batch that has transactions with guards.
func (s *SubBatch) sealGuarded(buf []byte, stamp int64, seen *touchedKeys) []byte {
	copied := 0
	for i := range s.txns {
		t := &s.txns[i]
		if t.guard == nil {
			continue
		}
		buf = append(buf, s.ops[copied:t.at]...) // the guard is asked about all operations before it, also if it only reads
		copied = t.at
		if t.aborted = t.guard.Aborts(stamp, func(db int, key []byte) bool { return seen.has(buf, db, key) }); t.aborted {
			copied = t.end
		}
	}
	return append(buf, s.ops[copied:]...)
}
