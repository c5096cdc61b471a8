package testbed_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	pulsarlog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func TestKafka(t *testing.T) { testBroker(t, testbed.StartKafka(t)) }

func TestKfake(t *testing.T) { testBroker(t, testbed.StartKfake(t)) }

// testBroker: what a transaction committed is there after kill -9, and an aborted one is not.
func testBroker(t *testing.T, b *testbed.Broker) {
	b.CreateTopic(t, "likes", 4)
	produce(t, b, "likes", 1000, kgo.TryCommit)
	produce(t, b, "likes", 100, kgo.TryAbort)
	b.Kill()
	if b.Alive() {
		t.Fatal("the broker survived")
	}
	b.Start()
	seen := consume(t, b, "likes", 1000)
	for i := range 1000 {
		if n := seen[fmt.Sprint(i)]; n != 1 {
			t.Fatalf("record %d was read %d times", i, n)
		}
	}

	b.Pause()
	time.AfterFunc(300*time.Millisecond, b.Resume)
	begin := time.Now()
	b.CreateTopic(t, "again", 1)
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("a paused broker answered after %v", took)
	}
	id := topicID(t, b, "again")
	b.DeleteTopic(t, "again")
	b.CreateTopic(t, "again", 1)
	if topicID(t, b, "again") == id {
		t.Error("a topic that was created anew has the same ID")
	}
}

// produce writes the records 0 to n-1 to all partitions in a transaction.
func produce(t *testing.T, b *testbed.Broker, topic string, n int, end kgo.TransactionEndTry) {
	t.Helper()
	cl := b.Client(t, kgo.TransactionalID("test"), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		cl.Produce(t.Context(), kgo.StringRecord(fmt.Sprint(i)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

// consume reads what is committed, until it has n records, and says how often each value came.
func consume(t *testing.T, b *testbed.Broker, topic string, n int) map[string]int {
	t.Helper()
	cl := b.Client(t, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer cl.Close()
	seen := map[string]int{}
	for n > 0 {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil && !kerr.IsRetriable(err) {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen[string(r.Value)]++
			n--
		})
	}
	return seen
}

func topicID(t *testing.T, b *testbed.Broker, topic string) string {
	t.Helper()
	list, err := b.Admin(t).ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return list[topic].ID.String()
}

// TestPulsar: what was acknowledged is there after kill -9.
func TestPulsar(t *testing.T) {
	b := testbed.StartPulsar(t)
	b.CreateTopic(t, "likes", 4)
	cl, err := pulsar.NewClient(pulsar.ClientOptions{URL: b.Addr, Logger: pulsarlog.DefaultNopLogger()})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	producer, err := cl.CreateProducer(pulsar.ProducerOptions{Topic: "likes"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		producer.SendAsync(t.Context(), &pulsar.ProducerMessage{Payload: fmt.Append(nil, i)},
			func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
				if err != nil {
					t.Error(err)
				}
			})
	}
	if err := producer.FlushWithCtx(t.Context()); err != nil {
		t.Fatal(err)
	}
	producer.Close()
	b.Kill()
	b.Start()
	consumer, err := cl.Subscribe(pulsar.ConsumerOptions{
		Topic: "likes", SubscriptionName: "test", Type: pulsar.Exclusive, SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest,
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 1000 {
		m, err := consumer.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[string(m.Payload())]++
	}
	if len(seen) != 1000 {
		t.Errorf("1000 messages have %d values", len(seen))
	}
	consumer.Close()
	b.DeleteTopic(t, "likes", 4)
	b.CreateTopic(t, "likes", 0)
}

// TestQuipu: a cluster goes on without its leader, and the killed node comes back.
func TestQuipu(t *testing.T) {
	q := testbed.StartQuipu(t, 3, "--maxclients", "100")
	incr(t, q, 1)
	first := q.Leader()
	q.Kill(first)
	second := q.Leader()
	if second == first {
		t.Fatalf("node %d leads and was killed", first)
	}
	incr(t, q, 2)
	q.Start(first)
	q.Pause(second)
	third := -1
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if third = q.Leader(); third != second {
			break
		}
	}
	if third == second {
		t.Fatalf("node %d leads and is paused", second)
	}
	incr(t, q, 3)
	q.Resume(second)
	q.Kill(0, 1, 2)
	q.Start(0, 1, 2)
	incr(t, q, 4)
}

func TestQuipuAlone(t *testing.T) {
	q := testbed.StartQuipu(t, 1)
	incr(t, q, 1)
	q.Kill(0)
	q.Start(0)
	incr(t, q, 2)
}

// incr increments a counter at the leader, and demands its value.
func incr(t *testing.T, q *testbed.Quipu, want int64) {
	t.Helper()
	if n, err := q.Client(q.Leader()).Incr(t.Context(), "n").Result(); n != want || err != nil {
		t.Fatalf("INCR: %d, %v; want %d", n, err, want)
	}
}

func TestProcess(t *testing.T) {
	path := testbed.Program(t, "./testbed/kfake")
	p := testbed.StartProcess(t, path, "-addr", "10.0.0.1:1")
	if status := p.Wait(10 * time.Second); status != 1 || p.Alive() {
		t.Errorf("status %d, alive: %v", status, p.Alive())
	}
	if got := p.Tail(1); got != `kfake: "10.0.0.1:1" is no address of the form 127.0.0.1:port` {
		t.Errorf("the last line is %q", got)
	}
	p.Kill() // nothing is left to kill
	p = testbed.StartProcess(t, "/bin/sh", "-c", `trap 'echo $X; exit 3' TERM; echo a; echo b; while :; do sleep 0.01; done`)
	for !strings.Contains(p.Output(), "b\n") {
		time.Sleep(time.Millisecond)
	}
	p.Kill()
	p.Env = []string{"X=ended"}
	p.Start()
	for strings.Count(p.Output(), "b\n") < 2 {
		time.Sleep(time.Millisecond)
	}
	if status := p.Terminate(); status != 3 {
		t.Errorf("status %d", status)
	}
	if got := p.Tail(3); got != "a\nb\nended" {
		t.Errorf("the last lines are %q", got)
	}
	if all := p.Tail(100); all != "a\nb\na\nb\nended" {
		t.Errorf("all lines are %q", all)
	}
}
