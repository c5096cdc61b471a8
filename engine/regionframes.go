package engine

import (
	"encoding/binary"
	"slices"

	"quipu/engine/shared"
)

// Frame appends what this region tells another one of a part, which has incorporated it up to position from, and returns the position
// that the frame leads to. Nothing is appended if there is nothing to tell. It locks the part. There are regions.
func (ks *Keyspace) Frame(b []byte, part int, from uint64, now int64) (frame []byte, to uint64) {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	p := ks.sharedPart(part, now)
	if from == p.Pos {
		return b, p.Pos
	}
	t := ks.Txn(0, 0, false).In(part)
	c, later, ok := p.changed.from(from)
	switch l := &p.last; {
	case !ok || from > p.Pos:
		b = shared.AppendFull(b, &p.Part, &regionStore{t, p, part, &p.Part})
	case l.from <= from && from < l.to && now-l.made < frameShared:
		return append(b, l.bytes...), l.to
	default:
		begin := len(b)
		b = t.appendChanged(b, p, part, c)
		if later > copiesAtOne {
			b = b[:begin+len(shared.LastRows(b[begin:]))]
		}
		if *l = (lastFrame{c.pos, p.Pos, now, append(l.bytes[:0], b[begin:]...)}); len(l.bytes) > frameKept {
			*l = lastFrame{}
		}
	}
	p.changed.cut(p.Pos)
	return b, p.Pos
}

// lastFrame is the frame that was made last, for the other regions: each has a link of its own, and they ask one after the other. It is as
// true later: it says where it leads to.
type lastFrame struct {
	from, to uint64
	made     int64 // log time in ms
	bytes    []byte
}

const (
	frameShared = 15       // ms
	frameKept   = 32 << 10 // bytes
)

// appendChanged appends a frame with what changed behind a cut. Records of bare notes are fetched from memory WarmMax at a time.
func (t Txn) appendChanged(b []byte, p *regionPart, part int, c cut) []byte {
	b = shared.AppendFrame(b, shared.FrameDelta, p.Me, c.pos, p.Pos)
	changed := &p.changed
	at := c.at
	warm := t.ks.WorthWarming()
	for rest := changed.bare[changed.bareFrom(at):]; len(rest) > 0; {
		var hints [WarmMax]Hint
		n := min(len(rest), WarmMax)
		for i, e := range rest[:n] {
			length, size := binary.Uvarint(changed.rows[e.at:])
			hints[i].Key = changed.rows[int(e.at)+size:][:length]
		}
		if warm {
			t.ks.WarmHeld(part, hints[:n])
		}
		for i, e := range rest[:n] {
			b = append(b, changed.rows[at:e.at]...)
			b = t.appendRow(b, p, part, hints[i].Key)
			at = int(e.end)
		}
		rest = rest[n:]
	}
	return append(b, changed.rows[at:]...)
}

// appendRow appends the row of a key.
func (t Txn) appendRow(b []byte, p *regionPart, part int, name []byte) []byte {
	h := t.ks.hash(name)
	if sh := t.ks.shard(part, 0); sh != nil {
		if ref := sh.find(h, name); ref != 0 && sh.at(ref).kind() == KindShared {
			if b, ok := shared.QuickRow(b, name, sh.at(ref).content()); ok {
				return b
			}
		}
	}
	t.readShared(p, part, h, name)
	return p.key.AppendRow(b, name)
}

// LostFrame appends all that this region has of a lost origin's share of a part. It locks the part. There are regions.
func (ks *Keyspace) LostFrame(b []byte, part int, o shared.Origin, now int64) []byte {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	p := ks.sharedPart(part, now)
	return shared.AppendLost(b, &p.Part, &regionStore{ks.Txn(0, 0, false).In(part), p, part, &p.Part}, o)
}

// MergeFrame applies a frame of another region to a part; as is what this region numbers the sender's origins, nil: as the sender does. It
// returns how far the origin is incorporated then. It locks the part. There are regions. The error is that of shared.Apply.
func (t Txn) MergeFrame(part int, frame []byte, as *[shared.MaxOrigins]shared.Origin) (v shared.Verdict, at uint64, err error) {
	t.lock(part)
	defer t.unlock(part)
	return t.MergeFrameHeld(part, frame, as)
}

// MergeFrameHeld is MergeFrame for a caller that holds the part.
func (t Txn) MergeFrameHeld(part int, frame []byte, as *[shared.MaxOrigins]shared.Origin) (v shared.Verdict, at uint64, err error) {
	t = t.WithDB(0).In(part)
	p := t.ks.sharedPart(part, t.now)
	f, err := shared.OpenFrame(frame)
	if err != nil {
		return shared.Refused, 0, err
	}
	o := f.Origin
	if as != nil {
		o = as[o]
	}
	// Whether a key exists goes by what is incorporated behind the frame, and that moves when all rows are merged.
	behind := p.Part
	behind.Ctx[o] = max(behind.Ctx[o], f.To)
	v, err = shared.Apply(&p.Part, &regionStore{t, p, part, &behind}, frame, as)
	t.yieldCounters(p, part)
	return v, p.Ctx[o], err
}

// regionStore is the keys of a part, as shared.Store. The part is locked.
type regionStore struct {
	t     Txn
	p     *regionPart
	part  int
	state *shared.Part // by which it is judged what exists
}

// Read implements shared.Store. Names are those of keys of the part, or of no key.
func (s *regionStore) Read(name []byte, k *shared.Key) {
	s.t.readShared(s.p, s.part, s.t.ks.hash(name), name)
	k.HasOwn, k.Own, k.Others = s.p.key.HasOwn, s.p.key.Own, append(k.Others[:0], s.p.key.Others...)
}

// Write implements shared.Store.
func (s *regionStore) Write(name []byte, k *shared.Key, changed bool) {
	sh := s.t.ks.makeShard(s.part, 0)
	h := s.t.ks.hash(name)
	now := s.state.Now
	ref, _ := sh.lookup(h, name, now)
	var was, is Integer
	if ref != 0 && !sh.at(ref).isSketch() {
		was = Integer{N: sh.valueAt(ref, now).Int, OK: true}
	}
	ref = s.t.keepShared(sh, h, name, s.state, k, changed)
	if ref != 0 {
		n, _ := k.Value(s.state)
		is = Integer{N: n, OK: true}
	}
	if was != is {
		op := OpSet
		if ref == 0 {
			op = OpDelete
		}
		s.t.tell(sh, ref, name, op, was, is)
	}
	sh.compact()
}

// Fetch implements shared.Store.
func (s *regionStore) Fetch(rows []shared.Row) {
	if !s.t.ks.WorthWarming() {
		return
	}
	var hints [shared.RowsAtOnce]Hint
	for i := range rows {
		hints[i].Key = rows[i].Key
	}
	s.t.ks.WarmHeld(s.part, hints[:len(rows)])
}

var _ [WarmMax - shared.RowsAtOnce]byte // all of them are fetched

// Quick implements shared.Store.
func (s *regionStore) Quick(o shared.Origin, to uint64, row *shared.Row) bool {
	sh := s.t.ks.shard(s.part, 0)
	if sh == nil {
		return false
	}
	ref := sh.find(s.t.ks.hash(row.Key), row.Key)
	if ref == 0 || sh.at(ref).kind() != KindShared {
		return false
	}
	r := sh.at(ref)
	content := r.content()
	was, _, ok := shared.Quick(content, &s.p.Part)
	if !ok {
		return false
	}
	sh.touch(ref, r.contentOffset(), uint32(len(content)))
	if !shared.QuickMerge(content, o, to, row) {
		return false
	}
	if is, _, _ := shared.Quick(content, s.state); was != is {
		s.t.tell(sh, ref, row.Key, OpSet, Integer{N: was, OK: true}, Integer{N: is, OK: true})
	}
	return true
}

// Each implements shared.Store.
func (s *regionStore) Each(fn func(name []byte, k *shared.Key) (write, changed bool)) {
	s.each(func([]byte) bool { return false }, fn)
}

// restless is a store whose Each leaves out keys that are quiet (shared.Quiet). Nobody counts while all keys are looked at, and with 1,000,000
// of them that took a second (BenchmarkRegionBegins/lose: 60 ns a key without them).
type restless struct{ *regionStore }

// Each implements shared.Store, in place of regionStore's.
func (s restless) Each(fn func(name []byte, k *shared.Key) (write, changed bool)) {
	s.each(shared.Quiet, fn)
}

// each is Each but for keys whose content is to be passed over. What is to be written is kept until all have been seen, as that moves records.
func (s *regionStore) each(pass func(content []byte) bool, fn func(name []byte, k *shared.Key) (write, changed bool)) {
	type written struct {
		name    []byte
		k       shared.Key
		changed bool
	}
	var list []written
	var k shared.Key
	see := func(name, content []byte) {
		if pass(content) {
			return
		}
		if err := k.Load(content); err != nil {
			panic("engine: BUG: a shared key cannot be read: " + err.Error()) // as in regionPart.load
		}
		if write, changed := fn(name, &k); write {
			w := written{slices.Clone(name), k, changed}
			w.k.Others = slices.Clone(k.Others)
			list = append(list, w)
		}
	}
	if sh := s.t.ks.shard(s.part, 0); sh != nil {
		sh.eachRecord(func(_ uint32, r record) {
			if r.kind() == KindShared {
				see(r.key(), r.content())
			}
		})
	}
	if sh := s.t.ks.shard(s.part, s.t.ks.databases); sh != nil {
		sh.eachRecord(func(_ uint32, r record) {
			if key := r.key(); OriginKind(key[0]) == regionGrave {
				see(key[1:], r.content())
			}
		})
	}
	for i := range list {
		s.Write(list[i].name, &list[i].k, list[i].changed)
	}
}
