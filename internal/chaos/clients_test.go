package chaos

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

// outcome is what a client knows of a command afterwards.
type outcome int

const (
	done      outcome = iota // it got a reply
	notRun                   // certainly without an effect
	uncertain                // it may have been carried out, and may still be
)

// replyLimit is how long a client waits for a reply before it takes its node for dead: longer than write-timeout.
const replyLimit = 8 * time.Second

// client is a connection to one node, made anew when it breaks.
type client struct {
	run  *run
	node int
	conn *redistest.Conn
}

// do sends commands at once and returns their replies. Those without a reply are uncertain.
func (c *client) do(commands ...[]string) (replies []redistest.Reply, outcomes []outcome) {
	outcomes = make([]outcome, len(commands))
	for i := range outcomes {
		outcomes[i] = uncertain
	}
	for c.conn == nil {
		if c.run.ended() {
			for i := range outcomes {
				outcomes[i] = notRun
			}
			return nil, outcomes
		}
		c.connect()
	}
	replies, err := c.conn.Pipeline(commands...)
	for i, r := range replies {
		outcomes[i] = judge(r)
	}
	if err != nil {
		c.hangUp()
	}
	if slices.Contains(outcomes, notRun) {
		time.Sleep(10 * time.Millisecond)
	}
	return replies, outcomes
}

// connect tries once to make the connection.
func (c *client) connect() {
	conn, err := redistest.Dial(c.run.address(c.node))
	if err != nil {
		time.Sleep(20 * time.Millisecond)
		return
	}
	conn.Timeout = replyLimit
	c.conn = conn
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// judge goes by the first word of an error, as clients do.
func judge(r redistest.Reply) outcome {
	if !r.IsError() {
		return done
	}
	switch word, _, _ := strings.Cut(r.Text, " "); word {
	case "UNKNOWN":
		return uncertain
	case "CLUSTERDOWN", "TRYAGAIN", "LOADING":
		return notRun
	}
	return done // an error of the command itself: whoever sent it says that it is wrong
}

// counter is a key that clients of all nodes increment and read.
type counter struct {
	key       string
	acked     atomic.Int64 // increments answered
	attempted atomic.Int64
	uncertain atomic.Int64

	mu  sync.Mutex
	all []linear.Increment
}

// increment has a client count, one command at a time.
func (k *counter) increment(c *client, t *testing.T) {
	k.attempted.Add(1)
	began := c.run.now()
	replies, outcomes := c.do([]string{"INCR", k.key})
	switch outcomes[0] {
	case notRun:
		k.attempted.Add(-1)
	case uncertain:
		k.uncertain.Add(1)
	case done:
		n, err := replies[0].Int()
		if err != nil {
			t.Errorf("INCR %s: %v", k.key, replies[0])
			return
		}
		k.mu.Lock()
		k.all = append(k.all, linear.Increment{Began: began, Ended: c.run.now(), Value: n})
		k.mu.Unlock()
		k.acked.Add(1)
		c.run.progress.Store(int64(c.run.now()))
	}
}

// read checks that a read sees what was answered before, and nothing that nobody sent.
func (k *counter) read(c *client, t *testing.T) {
	least := k.acked.Load()
	began := c.run.now()
	replies, outcomes := c.do([]string{"GET", k.key})
	if outcomes[0] != done {
		return
	}
	most := k.attempted.Load() + 64 // those that were taken back meanwhile
	n := int64(0)
	if !replies[0].IsNull() {
		var err error
		if n, err = replies[0].Int(); err != nil {
			t.Errorf("GET %s: %v", k.key, replies[0])
			return
		}
	}
	if n < least || n > most {
		t.Errorf("GET %s through node %d, from %v to %v: %d; %d were answered before, %d tried", k.key, c.node, began, c.run.now(), n, least, most)
	}
}

// check looks at all replies once more when everything is over and the counter is at final.
func (k *counter) check(t *testing.T, final int64) {
	linear.CheckIncrements(k.all, k.uncertain.Load(), final, func(format string, args ...any) {
		t.Errorf(k.key+": "+format, args...)
	})
}

// pipelines has a client send increments and reads of a key of its own, many at once: their replies must be in order, also
// where some have none.
func pipelines(c *client, t *testing.T, key string, rng *rand.Rand) {
	low, high := int64(0), int64(0) // the counter is in between: the answered increments, and those that may have run
	for !c.run.ended() {
		var commands [][]string
		for range 1 + rng.IntN(16) {
			commands = append(commands, []string{[]string{"INCR", "INCR", "GET"}[rng.IntN(3)], key})
		}
		replies, outcomes := c.do(commands...)
		for i, command := range commands {
			increments := command[0] == "INCR"
			if increments && outcomes[i] != notRun {
				high++
			}
			if outcomes[i] != done {
				continue
			}
			n, err := replies[i].Int()
			if replies[i].IsNull() {
				n, err = 0, nil
			}
			if increments {
				low++
			}
			if err != nil || n < low || n > high {
				t.Errorf("pipeline on %s: %v at %d of %v: %v, not from %d to %d", key, command, i, commands, replies[i], low, high)
				return
			}
			low = n
		}
	}
}

// elsewhere has the client go on through another node.
func (c *client) elsewhere(rng *rand.Rand) {
	c.hangUp()
	c.node = rng.IntN(len(c.run.nodes))
}

// open has the client begin as a producer; "" if the run has ended before.
func (c *client) open(name string) (epoch string) {
	for epoch == "" && !c.run.ended() {
		if replies, outcomes := c.do([]string{"ONCE", "OPEN", name}); outcomes[0] == done {
			epoch = replies[0].Text
		}
	}
	return epoch
}

// onces has a client count with ONCE: it sends each increment until it has the reply, through whatever node, and some once more
// after that. Each counts once, and is answered with its first reply whenever it comes.
func onces(c *client, t *testing.T, name string, rng *rand.Rand) {
	epoch := c.open(name)
	for n := int64(1); !c.run.ended(); n++ {
		command := []string{"ONCE", name, epoch, strconv.FormatInt(n, 10), "INCR", name}
		for more := rng.IntN(4) / 3; more >= 0 && !c.run.ended(); {
			replies, outcomes := c.do(command)
			if outcomes[0] == done {
				more--
				if got, err := replies[0].Int(); err != nil || got != n {
					t.Errorf("%v: %v", command, replies[0])
					return
				}
				c.run.once.Add(1)
			}
			if more >= 0 {
				c.elsewhere(rng)
			}
		}
	}
}

// pairs has a client move two keys together in a transaction, and see them together.
func pairs(c *client, t *testing.T, rng *rand.Rand) {
	for !c.run.ended() {
		if rng.IntN(2) == 0 {
			c.do([]string{"MULTI"}, []string{"INCR", "pair:a"}, []string{"DECR", "pair:b"}, []string{"EXEC"})
			continue
		}
		replies, outcomes := c.do([]string{"MGET", "pair:a", "pair:b"})
		if outcomes[0] != done {
			continue
		}
		var a, b int64
		if len(replies[0].Elems) == 2 {
			a, _ = replies[0].Elems[0].Int()
			b, _ = replies[0].Elems[1].Int()
		}
		if len(replies[0].Elems) != 2 || a != -b {
			t.Errorf("half of a transaction: %v", replies[0])
		}
	}
}

const (
	historyClients = 6
	historyOps     = 240 // per key; the search for an order grows fast with them
	historyLimit   = 30 * time.Second
)

// history is what several clients did to one key.
type history struct {
	key string
	mu  sync.Mutex
	ops []porcupine.Operation
}

// histories has clients work on one key after the other, and each key's history checked.
type histories struct {
	run     *run
	mu      sync.Mutex
	current *history
	number  int
	full    []*history
	taken   int // operations of the current one
	open    int // operations of the current one without a reply: each doubles the search
}

// next is the history to go on with, and reserves one operation in it.
func (h *histories) next() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil || h.taken >= historyOps || h.open > 12 {
		if h.current != nil {
			h.full = append(h.full, h.current)
		}
		h.number++
		h.current, h.open, h.taken = &history{key: fmt.Sprintf("history:%d", h.number)}, 0, 0
	}
	h.taken++
	return h.current
}

func (h *histories) client(c *client, t *testing.T, id int, rng *rand.Rand) {
	for !c.run.ended() {
		in := h.next()
		var command []string
		switch p := rng.IntN(100); {
		case p < 15:
			command = []string{"SET", in.key, strconv.Itoa(rng.IntN(1000) - 500)}
		case p < 45:
			command = []string{"INCR", in.key}
		case p < 60:
			command = []string{"DECR", in.key}
		default:
			command = []string{"GET", in.key}
		}
		op := porcupine.Operation{ClientId: id, Input: strings.Join(slices.Delete(slices.Clone(command), 1, 2), " "), Call: int64(c.run.now()), Return: linear.Open}
		replies, outcomes := c.do(command)
		switch {
		case outcomes[0] == notRun, outcomes[0] == uncertain && command[0] == "GET":
			continue
		case outcomes[0] == done:
			op.Return, op.Output = int64(c.run.now()), string(replies[0].Type)+replies[0].Text
		}
		in.mu.Lock()
		in.ops = append(in.ops, op)
		in.mu.Unlock()
		if op.Return == linear.Open {
			h.mu.Lock()
			h.open++
			h.mu.Unlock()
		}
		time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
	}
}

// check looks for an order of each history that keeps to its times.
func (h *histories) check(t *testing.T) {
	all := append(h.full, h.current)
	for _, in := range all {
		if v := porcupine.CheckOperationsTimeout(linear.Counter, in.ops, historyLimit); v != porcupine.Ok {
			for _, op := range in.ops {
				t.Logf("client %d, %v to %v: %v: %v", op.ClientId, time.Duration(op.Call), time.Duration(op.Return), op.Input, op.Output)
			}
			t.Errorf("%s: verdict %q", in.key, v)
		}
	}
	t.Logf("%d histories have an order", len(all))
}
