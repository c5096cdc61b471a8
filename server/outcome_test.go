package server

import (
	"strings"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
	"quipu/replication"
)

func shortTimeout(transport func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		transport(c)
		c.WriteTimeout = 400 * time.Millisecond
	}
}

// TestUnknownOutcome has a log that does not commit: the write's outcome is unknown, what stands behind it has not run,
// and others read on. When it is committed after all, it counts once.
func TestUnknownOutcome(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		g := &testGroup{}
		n := startGroupNode(t, g, shortTimeout(transport))
		c, other := n.dial(), n.dial()
		expect(t, c, "SET a 1", "+OK\r\n")
		g.hold()
		send(t, c, "INCR a", "GET a", "PING", "INCR a", "MULTI", "INCR a", "GET a", "EXEC", "MULTI", "GET a", "EXEC")
		eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
		expect(t, other, "GET a", "$1\r\n1\r\n")
		for _, want := range []string{"-UNKNOWN", "-TRYAGAIN", "+PONG\r\n", "-UNKNOWN", "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "-UNKNOWN",
			"+OK\r\n", "+QUEUED\r\n", "-TRYAGAIN"} {
			checkReply(t, "behind a log that stands still", readRaw(t, c), want)
		}
		// What is gathered while a fate is open is certainly not applied.
		expect(t, other, "INCR a", "-TRYAGAIN", "GET a", "$1\r\n1\r\n")
		g.release()
		eventually(t, "the entry to be applied", func() bool { return call(t, other, "GET a") == "$1\r\n4\r\n" })
		expect(t, c, "INCR a", ":5\r\n", "GET a", "$1\r\n5\r\n")
		expect(t, other, "INCR a", ":6\r\n")
		if err := n.srv.replicas[0].Keyspace.Check(); err != nil {
			t.Error(err)
		}
	})
}

// TestReadsBesideStandingLog reads while the log takes nothing. A read that waited for the log would get no reply, since
// the log goes on only behind the reads, and no write times out before a read does.
func TestReadsBesideStandingLog(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		g := &testGroup{}
		n := startGroupNode(t, g, func(c *config.Config) {
			transport(c)
			c.WriteTimeout = 10 * redistest.DefaultTimeout
		})
		c, other := n.dial(), n.dial()
		expect(t, c, "SET a 1", "+OK\r\n")
		g.hold()
		send(t, c, "INCR a")
		eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
		for range 15 {
			expect(t, other, "GET a", "$1\r\n1\r\n", "MGET a b", "*2\r\n$1\r\n1\r\n$-1\r\n", "KEYS *", "*1\r\n$1\r\na\r\n",
				"MULTI", "+OK\r\n", "GET a", "+QUEUED\r\n", "EXEC", "*1\r\n$1\r\n1\r\n")
		}
		g.release()
		checkReply(t, "INCR", readRaw(t, c), ":2\r\n")
	})
}

// TestFailedCommit has a proposal fail in a way that says nothing about its fate.
func TestFailedCommit(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		g := &testGroup{}
		n := startGroupNode(t, g, transport)
		c := n.dial()
		g.hold()
		send(t, c, "INCR a", "GET a")
		eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
		g.abandon()
		checkReply(t, "INCR", readRaw(t, c), "-UNKNOWN")
		checkReply(t, "GET", readRaw(t, c), "-TRYAGAIN")
		g.release()
		expect(t, c, "INCR a", ":1\r\n")
		// A client that only ever runs watched transactions gets through too.
		expect(t, c, "WATCH a", "+OK\r\n", "MULTI", "+OK\r\n", "INCR a", "+QUEUED\r\n", "EXEC", "*1\r\n:2\r\n")
	})
}

func TestRefusedWrites(t *testing.T) {
	for _, c := range []struct {
		reason error
		text   string
	}{
		{&replication.DiskFullError{Dir: "d", What: "free bytes"}, protocol.ErrMisconf},
		{replication.ErrNotLeader, protocol.ErrClusterDown},
		{replication.ErrShutdown, protocol.ErrShuttingDown},
		{replication.ErrFailed, protocol.ErrTryAgain},
	} {
		t.Run(strings.Fields(c.text)[0], func(t *testing.T) {
			g := &testGroup{}
			n := startGroupNode(t, g, nil)
			client, late := n.dial(), n.dial()
			expect(t, client, "SET a 1", "+OK\r\n")
			expect(t, late, "MULTI", "+OK\r\n", "INCR a", "+QUEUED\r\n")
			g.refuse(c.reason)
			refused := "-" + c.text + "\r\n"
			expect(t, client, "INCR a", refused, "GET a", "$1\r\n1\r\n", "DEL a", refused,
				"MULTI", "+OK\r\n", "INCR a", refused, "GET a", "+QUEUED\r\n", "EXEC", "-"+protocol.ErrExecAbort+"\r\n")
			// A transaction whose commands were queued before is refused as a whole.
			expect(t, late, "EXEC", refused, "GET a", "$1\r\n1\r\n")
			g.refuse(nil)
			expect(t, client, "INCR a", ":2\r\n")
		})
	}
}

// TestShutdownResolvesEverything stops a node whose log stands still: everybody gets an answer, and the node says that
// it could not finish.
func TestShutdownResolvesEverything(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		g := &testGroup{}
		n := startGroupNode(t, g, transport)
		n.srv.drainTimeout = 100 * time.Millisecond
		inFlight, behind := n.dial(), n.dial()
		g.hold()
		send(t, inFlight, "INCR a", "GET a")
		eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
		before := n.srv.queued()
		send(t, behind, "INCR b", "GET b")
		eventually(t, "a write behind it", func() bool { return n.srv.queued() > before })
		if err := n.stop(); err == nil || !strings.Contains(err.Error(), "under way") {
			t.Errorf("the node stopped with %v", err)
		}
		checkReply(t, "in flight", readRaw(t, inFlight), "-UNKNOWN")
		checkReply(t, "read behind it", readRaw(t, inFlight), "-TRYAGAIN")
		checkReply(t, "gathered", readRaw(t, behind), "-"+protocol.ErrShuttingDown+"\r\n")
		checkReply(t, "read behind it", readRaw(t, behind), "-TRYAGAIN")
		expectClosed(t, inFlight, "")
		expectClosed(t, behind, "")
	})
}
