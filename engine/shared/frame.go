package shared

import "encoding/binary"

// A frame is what one region tells another of one part of the keyspace:
//
//	┌────────┬────────┬─────────┬─────────┬───────
//	│ kind   │ origin │ From    │ To      │ rows …
//	│ 1      │ 1      │ uvarint │ uvarint │
//	└────────┴────────┴─────────┴─────────┴───────
//
// and a row of it:
//
//	┌────────────┬─────┬───────┬────────────────────────────────────┬─────────┬────────────────────────────┐
//	│ key length │ key │ flags │ with a share: Cum varint, RSeq     │ Seq     │ hints: number, and of each │
//	│ uvarint    │     │ 1     │ uvarint, RCum varint, base, wish   │ uvarint │ origin, Seq uvarint, Cum   │
//	└────────────┴─────┴───────┴────────────────────────────────────┴─────────┴────────────────────────────┘
//
// Base and wish are as in a content. Rows of a lost origin have neither Seq nor hints. Origins are numbers of the sender.

// FrameKind says what a frame has.
type FrameKind uint8

// Kinds of frames.
const (
	FrameDelta FrameKind = iota // rows of the sender's own origin that changed behind From, up to To
	FrameFull                   // all rows of the sender's own origin, as of To
	FrameLost                   // all that the sender has of a lost origin, which it has incorporated up to To
)

const (
	rowShare  = flagOwn // flags of a row: there is a share
	rowFlags  = rowShare | flagBase | flagLive | flagHinted | flagWish
	maxRowKey = 64 << 10
)

// Frame is a frame's front, and the rows that Next has not read yet.
type Frame struct {
	Kind     FrameKind
	Origin   Origin
	From, To uint64
	rows     reader
	as       *[MaxOrigins]Origin // nil: as they are
}

// translate has origins be numbered as in as from now on.
func (f *Frame) translate(as *[MaxOrigins]Origin) {
	if as != nil {
		f.Origin, f.as = as[f.Origin], as
	}
}

// AppendFrame appends the front of a frame.
func AppendFrame(b []byte, kind FrameKind, o Origin, from, to uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(append(b, byte(kind), byte(o)), from), to)
}

// AppendRow appends the row of a key to a frame of this region's own origin.
func (k *Key) AppendRow(b, name []byte) []byte {
	b = appendName(b, name)
	if k.HasOwn {
		b = append(b, rowShare|k.Own.flags())
		b = appendReset(binary.AppendVarint(b, k.Own.Cum), &k.Own)
		b = binary.AppendUvarint(b, k.Own.Seq)
	} else {
		b = append(b, 0)
	}
	var scratch [8]Hint
	hints := k.Hints(scratch[:0])
	b = binary.AppendUvarint(b, uint64(len(hints)))
	for _, h := range hints {
		b = binary.AppendVarint(binary.AppendUvarint(append(b, byte(h.Origin)), h.Seq), h.Cum)
	}
	return b
}

// AppendLostRow appends the row of a key to a frame of a lost origin.
func (r *Other) AppendLostRow(b, name []byte) []byte {
	b = append(appendName(b, name), rowShare|r.flags()|flag(flagLive, r.Live)|flag(flagHinted, r.Hinted))
	return appendReset(binary.AppendVarint(b, r.Cum), &r.Share)
}

// QuickRow is AppendRow on the content of a key, of which it copies most; false, with b as it was: there is no own share, or a hint.
func QuickRow(b, name, content []byte) ([]byte, bool) {
	if len(content) < ownFixed || content[0]&flagOwn == 0 {
		return b, false
	}
	flags := content[0]
	own := reader{content[ownFixed:], false}
	var e Share
	own.reset(&e, flags)
	front := content[:len(content)-len(own.b)]
	for others := own; len(others.b) > 1; {
		flags := others.b[1]
		if flags&flagHinted != 0 {
			return b, false
		}
		others.b = others.b[2:]
		others.varint()
		others.reset(&e, flags)
	}
	if own.failed {
		return b, false
	}
	return AppendQuickRow(b, name, front), true
}

// AppendQuickRow is AppendRow of a key of which nothing but its own share is told, from the front of its content (Quick).
func AppendQuickRow(b, name, front []byte) []byte {
	b = binary.AppendVarint(append(appendName(b, name), front[0]), int64(binary.LittleEndian.Uint64(front[cumAt:])))
	b = append(b, front[ownFixed:]...)
	return append(binary.AppendUvarint(b, binary.LittleEndian.Uint64(front[seqAt-1:])>>8), 0)
}

func appendName(b, name []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(name))), name...)
}

// Row is one row of a frame. Its slices are valid until the next one is read.
type Row struct {
	Key      []byte
	HasShare bool // false: the origin has none, it is gone
	Share    Share
	Hints    []Hint
	Copy     Other // of FrameLost alone
}

// OpenFrame reads the front of a frame.
func OpenFrame(b []byte) (Frame, error) {
	r := reader{b, false}
	f := Frame{Kind: FrameKind(r.byte(3)), Origin: Origin(r.byte(MaxOrigins - 1)), From: r.pos(), To: r.pos()}
	if r.failed || f.Kind > FrameLost || f.From > f.To || f.Kind != FrameDelta && f.From != 0 {
		return Frame{}, ErrCorrupt
	}
	f.rows = r
	return f, nil
}

// Next reads a row; false: there is none any more, or the bytes are no row, which is an error.
func (f *Frame) Next(row *Row) (bool, error) {
	r := &f.rows
	if len(r.b) == 0 {
		return false, nil
	}
	n := r.uvarint()
	if n > maxRowKey || n > uint64(len(r.b)) {
		return false, ErrCorrupt
	}
	row.Key, row.Share, row.Hints = r.b[:n], Share{}, row.Hints[:0]
	r.b = r.b[n:]
	flags := r.byte(rowFlags)
	if row.HasShare = flags&rowShare != 0; row.HasShare {
		row.Share.Cum = r.varint()
		r.reset(&row.Share, flags)
	}
	if f.Kind == FrameLost {
		row.Copy = Other{Origin: f.Origin, Share: row.Share, Live: flags&flagLive != 0, Hinted: flags&flagHinted != 0}
		r.failed = r.failed || !row.HasShare
	} else {
		f.ownRow(row, flags)
	}
	if r.failed {
		return false, ErrCorrupt
	}
	return true, nil
}

// ownRow reads what only rows of the sender's own origin have.
func (f *Frame) ownRow(row *Row, flags byte) {
	r := &f.rows
	if row.HasShare {
		row.Share.Seq = r.pos()
	}
	if flags&^(rowShare|flagBase|flagWish) != 0 || flags != 0 && !row.HasShare {
		r.fail()
	}
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		h := Hint{Origin: Origin(r.byte(MaxOrigins - 1)), Seq: r.pos(), Cum: r.varint()}
		if f.as != nil {
			h.Origin = f.as[h.Origin]
		}
		if h.Origin == f.Origin || len(row.Hints) == MaxOrigins {
			r.fail()
		}
		row.Hints = append(row.Hints, h)
	}
}

// LastRows takes away all rows of a frame but the last one of each key, where b is. A frame may have several: they are applied one after the
// other, as if each had come in a frame of its own, so what counts is that the last one is the newest.
func LastRows(b []byte) []byte {
	f, err := OpenFrame(b)
	if err != nil {
		panic("shared: BUG: a frame of this region: " + err.Error())
	}
	var row Row
	last := make(map[string]int, len(b)/32)
	to := len(b) - len(f.rows.b)
	for rows := f; ; {
		at := len(b) - len(rows.rows.b)
		if more, _ := rows.Next(&row); !more {
			break
		}
		last[string(row.Key)] = at
	}
	for {
		at := len(b) - len(f.rows.b)
		if more, _ := f.Next(&row); !more {
			return b[:to]
		}
		if last[string(row.Key)] == at {
			to += copy(b[to:], b[at:len(b)-len(f.rows.b)])
		}
	}
}
