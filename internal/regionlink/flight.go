package regionlink

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Frames are sent without waiting for the answers to those before: what changed just behind a frame would wait for a round trip, 300 ms between
// continents, before it is sent at all. Each pipeline is a *flight*, on a connection of its own, so that answers need no order; frames may overtake
// each other then, and come behind a gap, or the answer may be lost. Nothing of that has to be avoided: the answer says how far the other region is, and what is missing
// is sent again, from there.
//
// Where much is under way, flights are one after the other: the other region is busy with what it has, and what changes meanwhile is in one row.
type flight struct {
	kind   flightKind
	number uint64
	pipe   redis.Pipeliner
	table  []any
	parts  []int // of each frame
	whole  int64
	bytes  int
	acked  *[Parts]uint64 // where answers are noted, nil: the frames are not of this region itself

	begun   time.Time
	from    int64 // log time then
	took    time.Duration
	replies []redis.Cmder
	err     error
}

// flightKind says what a flight is settled by.
type flightKind uint8

const (
	flightFrames   flightKind = iota
	flightSketches            // frames of sketches
	flightDigest              // frames, and digests behind them
	flightRepair              // full parts where digests differed
	flightPing
)

const (
	flightsMost   = 4         // of frames, at once
	flightsBeside = 3         // others: sketches, a comparison, a question whether anybody is there
	flightsBytes  = 256 << 10 // of frames under way: beyond, no other flight begins
)

func (s *session) flight(kind flightKind) *flight {
	return &flight{kind: kind, pipe: s.client.Pipeline(), table: s.link.source.Table(), acked: &s.acked.Counters}
}

func (f *flight) add(s *session, part int, frame []byte, whole bool) {
	what := "MERGE"
	if whole {
		what = "WHOLE"
		f.whole++
	}
	f.pipe.Do(context.Background(), append([]any{"REGION", what, s.name, s.inc, part, frame}, f.table...)...)
	f.parts = append(f.parts, part)
	f.bytes += len(frame)
}

// full reports whether nothing more is sent until something has been answered.
func (s *session) full() bool { return s.frames >= flightsMost || s.bytes >= flightsBytes }

// launch sends a flight, which lands when it is answered.
func (s *session) launch(ctx context.Context, f *flight) error {
	if err := s.depart(f); err != nil {
		return err
	}
	s.flights++
	go func() {
		f.fly(ctx)
		s.landed <- f
	}()
	return nil
}

// do sends a flight and settles it.
func (s *session) do(ctx context.Context, f *flight) error {
	if err := s.depart(f); err != nil {
		return err
	}
	f.fly(ctx)
	return s.arrive(f)
}

func (s *session) depart(f *flight) error {
	if _, state, ok := s.link.source.Hello(); f.acked != nil && (!ok || state != s.state) {
		return errAnew // what the frames have may be of another history than that of the mark
	}
	s.number++
	f.number = s.number
	s.weigh(f, 1)
	f.begun, f.from = time.Now(), s.link.source.Now()
	return nil
}

// weigh counts a flight that departs, or with -1 one that has landed.
func (s *session) weigh(f *flight, n int) {
	if f.kind == flightFrames {
		s.frames += n
		s.bytes += n * f.bytes
	}
	s.telling += int64(n) * f.whole
	s.link.update(func(st *Status) { st.Telling = s.telling })
}

func (f *flight) fly(ctx context.Context) {
	f.replies, f.err = f.pipe.Exec(ctx)
	f.took = time.Since(f.begun)
}

// settle takes the answers to a flight that was launched.
func (s *session) settle(ctx context.Context, f *flight) error {
	s.flights--
	if err := s.arrive(f); err != nil {
		return err
	}
	switch f.kind {
	case flightSketches:
		s.sketching = false
	case flightDigest:
		return s.judge(ctx, f)
	case flightRepair:
		s.comparing.now.Repaired = len(f.parts)
		return s.compared(ctx)
	}
	return nil
}

// arrive notes what the answers say.
func (s *session) arrive(f *flight) error {
	s.weigh(f, -1)
	l := s.link
	gaps, rows, now := int64(0), int64(0), int64(0)
	for i, cmd := range f.replies[:min(len(f.parts), len(f.replies))] {
		reply, failed := cmd.(*redis.Cmd).Slice()
		if failed != nil {
			return failed
		}
		at, n := int64(0), int64(0)
		if len(reply) != frameAnswer || !whole(reply[1], &at) || !whole(reply[2], &n) || !whole(reply[3], &now) {
			return errors.New("the answer to a frame makes no sense")
		}
		gap := reply[0] == "gap"
		if rows += n; gap {
			gaps++
		}
		s.note(f, f.parts[i], uint64(at), gap)
		s.spent += time.Duration(n) * mergeCost
	}
	if f.err != nil {
		return f.err
	}
	s.heard(f.took)
	if f.kind == flightFrames {
		s.spent += flightCost
	}
	if len(f.parts) > 0 {
		l.compare(f.from, now)
	}
	l.update(func(st *Status) {
		st.Acked = s.acked
		st.Rows += rows
		st.Frames += int64(len(f.parts))
		st.Whole += f.whole
		st.Bytes += int64(f.bytes)
		st.Gaps += gaps
		if f.kind == flightSketches {
			st.Sketches += int64(len(f.parts))
		}
	})
	return nil
}

// note notes how far the other region is with a part. What is missing there is sent again, once: other flights that were under way behind the
// gap find the same one.
func (s *session) note(f *flight, part int, at uint64, gap bool) {
	switch {
	case f.acked == nil:
	case f.kind == flightSketches: // one after the other
		f.acked[part] = at
	case !gap:
		f.acked[part] = max(f.acked[part], at)
	case f.number >= s.back[part]:
		f.acked[part], s.told[part] = at, at
		s.back[part] = s.number + 1
	}
}

// lost sends what this region has of those that are lost.
func (s *session) lost(ctx context.Context) error {
	anew := func() *flight {
		f := s.flight(flightFrames)
		f.acked = nil
		return f
	}
	for _, number := range s.link.source.Lost() {
		f := anew()
		for part := range Parts {
			f.add(s, part, s.link.source.LostFrame(part, number), true)
			for rest := (Rest{}); ; {
				frame := s.link.source.LostSketches(part, number, &rest)
				if len(frame) == 0 {
					break
				}
				f.add(s, part, frame, false)
			}
			if f.bytes > window || part == Parts-1 {
				if err := s.do(ctx, f); err != nil {
					return err
				}
				f = anew()
			}
		}
	}
	return nil
}

// turn sends what has changed, as much as may be under way at once, and whatever else it is time for.
func (s *session) turn(ctx context.Context) error {
	f := s.flight(flightFrames)
	for n := 0; n < Parts && f.bytes < window; n++ {
		if !s.compares(s.part) {
			if err := s.tell(f, s.part, s.told[s.part]); err != nil {
				return err
			}
		}
		s.part = (s.part + 1) % Parts
	}
	if len(f.parts) > 0 {
		if err := s.launch(ctx, f); err != nil {
			return err
		}
	}
	if err := s.sendSketches(ctx); err != nil {
		return err
	}
	if err := s.digests(ctx); err != nil {
		return err
	}
	if s.flights == 0 && time.Since(s.asked) > pingEvery {
		f := &flight{kind: flightPing, pipe: s.client.Pipeline()}
		f.pipe.Ping(ctx)
		return s.launch(ctx, f)
	}
	return nil
}

// tell adds what has changed of a part behind a position.
func (s *session) tell(f *flight, part int, from uint64) error {
	begun := time.Now()
	frame, whole, to := s.link.source.Frame(part, from)
	s.spent += time.Since(begun)
	switch {
	case len(frame) > 0:
		f.add(s, part, frame, whole)
		s.told[part] = to
	case to < from:
		return errors.New("this region's data went back")
	}
	return nil
}

// sendSketches sends what has changed of sketches, as much as may be sent by now.
func (s *session) sendSketches(ctx context.Context) error {
	if s.sketching || time.Now().Before(s.sketchTime) {
		return nil
	}
	f := s.flight(flightSketches)
	f.acked = &s.acked.Sketches
	for n := 0; n < Parts && f.bytes < sketchWindow; n++ {
		part := s.sketchPart
		if frame := s.link.source.Sketches(part, s.acked.Sketches[part], &s.rests[part]); len(frame) > 0 {
			f.add(s, part, frame, false)
		}
		s.sketchPart = (part + 1) % Parts
	}
	if len(f.parts) == 0 {
		return nil
	}
	s.sketchTime = time.Now().Add(time.Duration(f.bytes) * time.Second / sketchRate)
	s.sketching = true
	return s.launch(ctx, f)
}

// whole stores what is a whole number.
func whole(v any, to *int64) (ok bool) {
	*to, ok = v.(int64)
	return ok
}
