package regionlink

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"
)

// question is what the other region was asked, and not answered yet.
type question struct {
	what, frame string
	answer      chan string
}

// asked is a region that answers when a test says so, and how much was under way at once.
type asked struct {
	*otherRegion
	source      *fakeSource
	questions   chan question
	under, most atomic.Int64
}

func newAsked(t *testing.T) *asked {
	a := &asked{source: &fakeSource{}, questions: make(chan question)}
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	a.otherRegion = newOtherRegion(t, func(args []string) string {
		if args[1] == "HELLO" {
			return helloReply(0, 0)
		}
		n := a.under.Add(1)
		for most := a.most.Load(); n > most && !a.most.CompareAndSwap(most, n); most = a.most.Load() {
		}
		defer a.under.Add(-1)
		q := question{args[1], args[5], make(chan string)}
		select {
		case a.questions <- q:
		case <-over:
			return ""
		}
		select {
		case reply := <-q.answer:
			return reply
		case <-over:
			return ""
		}
	})
	return a
}

// next is what is asked next.
func (a *asked) next(t *testing.T, what, frame string) question {
	t.Helper()
	select {
	case q := <-a.questions:
		if q.what != what || q.frame != frame {
			t.Fatalf("asked %s %s, not %s %s", q.what, q.frame, what, frame)
		}
		return q
	case <-time.After(10 * time.Second):
		t.Fatalf("never asked %s %s", what, frame)
		return question{}
	}
}

// link is a link to the region that compares nothing by itself.
func (a *asked) link() *Link {
	l := New(Config{Region: "us", Addresses: []string{a.addr}, Interval: time.Millisecond, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, a.source)
	l.due.at = time.Now().Add(time.Hour)
	return l
}

// TestFlights: what changes is told while the answers to what was told before are under way, but for so many; and what is missing behind a gap is told
// again, once.
func TestFlights(t *testing.T) {
	a := newAsked(t)
	s, l := a.source, a.link()
	startLink(t, l)
	tell := func(pos uint64, frame string) question {
		t.Helper()
		s.move(pos, false)
		return a.next(t, "MERGE", frame)
	}
	first, second, third, fourth := tell(1, "0-1"), tell(2, "1-2"), tell(3, "2-3"), tell(4, "3-4")
	s.move(5, false) // nothing, until something is answered
	third.answer <- frameReply("gap", 0, 1, 0)
	again := a.next(t, "MERGE", "0-5") // all that is missing
	second.answer <- frameReply("gap", 0, 1, 0)
	s.pass(t) // it is not told once more
	first.answer <- frameReply("applied", 1, 1, 0)
	again.answer <- frameReply("applied", 5, 5, 0)
	eventually(t, "the answer", func() bool { return l.Status().Acked.Counters[3] == 5 })
	fourth.answer <- frameReply("old", 4, 1, 0) // answers have no order
	eventually(t, "the last answer", func() bool { return l.Status().Frames == 5 })
	if st := l.Status(); st.Acked.Counters[3] != 5 || st.Gaps != 2 || a.most.Load() != flightsMost {
		t.Errorf("%d, %d gaps, %d under way at once", st.Acked.Counters[3], st.Gaps, a.most.Load())
	}
	tell(6, "5-6").answer <- frameReply("gap", 2, 0, 0) // another gap, behind the first one
	a.next(t, "MERGE", "2-6").answer <- frameReply("applied", 6, 1, 0)
	eventually(t, "the rest", func() bool { return l.Status().Acked.Counters[3] == 6 })
}

// beginCheck has all parts compared, and returns where the result will be.
func beginCheck(t *testing.T, l *Link) <-chan Check {
	result := make(chan Check, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		got, err := l.Check(ctx)
		if err != nil {
			t.Error(err)
		}
		result <- got
	}()
	return result
}

// TestFlightOfDigest: a digest is behind all that the other region may lack, whatever else is under way, and nothing more is told of its part until it
// has been answered.
func TestFlightOfDigest(t *testing.T) {
	a := newAsked(t)
	s, l := a.source, a.link()
	startLink(t, l)
	s.move(1, false)
	first := a.next(t, "MERGE", "0-1")
	s.digests.Store(true)
	result := beginCheck(t, l)
	again := a.next(t, "MERGE", "0-1")
	again.answer <- frameReply("applied", 1, 1, 0)
	digest := a.next(t, "DIGEST", "digest")
	s.move(2, false)
	s.pass(t)
	if n := a.under.Load(); n != 2 {
		t.Errorf("%d questions under way beside a digest", n)
	}
	digest.answer <- frameReply("same", 64, 1, 0)
	next := a.next(t, "MERGE", "1-2")
	next.answer <- frameReply("applied", 2, 1, 0)
	first.answer <- frameReply("old", 2, 1, 0)
	if got := <-result; got != (Check{Compared: 1, Elsewhere: 255}) {
		t.Errorf("%+v", got)
	}
}

// TestFlightsEnd: a link whose node leads no more ends at once, whatever is under way.
func TestFlightsEnd(t *testing.T) {
	a := newAsked(t)
	s, l := a.source, a.link()
	startLink(t, l)
	s.move(1, true)
	a.next(t, "WHOLE", "0-1")
	checked := make(chan error, 1)
	go func() {
		_, err := l.Check(context.Background())
		checked <- err
	}()
	s.digests.Store(true)
	a.next(t, "WHOLE", "0-1")
	begun := time.Now()
	s.idle.Store(true)
	eventually(t, "the link to rest", func() bool { return l.Status().State == "idle" })
	if time.Since(begun) > askLimit/2 {
		t.Error("the link has waited for an answer")
	}
	if err := <-checked; err == nil {
		t.Error("a check that is not over has ended well")
	}
	if st := l.Status(); st.Telling != 0 {
		t.Errorf("%d whole parts under way", st.Telling)
	}
}

// TestCheckGoesOn: a check goes on where HELLO has to be said anew meanwhile, and what is under way then is answered first.
func TestCheckGoesOn(t *testing.T) {
	a := newAsked(t)
	s, l := a.source, a.link()
	startLink(t, l)
	s.other.Store(200)
	s.digests.Store(true)
	result := beginCheck(t, l)
	digest := a.next(t, "DIGEST", "digest")
	s.state.Add(1)
	digest.answer <- frameReply("same", 64, 1, 0)
	a.next(t, "DIGEST", "digest").answer <- frameReply("same", 64, 1, 0)
	if got := <-result; got != (Check{Compared: 2, Elsewhere: 254}) {
		t.Errorf("%+v", got)
	}
}
