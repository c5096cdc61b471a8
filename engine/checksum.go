package engine

import (
	"encoding/binary"
	"errors"

	"github.com/zeebo/xxh3"

	"quipu/engine/shared"
)

// Checksum returns a digest of the whole logical state at log time now: the sum
// of a digest of each record's database, key, kind, value and deadline, expired
// records left out; positions of origins are records too. It does not depend on the layout in memory, the seed, or
// what has been reclaimed. It locks part by part.
func (ks *Keyspace) Checksum(now int64) uint64 {
	sum := uint64(0)
	for part := range Parts {
		ks.LockPart(part)
		ks.storeRegionState(part)
		lost := uint64(0)
		if g := ks.regions.Load(); g != nil {
			lost = g.parts[part].Lost
		}
		for db := range ks.databases + 1 {
			if sh := ks.shard(part, db); sh != nil {
				sh.eachRecord(func(_ uint32, r record) {
					sum += digest(ks.dbNumber(db), r, now, lost)
				})
			}
		}
		ks.UnlockPart(part)
	}
	return sum
}

// ErrStopped is what Snapshot.Checksum returns when it was told to stop.
var ErrStopped = errors.New("engine: stopped")

// Checksum is what Keyspace.Checksum was when the snapshot was captured. It is computed in place of WriteTo, in the background,
// and ends with ErrStopped soon after stop returns true.
func (s *Snapshot) Checksum(now int64, stop func() bool) (sum uint64, err error) {
	n := 0
	sw := &snapshotWriter{s: s, visit: func(db int, r record) error {
		if n++; n%1024 == 0 && stop() {
			return ErrStopped
		}
		sum += digest(db, r, now, s.lost)
		return nil
	}}
	total := uint64(0)
	for _, e := range s.plan {
		total += e.records
	}
	err = sw.takeAll(total)
	return sum, err
}

// digest is 0 for what is expired. lost is which regions are.
func digest(db int, r record, now int64, lost uint64) uint64 {
	grave := db == hiddenDB && OriginKind(r.key()[0]) == regionGrave
	switch {
	case r.kind() == KindShared:
		return digestShared(r.key(), r.content(), now, lost)
	case grave:
		return digestShared(r.key()[1:], r.content(), now, lost)
	case r.expired(now):
		return 0
	}
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

// digestShared is that of a shared key, wherever it is kept: when an expired one becomes a grave is up to each node.
func digestShared(name, content []byte, now int64, lost uint64) uint64 {
	var k shared.Key
	if k.Load(content) != nil {
		return 1 // what Load let pass can be read
	}
	p := shared.Part{Now: max(now, 1), Lost: lost}
	if k.Bury(&p); k.Empty() {
		return 0
	}
	return mix(xxh3.HashSeed(k.Append(nil), xxh3.HashSeed(name, uint64(KindShared))))
}
