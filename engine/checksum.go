package engine

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// Checksum returns a digest of the whole logical state at log time now: the sum
// of a digest of each record's database, key, kind, value and deadline, expired
// records left out; positions of origins are records too. It does not depend on the layout in memory, the seed, or
// what has been reclaimed. It locks part by part.
func (ks *Keyspace) Checksum(now int64) uint64 {
	sum := uint64(0)
	for part := range Parts {
		ks.LockPart(part)
		for db := range ks.databases + 1 {
			if sh := ks.shard(part, db); sh != nil {
				sh.eachRecord(func(_ uint32, r record) {
					if !r.expired(now) {
						sum += digest(ks.dbNumber(db), r)
					}
				})
			}
		}
		ks.UnlockPart(part)
	}
	return sum
}

func digest(db int, r record) uint64 {
	var content []byte
	var n [8]byte
	if r.kind() == KindInt {
		binary.LittleEndian.PutUint64(n[:], uint64(r.int()))
		content = n[:]
	} else {
		content = r.content()
	}
	d := mix(uint64(db)<<8|uint64(r.kind())) ^ mix(uint64(r.deadline())+1)
	return mix(xxh3.HashSeed(content, xxh3.HashSeed(r.key(), d)))
}
