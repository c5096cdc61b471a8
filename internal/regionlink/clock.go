package regionlink

import "time"

// Clock is how far the other region's log time is before this one's. It was read there somewhere between a question and its answer, and is
// taken for the middle; so it is off by half of what that took, at most.
type Clock struct {
	Known  bool
	Offset int64     // ms, negative: the other region's is behind
	Within int64     // ms
	at     time.Time // when it was asked
}

const clockKept = time.Minute // a comparison that took longer takes the place of one that is older

// better reports whether a comparison takes the place of an earlier one.
func (c *Clock) better(than *Clock) bool {
	return !than.Known || c.Within <= than.Within || c.at.Sub(than.at) > clockKept
}

// compared is what an answer says that has the other region's log time theirs; the question was asked at log time from, and it is now.
func compared(from, theirs, now int64, at time.Time) Clock {
	return Clock{Known: true, Offset: theirs - from - (now-from)/2, Within: (now - from + 1) / 2, at: at}
}

// compare notes what an answer says about the other region's clock.
func (l *Link) compare(from, theirs int64) {
	c := compared(from, theirs, l.source.Now(), time.Now())
	l.update(func(s *Status) {
		if c.better(&s.Clock) {
			s.Clock = c
		}
	})
}
