package produce

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"quipu/connect/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// TestKfake: the broker that forgets its producers is killed while likes come; each is in the topic once.
func TestKfake(t *testing.T) {
	run(t, testbed.StartKfake(t), false, testbed.Size(3, 6, 20))
}

// TestUnanswered: what the broker takes without saying so is not sent again, and what it did not take is. The firehose's batches fail
// in both ways, one after the other.
func TestUnanswered(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	p, err := Open(t.Context(), broker.ListenAddrs()[0], "likes", 4, false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	likes := make([]Like, 100)
	for i := range likes {
		likes[i] = Like{Rank: int32(i) + 1, User: int32(i)}
	}
	for _, failure := range []*kerr.Error{kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicas, kerr.RequestTimedOut} {
		broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: failure})
		if err := p.send(t.Context(), likes); err != nil {
			t.Fatalf("%v: %v", failure, err)
		}
		if n, err := p.InTopic(t.Context()); err != nil || n != p.Ledger.Sent() || n%100 != 0 {
			t.Errorf("%v: the topic has %d likes, %v, the ledger %d", failure, n, err, p.Ledger.Sent())
		}
	}
}

// TestKafka: as TestKfake, with the broker that remembers them.
func TestKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	run(t, testbed.StartKafka(t), true, testbed.Size(1, 2, 8))
}

func run(t *testing.T, broker *testbed.Broker, idempotent bool, kills int) {
	p, err := Open(t.Context(), broker.Addr, "likes", 4, idempotent)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	fire := NewFirehose(p)
	fire.Set(true, 20_000)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { fire.Run(ctx) })
	defer running.Wait()
	defer stop()
	more := func() { // some more than now
		t.Helper()
		now, end := p.Ledger.Sent(), time.Now().Add(time.Minute)
		for p.Ledger.Sent() < now+2000 {
			if time.Sleep(time.Millisecond); time.Now().After(end) {
				_, trouble := p.Waiting()
				t.Fatalf("nothing is sent any more: %v", trouble)
			}
		}
	}
	for range kills {
		more()
		broker.Kill()
		broker.Start()
	}
	more()
	fire.Set(false, 1)
	for n, _ := p.Waiting(); n > 0; n, _ = p.Waiting() {
		time.Sleep(time.Millisecond)
	}
	compare(t, broker, p.Ledger)
	trim(t, broker, p)
}

// trim has the broker delete all but the newest likes, and kills it once more: it must not begin at 0 again.
func trim(t *testing.T, broker *testbed.Broker, p *Producer) {
	sent, done := p.Ledger.Sent(), map[int32]int64{}
	for partition, end := range p.ends {
		done[int32(partition)] = end
	}
	if err := p.Trim(t.Context(), done, 100); err != nil {
		t.Fatal(err)
	}
	broker.Kill()
	broker.Start()
	if n, err := p.InTopic(t.Context()); err != nil || n != sent {
		t.Errorf("after it was trimmed the topic ends at %d, %v, and not at %d", n, err, sent)
	}
	starts, err := p.admin.ListStartOffsets(t.Context(), "likes")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the partitions begin at %v", starts["likes"])
}

// compare reads the topic, and demands that it holds what the ledger says.
func compare(t *testing.T, broker *testbed.Broker, l *Ledger) {
	want, sent := l.Posts()
	client := broker.Client(t, kgo.ConsumeTopics("likes"))
	var got [Posts + 1]int64
	users := map[string]bool{}
	for n := int64(0); n < sent; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var like struct {
				Event  string `json:"event"`
				Post   string `json:"post_id"`
				User   string `json:"user_id"`
				At     int64  `json:"ts"`
				Second string `json:"second"`
			}
			if err := json.Unmarshal(r.Value, &like); err != nil || like.Event != "like" {
				t.Fatalf("%s: %v", r.Value, err)
			}
			if at := time.UnixMilli(like.At).UTC().Format("05"); at != like.Second {
				t.Fatalf("%s is in second %s", r.Value, at)
			}
			got[Rank(like.Post)]++
			if like.Post == Post(Shown[0]) {
				users[like.User] = true
			}
			n++
		})
	}
	if got != want {
		t.Errorf("the topic's posts are not those of the ledger")
	}
	if fans := l.Fans(Shown[0]); fans != int64(len(users)) {
		t.Errorf("%s has %d fans in the topic, %d in the ledger", Post(Shown[0]), len(users), fans)
	}
	ends, err := broker.Admin(t).ListEndOffsets(t.Context(), "likes")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, p := range ends["likes"] {
		total += p.Offset
	}
	if total != sent {
		t.Errorf("the topic has %d likes, the ledger %d", total, sent)
	}
	t.Logf("%d likes", sent)
}

func TestRank(t *testing.T) {
	for id, want := range map[string]int{
		"p1": 1, "p1000": 1000, "p1001": 0, "p0": 0, "p-1": 0, "p+1": 0, "p01": 0, "p": 0, "": 0, "q1": 0, "p1\n": 0, "p99999999999999999999": 0,
	} {
		if got := Rank(id); got != want {
			t.Errorf("Rank(%q) = %d, want %d", id, got, want)
		}
	}
}

// TestLedger: fans are counted once, likes each time.
func TestLedger(t *testing.T) {
	l := newLedger()
	one, other := int32(Shown[0]), int32(Posts)
	l.add([]Like{{Rank: one, User: 5}, {Rank: one, User: 5}, {Rank: one, User: Users - 1}, {Rank: other, User: 5}})
	if l.Sent() != 4 || l.Post(Shown[0]) != 3 || l.Post(Posts) != 1 || l.Fans(Shown[0]) != 2 {
		t.Errorf("sent %d, likes %d and %d, fans %d", l.Sent(), l.Post(Shown[0]), l.Post(Posts), l.Fans(Shown[0]))
	}
}
