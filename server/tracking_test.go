package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quipu/config"
	"quipu/engine"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// invalidated is what a RESP3 client is told of keys; none: all.
func invalidated(keys ...string) string {
	if keys == nil {
		return ">2\r\n" + bulk("invalidate") + "_\r\n"
	}
	return ">2\r\n" + bulk("invalidate") + array(keys...)
}

// tracker is a RESP3 client with tracking on.
func (n *testNode) tracker(options string) *redistest.Conn {
	n.t.Helper()
	c := n.dial()
	expect(n.t, c, "HELLO 3", "%", "CLIENT TRACKING ON "+options, "+OK\r\n")
	return c
}

// redirected is two clients: what the second one is told is for the keys that the first one reads.
func (n *testNode) redirected(listens bool) (reader, told *redistest.Conn) {
	n.t.Helper()
	told = n.dial()
	expect(n.t, told, "PING", "+PONG\r\n")
	id := n.session(told).id
	if listens {
		expect(n.t, told, "SUBSCRIBE __redis__:invalidate", "*3")
	} else {
		expect(n.t, told, "HELLO 3", "%")
	}
	reader = n.dial()
	expect(n.t, reader, fmt.Sprint("CLIENT TRACKING ON REDIRECT ", id), "+OK\r\n", "CLIENT GETREDIR", fmt.Sprintf(":%d\r\n", id))
	return reader, told
}

// TestTrackingSlowRead has a key change before a read of it is executed, on the task pool: the client is told behind the reply.
func TestTrackingSlowRead(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		c, other := n.tracker(""), n.dial()
		keys := []string{"MGET"}
		for i := range 40000 {
			keys = append(keys, fmt.Sprint("k", i))
		}
		wait := make(chan struct{})
		for range 2 {
			n.srv.tasks.run(func() { <-wait })
		}
		if err := c.SendCommand(keys...); err != nil {
			t.Fatal(err)
		}
		s := n.session(c)
		eventually(t, "the read to be noted", func() bool { return n.srv.tracking.keys.Load() == 40000 })
		expect(t, other, "SET k7 new", "+OK\r\n")
		eventually(t, "the message to be on its way", func() bool { return s.box.bytes.Load() > 0 })
		turns := make(chan struct{})
		for range 2 { // what the loop was to do by now, it has done
			s.worker.loop.Post(func() { turns <- struct{}{} })
			<-turns
		}
		close(wait)
		if got := readRaw(t, c); !strings.HasPrefix(got, "*40000\r\n") || !strings.Contains(got, "new") {
			t.Fatalf("before the reply: %.100q", got)
		}
		checkReply(t, "behind the reply", readRaw(t, c), invalidated("k7"))

		again := make(chan struct{})
		for range 2 {
			n.srv.tasks.run(func() { <-again })
		}
		send(t, c, "CLIENT REPLY OFF")
		if err := c.SendCommand(keys...); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the read to be noted", func() bool { return n.srv.tracking.keys.Load() == 40000 })
		expect(t, other, "SET k8 new", "+OK\r\n")
		eventually(t, "the message to be on its way", func() bool { return s.box.bytes.Load() > 0 })
		close(again)
		checkReply(t, "without a reply", readRaw(t, c), invalidated("k8"))
	})
}

// TestTrackingBehindWrites: of reads that wait behind writes, a client is told behind their replies; with REDIRECT once more than
// needed, since the first message may have been read before the reply.
func TestTrackingBehindWrites(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		g := &testGroup{}
		n := startGroupNode(t, g, transport)
		c, other := n.tracker(""), n.dial()
		g.hold()
		send(t, c, "SET a 1", "GET a", "MULTI", "GET a", "SET b 1", "EXEC", "PING")
		n.reached(c, "ping")
		g.release()
		for _, want := range []string{"+OK\r\n", bulk("1"), "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n" + bulk("1") + "+OK\r\n", "+PONG\r\n", invalidated("a")} {
			checkReply(t, "reply", readRaw(t, c), want)
		}
		expect(t, c, "GET a", bulk("1"))
		expect(t, other, "SET a 2", "+OK\r\n")
		checkReply(t, "message", readRaw(t, c), invalidated("a"))

		for ends, name := range map[string]string{"CLIENT TRACKING OFF": "client|tracking", "RESET": "reset"} { // which ends tracking, but not before the write in front of it
			expect(t, c, "HELLO 3", "%", "CLIENT TRACKING ON", "+OK\r\n", "GET a", "$")
			g.hold()
			send(t, c, "SET a 3", ends, "PING")
			n.reached(c, name)
			g.release()
			got := readRaw(t, c) + readRaw(t, c) + readRaw(t, c) + readRaw(t, c)
			if !strings.HasPrefix(got, "+OK\r\n") || !strings.Contains(got, invalidated("a")) || !strings.HasSuffix(got, "+PONG\r\n") {
				t.Errorf("%s behind a write: %q", ends, got)
			}
		}

		for _, listens := range []bool{true, false} {
			message := invalidated("x")
			if listens {
				message = "*3\r\n" + bulk("message") + bulk("__redis__:invalidate") + array("x")
			}
			reader, told := n.redirected(listens)
			g.hold()
			send(t, reader, "SET x 1", "GET x", "PING")
			n.reached(reader, "ping")
			g.release()
			for _, want := range []string{"+OK\r\n", bulk("1"), "+PONG\r\n"} {
				checkReply(t, "reply", readRaw(t, reader), want)
			}
			checkReply(t, "before the reply", readRaw(t, told), message)
			checkReply(t, "behind the reply", readRaw(t, told), message)
			expect(t, reader, "GET x", bulk("1"))
			expect(t, other, "SET x 2", "+OK\r\n")
			checkReply(t, "message", readRaw(t, told), message)
			expect(t, other, "SET x 2", "+OK\r\n", "FLUSHALL", "+OK\r\n")
			if listens {
				checkReply(t, "message", readRaw(t, told), "*3\r\n"+bulk("message")+bulk("__redis__:invalidate")+"$-1\r\n")
			} else {
				checkReply(t, "message", readRaw(t, told), invalidated())
			}
			expectNothing(t, reader)
			reader.Close()
			checkReply(t, "ping", call(t, told, "PING")[:1], map[bool]string{true: "*", false: "+"}[listens])
		}
	})
}

// TestTrackingBeforeReset: a client is told of its own write before RESET changes the protocol, also where the loop awaits the log itself.
func TestTrackingBeforeReset(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		c := startNode(t, transport).dial()
		for range 50 {
			expect(t, c, "HELLO 3", "%", "CLIENT TRACKING ON", "+OK\r\n", "GET a", "")
			send(t, c, "SET a 1", "RESET")
			checkReply(t, "SET", readRaw(t, c), "+OK\r\n")
			checkReply(t, "message", readRaw(t, c), invalidated("a"))
			checkReply(t, "RESET", readRaw(t, c), "+RESET\r\n")
		}
	})
}

// TestTrackingUnsettled: a client whose messages go elsewhere cannot have any number of reads noted that are not answered.
func TestTrackingUnsettled(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	reader, told := n.redirected(false)
	s := n.session(reader)
	const count = 2*maxUnsettled + 10
	input := redistest.AppendCommand(nil, "SET", "w", "1")
	for i := range count {
		input = redistest.AppendCommand(input, "GET", fmt.Sprint("k", i))
	}
	g.hold()
	if err := reader.Send(input); err != nil {
		t.Fatal(err)
	}
	eventually(t, "reads to be noted", func() bool { return n.srv.tracking.keys.Load() >= maxUnsettled })
	for range 10 { // turns, in which it might go on
		length := make(chan int)
		s.worker.loop.Post(func() { length <- len(s.unsettled) })
		if n := <-length; n != maxUnsettled {
			t.Fatalf("%d keys wait for their replies", n)
		}
		s.worker.loop.Post(s.link.Resume)
	}
	g.release()
	for range count + 1 {
		readRaw(t, reader)
	}
	expect(t, n.dial(), "SET k7 1", "+OK\r\n")
	checkReply(t, "message", readRaw(t, told), invalidated("k7"))
}

// TestTrackingRedirectBroken: a client is told that whoever should get its messages is gone. In RESP2 neither gets anything that does not
// listen to channels.
func TestTrackingRedirectBroken(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	reader, told := n.redirected(true)
	id := n.session(told).id
	other := n.dial()
	expect(t, told, "UNSUBSCRIBE", "*3")
	expect(t, reader, "GET x", "$-1\r\n")
	expect(t, other, "SET x 1", "+OK\r\n")
	expectNothing(t, told)
	expect(t, reader, "HELLO 3", "%", "GET x", bulk("1"))
	s := n.session(reader)
	told.Close()
	eventually(t, "it to leave", func() bool { return n.srv.clients.find(id) == nil })
	if got := s.describe(time.Now()); !strings.Contains(got, " flags=t ") || !strings.Contains(got, fmt.Sprintf(" redir=%d ", id)) {
		t.Errorf("CLIENT LIST: %s", got)
	}
	expect(t, other, "SET x 2", "+OK\r\n")
	checkReply(t, "message", readRaw(t, reader), fmt.Sprintf(">2\r\n%s:%d\r\n", bulk("tracking-redir-broken"), id))
	if got := s.describe(time.Now()); !strings.Contains(got, " flags=tR ") {
		t.Errorf("CLIENT LIST: %s", got)
	}
	expect(t, reader, "CLIENT TRACKINGINFO", "%3\r\n"+bulk("flags")+"~2\r\n"+bulk("on")+bulk("broken_redirect")+bulk("redirect")+fmt.Sprintf(":%d\r\n", id)+bulk("prefixes")+"*0\r\n",
		"CLIENT TRACKING ON", "+OK\r\n", "CLIENT TRACKINGINFO", "%3\r\n"+bulk("flags")+"~1\r\n"+bulk("on")+bulk("redirect")+":0\r\n"+bulk("prefixes")+"*0\r\n",
		"CLIENT TRACKING OFF", "+OK\r\n", "CLIENT TRACKING ON BCAST", "+OK\r\n")
	if got := s.describe(time.Now()); !strings.Contains(got, " flags=tB ") || !strings.Contains(got, " redir=0 ") {
		t.Errorf("CLIENT LIST: %s", got)
	}
	two := n.dial()
	expect(t, two, "CLIENT TRACKING ON", "+OK\r\n", "GET x", bulk("2"))
	expect(t, other, "SET x 3", "+OK\r\n")
	expectNothing(t, two)
}

// TestTrackingInExec: what a transaction that aborts would have changed of tracking stays as it was.
func TestTrackingInExec(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	c, other := n.tracker("OPTIN"), n.dial()
	expect(t, other, "PING", "+PONG\r\n")
	abort := func(commands ...string) {
		t.Helper()
		expect(t, c, "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n")
		for _, command := range commands {
			expect(t, c, command, "+QUEUED\r\n")
		}
		g.hold()
		send(t, other, "SET w 1")
		n.reached(other, "set")
		send(t, c, "EXEC")
		n.reached(c, "exec")
		g.release()
		checkReply(t, "EXEC", readRaw(t, c), "_\r\n")
		checkReply(t, "SET", readRaw(t, other), "+OK\r\n")
	}
	was := call(t, c, "CLIENT TRACKINGINFO")
	abort("CLIENT TRACKING OFF", "CLIENT TRACKING ON BCAST PREFIX x", "SET y 1")
	expect(t, c, "CLIENT TRACKINGINFO", was)
	if p := n.srv.tracking.prefixes.count.Load(); p != 0 {
		t.Errorf("%d prefixes", p)
	}
	expect(t, c, "CLIENT TRACKING OFF", "+OK\r\n")
	abort("CLIENT TRACKING ON", "SET y 1")
	if c := n.srv.tracking.clients.Load(); c != 0 {
		t.Errorf("%d clients are tracked", c)
	}
}

// TestTrackingLimit: beyond the setting keys are taken out at random, and their clients are told.
func TestTrackingLimit(t *testing.T) {
	const limit = 100
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.TrackingKeys = limit })
	tr := n.srv.tracking
	var conns []*redistest.Conn
	cached := map[string]bool{}
	c := n.tracker("")
	for i := range 10 * limit {
		key := fmt.Sprint("k", i)
		for got := call(t, c, "GET "+key); got != "_\r\n"; got = readRaw(t, c) {
			lost := strings.Split(got, "\r\n")[5]
			if !cached[lost] {
				t.Fatalf("%q was not kept", lost)
			}
			delete(cached, lost)
		}
		cached[key] = true
		if keys := tr.keys.Load(); keys > limit {
			t.Fatalf("%d keys", keys)
		}
	}
	for got := call(t, c, "PING"); got != "+PONG\r\n"; got = readRaw(t, c) {
		delete(cached, strings.Split(got, "\r\n")[5])
	}
	if len(cached) > limit {
		t.Errorf("%d keys are kept, of which many are not noted", len(cached))
	}
	// Long keys, and many clients of one, count for more.
	for i := range 12 * fewCachers {
		conns = append(conns, n.tracker(""))
		expect(t, conns[i], "GET all", "_\r\n")
	}
	eventually(t, "clients to be told", func() bool { return tr.keys.Load() <= limit })
	expect(t, n.dial(), "SET all 1", "+OK\r\n")
	for _, c := range conns {
		checkReply(t, "message", readRaw(t, c), invalidated("all"))
	}
	for i := range limit {
		callArgs(t, conns[0], "GET", strings.Repeat("x", 2000)+fmt.Sprint(i))
	}
	if most := int64(limit * trackedBytes / 2000); tr.keys.Load() > most+limit {
		t.Errorf("%d long keys", tr.keys.Load())
	}
	if bytes := tr.bytes.Load(); bytes > limit*trackedBytes {
		t.Errorf("%d bytes of keys", bytes)
	}
	expect(t, n.dial(), "CONFIG SET tracking-table-max-keys 1", "+OK\r\n")
	eventually(t, "the table to shrink", func() bool { return tr.keys.Load() <= 1 })
}

// TestTrackingSweep: keys of clients that are gone are forgotten.
func TestTrackingSweep(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	tr := n.srv.tracking
	stays := n.tracker("")
	for i := range 10 {
		expect(t, stays, fmt.Sprint("GET k", i), "_\r\n")
	}
	expect(t, stays, "GET own", "_\r\n")
	for range 2 * fewCachers {
		c := n.tracker("")
		args := []string{"MGET"}
		for i := range 1000 {
			args = append(args, fmt.Sprint("k", i))
		}
		callArgs(t, c, args...)
		c.Close()
	}
	eventually(t, "keys to be forgotten", func() bool { return tr.items.Load() < 4000 && tr.clients.Load() == 1 })
	tr.dead.Store(1 << 20)
	tr.tidy()
	if keys, items := tr.keys.Load(), tr.items.Load(); keys != 11 || items != 11 {
		t.Errorf("%d keys, %d items", keys, items)
	}
	expect(t, n.dial(), "SET k3 x", "+OK\r\n", "FLUSHALL", "+OK\r\n")
	checkReply(t, "message", readRaw(t, stays), invalidated("k3"))
	checkReply(t, "message", readRaw(t, stays), invalidated())
	if keys, items, bytes := tr.keys.Load(), tr.items.Load(), tr.bytes.Load(); keys != 0 || items != 0 || bytes != 0 {
		t.Errorf("%d keys, %d items, %d bytes", keys, items, bytes)
	}
	expect(t, n.dial(), "SET k4 x", "+OK\r\n")
	expectNothing(t, stays)
}

// TestTrackingPrefixes: prefixes of several clients, one within the other, and what is too much.
func TestTrackingPrefixes(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	tr := n.srv.tracking
	prefixes := []string{"", "a", "ab", "abc", "abd", "b", "ba"}
	var conns []*redistest.Conn
	for _, p := range prefixes {
		options := "BCAST"
		if p != "" {
			options += " PREFIX " + p
		}
		conns = append(conns, n.tracker(options))
	}
	other := n.dial()
	for _, key := range []string{"a", "ab", "abcd", "abdx", "abe", "ac", "b", "bb", "ba0", "c", "0", "aa"} {
		expect(t, other, "SET "+key+" 1", "+OK\r\n")
		for i, p := range prefixes {
			if strings.HasPrefix(key, p) {
				checkReply(t, p, readRaw(t, conns[i]), invalidated(key))
			}
		}
	}
	if got := call(t, other, "INFO stats") + call(t, other, "INFO clients"); !strings.Contains(got, "tracking_total_prefixes:7\r\n") || !strings.Contains(got, "tracking_clients:7\r\n") {
		t.Errorf("INFO: %q", got)
	}
	// Nobody is told of the node's own records, in the hidden database.
	tr.changed(&engine.Change{Op: engine.OpReclaim, DB: n.srv.config().Databases, Key: []byte("own")})
	expect(t, other, "SET last 1", "+OK\r\n")
	checkReply(t, "message", readRaw(t, conns[0]), invalidated("last"))
	for _, c := range conns {
		expectNothing(t, c)
		c.Close()
	}
	eventually(t, "prefixes to be forgotten", func() bool { return tr.prefixes.count.Load() == 0 })

	c := n.tracker("BCAST PREFIX x")
	p := &tr.prefixes
	p.mu.Lock()
	p.armed = true // so that keys gather
	p.mu.Unlock()
	for i := range gatheredMax/trackedOverhead + 10 {
		p.changed(tr, []byte(fmt.Sprint("x", i)), nil)
	}
	p.broadcast(tr)
	checkReply(t, "too many keys", readRaw(t, c), invalidated())
	expect(t, other, "SET x1 1", "+OK\r\n")
	checkReply(t, "message", readRaw(t, c), invalidated("x1"))

	args := []string{"CLIENT", "TRACKING", "ON", "BCAST"}
	for i := range maxClientPrefixes {
		args = append(args, "PREFIX", fmt.Sprintf("p%05d", i))
	}
	checkReply(t, "too many", callArgs(t, c, args...), "-"+protocol.ErrClientPrefixes(maxClientPrefixes)+"\r\n")
	checkReply(t, "one less", callArgs(t, c, args[:len(args)-2]...), "+OK\r\n")
	p.count.Store(maxPrefixes)
	checkReply(t, "of all", callArgs(t, other, args[:6]...), "-"+protocol.ErrPrefixes(maxPrefixes)+"\r\n")
	checkReply(t, "long", callArgs(t, n.dial(), "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", strings.Repeat("x", 5000)), "-"+protocol.ErrPrefixes(maxPrefixes)+"\r\n")
	p.count.Store(0)
	checkReply(t, "long", callArgs(t, n.dial(), "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", strings.Repeat("x", 5000)), "-"+protocol.ErrKeyTooLong(4096)+"\r\n")
}

// TestTrackingNoloop: a client is not told of what it has changed alone, but of what others have as well.
func TestTrackingNoloop(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c, other := n.tracker("NOLOOP"), n.dial()
	expect(t, c, "GET k", "_\r\n")
	expect(t, c, "GET k", "_\r\n", "SET k 1", "+OK\r\n", "PING", "+PONG\r\n", "GET k", bulk("1"), "INCRBY k 2", ":3\r\n", "GET k", bulk("3"),
		"MULTI", "+OK\r\n", "INCR k", "+QUEUED\r\n", "EXEC", "*1\r\n:4\r\n", "PING", "+PONG\r\n")
	b := n.tracker("BCAST NOLOOP PREFIX k")
	p := &n.srv.tracking.prefixes
	p.mu.Lock()
	p.armed = true // so that keys gather
	p.mu.Unlock()
	expect(t, b, "SET k1 1", "+OK\r\n", "SET k2 1", "+OK\r\n", "SET k3 1", "+OK\r\n")
	expect(t, other, "SET k2 1", "+OK\r\n", "SET k4 1", "+OK\r\n")
	p.broadcast(n.srv.tracking)
	checkReply(t, "message", readRaw(t, b), invalidated("k2", "k4"))
	p.mu.Lock()
	p.armed = true
	p.mu.Unlock()
	expect(t, b, "SET k1 1", "+OK\r\n")
	p.broadcast(n.srv.tracking)
	expectNothing(t, b)
}

// TestTrackingReplaced: a snapshot that replaces the state changes any key.
func TestTrackingReplaced(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.tracker("")
	expect(t, c, "GET k", "_\r\n")
	if err := n.srv.whileLoading(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	checkReply(t, "message", readRaw(t, c), invalidated())
	if keys := n.srv.tracking.keys.Load(); keys != 0 {
		t.Errorf("%d keys", keys)
	}
}

// TestTrackingAhead: a value that counts what is answered ahead is told of when that is applied, or cannot be.
func TestTrackingAhead(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, func(c *config.Config) { c.AckLocal, c.LocalInterval = true, time.Millisecond })
	c, other := n.tracker(""), n.dial()
	g.hold()
	expect(t, other, "INCRBY k 5", ":5\r\n")
	expect(t, c, "GET k", bulk("5"))
	g.release()
	checkReply(t, "applied", readRaw(t, c), invalidated("k"))
	expect(t, c, "GET k", bulk("5"))
	expectNothing(t, c)
}
