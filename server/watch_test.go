package server

import (
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
)

const aborted, done = "*-1\r\n", "*1\r\n+OK\r\n"

// watchCase is what happens between a client's WATCH of w and its EXEC, and whether that runs.
type watchCase struct {
	name   string
	before []string // by the client, before WATCH
	own    []string // by the client, between WATCH and MULTI
	other  []string // by another client meanwhile
	want   string
}

var watchCases = []watchCase{
	{"nothing happens", nil, nil, nil, done},
	{"set", nil, nil, []string{"SET w 1"}, aborted},
	{"another key", nil, nil, []string{"SET v 1"}, done},
	{"another database", nil, nil, []string{"SELECT 1", "SET w 1"}, done},
	{"changed and changed back", []string{"SET w 1"}, nil, []string{"SET w 2", "SET w 1"}, aborted},
	{"created and deleted", nil, nil, []string{"SET w 2", "DEL w"}, aborted},
	{"missing key deleted", nil, nil, []string{"DEL w"}, done},
	{"increment of 0", []string{"SET w 1"}, nil, []string{"INCRBY w 0"}, aborted},
	{"only its deadline", []string{"SET w 1"}, nil, []string{"EXPIRE w 1000"}, aborted},
	{"only read", []string{"SET w 1"}, nil, []string{"GET w", "TTL w", "STRLEN w"}, done},
	{"flush of an existing key", []string{"SET w 1"}, nil, []string{"FLUSHALL"}, aborted},
	{"flush of a missing key", nil, nil, []string{"SET v 1", "FLUSHALL"}, done},
	{"flush of another database", []string{"SET w 1"}, nil, []string{"SELECT 1", "SET w 1", "FLUSHDB"}, done},
	{"own write", nil, []string{"SET w 1"}, nil, aborted},
	{"own read", []string{"SET w 1"}, []string{"GET w"}, nil, done},
	{"UNWATCH", nil, []string{"UNWATCH"}, []string{"SET w 1"}, done},
	{"DISCARD", nil, []string{"MULTI", "DISCARD"}, []string{"SET w 1"}, done},
	{"EXEC of another transaction", nil, []string{"MULTI", "EXEC"}, []string{"SET w 1"}, done},
	{"renamed away", []string{"SET w 1"}, nil, []string{"RENAME w v"}, aborted},
	{"copied over", []string{"SET v 1"}, nil, []string{"COPY v w"}, aborted},
	{"in a transaction", nil, nil, []string{"MULTI", "SET w 1", "EXEC"}, aborted},
}

func (c *watchCase) run(t *testing.T, client, other *redistest.Conn) {
	for _, command := range c.before {
		call(t, client, command)
	}
	call(t, client, "WATCH w")
	for _, command := range c.own {
		call(t, client, command)
	}
	for _, command := range c.other {
		call(t, other, command)
	}
	expect(t, client, "MULTI", "+OK\r\n", "SET result 1", "+QUEUED\r\n", "EXEC", c.want)
	// The watch is over either way.
	call(t, other, "SET w 7")
	expect(t, client, "MULTI", "+OK\r\n", "SET result 1", "+QUEUED\r\n", "EXEC", done)
}

func TestWatch(t *testing.T) {
	for _, c := range watchCases {
		t.Run(c.name, func(t *testing.T) {
			n := startGroupNode(t, &testGroup{}, nil)
			client, other := n.dial(), n.dial()
			c.run(t, client, other)
			if client.Close(); n.srv.watches.count.Load() != 0 {
				t.Error("something is still watched")
			}
		})
	}
}

// TestWatchPipelined has the client's own write and its EXEC in one packet, and so in one batch.
func TestWatchPipelined(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	send(t, c, "WATCH w", "INCR w", "MULTI", "INCR x", "EXEC", "INCR w", "WATCH w", "MULTI", "INCR x", "EXEC")
	for _, want := range []string{"+OK\r\n", ":1\r\n", "+OK\r\n", "+QUEUED\r\n", "*-1\r\n", ":2\r\n", "+OK\r\n", "+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"} {
		checkReply(t, "pipeline", readRaw(t, c), want)
	}
}

// TestWatchQueuedWrite has another client's write of the watched key wait in the log's queue, in the batch in flight
// and in the one behind it, when EXEC comes.
func TestWatchQueuedWrite(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		g := &testGroup{}
		n := startGroupNode(t, g, nil)
		watching, writing, third := n.dial(), n.dial(), n.dial()
		expect(t, watching, "WATCH w", "+OK\r\n")
		expect(t, writing, "PING", "+PONG\r\n")
		g.hold()
		for range ahead {
			send(t, third, "INCR other")
			eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
		}
		send(t, writing, "INCR w")
		n.reached(writing, "incr")
		eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
		send(t, watching, "MULTI", "INCR x", "EXEC")
		checkReply(t, "MULTI", readRaw(t, watching), "+OK\r\n")
		checkReply(t, "INCR", readRaw(t, watching), "+QUEUED\r\n")
		n.reached(watching, "exec")
		g.release()
		checkReply(t, "EXEC", readRaw(t, watching), "*-1\r\n")
		checkReply(t, "INCR w", readRaw(t, writing), ":1\r\n")
		expect(t, watching, "GET x", "$-1\r\n")
	}
}

// TestWatchUnknownOutcome has the write whose fate is unknown be applied between another client's WATCH and its EXEC.
func TestWatchUnknownOutcome(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, func(c *config.Config) { c.WriteTimeout = 50 * time.Millisecond })
	watching, writing := n.dial(), n.dial()
	g.hold()
	send(t, writing, "INCR w")
	checkReply(t, "INCR w", readRaw(t, writing), "-UNKNOWN")
	expect(t, watching, "WATCH w", "+OK\r\n", "GET w", "$-1\r\n", "MULTI", "+OK\r\n", "SET w 1", "+QUEUED\r\n")
	send(t, watching, "EXEC")
	n.reached(watching, "exec")
	g.release()
	checkReply(t, "EXEC", readRaw(t, watching), "*-1\r\n")
	expect(t, watching, "GET w", "$1\r\n1\r\n")
	// With its fate known, transactions run again.
	expect(t, watching, "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n", "INCR w", "+QUEUED\r\n", "EXEC", "*1\r\n:2\r\n")
}

// TestWatchExpiry lets a watched key expire between WATCH and EXEC, and between EXEC and the entry's stamp.
func TestWatchExpiry(t *testing.T) {
	tt, clock := newTestTime()
	g := &testGroup{clock: clock}
	n := startGroupNode(t, g, nil)
	c := n.dial()
	expect(t, c, "SET w 1 PX 100", "+OK\r\n", "WATCH w", "+OK\r\n")
	tt.advance(99 * time.Millisecond)
	expect(t, c, "MULTI", "+OK\r\n", "GET w", "+QUEUED\r\n", "EXEC", "*1\r\n$1\r\n1\r\n", "WATCH w", "+OK\r\n")
	tt.advance(time.Millisecond)
	expect(t, c, "MULTI", "+OK\r\n", "GET w", "+QUEUED\r\n", "EXEC", "*-1\r\n")
	expect(t, c, "SET w 1 PX 100", "+OK\r\n", "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n", "INCR x", "+QUEUED\r\n")
	tt.advance(100 * time.Millisecond)
	expect(t, c, "EXEC", "*-1\r\n")

	// The stamp of the batch decides, not the moment of EXEC.
	expect(t, c, "SET w 1 PX 100", "+OK\r\n", "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n", "INCR x", "+QUEUED\r\n")
	g.hold()
	other := n.dial()
	send(t, other, "INCR y")
	eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
	send(t, c, "EXEC")
	n.reached(c, "exec")
	tt.advance(100 * time.Millisecond)
	g.release()
	checkReply(t, "EXEC", readRaw(t, c), "*-1\r\n")
	expect(t, c, "GET x", "$-1\r\n", "EXISTS w", ":0\r\n")
}

// TestWatchMissingExpired watches a key that has expired already: it is missing, and stays so.
func TestWatchMissingExpired(t *testing.T) {
	tt, clock := newTestTime()
	n := startGroupNode(t, &testGroup{clock: clock}, nil)
	c := n.dial()
	expect(t, c, "SET w 1 PX 10", "+OK\r\n")
	tt.advance(20 * time.Millisecond)
	expect(t, c, "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n", "INCR x", "+QUEUED\r\n", "EXEC", "*1\r\n:1\r\n")
}

// TestWatchOfPipelinedTransactions has a transaction without WATCH follow one with it in the same pipeline.
func TestWatchOfPipelinedTransactions(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	expect(t, c, "WATCH w", "+OK\r\n")
	send(t, c, "MULTI", "SET a 1", "EXEC", "MULTI", "SET b 1", "EXEC")
	for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n", "+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n"} {
		checkReply(t, "pipeline", readRaw(t, c), want)
	}
	if watched := n.srv.watches.count.Load(); watched != 0 {
		t.Errorf("%d keys are still watched", watched)
	}
}

// TestAbortedExecSelects has EXEC abort after SELECT was queued: the connection stays where it was.
func TestAbortedExecSelects(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c, other := n.dial(), n.dial()
	expect(t, c, "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n", "SELECT 3", "+QUEUED\r\n", "SET x 1", "+QUEUED\r\n")
	expect(t, other, "SET w 1", "+OK\r\n")
	expect(t, c, "EXEC", "*-1\r\n", "SET y 1", "+OK\r\n")
	expect(t, other, "GET y", bulk("1"))
}

// TestAbortedExecSelectsInFlight is the same, with the other client's write still in the log's queue when EXEC comes.
func TestAbortedExecSelectsInFlight(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	c, other := n.dial(), n.dial()
	expect(t, c, "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n", "SELECT 3", "+QUEUED\r\n", "SET x 1", "+QUEUED\r\n")
	expect(t, other, "PING", "+PONG\r\n")
	g.hold()
	send(t, other, "SET w 1")
	eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
	send(t, c, "EXEC", "SET y 1")
	n.reached(c, "exec")
	g.release()
	checkReply(t, "EXEC", readRaw(t, c), "*-1\r\n")
	checkReply(t, "SET y", readRaw(t, c), "+OK\r\n")
	checkReply(t, "SET w", readRaw(t, other), "+OK\r\n")
	expect(t, other, "GET y", bulk("1"))
}
