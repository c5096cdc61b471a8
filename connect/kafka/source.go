package kafka

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

const (
	pollMost        = 20_000           // records handed over at once
	sessionTime     = 6 * time.Second  // after which a connector that is gone loses its partitions
	rebalanceTime   = 10 * time.Second // for handing over
	fetchWait       = 500 * time.Millisecond
	fetchBytes      = 4 << 20   // buffered of each broker
	partitionBytes  = 256 << 10 // of one partition in a fetch: what is fetched of a paused one is dropped, and fetched again
	decompressLimit = 64 << 20  // of one batch of records
	leaveLimit      = 5 * time.Second
)

// source is one topic while it is counted.
type source struct {
	*count.Job
	client *kgo.Client
	admin  *kadm.Client
	topic  string
	open   chan struct{} // closed when client and admin are there: the client calls assigned from when it is made

	mu     sync.Mutex
	parts  map[int32]*part
	events []func()           // for the polling goroutine
	wake   context.CancelFunc // of its wait
	again  context.CancelFunc // ends Run
	life   context.Context    //nolint:containedctx // of Run, for partitions that the group assigns
}

// part is one partition that this process reads.
type part struct {
	number   int32
	name     string // in Quipu
	report   *count.Report
	worker   atomic.Pointer[count.Partition] // nil: it has stopped
	next     int64                           // the offset of the next record
	id       string                          // of the topic
	position count.Position
	stored   string
	seen     atomic.Pointer[quipu.Stored] // what Quipu stored when it stopped for good; nil: it has not
}

// Run counts the topic until ctx is done; then it hands the partitions over. It also returns when it should be run again, because
// somebody has moved a partition that had stopped. An error is one that no repetition mends.
func Run(ctx context.Context, job *count.Job) error {
	s := &source{Job: job, topic: job.Source.Topic, parts: map[int32]*part{}, open: make(chan struct{})}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // a transaction on its way is let land
	defer end()
	s.life = life
	opts, err := s.options()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	s.client, s.admin = client, kadm.NewClient(client)
	close(s.open)
	defer client.Close()
	var watching sync.WaitGroup
	ctx, s.again = context.WithCancel(ctx)
	defer watching.Wait()
	defer s.again()
	watching.Go(func() { s.watch(ctx) })
	if s.Source.Group == "" {
		if err := s.assignAll(ctx); err != nil {
			return err
		}
	}
	s.poll(ctx)
	s.leave()
	return nil
}

func (s *source) options() ([]kgo.Opt, error) {
	opts, err := connection(s.Source)
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // markers let the position go on behind them
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // a gap is an error, never skipped in silence
		kgo.FetchMaxWait(fetchWait), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(partitionBytes),
		kgo.MaxDecompressBatchBytes(decompressLimit),
	)
	if s.Source.Group == "" {
		return opts, nil
	}
	opts = append(opts,
		kgo.ConsumerGroup(s.Source.Group), kgo.ConsumeTopics(s.topic), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(sessionTime), kgo.RebalanceTimeout(rebalanceTime),
		kgo.HeartbeatInterval(time.Second),
		kgo.AdjustFetchOffsetsFn(s.assigned), kgo.OnPartitionsRevoked(s.revoked), kgo.OnPartitionsLost(s.revoked),
	)
	if s.Instance != "" {
		opts = append(opts, kgo.InstanceID(s.Instance))
	}
	return opts, nil
}

// poll hands records over until ctx is done. It never waits for a partition: a rebalance must not wait either.
func (s *source) poll(ctx context.Context) {
	for ctx.Err() == nil {
		wait, cancel := context.WithCancel(ctx)
		s.mu.Lock()
		if s.wake = cancel; len(s.events) > 0 {
			cancel()
		}
		s.mu.Unlock()
		fetches := s.client.PollRecords(wait, pollMost)
		cancel()
		fetches.EachPartition(s.handOver)
		for _, event := range s.takeEvents() {
			event()
		}
		s.client.AllowRebalance()
	}
}

// post has the polling goroutine run event between two polls, when no fetched records are on their way to a partition: there, and only
// there, the place that a partition is read from may be changed.
func (s *source) post(event func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
	if s.wake != nil {
		s.wake()
	}
}

func (s *source) takeEvents() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	return events
}

func (s *source) part(number int32) *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts[number]
}

// handOver gives fetched records to their partition.
//
// Offsets that are left out between two records belong to aborted transactions, or were compacted away: with read committed the
// broker's answer has everything else. An offset below the expected one means that the log was cut off.
func (s *source) handOver(f kgo.FetchTopicPartition) {
	p := s.part(f.Partition)
	if p == nil {
		return
	}
	worker := p.worker.Load()
	switch {
	case worker == nil:
		return
	case f.Err != nil:
		s.failed(p, f.Err)
		return
	case len(f.Records) == 0:
		return
	}
	records := make([]count.Record, len(f.Records))
	for i, r := range f.Records {
		if r.Offset < p.next {
			s.gap(p, fmt.Sprintf("the log was cut off: record %d came where %d was expected", r.Offset, p.next), r.Offset)
			return
		}
		records[i] = count.Record{
			Value: r.Value, At: count.Coord{A: r.Offset, Epoch: r.LeaderEpoch}, Skipped: r.Offset - p.next, Marker: r.Attrs.IsControl(),
		}
		p.next = r.Offset + 1
	}
	p.report.Recover(count.NoBroker)
	if worker.Push(records) {
		s.client.PauseFetchPartitions(s.only(p))
	}
}

func (s *source) only(p *part) map[string][]int32 { return map[string][]int32{s.topic: {p.number}} }

// leave ends all partitions, and tells the group, which gives them to others at once.
func (s *source) leave() {
	s.stop(s.all())
	ctx, cancel := context.WithTimeout(s.life, leaveLimit)
	defer cancel()
	s.commit(ctx)
	if s.Source.Group != "" {
		_ = s.client.LeaveGroupContext(ctx) // else the broker notices after sessionTime
	}
}

func (s *source) all() []*part {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*part, 0, len(s.parts))
	for _, p := range s.parts {
		list = append(list, p)
	}
	return list
}

// stop lets what is on its way land, for all partitions at once.
func (s *source) stop(list []*part) {
	var ending sync.WaitGroup
	for _, p := range list {
		if w := p.worker.Load(); w != nil {
			ending.Go(w.Stop)
		}
	}
	ending.Wait()
}
