package shared

import (
	"bytes"
	"slices"
)

// Shared sketches follow rules of their own, which need neither positions nor resets:
//
//   - A HyperLogLog is one value, and two are joined register by register. Of a Count-Min and a Top-K sketch each origin has a *share*, which
//     only it changes, and others keep a copy; reads add them up.
//   - DEL ends a *generation*: what was added in it, seen or not, is gone everywhere. The next generation has a higher number, and what is of a
//     lower one is dropped. Until all know, the number is kept without a sketch, as a *tombstone*.
//   - The deadline is that of the newest wish, of the whole sketch, and each region lets it die by its own log time.
//
// The naive way to tell of a sketch is once, when it has changed. It fails where a region has let a sketch die, or has made it anew, while a
// row was under way: who is told less than it knows would not say so. So whoever hears a row looks whether its sender lacks anything, and if so
// tells its own state again. Rows are states, not operations: they may come twice and late.
//
// Two regions may make different sketches of one name, or of other dimensions. The higher shape wins, everywhere, and the other is dropped.
type Sketch struct {
	Gen     uint64 // 0: never deleted
	Kind    SketchKind
	Touched bool  // this region has added something of its own
	Birth   int64 // log time in milliseconds when this region began to have it
	Wish    Wish
	Copies  []Copy // of the shares of other origins, ascending by origin
}

// SketchKind says what a sketch is; higher kinds win over lower ones. The numbers are stored.
type SketchKind uint8

// Kinds of sketches.
const (
	SketchNone SketchKind = iota // there is none: the generation has ended
	SketchHLL
	SketchCMS
	SketchTopK
)

// Copy says of which state of an origin's share a copy is: the origin's position when it was told, and when the origin began to have the
// sketch.
type Copy struct {
	Origin Origin
	At     uint64
	Birth  int64
}

// TombstoneAge is how long, in milliseconds, a tombstone is kept. A region that was cut off for longer brings back what was deleted meanwhile.
const TombstoneAge = 7 * 24 * 3600 * 1000

// tombstoneMargin is how much earlier, in milliseconds, a tombstone is outdated: clocks of regions differ, and one that has dropped it may have
// begun a sketch of that name.
const tombstoneMargin = 60_000

// TombstoneEnds is the log time when the tombstone of a generation is dropped.
func TombstoneEnds(gen uint64) int64 { return int64(min(gen, maxPos)) + TombstoneAge }

// outdated reports whether the tombstone of a generation counts no more.
func outdated(gen uint64, now int64) bool { return TombstoneEnds(gen)-tombstoneMargin <= now }

// Alive reports whether there is a sketch.
func (m *Sketch) Alive() bool { return m.Kind != SketchNone }

// Born makes the sketch one that this region has begun.
func (m *Sketch) Born(kind SketchKind, now int64) {
	*m = Sketch{Gen: m.Gen, Kind: kind, Touched: true, Birth: now, Copies: m.Copies[:0]}
}

// Delete ends the generation.
func (m *Sketch) Delete(now int64) {
	*m = Sketch{Gen: min(max(uint64(now), m.Gen+1), maxPos), Copies: m.Copies[:0]}
}

// Expire wishes a deadline in milliseconds of log time, 0 for none. One that is too far ahead becomes an earlier one.
func (m *Sketch) Expire(now, deadline int64) {
	m.Wish = wishBehind(m.Wish.Stamp, now, deadline)
}

// Inherit begins another incarnation of the region, which was old: its share is one of a lost origin.
func (m *Sketch) Inherit(old Origin, at uint64, now int64) {
	if m.Kind > SketchHLL {
		m.setCopy(Copy{old, at, m.Birth})
		m.Touched = false
	}
	m.Birth = now
}

// SketchRow is what a region tells of one sketch.
type SketchRow struct {
	Key     []byte
	Gone    bool // it keeps nothing of that name
	Gen     uint64
	Kind    SketchKind
	Birth   int64
	Wish    Wish
	At      uint64 // the origin's position: of the frame, or, of a lost origin, when the copy was told
	Payload []byte // the HyperLogLog, or the share; nil of a tombstone
	Brief   bool   // the payload is what Brief returns
}

// Action is what is to be done with the payloads of a sketch that has heard a row.
type Action uint8

// Actions.
const (
	Stay     Action = iota // nothing; the wish may be another one
	Begin                  // the sketch becomes the row's: with no shares but the row's
	Join                   // the row's payload is joined, or takes the place of the copy
	DropCopy               // the origin's copy goes
	End                    // the sketch goes
	Rebirth                // all copies go, and the own share stays
)

// Hear changes the sketch by the row of an origin, and says what is to be done with payloads, and whether this region tells its own state
// again, because the sender lacks something. Of a HyperLogLog only who joins can know that. shape is the Shape of the sketch's own payload.
func (m *Sketch) Hear(o Origin, row *SketchRow, shape []byte, now int64) (do Action, tell bool) {
	if !m.Alive() && outdated(m.Gen, now) {
		m.Gen = 0
	}
	old, has := m.Copy(o)
	switch {
	case has && row.At < old.At: // a late row
		return Stay, false
	case row.Gone:
		m.tellAll()
		if tell = m.Alive() || m.Gen > 0; has {
			m.dropCopy(o)
			return DropCopy, tell
		}
		return Stay, tell
	case row.Kind == SketchNone && (outdated(row.Gen, now) || row.Gen <= m.Gen):
		m.tellAll()
		return Stay, row.Gen < m.Gen || m.Alive()
	case row.Kind == SketchNone:
		*m = Sketch{Gen: row.Gen, Copies: m.Copies[:0]}
		return End, false
	}
	order := m.compare(row, shape)
	switch {
	case order > 0:
		m.tellAll()
		return Stay, true
	case row.Wish.passed(now):
		return m.hearDead(row, order, now)
	case order < 0 && row.Kind == SketchHLL && row.Brief:
		return Stay, false // who has added to it will tell
	case order < 0:
		*m = Sketch{Gen: row.Gen, Kind: row.Kind, Birth: now, Wish: row.Wish, Copies: m.Copies[:0]}
		m.setRow(o, row)
		return Begin, true // what others have told before may be lost here: they hear that this region has begun anew
	}
	tell = (!has || old.Birth != row.Birth) && m.Touched && m.Kind > SketchHLL || m.Wish.beats(row.Wish)
	if row.Wish.beats(m.Wish) {
		m.Wish = row.Wish
	}
	m.setRow(o, row)
	return Join, tell
}

// tellAll has rows of a HyperLogLog be no more brief: there is a region that lacks all of it, and who has told this one may have lost it.
func (m *Sketch) tellAll() { m.Touched = m.Touched || m.Kind == SketchHLL }

// hearDead is Hear for a sketch that has died by this region's clock, but not yet by that of its sender.
func (m *Sketch) hearDead(row *SketchRow, order int, now int64) (do Action, tell bool) {
	switch {
	case !m.Alive():
		return Stay, false
	case m.Birth >= row.Wish.Deadline: // this one was begun after the other had died here, whose generation is not known any more
		m.Gen = min(max(row.Gen+1, uint64(row.Wish.Deadline)), maxPos)
		m.Copies = m.Copies[:0]
		return Rebirth, true
	case order < 0: // it would have taken this one's place
		*m = Sketch{Gen: row.Gen, Copies: m.Copies[:0]}
		return End, true
	case row.Wish.beats(m.Wish):
		m.Wish = row.Wish
		return Stay, false
	}
	return Stay, true
}

// compare orders this sketch and a row: by generation, by kind, by shape. A tombstone is below what is begun behind it.
func (m *Sketch) compare(row *SketchRow, shape []byte) int {
	switch {
	case m.Gen != row.Gen:
		return sign(m.Gen > row.Gen)
	case m.Kind != row.Kind:
		return sign(m.Kind > row.Kind)
	}
	return bytes.Compare(shape, Shape(row.Kind, row.Payload))
}

func sign(above bool) int {
	if above {
		return 1
	}
	return -1
}

// setRow notes whose share a row is. A HyperLogLog has no shares.
func (m *Sketch) setRow(o Origin, row *SketchRow) {
	if row.Kind > SketchHLL {
		m.setCopy(Copy{o, row.At, row.Birth})
	}
}

func (m *Sketch) find(o Origin) (i int, ok bool) {
	return slices.BinarySearchFunc(m.Copies, o, func(c Copy, o Origin) int { return int(c.Origin) - int(o) })
}

// Copy returns what is noted of an origin's copy.
func (m *Sketch) Copy(o Origin) (Copy, bool) {
	if i, ok := m.find(o); ok {
		return m.Copies[i], true
	}
	return Copy{}, false
}

func (m *Sketch) setCopy(c Copy) {
	i, ok := m.find(c.Origin)
	if !ok {
		m.Copies = slices.Insert(m.Copies, i, c)
	}
	m.Copies[i] = c
}

func (m *Sketch) dropCopy(o Origin) {
	if i, ok := m.find(o); ok {
		m.Copies = slices.Delete(m.Copies, i, i+1)
	}
}
