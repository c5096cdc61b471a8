package engine

import (
	"encoding/binary"
	"slices"
	"sort"

	"quipu/engine/shared"
)

// changedKeys is which shared keys of a part changed lately, so that a frame need not look at all of them. It is not state: each node
// has what it has executed since it started. Where a change leaves the key in the plain form that shared.Quick reads, its row is written
// at once, while the record is in the processor's caches, and a frame is a copy of rows: to find 1,000,000 random keys again by name was a
// quarter of the server's time in a profile of make bench-regions. Other keys are *bare* notes, names that are looked up when a frame is made.
//
// Notes are appended to a ring of bytes, one for each key between two *cuts*: cells leads to those behind the last cut, and when such a
// key changes again its row is overwritten, or becomes bare where the new one is longer or shorter. A cut is a position and an offset: what
// changed behind the position is at or behind the offset. Each frame makes one at its end, since the rows are those of that moment. Where
// nobody is sent frames, as on nodes that do not lead, one is made whenever a quarter of the ring is full, so that the older ones can go.
type changedKeys struct {
	limit int    // bytes of rows and bare
	rows  []byte // as in a frame; of bare notes, a name or a row that is out of date
	bare  []span // ascending
	cuts  []cut  // ascending
	fresh int    // in rows: behind the last cut
	cells []cell // a hash table: where a cell is taken, the next one; those before fresh are empty
	used  int    // cells behind fresh
	count int64  // notes, ever
}

type cut struct {
	pos   uint64
	at    int   // in rows
	since int64 // log time in ms of the first change behind it, 0: none is known (RegionLag)
	count int64 // notes before it, ever
}

// span is where a note is in rows.
type span struct{ at, end uint32 }

// cell is a note behind the last cut.
type cell struct {
	at   uint32 // in rows, and 1
	size uint32 // 0: it is bare
}

const (
	cutsMax     = 256 // 8 KiB a part
	spanBytes   = 8
	cellsMin    = 8
	cellsShare  = 64 // bytes of the ring for a cell, at least
	copiesAtOne = 4  // cuts behind which a frame may have several rows of a key
)

// begin forgets everything up to a position.
func (c *changedKeys) begin(pos uint64, limit int) {
	*c = changedKeys{limit: max(limit, 1<<8), rows: c.rows[:0], bare: c.bare[:0], cuts: append(c.cuts[:0], cut{pos: pos}), cells: make([]cell, cellsMin)}
}

// cellOf is the cell of a key behind the last cut, or the empty one where it belongs.
func (c *changedKeys) cellOf(h uint64, key []byte) (s *cell, found bool) {
	for i := h; ; i++ {
		s := &c.cells[i&uint64(len(c.cells)-1)]
		if int(s.at) <= c.fresh {
			return s, false
		}
		if isName(c.rows[s.at-1:], key) {
			return s, true
		}
	}
}

// isName reports whether a note is of a key.
func isName(note, key []byte) bool {
	if len(key) < 0x80 {
		return note[0] == byte(len(key)) && string(note[1:min(1+len(key), len(note))]) == string(key)
	}
	n, size := binary.Uvarint(note)
	return n == uint64(len(key)) && string(note[size:size+len(key)]) == string(key)
}

// peek reads what note will look at.
func (c *changedKeys) peek(h uint64) byte {
	if len(c.rows) == 0 {
		return 0
	}
	return byte(c.cells[h&uint64(len(c.cells)-1)].at) + c.rows[len(c.rows)-1]
}

// note notes that a key of that hash has changed, and may have another row than the own share alone. The part is at position pos, and it is now.
func (c *changedKeys) note(h uint64, key []byte, pos uint64, now int64) {
	s, found := c.cellOf(h, key)
	if found {
		c.makeBare(s)
		return
	}
	at := len(c.rows)
	c.rows = append(binary.AppendUvarint(c.rows, uint64(len(key))), key...)
	c.bare = append(c.bare, span{uint32(at), uint32(len(c.rows))})
	*s = cell{at: uint32(at) + 1}
	c.grown(pos, now)
}

// noteRow is note for a key whose row is its own share, of which front is the content's.
func (c *changedKeys) noteRow(h uint64, key, front []byte, pos uint64, now int64) {
	s, found := c.cellOf(h, key)
	if found && s.size == 0 {
		return
	}
	at := len(c.rows)
	c.rows = shared.AppendQuickRow(c.rows, key, front)
	size := uint32(len(c.rows) - at)
	if !found {
		*s = cell{uint32(at) + 1, size}
		c.grown(pos, now)
		return
	}
	if size == s.size {
		copy(c.rows[s.at-1:], c.rows[at:])
	} else {
		c.makeBare(s)
	}
	c.rows = c.rows[:at]
}

// makeBare has the row of a note be looked up.
func (c *changedKeys) makeBare(s *cell) {
	if s.size == 0 {
		return
	}
	at := s.at - 1
	i := c.bareFrom(int(at))
	c.bare = slices.Insert(c.bare, i, span{at, at + s.size})
	s.size = 0
}

// bareFrom is the first bare note that is not before an offset.
func (c *changedKeys) bareFrom(at int) int {
	return sort.Search(len(c.bare), func(i int) bool { return int(c.bare[i].at) >= at })
}

// grown is called when a note has been added at position pos. Where half of the cells are taken, the older notes are left behind a cut,
// as then none has to move; in a larger table, unless it is as large as the ring allows.
func (c *changedKeys) grown(pos uint64, now int64) {
	if n := len(c.cuts); n > 0 && c.cuts[n-1].since == 0 {
		c.cuts[n-1].since = now
	}
	c.used++
	c.count++
	full := 2*c.used >= len(c.cells)
	if full || len(c.rows)-c.fresh > c.limit/4 {
		c.cut(pos)
	}
	if full && len(c.cells)*2*cellsShare <= c.limit {
		c.cells = make([]cell, 2*len(c.cells))
	}
	if len(c.rows)+len(c.bare)*spanBytes > c.limit {
		c.trim()
	}
}

// trim drops the older half, up to a cut.
func (c *changedKeys) trim() {
	i := sort.Search(len(c.cuts), func(i int) bool { return c.cuts[i].at >= len(c.rows)/2 })
	clear(c.cells)
	c.used = 0
	if i == len(c.cuts) { // one name is longer than the ring: peers are sent full parts
		c.rows, c.bare, c.cuts, c.fresh = c.rows[:0], c.bare[:0], c.cuts[:0], 0
		return
	}
	by := c.cuts[i].at
	j := c.bareFrom(by)
	c.rows = c.rows[:copy(c.rows, c.rows[by:])]
	c.bare = c.bare[:copy(c.bare, c.bare[j:])]
	c.cuts = c.cuts[:copy(c.cuts, c.cuts[i:])]
	for j := range c.cuts {
		c.cuts[j].at -= by
	}
	for j := range c.bare {
		c.bare[j].at, c.bare[j].end = c.bare[j].at-uint32(by), c.bare[j].end-uint32(by)
	}
	c.fresh = len(c.rows)
}

// cut makes a cut at a position.
func (c *changedKeys) cut(pos uint64) {
	c.fresh, c.used = len(c.rows), 0
	if n := len(c.cuts); n > 0 && c.cuts[n-1].pos == pos {
		return
	}
	if len(c.cuts) == cutsMax { // every other one will do: who was at one that goes is told a little more
		for i := range cutsMax / 2 {
			c.cuts[i] = c.cuts[2*i]
		}
		c.cuts = c.cuts[:cutsMax/2]
	}
	c.cuts = append(c.cuts, cut{pos: pos, at: len(c.rows), count: c.count})
}

// from is the last cut that is not behind a position, and how many there are behind that; false: changes behind the position are missing.
func (c *changedKeys) from(pos uint64) (at cut, later int, ok bool) {
	i := sort.Search(len(c.cuts), func(i int) bool { return c.cuts[i].pos > pos })
	if i == 0 {
		return cut{}, 0, false
	}
	return c.cuts[i-1], len(c.cuts) - i, true
}
