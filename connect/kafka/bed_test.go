package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/internal/testbed"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bed is a broker in this process and a server of Quipu in another.
type bed struct {
	*testing.T
	broker *kfake.Cluster
	server *testbed.Quipu
	redis  *redis.Client
	kafka  *kgo.Client
	admin  *kadm.Client
}

func newBed(t *testing.T, partitions int32, opts ...kfake.Opt) *bed {
	broker, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(partitions, "likes")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	b := &bed{T: t, broker: broker, server: testbed.StartQuipu(t, 1)}
	b.redis = b.server.Client(0)
	b.kafka = b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	b.admin = kadm.NewClient(b.kafka)
	return b
}

func (b *bed) client(opts ...kgo.Opt) *kgo.Client {
	b.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.broker.ListenAddrs()...), kgo.MetadataMinAge(10*time.Millisecond))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return client
}

// like is n records "somebody likes post".
func likes(partition int32, post string, n int) (list []*kgo.Record) {
	for i := range n {
		list = append(list, &kgo.Record{
			Topic: "likes", Partition: partition, Value: fmt.Appendf(nil, `{"event":"like","post_id":%q,"user_id":"u%d"}`, post, i),
		})
	}
	return list
}

func (b *bed) produce(records ...*kgo.Record) {
	b.Helper()
	if err := b.kafka.ProduceSync(b.Context(), records...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

const settings = `source likes
  kafka %s
  topic likes
  %s
  INCRBY likes:{post_id} 1
quipu %s
`

// job reads a configuration of one source; more are further lines.
func (b *bed) job(more string) *count.Job {
	b.Helper()
	cfg, err := config.Parse("test.conf", fmt.Appendf(nil, settings, b.broker.ListenAddrs()[0], more, b.server.Addrs[0]))
	if err != nil {
		b.Fatal(err)
	}
	program, err := mapping.Compile(cfg.Sources[0])
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(b.Output(), nil))
	client := quipu.New(cfg.Quipu.Nodes, quipu.Access{})
	b.Cleanup(client.Close)
	return &count.Job{Source: cfg.Sources[0], Program: program, Quipu: client, Log: log, Board: &count.Board{Log: log}}
}

const group = "group likes-counters"

// run counts until the test ends or stop is called.
func (b *bed) run(job *count.Job) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := Run(ctx, job); err != nil {
				b.Errorf("Run: %v", err)
				return
			}
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	b.Cleanup(stop)
	return stop
}

// await waits until a partition is as wanted.
func (b *bed) await(job *count.Job, name string, what string, wanted func(s count.Snapshot) bool) count.Snapshot {
	b.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s := job.Board.Report(name).Snapshot()
		if wanted(s) {
			return s
		}
		if time.Now().After(end) {
			b.Fatalf("%s: not %s after 15 s: %+v", name, what, s)
		}
	}
}

func (b *bed) awaitCounted(job *count.Job, name string, n int64) count.Snapshot {
	b.Helper()
	return b.await(job, name, fmt.Sprintf("%d records counted", n), func(s count.Snapshot) bool { return s.Position.Counted >= n })
}

func (b *bed) awaitState(job *count.Job, name string, state count.State) count.Snapshot {
	b.Helper()
	return b.await(job, name, string(state), func(s count.Snapshot) bool { return s.State == state })
}

// expect compares counters.
func (b *bed) expect(want map[string]int64) {
	b.Helper()
	for key, n := range want {
		got, err := b.redis.Get(b.Context(), key).Int64()
		if err == redis.Nil { //nolint:errorlint // the library's own way
			err = nil
		}
		if err != nil || got != n {
			b.Errorf("%s is %d, %v, want %d", key, got, err, n)
		}
	}
}

// exact checks the identity of a partition.
func (b *bed) exact(s count.Snapshot) {
	b.Helper()
	if off := s.Off(); off != 0 {
		b.Errorf("%s: the identity is off by %d: %+v", s.Name, off, s.Position)
	}
}
