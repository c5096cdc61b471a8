package pulsar

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"quipu/connect/internal/testbed"
)

// testChaos has connectors count while they and the broker are killed, and connectors paused. Afterwards what is counted is what the
// topic has: without deduplication in the broker a producer sends its last batches again, which then are in the topic twice.
func testChaos(t *testing.T, b *bed) {
	records, brokerKills := testbed.Size(10_000, 30_000, 400_000), testbed.Size(1, 1, 4)
	p := b.newTopic(t, 4)
	connectors := p.start(t, 2)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var sent atomic.Int64
	var faults sync.WaitGroup
	faults.Go(func() { p.produce(t, records, &sent) })
	faults.Go(func() { // the broker, when so much is sent
		for i := range brokerKills {
			for sent.Load() < int64(records*(i+1)/(brokerKills+1)) && ctx.Err() == nil && !t.Failed() {
				time.Sleep(10 * time.Millisecond)
			}
			b.broker.Kill()
			b.broker.Start()
		}
	})
	disturbed := make(chan string)
	go func() { disturbed <- p.disturb(ctx, connectors) }()
	begin := time.Now()
	faults.Wait()
	t.Logf("%d records were sent in %v", sent.Load(), time.Since(begin).Round(time.Second))
	if !t.Failed() {
		time.Sleep(2 * pace) // some disturbance while they catch up
	}
	stop()
	t.Logf("%d brokers killed, %s", brokerKills, <-disturbed)
	if t.Failed() {
		return
	}
	p.want = p.content(t)
	p.exact(t)
	all := int64(0)
	for _, n := range p.want {
		all += n
	}
	if t.Logf("%d records in the topic", all); all < int64(records) {
		t.Errorf("the topic has %d records of %d that the broker has confirmed", all, records)
	}
	p.end(t, connectors)
}

// start starts connectors as processes.
func (p *topic) start(t *testing.T, n int) (list []*testbed.Process) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "quipu-connect.conf")
	if err := os.WriteFile(file, []byte(p.text), 0o600); err != nil {
		t.Fatal(err)
	}
	program := testbed.Program(t, "./cmd/quipu-connect-pulsar")
	for range n {
		list = append(list, testbed.StartProcess(t, program, "run", "-no-progress", file))
	}
	return list
}

// disturb kills connectors and pauses them, until ctx is done. It says how often.
func (p *topic) disturb(ctx context.Context, connectors []*testbed.Process) string {
	kills, pauses := 0, 0
	for {
		select {
		case <-ctx.Done():
			return fmt.Sprintf("%d connectors killed, %d paused", kills, pauses)
		case <-time.After(rand.N(2 * pace)):
		}
		c := connectors[rand.IntN(len(connectors))]
		if rand.IntN(3) > 0 {
			c.Kill()
			c.Start()
			kills++
			continue
		}
		c.Pause()
		p.takeAway(ctx) // the broker gives what it has to the other one
		time.Sleep(rand.N(2 * pace))
		c.Resume()
		pauses++
	}
}

// end stops connectors, and looks at what they said.
func (p *topic) end(t *testing.T, connectors []*testbed.Process) {
	t.Helper()
	for _, c := range connectors {
		if status := c.Terminate(); status != 0 {
			t.Errorf("a connector ended with status %d", status)
		}
		out := c.Output()
		for _, bad := range []string{"msg=gap", "msg=new-incarnation", "msg=failed"} {
			if strings.Contains(out, bad) {
				t.Errorf("a connector said %q:\n%s", bad, out)
			}
		}
		t.Logf("a connector was out of order %d times, and overtaken by another %d times", strings.Count(out, "msg=out-of-order"), strings.Count(out, "was moved by"))
	}
	for i := range p.parts {
		_, text := p.stored(t, i)
		t.Logf("partition %d is at %s", i, text)
	}
}

const pace = time.Second // between two faults, on average

// takeAway has the broker open the partitions anew: nobody has them then. It may be down.
func (p *topic) takeAway(ctx context.Context) {
	for i := range p.parts {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		url := p.broker.Admin + "/admin/v2/persistent/public/default/" + p.partition(i) + "/unload"
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, nil)
		if err == nil {
			var res *http.Response
			if res, err = http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
			}
		}
		cancel()
	}
}

// produce sends records with 100 keys in batches, and goes on until the broker has confirmed all of them.
func (p *topic) produce(t *testing.T, records int, sent *atomic.Int64) {
	var producers []pulsar.Producer
	for i := range p.parts {
		producer, err := p.client.CreateProducer(pulsar.ProducerOptions{
			Topic: p.partition(i), SendTimeout: -1, MaxPendingMessages: 2000,
			BatchingMaxMessages: 100, BatchingMaxPublishDelay: 5 * time.Millisecond,
		})
		if err != nil {
			t.Error(err)
			return
		}
		defer producer.Close()
		producers = append(producers, producer)
	}
	confirmed := func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
		if err != nil {
			t.Errorf("sending: %v", err)
		}
		sent.Add(1)
	}
	for i := range records {
		value := fmt.Appendf(nil, `{"k":"key%d","n":%d,"text":"a record of usual length, as they are"}`, rand.IntN(100), i)
		producers[i%len(producers)].SendAsync(t.Context(), &pulsar.ProducerMessage{Payload: value}, confirmed)
		if i%20_000 == 0 && t.Failed() {
			return
		}
	}
	for _, producer := range producers {
		if err := producer.FlushWithCtx(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// content reads the topic from its beginning to its end, and returns the records by key.
func (p *topic) content(t *testing.T) map[string]int64 {
	t.Helper()
	content := map[string]int64{}
	for i := range p.parts {
		r, err := p.client.CreateReader(pulsar.ReaderOptions{
			Topic: p.partition(i), StartMessageID: pulsar.EarliestMessageID(), ReceiverQueueSize: 5000,
		})
		if err != nil {
			t.Fatal(err)
		}
		at := beginning
		for r.HasNext() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			m, err := r.Next(ctx)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			s := spotOf(m.ID(), m.PublishTime())
			if v := at.judge(s); v != follows && v != nextLedger {
				t.Fatalf("the reader of the test has %s behind %s", s, at)
			}
			at = s.behind()
			var record struct{ K string }
			if err := json.Unmarshal(m.Payload(), &record); err != nil {
				t.Fatal(err)
			}
			content[record.K]++
		}
		r.Close()
	}
	return content
}
