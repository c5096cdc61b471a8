package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/engine"
	"quipu/internal/redistest"
	"quipu/protocol"
	"quipu/replication"
)

// startRestorable starts a node whose state machine the test has.
func startRestorable(t *testing.T, change func(*config.Config)) (*testNode, *testGroup, replication.StateMachine) {
	t.Helper()
	g := &testGroup{}
	var machine replication.StateMachine
	srv, err := NewWithGroups(testConfig(t, change), nil, func(_ replication.Config, sm replication.StateMachine) (replication.Group, error) {
		machine = sm
		g.Group = replication.NewMemoryGroup(sm, g.clock)
		return g, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return runNode(t, srv), g, machine
}

// TestLoadingWaitsForTurns: nothing is loaded while a turn that has passed the gate, or a slow read, is not over.
func TestLoadingWaitsForTurns(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n, _, _ := startRestorable(t, transport)
		c, other := n.dial(), n.dial()
		expect(t, c, "SET a 1", "+OK\r\n")
		s := n.session(c)
		var loaded atomic.Bool
		done := make(chan error, 1)
		load := func() {
			go func() {
				done <- n.srv.whileLoading(func() error { loaded.Store(true); return nil })
			}()
			eventually(t, "the gate to close", func() bool { return !n.srv.isReady() })
			time.Sleep(50 * time.Millisecond) // in which a node that does not wait loads
			if loaded.Load() {
				t.Error("loaded beside a reader")
			}
		}
		begun, goOn := make(chan struct{}), make(chan struct{})
		s.worker.loop.Post(func() {
			s.Process([]byte("GET a\r\n"), 0)
			close(begun)
			<-goOn
		})
		<-begun
		load()
		close(goOn)
		if err := <-done; err != nil || !loaded.Load() {
			t.Error("not loaded when the turn was over:", err)
		}
		send(t, c, "PING") // a turn as others, which sends what is ready
		checkReply(t, "GET", readRaw(t, c), "$1\r\n1\r\n")
		checkReply(t, "PING", readRaw(t, c), "+PONG\r\n")

		loaded.Store(false)
		ks := n.srv.replicas[0].Keyspace
		part := engine.Part([]byte("a"))
		ks.LockPart(part)
		send(t, other, "KEYS *")
		held := 0 // looks in a row: reclaiming holds reading too, for a moment
		eventually(t, "the slow read", func() bool {
			if held++; n.srv.reading.TryLock() {
				n.srv.reading.Unlock()
				held = 0
			}
			return held == 20
		})
		load()
		ks.UnlockPart(part)
		if err := <-done; err != nil || !loaded.Load() {
			t.Error("not loaded when the slow read was over:", err)
		}
		checkReply(t, "KEYS", readRaw(t, other), "*1\r\n$1\r\na\r\n")
		expect(t, c, "GET a", "$1\r\n1\r\n")
	})
}

// readers are clients that read the keys k0, k1 … whose values are 0, 1 …, and now and then count ahead.
type readers struct {
	stop                    atomic.Bool
	right, refused, counted atomic.Int64
	clients                 sync.WaitGroup
}

func (r *readers) start(t *testing.T, n *testNode, keys int) {
	for id := range 4 {
		c := n.dial()
		random := rand.New(rand.NewPCG(uint64(id), 1))
		r.clients.Go(func() {
			for !r.stop.Load() && r.ask(t, c, random.IntN(20), random.IntN(keys), keys) {
			}
		})
	}
}

// ask sends one command and judges the reply.
func (r *readers) ask(t *testing.T, c *redistest.Conn, kind, i, keys int) bool {
	command, want := fmt.Sprintf("GET k%d", i), bulk(fmt.Sprint(i))
	switch kind {
	case 0:
		command, want = fmt.Sprintf("EXISTS k%d k%d", i, (i+1)%keys), ":2\r\n"
	case 1:
		command, want = fmt.Sprintf("MGET k%d nothing", i), "*2\r\n"+bulk(fmt.Sprint(i))+"$-1\r\n"
	case 2:
		command, want = "INCR ahead", ":"
	}
	switch got := call(t, c, command); {
	case got == "-"+protocol.ErrLoading+"\r\n":
		r.refused.Add(1)
	case want == ":" && got[0] == ':':
		r.counted.Add(1)
	case want == ":" && strings.HasPrefix(got, "-TRYAGAIN"): // too much is answered ahead while nothing is committed
	case got == want:
		r.right.Add(1)
	default:
		t.Errorf("%s: %q, want %q", command, got, want)
		return false
	}
	return true
}

// TestLoadingWhileServing has clients read all the time while the state is replaced again and again, by one that has the
// same values: they get the right ones, or are told that the node is loading. Nothing that was answered ahead is lost.
func TestLoadingWhileServing(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n, g, machine := startRestorable(t, func(c *config.Config) {
			transport(c)
			c.AckRules = []config.AckRule{{Glob: "ahead*", Local: true}}
		})
		c := n.dial()
		const keys = 3000
		for i := range keys {
			send(t, c, fmt.Sprintf("SET k%d %d", i, i))
		}
		for range keys {
			checkReply(t, "SET", readRaw(t, c), "+OK\r\n")
		}
		expect(t, c, "DEL ahead", ":0\r\n")
		var state bytes.Buffer
		captured := machine.Capture()
		if err := captured.Persist(&state); err != nil {
			t.Fatal(err)
		}
		captured.Release()
		g.hold() // nothing is executed from the log while the test restores

		var r readers
		r.start(t, n, keys)
		for range redistest.Size(15, 30, 60) {
			if err := machine.Restore(bytes.NewReader(state.Bytes()), int64(state.Len()), n.srv.replicas[0].Group.AppliedIndex(), n.srv.replicas[0].Stamp()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		r.stop.Store(true)
		r.clients.Wait()
		g.release()
		t.Logf("%d right, %d refused, %d counted ahead", r.right.Load(), r.refused.Load(), r.counted.Load())
		if r.right.Load() == 0 || r.refused.Load() == 0 || r.counted.Load() == 0 {
			t.Error("the readers did not meet a load")
		}
		eventually(t, "everything to be in the log", func() bool { return n.ahead() == 0 && n.srv.queued() == 0 })
		if got, want := call(t, c, "GET ahead"), bulk(fmt.Sprint(r.counted.Load())); got != want {
			t.Errorf("%q counted ahead, want %q", got, want)
		}
	})
}
