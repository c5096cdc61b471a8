package kafka

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/count"
)

// readAgainLimit is how long a broker may send nothing while there must be more.
const readAgainLimit = time.Minute

// again reads partitions again, by themselves: no group hears of it.
type again struct {
	client *kgo.Client
	topic  string
	parts  map[int32]*stretch
}

// stretch is one partition while it is read again.
type stretch struct {
	name string // in Quipu
	next int64  // the offset of the next record
	rest []*kgo.Record
}

// openAgain begins to read partitions at offsets, or at the first record that is still there.
func openAgain(ctx context.Context, job *count.Job, from map[string]int64) (count.Reader, error) {
	opts, err := connection(job.Source)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // a place may be behind a marker, with nothing behind that
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(fetchWait), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(partitionBytes),
		kgo.MaxDecompressBatchBytes(decompressLimit))...)
	if err != nil {
		return nil, err
	}
	a := &again{client: client, topic: job.Source.Topic, parts: map[int32]*stretch{}}
	if err := a.begin(ctx, from); err != nil {
		client.Close()
		return nil, err
	}
	return a, nil
}

func (a *again) begin(ctx context.Context, from map[string]int64) error {
	g, err := look(ctx, kadm.NewClient(a.client), a.topic)
	if err != nil {
		return err
	}
	offsets := map[int32]kgo.Offset{}
	for name, at := range from {
		_, text, _ := strings.Cut(name, "/")
		number, err := strconv.ParseInt(text, 10, 32)
		first, known := g.first[int32(number)]
		if err != nil || !known {
			return fmt.Errorf("topic %s has no partition %q", a.topic, text)
		}
		p := &stretch{name: name, next: max(at, first)}
		a.parts[int32(number)] = p
		offsets[int32(number)] = kgo.NewOffset().At(p.next)
	}
	a.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{a.topic: offsets})
	return nil
}

// Close implements count.Reader.
func (a *again) Close() { a.client.Close() }

// ReadTo implements count.Reader.
func (a *again) ReadTo(ctx context.Context, to map[string]int64, each func(partition string, r count.Record)) error {
	for {
		var there, more []int32
		for number, p := range a.parts {
			if p.hand(to[p.name], each) {
				there = append(there, number)
			} else {
				more = append(more, number)
			}
		}
		if len(more) == 0 {
			return nil
		}
		a.client.PauseFetchPartitions(map[string][]int32{a.topic: there})
		a.client.ResumeFetchPartitions(map[string][]int32{a.topic: more})
		if err := a.fetch(ctx, more, to); err != nil {
			return err
		}
	}
}

// hand hands over what is fetched up to an offset, and reports whether that is reached. A record behind it says that there is nothing more
// before it.
func (p *stretch) hand(to int64, each func(partition string, r count.Record)) bool {
	for len(p.rest) > 0 && p.rest[0].Offset < to {
		r := p.rest[0]
		p.rest[0], p.rest = nil, p.rest[1:]
		p.next = r.Offset + 1
		if !r.Attrs.IsControl() {
			each(p.name, count.Record{Value: r.Value, At: count.Coord{A: r.Offset, Epoch: r.LeaderEpoch}})
		}
	}
	if len(p.rest) > 0 {
		p.next = max(p.next, to)
	}
	return p.next >= to
}

// fetch waits for more records of partitions that are to be read to certain offsets.
func (a *again) fetch(ctx context.Context, of []int32, to map[string]int64) error {
	limited, cancel := context.WithTimeout(ctx, readAgainLimit)
	defer cancel()
	fetches := a.client.PollRecords(limited, pollMost)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		p := a.parts[of[0]]
		return fmt.Errorf("%s: the broker has sent nothing for %v, though %d is not reached (at %d)", p.name, readAgainLimit, to[p.name], p.next)
	}
	for _, e := range fetches.Errors() {
		return fmt.Errorf("%s/%d: %w", e.Topic, e.Partition, e.Err)
	}
	fetches.EachRecord(func(r *kgo.Record) {
		if p := a.parts[r.Partition]; p != nil {
			p.rest = append(p.rest, r)
		}
	})
	return nil
}
