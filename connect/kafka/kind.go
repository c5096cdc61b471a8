package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// Kind is the topics of Kafka as sources.
var Kind = count.Kind{Run: Run, Look: lookAt, Fetch: fetch, Open: openAgain, Start: start}

// lookAt asks for the partitions of a topic, and where each would go on.
func lookAt(ctx context.Context, job *count.Job, stored map[string]quipu.Stored) ([]count.Seen, error) {
	opts, err := connection(job.Source)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	g, err := look(ctx, admin, job.Source.Topic)
	if err != nil {
		return nil, err
	}
	var list []count.Seen
	for number, first := range g.first {
		seen := count.Seen{
			Name: fmt.Sprintf("%s/%d", job.Source.Name, number), Incarnation: g.id, First: first, End: g.end[number],
			FirstAt: position(first, -1),
		}
		seen.GoOn = first
		if at, found := stored[seen.Name]; found && at.Incarnation == g.id {
			if seen.GoOn, err = agreed(ctx, admin, job.Source.Topic, number, at.Position); err != nil {
				return nil, err
			}
			seen.GoOn = min(max(seen.GoOn, first), g.end[number])
		}
		seen.GoOnAt = position(seen.GoOn, -1)
		list = append(list, seen)
	}
	slices.SortFunc(list, func(a, b count.Seen) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// agreed is how far the broker's log is the one that was counted: to the position, or to where it was cut off.
func agreed(ctx context.Context, admin *kadm.Client, topic string, number int32, text string) (int64, error) {
	at, _, _ := strings.Cut(text, " ")
	offset, epoch, err := parse(at)
	if err != nil || epoch < 0 {
		return offset, err
	}
	var ask kadm.OffsetForLeaderEpochRequest
	ask.Add(topic, number, epoch)
	answers, err := admin.OffsetForLeaderEpoch(ctx, ask)
	if err != nil {
		return 0, err
	}
	answer := answers[topic][number]
	if answer.Err != nil {
		return 0, answer.Err
	}
	if answer.EndOffset < 0 {
		return offset, nil
	}
	return min(offset, answer.EndOffset), nil
}

// fetch reads single records again.
func fetch(ctx context.Context, job *count.Job, partition string, at []count.Coord, each func(count.Record)) error {
	if len(at) == 0 {
		return nil
	}
	opts, err := connection(job.Source)
	if err != nil {
		return err
	}
	_, text, _ := strings.Cut(partition, "/")
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is no partition", partition)
	}
	topic, part := job.Source.Topic, int32(number)
	wanted := map[int64]bool{}
	for _, c := range at {
		wanted[c.A] = true
	}
	offsets := make([]int64, 0, len(wanted))
	for o := range wanted {
		offsets = append(offsets, o)
	}
	slices.Sort(offsets)
	client, err := kgo.NewClient(append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxPartitionBytes(1<<16), kgo.MaxDecompressBatchBytes(decompressLimit),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {part: kgo.NewOffset().At(offsets[0])}}))...)
	if err != nil {
		return err
	}
	defer client.Close()
	for len(offsets) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		reached := int64(-1)
		fetches.EachRecord(func(r *kgo.Record) {
			reached = r.Offset
			if wanted[r.Offset] {
				each(count.Record{Value: r.Value, At: count.Coord{A: r.Offset, Epoch: r.LeaderEpoch}})
			}
		})
		before := len(offsets)
		for len(offsets) > 0 && offsets[0] <= reached {
			offsets = offsets[1:]
		}
		if len(offsets) > 0 && len(offsets) < before { // over what nobody wants
			client.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {part: {Epoch: -1, Offset: offsets[0]}}})
		}
	}
	return nil
}
