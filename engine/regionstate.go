package engine

import (
	"encoding/binary"
	"errors"

	"quipu/engine/shared"
)

// What of regions is in snapshots and checksums: positions are written into records of the hidden database when one is made, and all is read
// when one has been loaded.

// storeRegionState writes a part's positions into their records, for a snapshot or a checksum. The part is locked.
func (ks *Keyspace) storeRegionState(part int) {
	g := ks.regions.Load()
	if g == nil {
		return
	}
	p := &g.parts[part]
	ks.storePositions(part, regionState, p, p.Pos, &p.Ctx)
	ks.storePositions(part, sketchPositions, p, p.sketches.pos, &p.sketches.ctx)
}

func (ks *Keyspace) storePositions(part int, kind OriginKind, p *regionPart, pos uint64, ctx *[shared.MaxOrigins]uint64) {
	if pos == 0 && *ctx == [shared.MaxOrigins]uint64{} {
		return // nothing has been counted in it, ever
	}
	b := binary.AppendUvarint(p.content[:0], pos)
	for o, at := range ctx {
		if at != 0 {
			b = binary.AppendUvarint(append(b, byte(o)), at)
		}
	}
	p.content = b
	sh, _ := ks.Txn(0, 0, false).storeHidden(part, []byte{byte(kind), byte(part)}, b, 0)
	sh.compact()
}

// loadPositions reads what storePositions has written, if anything.
func (v View) loadPositions(part int, kind OriginKind, pos *uint64, ctx *[shared.MaxOrigins]uint64) error {
	b, ok := v.hidden(part, []byte{byte(kind), byte(part)})
	for first := true; ok && (first || len(b) > 0); first = false {
		at, o := pos, byte(0)
		if !first {
			if o, b = b[0], b[1:]; o >= shared.MaxOrigins {
				return errRegionRecord
			}
			at = &ctx[o]
		}
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return errRegionRecord
		}
		*at, b = n, b[size:]
	}
	return nil
}

// hiddenPart is the part of a record of the hidden database. Of what is kept of a shared key it is that of the key.
func hiddenPart(key []byte) int {
	switch {
	case OriginKind(key[0]) == regionGrave || OriginKind(key[0]) == sketchState:
		return Part(key[1:])
	case len(key) > 1 && OriginKind(key[0]) == sketchCopy:
		return Part(key[2:])
	case len(key) == 2 && (OriginKind(key[0]) == regionState || OriginKind(key[0]) == sketchPositions):
		return int(key[1])
	}
	return Part(key)
}

// goodShared reports whether a record that is loaded, if it is a shared key or a grave, can be read.
func (sh *shard) goodShared(key []byte, v *Value) bool {
	switch {
	case v.Kind == KindShared && sh.db != 0:
		return false
	case sh.db == sh.ks.databases && OriginKind(key[0]) == sketchState:
		return new(shared.Sketch).Load(v.Bytes) == nil
	case v.Kind != KindShared && !(sh.db == sh.ks.databases && OriginKind(key[0]) == regionGrave):
		return true
	}
	var k shared.Key
	return k.Load(v.Bytes) == nil
}

// loadRegions takes the regions from the hidden database, after Load.
func (ks *Keyspace) loadRegions() error {
	key := []byte{byte(regionSetup)}
	v := ks.View(ks.databases, 0, false)
	ks.LockPart(Part(key))
	val, ok := v.Get(key)
	g := &regions{}
	var err error
	if ok {
		var s RegionSetup
		s, err = decodeRegionSetup(val.Bytes)
		g.current.Store(&s)
	}
	ks.UnlockPart(Part(key))
	if !ok || err != nil {
		ks.regions.Store(nil)
		return err
	}
	for part := range Parts {
		p := &g.parts[part]
		ks.LockPart(part)
		if err == nil {
			err = errors.Join(v.loadPositions(part, regionState, &p.Pos, &p.Ctx), v.loadPositions(part, sketchPositions, &p.sketches.pos, &p.sketches.ctx))
		}
		ks.UnlockPart(part)
	}
	if err != nil {
		return err
	}
	if err = g.loadMarks(ks); err != nil {
		return err
	}
	g.begin(ks, 0)
	g.countGraves(ks)
	ks.regions.Store(g)
	return nil
}
