package shared

// What clients do to a key. Each of these moves the part's position, and the key is changed: its row belongs into the next
// frame.

// Add adds d to the value.
func (k *Key) Add(p *Part, d int64) {
	k.Bury(p)
	if !k.HasOwn || !k.Own.alive() {
		k.birth(p)
	}
	k.Own.Cum += d
	k.Own.Seq = p.next()
}

// birth makes the region's own share. Its reset is where the origin is: what was dropped before is behind it, and no other
// region can have heard of what comes. The share dies with the others, or never if they have no deadline; then it keeps the
// newest stamp, so that no wish from before takes hold of it.
func (k *Key) birth(p *Part) {
	w := k.Wish(p)
	if w.Deadline <= 0 {
		w = remember(k.newest())
	}
	k.HasOwn, k.Own = true, Share{RSeq: p.Pos, Seq: p.Pos, Wish: w}
}

// Delete takes away everything that this region has incorporated. It reports whether there was anything; the position moves
// only then. A copy that looks like 0 is reset again too: the last reset may not have seen all of what came to 0.
func (k *Key) Delete(p *Part) (changed bool) {
	k.Bury(p)
	if k.Empty() {
		return false
	}
	k.HasOwn, k.Own = false, Share{}
	for i := range k.Others {
		if r := &k.Others[i]; r.counts(p) {
			r.reset(p.Ctx[r.Origin], r.Cum, true)
		} else {
			r.Mine = true // another region's reset, of more than this one has incorporated, will do
		}
	}
	p.next()
	return true
}

// Set gives the key a value, and no deadline.
func (k *Key) Set(p *Part, value int64) {
	k.Bury(p)
	newest := k.newest()
	k.Delete(p)
	k.birth(p)
	k.Own.Base, k.Own.Wish = Base{p.Now, value}, remember(newest)
	k.Own.Seq = p.next()
}

// Expire asks for a deadline of the key, which exists; 0: for none.
func (k *Key) Expire(p *Part, deadline int64) {
	k.Bury(p)
	w := wishBehind(k.newest(), p.Now, deadline)
	if !k.HasOwn {
		k.birth(p)
	}
	k.Own.Wish = w
	k.adoptLost(p, k.Own.Wish)
	p.next()
}

// What comes from other regions.

// Merge is what a frame of origin o, which leads up to position to, says of the key: the origin's share as it is there, nil
// if it has none. It reports whether the key is changed. The caller moves p.Ctx[o] when all rows are merged.
func (k *Key) Merge(p *Part, o Origin, to uint64, e *Share) (changed bool) {
	k.Bury(p)
	r := k.other(o)
	if e == nil {
		k.mergeGone(r, to)
		return false
	}
	is := Other{Origin: o, Share: *e, Live: e.alive()}
	if r != nil && r.Hinted && e.RSeq < r.RSeq { // the owner has not heard of our reset
		is.Hinted, is.Mine = true, r.Mine
		is.RSeq, is.RCum, is.Base = r.RSeq, r.RCum, Base{}
	}
	k.put(is)
	return k.adopt(p, e.Wish)
}

// adopt makes a wish that is newer that of the own share, unless it comes too late.
func (k *Key) adopt(p *Part, w Wish) (changed bool) {
	if w.Deadline == noWish {
		return false
	}
	k.adoptLost(p, w)
	if !k.HasOwn || !k.Own.alive() || w.Stamp <= k.Own.Wish.Stamp {
		return false
	}
	if w.passed(p.Now) {
		p.Late++
		return false
	}
	k.Own.Wish = w
	p.next()
	return true
}

// adoptLost does that for the shares of lost origins, whose owners cannot. Whether it is too late is judged by the moment
// when the deadline was asked for, and not by when this region hears of it: all must come to the same. It reports whether it did.
func (k *Key) adoptLost(p *Part, w Wish) (some bool) {
	for i := range k.Others {
		if r := &k.Others[i]; p.IsLost(r.Origin) && w.Stamp > r.Wish.Stamp && !r.Wish.passed(w.Stamp) {
			r.Wish, some = w, true
		}
	}
	return some
}

// mergeGone is Merge for a share that the owner has dropped. A reset from behind the frame is kept: it came from a region
// that has heard more of the owner than this one.
func (k *Key) mergeGone(r *Other, to uint64) {
	switch {
	case r == nil:
	case r.RSeq > to:
		r.Cum, r.Base, r.Wish, r.Live = 0, Base{}, Wish{}, false
	default:
		k.remove(r.Origin)
	}
}

// Hint is a reset of an origin's share that another region has made: it had incorporated the origin up to position seq,
// where the sum was cum.
type Hint struct {
	Origin Origin
	Seq    uint64
	Cum    int64
}

// Hear takes a hint. It reports whether the key is changed.
func (k *Key) Hear(p *Part, h Hint) (changed bool) {
	k.Bury(p)
	if h.Origin == p.Me {
		return k.confirm(p, h)
	}
	r := k.other(h.Origin)
	lost := p.IsLost(h.Origin)
	switch {
	case r == nil && (p.Ctx[h.Origin] >= h.Seq || p.HasForgotten(h.Origin)): // the owner has dropped it since, or this region
		return false
	case r == nil:
		r = &Other{Origin: h.Origin}
	case h.Seq <= r.RSeq:
		return false
	}
	// Who has told of a reset goes on telling of the later one that takes its place: else a region that has incorporated this
	// one would not have its reset.
	mine := r.Mine || lost
	r.reset(h.Seq, h.Cum, mine)
	k.put(*r)
	if mine { // the row is told anew: the owner may have heard of the earlier one
		p.next()
	}
	return mine
}

// confirm is Hear for this region's own share.
func (k *Key) confirm(p *Part, h Hint) (changed bool) {
	if k.HasOwn {
		if h.Seq <= k.Own.RSeq {
			return false
		}
		k.Own.RSeq, k.Own.RCum, k.Own.Base = h.Seq, h.Cum, Base{}
		k.HasOwn = k.Own.alive()
	}
	p.next() // without a share the row says so once more: the other region may not have heard it
	return true
}

// Hints are what this region's row says of the others' shares, appended to dst.
func (k *Key) Hints(dst []Hint) []Hint {
	for i := range k.Others {
		if r := &k.Others[i]; r.Hinted && r.Mine {
			dst = append(dst, Hint{r.Origin, r.RSeq, r.RCum})
		}
	}
	return dst
}

// Regions that are lost.

// Lose is done to every key when an origin is declared lost: whatever reset is not confirmed, of any share, may be one that
// only the lost origin has told of, and of the lost one's shares no owner will confirm any. So every region tells of them
// from now on. It reports whether there is anything to write, and whether the row is changed.
func (k *Key) Lose(p *Part) (write, changed bool) {
	write = k.Bury(p)
	for i := range k.Others {
		if r := &k.Others[i]; r.Hinted && !r.Mine {
			r.Mine, changed = true, true
		}
	}
	if w := k.Wish(p); w.Deadline != noWish && k.adoptLost(p, w) {
		write = true
	}
	if changed {
		p.next()
	}
	return write || changed, changed
}

// MergeLost is what another region says of a lost origin's share of the key: it has incorporated the origin up to position
// at, and has the copy r, nil if it has none. It reports whether the key is changed. The caller raises p.Ctx[o] to at when
// all rows are merged.
func (k *Key) MergeLost(p *Part, o Origin, at uint64, r *Other) (changed bool) {
	k.Bury(p)
	ours := k.other(o)
	if r != nil && ours != nil && r.Wish.beats(ours.Wish) {
		ours.Wish = r.Wish
	}
	switch { // at one position of the owner, whoever has no copy has buried it, by a deadline that was moved
	case at > p.Ctx[o] || at == p.Ctx[o] && ours == nil && r != nil && r.RSeq <= at:
		k.takeLost(o, at, ours, r)
	case at == p.Ctx[o] && ours != nil && r != nil && forked(ours, r): // all take the larger one
		k.takeLost(o, at, ours, r)
	case r != nil && r.Hinted:
		changed = k.Hear(p, Hint{o, r.RSeq, r.RCum})
	}
	_, more := k.Lose(p)
	return more || changed
}

// forked reports whether r, which is of the same position as ours, is the larger of two histories: the region went on from an older copy of
// its data before it became another incarnation, and was at that position twice.
func forked(ours, r *Other) bool {
	return r.Cum > ours.Cum || r.Cum == ours.Cum && r.RSeq == ours.RSeq && r.Base.beats(ours.Base)
}

// takeLost takes the copy of a region that has heard more of the lost origin, in place of ours.
func (k *Key) takeLost(o Origin, at uint64, ours, r *Other) {
	if r == nil {
		k.mergeGone(ours, at)
		return
	}
	is := *r
	is.Origin, is.Mine = o, false
	if ours != nil {
		is.Wish = ours.Wish
	}
	if ours != nil && r.RSeq < ours.RSeq {
		is.reset(ours.RSeq, ours.RCum, ours.Mine)
	}
	k.put(is)
}

// Inherit makes the region's own share that of another origin: an older incarnation of its data, which was restored.
func (k *Key) Inherit(old Origin) {
	if k.HasOwn {
		k.put(Other{Origin: old, Share: k.Own, Live: k.Own.alive()})
		k.HasOwn, k.Own = false, Share{}
	}
}
