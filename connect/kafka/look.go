package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// ground is what the broker says of a topic at one moment.
type ground struct {
	id     string          // of the topic; another one if it is created anew
	first  map[int32]int64 // the first offset that is still there, by partition
	end    map[int32]int64 // behind the last
	stable map[int32]int64 // the first of a transaction that has not ended, or end: nothing behind it can be read
}

// noTopic is the answer for a topic that does not exist.
type noTopic struct{ name string }

func (n *noTopic) Error() string { return "topic " + n.name + " does not exist" }

// look asks the broker.
func look(ctx context.Context, admin *kadm.Client, topic string) (*ground, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	detail, found := topics[topic]
	if !found || unknownTopic(detail.Err) {
		return nil, &noTopic{topic}
	}
	if detail.Err != nil {
		return nil, detail.Err
	}
	g := &ground{id: detail.ID.String()}
	for _, ask := range []struct {
		into *map[int32]int64
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
	}{{&g.first, admin.ListStartOffsets}, {&g.stable, admin.ListCommittedOffsets}, {&g.end, admin.ListEndOffsets}} {
		listed, err := ask.list(ctx, topic)
		if err != nil {
			return nil, err
		}
		if *ask.into, err = offsets(listed, topic, len(detail.Partitions)); err != nil {
			return nil, err
		}
	}
	return g, nil
}

const lookLimit = 5 * time.Second

func offsets(listed kadm.ListedOffsets, topic string, partitions int) (map[int32]int64, error) {
	m := map[int32]int64{}
	for _, o := range listed[topic] {
		if o.Err != nil {
			return nil, fmt.Errorf("partition %d of %s: %w", o.Partition, topic, o.Err)
		}
		m[o.Partition] = o.Offset
	}
	if len(m) != partitions {
		return nil, fmt.Errorf("the broker knows %d of %d partitions of %s", len(m), partitions, topic)
	}
	return m, nil
}

func (s *source) look(ctx context.Context) (*ground, error) { return look(ctx, s.admin, s.topic) }
