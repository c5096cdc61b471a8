package shared

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// A key's content, as it is stored. The own share is in front, at fixed places, so that an increment changes 15 bytes and
// nothing moves:
//
//	0        1          9          16
//	┌────────┬──────────┬──────────┬────────────────┬───────────┬─────────────────┐
//	│ flags  │ Cum      │ Seq      │ RSeq           │ RCum      │ base and wish,  │ others …
//	│ 1      │ i64      │ u56      │ uvarint        │ varint    │ if any          │
//	└────────┴──────────┴──────────┴────────────────┴───────────┴─────────────────┘
//
// Without an own share the others follow the flags. Each of them, to the end of the content:
//
//	┌────────┬────────┬──────────┬─────────┬──────────┬─────────────────┐
//	│ origin │ flags  │ Cum      │ RSeq    │ RCum     │ base and wish,  │
//	│ 1      │ 1      │ varint   │ uvarint │ varint   │ if any          │
//	└────────┴────────┴──────────┴─────────┴──────────┴─────────────────┘
//
// A base is its stamp, a uvarint, and the value, a varint. A wish is its stamp, a uvarint, and a uvarint: 0 for no
// deadline, 1 for no wish, else two more than the deadline less the stamp in zigzag form.
//
// Fixed numbers are little-endian. Equal keys have equal bytes: origins ascend, and no number is longer than it has to be.
const (
	flagOwn    = 1
	flagBase   = 2
	flagLive   = 4
	flagHinted = 8
	flagMine   = 16
	flagWish   = 32

	ownFlags   = flagOwn | flagBase | flagWish
	otherFlags = flagBase | flagLive | flagHinted | flagMine | flagWish

	cumAt    = 1
	seqAt    = 9
	ownFixed = 16

	OwnFixed = ownFixed // bytes at the front of a content that AddInPlace may change

	maxPos = 1<<56 - 1
)

// ErrCorrupt is the error of bytes that are not what Append or AppendRow writes.
var ErrCorrupt = errors.New("shared: the bytes are no shared counter")

// Append appends the content of a key.
func (k *Key) Append(b []byte) []byte {
	if k.HasOwn {
		b = append(b, flagOwn|k.Own.flags())
		b = binary.LittleEndian.AppendUint64(b, uint64(k.Own.Cum))
		b = appendSeq(b, k.Own.Seq)
		b = appendReset(b, &k.Own)
	} else {
		b = append(b, 0)
	}
	for i := range k.Others {
		r := &k.Others[i]
		b = append(b, byte(r.Origin), r.flags()|flag(flagLive, r.Live)|flag(flagHinted, r.Hinted)|flag(flagMine, r.Mine))
		b = binary.AppendVarint(b, r.Cum)
		b = appendReset(b, &r.Share)
	}
	return b
}

// appendReset appends the reset of a share, its base and its wish.
func appendReset(b []byte, e *Share) []byte {
	b = binary.AppendVarint(binary.AppendUvarint(b, e.RSeq), e.RCum)
	if e.Base.Stamp != 0 {
		b = binary.AppendVarint(binary.AppendUvarint(b, uint64(e.Base.Stamp)), e.Base.Value)
	}
	if w := e.Wish; w.Stamp != 0 {
		b = binary.AppendUvarint(b, uint64(w.Stamp))
		if w.Deadline <= 0 {
			return append(b, byte(-w.Deadline))
		}
		b = binary.AppendUvarint(b, zigzag(w.Deadline-w.Stamp)+2)
	}
	return b
}

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func appendSeq(b []byte, seq uint64) []byte {
	if seq > maxPos {
		panic("shared: BUG: a position is beyond 2^56")
	}
	return append(b, byte(seq), byte(seq>>8), byte(seq>>16), byte(seq>>24), byte(seq>>32), byte(seq>>40), byte(seq>>48))
}

func (e *Share) flags() byte {
	return flag(flagBase, e.Base.Stamp != 0) | flag(flagWish, e.Wish.Stamp != 0)
}

func flag(f byte, set bool) byte {
	if set {
		return f
	}
	return 0
}

// Quick is Value of a key that has no wishes, which needs no Key: with one, reading a key took three times as long (BenchmarkSharedAdd
// of package engine: 600 and 240 ns). The content is that of a key that exists; false: there is a wish. front is how much of the content
// AppendQuickRow needs, 0 if the key's row has more than the own share, or none.
func Quick(content []byte, p *Part) (n int64, front int, ok bool) {
	var r reader
	var base Base
	switch {
	case len(content) >= ownFixed && content[0]&^flagBase == flagOwn:
		n = int64(binary.LittleEndian.Uint64(content[cumAt:]))
		r.b = content[ownFixed:]
		r.uvarint()
		n -= r.varint()
		base = r.base(content[0])
		front = len(content) - len(r.b)
	case len(content) > 0 && content[0] == 0:
		r.b = content[1:]
	default:
		return 0, 0, false
	}
	for len(r.b) > 1 {
		o, flags := r.b[0], r.b[1]
		if flags&flagWish != 0 {
			return 0, 0, false
		}
		if flags&flagHinted != 0 {
			front = 0
		}
		r.b = r.b[2:]
		cum, rseq := r.varint(), r.uvarint()
		sum, other := cum-r.varint(), r.base(flags)
		if p.Ctx[o%MaxOrigins] < rseq {
			continue
		}
		if n += sum; other.beats(base) {
			base = other
		}
	}
	return n + base.Value, front, !r.failed
}

// QuickMerge is Key.Merge on the content of a key that exists and has no wishes, with a row that has none and no hints: where another
// copy of the origin's share takes the place of one, in as many bytes. false: it is not so, and nothing is changed. The key exists when the
// frame is incorporated, which leads up to position to, and what this region tells of it does not change.
func QuickMerge(content []byte, o Origin, to uint64, row *Row) bool {
	e := &row.Share
	if !row.HasShare || len(row.Hints) > 0 || e.Wish.Stamp != 0 || !e.alive() || e.RSeq > to {
		return false
	}
	at, end, rseq := quickCopy(content, o)
	if at == 0 || e.RSeq < rseq { // or the owner has not heard of our reset
		return false
	}
	var scratch [64]byte
	is := append(scratch[:0], byte(o), flagLive|e.flags())
	if is = appendReset(binary.AppendVarint(is, e.Cum), e); len(is) != end-at {
		return false
	}
	copy(content[at:], is)
	return true
}

// quickCopy is where in a content the copy of an origin's share is, and that copy's RSeq; 0: nowhere, or there is a wish.
func quickCopy(content []byte, o Origin) (at, end int, rseq uint64) {
	if len(content) == 0 || content[0]&flagWish != 0 {
		return 0, 0, 0
	}
	r := reader{content[1:], false}
	if content[0]&flagOwn != 0 {
		r.fixed(ownFixed - 1)
		r.uvarint()
		r.uvarint()
		r.base(content[0])
	}
	for len(r.b) > 1 {
		from, is, flags := len(content)-len(r.b), r.b[0], r.b[1]
		if flags&flagWish != 0 {
			return 0, 0, 0
		}
		r.b = r.b[2:]
		r.uvarint()
		seq := r.uvarint()
		r.uvarint()
		r.base(flags)
		if is == byte(o) {
			at, end, rseq = from, len(content)-len(r.b), seq
		}
	}
	return at, end, rseq
}

// Quiet reports whether a content has neither wishes nor resets that are not confirmed: what becomes of other regions changes nothing about
// it. It is for those who look at all keys.
func Quiet(content []byte) bool {
	if len(content) == 0 || content[0]&flagWish != 0 {
		return false
	}
	r := reader{content[1:], false}
	if content[0]&flagOwn != 0 {
		r.b = content[min(ownFixed, len(content)):]
		r.uvarint()
		r.varint()
		r.base(content[0])
	}
	for len(r.b) > 1 {
		flags := r.b[1]
		if flags&(flagWish|flagHinted) != 0 {
			return false
		}
		r.b = r.b[2:]
		r.varint()
		r.uvarint()
		r.varint()
		r.base(flags)
	}
	return !r.failed
}

// base reads a base, if flags say that there is one.
func (r *reader) base(flags byte) (b Base) {
	if flags&flagBase != 0 {
		b.Stamp = r.stamp()
		b.Value = r.varint()
	}
	return b
}

// AddInPlace is Add on the content of a key whose own share is alive; false: it is not, and nothing is changed.
func AddInPlace(content []byte, p *Part, d int64) bool {
	if len(content) < ownFixed || content[0]&flagOwn == 0 || content[0]&flagWish != 0 && !carriesOn(content, p.Now) {
		return false
	}
	cum := content[cumAt:seqAt]
	binary.LittleEndian.PutUint64(cum, binary.LittleEndian.Uint64(cum)+uint64(d))
	appendSeq(content[:seqAt], p.next())
	return true
}

// carriesOn reports whether an own share that has a wish is alive. One without a wish is: only a wish is kept without
// increments.
func carriesOn(content []byte, now int64) bool {
	var own Share
	r := reader{content[seqAt:], false}
	own.Seq = r.fixed(ownFixed - seqAt)
	r.reset(&own, content[0])
	return !r.failed && own.alive() && !own.Wish.passed(now)
}

// Load makes k the key whose content this is. It reuses the memory of k.Others.
func (k *Key) Load(content []byte) error {
	r := reader{content, false}
	*k = Key{Others: k.Others[:0]}
	flags := r.byte(ownFlags)
	if k.HasOwn = flags&flagOwn != 0; k.HasOwn {
		k.Own.Cum, k.Own.Seq = int64(r.fixed(8)), r.fixed(7)
		r.reset(&k.Own, flags)
	} else if flags != 0 {
		r.failed = true
	}
	for last := -1; len(r.b) > 0 && !r.failed; {
		o := Other{Origin: Origin(r.byte(MaxOrigins - 1))}
		flags := r.byte(otherFlags)
		o.Live, o.Hinted, o.Mine = flags&flagLive != 0, flags&flagHinted != 0, flags&flagMine != 0
		o.Cum = r.varint()
		r.reset(&o.Share, flags)
		if int(o.Origin) <= last {
			r.failed = true
		}
		last = int(o.Origin)
		k.Others = append(k.Others, o)
	}
	if r.failed {
		return ErrCorrupt
	}
	return nil
}

// reader takes numbers off the front of b. What it returns after a failure means nothing.
type reader struct {
	b      []byte
	failed bool
}

// byte has no other bits than those of mask.
func (r *reader) byte(mask byte) byte {
	if len(r.b) == 0 || r.b[0]&^mask != 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) fail() { r.b, r.failed = nil, true }

func (r *reader) fixed(n int) (v uint64) {
	if len(r.b) < n {
		r.fail()
		return 0
	}
	for i := range n {
		v |= uint64(r.b[i]) << (8 * i)
	}
	r.b = r.b[n:]
	return v
}

// uvarint is refused if it is longer than it has to be. Up to eight bytes are read at once: the highest bit of each says that more follow, and
// three steps close the gaps that those bits leave. Byte by byte it was a seventh of the time of who merges frames.
func (r *reader) uvarint() uint64 {
	const more = 0x8080808080808080
	if len(r.b) < 8 || binary.LittleEndian.Uint64(r.b)&more == more {
		return r.uvarintBytes()
	}
	v := binary.LittleEndian.Uint64(r.b)
	if v&0x80 == 0 {
		r.b = r.b[1:]
		return v & 0x7f
	}
	last := ^v & more
	last &= -last // the highest bit of the last byte
	n := bits.TrailingZeros64(last)/8 + 1
	if v &= last - 1; v>>(8*n-8) == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	v &^= more
	v = v&0x007f007f007f007f | v&0x7f007f007f007f00>>1
	v = v&0x00003fff00003fff | v&0x3fff00003fff0000>>2
	return v&0x0fffffff | v>>32<<28
}

func (r *reader) uvarintBytes() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 { return unzigzag(r.uvarint()) }

func (r *reader) pos() uint64 {
	v := r.uvarint()
	if v > maxPos {
		r.fail()
	}
	return v
}

func (r *reader) reset(e *Share, flags byte) {
	e.RSeq, e.RCum = r.pos(), r.varint()
	e.Base = r.base(flags)
	if flags&flagWish != 0 {
		e.Wish.Stamp = r.stamp()
		switch d := r.uvarint(); d {
		case 0, -noWish:
			e.Wish.Deadline = -int64(d)
		default:
			e.Wish.Deadline = e.Wish.Stamp + unzigzag(d-2)
			if e.Wish.Deadline <= 0 || e.Wish.Deadline > maxStamp {
				r.fail()
			}
		}
	}
}

// maxStamp bounds log times, so that sums of two do not overflow: beyond the year 280,000.
const maxStamp = 1 << 53

func (r *reader) stamp() int64 {
	v := r.uvarint()
	if v == 0 || v > maxStamp {
		r.fail()
	}
	return int64(v)
}
