package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	posts     = 10_000
	eventSize = 106 // bytes
)

// event is a like of a post, in JSON of 106 bytes. Popularity is exponential: every post has a share of the likes that is a
// factor smaller than that of the one before, and the last has 1/3000 of the first.
func event(rnd *rand.Rand, now int64) (post string, value []byte) {
	n := int(rnd.ExpFloat64()*posts/8) % posts
	post = fmt.Sprintf("p%05d", 10_000+n)
	return post, like(post, rnd.IntN(1_000_000), now)
}

func like(post string, user int, now int64) []byte {
	return fmt.Appendf(nil, `{"event":"like","post_id":%q,"user_id":"u%08d","weight":1,"ts":%d,"client":"desktop"}`, post, user, now)
}

// fill writes events into a topic, as franz-go does it by default: idempotent, compressed by snappy.
func (b *broker) fill(ctx context.Context, topic string, n int, keyed bool) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	var once sync.Once
	var first error
	rnd, now := rand.New(rand.NewPCG(1, 2)), time.Now().UnixMilli()
	for range n {
		post, value := event(rnd, now)
		record := &kgo.Record{Value: value}
		if keyed {
			record.Key = []byte(post)
		}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	return errors.Join(client.Flush(ctx), first)
}

// flow writes events into a topic at a constant rate. They are encoded beforehand, so that writing takes little of the processor:
// on other days producers run elsewhere.
type flow struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	sent atomic.Int64
	err  atomic.Pointer[error]
}

const (
	flowEvery   = 20 * time.Millisecond // between two batches of a partition
	flowBatches = 20                    // different ones, used again and again
)

func (b *broker) startFlow(ctx context.Context, topic string, id kadm.TopicID, rate int) (*flow, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
	if err != nil {
		return nil, err
	}
	list, err := b.admin.ListTopics(ctx, topic)
	if err != nil {
		client.Close()
		return nil, err
	}
	perBatch := rate / partitions * int(flowEvery/time.Millisecond) / 1000
	rnd, now := rand.New(rand.NewPCG(3, 4)), time.Now().UnixMilli()
	var batches [flowBatches][]byte
	for i := range batches {
		values := make([][]byte, perBatch)
		for j := range values {
			_, values[j] = event(rnd, now)
		}
		batches[i] = encodeBatch(values, now)
	}
	ctx, stop := context.WithCancel(ctx)
	f := &flow{stop: stop}
	for _, p := range list[topic].Partitions {
		leader := client.Broker(int(p.Leader))
		send := func(n int) error {
			return produce(ctx, leader, topic, id, p.Partition, batches[(n+int(p.Partition))%flowBatches])
		}
		begin := time.Now().Add(time.Duration(p.Partition) * flowEvery / partitions)
		f.wg.Go(func() { f.run(ctx, begin, int64(perBatch), send) })
	}
	go func() {
		f.wg.Wait()
		client.Close()
	}()
	return f, nil
}

// run writes batch after batch into one partition, each at its time, or at once if that is over.
func (f *flow) run(ctx context.Context, next time.Time, events int64, send func(n int) error) {
	err := until(ctx, 10*time.Second, flowEvery, func() (bool, error) {
		err := send(0)
		if kerr.IsRetriable(err) { // a new topic
			return false, nil
		}
		return true, err
	})
	for n := 1; err == nil; n++ {
		f.sent.Add(events)
		next = next.Add(flowEvery)
		if pause(ctx, time.Until(next)) == nil {
			err = send(n)
		}
		if ctx.Err() != nil {
			return
		}
	}
	f.err.Store(&err)
}

// end stops the flow; an error if it has not flowed to the end.
func (f *flow) end() error {
	f.stop()
	f.wg.Wait()
	if err := f.err.Load(); err != nil {
		return fmt.Errorf("producing: %w", *err)
	}
	return nil
}

// produce writes one encoded batch.
func produce(ctx context.Context, leader *kgo.Broker, topic string, id kadm.TopicID, partition int32, batch []byte) error {
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, id, append(t.Partitions, p)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.Topics = -1, append(req.Topics, t)
	answer, err := leader.Request(ctx, req)
	if err != nil {
		return err
	}
	for _, t := range answer.(*kmsg.ProduceResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// encodeBatch is a batch of records without keys, not compressed, in Kafka's format 2.
func encodeBatch(values [][]byte, now int64) []byte {
	var records, record []byte
	for i, v := range values {
		record = append(record[:0], 0)                 // attributes
		record = binary.AppendVarint(record, 0)        // time, from that of the batch
		record = binary.AppendVarint(record, int64(i)) // offset, likewise
		record = binary.AppendVarint(record, -1)       // no key
		record = binary.AppendVarint(record, int64(len(v)))
		record = append(append(record, v...), 0) // no headers
		records = append(binary.AppendVarint(records, int64(len(record))), record...)
	}
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(len(values) - 1), FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(values)), Records: records,
	}
	const lengthEnd, crcEnd = 12, 21 // bytes before what the length and the checksum are of
	encoded := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(encoded[lengthEnd-4:], uint32(len(encoded)-lengthEnd))
	binary.BigEndian.PutUint32(encoded[crcEnd-4:], crc32.Checksum(encoded[crcEnd:], crc32.MakeTable(crc32.Castagnoli)))
	return encoded
}
