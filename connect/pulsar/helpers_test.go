package pulsar

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/redis/go-redis/v9"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/internal/testbed"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bed is what the tests share: a broker, a node, a client of each.
type bed struct {
	broker *testbed.Pulsar
	node   *testbed.Quipu
	client pulsar.Client
	redis  *redis.Client
}

func newBed(t *testing.T) *bed {
	b := &bed{broker: testbed.StartPulsar(t), node: testbed.StartQuipu(t, 1)}
	var err error
	b.client, err = pulsar.NewClient(pulsar.ClientOptions{URL: b.broker.Addr, Logger: log.DefaultNopLogger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.client.Close)
	b.redis = b.node.Client(0)
	return b
}

// topic is one topic of a test, and the source that counts it.
type topic struct {
	*bed
	name  string
	parts int
	whole bool   // without partitions
	text  string // the configuration

	mu   sync.Mutex
	want map[string]int64 // by key, what was sent
}

// newTopic makes a topic, whose records are {"k":"a"}, and counts n:TOPIC:a.
func (b *bed) newTopic(t *testing.T, partitions int, settings ...string) *topic {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", " ", "-").Replace(t.Name()))
	b.broker.CreateTopic(t, name, partitions)
	p := &topic{bed: b, name: name, parts: max(1, partitions), whole: partitions == 0, want: map[string]int64{}}
	p.text = fmt.Sprintf("quipu %s\nsource %s\n  pulsar %s\n  topic %s\n", b.node.Addrs[0], name, b.broker.Addr, name)
	for _, s := range append(settings, "INCRBY n:"+name+":{k} 1") {
		p.text += "  " + s + "\n"
	}
	return p
}

func (p *topic) source(t *testing.T) *config.Source {
	t.Helper()
	cfg, err := config.Parse("test", []byte(p.text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Sources[0]
}

// connector is one that runs in the process of the test.
type connector struct {
	t     *testing.T
	job   *count.Job
	board *count.Board
	stop  func() // and wait for its end
}

// connect runs a connector.
func (p *topic) connect(t *testing.T, patience time.Duration, change func(*link) *link) *connector {
	t.Helper()
	c := p.job(t)
	if change == nil {
		change = usual.change
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := run(ctx, c.job, tuning{patience, time.Second, change}); err != nil {
				t.Errorf("the connector ended: %v", err)
				return
			}
		}
	}()
	c.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		c.job.Quipu.Close()
	})
	t.Cleanup(c.stop)
	return c
}

func (p *topic) job(t *testing.T) *connector {
	src := p.source(t)
	program, err := mapping.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	out := io.Writer(io.Discard)
	if testing.Verbose() {
		out = t.Output()
	}
	logger := slog.New(slog.NewTextHandler(out, nil))
	board := &count.Board{Log: logger}
	job := &count.Job{Source: src, Program: program, Quipu: quipu.New(p.node.Addrs, quipu.Access{}), Board: board, Log: logger}
	return &connector{t: t, job: job, board: board}
}

// snapshot is what the connector says of a partition.
func (c *connector) snapshot(number int) count.Snapshot {
	name := fmt.Sprintf("%s/%d", c.job.Source.Name, number)
	for _, s := range c.board.Snapshots() {
		if s.Name == name {
			return s
		}
	}
	return count.Snapshot{}
}

// state waits until a partition has a state, and returns what is said of it.
func (c *connector) state(number int, want count.State) count.Snapshot {
	c.t.Helper()
	var s count.Snapshot
	eventually(c.t, func() error {
		if s = c.snapshot(number); s.State != want {
			return fmt.Errorf("partition %d is %q: %s", number, s.State, s.Reason)
		}
		return nil
	})
	return s
}

// send sends n records with keys a to d to a partition (-1: to the topic), in batches, or each as an entry.
func (p *topic) send(t *testing.T, partition, n int, batches bool) {
	t.Helper()
	values := make([][]byte, n)
	for i := range values {
		values[i] = fmt.Appendf(nil, `{"k":"%c","n":%d}`, 'a'+i%4, i)
	}
	p.sendValues(t, partition, batches, values...)
}

func (p *topic) sendValues(t *testing.T, partition int, batches bool, values ...[]byte) {
	t.Helper()
	name := p.name
	if partition >= 0 {
		name = fmt.Sprintf("%s-partition-%d", name, partition)
	}
	producer, err := p.client.CreateProducer(pulsar.ProducerOptions{
		Topic: name, DisableBatching: !batches, BatchingMaxMessages: 7, BatchingMaxPublishDelay: 20 * time.Millisecond, MaxPendingMessages: 10_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for _, value := range values {
		producer.SendAsync(t.Context(), &pulsar.ProducerMessage{Payload: value}, func(_ pulsar.MessageID, m *pulsar.ProducerMessage, err error) {
			if err != nil {
				t.Errorf("sending: %v", err)
				return
			}
			p.note(m.Payload)
		})
	}
	if err := producer.FlushWithCtx(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (p *topic) note(value []byte) {
	var record struct{ K string }
	if json.Unmarshal(value, &record) == nil && record.K != "" {
		p.mu.Lock()
		p.want[record.K]++
		p.mu.Unlock()
	}
}

// counts is what is counted by now.
func (p *topic) counts(t *testing.T) map[string]int64 {
	t.Helper()
	got := map[string]int64{}
	for key := range p.want {
		n, err := p.redis.Get(t.Context(), "n:"+p.name+":"+key).Int64()
		if err != nil && err != redis.Nil {
			t.Fatal(err)
		}
		if n != 0 {
			got[key] = n
		}
	}
	return got
}

// exact waits until exactly what was sent is counted, and stays so.
func (p *topic) exact(t *testing.T) {
	t.Helper()
	check := func() error {
		if got := p.counts(t); !maps.Equal(got, p.want) {
			return fmt.Errorf("%v are counted, not %v", got, p.want)
		}
		return nil
	}
	eventually(t, check)
	time.Sleep(300 * time.Millisecond)
	if err := check(); err != nil {
		t.Error(err)
	}
}

// stored is the position of a partition in Quipu.
func (p *topic) stored(t *testing.T, number int) (incarnation, text string) {
	t.Helper()
	reply, err := p.redis.Do(t.Context(), "INGEST", "POSITION", fmt.Sprintf("%s/%d", p.name, number)).StringSlice()
	if err != nil || len(reply) != 2 {
		t.Fatalf("INGEST POSITION: %v, %v", reply, err)
	}
	return reply[0], reply[1]
}

const waitLimit = 60 * time.Second

func eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(waitLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("after %v: %v", waitLimit, err)
}

// dropping is a consumer that leaves out messages.
type dropping struct {
	consumer
	out  chan pulsar.ConsumerMessage
	once sync.Once
	done chan struct{}
}

// drop has the consumer of a link leave out what out says.
func drop(l *link, out func(spot) bool) *link {
	d := &dropping{consumer: l.consumer, out: make(chan pulsar.ConsumerMessage), done: make(chan struct{})}
	l.consumer = d
	go func() {
		for {
			select {
			case <-d.done:
				return
			case m := <-d.consumer.Chan():
				if out(spotOf(m.ID(), m.PublishTime())) {
					continue
				}
				select {
				case <-d.done:
					return
				case d.out <- m:
				}
			}
		}
	}()
	return l
}

func (d *dropping) Chan() <-chan pulsar.ConsumerMessage { return d.out }

func (d *dropping) Close() {
	d.once.Do(func() { close(d.done) })
	d.consumer.Close()
}
