package testbed

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	nodeLimit   = time.Minute      // until a node serves
	leaderLimit = 10 * time.Second // until a node leads
)

// Quipu is a node, or a cluster, of the server in the parent folder. Its data survives Kill.
type Quipu struct {
	Addrs []string // host:port for clients, by node
	Nodes []*Process

	tb testing.TB
}

// ServerProgram is the path of the server's program: that which QUIPU_BIN names, or one that is built.
func ServerProgram(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("QUIPU_BIN"); path != "" {
		return path
	}
	return build(tb, root(), "./cmd/quipu")
}

// StartQuipu starts a node, or several that found a cluster together, with further settings ("--name", "value", …), and waits
// until each answers. QUIPU_BIN names a ready program to take instead of building one.
func StartQuipu(tb testing.TB, nodes int, settings ...string) *Quipu {
	tb.Helper()
	path := ServerProgram(tb)
	q := &Quipu{tb: tb}
	ports := freePorts(tb, 2*nodes)
	var peers []string
	for _, port := range ports[nodes:] {
		peers = append(peers, loopback(port))
	}
	for i, port := range ports[:nodes] {
		args := []string{"server", "--port", strconv.Itoa(port), "--dir", fastDir(tb)}
		if nodes > 1 {
			args = append(args, "--peer-addr", peers[i], "--join", strings.Join(peers, ","), "--bootstrap-expect", strconv.Itoa(nodes))
		}
		p := NewProcess(tb, path, append(args, settings...)...)
		p.name = fmt.Sprintf("quipu node %d", i)
		q.Addrs, q.Nodes = append(q.Addrs, loopback(port)), append(q.Nodes, p)
	}
	all := make([]int, nodes)
	for i := range all {
		all[i] = i
	}
	q.Start(all...)
	return q
}

// fastDir is a folder in memory where there is one: a node syncs often.
func fastDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "quipu-connect-test-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Start starts nodes again on their data and ports, and waits until they answer reads. That takes more than half of the
// cluster: nodes that need each other are started by one call.
func (q *Quipu) Start(nodes ...int) {
	q.tb.Helper()
	for _, i := range nodes {
		q.Nodes[i].Start()
	}
	for _, i := range nodes {
		c := q.client(i)
		q.Nodes[i].await(nodeLimit, func() error {
			if err := listens(q.Addrs[i]); err != nil { // the client would log it
				return err
			}
			err := c.Exists(context.Background(), "nothing").Err()
			if err != nil && strings.HasPrefix(err.Error(), "MOVED ") {
				return nil
			}
			return err
		})
		c.Close()
	}
}

// Kill ends nodes by SIGKILL, and waits until they are gone.
func (q *Quipu) Kill(nodes ...int) {
	for _, i := range nodes {
		q.Nodes[i].Kill()
	}
}

// Pause freezes node i by SIGSTOP.
func (q *Quipu) Pause(i int) {
	q.tb.Helper()
	q.Nodes[i].Pause()
}

// Resume ends a Pause.
func (q *Quipu) Resume(i int) {
	q.tb.Helper()
	q.Nodes[i].Resume()
}

// Leader is the node that leads, as it says itself; one that was paused may say so for a moment after it has been replaced.
// No leader in 10 s ends the test.
func (q *Quipu) Leader() int {
	q.tb.Helper()
	for end := time.Now().Add(leaderLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for i := range q.Nodes {
			if q.leads(i) {
				return i
			}
		}
	}
	q.tb.Fatalf("no node leads after %v", leaderLimit)
	return -1
}

func (q *Quipu) leads(i int) bool {
	if !q.Nodes[i].Alive() || listens(q.Addrs[i]) != nil {
		return false
	}
	c := q.client(i)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond) // it may be paused
	defer cancel()
	text, err := c.Info(ctx, "replication").Result()
	return err == nil && strings.Contains(text, "\nraft_leader:1\r")
}

// Client is a new client of node i, closed when the test ends. It sends nothing twice.
func (q *Quipu) Client(i int) *redis.Client {
	c := q.client(i)
	q.tb.Cleanup(func() { c.Close() })
	return c
}

func (q *Quipu) client(i int) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: q.Addrs[i], MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
}
