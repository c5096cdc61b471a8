package systest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"quipu/internal/linear"
	"quipu/internal/redistest"
)

const (
	linearClients = 8
	linearKeys    = 3
	linearOps     = 300              // per key; the search for an order grows fast with them
	linearTimeout = 20 * time.Second // of the search, per key
)

// drawCommand never sets key 0, so that nothing covers up an increment that got lost there.
func drawCommand(rng *rand.Rand, k int) string {
	switch p := rng.IntN(100); {
	case p < 15 && k > 0:
		return "SET " + strconv.Itoa(rng.IntN(1_000_000)-500_000)
	case p < 55:
		return "INCR"
	case p < 75:
		return "DECR"
	}
	return "GET"
}

// linearHistory is one round: clients work on fresh keys; meanwhile the node is killed and started again.
type linearHistory struct {
	prefix    string // of the keys
	addr      string
	began     time.Time
	restarted int64         // when the node was back
	taken     atomic.Int64  // operations handed out to the clients, the keys in turn
	killAt    int           // the operation at which the node is to be killed
	reached   chan struct{} // closed at killAt
	up        chan struct{} // closed when the node is back
	// ops are all operations; number n belongs to key n%linearKeys.
	ops [linearKeys * linearOps]porcupine.Operation
}

// send records operation n, as one without an answer, and sends it.
func (h *linearHistory) send(c *redistest.Conn, client, n int, command string) error {
	h.ops[n] = porcupine.Operation{ClientId: client, Input: command, Call: int64(time.Since(h.began)), Return: linear.Open}
	return c.SendCommand(slices.Insert(strings.Fields(command), 1, h.prefix+strconv.Itoa(n%linearKeys))...)
}

// answer reads the next reply, which is operation n's.
func (h *linearHistory) answer(c *redistest.Conn, n int) error {
	r, err := c.Read()
	if err == nil {
		h.ops[n].Return, h.ops[n].Output = int64(time.Since(h.began)), string(r.Type)+r.Text
	}
	return err
}

// client works until the operations are used up, on one connection before the kill and on one after it.
func (h *linearHistory) client(id int, rng *rand.Rand) error {
	err := h.session(id, rng)
	if err == nil || h.taken.Load() <= int64(h.killAt) { // it must not break before the kill
		return err
	}
	<-h.up
	return h.session(id, rng)
}

// session keeps one operation in flight or, with odd clients, up to two.
func (h *linearHistory) session(id int, rng *rand.Rand) error {
	c, err := redistest.Dial(h.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for pending := []int(nil); ; pending = pending[1:] {
		for want := 1 + rng.IntN(1+id%2); len(pending) < want; {
			n := int(h.taken.Add(1)) - 1
			if n == h.killAt {
				close(h.reached)
			}
			if n >= linearKeys*(linearOps-1) { // one per key is left for the read at the end
				break
			}
			if err := h.send(c, id, n, drawCommand(rng, n%linearKeys)); err != nil {
				return err
			}
			pending = append(pending, n)
		}
		if len(pending) == 0 {
			return nil
		}
		if err := h.answer(c, pending[0]); err != nil {
			return err
		}
	}
}

// play returns the node that was started after the kill. At the end each key is read once more.
func (h *linearHistory) play(t *testing.T, s *redistest.Server, node redistest.Quipu, rng *rand.Rand) *redistest.Server {
	var wg sync.WaitGroup
	defer wg.Wait()
	up := sync.OnceFunc(func() { close(h.up) })
	defer up()
	for id := range linearClients {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 0))
		wg.Go(func() {
			if err := h.client(id, rng); err != nil {
				t.Errorf("client %d: %v", id, err)
			}
		})
	}
	select {
	case <-h.reached:
	case <-time.After(linearTimeout):
		t.Fatalf("only %d operations in %v: %s", h.taken.Load(), linearTimeout, s.Output())
	}
	time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
	s.Kill9()
	checkOutput(t, s)
	s = node.Start(t)
	h.restarted = int64(time.Since(h.began))
	up()
	wg.Wait()
	c := s.Dial(t)
	for n := linearKeys * (linearOps - 1); n < len(h.ops); n++ {
		if h.send(c, linearClients, n, "GET") != nil || h.answer(c, n) != nil {
			t.Fatalf("no answer to the last GETs: %s", s.Output())
		}
	}
	return s
}

// TestLinearizable kills the node in the middle of concurrent histories: every reply, before and after, must fit one order
// of the operations that keeps to their times.
func TestLinearizable(t *testing.T) {
	rounds := redistest.Size(12, 12, 48)
	rng := newRand(t)
	node := redistest.Quipu{Dir: t.TempDir(), Port: redistest.FreePort(t)}
	s := node.Start(t)
	unanswered, after := 0, 0
	for round := 0; round < rounds && !t.Failed(); round++ {
		h := &linearHistory{
			prefix: fmt.Sprintf("linear:%d:", round), addr: s.Addr, began: time.Now(),
			killAt:  linearKeys * linearOps / 10 * (2 + rng.IntN(4)),
			reached: make(chan struct{}), up: make(chan struct{}),
		}
		s = h.play(t, s, node, rng)
		for k := range linearKeys {
			var ops []porcupine.Operation
			for n := k; n < len(h.ops); n += linearKeys {
				op := h.ops[n]
				ops = append(ops, op)
				if op.Return == linear.Open {
					unanswered++
				} else if op.Call > h.restarted && op.ClientId < linearClients {
					after++
				}
			}
			if v := porcupine.CheckOperationsTimeout(linear.Counter, ops, linearTimeout); v != porcupine.Ok {
				for _, op := range ops {
					t.Logf("client %d, %d to %d ns: %v: %v", op.ClientId, op.Call, op.Return, op.Input, op.Output)
				}
				t.Errorf("round %d, key %d, node back at %d ns: verdict %q", round, k, h.restarted, v)
			}
		}
	}
	t.Logf("%d operations without an answer, %d after the restarts", unanswered, after)
	if unanswered == 0 || after == 0 {
		t.Error("none of one kind: the test does not test what it should")
	}
}
