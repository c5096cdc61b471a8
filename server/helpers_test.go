package server

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/replication"
)

func TestMain(m *testing.M) {
	// Raft may leave the future of a barrier unresolved when it is stopped, and with it the goroutine that waits for it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("quipu/replication.(*raftGroup).awaitBarrier"))
}

// testNode is a node inside of the test's process.
type testNode struct {
	t      testing.TB
	srv    *Server
	cancel context.CancelFunc
	done   chan error
}

// startNode starts a node on disk that listens on a free port.
func startNode(t testing.TB, change func(*config.Config)) *testNode {
	t.Helper()
	cfg := testConfig(t, change)
	srv, err := New(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return runNode(t, srv)
}

// startGroupNode starts a node on a group of the test's.
func startGroupNode(t testing.TB, g *testGroup, change func(*config.Config)) *testNode {
	t.Helper()
	srv, err := NewWithGroups(testConfig(t, change), nil, func(_ replication.Config, sm replication.StateMachine) (replication.Group, error) {
		g.Group = replication.NewMemoryGroup(sm, g.clock)
		return g, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return runNode(t, srv)
}

func testConfig(t testing.TB, change func(*config.Config)) config.Config {
	cfg := config.Default()
	cfg.Port, cfg.AnyPort = 0, true
	cfg.Dir = t.TempDir()
	cfg.SegmentBytes = 1 << 20
	if change != nil {
		change(&cfg)
	}
	return cfg
}

func runNode(t testing.TB, srv *Server) *testNode {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	n := &testNode{t: t, srv: srv, cancel: cancel, done: done}
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		if n.done != nil {
			_ = n.stop()
		}
	})
	select {
	case <-srv.Serving():
	case err := <-n.done:
		n.done = nil
		t.Fatal(err)
	}
	eventually(t, "the node to be ready", srv.isReady)
	return n
}

// stop ends the node as SIGTERM does.
func (n *testNode) stop() error {
	n.cancel()
	return n.wait()
}

func (n *testNode) wait() error {
	n.t.Helper()
	done := n.done
	n.done = nil
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<20)
		n.t.Fatalf("the node does not stop:\n%s", buf[:runtime.Stack(buf, true)])
		return nil
	}
}

func (n *testNode) dial() *redistest.Conn {
	n.t.Helper()
	c, err := redistest.Dial(n.srv.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// reached waits until the command, in lower case, is the last one that the node has looked at for the client, and its loop's
// turn is over: the command has run, is in a batch, or is held back. A command held back is seen only if another one stands in front of it in its packet.
func (n *testNode) reached(c *redistest.Conn, command string) {
	n.t.Helper()
	eventually(n.t, command+" to be read", func() bool {
		s := n.session(c)
		last := s.seen.lastCommand.Load()
		return last != nil && last.FullName() == command && !s.worker.inTurn()
	})
}

// session is the node's side of a connection that has had a reply.
func (n *testNode) session(c *redistest.Conn) *Session {
	n.t.Helper()
	for _, s := range n.srv.clients.all() {
		if s.remote == c.LocalAddr().String() {
			return s
		}
	}
	n.t.Fatalf("the node does not know %v", c.LocalAddr())
	return nil
}

// call sends one command, given as words, and returns the reply as its bytes.
func call(t testing.TB, c *redistest.Conn, command string) string {
	t.Helper()
	return callArgs(t, c, strings.Fields(command)...)
}

func callArgs(t testing.TB, c *redistest.Conn, args ...string) string {
	t.Helper()
	if err := c.SendCommand(args...); err != nil {
		t.Fatalf("%.80q: %v", args, err)
	}
	return readRaw(t, c)
}

func readRaw(t testing.TB, c *redistest.Conn) string {
	t.Helper()
	raw, err := c.ReadRaw()
	if err != nil {
		t.Fatalf("reading a reply: %v", err)
	}
	return string(raw)
}

// expect checks the reply to each command; a wanted reply without a line end is the beginning of one.
func expect(t testing.TB, c *redistest.Conn, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		checkReply(t, pairs[i], call(t, c, pairs[i]), pairs[i+1])
	}
}

func checkReply(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want && !(strings.HasPrefix(got, want) && !strings.HasSuffix(want, "\r\n")) {
		t.Errorf("%.80s: got %.300q, want %.300q", what, got, want)
	}
}

// send writes commands, given as words, in one packet.
func send(t testing.TB, c *redistest.Conn, commands ...string) {
	t.Helper()
	var b []byte
	for _, command := range commands {
		b = redistest.AppendCommand(b, strings.Fields(command)...)
	}
	if err := c.Send(b); err != nil {
		t.Fatal(err)
	}
}

// expectClosed checks that the node closes the connection, after the text if there is one.
func expectClosed(t testing.TB, c *redistest.Conn, text string) {
	t.Helper()
	if text != "" {
		checkReply(t, "last words", readRaw(t, c), "-"+text+"\r\n")
	}
	if err := c.ReadEOF(); err != nil {
		t.Error(err)
	}
}

// bothTransports runs a test over epoll, where there is such a thing, and over net.
func bothTransports(t *testing.T, test func(t *testing.T, transport func(*config.Config))) {
	for _, name := range []string{"epoll", "net"} {
		if name == "epoll" && runtime.GOOS != "linux" {
			continue
		}
		t.Run(name, func(t *testing.T) { test(t, func(c *config.Config) { c.Transport = name }) })
	}
}

// testGroup is an ideal group in memory whose commits and refusals the test decides.
type testGroup struct {
	replication.Group
	clock *replication.Clock

	mu       sync.Mutex
	proposer replication.Proposer
	holding  bool
	held     []*heldProposal
	lost     bool // something was abandoned in this term
	refusal  error
}

// heldProposal is one that has not been handed on yet; it may never be.
type heldProposal struct {
	data []byte
	done chan replication.Future
}

var errNeverCommitted = errors.New("the test never committed this")

func (p *heldProposal) Error() error {
	f, ok := <-p.done
	if !ok {
		return errNeverCommitted
	}
	p.done <- f
	return f.Error()
}

func (g *testGroup) Bind(p replication.Proposer) {
	g.proposer = p
	g.Group.Bind(p)
}

func (g *testGroup) Propose(data []byte) replication.Future {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.holding {
		return g.Group.Propose(data)
	}
	p := &heldProposal{data, make(chan replication.Future, 1)}
	g.held = append(g.held, p)
	return p
}

// hold keeps what is proposed from now on from being committed.
func (g *testGroup) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = true
}

// release commits what was held, and everything after it. If something was abandoned, a new term begins first, in which the
// fate of that is known.
func (g *testGroup) release() {
	g.mu.Lock()
	g.holding = false
	g.commit()
	lost := g.lost
	g.lost = false
	g.mu.Unlock()
	if lost {
		g.proposer.TermBegan(g.Term() + 1) // without the lock: it proposes
	}
}

// commitHeld commits what was held, and goes on to hold what comes after it.
func (g *testGroup) commitHeld() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commit()
}

func (g *testGroup) commit() {
	for _, p := range g.held {
		p.done <- g.Group.Propose(p.data)
	}
	g.held = nil
}

// abandon makes the proposals that are held fail for a reason that says nothing about their fate.
func (g *testGroup) abandon() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.held {
		close(p.done)
		g.lost = true
	}
	g.held = nil
}

// Shutdown implements replication.Group; those who wait for what is held are told.
func (g *testGroup) Shutdown(ctx context.Context) error {
	g.abandon()
	return g.Group.Shutdown(ctx)
}

func (g *testGroup) heldCount() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.held)
}

// refuse has writes refused for the reason, or no more if it is nil.
func (g *testGroup) refuse(reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusal = nil
	if reason != nil {
		g.refusal = &replication.NotAppliedError{Reason: reason}
	}
}

func (g *testGroup) Writable() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refusal != nil {
		return g.refusal
	}
	return g.Group.Writable()
}

// testTime is a source of time that stands still until it is moved.
type testTime struct{ ms atomic.Int64 }

func newTestTime() (*testTime, *replication.Clock) {
	tt := &testTime{}
	tt.ms.Store(1_700_000_000_000)
	now := func() int64 { return tt.ms.Load() * 1e6 }
	return tt, replication.NewClock(&replication.TimeSource{Mono: now, Wall: now})
}

func (tt *testTime) advance(d time.Duration) { tt.ms.Add(d.Milliseconds()) }
