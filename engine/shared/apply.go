package shared

import (
	"maps"
	"slices"
)

// Store is where a region keeps the keys of one part, those included that do not exist for clients.
type Store interface {
	// Read makes k what is kept of a key, empty if nothing is.
	Read(name []byte, k *Key)
	// Write keeps k, or nothing more if it is empty. changed: the key's row belongs into the next frame.
	Write(name []byte, k *Key, changed bool)
	// Fetch is called before rows are merged, RowsAtOnce or fewer, so that their keys can be fetched from memory together.
	Fetch(rows []Row)
	// Quick merges a row of a frame into its key as QuickMerge does, if that can be; false: nothing is changed.
	Quick(o Origin, to uint64, row *Row) bool
	// Each calls fn for all keys, and writes those for which it returns write. fn may not use the store, nor keep name or what k has.
	Each(fn func(name []byte, k *Key) (write, changed bool))
}

// Verdict says what became of a frame.
type Verdict uint8

// Verdicts.
const (
	Applied Verdict = iota
	Old             // it leads nowhere that this region is not; nothing is changed
	Gap             // it begins behind what is incorporated: the sender must begin there, or send a full part
	Refused         // its origin is lost or this region itself, or it is of an origin that is not lost and comes from another
)

// Apply applies a frame whole or not at all; as is what this region numbers the sender's origins, nil: as the sender does. An error means
// that the bytes are no frame.
func Apply(p *Part, s Store, b []byte, as *[MaxOrigins]Origin) (Verdict, error) {
	f, err := OpenFrame(b)
	if err != nil {
		return Refused, err
	}
	f.translate(as)
	rows := f
	var row Row
	for more := true; more; { // before anything is changed
		if more, err = rows.Next(&row); err != nil {
			return Refused, err
		}
	}
	switch {
	case f.Origin == p.Me || p.IsLost(f.Origin) != (f.Kind == FrameLost):
		return Refused, nil
	case f.Kind == FrameLost && p.HasForgotten(f.Origin):
		return Old, nil
	case f.From > p.Ctx[f.Origin]:
		return Gap, nil
	case f.Kind != FrameLost && !f.leads(p): // of a lost origin there may be resets that others have heard of
		return Old, nil
	}
	applyRows(p, s, f)
	p.Ctx[f.Origin] = max(p.Ctx[f.Origin], f.To)
	return Applied, nil
}

// leads reports whether a frame of a living origin is to be applied: it leads behind what is incorporated, or is a full part of just that, which
// is sent where a digest has shown that the copies here are not what they should be, and changes nothing else.
func (f *Frame) leads(p *Part) bool {
	at := p.Ctx[f.Origin]
	return f.To > at || f.To == at && f.Kind == FrameFull
}

// RowsAtOnce is how many rows are read before the first of them is merged.
const RowsAtOnce = 16

// applyRows merges the rows of an origin. What a full part, or one of a lost origin, does not have, the origin does not have.
func applyRows(p *Part, s Store, f Frame) {
	var gone map[string]bool // so far
	if f.Kind == FrameFull || f.Kind == FrameLost && f.To > p.Ctx[f.Origin] {
		gone = map[string]bool{}
		s.Each(func(name []byte, k *Key) (write, changed bool) {
			if k.other(f.Origin) != nil {
				gone[string(name)] = true
			}
			return false, false
		})
	}
	var rows [RowsAtOnce]Row
	var k Key
	for more := true; more; {
		n := 0
		for ; n < RowsAtOnce && more; n++ {
			if more, _ = f.Next(&rows[n]); !more {
				break
			}
		}
		s.Fetch(rows[:n])
		for i := range rows[:n] {
			row := &rows[i]
			if f.Kind == FrameLost || !s.Quick(f.Origin, f.To, row) {
				s.Read(row.Key, &k)
				s.Write(row.Key, &k, f.merge(p, &k, row))
			}
			if len(gone) > 0 {
				delete(gone, string(row.Key))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		s.Read([]byte(name), &k)
		s.Write([]byte(name), &k, f.merge(p, &k, &Row{}))
	}
}

// merge merges a row into its key. It reports whether the key is changed.
func (f *Frame) merge(p *Part, k *Key, row *Row) (changed bool) {
	switch {
	case f.Kind == FrameLost && row.HasShare:
		return k.MergeLost(p, f.Origin, f.To, &row.Copy)
	case f.Kind == FrameLost:
		return k.MergeLost(p, f.Origin, f.To, nil)
	case row.HasShare:
		changed = k.Merge(p, f.Origin, f.To, &row.Share)
	default:
		k.Merge(p, f.Origin, f.To, nil)
	}
	for _, h := range row.Hints {
		changed = k.Hear(p, h) || changed
	}
	return changed
}

// Lose declares an origin lost: its region is gone for good, or has begun anew from a backup. It writes what it has to and no more: a region
// that begins with an empty disk has all keys of the others looked at, while nobody counts there.
func Lose(p *Part, s Store, o Origin) {
	before, after := p.Lost, p.Lost|1<<o
	s.Each(func(_ []byte, k *Key) (write, changed bool) {
		p.Lost = before // for what has died by now, as in buryAll
		buried := k.Bury(p)
		p.Lost = after
		write, changed = k.Lose(p)
		return write || buried, changed
	})
	p.Lost = after
}

// buryAll buries what has died by now. From then on the dead of the origin are kept, so without it, it would not be all the same
// whether somebody has freed their memory before.
func buryAll(p *Part, s Store) {
	s.Each(func(_ []byte, k *Key) (write, changed bool) {
		return k.Bury(p), false
	})
}

// Restore begins another incarnation of this region's data, which was read from a backup: what it has counted so far is an
// origin that is lost, as the same data may live on somewhere.
func Restore(p *Part, s Store, as Origin) {
	buryAll(p, s)
	old := p.Me
	p.Ctx[old], p.Me, p.Pos = p.Pos, as, 0
	p.Lost |= 1 << old
	s.Each(func(_ []byte, k *Key) (write, changed bool) {
		k.Inherit(old)
		_, changed = k.Lose(p)
		return true, changed
	})
	p.next() // a first frame leads somewhere: what this region tells of others' shares is in it
}

// AppendFull appends the full part of this region's own origin.
func AppendFull(b []byte, p *Part, s Store) []byte {
	b = AppendFrame(b, FrameFull, p.Me, 0, p.Pos)
	s.Each(func(name []byte, k *Key) (write, changed bool) {
		var scratch [8]Hint
		if k.HasOwn || len(k.Hints(scratch[:0])) > 0 {
			b = k.AppendRow(b, name)
		}
		return false, false
	})
	return b
}

// AppendLost appends all that this region has of a lost origin.
func AppendLost(b []byte, p *Part, s Store, o Origin) []byte {
	b = AppendFrame(b, FrameLost, o, 0, p.Ctx[o])
	s.Each(func(name []byte, k *Key) (write, changed bool) {
		if r := k.other(o); r != nil {
			b = r.AppendLostRow(b, name)
		}
		return false, false
	})
	return b
}
