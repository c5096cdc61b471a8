package pulsar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/redis/go-redis/v9"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// count counts what the consumer hands out until ctx is done (nil), or the partition has to begin again or to stop (an error).
func (s *seat) count(ctx context.Context) error {
	s.worker = count.Start(s.life, count.Settings{
		Name: s.name, Incarnation: s.incarnation, Stored: s.stored, Position: s.position, Program: s.Program, Quipu: s.Quipu,
		Most: s.Source.Batch, Park: s.Source.Park, Place: placeOf, Where: where, Report: s.report,
		Room: func() { s.room <- struct{}{} },
	})
	defer s.leave()
	tick := time.NewTicker(watchTime)
	defer tick.Stop()
	messages := s.link.Chan()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-s.link.lost:
			err = errLost
		case <-s.worker.Done():
			err = s.ended()
		case <-s.room:
			messages = s.link.Chan()
		case <-tick.C:
			err = s.watch()
		case m := <-messages:
			var full bool
			if full, err = s.take(ctx, m); full {
				messages = nil // the broker is the buffer
			}
		}
		var g *gap
		if errors.As(err, &g) {
			err = s.pass(ctx, g.came)
		}
		if err != nil {
			return err
		}
	}
}

// leave lets what is on its way land, and acknowledges it.
func (s *seat) leave() {
	s.worker.Stop()
	s.acknowledge()
}

// take hands a message to the worker, together with those that wait behind it.
func (s *seat) take(ctx context.Context, m pulsar.ConsumerMessage) (full bool, err error) {
	messages := s.link.Chan()
	records := make([]count.Record, 0, min(chunkMost, len(messages)+1))
	for size := 0; ; {
		var counts bool
		at := spotOf(m.ID(), m.PublishTime())
		if counts, err = s.judge(ctx, at); err != nil {
			break
		}
		if counts {
			s.last = at.behind()
			records = append(records, count.Record{Value: m.Payload(), At: at.coord()})
			size += len(m.Payload())
		}
		if len(records) == chunkMost || size >= chunkBytes || len(messages) == 0 {
			break
		}
		m = <-messages // nobody else takes any
	}
	if len(records) > 0 {
		full = s.worker.Push(records)
	}
	return full, err
}

// judge reports whether a message is the next one to be counted.
func (s *seat) judge(ctx context.Context, m spot) (counts bool, err error) {
	sure := false
	switch s.last.judge(m) {
	case duplicate:
		if m.ledger == s.last.ledger && m.entry == s.last.entry && s.last.mark != 0 {
			if m.mark != s.last.mark {
				return false, s.another("another one is in its place")
			}
			s.known = true
		}
		return false, nil
	case missing:
		if s.doubt != nil && *s.doubt == (doubt{s.last, m}) {
			return false, &gap{m}
		}
		s.miss(m, "")
		return false, nil
	case follows:
		sure = s.known
	}
	if !sure {
		if counts, err = s.ask(ctx, m); !counts {
			return false, err
		}
	}
	s.known = true
	if !s.since.IsZero() {
		s.since = time.Time{}
		s.report.Recover(count.Missing)
	}
	return true, nil
}

// ask has a reader say whether a message is the next one.
func (s *seat) ask(ctx context.Context, m spot) (bool, error) {
	seen, next, err := look(ctx, s.client, s.topic, subscription(s.Source), s.last, true)
	switch {
	case err != nil:
		return false, err
	case !seen && !s.known: // else it is the same topic: a consumer does not outlive its topic
		return false, s.another(fmt.Sprintf("the next one is %s", next))
	case next != m: // no gap of the topic: the reader has what is missing
		s.miss(m, fmt.Sprintf(", though the topic has %s", next))
		return false, nil
	}
	return true, nil
}

// gap is a gap that is believed: the same was missing when it was asked for again.
type gap struct{ came spot }

func (g *gap) Error() string { return "records are missing before " + g.came.String() }

// miss notes that records are missing.
func (s *seat) miss(came spot, more string) {
	if s.since.IsZero() {
		s.since, s.came = time.Now(), came
		s.report.Set(count.Missing, fmt.Sprintf("%s came behind %s%s; it is not counted, and what is missing is asked for again in %v",
			came, s.last, more, s.patience))
	}
}

// watch is done once a second.
func (s *seat) watch() error {
	s.acknowledge()
	last, err := s.link.last()
	if err != nil {
		return err
	}
	now := s.report.Snapshot()
	at, _ := parse(now.Position.At)
	ahead := at.ahead(last)
	if ahead < 0 {
		return errAgain // prepare says what that means
	}
	s.report.SetEnd(now.Done + ahead)
	if !s.since.IsZero() && time.Since(s.since) >= s.patience {
		s.doubt = &doubt{s.last, s.came}
		return errAgain
	}
	return nil
}

// acknowledge tells the broker what is counted, but for the last entry, see mark: its ledger is kept for that, and people see a
// backlog of one entry.
func (s *seat) acknowledge() {
	at, err := parse(s.report.Snapshot().Position.At)
	if err == nil && at.entry > 0 && at != s.acked {
		s.acked = at
		_ = s.link.AckIDCumulative(pulsar.NewMessageID(at.ledger, at.entry-1, -1, 0)) // if it gets lost, records come again
	}
}

// ended says what follows when the worker has ended by itself.
func (s *seat) ended() error {
	err := s.worker.Err()
	var moved *quipu.Moved
	switch {
	case err == nil:
		return errAgain
	case errors.As(err, &moved):
		s.Log.Info("the position was moved by another connector", "partition", s.name, "position", moved.Position)
		return errAgain
	}
	return &halted{"", err.Error()}
}

// pass moves the position over a gap, once everything before it is counted, or stops there.
func (s *seat) pass(ctx context.Context, came spot) error {
	s.worker.Finish()
	select {
	case <-s.worker.Done():
	case <-ctx.Done():
		return nil
	}
	if s.worker.Err() != nil {
		return s.ended()
	}
	lost := s.last.lost(came)
	reason := fmt.Sprintf("%d or more records between %s and %s are missing", lost, s.last, came)
	if !s.Source.AcceptGap {
		return &halted{count.Gap, fmt.Sprintf("%s; quipu-connect accept %s goes on behind them", reason, s.name)}
	}
	next := s.worker.Position
	next.Lost += lost
	next.At = came.before().String()
	_, err := s.Quipu.Apply(ctx, &quipu.Transaction{
		Source: s.name, Incarnation: s.incarnation, From: s.worker.Stored, To: next.String(), Commands: func(redis.Pipeliner) {},
	}, s.report.Waits)
	var moved *quipu.Moved
	switch {
	case err == nil:
		s.Log.Warn("a gap was accepted", "partition", s.name, "reason", reason)
	case !errors.As(err, &moved):
		return &halted{count.Failed, err.Error()}
	}
	return errAgain
}
