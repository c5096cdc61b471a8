package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// expectNothing checks that nothing has come for a client: the next thing it gets is an answer.
func expectNothing(t *testing.T, c *redistest.Conn) {
	t.Helper()
	expect(t, c, "ECHO nothing", bulk("nothing"))
}

// TestPublishBehindWrites: a message is sent when the client's writes before it are applied.
func TestPublishBehindWrites(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	c, publisher := n.subscriber("ch"), n.dial()
	expect(t, publisher, "PING", "+PONG\r\n")
	g.hold()
	send(t, publisher, "SET k 1", "PUBLISH ch changed")
	n.reached(publisher, "publish") // and it waits
	expectNothing(t, c)
	g.release()
	checkReply(t, "message", readRaw(t, c), pushed("message", "ch", "changed"))
	expect(t, c, "GET k", bulk("1"))
	checkReply(t, "SET", readRaw(t, publisher), "+OK\r\n")
	checkReply(t, "PUBLISH", readRaw(t, publisher), ":1\r\n")
}

// TestPublishInExec: what a transaction publishes is sent once it has been executed, and not if it is not.
func TestPublishInExec(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	c, p, other := n.subscriber("ch"), n.dial(), n.dial()
	expect(t, other, "PING", "+PONG\r\n")

	expect(t, p, "MULTI", "+OK\r\n", "PUBLISH ch 1", "+QUEUED\r\n", "SET k 1", "+QUEUED\r\n", "PUBLISH ch 2", "+QUEUED\r\n")
	g.hold()
	send(t, p, "EXEC", "PUBLISH ch 3")
	eventually(t, "the transaction to be proposed", func() bool { return g.heldCount() == 1 })
	expectNothing(t, c)
	g.release()
	for _, want := range []string{"1", "2", "3"} {
		checkReply(t, "message", readRaw(t, c), pushed("message", "ch", want))
	}
	checkReply(t, "EXEC", readRaw(t, p), "*3\r\n:1\r\n+OK\r\n:1\r\n")
	checkReply(t, "PUBLISH", readRaw(t, p), ":1\r\n")

	// One that only reads, and one without anything else
	expect(t, p, "MULTI", "+OK\r\n", "GET k", "+QUEUED\r\n", "PUBLISH ch 4", "+QUEUED\r\n", "EXEC", "*2\r\n$1\r\n1\r\n:1\r\n")
	checkReply(t, "message", readRaw(t, c), pushed("message", "ch", "4"))
	expect(t, p, "MULTI", "+OK\r\n", "SPUBLISH ch 5", "+QUEUED\r\n", "EXEC", "*1\r\n:0\r\n")

	// What is aborted, discarded or refused publishes nothing.
	expect(t, p, "WATCH k", "+OK\r\n")
	expect(t, other, "SET k 2", "+OK\r\n")
	expect(t, p, "MULTI", "+OK\r\n", "PUBLISH ch no", "+QUEUED\r\n", "SET k 3", "+QUEUED\r\n", "EXEC", "*-1\r\n")
	expect(t, p, "MULTI", "+OK\r\n", "PUBLISH ch no", "+QUEUED\r\n", "DISCARD", "+OK\r\n")
	expect(t, p, "WATCH k", "+OK\r\n", "MULTI", "+OK\r\n", "PUBLISH ch no", "+QUEUED\r\n", "SET k 3", "+QUEUED\r\n")
	g.hold()
	send(t, other, "SET k 4")
	eventually(t, "the other write to be proposed", func() bool { return g.heldCount() == 1 })
	send(t, p, "EXEC")
	n.reached(p, "exec")
	g.release()
	checkReply(t, "EXEC, decided when it is sealed", readRaw(t, p), "*-1\r\n")
	checkReply(t, "the other write", readRaw(t, other), "+OK\r\n")
	expectNothing(t, c)
}

// TestSubscribeInExec: a transaction may subscribe; one that aborts has changed nothing.
func TestSubscribeInExec(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	c, other := n.dial(), n.dial()
	expect(t, c, "HELLO 3", "%", "SUBSCRIBE old", ">3", "MULTI", "+OK\r\n", "SUBSCRIBE a b", "+QUEUED\r\n", "GET k", "+QUEUED\r\n", "EXEC", "*2\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n_\r\n")
	checkReply(t, "the second confirmation", readRaw(t, c), ">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:3\r\n")

	expect(t, c, "WATCH k", "+OK\r\n", "MULTI", "+OK\r\n", "SUBSCRIBE new", "+QUEUED\r\n", "UNSUBSCRIBE old", "+QUEUED\r\n", "SET k 1", "+QUEUED\r\n")
	g.hold()
	send(t, other, "SET k 2")
	eventually(t, "the other write to be proposed", func() bool { return g.heldCount() == 1 })
	send(t, c, "EXEC")
	n.reached(c, "exec")
	g.release()
	checkReply(t, "EXEC", readRaw(t, c), "_\r\n")
	checkReply(t, "the other write", readRaw(t, other), "+OK\r\n")
	expect(t, other, "PUBLISH new x", ":0\r\n", "PUBLISH old x", ":1\r\n", "PUBSUB NUMSUB a b", "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:1\r\n")
	checkReply(t, "message", readRaw(t, c), pushed("message", "old", "x"))
}

// TestPatternLimits: patterns are few and short enough for PUBLISH to look at all of them, and where that may take long no loop does.
func TestPatternLimits(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c, publisher := n.dial(), n.dial()
	long := "-" + protocol.ErrChannelTooLong(maxPatternBytes) + "\r\n"
	expect(t, c, "HELLO 3", "%", "PSUBSCRIBE "+strings.Repeat("x", maxPatternBytes+1), long, "PSUBSCRIBE a* "+strings.Repeat("x", maxPatternBytes+1), long)
	limit := n.srv.config().MaxKey + topicPrefix
	expect(t, c, "SUBSCRIBE "+strings.Repeat("x", limit+1), "-"+protocol.ErrChannelTooLong(limit)+"\r\n", "PUBLISH "+strings.Repeat("x", limit+1)+" y", "-"+protocol.ErrChannelTooLong(limit)+"\r\n",
		"SUBSCRIBE "+strings.Repeat("x", limit), ">3", "UNSUBSCRIBE", ">3")

	heavy := "*" + strings.Repeat("a", maxPatternBytes-2)
	for i := range maxClientHeavy / maxPatternBytes {
		expect(t, c, fmt.Sprintf("PSUBSCRIBE %s%c", heavy, 'b'+i), ">3")
	}
	full := "-" + protocol.ErrClientPatterns(maxClientPatterns, maxClientHeavy) + "\r\n"
	expect(t, c, "PSUBSCRIBE *x", full, "PSUBSCRIBE light.*", ">3")
	channel := strings.Repeat("a", limit)
	if !n.srv.hub.takesLong(onChannel, []byte(channel)) {
		t.Error("a loop would compare what takes long")
	}
	expect(t, publisher, "PUBLISH "+channel+" x", ":0\r\n", "PUBLISH "+channel[1:]+"b x", ":1\r\n", "PUBLISH light.1 x", ":1\r\n")
	checkReply(t, "message", readRaw(t, c), pushed("pmessage", heavy+"b", channel[1:]+"b", "x"))
	checkReply(t, "message", readRaw(t, c), pushed("pmessage", "light.*", "light.1", "x"))

	expect(t, c, "RESET", "+RESET\r\n", "HELLO 3", "%")
	for i := range maxClientPatterns {
		expect(t, c, fmt.Sprintf("PSUBSCRIBE %d*", i), ">3")
	}
	expect(t, c, "PSUBSCRIBE one-more*", full)

	// All clients together
	h := newHub()
	s := n.session(c)
	for i := 0; h.add(onPattern, fmt.Sprintf("%d.*", i), s); i++ {
		if i > maxPatterns {
			t.Fatal("there may be any number of patterns")
		}
	}
	h = newHub()
	for i := 0; h.add(onPattern, fmt.Sprintf("%s%d", heavy[:300], i), s); i++ {
		if i > maxHeavy/300 {
			t.Fatal("patterns may take any time")
		}
	}
	h.remove(onPattern, heavy[:300]+"0", s)
	if !h.add(onPattern, heavy[:300]+"0", s) {
		t.Error("what has been taken away still counts")
	}
}

// TestSubscribersAreClients: what CLIENT, INFO and timeout make of a client that listens.
func TestSubscribersAreClients(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.Timeout = time.Second })
	c, p, s := n.dial(), n.dial(), n.dial()
	expect(t, c, "SUBSCRIBE a b", "*3")
	expect(t, p, "PSUBSCRIBE a*", "*3")
	expect(t, s, "SSUBSCRIBE a", "*3")
	readRaw(t, c)
	// Others of the same age are closed for their idleness first.
	idle := n.dial()
	expect(t, idle, "PING", "+PONG\r\n")
	expectClosed(t, idle, "")
	admin := n.dial()
	list := call(t, admin, "CLIENT LIST TYPE pubsub")
	for _, want := range []string{" sub=2 psub=0 ssub=0 ", " sub=0 psub=1 ssub=0 ", " sub=0 psub=0 ssub=1 ", " flags=P "} {
		if !strings.Contains(list, want) {
			t.Errorf("CLIENT LIST TYPE pubsub does not have %q: %s", want, list)
		}
	}
	if got := strings.Count(list, "id="); got != 3 {
		t.Errorf("CLIENT LIST TYPE pubsub has %d lines", got)
	}
	if list := call(t, admin, "CLIENT LIST TYPE normal"); strings.Count(list, " id=")+strings.Count(list, "\nid=") != 1 {
		t.Errorf("CLIENT LIST TYPE normal: %s", list)
	}
	info := call(t, admin, "INFO stats")
	for _, want := range []string{"pubsub_channels:2\r\n", "pubsub_patterns:1\r\n", "pubsubshard_channels:1\r\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("INFO has no %q", want)
		}
	}
	expect(t, admin, "CLIENT KILL TYPE pubsub", ":3\r\n")
	for _, conn := range []*redistest.Conn{c, p, s} {
		expectClosed(t, conn, "")
	}
	eventually(t, "all to be forgotten", func() bool {
		return n.srv.hub.counts[onChannel].Load()+n.srv.hub.counts[onPattern].Load()+n.srv.hub.counts[onShard].Load() == 0
	})
}

// TestPatternsThatAreGone: a message is not compared with patterns that nobody listens to any more.
func TestPatternsThatAreGone(t *testing.T) {
	n := startNode(t, nil)
	c := n.dial()
	expect(t, c, "HELLO 3", "%", "PSUBSCRIBE a*", ">3", "PSUBSCRIBE b*", ">3")
	patterns := func() int { return len(n.srv.hub.patternsNow().topics) }
	if got := patterns(); got != 2 {
		t.Errorf("%d patterns", got)
	}
	expect(t, c, "PUNSUBSCRIBE a*", ">3")
	if got := patterns(); got != 1 {
		t.Errorf("%d patterns when one is gone", got)
	}
}
