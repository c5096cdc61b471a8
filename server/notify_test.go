package server

import (
	"fmt"
	"strings"
	"testing"

	"quipu/config"
	"quipu/engine"
)

// TestNotificationsAreOff: nobody is told of changes while nothing is to be told, so they cost nothing.
func TestNotificationsAreOff(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	interest := func(value string, want int64) {
		t.Helper()
		callArgs(t, c, "CONFIG", "SET", "notify-keyspace-events", value)
		if got := n.srv.notifier.interest.Load(); got != want {
			t.Errorf("%q: interest %d", value, got)
		}
	}
	interest("", 0)
	interest("A", 0)  // no channels
	interest("KE", 0) // no events
	interest("K$", 1)
	interest("En", 1)
	interest("", 0)
	set := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.Notify = config.NotifyKeyevent | config.NotifyString })
	if set.srv.notifier.interest.Load() != 1 {
		t.Error("the setting of the start is not used")
	}
	expect(t, set.dial(), "SET a 1", "+OK\r\n")
	if set.srv.notifier.queue != nil {
		t.Error("events are kept though nobody listens")
	}
}

// TestNotificationQueue: events that come faster than they can be published are dropped and counted; none waits for that.
func TestNotificationQueue(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.Notify = config.NotifyKeyevent | config.NotifyString })
	c := n.subscriber("__keyevent@0__:set")
	n.srv.hub.mu.Lock() // nothing is published meanwhile
	key := []byte(strings.Repeat("k", 1000))
	const count = 20000
	for range count {
		n.srv.keyChanged(&engine.Change{Op: engine.OpSet, Event: "set", Key: key})
	}
	dropped := n.srv.notifier.dropped.Load()
	bytes := n.srv.notifier.bytes
	n.srv.hub.mu.Unlock()
	if bytes > notifyQueue || dropped == 0 || dropped > count/2 {
		t.Errorf("%d bytes wait, %d events of %d were dropped", bytes, dropped, count)
	}
	for range count - dropped {
		readRaw(t, c)
	}
	eventually(t, "the queue to be empty", func() bool {
		n.srv.notifier.mu.Lock()
		defer n.srv.notifier.mu.Unlock()
		return n.srv.notifier.bytes == 0 && !n.srv.notifier.works
	})
	if info := call(t, c, "INFO stats"); !strings.Contains(info, fmt.Sprintf("keyspace_events_dropped:%d\r\n", dropped)) {
		t.Errorf("INFO does not tell of it: %s", info)
	}
}

// TestNotificationsAcrossNodes: each node tells its own subscribers what it applies, wherever the write came in, also what was
// answered ahead; and nothing of what it reads from its log at a start.
func TestNotificationsAcrossNodes(t *testing.T) {
	nodes := startNodes(t, 3, func(c *config.Config) { c.Notify = config.NotifyKeyspace | config.NotifyString })
	for i, n := range nodes.nodes {
		key := fmt.Sprintf("k%d", i)
		s0, s1 := nodes.nodes[(i+1)%3].subscriber("__keyspace@0__:"+key), n.subscriber("__keyspace@0__:"+key)
		w := n.dial()
		expect(t, w, "SET "+key+" 1", "+OK\r\n", "CLIENT ACK LOCAL", "+OK\r\n", "INCR "+key, ":2\r\n")
		for _, event := range []string{"set", "incrby"} {
			checkReply(t, "event", readRaw(t, s0), pushed("message", "__keyspace@0__:"+key, event))
			checkReply(t, "event", readRaw(t, s1), pushed("message", "__keyspace@0__:"+key, event))
		}
	}

	alone := startNode(t, func(c *config.Config) { c.Notify = config.NotifyKeyspace | config.NotifyString })
	told := 0
	alone.srv.hub.counts[onChannel].Add(1) // as if somebody listened
	alone.srv.readyFlag.Store(false)
	alone.srv.keyChanged(&engine.Change{Op: engine.OpSet, Event: "set", Key: []byte("k")})
	alone.srv.notifier.mu.Lock()
	told = len(alone.srv.notifier.queue)
	alone.srv.notifier.mu.Unlock()
	alone.srv.readyFlag.Store(true)
	if told != 0 {
		t.Error("what is read from the log is told")
	}
}
