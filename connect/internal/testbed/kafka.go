package testbed

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	brokerLimit = 2 * time.Minute  // until a broker serves; 5 to 15 s on a machine that does nothing else
	adminLimit  = 30 * time.Second // one administrative step
)

// Broker is a Kafka broker of a test: Apache Kafka or kfake. Its data survives Kill.
type Broker struct {
	*Process
	Addr string // host:port for clients
}

// StartKafka starts Apache Kafka with empty data, and waits until it serves.
func StartKafka(tb testing.TB) *Broker {
	tb.Helper()
	script := KafkaScript(tb)
	ports := freePorts(tb, 2)
	p := NewProcess(tb, script, "--port", strconv.Itoa(ports[0]), "--controller-port", strconv.Itoa(ports[1]), "--dir", tb.TempDir())
	return startBroker(p, "kafka", loopback(ports[0]))
}

// StartKfake starts kfake, which needs no Java and a tenth of a second, with empty data, and waits until it serves. It has no
// replication, no retention and no limits; what it has agrees with Kafka.
func StartKfake(tb testing.TB) *Broker {
	tb.Helper()
	addr := loopback(freePorts(tb, 1)[0])
	p := NewProcess(tb, Program(tb, "./testbed/kfake"), "-addr", addr, "-dir", filepath.Join(tb.TempDir(), "data"))
	return startBroker(p, "kfake", addr)
}

func startBroker(p *Process, name, addr string) *Broker {
	p.tb.Helper()
	p.name = name
	b := &Broker{Process: p, Addr: addr}
	b.Start()
	return b
}

// Start starts the broker again on its data and port, and waits until it serves.
func (b *Broker) Start() {
	b.tb.Helper()
	b.Process.Start()
	b.await(brokerLimit, b.ping)
}

// ping asks the broker for its metadata.
func (b *Broker) ping() error {
	if err := listens(b.Addr); err != nil { // the client would wait for it
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return cl.Ping(ctx)
}

// Client is a new client of the broker, closed when the test ends.
func (b *Broker) Client(tb testing.TB, opts ...kgo.Opt) *kgo.Client {
	tb.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addr)}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cl.Close)
	return cl
}

// Admin is a new administrative client of the broker, closed when the test ends.
func (b *Broker) Admin(tb testing.TB) *kadm.Client {
	tb.Helper()
	return kadm.NewClient(b.Client(tb))
}

// CreateTopic makes a topic, and waits until each partition has a leader.
func (b *Broker) CreateTopic(tb testing.TB, name string, partitions int) {
	tb.Helper()
	b.changeTopic(tb, "create", name,
		func(ctx context.Context, adm *kadm.Client) error {
			_, err := adm.CreateTopic(ctx, int32(partitions), 1, nil, name)
			return err
		},
		func(t kadm.TopicDetail) bool {
			for _, p := range t.Partitions {
				if p.Err != nil || p.Leader < 0 {
					return false
				}
			}
			return t.Err == nil && len(t.Partitions) == partitions
		})
}

// DeleteTopic deletes a topic, and waits until the broker no longer has it.
func (b *Broker) DeleteTopic(tb testing.TB, name string) {
	tb.Helper()
	b.changeTopic(tb, "delete", name,
		func(ctx context.Context, adm *kadm.Client) error {
			_, err := adm.DeleteTopic(ctx, name)
			return err
		},
		func(t kadm.TopicDetail) bool { return t.Err != nil || t.Topic == "" })
}

// changeTopic does something to a topic, and waits until done says so of its details. A topic that is not there has an error.
func (b *Broker) changeTopic(tb testing.TB, what, name string, change func(context.Context, *kadm.Client) error, done func(kadm.TopicDetail) bool) {
	tb.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(tb.Context(), adminLimit)
	defer cancel()
	adm := kadm.NewClient(cl)
	if err := change(ctx, adm); err != nil {
		tb.Fatalf("%s topic %s: %v", what, name, err)
	}
	for {
		list, err := adm.ListTopicsWithInternal(ctx, name)
		if err == nil && done(list[name]) {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("%s topic %s: it is not done after %v: %v", what, name, adminLimit, fmt.Sprint(list, err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}
