package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// Clients at ack level local. Each process of a node has counters of its own, which nobody else writes: what it has answered is
// counted if it lives to the end, and whatever else fails; what is counted was sent.

// localCounter is one client's counter while its node is one process.
type localCounter struct {
	key                 string
	process             string // run_id of the node
	node                int
	answered, attempted int64
}

// locals are all of them.
type locals struct {
	mu  sync.Mutex
	all []*localCounter
}

// process is the run_id of the node; "" if it does not answer.
func process(c *redistest.Conn) string {
	info, err := c.Do("INFO", "server")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(info.Text, "\nrun_id:")
	id, _, _ := strings.Cut(rest, "\r")
	return id
}

// process is the run_id of the node that the client is connected to; "": it has to be asked again.
func (c *client) process() string {
	if _, outcomes := c.do([]string{"PING"}); outcomes[0] != done || c.conn == nil {
		return ""
	}
	id := process(c.conn)
	if id == "" {
		c.hangUp()
	}
	return id
}

// count has a client count on its node, and begin anew when another process answers there.
func (l *locals) count(c *client, t *testing.T, rng *rand.Rand) {
	var k *localCounter
	var conn *redistest.Conn // whose node is known to be k.process
	for !c.run.ended() {
		if c.conn == nil || c.conn != conn {
			id := c.process()
			if id == "" {
				continue
			}
			if conn = c.conn; k == nil || k.process != id {
				k = &localCounter{key: fmt.Sprintf("local:%d:%x", c.node, rng.Uint64()), process: id, node: c.node}
				l.mu.Lock()
				l.all = append(l.all, k)
				l.mu.Unlock()
			}
		}
		k.burst(c, t, rng)
		time.Sleep(time.Duration(rng.IntN(2)) * time.Millisecond)
	}
}

// burst sends increments and reads, many at once: the replies count on from what was answered.
func (k *localCounter) burst(c *client, t *testing.T, rng *rand.Rand) {
	commands := make([][]string, 1+rng.IntN(30))
	for i := range commands {
		commands[i] = []string{"INCR", k.key}
		if rng.IntN(8) == 0 {
			commands[i][0] = "GET"
		}
	}
	replies, outcomes := c.do(commands...)
	for i, o := range outcomes {
		increments := commands[i][0] == "INCR"
		if increments && o != notRun {
			k.attempted++
		}
		if o != done {
			continue
		}
		if increments {
			k.answered++
		}
		n, err := replies[i].Int()
		if replies[i].IsNull() {
			n, err = 0, nil
		}
		if err != nil || n < k.answered || n > k.attempted {
			t.Errorf("%v on node %d: %v; %d were answered, %d tried", commands[i], k.node, replies[i], k.answered, k.attempted)
			return
		}
		if increments {
			c.run.local.Add(1)
		}
	}
}

// settle has all nodes write what they have answered, and returns their processes. Everything is mended.
func (r *run) settle() (living []string, ok bool) {
	for i, n := range r.nodes {
		if err := n.WaitServes(catchUpLimit); err != nil { // LOADING until a moment after it has caught up
			r.t.Errorf("node %d: %v", i, err)
			return nil, false
		}
		conn, err := redistest.Dial(n.Addr)
		if err != nil {
			r.t.Errorf("node %d: %v", i, err)
			return nil, false
		}
		defer conn.Close()
		living = append(living, process(conn))
		if reply, err := conn.Do("CLIENT", "ACK", "default"); err != nil || reply.Text != "OK" {
			r.t.Errorf("node %d does not write what it has answered: %v, %v", i, reply, err)
			return nil, false
		}
	}
	return living, true
}

// check compares the counters with what was answered. Everything is mended.
func (l *locals) check(r *run) {
	living, ok := r.settle()
	if !ok {
		return
	}
	lived, lost := 0, int64(0)
	for _, k := range l.all {
		got := value(r.nodes[0], k.key)
		least := int64(0)
		if slices.Contains(living, k.process) {
			least = k.answered
			lived++
		} else {
			lost += max(0, k.answered-got)
		}
		if got < least || got > k.attempted {
			r.t.Errorf("%s of node %d: %d; %d were answered, %d tried, the process lives: %v", k.key, k.node, got, k.answered, k.attempted, slices.Contains(living, k.process))
		}
	}
	r.t.Logf("%d increments answered ahead; %d counters of processes that live, %d of others, which lost %d", r.local.Load(), lived, len(l.all)-lived, lost)
}
