// Package chaos counts events from a real broker while connectors, nodes of Quipu and the broker are killed and frozen, and
// compares every count with what the topic holds.
package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

const (
	posts      = 1000
	partitions = 4
	perTxn     = 2000
	connectors = 3
	nodes      = 3
)

const configuration = `quipu %s

source likes
  kafka %s
  topic likes
  group likes-counters
  on-bad-record park likes.dead
  INCRBY likes:{post_id} {weight|1}
  INCR   likes:all
`

// EventsEnv is how many events TestKafka and TestKfake count.
const EventsEnv = "QUIPU_EVENTS"

func events(t *testing.T, usual int) int {
	text := os.Getenv(EventsEnv)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", EventsEnv, err)
	}
	return n
}

// TestKafka: Apache Kafka.
func TestKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	run(t, testbed.StartKafka(t), events(t, 400_000), 4*time.Second)
}

// TestKfake: the broker that needs no Java, killed more often.
func TestKfake(t *testing.T) {
	run(t, testbed.StartKfake(t), events(t, testbed.Size(50_000, 200_000, 200_000)), 3*time.Second)
}

// bed is everything that runs.
type bed struct {
	*testing.T
	broker     *testbed.Broker
	quipu      *testbed.Quipu
	connectors []*testbed.Process
	conf       string
	faults     map[string]int
	turns      atomic.Int64 // of kill
	committed  atomic.Int64 // events of transactions whose end was acknowledged
}

func run(t *testing.T, broker *testbed.Broker, n int, every time.Duration) {
	b := &bed{T: t, broker: broker, quipu: testbed.StartQuipu(t, nodes), faults: map[string]int{}}
	broker.CreateTopic(t, "likes", partitions)
	b.conf = filepath.Join(t.TempDir(), "likes.conf")
	text := fmt.Sprintf(configuration, strings.Join(b.quipu.Addrs, " "), broker.Addr)
	if err := os.WriteFile(b.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program := testbed.Program(t, "./cmd/quipu-connect")
	for i := range connectors {
		b.connectors = append(b.connectors, testbed.StartProcess(t, program, "run", "-instance", fmt.Sprint("c", i), b.conf))
	}
	ctx, stop := context.WithCancel(t.Context())
	var faults sync.WaitGroup
	faults.Go(func() { b.kill(ctx, every) })
	began := time.Now()
	b.produce(n)
	produced := time.Since(began)
	stop()
	faults.Wait()
	want := b.truth()
	b.settle(want["likes:all"])
	b.compare(want)
	t.Logf("%d events in the topic, %d of them acknowledged, produced in %v, counted after %v; faults: %v",
		want["likes:all"], b.committed.Load(), produced.Round(time.Second), time.Since(began).Round(time.Second), b.faults)
}

// enough faults for a run that is meant to be long: each of them twice.
const enough = 10

// produce writes n events in transactions, of which every fifth is aborted; many are at least as many as come while faults happen.
func (b *bed) produce(n int) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var producer *kgo.Client
	for txn := 0; b.committed.Load() < int64(n) || n >= 1_000_000 && b.turns.Load() < enough; txn++ {
		if producer == nil {
			producer = b.producer()
		}
		abort := txn%5 == 4
		if err := b.transaction(producer, rnd, abort); err != nil {
			b.Logf("a transaction failed, as it may: %v", err)
			producer.Close()
			producer = nil // the next one ends what this one has left open
			continue
		}
		if !abort {
			b.committed.Add(perTxn)
		}
	}
	if producer != nil {
		producer.Close()
	}
}

func (b *bed) producer() *kgo.Client {
	return b.broker.Client(b.T, kgo.TransactionalID("producer"), kgo.DefaultProduceTopic("likes"), kgo.RecordDeliveryTimeout(20*time.Second),
		kgo.TransactionTimeout(30*time.Second))
}

func (b *bed) transaction(producer *kgo.Client, rnd *rand.Rand, abort bool) error {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	if err := producer.BeginTransaction(); err != nil {
		return err
	}
	var mu sync.Mutex
	var first error
	for range perTxn {
		post, weight := int(rnd.ExpFloat64()*posts/8)%posts, 1+rnd.IntN(3)
		value := fmt.Appendf(nil, `{"event":"like","post_id":"p%d","weight":%d,"user_id":"u%d","client":"ios"}`, post, weight, rnd.IntN(1e6))
		producer.Produce(ctx, &kgo.Record{Key: fmt.Append(nil, post), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				first = err
				mu.Unlock()
			}
		})
	}
	if err := producer.Flush(ctx); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	if first != nil {
		return first
	}
	return producer.EndTransaction(ctx, kgo.TransactionEndTry(!abort))
}

// frozenTime is so long that others take over the partitions of a frozen connector, and count on.
const frozenTime = 30 * time.Second

// kill has one fault after another until ctx is done.
func (b *bed) kill(ctx context.Context, every time.Duration) {
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 7))
	var beside sync.WaitGroup
	defer beside.Wait()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every/2 + time.Duration(rnd.Int64N(int64(every)))/2):
		}
		c := b.connectors[rnd.IntN(connectors-1)] // the last one is frozen now and then
		b.turns.Add(1)
		switch turn % 5 {
		case 0, 2:
			b.faults["connector killed"]++
			c.Kill()
			c.Start()
		case 1:
			b.faults["leader killed"]++
			leader := b.quipu.Leader()
			b.quipu.Kill(leader)
			time.Sleep(time.Second)
			b.quipu.Start(leader)
		case 3:
			b.faults["connector frozen"]++
			frozen := b.connectors[connectors-1]
			frozen.Pause()
			beside.Go(func() {
				sleep(ctx, frozenTime)
				frozen.Resume()
			})
		case 4:
			b.faults["broker killed"]++
			b.broker.Kill()
			b.broker.Start()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// truth is what the topic holds, read without any of our code.
func (b *bed) truth() map[string]int64 {
	want := map[string]int64{}
	b.producer().Close() // ends what was left open
	admin := b.broker.Admin(b.T)
	ends, err := admin.ListCommittedOffsets(b.Context(), "likes")
	if err != nil {
		b.Fatal(err)
	}
	client := b.broker.Client(b.T, kgo.ConsumeTopics("likes"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	for left := partitions; left > 0; {
		fetches := client.PollFetches(b.Context())
		if err := fetches.Err(); err != nil {
			b.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, _ := ends.Lookup("likes", r.Partition); r.Offset == end.Offset-1 {
				left--
			}
			if !r.Attrs.IsControl() {
				want["likes:"+gjson.GetBytes(r.Value, "post_id").String()] += gjson.GetBytes(r.Value, "weight").Int()
				want["likes:all"]++
			}
		})
	}
	if want["likes:all"] < b.committed.Load() {
		b.Errorf("the topic has %d events, but %d were acknowledged", want["likes:all"], b.committed.Load())
	}
	return want
}

// settle waits until all is counted, or nothing changes any more.
func (b *bed) settle(all int64) {
	last, since := int64(-1), time.Now()
	for {
		n, err := b.quipu.Client(b.quipu.Leader()).Get(b.Context(), "likes:all").Int64()
		if err == nil && n >= all {
			time.Sleep(time.Second) // what would be counted twice comes now
			return
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > time.Minute {
			b.Errorf("%d of %d events are counted, and no more for a minute; %v", n, all, err)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// compare checks every count, and the identity of every partition.
func (b *bed) compare(want map[string]int64) {
	client := b.quipu.Client(b.quipu.Leader())
	differ := 0
	for key, n := range want {
		if got, err := client.Get(b.Context(), key).Int64(); err != nil || got != n {
			if differ++; differ <= 10 {
				b.Errorf("%s is %d, %v, want %d", key, got, err, n)
			}
		}
	}
	if differ > 0 {
		b.Errorf("%d of %d keys differ", differ, len(want))
	}
	status := testbed.NewProcess(b.T, testbed.Program(b.T, "./cmd/quipu-connect"), "status", "-once", b.conf)
	status.Start()
	if code := status.Wait(20 * time.Second); code != 0 {
		b.Errorf("status ended with %d", code)
	}
	out := status.Output()
	if n := strings.Count(out, " = all"); n != partitions || strings.Contains(out, "OFF BY") {
		b.Errorf("%d of %d partitions add up:\n%s", n, partitions, out)
	}
	b.Logf("status:\n%s", out)
}
