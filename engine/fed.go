package engine

// For each record, a bit says whether its key has a row behind the fence of the feed. It stands beside the arena, because there is no
// room in a record: one bit for 8 bytes, in which no two records begin, so 512 bytes for a chunk that the feed has seen.
//
// A record that is new in its place has no bit, whatever was there before: allocRecord and allocBlock see to it. So a bit that is
// set is that of the key that is there now. When the fence moves, all bits become invalid at once, since each shard has the epoch
// of its own, and empties them when it sets the next one. The bits are fetched from memory together with the records (warm.go): to
// look at one of 1,000,000 keys was 7 % of the server's time, and is less than 1 % so; with an epoch beside the bits of each chunk it
// was two cache lines.
type fedBits struct {
	epoch uint64
	bits  []uint64 // shorter than the arena where no record was ever noted
}

const (
	fedUnit    = 8
	fedUnitLog = 3
	fedWords   = chunkBytes / fedUnit / 64 // of a chunk
)

var _ [minBlock - fedUnit]byte // no two records begin in one unit

// place is where the bit of a record is.
func (fb *fedBits) place(ref uint32) (word, bit uint32) {
	unit := ref >> (fedUnitLog - refUnitLog)
	return unit / 64, unit % 64
}

// has reports whether the record's key has a row behind the fence of that epoch.
func (fb *fedBits) has(ref uint32, epoch uint64) bool {
	word, bit := fb.place(ref)
	return word < uint32(len(fb.bits)) && fb.bits[word]>>bit&1 != 0 && fb.epoch == epoch
}

// peek reads what has looks at.
func (fb *fedBits) peek(ref uint32) byte {
	if word, _ := fb.place(ref); word < uint32(len(fb.bits)) {
		return byte(fb.bits[word])
	}
	return 0
}

// set sets the bit of a record in an arena of so many chunks.
func (fb *fedBits) set(ref uint32, epoch uint64, chunks int) {
	if n := chunks * fedWords; n > len(fb.bits) {
		fb.bits = append(fb.bits, make([]uint64, n-len(fb.bits))...)
	}
	if fb.epoch != epoch {
		fb.epoch = epoch
		clear(fb.bits)
	}
	word, bit := fb.place(ref)
	fb.bits[word] |= 1 << bit
}

// forgetBits takes the bits of the record before it away from one that begins at ref.
func (sh *shard) forgetBits(ref uint32) {
	sh.fed.unset(ref)
	sh.drawn.unset(ref)
}

// unset takes the bit away from what begins at ref from now on.
func (fb *fedBits) unset(ref uint32) {
	if word, bit := fb.place(ref); word < uint32(len(fb.bits)) {
		fb.bits[word] &^= 1 << bit
	}
}

// feedRecord gives the record's key a row, and its bit. It is apart from the look at the bit, which is inlined.
//
//go:noinline
func (sh *shard) feedRecord(f *Feed, ref uint32) {
	if f.opened {
		f.note(sh.db, sh.at(ref).key())
		sh.fed.set(ref, f.epoch, len(sh.meta))
	}
}

// tellFeed says that a key has changed, which has its record at ref, or none at all if that is 0.
func (sh *shard) tellFeed(ref uint32, key []byte) {
	switch f := sh.ks.feed; {
	case f == nil || !f.opened:
	case ref == 0:
		f.note(sh.db, key)
	case !sh.fed.has(ref, f.epoch):
		f.note(sh.db, key)
		sh.fed.set(ref, f.epoch, len(sh.meta))
	}
}
