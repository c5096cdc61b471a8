package engine

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/zeebo/xxh3"

	"quipu/engine/shared"
)

// A digest of a part says what its owner, one region, has counted there, in 64 sums: those of the shares of keys in 64 buckets, by the hash of
// the key's name. Another region makes the same of the copies that it has, and compares.
//
// Only shares are in it of which both surely have the same at one position of the owner:
//
//   - they have no deadline. A share that has one dies by the log time of each region, and of what is dead either may have freed the memory;
//   - they are alive. So their keys exist, have a record in database 0 that does not expire, and nothing but a reset moves them to a grave;
//   - of a bucket that has a copy with a reset that the owner has not confirmed, nothing is compared: the owner has another pair.
//
// A pass over a part gives the lock away every now and then, so that nobody waits for longer than a millisecond; while others change the part.
// What changes meanwhile has its bucket left out: at the owner that is in its memory of changed keys, and whatever writes a key otherwise than in place
// says so (digestPass.touch). A bucket that is not left out is the same from the position at which the pass began to that where it ended, so
// both need not be at one position at one moment: the other region has to be somewhere in between.
type digestPass struct {
	from, to uint64
	leftOut  uint64 // bit i: bucket i
	sums     [digestBuckets]uint64
}

const (
	digestBuckets = 64
	digestKeys    = 4096 // at a time: less than 1 ms (BenchmarkRegionDigest)
)

var errDigest = errors.New("engine: the bytes are no digest of a part")

// touch has the bucket of a key left out.
func (d *digestPass) touch(name []byte) { d.leftOut |= 1 << (xxh3.Hash(name) % digestBuckets) }

// add adds a share, as its owner has it.
func (d *digestPass) add(h uint64, e *shared.Share) {
	sum := mix(mix(mix(h^uint64(e.Cum))^e.RSeq) ^ uint64(e.RCum))
	if e.Base.Stamp != 0 {
		sum = mix(mix(sum^uint64(e.Base.Stamp)) ^ uint64(e.Base.Value))
	}
	if e.Wish.Stamp != 0 {
		sum = mix(mix(sum^uint64(e.Wish.Stamp)) ^ uint64(e.Wish.Deadline))
	}
	d.sums[h%digestBuckets] += sum
}

// addOwn adds this region's own share of a key.
func (d *digestPass) addOwn(name []byte, k *shared.Key) {
	if k.HasOwn && k.Own.Seq > k.Own.RSeq && k.Own.Wish.Deadline <= 0 {
		d.add(xxh3.Hash(name), &k.Own)
	}
}

// addCopy adds the copy of another region's share.
func (d *digestPass) addCopy(name []byte, k *shared.Key, o shared.Origin) {
	for i := range k.Others {
		switch r := &k.Others[i]; {
		case r.Origin != o:
		case r.Hinted:
			d.touch(name)
		case r.Live && r.Wish.Deadline <= 0:
			d.add(xxh3.Hash(name), &r.Share)
		}
	}
}

// walkShared calls fn for the shared keys of a part, and with graves for those of its graves behind them, with the part locked. It gives the lock
// away between some keys and the next, and then asks whether to go on. A key that nobody touches is visited once. It reports whether it came to the end.
func (ks *Keyspace) walkShared(part int, graves bool, more func(p *regionPart) bool, fn func(name []byte, k *shared.Key)) bool {
	dbs := []int{0}
	if graves {
		dbs = append(dbs, ks.databases)
	}
	for _, db := range dbs {
		for pos := uint64(0); pos < 1<<positionBits; {
			ks.LockPart(part)
			g := ks.regions.Load()
			if g == nil || !more(&g.parts[part]) {
				ks.UnlockPart(part)
				return false
			}
			pos = ks.walkSome(&g.parts[part], part, db, pos, fn)
			ks.UnlockPart(part)
		}
	}
	return true
}

// walkSome visits some keys from a position on, and returns the next one. The part is locked.
func (ks *Keyspace) walkSome(p *regionPart, part, db int, pos uint64, fn func(name []byte, k *shared.Key)) uint64 {
	sh := ks.shard(part, db)
	if sh == nil {
		return 1 << positionBits
	}
	s := scanner{keys: digestKeys, lines: digestKeys, record: func(r record) {
		switch key := r.key(); {
		case r.kind() == KindShared:
			p.load(r.content())
			fn(key, &p.key)
		case db == ks.databases && OriginKind(key[0]) == regionGrave:
			p.load(r.content())
			fn(key[1:], &p.key)
		}
	}}
	for pos < 1<<positionBits && s.keys > 0 && s.lines > 0 {
		if t := sh.tableOf(pos << (64 - positionBits)); pos&(1<<(positionBits-t.depth)-1) == 0 {
			sh.fetch(t)
		}
		pos = s.walk(sh, pos)
	}
	return pos
}

// RegionDigest is a digest under way, of what this region has counted in a part.
type RegionDigest struct {
	ks   *Keyspace
	of   *regions
	part int
	pass digestPass
	ok   bool
}

// BeginDigest passes over a part, and notes what changes there until End. There may be no regions any more.
func (ks *Keyspace) BeginDigest(part int) *RegionDigest {
	d := &RegionDigest{ks: ks, of: ks.regions.Load(), part: part}
	if d.of == nil {
		return d
	}
	begun := false
	d.ok = ks.walkShared(part, false, func(p *regionPart) bool {
		if !begun {
			d.pass.from = p.Pos
			p.changed.cut(p.Pos)
			p.passes = append(p.passes, &d.pass)
			begun = true
		}
		return true
	}, d.pass.addOwn)
	return d
}

// End returns the digest, nil: there is none, as too much has changed or there are no regions any more. It is to be called once.
func (d *RegionDigest) End() []byte {
	d.ks.LockPart(d.part)
	defer d.ks.UnlockPart(d.part)
	if d.of == nil {
		return nil
	}
	p := &d.of.parts[d.part]
	p.endPass(&d.pass)
	c, _, known := p.changed.from(d.pass.from)
	if !d.ok || d.of != d.ks.regions.Load() || !known || p.Pos < d.pass.from {
		return nil
	}
	d.pass.to = p.Pos
	f, err := shared.OpenFrame(d.ks.Txn(0, 0, false).In(d.part).appendChanged(nil, p, d.part, c))
	for row := (shared.Row{}); err == nil; {
		more := false
		if more, err = f.Next(&row); !more {
			break
		}
		d.pass.touch(row.Key)
	}
	return d.pass.append(nil)
}

func (p *regionPart) endPass(d *digestPass) {
	for i := range p.passes {
		if p.passes[i] == d {
			p.passes = append(p.passes[:i], p.passes[i+1:]...)
			return
		}
	}
}

// touched tells passes over the part that a key is written.
func (p *regionPart) touched(name []byte) {
	for _, d := range p.passes {
		d.touch(name)
	}
}

// append appends a digest: the positions, and what is not left out and not 0.
func (d *digestPass) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, d.from), d.to)
	set := uint64(0)
	for i, sum := range d.sums {
		set |= uint64(boolByte(sum != 0)) << i
	}
	set &^= d.leftOut
	b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, d.leftOut), set)
	for ; set != 0; set &= set - 1 {
		b = binary.LittleEndian.AppendUint64(b, d.sums[bits.TrailingZeros64(set)])
	}
	return b
}

func decodeDigest(b []byte) (d digestPass, err error) {
	for _, n := range []*uint64{&d.from, &d.to} {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return d, errDigest
		}
		*n, b = v, b[size:]
	}
	if len(b) < 16 || d.from > d.to {
		return d, errDigest
	}
	d.leftOut = binary.LittleEndian.Uint64(b)
	set := binary.LittleEndian.Uint64(b[8:])
	if b = b[16:]; set&d.leftOut != 0 || len(b) != 8*bits.OnesCount64(set) {
		return d, errDigest
	}
	for ; set != 0; set, b = set&(set-1), b[8:] {
		d.sums[bits.TrailingZeros64(set)] = binary.LittleEndian.Uint64(b)
	}
	return d, nil
}

// DigestVerdict says what a comparison has come to.
type DigestVerdict struct {
	Here              bool // this region was where the digest is true
	Compared, Differs int  // buckets
}

// CompareDigest compares another region's digest of a part with the copies that are here. An error means that the bytes are no digest. There are
// regions. The caller holds no parts, or all.
func (v View) CompareDigest(part int, o shared.Origin, digest []byte) (verdict DigestVerdict, err error) {
	theirs, err := decodeDigest(digest)
	if err != nil {
		return verdict, err
	}
	var ours digestPass
	var on *regionPart // where the pass is; others take its place when a snapshot is installed
	more := func(p *regionPart) bool {
		if on == nil {
			on, ours.from = p, p.Ctx[o]
			p.passes = append(p.passes, &ours)
		}
		return p == on && p.Ctx[o] == ours.from && ours.from >= theirs.from && ours.from <= theirs.to && !p.IsLost(o) && o != p.Me
	}
	visit := func(name []byte, k *shared.Key) { ours.addCopy(name, k, o) }
	if v.held {
		verdict.Here = v.ks.walkHeld(part, more, visit)
	} else {
		verdict.Here = v.ks.walkShared(part, true, more, visit)
	}
	v.lock(part)
	defer v.unlock(part)
	if on != nil {
		on.endPass(&ours)
	}
	if g := v.ks.regions.Load(); !verdict.Here || g == nil || !more(&g.parts[part]) {
		return DigestVerdict{}, nil
	}
	for i := range ours.sums {
		if (ours.leftOut|theirs.leftOut)>>i&1 != 0 {
			continue
		}
		verdict.Compared++
		if ours.sums[i] != theirs.sums[i] {
			verdict.Differs++
		}
	}
	return verdict, nil
}

// walkHeld is walkShared with graves, for a caller that holds the part.
func (ks *Keyspace) walkHeld(part int, more func(p *regionPart) bool, fn func(name []byte, k *shared.Key)) bool {
	p := &ks.regions.Load().parts[part]
	if !more(p) {
		return false
	}
	for _, db := range []int{0, ks.databases} {
		for pos := uint64(0); pos < 1<<positionBits; {
			pos = ks.walkSome(p, part, db, pos, fn)
		}
	}
	return true
}

// FullFrame is a full part of what this region has counted, for one that has something else. It locks the part. There are regions.
func (ks *Keyspace) FullFrame(part int, now int64) []byte {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	p := ks.sharedPart(part, now)
	return shared.AppendFull(nil, &p.Part, &regionStore{ks.Txn(0, 0, false).In(part), p, part, &p.Part})
}
