// Package shared is the rules of shared counters: counters that several regions increment on their own, and that come to
// the same value in all of them once each has heard of what the others did. It is functions on what one region keeps of
// one key and of one part of the keyspace; who stores that, and how it travels, is not its business.
//
// # Why not simply add what other regions have added
//
// A counter as one number per region, each raised only by its owner, converges: the value is the sum, a copy that is
// higher is newer (the G-counter; Shapiro and others, A comprehensive study of Convergent and Commutative Replicated Data
// Types, 2011). DEL breaks it. If a region sets all numbers to zero, the next copy of the owner's number brings the old
// sum back. If it subtracts what it sees, two regions that delete 10 at once leave -10. In Riak's counter an increment
// beside a reset brings all back that was counted where it happened.
//
// # What is kept
//
// Each region, more exactly each incarnation of its data, is an origin. It numbers what it does to the shared keys of a
// part: its position there. For each key there is a share for each origin, which only that origin changes:
//
//	Cum, Seq     sum of all increments so far, and the position of the last one
//	RSeq, RCum   the reset: increments up to position RSeq do not count; they came to RCum
//	Base         a value that was set behind that reset
//	Deadline     when the share dies, in all regions, each by its own log time
//	Wish         when that deadline was asked for
//
// The key's value is the sum of Cum - RCum of all shares and the newest base. A reset names what it has seen of each
// origin, as a position and the sum up to there, so it takes away exactly that: what the owner has added since, which the
// region that resets cannot know, stays. It takes effect where it is made at once, and is a hint to the owner, which
// confirms it in its own share. State travels, not operations: the same frame may come twice, late, or not at all.
//
// # Deadlines
//
// A deadline of the key as a whole would have to be agreed on, and a region that is cut off could not. So EXPIRE is a wish,
// kept in the share of the region where it was made: with a deadline, or none (PERSIST), and a stamp that is newer than all
// that this region knows of. An owner that hears of a newer wish makes it that of its own share, if it is not too late; for
// a lost origin, every region does. A share that dies is absent from then on, and nobody is told: the others know its
// deadline. What they cannot know is that its owner moved the deadline in the last moment; then its row tells them, and the
// share is back.
//
// # Terms
//
// A row is what one region tells of one key: its own share, or that it has none (gone), and its hints about those of
// others. A frame of an origin has the rows of all keys that changed between two of its positions; a full part has all.
// Ctx is how far a region has incorporated each origin. A share that is unknown but for a reset is a bare pair.
//
// Sums are modulo 2^64: what a region refuses as an overflow goes by what it sees, and two regions may add at once.
package shared

import "slices"

// Origin numbers the incarnations of regions, as one region knows them. Numbers differ from region to region.
type Origin uint8

// MaxOrigins is how many origins there may be, living ones and lost ones.
const MaxOrigins = 64

// Part is what a region keeps of one part of the keyspace beside its keys.
type Part struct {
	Now       int64 // log time in milliseconds, at least 1: set before each use, and not stored
	Me        Origin
	Pos       uint64             // of Me; positions begin at 1 and stay below 2^56
	Ctx       [MaxOrigins]uint64 // how far other origins are incorporated
	Lost      uint64             // bit o: origin o is lost, and sends nothing any more
	Forgotten uint64             // of those, the ones that are forgotten
	Late      int64              // wishes of others that came after their own deadline, since the process began; not stored
}

// IsLost reports whether an origin is lost.
func (p *Part) IsLost(o Origin) bool { return p.Lost>>o&1 != 0 }

func (p *Part) next() uint64 {
	p.Pos++
	return p.Pos
}

// Share is what is kept of one origin's part of a key.
type Share struct {
	Cum       int64
	Seq, RSeq uint64
	RCum      int64
	Base      Base
	Wish      Wish
}

// Wish is a deadline in milliseconds of log time, 0 for none, and the log time when it was asked for, 0: never. A deadline of
// noWish is no wish at all: a share only remembers the stamp of those before it.
type Wish struct{ Deadline, Stamp int64 }

const noWish = -1

// remember is what a share without a deadline keeps of the wishes up to a stamp.
func remember(stamp int64) Wish {
	if stamp == 0 {
		return Wish{}
	}
	return Wish{noWish, stamp}
}

// wishBehind is what a client wishes now that knows of wishes up to a stamp. Deadlines beyond the year 280,000 are what a client asks for that
// wants none, and stamps there what a clock says that is wrong: neither may become a content that cannot be read.
func wishBehind(stamp, now, deadline int64) Wish {
	return Wish{min(deadline, maxStamp), min(max(now, stamp+1), maxStamp)}
}

// passed reports whether the deadline is over.
func (w Wish) passed(now int64) bool { return w.Deadline > 0 && w.Deadline <= now }

// beats reports whether w is the newer of two wishes; of one moment the one with the later deadline is.
func (w Wish) beats(v Wish) bool {
	return w.Stamp > v.Stamp || w.Stamp == v.Stamp && v.Deadline > 0 && (w.Deadline <= 0 || w.Deadline > v.Deadline)
}

// alive reports whether the owner has done anything behind the reset. A share that is not only carries a wish.
func (e *Share) alive() bool { return e.Seq > e.RSeq }

// keptUntil is when a share is dropped where it does not make the key exist, 0: never. One that carries a PERSIST is kept for a while, as owners
// may have to hear of it; if they have all died meanwhile nobody is left to take it, and it would stay for ever.
func (e *Share) keptUntil(alive bool) int64 {
	if w := e.Wish; w.Deadline > 0 {
		return w.Deadline
	} else if w.Deadline == 0 && w.Stamp > 0 && !alive {
		return w.Stamp + TombstoneAge
	}
	return 0
}

// Base is a value that was set. Stamp is the log time of that, at least 1; 0: there is none.
type Base struct{ Stamp, Value int64 }

// beats reports whether b is the newer of two bases; of one moment the larger wins, everywhere.
func (b Base) beats(c Base) bool {
	return b.Stamp > c.Stamp || b.Stamp == c.Stamp && b.Value > c.Value
}

// Other is a copy of another origin's share. Of Seq only Live is kept.
type Other struct {
	Origin Origin
	Share
	Live   bool // the owner's share was alive, by its own reset
	Hinted bool // RSeq and RCum are of a reset that the owner has not confirmed
	Mine   bool // this region tells others of that reset
}

// counts reports whether the copy counts: it is left out while the origin is not incorporated up to the reset, since what
// there is to subtract from has not come yet.
func (r *Other) counts(p *Part) bool { return p.Ctx[r.Origin] >= r.RSeq }

func (r *Other) exists() bool {
	if r.Hinted {
		return r.Cum != r.RCum || r.Base.Stamp != 0
	}
	return r.Live
}

// reset gives the copy a pair that the owner has not confirmed.
func (r *Other) reset(seq uint64, cum int64, mine bool) {
	r.RSeq, r.RCum, r.Base, r.Hinted, r.Mine = seq, cum, Base{}, true, mine
}

// Key is what a region keeps of one key. Others are ascending by origin.
type Key struct {
	HasOwn bool
	Own    Share
	Others []Other
}

// Empty reports whether nothing is left to keep.
func (k *Key) Empty() bool { return !k.HasOwn && len(k.Others) == 0 }

// Value is what clients see. A key may not exist and still have to be kept, for a reset that is not confirmed.
func (k *Key) Value(p *Part) (n int64, exists bool) {
	var base Base
	if k.HasOwn && !k.Own.Wish.passed(p.Now) {
		n, base, exists = k.Own.Cum-k.Own.RCum, k.Own.Base, k.Own.alive()
	}
	for i := range k.Others {
		r := &k.Others[i]
		if !r.counts(p) || r.Wish.passed(p.Now) {
			continue
		}
		n += r.Cum - r.RCum
		exists = exists || r.exists()
		if r.Base.beats(base) {
			base = r.Base
		}
	}
	return n + base.Value, exists
}

// Each calls fn for what each origin has of the value: the sum of n is Value's.
func (k *Key) Each(p *Part, fn func(o Origin, n int64)) {
	var base Base
	from := p.Me
	own := k.HasOwn && !k.Own.Wish.passed(p.Now)
	if own {
		base = k.Own.Base
	}
	counted := func(r *Other) bool { return r.counts(p) && !r.Wish.passed(p.Now) }
	for i := range k.Others {
		if r := &k.Others[i]; counted(r) && r.Base.beats(base) {
			base, from = r.Base, r.Origin
		}
	}
	tell := func(o Origin, e *Share) {
		n := e.Cum - e.RCum
		if o == from {
			n += base.Value
		}
		fn(o, n)
	}
	if own {
		tell(p.Me, &k.Own)
	}
	for i := range k.Others {
		if r := &k.Others[i]; counted(r) {
			tell(r.Origin, &r.Share)
		}
	}
}

// Wish is the newest wish of what counts: what clients see as the key's deadline. A key that does not exist has none.
func (k *Key) Wish(p *Part) (w Wish) {
	exists := false
	if k.HasOwn && !k.Own.Wish.passed(p.Now) {
		w, exists = k.Own.Wish, k.Own.alive()
	}
	for i := range k.Others {
		r := &k.Others[i]
		if !r.counts(p) || r.Wish.passed(p.Now) || r.Hinted && !r.exists() {
			continue
		}
		exists = exists || r.exists()
		if r.Wish.beats(w) {
			w = r.Wish
		}
	}
	if !exists {
		return Wish{}
	}
	return w
}

// Mortal reports whether anything of what clients see dies by itself. It may although the key has no deadline for them: by another wish than
// the newest.
func (k *Key) Mortal(p *Part) bool {
	mortal := k.HasOwn && k.Own.Wish.Deadline > p.Now
	for i := range k.Others {
		r := &k.Others[i]
		mortal = mortal || r.counts(p) && r.Wish.Deadline > p.Now
	}
	return mortal
}

// newest is the newest stamp of any wish that this region knows of the key.
func (k *Key) newest() (stamp int64) {
	stamp = k.Own.Wish.Stamp
	for i := range k.Others {
		stamp = max(stamp, k.Others[i].Wish.Stamp)
	}
	return stamp
}

// Bury drops shares that have died, but for those of which this region tells a reset, as the owner may have moved the
// deadline, and those of lost origins, as other regions may not have heard of the wish that they died by. Whatever changes a
// key does this first, so that it is all the same whether somebody has freed their memory before. Of a key of which nothing is left
// but wishes that are old enough, it drops all. It reports whether any were there.
func (k *Key) Bury(p *Part) (some bool) {
	if some = k.HasOwn && k.Own.Wish.passed(p.Now); some {
		k.HasOwn, k.Own = false, Share{}
	}
	n := len(k.Others)
	k.Others = slices.DeleteFunc(k.Others, func(r Other) bool { return r.fades(p) && r.Wish.passed(p.Now) })
	some = some || len(k.Others) < n
	if at := k.Fades(p); at > 0 && at <= p.Now {
		k.HasOwn, k.Own, k.Others, some = false, Share{}, k.Others[:0], true
	}
	return some
}

// fades reports whether the copy is dropped when it has died.
func (r *Other) fades(p *Part) bool { return !r.Mine && !p.IsLost(r.Origin) }

// Ends is when a key that exists does so no more, by itself: the last deadline of what makes it exist, 0 if that has none.
func (k *Key) Ends(p *Part) (deadline int64) {
	if k.HasOwn && k.Own.alive() && !k.Own.Wish.passed(p.Now) {
		if deadline = k.Own.Wish.Deadline; deadline <= 0 {
			return 0
		}
	}
	for i := range k.Others {
		r := &k.Others[i]
		if !r.counts(p) || !r.exists() || r.Wish.passed(p.Now) {
			continue
		}
		if r.Wish.Deadline <= 0 {
			return 0
		}
		deadline = max(deadline, r.Wish.Deadline)
	}
	return deadline
}

// Fades is when nothing is left to keep of a key that does not exist, by itself: when the last of its shares is dropped, 0 if any is not.
func (k *Key) Fades(p *Part) (deadline int64) {
	if k.HasOwn {
		if deadline = k.Own.keptUntil(k.Own.alive()); deadline == 0 {
			return 0
		}
	}
	for i := range k.Others {
		r := &k.Others[i]
		at := r.keptUntil(r.Live || r.Hinted)
		if !r.fades(p) || at == 0 {
			return 0
		}
		deadline = max(deadline, at)
	}
	return deadline
}

// find returns where the copy of an origin's share is, or belongs.
func (k *Key) find(o Origin) (i int, ok bool) {
	return slices.BinarySearchFunc(k.Others, o, func(r Other, o Origin) int { return int(r.Origin) - int(o) })
}

// other returns the copy of an origin's share, nil if there is none.
func (k *Key) other(o Origin) *Other {
	if i, ok := k.find(o); ok {
		return &k.Others[i]
	}
	return nil
}

func (k *Key) put(r Other) {
	i, ok := k.find(r.Origin)
	if !ok {
		k.Others = slices.Insert(k.Others, i, r)
	}
	k.Others[i] = r
}

func (k *Key) remove(o Origin) {
	if i, ok := k.find(o); ok {
		k.Others = slices.Delete(k.Others, i, i+1)
	}
}
