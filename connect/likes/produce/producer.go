package produce

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Producer brings likes into the topic.
//
// Its promise is that each like is there once. Apache Kafka promises that to an idempotent producer, which numbers its batches:
// the broker knows their numbers also after kill -9, and does not take one twice. kfake forgets them when it is killed. So for
// kfake the promise is kept from the other side: this is the topic's only producer, so a partition's end says what has arrived.
// A batch is sent once, one a partition at a time; if its answer is lost, the partition is asked for its end, and only what is
// not in it is sent again. (That is what INGEST does for Quipu: the position is the truth. kfake answers one request after
// the other, and its death ends those that it has not answered, so the end does not move any more when we are told of it.)
type Producer struct {
	Ledger *Ledger

	topic  string
	client *kgo.Client
	admin  *kadm.Client
	ends   []int64 // by partition: where the next like goes; touched by Run only

	mu      sync.Mutex
	waiting []Like
	wake    chan struct{} // capacity 1
	flying  int           // likes that Run has taken and not finished
	trouble error         // why the last batch was not taken, nil if it was
}

const (
	waitingMax = 100_000 // likes that wait for the broker; the firehose stops at that many
	clicksMax  = 10_000  // more that a page may add
	roundMax   = 8000    // likes sent at once: a partition's part fits into one batch
	askPause   = 100 * time.Millisecond
	openLimit  = time.Minute
)

// ErrFull is that so many likes wait for the broker that no more are taken.
var ErrFull = errors.New("too many likes are waiting for the broker")

// Open makes the topic and returns its producer. idempotent says that the broker remembers producers when it is killed.
func Open(ctx context.Context, broker, topic string, partitions int, idempotent bool) (*Producer, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ManualFlushing(), kgo.MaxBufferedRecords(4 * roundMax),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
	if !idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	p := &Producer{
		Ledger: newLedger(), topic: topic, client: client, admin: kadm.NewClient(client), ends: make([]int64, partitions), wake: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	segment := "16777216" // bytes; a broker deletes whole segments
	configs := map[string]*string{"segment.bytes": &segment}
	if _, err = p.admin.CreateTopic(ctx, int32(partitions), 1, configs, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		client.Close()
		return nil, fmt.Errorf("make the topic %s: %w", topic, err)
	}
	return p, nil
}

// Close ends the connections.
func (p *Producer) Close() { p.client.Close() }

// Offer takes likes to be sent. Those of the firehose leave room for clicks.
func (p *Producer) Offer(click bool, likes ...Like) error {
	limit := waitingMax
	if click {
		limit += clicksMax
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting)+len(likes) > limit {
		return ErrFull
	}
	p.waiting = append(p.waiting, likes...)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

// Waiting is how many likes are not known to be in the topic yet, and why, if the broker did not take the last ones.
func (p *Producer) Waiting() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) + p.flying, p.trouble
}

// Run sends what is offered until ctx ends, or something happens that must not.
func (p *Producer) Run(ctx context.Context) error {
	for {
		likes := p.take()
		if len(likes) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-p.wake:
				continue
			}
		}
		if err := p.send(ctx, likes); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		p.mu.Lock()
		p.flying = 0
		p.mu.Unlock()
	}
}

func (p *Producer) take() []Like {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.waiting), roundMax)
	likes := p.waiting[:n:n]
	if p.waiting = p.waiting[n:]; len(p.waiting) == 0 {
		p.waiting = nil
	}
	p.flying = n
	return likes
}

// send returns when all likes are in the topic.
func (p *Producer) send(ctx context.Context, likes []Like) error {
	lanes := make([][]Like, len(p.ends))
	for _, like := range likes {
		lane := like.partition(len(lanes))
		lanes[lane] = append(lanes[lane], like)
	}
	for {
		failures := p.round(ctx, lanes)
		var trouble error
		left := 0
		for lane, failure := range failures {
			if len(lanes[lane]) == 0 {
				continue
			}
			arrived := len(lanes[lane])
			if failure != nil {
				trouble = failure
				var err error
				if arrived, err = p.arrived(ctx, lane, len(lanes[lane])); err != nil {
					return err
				}
			}
			p.ends[lane] += int64(arrived)
			p.Ledger.add(lanes[lane][:arrived])
			lanes[lane] = lanes[lane][arrived:]
			left += len(lanes[lane])
		}
		p.mu.Lock()
		p.flying, p.trouble = left, trouble
		p.mu.Unlock()
		if left == 0 {
			return nil
		}
	}
}

// round sends each lane to its partition as one batch, and says what went wrong with it.
func (p *Producer) round(ctx context.Context, lanes [][]Like) []error {
	failures := make([]error, len(lanes))
	var mu sync.Mutex
	for lane, likes := range lanes {
		for i, like := range likes {
			want := p.ends[lane] + int64(i)
			p.client.Produce(ctx, &kgo.Record{Partition: int32(lane), Value: like.append(nil)}, func(r *kgo.Record, err error) {
				if err == nil && r.Offset != want {
					err = fmt.Errorf("a like went to offset %d of partition %d and not to %d", r.Offset, r.Partition, want)
				}
				if err != nil {
					mu.Lock()
					failures[lane] = err
					mu.Unlock()
				}
			})
		}
	}
	if err := p.client.Flush(ctx); err != nil {
		for lane := range failures {
			failures[lane] = err
		}
	}
	return failures
}

// arrived is how many of the n likes that were sent to a partition are in it. It waits for the broker.
func (p *Producer) arrived(ctx context.Context, lane, n int) (int, error) {
	for {
		list, err := p.admin.ListEndOffsets(ctx, p.topic)
		end, found := list.Lookup(p.topic, int32(lane))
		if err == nil && found && end.Err == nil {
			arrived := end.Offset - p.ends[lane]
			if arrived < 0 || arrived > int64(n) {
				return 0, fmt.Errorf("partition %d of the topic ends at %d, and not between %d and %d: the broker has lost or doubled likes",
					lane, end.Offset, p.ends[lane], p.ends[lane]+int64(n))
			}
			return int(arrived), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(askPause):
		}
	}
}

// InTopic asks the broker how many likes the topic has.
func (p *Producer) InTopic(ctx context.Context) (int64, error) {
	ends, err := p.admin.ListEndOffsets(ctx, p.topic)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) {
		total += o.Offset
		if o.Err != nil {
			err = o.Err
		}
	})
	return total, err
}

// Trim lets the broker delete what is more than keep likes before the given offsets. It should keep some: kfake, if it is killed
// while a partition holds nothing, begins at offset 0 again.
func (p *Producer) Trim(ctx context.Context, before map[int32]int64, keep int64) error {
	offsets := kadm.Offsets{}
	for partition, at := range before {
		if at > keep {
			offsets.AddOffset(p.topic, partition, at-keep, -1)
		}
	}
	done, err := p.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return err
	}
	return done.Error()
}
