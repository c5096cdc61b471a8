package pulsar

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/quipu"
)

const (
	watchTime  = time.Second            // between two looks at what happens by itself
	retryTime  = time.Second            // and up to twice as long: before a partition is tried again that another connector has
	againTime  = 100 * time.Millisecond // before one is taken again that was just given up
	doLimit    = 5 * time.Second        // for a question to Quipu that is asked again anyway
	chunkMost  = 1000                   // records
	chunkBytes = 1 << 20
)

// source is a topic while it is counted. One goroutine for each partition (part) tries to be the one that counts it.
type source struct {
	*count.Job
	tuning
	client pulsar.Client
	life   context.Context //nolint:containedctx // of Run: a transaction on its way is let land

	mu    sync.Mutex
	parts []*part
}

// Run counts the topic until ctx is done; then other connectors get the partitions at once. It also returns when it should be
// run again, because the topic has other partitions than before. An error is one that no repetition mends.
func Run(ctx context.Context, job *count.Job) error {
	return run(ctx, job, usual)
}

// tuning is what tests change.
type tuning struct {
	patience time.Duration     // for what is missing
	list     time.Duration     // between two looks at which partitions there are
	change   func(*link) *link // a consumer
}

var usual = tuning{15 * time.Second, 10 * time.Second, func(l *link) *link { return l }}

func run(ctx context.Context, job *count.Job, tuning tuning) error {
	if strings.HasPrefix(job.Source.Topic, "non-persistent:") {
		return fmt.Errorf("topic %s keeps nothing, so it cannot be counted exactly", job.Source.Topic)
	}
	client, err := connect(job.Source, job.Log)
	if err != nil {
		return err
	}
	defer client.Close()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	s := &source{Job: job, tuning: tuning, client: client, life: life}
	names, err := s.start(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var counting sync.WaitGroup
	s.watch(ctx, names, func(p *part) { counting.Go(func() { p.run(ctx) }) })
	stop()
	counting.Wait()
	for _, p := range s.parts { // the next run may have others
		s.Board.Forget(p.name)
	}
	return nil
}

func (s *source) open(topic string, durable bool, ahead int) (*link, error) {
	l, err := subscribe(s.client, topic, subscription(s.Source), durable, ahead)
	if err != nil {
		return nil, err
	}
	return s.change(l), nil
}

// start learns which partitions there are, and has it written down. It goes on until it can.
func (s *source) start(ctx context.Context) (names []string, err error) {
	report := s.Board.Report(s.Source.Name)
	for ctx.Err() == nil {
		if names, err = s.client.TopicPartitions(s.Source.Topic); err == nil {
			err = s.begin(ctx, names)
		}
		if err == nil || errors.Is(err, quipu.ErrNotTaken) {
			return names, err
		}
		broken(report, err)
		pause(ctx, retryTime)
	}
	return nil, nil
}

// pause waits for a time between d and 2 d: connectors that were started together do not stay in step.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d + rand.N(d)):
	}
}

// begin has it written down where the partitions began.
func (s *source) begin(ctx context.Context, names []string) error {
	return s.Begin(ctx, newIncarnation(), func() ([]count.Position, error) {
		list := make([]count.Position, len(names))
		for i, topic := range names {
			first := beginning
			if s.Source.Start == config.StartLatest {
				var err error
				if first, err = s.latest(topic); err != nil {
					return nil, err
				}
			}
			list[i].At = first.String()
		}
		return list, nil
	})
}

// newIncarnation is a name for a topic that is seen for the first time: Pulsar has none. What it names is told from another topic by
// the record that was counted last, see mark.
func newIncarnation() string { return "since-" + time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

// latest is the place behind the last record.
func (s *source) latest(topic string) (place, error) {
	l, err := s.open(topic, false, 1)
	if err != nil {
		return place{}, err
	}
	defer l.Close()
	last, err := l.last()
	if err != nil || last.entry < 0 {
		return beginning, err
	}
	return place{last.ledger, last.entry, whole, 0}, nil
}

// watch starts a goroutine for each partition, and for those that are added, until ctx is done or partitions are other ones.
func (s *source) watch(ctx context.Context, names []string, start func(*part)) {
	tick := time.NewTicker(watchTime)
	defer tick.Stop()
	listed := time.Now()
	for {
		if !s.add(names, start) {
			s.Log.Info("the topic has other partitions", "topic", s.Source.Topic)
			return
		}
		s.sum()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(listed) < s.list {
			continue
		}
		listed = time.Now()
		if list, err := s.client.TopicPartitions(s.Source.Topic); err == nil { // else the partitions say what is wrong
			names = list
		}
	}
}

// add starts what is new; false: what was there is another one now, or not there any more.
func (s *source) add(names []string, start func(*part)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(names) < len(s.parts) {
		return false
	}
	for i, topic := range names {
		switch {
		case i == len(s.parts):
			p := &part{source: s, topic: topic, name: s.Partition(i)}
			s.parts = append(s.parts, p)
			start(p)
		case s.parts[i].topic != topic:
			return false
		}
	}
	return true
}

// sum says of the whole source how it does.
func (s *source) sum() {
	s.mu.Lock()
	defer s.mu.Unlock()
	report := s.Board.Report(s.Source.Name)
	var first error
	for _, p := range s.parts {
		err := p.trouble.Load()
		if err == nil {
			report.Set(count.Counting, "")
			return
		}
		if first == nil {
			first = *err
		}
	}
	broken(report, first)
}
