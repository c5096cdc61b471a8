package server

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// pushed is a message as a RESP3 client gets it.
func pushed(words ...string) string { return ">" + array(words...)[1:] }

func array(words ...string) string { return string(redistest.AppendCommand(nil, words...)) }

// subscriber is a RESP3 client that listens to a channel.
func (n *testNode) subscriber(channel string) *redistest.Conn {
	n.t.Helper()
	c := n.dial()
	expect(n.t, c, "HELLO 3", "%", "SUBSCRIBE "+channel, ">3")
	return c
}

// TestPushesBetweenReplies has a message come while writes of its client are under way: it stands between whole replies, behind
// those of the writes.
func TestPushesBetweenReplies(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		g := &testGroup{}
		n := startGroupNode(t, g, transport)
		c, other := n.subscriber("ch"), n.dial()
		expect(t, other, "PING", "+PONG\r\n")
		g.hold()
		send(t, c, "MULTI", "SET a 1", "INCR a", "EXEC", "INCR b", "PING")
		n.reached(c, "ping")
		expect(t, other, "PUBLISH ch 1", ":1\r\n")
		s := n.session(c)
		eventually(t, "the message to be delivered", func() bool { return s.box.bytes.Load() == 0 })
		send(t, c, "ECHO x")
		n.reached(c, "echo")
		g.release()
		want := "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:2\r\n:1\r\n+PONG\r\n" + pushed("message", "ch", "1") + bulk("x")
		got := ""
		for len(got) < len(want) {
			got += readRaw(t, c)
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestSlowSubscriber has a client publish far more than another one reads, which is closed; the publisher is not held up, and
// nothing is left.
func TestSlowSubscriber(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, func(c *config.Config) {
			transport(c)
			c.ClientPush = 1 << 20
		})
		slow, publisher := n.subscriber("ch"), n.dial()
		s := n.session(slow)
		var most atomic.Int64
		payload := strings.Repeat("x", 64<<10)
		count := redistest.Size(500, 2000, 16<<10) // the long form is 1 GiB
		for range count {
			callArgs(t, publisher, "PUBLISH", "ch", payload)
			most.Store(max(most.Load(), n.srv.clientMemory.sum.Load()))
		}
		eventually(t, "the subscriber to be closed", func() bool { return n.srv.limits.times(limitPush) == 1 && n.srv.hub.counts[onChannel].Load() == 0 })
		if got := s.box.bytes.Load(); got != 0 {
			t.Errorf("%d bytes are counted for a client that is gone", got)
		}
		if m := most.Load(); m > 4<<20 {
			t.Errorf("%d bytes were kept for one client", m)
		}
		if info := call(t, publisher, "INFO stats"); !strings.Contains(info, "client_output_buffer_limit_disconnections:1\r\n") {
			t.Errorf("INFO does not tell of it: %q", info)
		}
		eventually(t, "memory to be given back", func() bool { return n.srv.clientMemory.sum.Load() == 0 })
	})
}

// TestSoftPushLimit: what waits may exceed a quarter of the limit for a minute.
func TestSoftPushLimit(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.ClientPush = 4 << 20 })
	s := n.session(n.subscriber("ch"))
	at := time.Now().UnixNano()
	look := func(what string, bytes int64, after time.Duration, want bool) {
		t.Helper()
		s.box.bytes.Store(bytes)
		if got := s.pushesSlowly(at + int64(after)); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	done := make(chan struct{})
	s.worker.loop.Post(func() { // which the state belongs to
		defer close(done)
		look("little", 1<<20, 0, false)
		look("much, at first", 1<<20+1, time.Second, false)
		look("much, for a minute", 1<<20+1, 61*time.Second, false)
		look("much, for longer", 1<<20+1, 62*time.Second, true)
		look("little again", 0, 63*time.Second, false)
		look("much again", 2<<20, 64*time.Second, false)
		s.box.bytes.Store(0)
	})
	<-done
}

// TestPushMemory has many subscribers, none of which reads, stay below their own limit: together they are above that of all, and
// some are closed. Large messages to many are copied for a few at a time.
func TestPushMemory(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		const limit = 8 << 20
		n := limitClientMemory(t, transport, limit, nil)
		var conns []*redistest.Conn
		for i := range 40 {
			c := n.dial()
			expect(t, c, fmt.Sprintf("SUBSCRIBE c%d all", i), "*3")
			conns = append(conns, c)
		}
		publisher := n.dial()
		expect(t, publisher, "CLIENT NO-EVICT ON", "+OK\r\n") // its commands are large as well
		payload := strings.Repeat("x", 512<<10)
		most := int64(0)
		for round := range 30 {
			callArgs(t, publisher, "PUBLISH", fmt.Sprintf("c%d", round%40), payload)
			callArgs(t, publisher, "PUBLISH", "all", payload)
			most = max(most, n.srv.clientMemory.sum.Load())
		}
		eventually(t, "clients to be closed", func() bool { return n.srv.limits.times(limitMemory) > 0 })
		eventually(t, "memory to be given back", func() bool { return n.srv.clientMemory.sum.Load() <= limit })
		if most > 3*limit {
			t.Errorf("%d bytes were kept at most", most)
		}
		expect(t, publisher, "PING", "+PONG\r\n")
		for _, c := range conns {
			c.Close()
		}
		eventually(t, "all to leave", func() bool { return n.srv.clients.count.Load() == 1 })
		eventually(t, "all memory to be given back", func() bool {
			return n.srv.clientMemory.sum.Load() == 0 && n.srv.clientMemory.going.Load() == 0
		})
	})
}

// TestPushRoom: of a client that does not read, nearly everything stays in its box, where messages are shared.
func TestPushRoom(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	slow, publisher := n.subscriber("ch"), n.dial()
	s := n.session(slow)
	payload := strings.Repeat("x", 32<<10)
	for s.box.bytes.Load() < 1<<20 {
		callArgs(t, publisher, "PUBLISH", "ch", payload)
	}
	if out := s.seen.output.Load(); out > pushRoom+64<<10 {
		t.Errorf("%d bytes were copied for a client that does not read", out)
	}
	// It goes on when the client reads after all.
	want := pushed("message", "ch", payload)
	for s.box.bytes.Load() > 0 {
		if got := readRaw(t, slow); got != want {
			t.Fatalf("got %.100q", got)
		}
	}
}

// TestPushOrder: what one client publishes comes in its order, and nothing comes behind the end of a subscription.
func TestPushOrder(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		c, publisher := n.dial(), n.dial()
		expect(t, c, "HELLO 3", "%")
		stop := make(chan struct{})
		published := make(chan int)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					published <- i
					return
				default:
				}
				if _, err := publisher.Do("PUBLISH", "ch", fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			}
		}()
		got := 0
		for range redistest.Size(50, 200, 1000) {
			expect(t, c, "SUBSCRIBE ch", ">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n")
			last := -1
			for range 3 {
				last = nextNumber(t, readRaw(t, c), last)
				got++
			}
			send(t, c, "UNSUBSCRIBE ch", "PING")
			for {
				raw := readRaw(t, c)
				if strings.HasPrefix(raw, ">3\r\n$11\r\nunsubscribe") {
					break
				}
				last = nextNumber(t, raw, last)
			}
			if raw := readRaw(t, c); raw != "+PONG\r\n" {
				t.Fatalf("behind the end of a subscription: %q", raw)
			}
		}
		close(stop)
		t.Logf("%d messages of %d were looked at", got, <-published)
	})
}

// nextNumber is the number in a message, which follows last without a gap unless last is -1.
func nextNumber(t *testing.T, raw string, last int) (n int) {
	t.Helper()
	lines := strings.Split(raw, "\r\n")
	if len(lines) < 7 || lines[2] != "message" {
		t.Fatalf("%q is no message", raw)
	}
	if _, err := fmt.Sscan(lines[6], &n); err != nil || last >= 0 && n != last+1 {
		t.Fatalf("%q behind %d", raw, last)
	}
	return n
}

// TestManySubscriptions: ten thousand subscriptions of one client, and a limit.
func TestManySubscriptions(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c, publisher := n.dial(), n.dial()
	const count = 10000
	args := []string{"SUBSCRIBE"}
	for i := range count {
		args = append(args, fmt.Sprintf("ch:%d", i))
	}
	if err := c.SendCommand(args...); err != nil {
		t.Fatal(err)
	}
	for i := range count {
		checkReply(t, "confirmation", readRaw(t, c), fmt.Sprintf("*3\r\n$9\r\nsubscribe\r\n%s:%d\r\n", bulk(args[i+1]), i+1))
	}
	expect(t, publisher, "PUBLISH ch:9999 x", ":1\r\n", "PUBLISH ch:10000 x", ":0\r\n")
	checkReply(t, "message", readRaw(t, c), array("message", "ch:9999", "x"))
	if info := n.session(c).describe(time.Now()); !strings.Contains(info, " flags=P ") || !strings.Contains(info, " sub=10000 psub=0 ssub=0 ") {
		t.Errorf("CLIENT LIST: %s", info)
	}
	for i := range args[1:] {
		args[i+1] = fmt.Sprintf("more:%d", i)
	}
	more := 0
	for ; more < maxSubscriptions; more += count {
		if err := c.SendCommand(args...); err != nil {
			t.Fatal(err)
		}
		if raw := readRaw(t, c); strings.HasPrefix(raw, "-") {
			checkReply(t, "too many", raw, "-"+protocol.ErrSubscriptions(maxSubscriptions)+"\r\n")
			break
		}
		for range count - 1 {
			readRaw(t, c)
		}
		for i := range args[1:] {
			args[i+1] = fmt.Sprintf("more:%d:%d", more, i)
		}
	}
	if more < maxSubscriptions-2*count || more >= maxSubscriptions {
		t.Errorf("the limit came behind %d", more)
	}
	if held := n.session(c).seen.memory.Load(); held < 60000*subscriptionOverhead {
		t.Errorf("subscriptions count as %d bytes", held)
	}
	c.Close()
	eventually(t, "all to be forgotten", func() bool { return n.srv.hub.counts[onChannel].Load() == 0 && n.srv.clientMemory.sum.Load() == 0 })
}
