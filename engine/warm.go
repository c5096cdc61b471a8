package engine

import (
	"math/bits"
	"unsafe"
)

// Hint names a key that is about to be used.
type Hint struct {
	DB  int
	Key []byte
}

// WarmMax is how many hints one call of Warm follows at most: about as many cache misses as a core can wait for at once.
const WarmMax = 16

// warmFrom is the size of the live records, in bytes, from which Warm pays: below, the caches hold them anyway, and it
// would cost 40 ns a key.
const warmFrom = 2 << 20

// WorthWarming reports whether the keyspace has outgrown the caches.
func (ks *Keyspace) WorthWarming() bool { return ks.liveBytes.Load() >= warmFrom }

// Warm brings the index lines and records of keys into the processor's caches, so that the operations on them that
// follow do not wait for memory one after the other: here no read depends on the one before, and the misses overlap. It
// changes nothing, and hints for missing keys or databases do no harm. The caller holds no parts.
//
// Measured on 1,000,000 random counters, batches of 5,000 INCR: see BenchmarkAddWarm; find and hasKey were 45 % of the
// server's time without it.
func (ks *Keyspace) Warm(hints []Hint) {
	var g KeySet
	g.Reset(ks)
	for _, h := range hints[:min(len(hints), WarmMax)] {
		g.Add(h.DB, h.Key)
	}
	g.LockForWrites()
	g.Unlock()
}

// WarmHeld is Warm for keys of one part that the caller has locked.
func (ks *Keyspace) WarmHeld(part int, hints []Hint) {
	hints = hints[:min(len(hints), WarmMax)]
	var keys [WarmMax]target
	for i := range hints {
		keys[i] = target{part: part, hash: ks.hash(hints[i].Key)}
		if hints[i].DB < ks.databases {
			keys[i].sh = ks.shard(part, hints[i].DB)
		}
	}
	fetchAll(keys[:len(hints)])
	ks.fetchFed(keys[:len(hints)])
}

// target is a key to be fetched: where it is, and once fetched its line of the index.
type target struct {
	part int
	db   int
	hash uint64
	sh   *shard // nil if there is none
	line unsafe.Pointer
	ref  uint32 // the record that the index leads to first: may be the key's, or another's; 0 if none
}

// fetchAll reads the index lines of the keys, then the records they lead to. Their parts are locked.
func fetchAll(keys []target) {
	var sum byte
	var last *shard
	for i := range keys {
		k := &keys[i]
		if k.sh == nil {
			continue
		}
		t := k.sh.tableOf(k.hash)
		k.line = t.line(t.home(k.hash))
		sum += *(*byte)(k.line)
		last = k.sh
	}
	for i := range keys {
		if k := &keys[i]; k.line != nil {
			if k.ref = candidate(k.line, k.hash); k.ref != 0 {
				sum += k.sh.peekAt(k.ref)
			}
		}
	}
	if last != nil {
		last.fetched = sum // the compiler must not drop the reads
	}
}

// fetchSealed reads, for the next WarmMax tallies of a part's sealed table, the counter that the tally refers to, or
// the index line and record of its key if the tally refers to none. The part is locked.
func (ks *Keyspace) fetchSealed(part int, t *tallies, from int) {
	var sum byte
	var last *shard
	var others [WarmMax]target
	n := 0
	moved := ks.parts[part].moved
	for i := from; i < min(from+WarmMax, len(t.list)); i++ {
		s := &t.list[i]
		sh := ks.shard(part, t.db(s))
		switch {
		case sh == nil:
		case s.ref != 0 && s.moved == moved:
			const counterEnd = 9 // a counter's last byte
			r := sh.at(s.ref)
			sum += r.header() + *(*byte)(unsafe.Add(r.p, counterEnd)) + sh.fed.peek(s.ref)
			last = sh
		default:
			_, key, _ := t.key(s)
			others[n] = target{hash: ks.hash(key), sh: sh}
			n++
		}
	}
	if last != nil {
		last.fetched = sum
	}
	fetchAll(others[:n])
}

// candidate is the reference of the first record in the line whose tag fits, 0 if none does.
func candidate(line unsafe.Pointer, h uint64) uint32 {
	pattern := uint64(tagOf(h)) * lowBits
	if m := zeroBytes(load64(line) ^ pattern); m != 0 {
		return refAt(line, bits.TrailingZeros64(m)>>3)
	}
	if m := zeroBytes(load64(unsafe.Add(line, 8))^pattern) & 0x80808080; m != 0 {
		return refAt(line, 8+bits.TrailingZeros64(m)>>3)
	}
	return 0
}

// peekAt reads the first byte of a record and one further on: every second record of a counter reaches into another
// cache line.
func (sh *shard) peekAt(ref uint32) byte {
	const further = 28
	r := sh.at(ref)
	b := r.header()
	if ref&chunkRefMask < (chunkBytes-further)>>refUnitLog { // else it may be behind the chunk
		b += *(*byte)(unsafe.Add(r.p, further))
	}
	return b
}

// fetchFed reads what the feed and regions ask of each record that changes (fed.go). Reads do without: with 1,000,000 keys and P = 100 it
// was a tenth of the server's time for GET (bench-before, 0.91 and 1.00 of the build without a feed).
func (ks *Keyspace) fetchFed(keys []target) {
	g := ks.regions.Load()
	if ks.feed == nil && g == nil {
		return
	}
	var sum byte
	var last *shard
	for i := range keys {
		if k := &keys[i]; k.ref != 0 {
			sum += k.sh.fed.peek(k.ref)
			if g != nil {
				sum += g.parts[k.part].changed.peek(k.hash)
			}
			last = k.sh
		}
	}
	if last != nil {
		last.fetched = sum
	}
}
