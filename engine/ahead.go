package engine

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unsafe"
)

// At ack level local an increment is answered before it is in the log: "answered ahead". The
// records hold what is applied; snapshots, checksums, Memory and observers see only that. What a
// reader at ack level local is told is the applied value plus what this node has answered ahead for
// the key.
//
// The naive way puts every such increment into the gathering batch as an operation of its own
// and remembers beside it, key by key, the sum that was answered. On a hot key the log would then
// carry thousands of operations that come to one number, and each would be looked up twice. So
// the memory and the operation are one thing here: a *tally* is the sum answered ahead for one
// key, and it is what the log gets. A part's tallies, under its lock, are in two tables:
//
//	gathered   answered, in no entry yet; nil if there are none
//	sealed     in the one counted section that is on its way through the log, else nil
//
// Sealing an entry turns gathered into sealed (Counted); applying that entry moves the
// amounts from sealed into the records, under the same lock, so that the sum a reader sees does
// not flicker. A section that was not applied is sent again, byte for byte, before anything else
// is sealed: sealed tables never change, see counted.go. Two tables, because a single one would
// need to tell apart, key by key, what the section on its way holds and what came later. A node
// that does not lead has a third:
//
//	landing    in a section that the node that leads has applied, and this one has not yet
//
// It hears of that before the entry reaches it, which may take until the next entry: so the next
// section must not wait for it.
//
// A tally carries the deadline of the record that its increments were answered against. An
// increment that finds the key with another deadline goes through the log like any other write,
// so two lives of a key never mix: once its deadline has passed a tally counts for nobody, and
// applying it drops it.
//
// Between two sections a node gathers tens of thousands of keys, so a table is compact: 32 bytes
// a tally, 8 to 16 of index (cells of 4), and the key.
type tallies struct {
	list  []tally
	index []uint32 // power of two, at most half full below indexMax: 16 bits of the hash, then 16 of 1 + place in list
	keys  []byte   // for each tally the database, the key's length (uvarints), the key: as in a counted section
	count int64    // increments in them

	fetched uint32 // keeps the reads of fetchTallies from being optimized away
}

type tally struct {
	delta    int64
	deadline int64
	ref      uint32 // the key's record when last looked at; 0: none
	moved    uint32 // the part's moved at that time: while it is the same, ref is the key's record
	keyAt    uint32
}

const (
	tallyBytes     = int(unsafe.Sizeof(tally{}))
	talliesIndexed = 16      // cells of a new table's index
	indexMax       = 1 << 16 // cells; a part gathers at most aheadPartMax/20 tallies

	// tallyMax bounds a tally. It is far below 2^62, so that the sum of three cannot overflow.
	tallyMax = 1 << 56
	// aheadPartMax is how many bytes a part may gather. The increments beyond go through the log.
	aheadPartMax = 1 << 20
)

// partAhead is what a part has answered ahead. Guarded by the part's lock.
type partAhead struct {
	gathered *tallies
	sealed   *tallies
	landing  *tallies
	spare    *tallies // empty, to be used again
}

// hasAhead reports whether the part has anything that is answered ahead.
func (p *partAhead) hasAhead() bool { return p.gathered != nil || p.sealed != nil || p.landing != nil }

// Increment is one increment to be answered ahead, or several equal ones in a row, and what came of them.
type Increment struct {
	DB    int
	Key   []byte
	Delta int64
	Count int // how many increments; 0 means 1

	Done int   // how many of the increments were carried out
	Sum  int64 // the value after the last one that was carried out
	Err  error // an error of Txn.Add, for the increments that were not carried out
}

// IncrementMax is the largest Count of an Increment: sums of it cannot overflow.
const IncrementMax = 64

// HasAhead reports whether anything is answered ahead and not yet applied. It costs one load.
func (ks *Keyspace) HasAhead() bool { return ks.aheadParts.Load() != 0 }

// CloseAhead makes AnswerAhead refuse from now on: no increment is answered ahead after it has returned.
func (ks *Keyspace) CloseAhead() {
	ks.aheadClosed.Store(true)
	ks.passParts()
}

// AnswerAhead carries out increments in memory, in order, at log time now, and fills in their
// results. It returns how many it has done: it stops, without effect, at one that has to go
// through the log, because of a hold, another deadline, too large an amount or too much gathered.
// It looks at WarmMax increments at most: their keys are one KeySet, so that all parts are locked
// at once and the cache misses of all keys overlap. The caller holds no parts.
func (ks *Keyspace) AnswerAhead(incs []Increment, now int64) int {
	incs = incs[:min(len(incs), WarmMax)]
	var g KeySet
	g.Reset(ks)
	for i := range incs {
		g.Add(incs[i].DB, incs[i].Key)
	}
	g.Lock()
	defer g.Unlock()
	if len(incs) > 1 && ks.WorthWarming() {
		ks.fetchTallies(g.keys[:g.n])
	}
	if ks.aheadClosed.Load() || ks.aheadFull.Load() {
		return 0
	}
	for i := range incs {
		if !ks.answerAhead(&g.keys[i], &incs[i], now) {
			return i
		}
	}
	return len(incs)
}

// DropSpares gives up the tables that are kept for the next increments answered ahead: up to 256 KiB a part.
func (ks *Keyspace) DropSpares() {
	for part := range ks.parts {
		ks.LockPart(part)
		ks.parts[part].spare = nil
		ks.UnlockPart(part)
	}
}

// fetchTallies reads where the keys' tallies are found, or will be written. The tables may have been written by another
// core last; without fetchTallies, find would wait for one cache miss after the other. The parts are locked.
func (ks *Keyspace) fetchTallies(keys []target) {
	var sum uint32
	var last *tallies
	for i := range keys {
		p, h := &ks.parts[keys[i].part], uint32(keys[i].hash)
		if g := p.gathered; g != nil {
			sum += g.index[h&uint32(len(g.index)-1)] + g.list[len(g.list)-1].ref + uint32(g.keys[len(g.keys)-1])
			last = g
		}
		if s := p.sealed; s != nil {
			sum += s.index[h&uint32(len(s.index)-1)]
			last = s
		}
	}
	if last != nil {
		last.fetched = sum
	}
}

// answerAhead carries out one increment; false if it has to go through the log. The part is locked.
func (ks *Keyspace) answerAhead(k *target, inc *Increment, now int64) bool {
	p := &ks.parts[k.part]
	if ks.isHeld(k.part, k.hash) {
		return false
	}
	g := p.gathered
	place := uint32(0)
	if g != nil {
		place = g.find(k.hash, k.db, inc.Key)
	}
	var b base
	if place == 0 || !g.list[place-1].leads(p.moved) || !b.of(k.sh, g.list[place-1].ref, now) {
		b = k.base(inc.Key, now)
	}
	if b.err != nil {
		inc.Done, inc.Err = 0, b.err
		return true
	}
	n := int64(max(inc.Count, 1))
	if tooMuch(inc.Delta) || tooMuch(inc.Delta*n) {
		return false
	}
	ahead := int64(0)
	if place != 0 {
		if ahead = g.list[place-1].delta; g.list[place-1].deadline != b.deadline {
			return false
		}
	}
	if tooMuch(ahead + inc.Delta*n) {
		return false
	}
	if p.sealed != nil || p.landing != nil {
		more, ok := p.onTheWay(k, inc.Key, b.deadline)
		if !ok {
			return false
		}
		ahead += more
	}
	view := b.n + ahead
	if (view < b.n) != (ahead < 0) {
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
	if place == 0 {
		if g != nil && g.bytes() > aheadPartMax {
			return false
		}
		g = ks.newTally(p, k.hash, k.db, inc.Key, b.deadline)
		place = uint32(len(g.list))
	}
	t := &g.list[place-1]
	t.delta += inc.Delta * n
	t.ref, t.moved = b.ref, p.moved
	g.count += n
	inc.Done, inc.Sum = int(n), view+inc.Delta*n
	return true
}

// onTheWay is what the sections on their way hold for a key; false if that was answered under another deadline.
func (p *partAhead) onTheWay(k *target, key []byte, deadline int64) (n int64, ok bool) {
	for _, t := range [...]*tallies{p.sealed, p.landing} {
		if t == nil {
			continue
		}
		if i := t.find(k.hash, k.db, key); i != 0 {
			if t.list[i-1].deadline != deadline {
				return 0, false
			}
			n += t.list[i-1].delta
		}
	}
	return n, true
}

func tooMuch(n int64) bool { return n > tallyMax || n < -tallyMax }

// newTally adds a tally for a key that has none to what the part gathers.
func (ks *Keyspace) newTally(p *part, h uint64, db int, key []byte, deadline int64) *tallies {
	g := p.gathered
	if g == nil {
		if g = p.spare; g == nil {
			g = &tallies{index: make([]uint32, talliesIndexed)}
		}
		if !p.hasAhead() {
			ks.aheadParts.Add(1)
		}
		p.gathered, p.spare = g, nil
	}
	at := len(g.keys)
	if uint(db) < 0x80 && len(key) < 0x80 {
		g.keys = append(g.keys, byte(db), byte(len(key)))
	} else {
		g.keys = binary.AppendUvarint(g.keys, uint64(db))
		g.keys = binary.AppendUvarint(g.keys, uint64(len(key)))
	}
	g.keys = append(g.keys, key...)
	g.list = append(g.list, tally{deadline: deadline, keyAt: uint32(at)})
	g.enter(h, uint32(len(g.list)))
	return g
}

// base is the applied value of a key, from which an increment counts.
type base struct {
	ref      uint32
	n        int64
	deadline int64
	err      error
}

// leads reports whether a tally's reference still leads to the record of its key. It compares no keys: while the part's moved is the same,
// no record of the part has been moved or freed.
func (t *tally) leads(moved uint32) bool { return t.ref != 0 && t.moved == moved }

// of takes the base from a record, if that is a counter and has not expired.
func (b *base) of(sh *shard, ref uint32, now int64) bool {
	r := sh.at(ref)
	switch kind := r.kind(); {
	case kind != KindInt && kind != KindShared || r.expired(now):
		return false
	case kind == KindInt:
		b.n = r.int()
	default:
		b.n = sh.sharedValue(r, now).Int
	}
	b.ref, b.deadline = ref, r.deadline()
	return true
}

// base is lookupBase for a target that fetchAll may have filled in.
func (k *target) base(key []byte, now int64) (b base) {
	if k.ref != 0 && k.sh.at(k.ref).hasKey(key) && b.of(k.sh, k.ref, now) {
		return b
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
	if b.of(sh, ref, now) {
		return b
	}
	r := sh.at(ref)
	b.ref, b.deadline = ref, r.deadline()
	switch r.kind() {
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

// find returns 1 + the place of a key's tally, 0 if it has none.
func (t *tallies) find(h uint64, db int, key []byte) uint32 {
	mask := uint32(len(t.index) - 1)
	for i := uint32(h) & mask; ; i = (i + 1) & mask {
		e := t.index[i]
		if e == 0 {
			return 0
		}
		if e>>16 == uint32(h)&0xffff && t.isKey(&t.list[e&0xffff-1], db, key) {
			return e & 0xffff
		}
	}
}

func (t *tallies) isKey(one *tally, db int, key []byte) bool {
	b := t.keys[one.keyAt:]
	if len(key) < 0x80 && uint(db) < 0x80 {
		return len(b) >= 2+len(key) && int(b[0]) == db && int(b[1]) == len(key) && string(b[2:2+len(key)]) == string(key)
	}
	itsDB, itsKey, _ := t.key(one)
	return itsDB == db && string(itsKey) == string(key)
}

// key returns a tally's database and key, and where the key ends in t.keys.
func (t *tallies) key(one *tally) (db int, key []byte, end int) {
	at := int(one.keyAt)
	if b := t.keys[at:]; b[0] < 0x80 && b[1] < 0x80 {
		end = at + 2 + int(b[1])
		return int(b[0]), t.keys[at+2 : end], end
	}
	d, n := binary.Uvarint(t.keys[at:])
	at += n
	l, n := binary.Uvarint(t.keys[at:])
	at += n
	end = at + int(l)
	return int(d), t.keys[at:end], end
}

// db returns a tally's database.
func (t *tallies) db(one *tally) int {
	b := t.keys[one.keyAt:]
	if b[0] < 0x80 {
		return int(b[0])
	}
	n, _ := binary.Uvarint(b)
	return int(n)
}

// enter puts the tally at a place of the list, counted from 1, into the index.
func (t *tallies) enter(h uint64, place uint32) {
	if len(t.list)*2 > len(t.index) && len(t.index) < indexMax {
		t.growIndex()
	}
	t.putIndex(uint32(h)<<16|place, uint32(h))
}

func (t *tallies) putIndex(entry, h uint32) {
	mask := uint32(len(t.index) - 1)
	i := h & mask
	for t.index[i] != 0 {
		i = (i + 1) & mask
	}
	t.index[i] = entry
}

func (t *tallies) growIndex() {
	was := t.index
	t.index = make([]uint32, 2*len(was))
	for _, e := range was {
		if e != 0 {
			t.putIndex(e, e>>16)
		}
	}
}

// reindex makes the index anew, after a change of the keyspace's seed.
func (t *tallies) reindex(ks *Keyspace) {
	clear(t.index)
	for i := range t.list {
		_, key, _ := t.key(&t.list[i])
		h := uint32(ks.hash(key))
		t.putIndex(h<<16|uint32(i+1), h)
	}
}

// sum is what the table holds for a key at log time now; found says that there is a tally, even if it comes to 0.
func (t *tallies) sum(h uint64, db int, key []byte, now int64) (n int64, found bool) {
	if t == nil {
		return 0, false
	}
	if i := t.find(h, db, key); i != 0 {
		if one := &t.list[i-1]; one.deadline == 0 || one.deadline > now {
			return one.delta, true
		}
	}
	return 0, false
}

// bytes is about how many bytes the table takes in an entry, and never fewer.
func (t *tallies) bytes() int { return len(t.keys) + len(t.list)*2*binary.MaxVarintLen64 }

// memory is how many bytes of the heap the table needs for what it holds.
func (t *tallies) memory() int64 {
	return int64(len(t.list)*tallyBytes + len(t.index)*4 + len(t.keys))
}

// reset empties a table for reuse, unless it has become large.
func (t *tallies) reset() *tallies {
	const keep = 64 << 10
	if len(t.index)*4 > keep || cap(t.keys) > keep || cap(t.list)*tallyBytes > 2*keep {
		return nil
	}
	if used := bits.Len(uint(2 * len(t.list))); len(t.index) > talliesIndexed && 1<<(used+2) < len(t.index) {
		t.index = make([]uint32, max(talliesIndexed, 1<<used))
	} else {
		clear(t.index)
	}
	t.list, t.keys, t.count = t.list[:0], t.keys[:0], 0
	return t
}

// aheadOf is all that is answered ahead for a key. The part is locked.
func (ks *Keyspace) aheadOf(part, db int, h uint64, key []byte, now int64) (n int64, found bool) {
	p := &ks.parts[part]
	n, found = p.gathered.sum(h, db, key, now)
	for _, t := range [...]*tallies{p.sealed, p.landing} {
		m, also := t.sum(h, db, key, now)
		n, found = n+m, found || also
	}
	return n, found
}
