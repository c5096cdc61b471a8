package regionlink

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// Digests: does the other region have what this one has counted? Frames say what has changed, and trust that what was told before is there. So
// the link compares a part now and then, all of them once a minute, by REGION DIGEST. One that differs is a fault of the program or of a machine: it is
// logged, counted, and told whole, which makes it the same.

const (
	digestEvery = time.Minute / Parts
	digestShare = 50 // of the time, at most one part in so many passes over keys: with more than some 10 million of them all parts take longer than a minute
	checkParts  = 16 // compared at a time by a check
	warnEvery   = time.Minute
)

// digestTurn is which part is compared next, and when.
type digestTurn struct {
	part   int
	at     time.Time
	warned time.Time
}

// Check is what a comparison of all parts has come to.
type Check struct {
	Compared, Differ, Repaired int // parts; what differed was repaired by a full part
	Elsewhere                  int // parts that could not be compared: the other region was not where this one was
}

// check is somebody who waits for a Check.
type check struct {
	ctx  context.Context
	done chan error // of room 1
	got  Check      // under the link's mu
}

// ErrNotLinked is the error of Check while there is no link.
var ErrNotLinked = errors.New("there is no link")

// errGivenUp: nobody waits for the check any more. The link goes on.
var errGivenUp = errors.New("the check was given up")

// Check compares all parts now, and returns how far it came by the end of the context.
func (l *Link) Check(ctx context.Context) (Check, error) {
	c := &check{ctx: ctx, done: make(chan error, 1)}
	select {
	case l.checks <- c:
	case <-ctx.Done():
		if st := l.Status(); st.State != "connected" {
			return Check{}, ErrNotLinked
		}
		return Check{}, ctx.Err()
	}
	var err error
	select {
	case err = <-c.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.got, err
}

// comparison is some parts that are compared at the moment: one whose turn it is, or all of them, checkParts at a time, for a check.
type comparison struct {
	check *check // nil: nobody waits
	first int    // of a check: the part that is compared next, or just now
	parts []int
	begun time.Time
	spent time.Duration // on passing over keys
	asked []int         // those that could be compared
	sum   Check         // of the parts before these
	now   Check         // of these
}

// compares reports whether a part is compared just now. Nothing is told of it meanwhile: the digest is true of where the part is.
func (s *session) compares(part int) bool {
	return s.comparing != nil && slices.Contains(s.comparing.parts, part)
}

// digests compares a part if it is time.
func (s *session) digests(ctx context.Context) error {
	turn := &s.link.due
	if s.comparing != nil || time.Now().Before(turn.at) {
		return nil
	}
	if turn.part++; turn.part >= Parts {
		turn.part = 0
	}
	return s.compare(ctx, &comparison{parts: []int{turn.part}})
}

// compare begins a comparison, or goes on with a check: with its next parts, or, in another session, with those that it was at.
func (s *session) compare(ctx context.Context, c *comparison) error {
	if c.check != nil {
		c.parts = nil
		for part := c.first; part < c.first+checkParts; part++ {
			c.parts = append(c.parts, part)
		}
	}
	c.now = Check{}
	s.comparing = c
	src := s.link.source
	c.begun = time.Now()
	var under []any
	for _, part := range c.parts {
		under = append(under, src.BeginDigest(part))
	}
	c.spent = time.Since(c.begun)
	// What may not be there yet goes before the digest, in the same flight: the other region has to be where it is true.
	f := s.flight(flightDigest)
	var err error
	for _, part := range c.parts {
		if err == nil {
			err = s.tell(f, part, s.acked.Counters[part])
		}
	}
	c.asked = nil
	for i, part := range c.parts { // each, whatever has happened
		if digest := src.EndDigest(under[i]); digest != nil {
			f.pipe.Do(ctx, "REGION", "DIGEST", s.name, s.inc, part, digest)
			c.asked = append(c.asked, part)
		} else {
			c.now.Elsewhere++
		}
	}
	switch {
	case err != nil:
		return err
	case len(f.parts)+len(c.asked) == 0:
		return s.compared(ctx)
	}
	return s.launch(ctx, f)
}

// judge does what the answers to digests ask for.
func (s *session) judge(ctx context.Context, f *flight) error {
	c := s.comparing
	repair := s.flight(flightRepair)
	same := 0
	for i, cmd := range f.replies[len(f.parts):] {
		reply, err := cmd.(*redis.Cmd).Slice()
		if err != nil {
			return err
		}
		var buckets, differ, now int64
		if len(reply) != digestAnswer || !whole(reply[1], &buckets) || !whole(reply[2], &differ) || !whole(reply[3], &now) {
			return errors.New("the answer to a digest makes no sense")
		}
		s.link.compare(f.from, now)
		switch part := c.asked[i]; reply[0] {
		case "elsewhere":
			c.now.Elsewhere++
		case "differs":
			s.warn(part, buckets, differ)
			repair.add(s, part, s.link.source.FullFrame(part), true)
		default:
			same++
		}
	}
	differ := len(repair.parts)
	c.now.Compared, c.now.Differ = same+differ, differ
	s.link.update(func(st *Status) {
		st.Digests += int64(same + differ)
		st.Differ += int64(differ)
	})
	if differ == 0 {
		return s.compared(ctx)
	}
	return s.launch(ctx, repair)
}

// compared ends the comparison, or goes on with the next parts of a check.
func (s *session) compared(ctx context.Context) error {
	c := s.comparing
	if c.check == nil {
		s.link.due.at = c.begun.Add(max(digestEvery, digestShare*c.spent))
		s.comparing = nil
		return nil
	}
	c.first += checkParts
	c.sum.Compared += c.now.Compared
	c.sum.Differ += c.now.Differ
	c.sum.Repaired += c.now.Repaired
	c.sum.Elsewhere += c.now.Elsewhere
	s.link.mu.Lock()
	c.check.got = c.sum
	s.link.mu.Unlock()
	var err error
	if c.first < Parts {
		if err = c.check.ctx.Err(); err == nil {
			return s.compare(ctx, c)
		}
		err = errGivenUp
	}
	c.check.done <- err
	s.comparing = nil
	return nil
}

// abandon tells who waits for a check that it does not go on.
func (l *Link) abandon(err error) {
	if c := l.begun; c != nil {
		c.check.done <- err
	}
	l.begun = nil
}

const digestAnswer = 4

func (s *session) warn(part int, buckets, differ int64) {
	l := s.link
	if now := time.Now(); now.Sub(l.due.warned) > warnEvery {
		l.due.warned = now
		l.cfg.Log.Error("another region has not the same of what this one has counted, which is a fault of the program or of a machine: it is told the whole part. "+
			"Compare all with REGION CHECK; if that finds more, keep the data directories and report it", "region", l.cfg.Region, "part", part, "of_64_compared", buckets, "differ", differ)
	}
}
