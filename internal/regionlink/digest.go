package regionlink

import (
	"context"
	"errors"
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

// digests compares a part if it is time, or all if somebody waits for that.
func (s *session) digests(ctx context.Context) error {
	select {
	case c := <-s.link.checks:
		err := s.check(ctx, c)
		c.done <- err
		if errors.Is(err, errGivenUp) {
			return nil
		}
		return err
	default:
	}
	turn := &s.link.due
	if time.Now().Before(turn.at) {
		return nil
	}
	begun := time.Now()
	if turn.part++; turn.part >= Parts {
		turn.part = 0
	}
	spent, err := s.compare(ctx, []int{turn.part}, &Check{})
	turn.at = begun.Add(max(digestEvery, digestShare*spent))
	return err
}

// check compares all parts, some at a time.
func (s *session) check(ctx context.Context, c *check) error {
	var sum Check
	for first := 0; first < Parts; first += checkParts {
		if c.ctx.Err() != nil {
			return errGivenUp
		}
		var parts []int
		for part := first; part < first+checkParts; part++ {
			parts = append(parts, part)
		}
		_, err := s.compare(ctx, parts, &sum)
		s.link.mu.Lock()
		c.got = sum
		s.link.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// compare compares some parts, and tells those whole that differ. It returns how long it passed over keys. What is not told yet is told before the digest
// is sent: the other region has to be where it is true.
func (s *session) compare(ctx context.Context, parts []int, sum *Check) (spent time.Duration, err error) {
	src := s.link.source
	begun := time.Now()
	var under []any
	for _, part := range parts {
		under = append(under, src.BeginDigest(part))
	}
	spent = time.Since(begun)
	err = s.send(ctx)
	pipe := s.conn.Pipeline()
	var asked []int
	for i, part := range parts { // each, whatever has happened
		if digest := src.EndDigest(under[i]); digest != nil {
			pipe.Do(ctx, "REGION", "DIGEST", s.name, s.inc, part, digest)
			asked = append(asked, part)
		} else {
			sum.Elsewhere++
		}
	}
	if err != nil || len(asked) == 0 {
		return spent, err
	}
	from := src.Now()
	replies, err := pipe.Exec(ctx)
	if err != nil {
		return spent, err
	}
	return spent, s.judge(ctx, asked, replies, from, sum)
}

// judge does what the answers to digests ask for.
func (s *session) judge(ctx context.Context, parts []int, replies []redis.Cmder, from int64, sum *Check) error {
	q := s.pipeline()
	compared := 0
	for i, cmd := range replies {
		reply, err := cmd.(*redis.Cmd).Slice()
		if err != nil {
			return err
		}
		var buckets, differ, now int64
		if len(reply) != digestAnswer || !whole(reply[1], &buckets) || !whole(reply[2], &differ) || !whole(reply[3], &now) {
			return errors.New("the answer to a digest makes no sense")
		}
		s.link.compare(from, now)
		switch reply[0] {
		case "elsewhere":
			sum.Elsewhere++
		case "differs":
			compared++
			s.warn(parts[i], buckets, differ)
			q.add(parts[i], s.link.source.FullFrame(parts[i]), true)
		default:
			compared++
		}
	}
	sum.Compared += compared
	sum.Differ += len(q.parts)
	s.link.update(func(st *Status) {
		st.Digests += int64(compared)
		st.Differ += int64(len(q.parts))
	})
	err := q.exec(ctx, &s.acked.Counters)
	if err == nil {
		sum.Repaired += len(q.parts)
	}
	return err
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
