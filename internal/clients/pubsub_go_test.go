package clients

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

// subscriber is a connection of a library. It subscribes to the channel "news" and the pattern "new?".
type subscriber struct {
	events  <-chan string // what it hears, in order: "subscribe news", "message news TEXT", "pmessage new? news TEXT"
	publish func(channel, text string) (int64, error)

	subscribe, psubscribe, unsubscribe, punsubscribe func() error
}

// hears fails unless the next events are the wanted ones.
func (s *subscriber) hears(t *testing.T, events ...string) {
	t.Helper()
	for _, expected := range events {
		select {
		case got := <-s.events:
			if got != expected {
				t.Fatalf("heard %q, expected %q", got, expected)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing is heard, expected %q", expected)
		}
	}
}

// check walks through the life of both subscriptions; each must be confirmed.
func (s *subscriber) check(t *testing.T) {
	t.Helper()
	act := func(call func() error, confirmed string) {
		t.Helper()
		if err := call(); err != nil {
			t.Fatal(err)
		}
		s.hears(t, confirmed)
	}
	want(t, 0)(s.publish("news", "nobody"))
	act(s.subscribe, "subscribe news")
	want(t, 1)(s.publish("news", "one"))
	s.hears(t, "message news one")
	act(s.psubscribe, "psubscribe new?")
	all := allBytes()
	want(t, 2)(s.publish("news", all))
	want(t, 1)(s.publish("newt", "two"))
	want(t, 2)(s.publish("news", ""))
	want(t, 0)(s.publish("new", "to nobody"))
	s.hears(t, "message news "+all, "pmessage new? news "+all, "pmessage new? newt two", "message news ", "pmessage new? news ")
	act(s.unsubscribe, "unsubscribe news")
	want(t, 1)(s.publish("news", "three"))
	s.hears(t, "pmessage new? news three")
	act(s.punsubscribe, "punsubscribe new?")
	want(t, 0)(s.publish("news", "nobody"))
}

// checkRenewed: the library subscribes to the channel "renewed" again by itself, after a restart.
func (s *subscriber) checkRenewed(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		n, err := s.publish("renewed", "after")
		if n == 1 && err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d receivers after the restart, %v", n, err)
		}
	}
	s.hears(t, "subscribe renewed", "message renewed after")
}

// goRedisSubscriber turns the channel of a PubSub into events.
func (g goRedis) subscriber(t *testing.T, s *redis.PubSub) *subscriber {
	t.Cleanup(func() { s.Close() })
	events, ended := make(chan string, 100), t.Context().Done()
	go func() {
		for e := range s.ChannelWithSubscriptions() {
			var text string
			switch e := e.(type) {
			case *redis.Subscription:
				text = e.Kind + " " + e.Channel
			case *redis.Message:
				if text = "message " + e.Channel + " " + e.Payload; e.Pattern != "" {
					text = "pmessage " + e.Pattern + " " + e.Channel + " " + e.Payload
				}
			}
			select {
			case events <- text:
			case <-ended:
				return
			}
		}
	}()
	return &subscriber{
		events:       events,
		publish:      func(channel, text string) (int64, error) { return g.c.Publish(g.ctx, channel, text).Result() },
		subscribe:    func() error { return s.Subscribe(g.ctx, "news") },
		psubscribe:   func() error { return s.PSubscribe(g.ctx, "new?") },
		unsubscribe:  func() error { return s.Unsubscribe(g.ctx, "news") },
		punsubscribe: func() error { return s.PUnsubscribe(g.ctx, "new?") },
	}
}

func (g goRedis) pubSub(t *testing.T) {
	g.subscriber(t, g.c.Subscribe(g.ctx)).check(t)
	s := g.c.SSubscribe(g.ctx, "shard")
	sharded := g.subscriber(t, s)
	sharded.hears(t, "ssubscribe shard")
	want(t, 0)(g.c.Publish(g.ctx, "shard", "to nobody").Result())
	want(t, 1)(g.c.SPublish(g.ctx, "shard", "one").Result())
	sharded.hears(t, "message shard one")
	if err := s.SUnsubscribe(g.ctx, "shard"); err != nil {
		t.Fatal(err)
	}
	sharded.hears(t, "sunsubscribe shard")
	want(t, 0)(g.c.SPublish(g.ctx, "shard", "nobody").Result())
}

// subscriber hears with a connection of its own, by hooks.
func (r rueidisClient) subscriber(t *testing.T) (rueidis.DedicatedClient, *subscriber) {
	c, cancel := r.c.Dedicate()
	t.Cleanup(cancel)
	events := make(chan string, 100)
	c.SetPubSubHooks(rueidis.PubSubHooks{
		OnSubscription: func(s rueidis.PubSubSubscription) { events <- s.Kind + " " + s.Channel },
		OnMessage: func(m rueidis.PubSubMessage) {
			if m.Pattern != "" {
				events <- "pmessage " + m.Pattern + " " + m.Channel + " " + m.Message
			} else {
				events <- "message " + m.Channel + " " + m.Message
			}
		},
	})
	return c, &subscriber{
		events: events,
		publish: func(channel, text string) (int64, error) {
			return r.c.Do(r.ctx, r.c.B().Publish().Channel(channel).Message(text).Build()).AsInt64()
		},
		subscribe:    func() error { return c.Do(r.ctx, c.B().Subscribe().Channel("news").Build()).Error() },
		psubscribe:   func() error { return c.Do(r.ctx, c.B().Psubscribe().Pattern("new?").Build()).Error() },
		unsubscribe:  func() error { return c.Do(r.ctx, c.B().Unsubscribe().Channel("news").Build()).Error() },
		punsubscribe: func() error { return c.Do(r.ctx, c.B().Punsubscribe().Pattern("new?").Build()).Error() },
	}
}

func (r rueidisClient) pubSub(t *testing.T) {
	_, s := r.subscriber(t)
	s.check(t)
	rueidisSharded(t, r.c)
}

// rueidisSharded subscribes with Receive, which uses the connection that all commands use.
func rueidisSharded(t *testing.T, c rueidis.Client) {
	t.Helper()
	heard, confirmed, ended := make(chan string, 10), make(chan string, 10), make(chan error, 1)
	ctx := rueidis.WithOnSubscriptionHook(t.Context(), func(s rueidis.PubSubSubscription) { confirmed <- s.Kind })
	go func() {
		ended <- c.Receive(ctx, c.B().Ssubscribe().Channel("shard").Build(), func(m rueidis.PubSubMessage) {
			heard <- fmt.Sprint(m.Channel, " ", m.Message)
		})
	}()
	publish := func(text string) (int64, error) {
		return c.Do(t.Context(), c.B().Spublish().Channel("shard").Message(text).Build()).AsInt64()
	}
	await := func(from <-chan string, expected string) {
		t.Helper()
		select {
		case got := <-from:
			if got != expected {
				t.Errorf("got %q, expected %q", got, expected)
			}
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing came, expected %q", expected)
		}
	}
	await(confirmed, "ssubscribe")
	want(t, 1)(publish("one"))
	await(heard, "shard one")
	if err := c.Do(t.Context(), c.B().Sunsubscribe().Channel("shard").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Receive goes on after SUNSUBSCRIBE")
	}
	want(t, 0)(publish("nobody"))
}
