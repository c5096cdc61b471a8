package shared

import "encoding/binary"

// A sketch frame is what one region tells another of the sketches of one part:
//
//	┌────────┬────────┬─────────┬─────────┬─────────┬───────
//	│ kind   │ origin │ From    │ To      │ At      │ rows …
//	│ 1      │ 1      │ uvarint │ uvarint │ uvarint │
//	└────────┴────────┴─────────┴─────────┴─────────┴───────
//
// Positions are those of sketches, which count apart from those of counters: sketches are large, and a frame has as many rows as fit. One that
// is not the last of those up to a position leads nowhere: From and To are equal. At is the origin's position when the frame was made. Frames of
// all sketches of a part, in the order of their names, have before their rows a byte, whether the frame is the first and the last of them, and
// behind which name it begins, if it is not the first; so the receiver knows what the sender does not have. A row:
//
//	┌────────────┬─────┬───────┬─────────┬─────────┬──────────────────────┬─────────────────────────────┬─────────┐
//	│ key length │ key │ flags │ Gen     │ Birth   │ with a wish: stamp,  │ length of the payload,      │ payload │
//	│ uvarint    │     │ 1     │ uvarint │ uvarint │ deadline, uvarints   │ uvarint                     │         │
//	└────────────┴─────┴───────┴─────────┴─────────┴──────────────────────┴─────────────────────────────┴─────────┘
//
// Flags are the kind of the sketch and the bits below. A row that is gone ends behind its flags, a tombstone behind Gen. In a frame of a lost
// origin a row has the position of its copy before the length of the payload.
const (
	FrameSketches     FrameKind = 4 // what this region has told of sketches since From, up to To, or some of it
	FrameLostSketches FrameKind = 5 // copies that the sender has of a lost origin's shares
	FrameAllSketches  FrameKind = 6 // all sketches behind a name

	sketchKinds = 3
	sketchGone  = 4
	sketchBrief = 8
	sketchWish  = 16

	allFirst = 1
	allLast  = 2
)

// SketchFrame is a sketch frame's front, and the rows that Next has not read yet.
type SketchFrame struct {
	Kind         FrameKind
	Origin       Origin
	From, To, At uint64
	First, Last  bool   // of FrameAllSketches: there are none before its rows, and behind them
	Behind       []byte // where its rows begin, if it is not the first
	rows         reader
}

// IsSketchFrame reports whether bytes begin as a sketch frame does.
func IsSketchFrame(b []byte) bool { return len(b) > 0 && FrameKind(b[0]) >= FrameSketches }

// AppendSketchFrame appends the front of a sketch frame.
func AppendSketchFrame(b []byte, f *SketchFrame) []byte {
	b = binary.AppendUvarint(append(b, byte(f.Kind), byte(f.Origin)), f.From)
	b = binary.AppendUvarint(binary.AppendUvarint(b, f.To), f.At)
	if f.Kind == FrameAllSketches {
		if b = append(b, flag(allFirst, f.First)|flag(allLast, f.Last)); !f.First {
			b = appendName(b, f.Behind)
		}
	}
	return b
}

// OpenSketchFrame reads the front of a sketch frame.
func OpenSketchFrame(b []byte) (SketchFrame, error) {
	r := reader{b, false}
	f := SketchFrame{Kind: FrameKind(r.byte(7)), Origin: Origin(r.byte(MaxOrigins - 1)), From: r.pos(), To: r.pos(), At: r.pos()}
	if f.Kind == FrameAllSketches {
		flags := r.byte(allFirst | allLast)
		if f.First, f.Last = flags&allFirst != 0, flags&allLast != 0; !f.First {
			f.Behind = r.bytes(maxRowKey)
		}
	}
	if r.failed || f.Kind < FrameSketches || f.Kind > FrameAllSketches || f.From > f.To || f.To > f.At || f.Kind == FrameLostSketches && f.To > 0 {
		return SketchFrame{}, ErrCorrupt
	}
	f.rows = r
	return f, nil
}

// AppendSketchRow appends a row, of a lost origin's share if lost.
func AppendSketchRow(b []byte, row *SketchRow, lost bool) []byte {
	b = appendName(b, row.Key)
	if row.Gone {
		return append(b, sketchGone)
	}
	b = append(b, byte(row.Kind)|flag(sketchBrief, row.Brief)|flag(sketchWish, row.Wish.Stamp != 0))
	b = binary.AppendUvarint(b, row.Gen)
	if row.Kind == SketchNone {
		return b
	}
	b = binary.AppendUvarint(b, uint64(row.Birth))
	if row.Wish.Stamp != 0 {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(row.Wish.Stamp)), uint64(row.Wish.Deadline))
	}
	if lost {
		b = binary.AppendUvarint(b, row.At)
	}
	return append(binary.AppendUvarint(b, uint64(len(row.Payload))), row.Payload...)
}

// Next reads a row, whose slices alias the frame; false: there is none any more, or the bytes are no row, which is an error. It does not look
// into payloads: see SketchRow.Good.
func (f *SketchFrame) Next(row *SketchRow) (bool, error) {
	r := &f.rows
	if len(r.b) == 0 {
		return false, nil
	}
	*row = SketchRow{At: f.At}
	row.Key = r.bytes(maxRowKey)
	flags := r.byte(sketchKinds | sketchGone | sketchBrief | sketchWish)
	row.Kind, row.Gone, row.Brief = SketchKind(flags&sketchKinds), flags&sketchGone != 0, flags&sketchBrief != 0
	switch {
	case row.Gone:
		r.failed = r.failed || flags != sketchGone
	case row.Kind == SketchNone:
		row.Gen = r.pos()
		r.failed = r.failed || flags != 0 || row.Gen == 0
	default:
		f.living(row, flags)
	}
	if lost := f.Kind == FrameLostSketches; r.failed || lost && (row.Gone || row.Kind <= SketchHLL) {
		return false, ErrCorrupt
	}
	return true, nil
}

// living reads what only the row of a sketch that is there has.
func (f *SketchFrame) living(row *SketchRow, flags byte) {
	r := &f.rows
	row.Gen, row.Birth = r.pos(), r.stamp()
	if flags&sketchWish != 0 {
		row.Wish.Stamp = r.stamp()
		if d := r.uvarint(); d <= maxStamp {
			row.Wish.Deadline = int64(d)
		} else {
			r.fail()
		}
	}
	if f.Kind == FrameLostSketches {
		row.At = r.pos()
	}
	row.Payload = r.bytes(MaxSketch)
}

// bytes reads a length and so many bytes, at most limit.
func (r *reader) bytes(limit uint64) []byte {
	n := r.uvarint()
	if n > limit || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// Append appends the content of a sketch, as it is stored: its row without key and payload, with the flag of a brief
// row where this region has added nothing, and of each copy origin, At and Birth.
func (m *Sketch) Append(b []byte) []byte {
	b = append(b, byte(m.Kind)|flag(sketchBrief, !m.Touched)|flag(sketchWish, m.Wish.Stamp != 0))
	b = binary.AppendUvarint(b, m.Gen)
	if !m.Alive() {
		return b
	}
	b = binary.AppendUvarint(b, uint64(m.Birth))
	if m.Wish.Stamp != 0 {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(m.Wish.Stamp)), uint64(m.Wish.Deadline))
	}
	for _, c := range m.Copies {
		b = binary.AppendUvarint(binary.AppendUvarint(append(b, byte(c.Origin)), c.At), uint64(c.Birth))
	}
	return b
}

// Load makes m the sketch whose content this is. It reuses the memory of m.Copies.
func (m *Sketch) Load(content []byte) error {
	r := reader{content, false}
	flags := r.byte(sketchKinds | sketchBrief | sketchWish)
	*m = Sketch{Kind: SketchKind(flags & sketchKinds), Touched: flags&sketchBrief == 0, Gen: r.pos(), Copies: m.Copies[:0]}
	if m.Alive() {
		m.Birth = r.stamp()
	}
	if flags&sketchWish != 0 {
		m.Wish = Wish{Stamp: r.stamp()}
		m.Wish.Deadline = int64(r.uvarint())
	}
	for last := -1; len(r.b) > 0 && !r.failed; {
		c := Copy{Origin: Origin(r.byte(MaxOrigins - 1)), At: r.pos(), Birth: r.stamp()}
		if int(c.Origin) <= last || m.Kind <= SketchHLL {
			r.failed = true
		}
		last = int(c.Origin)
		m.Copies = append(m.Copies, c)
	}
	if r.failed || m.Wish.Deadline < 0 || m.Wish.Deadline > maxStamp || !m.Alive() && m.Wish.Stamp != 0 {
		return ErrCorrupt
	}
	return nil
}
