package engine

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"
)

// Pending increments are those that were answered from memory and not yet
// applied through the log. The records hold what is committed; snapshots,
// checksums, Memory and the Hook see only that. What a reader at level local is
// told is the committed value plus all that is pending for the key on this node.
//
// Each part has, under its lock:
//
//	gather    increments not yet in any batch; nil if there are none
//	flights   what drains have taken, oldest first, until the log has applied it
//
// A drain (Cut) turns all of gather into a flight, which never changes again: the
// log may have to be given the very same bytes a second time. Its place in the
// origin's sequence is fixed then, so a flight is never given back either. A flight
// whose batch failed is sent again, ahead of all that stands behind it (Lost), and
// is settled by whichever copy is applied first: see origins.go. Applying moves its
// amounts into the records under the same lock, so the sum a reader at level local
// sees does not flicker.
//
// A slot carries the deadline of the record that its increments were answered
// against. If the key is found with another deadline later, a new slot follows, so
// that two lives of a key never mix: once its deadline has passed a slot counts for
// nobody, and applying it drops it.
//
// A flight is compact because between two drains a node gathers tens of thousands
// of keys: 32 bytes a slot, 8 to 16 of index (4 an entry), and the key.
type Flight struct {
	slots []pendingSlot
	index []uint32 // power of two, at most half full below indexMax: 16 bits of the hash, then 16 of 1 + slot
	keys  []byte   // for each slot the database, the key's length (uvarints), the key
	count int64    // increments in it

	from    uint64 // position; it reaches from+1
	carrier uint64 // the batch it was last put into
	fetched uint32 // keeps the reads of fetchPending from being optimized away
}

type pendingSlot struct {
	delta    int64
	deadline int64
	ref      uint32 // the key's record when last looked at; 0: none
	moved    uint32 // the part's moved at that time: while it is the same, ref is the key's record
	keyAt    uint32
	older    uint32 // 1 + slot of the same key with another deadline
}

const (
	pendingSlotBytes  = int(unsafe.Sizeof(pendingSlot{}))
	pendingIndexFirst = 16
	indexMax          = 1 << 16 // entries; a part gathers at most pendingPartMax/20 slots

	// pendingMax bounds what is pending for a key, in each flight. It is far below
	// 2^62, so that sums over several flights cannot overflow.
	pendingMax = 1 << 56
	// pendingPartMax is how many bytes a part may gather. The increments beyond go
	// through the log, so a drain of one part always fits an entry.
	pendingPartMax = 1 << 20
	// flightsMax bounds the flights of a part, which every increment has to look
	// through. Writes through the log on a key that is incremented at level local
	// make one each; beyond, the increments go through the log as well.
	flightsMax = 8
)

// partPending is a part's pending increments. Guarded by the part's lock.
//
// Invariants: flights have consecutive positions, next is the one behind the last;
// the first is at the position stored for this node's origin, if there is one.
type partPending struct {
	gather  *Flight
	flights []*Flight
	next    uint64
	spare   *Flight // empty, to be used again
}

// Increment is one to be answered from memory, or several equal ones in a row.
type Increment struct {
	DB    int
	Key   []byte
	Delta int64
	Count int // how many; 0 means 1, at most IncrementMax

	Done int   // how many of them were carried out
	Sum  int64 // the value after the last of these
	Err  error // of Txn.Add, for those that were not
}

// IncrementMax is the largest Count of an Increment: sums of it cannot overflow.
const IncrementMax = 64

// HasPending reports whether anything is pending. It costs one load.
func (ks *Keyspace) HasPending() bool { return ks.pendingParts.Load() != 0 }

// ClosePending makes AddPending refuse from now on: no increment is answered from
// memory after it has returned.
func (ks *Keyspace) ClosePending() {
	ks.pendingClosed.Store(true)
	ks.passParts()
}

// AddPending carries out increments in memory, in order, at log time now, and fills
// in their results. It returns how many it has done: it stops,
// without effect, at one that has to go through the log, because too much is
// pending or its amount is too large. At most WarmMax are looked at.
//
// They are a Group, whose parts are locked, and what they need fetched, together.
func (ks *Keyspace) AddPending(incs []Increment, now int64) int {
	incs = incs[:min(len(incs), WarmMax)]
	var g Group
	g.Reset(ks)
	for i := range incs {
		g.Add(incs[i].DB, incs[i].Key)
	}
	g.Lock()
	defer g.Unlock()
	if len(incs) > 1 && ks.WorthWarming() {
		ks.fetchPending(g.keys[:g.n])
	}
	if ks.pendingClosed.Load() {
		return 0
	}
	for i := range incs {
		if !ks.addPending(&g.keys[i], &incs[i], now) {
			return i
		}
	}
	return len(incs)
}

// fetchPending reads where the keys' slots are found, or will be written: the tables have been on another core since
// they were last used, and find would wait for one after the other. The parts are locked.
func (ks *Keyspace) fetchPending(keys []target) {
	var sum uint32
	var last *Flight
	for i := range keys {
		p, h := &ks.parts[keys[i].part], uint32(keys[i].hash)
		if g := p.gather; g != nil {
			sum += g.index[h&uint32(len(g.index)-1)] + g.slots[len(g.slots)-1].ref + uint32(g.keys[len(g.keys)-1])
			last = g
		}
		for _, f := range p.flights {
			sum += f.index[h&uint32(len(f.index)-1)]
			last = f
		}
	}
	if last != nil {
		last.fetched = sum
	}
}

// addPending carries out one increment; false if it has to go through the log. The
// part is locked.
func (ks *Keyspace) addPending(k *target, inc *Increment, now int64) bool {
	p := &ks.parts[k.part]
	if ks.fenced(k.part, k.hash) {
		return false
	}
	g := p.gather
	slot := uint32(0)
	if g != nil {
		slot = g.find(k.hash, k.db, inc.Key)
	}
	var b base
	if slot == 0 || !b.hinted(k.sh, &g.slots[slot-1], p.moved, now) {
		b = k.base(inc.Key, now)
	}
	if b.err != nil {
		inc.Done, inc.Err = 0, b.err
		return true
	}
	if tooMuch(inc.Delta) {
		return false
	}
	n := int64(max(inc.Count, 1))
	if tooMuch(inc.Delta * n) {
		return false
	}
	pending := int64(0)
	if slot != 0 {
		pending, _ = g.sumAt(slot, now)
	}
	gathered := pending + inc.Delta*n
	for _, f := range p.flights {
		m, _ := f.sum(k.hash, k.db, inc.Key, now)
		pending += m
	}
	view := b.n + pending
	if (view < b.n) != (pending < 0) || tooMuch(gathered) || len(p.flights) >= flightsMax {
		return false
	}
	inc.Err = nil
	if sum := view + inc.Delta*n; (sum < view) != (inc.Delta < 0) {
		limit := int64(math.MaxInt64)
		if inc.Delta < 0 {
			limit = math.MinInt64
		}
		inc.Err = ErrOverflow
		if n = (limit - view) / inc.Delta; n == 0 {
			inc.Done = 0
			return true
		}
	}
	if slot == 0 || g.slots[slot-1].deadline != b.deadline {
		if g != nil && g.bytes() > pendingPartMax {
			return false
		}
		g = ks.newSlot(p, k.hash, k.db, inc.Key, slot, b.deadline)
		slot = uint32(len(g.slots))
	}
	s := &g.slots[slot-1]
	if tooMuch(s.delta + inc.Delta*n) {
		return false
	}
	s.delta += inc.Delta * n
	s.ref, s.moved = b.ref, p.moved
	g.count += n
	inc.Done, inc.Sum = int(n), view+inc.Delta*n
	return true
}

func tooMuch(n int64) bool { return n > pendingMax || n < -pendingMax }

// newSlot adds a slot for a key to what the part gathers; older is the key's slot
// so far, 0 if it has none.
func (ks *Keyspace) newSlot(p *part, h uint64, db int, key []byte, older uint32, deadline int64) *Flight {
	g := p.gather
	if g == nil {
		if g = p.spare; g == nil {
			g = &Flight{index: make([]uint32, pendingIndexFirst)}
		}
		p.gather, p.spare = g, nil
		if len(p.flights) == 0 {
			ks.pendingParts.Add(1)
		}
	}
	at := len(g.keys)
	if uint(db) < 0x80 && len(key) < 0x80 {
		g.keys = append(g.keys, byte(db), byte(len(key)))
	} else {
		g.keys = binary.AppendUvarint(g.keys, uint64(db))
		g.keys = binary.AppendUvarint(g.keys, uint64(len(key)))
	}
	g.keys = append(g.keys, key...)
	g.slots = append(g.slots, pendingSlot{deadline: deadline, keyAt: uint32(at), older: older})
	g.enter(h, older, uint32(len(g.slots)))
	return g
}

// base is what an increment counts from: the committed value.
type base struct {
	ref      uint32
	n        int64
	deadline int64
	err      error
}

// hinted takes the base from the record that a slot has seen last, if it is the key's and a counter still.
func (b *base) hinted(sh *shard, s *pendingSlot, moved uint32, now int64) bool {
	if s.ref == 0 || s.moved != moved {
		return false
	}
	r := sh.at(s.ref)
	if r.kind() != KindInt || r.expired(now) {
		return false
	}
	b.ref, b.n, b.deadline = s.ref, r.int(), r.deadline()
	return true
}

// base is lookupBase for a key that may have been fetched.
func (k *target) base(key []byte, now int64) (b base) {
	if k.ref != 0 {
		if r := k.sh.at(k.ref); r.kind() == KindInt && r.hasKey(key) && !r.expired(now) {
			return base{ref: k.ref, n: r.int(), deadline: r.deadline()}
		}
	}
	return lookupBase(k.sh, k.hash, key, now)
}

func lookupBase(sh *shard, h uint64, key []byte, now int64) (b base) {
	if sh == nil {
		return b
	}
	ref, _ := sh.lookup(h, key, now)
	if ref == 0 {
		return b
	}
	r := sh.at(ref)
	b.ref, b.deadline = ref, r.deadline()
	switch r.kind() {
	case KindInt:
		b.n = r.int()
	case KindString, KindRaw:
		var ok bool
		if b.n, ok = parseInt(r.content()); !ok {
			b.err = ErrNotInteger
		}
	default:
		b.err = ErrWrongKind
	}
	return b
}

// find returns 1 + the newest slot of a key, 0 if it has none.
func (f *Flight) find(h uint64, db int, key []byte) uint32 {
	mask := uint32(len(f.index) - 1)
	for i := uint32(h) & mask; ; i = (i + 1) & mask {
		e := f.index[i]
		if e == 0 {
			return 0
		}
		if e>>16 == uint32(h)&0xffff && f.isKey(&f.slots[e&0xffff-1], db, key) {
			return e & 0xffff
		}
	}
}

func (f *Flight) isKey(s *pendingSlot, db int, key []byte) bool {
	b := f.keys[s.keyAt:]
	if len(key) < 0x80 && uint(db) < 0x80 {
		return len(b) >= 2+len(key) && int(b[0]) == db && int(b[1]) == len(key) && string(b[2:2+len(key)]) == string(key)
	}
	sdb, skey, _ := f.key(s)
	return sdb == db && string(skey) == string(key)
}

// key returns a slot's database and key, and where the key ends in f.keys.
func (f *Flight) key(s *pendingSlot) (db int, key []byte, end int) {
	at := int(s.keyAt)
	if b := f.keys[at:]; b[0] < 0x80 && b[1] < 0x80 {
		end = at + 2 + int(b[1])
		return int(b[0]), f.keys[at+2 : end], end
	}
	d, n := binary.Uvarint(f.keys[at:])
	at += n
	l, n := binary.Uvarint(f.keys[at:])
	at += n
	end = at + int(l)
	return int(d), f.keys[at:end], end
}

// db returns a slot's database.
func (f *Flight) db(s *pendingSlot) int {
	b := f.keys[s.keyAt:]
	if b[0] < 0x80 {
		return int(b[0])
	}
	n, _ := binary.Uvarint(b)
	return int(n)
}

// enter puts a slot into the index, in the place of the key's older one if there is one.
func (f *Flight) enter(h uint64, older, slot uint32) {
	entry := uint32(h)<<16 | slot
	mask := uint32(len(f.index) - 1)
	if older == 0 && len(f.slots)*2 > len(f.index) && len(f.index) < indexMax {
		f.growIndex()
		mask = uint32(len(f.index) - 1)
	}
	i := uint32(h) & mask
	for f.index[i] != 0 && (older == 0 || f.index[i]&0xffff != older) {
		i = (i + 1) & mask
	}
	f.index[i] = entry
}

func (f *Flight) growIndex() {
	was := f.index
	f.index = make([]uint32, 2*len(was))
	mask := uint32(len(f.index) - 1)
	for _, e := range was {
		if e == 0 {
			continue
		}
		i := e >> 16 & mask
		for f.index[i] != 0 {
			i = (i + 1) & mask
		}
		f.index[i] = e
	}
}

// reindex makes the index anew, after a change of the keyspace's seed.
func (f *Flight) reindex(ks *Keyspace) {
	clear(f.index)
	for i := range f.slots {
		_, key, _ := f.key(&f.slots[i])
		f.enter(ks.hash(key), f.slots[i].older, uint32(i+1))
	}
}

// sum adds up what is pending in the flight for a key; found says that there is
// something, even if it comes to 0.
func (f *Flight) sum(h uint64, db int, key []byte, now int64) (n int64, found bool) {
	if slot := f.find(h, db, key); slot != 0 {
		return f.sumAt(slot, now)
	}
	return 0, false
}

func (f *Flight) sumAt(slot uint32, now int64) (n int64, found bool) {
	for slot != 0 {
		s := &f.slots[slot-1]
		if s.deadline == 0 || s.deadline > now {
			n += s.delta
			found = true
		}
		slot = s.older
	}
	return n, found
}

// bytes is about what the flight takes in an entry and no less.
func (f *Flight) bytes() int { return len(f.keys) + len(f.slots)*2*binary.MaxVarintLen64 }

// memory is what the flight takes of the heap for what it holds.
func (f *Flight) memory() int64 {
	return int64(len(f.slots)*pendingSlotBytes + len(f.index)*4 + len(f.keys))
}

// reset empties a flight for reuse, unless it has become large.
func (f *Flight) reset() *Flight {
	const keep = 64 << 10
	if len(f.index)*4 > keep || cap(f.keys) > keep || cap(f.slots)*pendingSlotBytes > 2*keep {
		return nil
	}
	if used := bits.Len(uint(2 * len(f.slots))); len(f.index) > pendingIndexFirst && 1<<(used+2) < len(f.index) {
		f.index = make([]uint32, max(pendingIndexFirst, 1<<used))
	} else {
		clear(f.index)
	}
	f.slots, f.keys = f.slots[:0], f.keys[:0]
	f.count, f.from, f.carrier = 0, 0, 0
	return f
}

// pendingOf adds up all that is pending for a key. The part is locked.
func (ks *Keyspace) pendingOf(part, db int, h uint64, key []byte, now int64) (n int64, found bool) {
	p := &ks.parts[part]
	if p.gather != nil {
		n, found = p.gather.sum(h, db, key, now)
	}
	for _, f := range p.flights {
		m, some := f.sum(h, db, key, now)
		n += m
		found = found || some
	}
	return n, found
}

// Gathers reports whether increments of the key, in any database, wait for a drain:
// whoever is about to change it through the log has to drain its part first. The
// keyspace must have something pending, else the answer is not worth a lock.
func (ks *Keyspace) Gathers(part int, key []byte) bool {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	g := ks.parts[part].gather
	if g == nil {
		return false
	}
	h := uint32(ks.hash(key))
	mask := uint32(len(g.index) - 1)
	for i := h & mask; g.index[i] != 0; i = (i + 1) & mask {
		if e := g.index[i]; e>>16 == h&0xffff {
			if _, k, _ := g.key(&g.slots[e&0xffff-1]); string(k) == string(key) {
				return true
			}
		}
	}
	return false
}

// UnderWay reports whether increments of the key are on their way through the log.
func (ks *Keyspace) UnderWay(db int, key []byte) bool {
	part := Part(key)
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	h := ks.hash(key)
	for _, f := range ks.parts[part].flights {
		if f.find(h, db, key) != 0 {
			return true
		}
	}
	return false
}
