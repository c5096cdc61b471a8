package engine

import (
	"encoding/binary"
	"fmt"

	"quipu/engine/shared"
)

// Marks of a region's history find a copy of its data that is older than what other regions know of it, and has gone on: its positions may have
// overtaken theirs, so positions alone do not tell. It is what Raft does with the terms of its log.
//
// Each process that leads has a random number, which is in the header of all entries that it proposes. Where it is another one than in the entry before,
// the history has a mark from there on: a number, 1, 2, 3 …, and that random one. Nothing is logged for it, and no entry comes between a new
// leader's first write and its mark. Other regions keep the last mark under which they were told something (Txn.HearMark), and say it when they are
// greeted. A region whose history does not have that mark, or in which it ended before what the other region has, is not the one that told it.
//
// They are kept in the hidden database, under the key 'm': of each its number and random number, and where all parts were when it began.

// regionMarks is the kind of their record.
const regionMarks OriginKind = 'm'

// marksMax is how many are kept: about 20 KB. Of an earlier one it is known only that it ended before the first that is kept.
const marksMax = 32

// RegionMark is a mark. The zero value is none.
type RegionMark struct{ Number, Random uint64 }

type markedAt struct {
	RegionMark
	at [Parts]uint64
}

// MarkRegions is told the random number of the process that has proposed an entry, before the entry is executed, 0: it is not known. It locks all parts if that
// is another one than before.
func (ks *Keyspace) MarkRegions(random uint64) {
	g := ks.regions.Load()
	if g == nil || random == 0 {
		return
	}
	marks := *g.marks.Load()
	n := uint64(0)
	if len(marks) > 0 {
		last := &marks[len(marks)-1]
		if last.Random == random {
			return
		}
		n = last.Number
	}
	t := ks.Txn(0, 0, false)
	unlock := t.lockAll()
	defer unlock()
	next := markedAt{RegionMark: RegionMark{n + 1, random}}
	for part := range Parts {
		next.at[part] = g.parts[part].Pos
	}
	t.storeMarks(g, append(marks[max(0, len(marks)+1-marksMax):len(marks):len(marks)], next))
}

// storeMarks makes these the marks. All parts are locked.
func (t Txn) storeMarks(g *regions, marks []markedAt) {
	g.marks.Store(&marks)
	var b []byte
	for i := range marks {
		b = binary.AppendUvarint(binary.AppendUvarint(b, marks[i].Number), marks[i].Random)
		for _, at := range marks[i].at {
			b = binary.AppendUvarint(b, at)
		}
	}
	key := []byte{byte(regionMarks)}
	sh, _ := t.storeHidden(Part(key), key, b, 0)
	sh.compact()
}

func decodeMarks(b []byte) (marks []markedAt, err error) {
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			b, err = nil, errRegionRecord
			return 0
		}
		b = b[size:]
		return n
	}
	for len(b) > 0 && err == nil {
		m := markedAt{RegionMark: RegionMark{number(), number()}}
		for part := range m.at {
			m.at[part] = number()
		}
		marks = append(marks, m)
	}
	return marks, err
}

// RegionMark is this region's last mark. There are regions.
func (ks *Keyspace) RegionMark() RegionMark {
	marks := *ks.regions.Load().marks.Load()
	if len(marks) == 0 {
		return RegionMark{}
	}
	return marks[len(marks)-1].RegionMark
}

// JudgeMark reports how it may be that another region was told something under a mark of this region, and has incorporated it up to these positions; an error
// says that it was not this history in which it was told. There are regions.
func (ks *Keyspace) JudgeMark(heard RegionMark, has *[Parts]uint64) error {
	marks := *ks.regions.Load().marks.Load()
	if heard == (RegionMark{}) {
		return nil
	}
	for i := range marks {
		m := &marks[i]
		switch {
		case m.Number < heard.Number:
			continue
		case m.Number == heard.Number && m.Random != heard.Random:
			return fmt.Errorf("its history and this one part before mark %d", heard.Number)
		case m.Number == heard.Number:
			continue
		}
		for part, at := range m.at { // where the mark that was heard had ended
			if has[part] > at {
				return fmt.Errorf("it knows of changes under mark %d that are not in this history (part %d: %d, not %d)", heard.Number, part, has[part], at)
			}
		}
		return nil
	}
	if len(marks) == 0 || marks[len(marks)-1].Number < heard.Number {
		return fmt.Errorf("mark %d is not in this history", heard.Number)
	}
	return nil // it is the last one
}

// HearMark notes the last mark under which an origin tells this region something; false: it is another one than was heard before, of the same number, and so
// of another history. The caller holds no parts, or all.
func (t Txn) HearMark(o shared.Origin, m RegionMark) bool {
	g := t.ks.regions.Load()
	switch had := g.setup().Origins[o].Heard; {
	case m.Number == had.Number:
		return m == had
	case m.Number < had.Number: // a leader that has lost its office and does not know yet: what it tells was before
		return true
	}
	unlock := t.lockAll()
	defer unlock()
	next := *g.setup()
	next.Origins = append([]RegionOrigin(nil), next.Origins...)
	next.Origins[o].Heard = m
	g.current.Store(&next)
	t.storeRegionSetup(&next)
	return true
}

// loadMarks takes them from the hidden database.
func (g *regions) loadMarks(ks *Keyspace) error {
	key := []byte{byte(regionMarks)}
	ks.LockPart(Part(key))
	defer ks.UnlockPart(Part(key))
	var marks []markedAt
	var err error
	if v, ok := ks.View(ks.databases, 0, false).Get(key); ok {
		marks, err = decodeMarks(v.Bytes)
	}
	g.marks.Store(&marks)
	return err
}
