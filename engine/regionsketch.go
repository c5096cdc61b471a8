package engine

import (
	"bytes"
	"fmt"
	"slices"

	"quipu/engine/hll"
	"quipu/engine/shared"
)

// Shared sketches: by which rules they come to the same in all regions stands in shared.Sketch; here is where they are kept. The sketch that
// commands see is a record of database 0, as without regions: a HyperLogLog as it is here, of the other kinds what this region has added
// itself. Beside it are records of the hidden database, which have the deadline of the sketch:
//
//	hidden database     key                     content, KindRaw
//	state               'h', name               that of shared.Sketch; of a sketch that was deleted, its tombstone
//	a copy              'c', origin, name       what another origin has added, if anything
//	a part's positions  'q', number of the part as a part's state (regions.go)
//
// A sketch and a counter of one name cannot both be seen. Where one region counts and another makes a sketch, the sketch wins: whoever sees both
// deletes the counter, as DEL does, so increments that come later are seen again once the sketch is gone.
const (
	sketchState     OriginKind = 'h'
	sketchCopy      OriginKind = 'c'
	sketchPositions OriginKind = 'q'
)

// sketchPart is guarded by the part's lock.
type sketchPart struct {
	pos     uint64
	ctx     [shared.MaxOrigins]uint64
	ring    sketchRing
	state   shared.Sketch // scratch
	key     []byte        // scratch
	content []byte        // scratch
}

// sketchRing is which sketches of a part changed lately. It is not state. Names are appended to its last segment, once in each; a segment is
// closed when a frame is begun, or when it is long, so that the oldest can go.
type sketchRing struct {
	limit, size int
	segments    []sketchSegment
	epoch       uint64 // of the last segment, in shard.drawn
}

type sketchSegment struct {
	from  uint64 // position where it begins
	names [][]byte
}

const (
	sketchSegments = 64
	sketchNoteSize = 24 // bytes that a name takes beside itself
)

func (r *sketchRing) begin(pos uint64, limit int) {
	*r = sketchRing{limit: max(limit, 1<<8), segments: []sketchSegment{{from: pos}}, epoch: r.epoch + 1}
}

// forget has everybody be told all there is.
func (r *sketchRing) forget() { r.segments, r.size, r.epoch = r.segments[:0], 0, r.epoch+1 }

// note notes a name; the part is at position pos, with the change.
func (r *sketchRing) note(name []byte, pos uint64) {
	if n := len(r.segments); n == 0 || len(r.segments[n-1].names)*sketchNoteSize > r.limit/4 {
		r.close(pos - 1)
	}
	last := &r.segments[len(r.segments)-1]
	last.names = append(last.names, slices.Clone(name))
	for r.size += len(name) + sketchNoteSize; r.size > r.limit && len(r.segments) > 0; {
		for _, name := range r.segments[0].names {
			r.size -= len(name) + sketchNoteSize
		}
		r.segments = slices.Delete(r.segments, 0, 1)
		r.epoch++ // the last one may be among them
	}
}

// close closes the last segment at a position.
func (r *sketchRing) close(pos uint64) {
	if n := len(r.segments); n > 0 && len(r.segments[n-1].names) == 0 {
		return
	}
	if len(r.segments) == sketchSegments {
		r.segments[0].names = append(r.segments[0].names, r.segments[1].names...)
		r.segments = slices.Delete(r.segments, 1, 2)
	}
	r.segments = append(r.segments, sketchSegment{from: pos})
	r.epoch++
}

// since returns the names that may have changed behind a position; false: some are missing.
func (r *sketchRing) since(pos uint64) (names [][]byte, ok bool) {
	first := -1
	for i := range r.segments {
		if r.segments[i].from <= pos {
			first = i
		}
	}
	if first < 0 {
		return nil, false
	}
	told := map[string]bool{}
	for _, s := range r.segments[first:] {
		for _, name := range s.names {
			if !told[string(name)] {
				told[string(name)] = true
				names = append(names, name)
			}
		}
	}
	return names, true
}

// sketchKind says whether a record's value is a sketch that can be shared.
func sketchKind(kind Kind, content []byte) shared.SketchKind {
	switch {
	case kind == KindCMS && len(content) <= shared.MaxSketch:
		return shared.SketchCMS
	case kind == KindTopK && len(content) <= shared.MaxSketch:
		return shared.SketchTopK
	case kind.isString() && len(content) <= shared.MaxSketch && hll.Check(content) && new(hll.Table).Merge(content):
		return shared.SketchHLL
	}
	return shared.SketchNone
}

func recordKind(kind shared.SketchKind) Kind {
	return [...]Kind{shared.SketchHLL: KindRaw, shared.SketchCMS: KindCMS, shared.SketchTopK: KindTopK}[kind]
}

func (s *sketchPart) stateKey(name []byte) []byte {
	s.key = append(append(s.key[:0], byte(sketchState)), name...)
	return s.key
}

func (s *sketchPart) copyKey(o shared.Origin, name []byte) []byte {
	s.key = append(append(s.key[:0], byte(sketchCopy), byte(o)), name...)
	return s.key
}

// hidden looks a record of the hidden database up.
func (v View) hidden(part int, key []byte) (content []byte, ok bool) {
	sh := v.ks.shard(part, v.ks.databases)
	if sh == nil || sh.keys.Load() == 0 {
		return nil, false
	}
	ref, _ := sh.lookup(v.ks.hash(key), key, v.now)
	if ref == 0 {
		return nil, false
	}
	return sh.at(ref).content(), true
}

// dropHidden drops a record of the hidden database, and reports whether there was one.
func (t Txn) dropHidden(part int, key []byte) bool {
	sh := t.ks.shard(part, t.ks.databases)
	if sh == nil || sh.keys.Load() == 0 {
		return false
	}
	h := t.ks.hash(key)
	ref := sh.find(h, key)
	if ref != 0 {
		sh.discard(h, ref)
		sh.compact()
	}
	return ref != 0
}

// readSketch is what is kept of a sketch, in memory that the next call uses again.
func (v View) readSketch(p *regionPart, part int, name []byte) *shared.Sketch {
	m := &p.sketches.state
	content, ok := v.hidden(part, p.sketches.stateKey(name))
	if !ok {
		*m = shared.Sketch{Copies: m.Copies[:0]}
	} else if err := m.Load(content); err != nil {
		panic("engine: BUG: a shared sketch cannot be read: " + err.Error()) // it was checked when it was loaded
	}
	return m
}

// keepSketch writes what is kept of a sketch, if that is another than before.
func (t Txn) keepSketch(p *regionPart, part int, name []byte, m *shared.Sketch) {
	deadline := m.Wish.Deadline
	if !m.Alive() {
		deadline = shared.TombstoneEnds(m.Gen)
	}
	key := p.sketches.stateKey(name)
	if !m.Alive() && (m.Gen == 0 || deadline <= t.now) {
		t.dropHidden(part, key)
		return
	}
	content := m.Append(p.sketches.content[:0])
	p.sketches.content = content
	if was, ok := t.hidden(part, key); ok && bytes.Equal(was, content) {
		return
	}
	sh, _ := t.storeHidden(part, key, content, deadline)
	sh.compact()
}

// noteSketch has the others be told of a sketch.
func (t Txn) noteSketch(p *regionPart, name []byte) {
	p.sketches.pos++
	p.sketches.ring.note(name, p.sketches.pos)
}

// sketchChanged is called when a command has changed the record at ref, which is that of a shared key.
func (t Txn) sketchChanged(sh *shard, ref uint32, name []byte) {
	p := t.ks.sharedPart(sh.part, t.now)
	if sh.drawn.has(ref, p.sketches.ring.epoch) {
		p.sketches.pos++
		return
	}
	m := t.readSketch(p, sh.part, name)
	switch {
	case !m.Alive():
		m.Born(sketchKind(sh.at(ref).kind(), sh.at(ref).content()), p.Now)
	case !m.Touched:
		m.Touched = true
	}
	t.keepSketch(p, sh.part, name, m)
	t.noteSketch(p, name)
	sh.drawn.set(ref, p.sketches.ring.epoch, len(sh.meta))
}

// expireSketch notes the wish when the record of a shared sketch was given a deadline.
func (t Txn) expireSketch(sh *shard, h uint64, name []byte, deadline int64) {
	p := t.ks.sharedPart(sh.part, t.now)
	m := t.readSketch(p, sh.part, name)
	if m.Expire(p.Now, deadline); m.Wish.Deadline != deadline {
		sh.redate(h, sh.find(h, name), m.Wish.Deadline)
		sh.compact()
	}
	t.keepSketch(p, sh.part, name, m)
	t.expireCopies(p, sh.part, name, m)
	t.noteSketch(p, name)
}

// expireCopies gives the copies of a sketch its deadline.
func (t Txn) expireCopies(p *regionPart, part int, name []byte, m *shared.Sketch) {
	sh := t.ks.shard(part, t.ks.databases)
	for _, c := range m.Copies {
		key := p.sketches.copyKey(c.Origin, name)
		h := t.ks.hash(key)
		if ref := sh.find(h, key); ref != 0 {
			sh.redate(h, ref, m.Wish.Deadline)
			sh.compact()
		}
	}
}

// redate gives a record another deadline.
func (sh *shard) redate(h uint64, ref uint32, deadline int64) uint32 {
	v := sh.at(ref).value()
	to, old := sh.change(h, ref, v.Kind, v.Int, len(v.Bytes), len(v.Bytes), deadline)
	if old != 0 {
		copy(sh.at(to).content(), v.Bytes)
		sh.freeRecord(old)
	}
	return to
}

// endSketch deletes the sketch whose record is at ref.
func (t Txn) endSketch(sh *shard, h uint64, ref uint32, name []byte) {
	p := t.ks.sharedPart(sh.part, t.now)
	m := t.readSketch(p, sh.part, name)
	t.dropCopies(p, sh.part, name, m.Copies)
	m.Delete(p.Now)
	t.keepSketch(p, sh.part, name, m)
	sh.discard(h, ref)
	t.noteSketch(p, name)
}

func (t Txn) dropCopies(p *regionPart, part int, name []byte, copies []shared.Copy) {
	for _, c := range copies {
		t.dropHidden(part, p.sketches.copyKey(c.Origin, name))
	}
}

// SketchCopies are what other regions have added to a shared Count-Min or Top-K sketch. The key's part is locked, and the bytes are valid as those
// of a Value.
func (v View) SketchCopies(key []byte) (copies [][]byte) {
	if !v.SharesKey(int(v.db), key) {
		return nil
	}
	part := v.part(key)
	p := v.ks.sharedPart(part, v.now)
	for _, c := range v.readSketch(p, part, key).Copies {
		if b, ok := v.hidden(part, p.sketches.copyKey(c.Origin, key)); ok {
			copies = append(copies, b)
		}
	}
	return copies
}

// isSketch reports whether a record of database 0 under the name of a shared key is a sketch: else it is a counter, or is about to become one.
func (r record) isSketch() bool {
	if r.kind() == KindShared {
		return false
	}
	_, number := numberOf(r)
	return !number
}

// eachSketch calls fn for the names of a part's sketches, tombstones included, which fn may change.
func (t Txn) eachSketch(p *regionPart, part int, fn func(name []byte, m *shared.Sketch)) {
	for _, name := range t.ks.sketchNames(part, t.now) {
		fn(name, t.readSketch(p, part, name))
	}
}

// sketchNames are the names of a part's sketches, tombstones included.
func (ks *Keyspace) sketchNames(part int, now int64) (names [][]byte) {
	sh := ks.shard(part, ks.databases)
	if sh == nil {
		return nil
	}
	sh.eachRecord(func(_ uint32, r record) {
		if key := r.key(); OriginKind(key[0]) == sketchState && !r.expired(now) {
			names = append(names, slices.Clone(key[1:]))
		}
	})
	return names
}

// loseSketches has all that is known of sketches be told, when an origin is lost: others may not have heard all of it.
func (t Txn) loseSketches(p *regionPart, part int) {
	t.eachSketch(p, part, func(name []byte, m *shared.Sketch) {
		if m.Alive() && m.Kind == shared.SketchHLL {
			m.Touched = true
			t.keepSketch(p, part, name, m)
		}
		t.noteSketch(p, name)
	})
}

// renewSketches makes this region's shares those of its old incarnation.
func (t Txn) renewSketches(p *regionPart, part int, old shared.Origin) {
	s := &p.sketches
	at := s.pos
	s.ctx[old], s.pos = at, 0
	sh := t.ks.shard(part, 0)
	t.eachSketch(p, part, func(name []byte, m *shared.Sketch) {
		if m.Alive() {
			touched := m.Touched
			m.Inherit(old, at, p.Now)
			t.keepSketch(p, part, name, m)
			if h := t.ks.hash(name); m.Kind != shared.SketchHLL {
				ref := sh.find(h, name)
				own := slices.Clone(sh.at(ref).content())
				if touched {
					in, _ := t.storeHidden(part, s.copyKey(old, name), own, m.Wish.Deadline)
					in.compact()
				}
				ref = sh.putContent(h, ref, name, recordKind(m.Kind), shared.Blank(m.Kind, own), m.Wish.Deadline)
				sh.drawn.unset(ref)
			}
		}
		t.noteSketch(p, name)
	})
	s.pos++
	s.ring.forget()
}

// checkSketch checks a sketch of which state is kept. All parts are locked.
func (ks *Keyspace) checkSketch(part int, name []byte, now int64) error {
	v := ks.View(0, now, true).In(part)
	m := v.readSketch(ks.sharedPart(part, now), part, name)
	val, ok := v.Get(name)
	if is := ok && sketchKind(val.Kind, val.Bytes) != shared.SketchNone; is != m.Alive() {
		return fmt.Errorf("shared sketch %q: there is one: %v, and its state is %+v", name, is, *m)
	}
	if m.Alive() && (sketchKind(val.Kind, val.Bytes) != m.Kind || val.Deadline != m.Wish.Deadline) {
		return fmt.Errorf("shared sketch %q of kind %d with deadline %d, and its state is %+v", name, val.Kind, val.Deadline, *m)
	}
	return nil
}
