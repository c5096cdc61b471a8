package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// The session fuzzers let strangers say anything to a node that lives through all inputs of the process. What is asked of
// the node is little: it goes on to answer, what it says is well-formed, its keyspace is sound, and once the strangers
// are gone nothing of theirs is left: no session, goroutine, watched key, batch or budget.

// FuzzSessionBytes sends two streams of bytes over two connections. split says whose turn it is and how much is sent.
func FuzzSessionBytes(f *testing.F) {
	for _, s := range scriptSeeds(f) {
		f.Add(uint8(s.number), s.split(), s.inline[0], s.inline[1])
		f.Add(uint8(s.number+1), s.split(), s.framed[0], s.framed[1])
	}
	for i, damage := range damages {
		f.Add(uint8(i), []byte{3, 131, 1}, []byte("PING\r\n"+damage), []byte(damage+"PING\r\n"))
	}
	ground := newFuzzGround(f)
	f.Fuzz(func(t *testing.T, flags uint8, split, first, second []byte) {
		if len(first)+len(second) <= maxFuzzBytes {
			ground.run(t, planOfBytes(flags, split, first, second))
		}
	})
}

// FuzzSessionCommands runs a program, see compile: commands from the real table, sequences that are known to be hard,
// damage in between, and connections that end in the middle.
func FuzzSessionCommands(f *testing.F) {
	ground := newFuzzGround(f)
	for _, s := range scriptSeeds(f) {
		f.Add(encodeProgram(s.number, s.words))
	}
	for i := range phrases {
		words := [][]string{phrases[i], {"INCR", "a"}, phrases[(i*7+3)%len(phrases)], {"GET", "a"}, phrases[(i*5+1)%len(phrases)]}
		f.Add(encodeProgram(i, words))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) <= maxFuzzBytes {
			ground.run(t, ground.compile(program))
		}
	})
}

// TestSessionsRandom runs random programs; the seed is printed, and QUIPU_TEST_SEED replays it.
func TestSessionsRandom(t *testing.T) {
	n := redistest.Size(1000, 1500, 4000)
	seed := rand.Uint64()
	if text := os.Getenv("QUIPU_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("QUIPU_TEST_SEED: %v", err)
		}
	}
	t.Logf("QUIPU_TEST_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ground := newFuzzGround(t)
	for i := range n {
		program := make([]byte, 1+r.IntN(600))
		for j := range program {
			program[j] = byte(r.Uint32())
		}
		if ground.run(t, ground.compile(program)); t.Failed() {
			t.Fatalf("program %d of the seed: %q", i, program)
		}
	}
}

// fuzzGround is where strangers meet nodes: one for each transport.
type fuzzGround struct {
	nodes      []*fuzzNode
	goroutines int  // while nobody is connected, as of the first input
	broken     bool // an input has failed: what it left behind would fail the others
}

// fuzzNode is a node with its two configurations, without and with a password.
type fuzzNode struct {
	*testNode
	socket  string
	configs [2]*config.Config
}

const fuzzPassword = "secret"

func newFuzzGround(tb testing.TB) *fuzzGround {
	g := &fuzzGround{}
	transports := []string{"epoll", "net"}
	if runtime.GOOS != "linux" {
		transports = transports[1:]
	}
	for _, transport := range transports {
		dir, err := os.MkdirTemp("", "quipu") // a path that is short enough for a socket
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { os.RemoveAll(dir) })
		socket := filepath.Join(dir, "s")
		n := startGroupNode(tb, &testGroup{}, func(c *config.Config) {
			c.AnyPort, c.UnixSocket, c.UnixPerm = false, socket, 0o600
			c.Transport, c.Databases, c.AuthFailures = transport, 4, 1<<30
		})
		plain := n.srv.config()
		locked := *plain
		locked.RequirePass = fuzzPassword
		g.nodes = append(g.nodes, &fuzzNode{n, socket, [2]*config.Config{plain, &locked}})
		// An input that ends the node would end the fuzzing.
		shutdown := n.srv.table.Lookup([]byte("shutdown"))
		n.srv.handlers[shutdown.ID()].run = func(_ *Session, _ [][]byte, w *protocol.Writer) { w.Error("ERR not here") }
	}
	return g
}

// run has the plan's strangers come and go, and looks at what they left behind.
func (g *fuzzGround) run(t *testing.T, p plan) {
	if g.broken {
		t.Skip("an earlier input has failed")
	}
	defer func() { g.broken = t.Failed() }()
	if g.goroutines == 0 {
		g.goroutines = runtime.NumGoroutine()
	}
	n := g.nodes[p.transport%len(g.nodes)]
	n.configure(p.locked)
	var guests guests
	defer guests.end()
	for _, s := range p.steps {
		if err := guests.step(n.socket, s); err != nil {
			t.Errorf("%v: %v", s, err)
			break
		}
	}
	guests.leave()
	n.bidFarewell(t, &guests)
	n.until(t, "the guests' sessions to end", func() bool { return n.srv.clients.count.Load() == 0 })
	// What the guests sent last may be ACL SETUSER.
	n.until(t, "what was sent last to be executed", func() bool { return n.srv.queued() == 0 })
	n.configure(0) // whatever CONFIG SET and ACL made of it
	n.srv.endPause()
	n.checkAlive(t)
	n.until(t, "the last session to end", func() bool { return n.srv.clients.count.Load() == 0 })
	n.until(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= g.goroutines })
	left := ""
	defer func() {
		if left != "" {
			t.Errorf("left behind: %s", left)
		}
	}()
	n.until(t, "everything of the guests' to go", func() bool { left = n.left(); return left == "" })
	if failed := n.srv.failedBatches(); failed != 0 {
		t.Errorf("%d batches have failed", failed)
	}
}

// until waits for what a departure brings about. A pause that a guest has left behind, or that is just being read from
// its connection, would keep it from happening.
func (n *fuzzNode) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for spins := 0; !ok(); spins++ {
		if spins < 30 {
			runtime.Gosched() // mostly it is a matter of microseconds, and a sleep takes a millisecond
		} else {
			time.Sleep(time.Millisecond)
		}
		if n.srv.pausing.Load() {
			n.srv.endPause()
		}
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("waited too long for %s:\n%s", what, buf[:runtime.Stack(buf, true)])
		}
	}
}

// bidFarewell waits until every guest has seen the end of its connection.
func (n *fuzzNode) bidFarewell(t *testing.T, gs *guests) {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for _, g := range gs.all {
		for waiting := true; waiting; {
			select {
			case err := <-g.done:
				if err != nil {
					t.Errorf("a guest's replies: %v", err)
				}
				waiting = false
			case <-again.C:
				if n.srv.pausing.Load() {
					n.srv.endPause()
				}
			}
		}
	}
}

// configure puts one of the node's configurations into force, without any users but the default one. Nobody is connected.
func (n *fuzzNode) configure(which int) {
	ks := n.srv.replicas[0].Keyspace
	var names [][]byte
	ks.View(0, 0, false).EachUser(func(name, _ []byte) { names = append(names, bytes.Clone(name)) })
	for _, name := range names {
		ks.Txn(0, 0, false).ForgetUser(name)
	}
	n.srv.userState.mu.Lock()
	n.srv.userState.kept = nil
	n.srv.userState.mu.Unlock()
	n.srv.denials.Reset()
	n.srv.cfg.Store(n.configs[which])
	n.srv.publishUsers()
}

// checkAlive asks on a fresh connection, and empties the node for the next input.
func (n *fuzzNode) checkAlive(t *testing.T) {
	c, err := redistest.Dial(n.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := n.srv.replicas[0].Keyspace.Check(); err != nil {
		t.Errorf("keyspace broken: %v", err)
	}
	replies, err := c.Pipeline([]string{"PING"}, []string{"FLUSHALL"}, []string{"DBSIZE"}, []string{"QUIT"})
	if err != nil || replies[0].Text != "PONG" || replies[1].Text != "OK" || replies[2].Text != "0" {
		t.Errorf("a fresh connection got %v, %v", replies, err)
	}
	if err := c.ReadEOF(); err != nil {
		t.Errorf("after QUIT: %v", err)
	}
}

// left says what of the clients' there still is, "" when nothing is. Nobody is connected.
func (n *fuzzNode) left() string {
	srv := n.srv
	srv.clients.mu.Lock()
	sessions := len(srv.clients.sessions)
	srv.clients.mu.Unlock()
	srv.watches.mu.Lock()
	watched := len(srv.watches.keys)
	srv.watches.mu.Unlock()
	for _, left := range []struct {
		what string
		n    int64
		idle int64
	}{
		{"registered sessions", int64(sessions), 0},
		{"watched keys", int64(watched), 0},
		{"watches", srv.watches.count.Load(), 0},
		{"holds", int64(srv.replicas[0].Keyspace.Holds()), 0},
		{"bytes of bulk budget", srv.bulk.bytes.Load(), 0},
		{"queued bytes", srv.queued(), 0},
		{"blocked clients", srv.stats.blocked.Load(), 0},
	} {
		if left.n != left.idle {
			return fmt.Sprintf("%d %s", left.n, left.what)
		}
	}
	return ""
}

// guests are the connections of one input, as a plan numbers them.
type guests struct {
	conns [fuzzGuests]*guest
	all   []*guest
}

// guest is one connection. Its reader goroutine ends with the connection.
type guest struct {
	*redistest.Conn
	reads bool
	done  chan error // what the reader found, once
}

func (gs *guests) step(socket string, s planStep) error {
	g := gs.conns[s.guest]
	if g == nil {
		c, err := redistest.Dial(socket)
		if err != nil {
			return err
		}
		g = &guest{Conn: c, done: make(chan error, 1)}
		gs.conns[s.guest], gs.all = g, append(gs.all, g)
	}
	if s.kind != guestCuts && s.kind != guestHears {
		if err := g.Send(s.data); err != nil && !redistest.IsClosed(err) {
			return err
		}
	}
	switch s.kind {
	case guestHears:
		g.listen()
	case guestCuts:
		g.Close()
		g.listen()
		gs.conns[s.guest] = nil
	case guestEnds:
		g.hangUp()
		gs.conns[s.guest] = nil
	}
	return nil
}

// leave has everybody who is still there finish in good manners.
func (gs *guests) leave() {
	for _, g := range gs.conns {
		if g != nil {
			g.hangUp()
		}
	}
}

// end closes what a failed test has left open.
func (gs *guests) end() {
	for _, g := range gs.all {
		g.Close()
	}
}

// hangUp says that nothing more will be sent, and listens to the end.
func (g *guest) hangUp() {
	_ = g.Conn.Conn.(*net.UnixConn).CloseWrite() // the node may have closed the connection
	g.listen()
}

// listen reads replies from now on.
func (g *guest) listen() {
	if g.reads {
		return
	}
	g.reads = true
	go func() {
		for {
			if raw, err := g.ReadRaw(); err != nil {
				if redistest.IsClosed(err) || isClosedHere(err) {
					err = nil
				} else {
					err = fmt.Errorf("%w after %.100q", err, raw)
				}
				g.done <- err
				return
			}
		}
	}()
}
