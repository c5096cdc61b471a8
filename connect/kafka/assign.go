package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/quipu"
)

// assigned is told which partitions the group gives to this process, and says where each is read from: Quipu knows.
func (s *source) assigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	if len(offsets[s.topic]) == 0 {
		return offsets, nil
	}
	<-s.open
	g, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx, g); err != nil {
		return nil, err
	}
	for number := range offsets[s.topic] {
		p, err := s.seat(ctx, g, number)
		if err != nil {
			return nil, err
		}
		_, epoch, _ := parse(p.position.At)
		offsets[s.topic][number] = kgo.NewOffset().At(p.next).WithEpoch(epoch)
		s.mu.Lock()
		s.parts[number] = p
		s.mu.Unlock()
		if p.worker.Load() == nil {
			s.client.PauseFetchPartitions(s.only(p))
		} else {
			s.client.ResumeFetchPartitions(s.only(p)) // an earlier assignment may have left it paused
		}
	}
	return offsets, nil
}

// assignAll is assigned without a group: the configuration says which partitions.
func (s *source) assignAll(ctx context.Context) error {
	offsets := map[string]map[int32]kgo.Offset{s.topic: {}}
	for _, number := range s.Source.Partitions {
		offsets[s.topic][number] = kgo.Offset{}
	}
	for wait := newBackoff(); ; {
		placed, err := s.assigned(ctx, offsets)
		if err == nil {
			s.client.AddConsumePartitions(placed)
			return nil
		}
		s.Board.Report(s.Source.Name).Set(count.NoBroker, err.Error())
		if !wait.next(ctx) {
			return nil
		}
	}
}

// revoked is told which partitions go to others. What is on their way lands before, so that the next owner rarely finds its first
// transaction refused; it would do no harm.
func (s *source) revoked(ctx context.Context, _ *kgo.Client, lost map[string][]int32) {
	<-s.open
	var gone []*part
	s.mu.Lock()
	for _, number := range lost[s.topic] {
		if p := s.parts[number]; p != nil {
			gone = append(gone, p)
			delete(s.parts, number)
		}
	}
	s.mu.Unlock()
	s.stop(gone)
	s.commitParts(ctx, gone)
	for _, p := range gone {
		s.Board.Forget(p.name)
	}
}

// begin has it written down where the partitions began.
func (s *source) begin(ctx context.Context, g *ground) error {
	return s.Begin(ctx, g.id, func() ([]count.Position, error) {
		list := make([]count.Position, len(g.first)) // partitions are numbered from 0
		for number, first := range g.first {
			if s.Source.Start == config.StartLatest {
				first = g.end[number]
			}
			list[number] = count.Position{At: position(first, -1), Start: first}
		}
		return list, nil
	})
}

func (s *source) name(number int32) string { return s.Partition(int(number)) }

// seat reads where a partition is, and begins to count there, unless it has to stop.
func (s *source) seat(ctx context.Context, g *ground, number int32) (*part, error) {
	p := &part{number: number, name: s.name(number), id: g.id}
	p.report = s.Board.Report(p.name)
	incarnation, text, found, err := s.Quipu.Position(ctx, p.name, p.report.Waits)
	if err != nil {
		return nil, err
	}
	first, known := g.first[number]
	if !known {
		return nil, fmt.Errorf("topic %s has no partition %d", s.topic, number)
	}
	p.position, p.stored = count.Position{At: position(first, -1), Start: first}, text
	if found {
		if p.position, err = count.ParsePosition(text, start); err != nil {
			p.seen.Store(&quipu.Stored{Incarnation: incarnation, Position: text})
			p.report.Set(count.Failed, err.Error())
			return p, nil
		}
	}
	p.next = offsetOf(p.position.At)
	switch {
	case found && incarnation != g.id:
		p.seen.Store(&quipu.Stored{Incarnation: incarnation, Position: text})
		p.report.Set(count.NewIncarnation, newIncarnation(s.topic, g.id, incarnation, s.Source.Name))
	case p.next < first || p.next > g.end[number]:
		return p, s.seatBehindGap(ctx, g, p)
	default:
		s.start(p)
	}
	return p, nil
}

func newIncarnation(topic, id, counted, source string) string {
	return fmt.Sprintf("topic %s was deleted and created again: its ID is %s, what is counted is of %s; "+
		"quipu-connect accept %s begins with the new one", topic, id, counted, source)
}

// seatBehindGap is for a position whose next record is gone (retention was faster), or not there yet (the log was cut off).
func (s *source) seatBehindGap(ctx context.Context, g *ground, p *part) error {
	to := g.first[p.number]
	reason := fmt.Sprintf("records %d to %d are gone from the broker and were not counted", p.next, to-1)
	if p.next > to {
		to = g.end[p.number]
		reason = fmt.Sprintf("the log ends at %d and was counted to %d: it was cut off, and %d counted records are no more", to, p.next, p.next-to)
	}
	if !s.Source.AcceptGap {
		p.seen.Store(&quipu.Stored{Incarnation: p.id, Position: p.stored})
		p.report.Set(count.Gap, reason+"; "+acceptHint(s.Source.Name, p.number))
		return nil
	}
	return s.skip(ctx, p, to, reason)
}

func acceptHint(source string, number int32) string {
	return fmt.Sprintf("quipu-connect accept %s/%d goes on behind them", source, number)
}

// skip moves the position over a gap; how many records it has is kept in the identity.
func (s *source) skip(ctx context.Context, p *part, to int64, reason string) error {
	next := p.position
	next.Lost += to - p.next
	next.At = position(to, -1)
	_, err := s.Quipu.Apply(ctx, &quipu.Transaction{
		Source: p.name, Incarnation: p.id, From: p.stored, To: next.String(), Commands: func(redis.Pipeliner) {},
	}, p.report.Waits)
	if err != nil {
		return err // also *quipu.Moved: the next try finds where it is now
	}
	s.Log.Warn("a gap was accepted", "partition", p.name, "reason", reason)
	p.position, p.stored, p.next = next, next.String(), to
	s.start(p)
	return nil
}

// start begins to count a partition that is seated.
func (s *source) start(p *part) {
	worker := count.Start(s.life, count.Settings{
		Name: p.name, Incarnation: p.id, Stored: p.stored, Position: p.position, Program: s.Program, Quipu: s.Quipu,
		Most: s.Source.Batch, Park: s.Source.Park, Place: place, Where: where, Number: offsetOf, Report: p.report,
		Room: func() { s.post(func() { s.client.ResumeFetchPartitions(s.only(p)) }) },
	})
	p.worker.Store(worker)
	go func() {
		if err := worker.Err(); err != nil {
			s.post(func() { s.ended(p, worker, err) })
		}
	}()
}

// ended is told that a partition does not count any more although nobody has stopped it.
func (s *source) ended(p *part, worker *count.Partition, err error) {
	if s.part(p.number) != p || !p.worker.CompareAndSwap(worker, nil) {
		return // it has gone to another process meanwhile
	}
	s.client.PauseFetchPartitions(s.only(p))
	var moved *quipu.Moved
	if errors.As(err, &moved) { // another connector has counted meanwhile
		s.Log.Info("the position was moved by another connector", "partition", p.name, "position", moved.Position)
		go s.reseat(p)
		return
	}
	p.seen.Store(&quipu.Stored{Incarnation: p.id, Position: worker.Stored})
}

// reseat has a partition that has stopped go on where Quipu says.
func (s *source) reseat(p *part) {
	for wait := newBackoff(); ; {
		g, err := s.look(s.life)
		var again *part
		if err == nil {
			again, err = s.seat(s.life, g, p.number)
		}
		if err == nil {
			s.post(func() { s.replace(p, again) })
			return
		}
		p.report.Set(count.NoBroker, err.Error())
		if !wait.next(s.life) {
			return
		}
	}
}

// replace puts a newly seated partition in the place of one that has stopped.
func (s *source) replace(old, p *part) {
	s.mu.Lock()
	current := s.parts[old.number] == old
	if current {
		s.parts[old.number] = p
	}
	s.mu.Unlock()
	if !current || p.worker.Load() == nil {
		s.stop([]*part{p})
		return
	}
	_, epoch, _ := parse(p.position.At)
	s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{s.topic: {p.number: {Epoch: epoch, Offset: p.next}}})
	s.client.ResumeFetchPartitions(s.only(p))
}
