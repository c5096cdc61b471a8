package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

const (
	watchTime  = time.Second     // between two looks at the broker
	commitTime = 5 * time.Second // between two commits to the group
	backOff    = time.Second     // without fetching, after an error
)

// watch looks at the topic again and again: where it ends, whether a transaction keeps it from being read, and whether
// it is still the same.
func (s *source) watch(ctx context.Context) {
	tick := time.NewTicker(watchTime)
	defer tick.Stop()
	committed := time.Now()
	for {
		g, err := s.look(ctx)
		for _, p := range s.all() {
			s.judge(ctx, p, g, err)
		}
		if report := s.Board.Report(s.Source.Name); err != nil && len(s.all()) == 0 {
			report.Set(stateOf(err), err.Error())
		} else if err == nil {
			report.Recover(count.NoBroker)
			report.Recover(count.NoTopic)
		}
		s.lookForHelp(ctx)
		if time.Since(committed) >= commitTime {
			committed = time.Now()
			s.commit(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func stateOf(err error) count.State {
	var none *noTopic
	if errors.As(err, &none) {
		return count.NoTopic
	}
	return count.NoBroker
}

// judge says of one partition what the broker's answer means for it.
func (s *source) judge(ctx context.Context, p *part, g *ground, err error) {
	now := p.report.Snapshot()
	if err != nil {
		if stateOf(err) == count.NoTopic || now.State == count.Counting || now.State == count.OpenTxn {
			p.report.Set(stateOf(err), err.Error())
		}
		return
	}
	end, known := g.end[p.number]
	switch {
	case g.id != p.id:
		s.post(func() { s.halt(p, count.NewIncarnation, newIncarnation(s.topic, g.id, p.id, s.Source.Name)) })
		return
	case !known:
		return
	}
	p.report.SetEnd(end)
	switch stuck := g.stable[p.number] < end && now.Place == g.stable[p.number]; {
	case stuck && (now.State == count.Counting || now.State == count.OpenTxn):
		p.report.Set(count.OpenTxn, s.openSince(ctx, p.number, g.stable[p.number]))
	case !stuck:
		p.report.Recover(count.OpenTxn)
	}
	p.report.Recover(count.NoBroker)
	if now.State == count.NoTopic {
		p.report.Recover(count.NoTopic)
		s.resumeLater(p, 0)
	}
}

// lookForHelp notices that somebody has moved a partition that has stopped (quipu-connect accept): then all begins anew.
func (s *source) lookForHelp(ctx context.Context) {
	for _, p := range s.all() {
		seen := p.seen.Load()
		if seen == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, lookLimit)
		incarnation, text, found, err := s.Quipu.Position(ctx, p.name, nil)
		cancel()
		if err == nil && found && (text != seen.Position || incarnation != seen.Incarnation) {
			s.Log.Info("a partition that had stopped was moved", "partition", p.name, "position", text)
			s.again()
		}
	}
}

// openSince says which producer keeps a transaction open.
func (s *source) openSince(ctx context.Context, number int32, at int64) string {
	text := fmt.Sprintf("a transaction that began at %d has not ended; what is behind it cannot be read", at)
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	var set kadm.TopicsSet
	set.Add(s.topic, number)
	described, err := s.admin.DescribeProducers(ctx, set)
	if err != nil {
		return text
	}
	for _, p := range described[s.topic].Partitions[number].ActiveProducers {
		if p.CurrentTxnStartOffset == at {
			return fmt.Sprintf("%s; producer %d wrote last %s ago", text, p.ProducerID, time.Since(time.UnixMilli(p.LastTimestamp)).Round(time.Second))
		}
	}
	return text
}

// failed judges the error of a fetch. The client would ask again at once, thousands of times a second: it is paused.
func (s *source) failed(p *part, err error) {
	var lost *kgo.ErrDataLoss
	var bomb *kgo.ErrDecompressTooLarge
	switch {
	case errors.As(err, &lost):
		s.gap(p, err.Error(), lost.ResetTo)
	case errors.Is(err, kerr.OffsetOutOfRange):
		s.halt(p, count.Gap, err.Error())
		go s.reseat(p) // which says what is missing
	case errors.As(err, &bomb):
		s.haltWith(p, func(w *count.Partition) { w.Finish(); <-w.Done() }, count.BadRecordState,
			fmt.Sprintf("the batch of records at %d decompresses to more than %d MiB; quipu-connect accept FILE %s -at %d goes on behind it",
				bomb.Offset, decompressLimit>>20, p.name, bomb.NextOffset))
	default:
		s.client.PauseFetchPartitions(s.only(p))
		p.report.Set(count.NoBroker, err.Error())
		if !unknownTopic(err) { // else judge finds out
			s.resumeLater(p, backOff)
		} else {
			p.report.Set(count.NoTopic, err.Error())
		}
	}
}

func unknownTopic(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition)
}

// resumeLater has a partition fetched again after a while.
func (s *source) resumeLater(p *part, after time.Duration) {
	time.AfterFunc(after, func() {
		s.post(func() {
			if s.part(p.number) == p && p.worker.Load() != nil {
				s.client.ResumeFetchPartitions(s.only(p))
			}
		})
	})
}

// halt stops a partition for good. Polling goroutine only.
func (s *source) halt(p *part, state count.State, reason string) {
	s.haltWith(p, (*count.Partition).Stop, state, reason)
}

// haltWith is halt where stop says what becomes of records that are fetched and not yet counted.
func (s *source) haltWith(p *part, stop func(*count.Partition), state count.State, reason string) {
	if s.part(p.number) != p {
		return
	}
	s.client.PauseFetchPartitions(s.only(p))
	if w := p.worker.Swap(nil); w != nil {
		go func() {
			stop(w)
			p.seen.Store(&quipu.Stored{Incarnation: p.id, Position: w.Stored})
			p.report.Set(state, reason)
		}()
		return
	}
	p.report.Set(state, reason)
}

// gap stops a partition whose log was cut off to offset to, or goes on there if that is to be accepted. Polling goroutine only.
func (s *source) gap(p *part, reason string, to int64) {
	if !s.Source.AcceptGap {
		s.halt(p, count.Gap, reason+"; "+acceptHint(s.Source.Name, p.number))
		return
	}
	w := p.worker.Swap(nil)
	if w == nil || s.part(p.number) != p {
		return
	}
	s.client.PauseFetchPartitions(s.only(p))
	go func() {
		w.Stop()
		again := &part{number: p.number, name: p.name, id: p.id, report: p.report, position: w.Position, stored: w.Stored, next: offsetOf(w.Position.At)}
		if to >= again.next { // what is cut off was not counted yet
			s.reseat(p)
			return
		}
		if err := s.skip(s.life, again, to, reason); err != nil {
			s.reseat(p)
			return
		}
		s.post(func() { s.replace(p, again) })
	}()
}

// commit tells the group how far the partitions are counted, for people who watch its lag. Nothing reads it back.
func (s *source) commit(ctx context.Context) { s.commitParts(ctx, s.all()) }

func (s *source) commitParts(ctx context.Context, list []*part) {
	if len(list) == 0 || s.Source.Group == "" {
		return
	}
	offsets := map[int32]kgo.EpochOffset{}
	for _, p := range list {
		if place := p.report.Snapshot().Place; place > 0 {
			offsets[p.number] = kgo.EpochOffset{Epoch: -1, Offset: place}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	s.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{s.topic: offsets}, nil) // an error concerns nobody's counts
}

// backoff is the pause between two tries.
type backoff struct{ last time.Duration }

func newBackoff() *backoff { return &backoff{last: 50 * time.Millisecond} }

// next waits; false: ctx is done.
func (b *backoff) next(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(b.last):
		b.last = min(2*b.last, 2*time.Second)
		return true
	}
}
