package engine

import (
	"bytes"
	"slices"

	"quipu/engine/shared"
)

// sketchFrameMax is about how many bytes of rows a sketch frame has at most, unless its only row has more; tests have less.
var sketchFrameMax = 256 << 10

// sketchRowsMax is how many rows it has at most. To join a HyperLogLog takes some 20 µs (package hll, BenchmarkMergeSparse and BenchmarkWriteSparse), however small it is, and nobody else writes in the region
// that merges a frame meanwhile.
const sketchRowsMax = 256

// SketchRest is which sketches of a part another region is still to be told of, and how far it is then. The zero value is nothing.
type SketchRest struct {
	Names [][]byte
	To    uint64
	All   bool   // these are all sketches of the part, in order
	Told  []byte // the last one of them that was told, nil: none
}

// SketchFrame appends a frame of this region's sketches for one that has been told up to position from. Where they do not fit, rest has what
// the next call goes on with. Nothing is appended if there is nothing to tell. It locks the part. There are regions.
func (ks *Keyspace) SketchFrame(b []byte, part int, from uint64, rest *SketchRest, now int64) []byte {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	p := ks.sharedPart(part, now)
	s := &p.sketches
	if len(rest.Names) == 0 {
		if from == s.pos {
			return b
		}
		names, ok := s.ring.since(from)
		if !ok || from > s.pos {
			ok, names = false, ks.sketchNames(part, now)
			slices.SortFunc(names, bytes.Compare)
		}
		*rest = SketchRest{names, s.pos, !ok, nil}
		s.ring.close(s.pos)
	}
	f := shared.SketchFrame{Kind: shared.FrameSketches, Origin: p.Me, From: from, To: from, At: s.pos}
	if rest.All {
		f.Kind, f.From, f.To, f.First, f.Behind = shared.FrameAllSketches, 0, 0, rest.Told == nil, rest.Told
	}
	v := ks.View(0, now, false).In(part)
	var rows []byte
	for n := 0; len(rest.Names) > 0 && n < sketchRowsMax; n++ {
		before := len(rows)
		if rows = v.appendSketchRow(rows, p, part, rest.Names[0]); n > 0 && len(rows) > sketchFrameMax {
			rows = rows[:before]
			break
		}
		rest.Told, rest.Names = rest.Names[0], rest.Names[1:]
	}
	if len(rest.Names) == 0 {
		f.To, f.Last = rest.To, true
		*rest = SketchRest{}
	}
	return append(shared.AppendSketchFrame(b, &f), rows...)
}

// appendSketchRow appends what this region tells of a sketch.
func (v View) appendSketchRow(b []byte, p *regionPart, part int, name []byte) []byte {
	m := v.readSketch(p, part, name)
	row := shared.SketchRow{Key: name, Gen: m.Gen, Kind: m.Kind, Birth: m.Birth, Wish: m.Wish, Brief: m.Alive() && !m.Touched}
	switch {
	case m.Alive():
		val, _ := v.Get(name)
		if row.Payload = val.Bytes; row.Brief {
			row.Payload = shared.Brief(m.Kind, val.Bytes)
		}
	case m.Gen == 0:
		row.Gone = true
	}
	return shared.AppendSketchRow(b, &row, false)
}

// LostSketches appends a frame of what this region has of a lost origin's shares; rest is as in SketchFrame, and to begin with has no To.
func (ks *Keyspace) LostSketches(b []byte, part int, o shared.Origin, rest *SketchRest, now int64) []byte {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	p := ks.sharedPart(part, now)
	v := ks.View(0, now, false).In(part)
	if rest.To == 0 {
		rest.To = 1
		for _, name := range ks.sketchNames(part, now) {
			if _, ok := v.readSketch(p, part, name).Copy(o); ok {
				rest.Names = append(rest.Names, name)
			}
		}
	}
	var rows []byte
	for ; len(rest.Names) > 0; rest.Names = rest.Names[1:] {
		name, before := rest.Names[0], len(rows)
		m := v.readSketch(p, part, name)
		c, ok := m.Copy(o)
		if !ok {
			continue // since then
		}
		row := shared.SketchRow{Key: name, Gen: m.Gen, Kind: m.Kind, Birth: c.Birth, Wish: m.Wish, At: c.At}
		if row.Payload, ok = v.hidden(part, p.sketches.copyKey(o, name)); !ok {
			val, _ := v.Get(name)
			row.Payload, row.Brief = shared.Brief(m.Kind, val.Bytes), true
		}
		if rows = shared.AppendSketchRow(rows, &row, true); before > 0 && len(rows) > sketchFrameMax {
			rows = rows[:before]
			break
		}
	}
	if len(rows) == 0 {
		return b
	}
	return append(shared.AppendSketchFrame(b, &shared.SketchFrame{Kind: shared.FrameLostSketches, Origin: o, At: p.sketches.ctx[o]}), rows...)
}

// MergeSketches applies a sketch frame of another region to a part, which the caller holds; as is what this region numbers the sender's origins.
// It returns how far the origin's sketches have come. There are regions. The error is shared.ErrCorrupt, with nothing changed.
func (t Txn) MergeSketches(part int, frame []byte, as *[shared.MaxOrigins]shared.Origin) (v shared.Verdict, at uint64, err error) {
	f, err := shared.OpenSketchFrame(frame)
	if err == nil {
		err = checkSketchRows(f, part)
	}
	if err != nil {
		return shared.Refused, 0, err
	}
	t = t.WithDB(0).In(part)
	p := t.ks.sharedPart(part, t.now)
	o := f.Origin
	if as != nil {
		o = as[o]
	}
	ctx := &p.sketches.ctx[o]
	switch {
	case o == p.Me || p.IsLost(o) != (f.Kind == shared.FrameLostSketches):
		return shared.Refused, *ctx, nil
	case f.From > *ctx:
		return shared.Gap, *ctx, nil
	}
	row := shared.SketchRow{}
	if f.Kind == shared.FrameAllSketches {
		t.hearMissing(p, part, o, f)
	}
	for more, _ := f.Next(&row); more; more, _ = f.Next(&row) {
		t.hearSketch(p, part, o, &row)
	}
	*ctx = max(*ctx, f.To)
	return shared.Applied, *ctx, nil
}

// hearMissing hears of the sketches that a frame of all sketches would have, if the sender had them.
func (t Txn) hearMissing(p *regionPart, part int, o shared.Origin, f shared.SketchFrame) {
	told := map[string]bool{}
	var last []byte
	for row := (shared.SketchRow{}); ; last = row.Key {
		if more, _ := f.Next(&row); !more {
			break
		}
		told[string(row.Key)] = true
	}
	for _, name := range t.ks.sketchNames(part, t.now) {
		if !told[string(name)] && (f.First || bytes.Compare(name, f.Behind) > 0) && (f.Last || bytes.Compare(name, last) < 0) {
			t.hearSketch(p, part, o, &shared.SketchRow{Key: name, Gone: true, At: f.At})
		}
	}
}

func checkSketchRows(f shared.SketchFrame, part int) error {
	row := shared.SketchRow{}
	for {
		more, err := f.Next(&row)
		if err != nil || !more {
			return err
		}
		if !row.Good() || Part(row.Key) != part || len(row.Key) > MaxKey {
			return shared.ErrCorrupt
		}
	}
}

// hearSketch merges a row.
func (t Txn) hearSketch(p *regionPart, part int, o shared.Origin, row *shared.SketchRow) {
	name := row.Key
	sh, h, ref := t.open(name)
	if ref != 0 && !sh.at(ref).isSketch() {
		ref = 0
	}
	m := t.readSketch(p, part, name)
	copies := slices.Clone(m.Copies)
	wish := m.Wish
	var shape []byte
	if m.Alive() {
		shape = shared.Shape(m.Kind, sh.at(ref).content())
	}
	do, tell := m.Hear(o, row, shape, p.Now)
	switch do {
	case shared.Begin:
		t.dropCopies(p, part, name, copies)
		t.beginSketch(p, sh, h, name, m, o, row)
	case shared.Join:
		tell = t.joinSketch(p, sh, h, ref, name, m, o, row) || tell
	case shared.DropCopy:
		t.dropHidden(part, p.sketches.copyKey(o, name))
		t.tell(sh, ref, name, OpSet, Integer{}, Integer{})
	case shared.End:
		t.dropCopies(p, part, name, copies)
		if ref != 0 {
			sh.discard(h, ref)
			t.tell(sh, 0, name, OpDelete, Integer{}, Integer{})
		}
	case shared.Rebirth:
		t.dropCopies(p, part, name, copies)
	}
	t.keepSketch(p, part, name, m)
	if m.Alive() && do != shared.Begin && m.Wish != wish {
		sh.redate(h, sh.find(h, name), m.Wish.Deadline)
		t.expireCopies(p, part, name, m)
		t.tell(sh, sh.find(h, name), name, OpDeadline, Integer{}, Integer{})
	}
	sh.compact()
	if tell {
		t.noteSketch(p, name)
	}
}

// beginSketch makes the sketch that a row tells of, in the place of what there was.
func (t Txn) beginSketch(p *regionPart, sh *shard, h uint64, name []byte, m *shared.Sketch, o shared.Origin, row *shared.SketchRow) {
	t.yieldCounter(p, sh, h, name)
	payload := row.Payload
	if m.Kind != shared.SketchHLL {
		t.keepCopy(p, sh.part, name, m, o, row)
		payload = shared.Blank(m.Kind, row.Payload)
	}
	ref := sh.putContent(h, sh.find(h, name), name, recordKind(m.Kind), payload, m.Wish.Deadline)
	sh.drawn.unset(ref)
	t.tell(sh, ref, name, OpSet, Integer{}, Integer{})
}

// keepCopy keeps the share of an origin, which is nothing if it has added nothing.
func (t Txn) keepCopy(p *regionPart, part int, name []byte, m *shared.Sketch, o shared.Origin, row *shared.SketchRow) {
	key := p.sketches.copyKey(o, name)
	if row.Brief {
		t.dropHidden(part, key)
		return
	}
	in, _ := t.storeHidden(part, key, row.Payload, m.Wish.Deadline)
	in.compact()
}

// joinSketch takes a row's payload into a sketch of the same generation and shape. It reports whether the sender lacks something.
func (t Txn) joinSketch(p *regionPart, sh *shard, h uint64, ref uint32, name []byte, m *shared.Sketch, o shared.Origin, row *shared.SketchRow) (tell bool) {
	if m.Kind != shared.SketchHLL {
		t.keepCopy(p, sh.part, name, m, o, row)
		t.tell(sh, ref, name, OpSet, Integer{}, Integer{})
		return false
	}
	own := sh.at(ref).content()
	if row.Brief {
		tell = !bytes.Equal(shared.Brief(m.Kind, own), row.Payload)
	} else {
		joined, more, lacks := shared.JoinHLL(own, row.Payload)
		if more {
			ref = sh.putContent(h, ref, name, KindRaw, joined, sh.at(ref).deadline())
			t.tell(sh, ref, name, OpSet, Integer{}, Integer{})
		}
		tell = lacks
	}
	m.Touched = m.Touched || tell
	return tell
}

// yieldCounter deletes the counter of a name, as DEL does, since there is a sketch of that name. The part is locked, and no frame is half applied.
func (t Txn) yieldCounter(p *regionPart, sh *shard, h uint64, name []byte) {
	t.readShared(p, sh.part, h, name)
	if _, exists := p.key.Value(&p.Part); exists {
		changed := p.key.Delete(&p.Part)
		t.keepShared(sh, h, name, &p.Part, &p.key, changed)
	}
}

// yieldCounters does so for counters that came with a frame, once it is applied whole: until then it is not known what of them was seen.
func (t Txn) yieldCounters(p *regionPart, part int) {
	for len(p.yield) > 0 {
		name := p.yield[len(p.yield)-1]
		p.yield = p.yield[:len(p.yield)-1]
		t.yieldCounter(p, t.ks.makeShard(part, 0), t.ks.hash(name), name)
	}
}
