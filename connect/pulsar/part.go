package pulsar

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// part is one partition, which this process counts, or would like to.
type part struct {
	*source
	topic   string
	name    string                // in Quipu
	doubt   *doubt                // what was missing when it was asked for again
	trouble atomic.Pointer[error] // why nothing is known of it; nil: it is counted, here or elsewhere
}

// doubt is a record that came instead of the one behind a place.
type doubt struct {
	behind place
	came   spot
}

// errAgain has a partition begin again at what Quipu stores.
var errAgain = errors.New("again")

// halted is why a partition is not counted any more until a person has looked.
type halted struct {
	state  count.State // "": the report says it already
	reason string
}

func (h *halted) Error() string { return h.reason }

// run tries to count the partition until ctx is done.
func (p *part) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.turn(ctx)
		wait := retryTime
		var trouble *error
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
		case errors.Is(err, errAgain):
			wait = againTime
		case busy(err):
			p.Board.Forget(p.name)
		default:
			if errors.Is(err, errLost) {
				wait = againTime
			}
			trouble = &err
			broken(p.Board.Report(p.name), err)
		}
		p.trouble.Store(trouble)
		pause(ctx, wait)
	}
}

// turn counts the partition for as long as this process has it.
func (p *part) turn(ctx context.Context) error {
	l, err := p.open(p.topic, true, 1)
	if err != nil {
		return err
	}
	defer func() {
		if l != nil {
			l.Close()
		}
	}()
	p.trouble.Store(nil)
	s := &seat{part: p, link: l, report: p.Board.Report(p.name), room: make(chan struct{}, 1)}
	err = s.prepare(ctx)
	if err == nil {
		l.Close() // it has sought
		if l, err = p.open(p.topic, true, queueSize); err != nil {
			return err
		}
		s.link = l
		err = s.count(ctx)
	}
	var stop *halted
	if !errors.As(err, &stop) {
		return err
	}
	if stop.state != "" {
		s.report.Set(stop.state, stop.reason)
	}
	return s.wait(ctx)
}

// seat is a partition while this process has it.
type seat struct {
	*part
	link   *link
	worker *count.Partition
	report *count.Report
	room   chan struct{} // the worker takes more

	incarnation, stored string // what Quipu stores
	position            count.Position

	last  place // behind the last record that was handed to the worker
	known bool  // the consumer has handed out the record before last, or there is none to be seen
	acked place

	since time.Time // records are missing; zero: none are
	came  spot      // instead of them
}

// prepare reads where the partition is, and has the broker go there.
func (s *seat) prepare(ctx context.Context) error {
	incarnation, text, found, err := s.Quipu.Position(ctx, s.name, s.report.Waits)
	if err != nil {
		return err
	}
	s.incarnation, s.stored = incarnation, text
	if found {
		s.position, err = parsePosition(text)
	} else { // it was added to the topic, see begin
		s.incarnation, s.position = newIncarnation(), count.Position{At: beginning.String()}
	}
	if err == nil {
		s.last, err = parse(s.position.At)
	}
	if err != nil {
		return &halted{count.Failed, err.Error()}
	}
	s.known = s.last.mark == 0
	last, err := s.link.last()
	switch {
	case err != nil:
		return err
	case s.last.ahead(last) < 0:
		return s.another(fmt.Sprintf("the topic ends at %s", last))
	}
	return s.link.Seek(s.last.id())
}

// another is what is said of a topic that does not have the record that was counted last.
func (s *seat) another(what string) error {
	return &halted{count.NewIncarnation, fmt.Sprintf("%s does not have the message %s that was counted last (%s): it was deleted and "+
		"created again, or the broker has deleted what was not acknowledged; quipu-connect accept %s begins with what is there now",
		s.topic, s.last, what, s.name)}
}

// wait returns when somebody has moved the partition (quipu-connect accept). Until then it is kept, so that no other connector comes
// to the same end.
func (s *seat) wait(ctx context.Context) error {
	stored := quipu.Stored{Name: s.name, Incarnation: s.incarnation, Position: s.stored}
	if s.worker != nil {
		stored.Position = s.worker.Stored
	}
	tick := time.NewTicker(watchTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, doLimit)
		incarnation, text, found, err := s.Quipu.Position(limited, s.name, nil)
		cancel()
		if now := (quipu.Stored{Name: s.name, Incarnation: incarnation, Position: text}); err == nil && (found || s.stored != "") && now != stored {
			s.Log.Info("a partition that had stopped was moved", "partition", s.name, "position", text)
			return errAgain
		}
	}
}
