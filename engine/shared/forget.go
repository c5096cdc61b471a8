package shared

// Forgetting a lost origin. What it has counted stays in the values for good, and with that what is needed to tell others of a
// later reset. What can go, once all regions have heard the same of it, is what stands for nothing: resets that took away
// all that it had counted, and shares that have died. They are kept because a region that has heard less may tell of that
// again; from now on it is not heard about that origin, so nothing comes back. A region that has not heard of such a reset
// by then goes on counting what the others do not.

// forgetDead is how long a share has been dead when it is forgotten, in ms of log time: clocks of regions differ, and a
// wish that was asked for in time by one of them may still be on its way.
const forgetDead = 3_600_000

// HasForgotten reports whether an origin is forgotten: it is lost, and nobody is heard about it any more.
func (p *Part) HasForgotten(o Origin) bool { return p.Forgotten>>o&1 != 0 }

// Forget forgets a lost origin, or again, what has come to nothing since. It returns how many shares are dropped.
func Forget(p *Part, s Store, o Origin) (dropped int) {
	p.Forgotten |= 1 << o
	s.Each(func(_ []byte, k *Key) (write, changed bool) {
		buried := k.Bury(p)
		gone, settled := k.forget(p, o)
		if gone {
			dropped++
		}
		return buried || gone || settled, false
	})
	return dropped
}

// forget drops what stands for nothing of an origin's share, and else takes its reset for confirmed, as all regions have it.
func (k *Key) forget(p *Part, o Origin) (dropped, settled bool) {
	r := k.other(o)
	switch {
	case r == nil:
		return false, false
	case r.Wish.passed(p.Now - forgetDead), r.Hinted && !r.exists(), !r.counts(p):
		k.remove(o)
		return true, false
	case r.Hinted:
		r.Hinted, r.Mine, r.Live = false, false, true
		return false, true
	}
	return false, false
}
