package main

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestEvent: events have the size that the bars are meant for, and few posts have most likes.
func TestEvent(t *testing.T) {
	rnd, counts := rand.New(rand.NewPCG(1, 1)), map[string]int{}
	for range 100_000 {
		post, value := event(rnd, 1764410000123)
		if len(value) != eventSize || !strings.Contains(string(value), `"post_id":"`+post+`"`) {
			t.Fatalf("%s has %d bytes", value, len(value))
		}
		counts[post]++
	}
	if n := counts["p10000"]; n < 40 || n > 130 || len(counts) > posts {
		t.Errorf("%d of 100,000 likes are of the first of %d posts, want about 80", n, len(counts))
	}
}

// TestFlow: a broker takes the batches that are encoded here, and a consumer finds all of their events.
func TestFlow(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "likes"))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.ConsumeTopics("likes"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b := &broker{addr: fake.ListenAddrs()[0], admin: kadm.NewClient(client)}
	list, err := b.admin.ListTopics(ctx, "likes")
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.startFlow(ctx, "likes", list["likes"].ID, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if err := f.end(); err != nil {
		t.Fatal(err)
	}
	at, err := ends(ctx, b.admin, "likes")
	if err != nil {
		t.Fatal(err)
	}
	all := at[0] + at[1] + at[2] + at[3]
	if sent := f.sent.Load(); all < sent || sent < 800 {
		t.Errorf("%d events are in the topic, %d were sent", all, sent)
	}
	for n := int64(0); n < all; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if n++; len(r.Value) != eventSize || !strings.HasPrefix(string(r.Value), `{"event":"like"`) {
				t.Fatalf("record %d is %q", r.Offset, r.Value)
			}
		})
	}
}

// TestJudge: a bar is met or missed by the ratio of medians, and says so.
func TestJudge(t *testing.T) {
	l := &lab{figures: map[string][]float64{"a": {50, 70, 60}, "b": {100, 100, 110}}, skipped: map[string]string{"c": "there is no c"}}
	for _, test := range []struct {
		bar  bar
		want string
	}{
		{bar{id: "X1", num: "a", den: "b", atLeast: 0.6}, "| ≥ 0.60 | 0.60 "},
		{bar{id: "X1", num: "a", den: "b", atLeast: 0.6}, "0.50–0.70 | met "},
		{bar{id: "X2", num: "a", den: "b", atLeast: 0.61}, "**missed**"},
		{bar{id: "X3", num: "a", atMost: 55, unit: " ms"}, "60.0 ms | 50.0–70.0 | **missed**"},
		{bar{id: "X4", num: "c", den: "b", needs: "c", atLeast: 1}, "skipped: there is no c"},
	} {
		l.selected = []bar{test.bar}
		table := l.barsTable()
		for strings.Contains(table, "  ") {
			table = strings.ReplaceAll(table, "  ", " ")
		}
		if !strings.Contains(table, test.want) {
			t.Errorf("%s: %q is not in\n%s", test.bar.id, test.want, table)
		}
	}
	for v, want := range map[float64]string{0.5: "0.50", 42.25: "42.2", 999: "999", 1234567: "1,234,567"} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
