package engine

// For each record, a bit says whether its key has a row behind the fence of the feed. It stands beside the arena, because there is no
// room in a record: one bit for 8 bytes, in which no two records begin, or 512 bytes for a chunk that the feed has seen.
//
// A record that is new in its place has no bit, whatever was there before: allocRecord and allocBlock see to it. So a bit that is
// set is that of the key that is there now. When the fence moves, all bits become invalid at once: each chunk has the epoch of its own.
type fedChunk struct {
	epoch uint64
	bits  [chunkBytes / fedUnit / 64]uint64
}

const (
	fedUnit    = 8
	fedUnitLog = 3
)

var _ [minBlock - fedUnit]byte // no two records begin in one unit

// fedBit is where the bit of a record is in its chunk.
func fedBit(ref uint32) (word, bit uint32) {
	unit := ref & chunkRefMask >> (fedUnitLog - refUnitLog)
	return unit / 64, unit % 64
}

// isFed reports whether the record's key has a row behind the fence.
func (sh *shard) isFed(ref uint32, epoch uint64) bool {
	ci := ref >> chunkRefLog
	if ci >= uint32(len(sh.fed)) {
		return false
	}
	c := &sh.fed[ci]
	word, bit := fedBit(ref)
	return c.epoch == epoch && c.bits[word]>>bit&1 != 0
}

// feedRecord gives the record's key a row, and its bit. It is apart from isFed, which is inlined.
//
//go:noinline
func (sh *shard) feedRecord(f *Feed, ref uint32) {
	if f.opened {
		f.note(sh.db, sh.at(ref).key())
		sh.setFed(f, ref)
	}
}

func (sh *shard) setFed(f *Feed, ref uint32) {
	ci := ref >> chunkRefLog
	if n := len(sh.meta); ci >= uint32(len(sh.fed)) {
		sh.fed = append(sh.fed, make([]fedChunk, n-len(sh.fed))...)
	}
	c := &sh.fed[ci]
	if c.epoch != f.epoch {
		*c = fedChunk{epoch: f.epoch}
	}
	word, bit := fedBit(ref)
	c.bits[word] |= 1 << bit
}

// unfeed takes the bit away from what begins at ref from now on.
func (sh *shard) unfeed(ref uint32) {
	if ci := ref >> chunkRefLog; ci < uint32(len(sh.fed)) {
		word, bit := fedBit(ref)
		sh.fed[ci].bits[word] &^= 1 << bit
	}
}

// tellFeed says that a key has changed, which has its record at ref, or none at all if that is 0.
func (sh *shard) tellFeed(ref uint32, key []byte) {
	switch f := sh.ks.feed; {
	case f == nil || !f.opened:
	case ref == 0:
		f.note(sh.db, key)
	case !sh.isFed(ref, f.epoch):
		f.note(sh.db, key)
		sh.setFed(f, ref)
	}
}
