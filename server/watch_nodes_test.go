package server

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/exec"
	"quipu/internal/redistest"
)

// nothingWatched waits until no node has anything registered any more.
func (c *testNodes) nothingWatched() {
	c.t.Helper()
	eventually(c.t, "all watches to be forgotten", func() bool {
		for _, n := range c.nodes {
			if n == nil {
				continue
			}
			r := n.srv.watches
			r.mu.Lock()
			left := len(r.named) + len(r.keys)
			r.mu.Unlock()
			if left != 0 || r.count.Load() != 0 {
				return false
			}
		}
		return true
	})
}

// TestWatchWithNodes: WATCH is the same through a node that leads and one that does not, whatever node the change comes through.
func TestWatchWithNodes(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	c.eachRole(func(t *testing.T, n *testNode) {
		for i, w := range watchCases {
			t.Run(w.name, func(t *testing.T) {
				client, other := n.dial(), c.nodes[i%3].dial()
				expect(t, client, "FLUSHALL", "+OK\r\n")
				w.run(t, client, other)
				client.Close()
				other.Close()
			})
		}
		for _, protocol := range []string{"2", "3"} {
			p := n.dial()
			null := "*-1\r\n"
			if protocol == "3" {
				call(t, p, "HELLO 3")
				null = "_\r\n"
			}
			expect(t, p, "FLUSHALL", "+OK\r\n")
			send(t, p, "INCR w", "WATCH w", "INCR w", "MULTI", "INCR x", "EXEC", "INCR w", "WATCH w v", "MULTI", "GET w", "INCR x", "EXEC", "WATCH w", "UNWATCH", "WATCH w")
			for _, want := range []string{":1\r\n", "+OK\r\n", ":2\r\n", "+OK\r\n", "+QUEUED\r\n", null, ":3\r\n", "+OK\r\n", "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n",
				"*2\r\n" + bulk("3") + ":1\r\n", "+OK\r\n", "+OK\r\n", "+OK\r\n"} {
				checkReply(t, "pipeline", readRaw(t, p), want)
			}
			p.Close() // with something watched
		}
	})
	c.nothingWatched()
}

// TestWatchSelects: SELECT in a transaction has an effect on what follows only if the transaction ran, wherever that was
// decided, and also if the client does not want the reply.
func TestWatchSelects(t *testing.T) {
	t.Parallel()
	startNodes(t, 3, nil).eachRole(func(t *testing.T, n *testNode) {
		client, other := n.dial(), n.dial()
		for i, change := range []bool{true, false, true, false} {
			expect(t, client, "SELECT 0", "+OK\r\n", "SET w 1", "+OK\r\n", "WATCH w", "+OK\r\n")
			if change {
				expect(t, other, "INCR w", ":2\r\n")
			}
			if i < 2 {
				send(t, client, "MULTI", "SELECT 3", "EXEC", "SET here yes", "EXISTS here", "SELECT 0", "EXISTS here", "DEL here", "SELECT 3", "DEL here")
				readRaw(t, client)
				readRaw(t, client)
				readRaw(t, client)
				readRaw(t, client)
			} else {
				send(t, client, "CLIENT REPLY OFF", "MULTI", "SELECT 3", "EXEC", "SET here yes", "CLIENT REPLY ON", "EXISTS here", "SELECT 0", "EXISTS here", "DEL here", "SELECT 3", "DEL here")
				checkReply(t, "CLIENT REPLY ON", readRaw(t, client), "+OK\r\n")
			}
			here := map[bool]string{true: ":1\r\n", false: ":0\r\n"}
			for _, want := range []string{":1\r\n", "+OK\r\n", here[change], here[change], "+OK\r\n", here[!change]} {
				checkReply(t, fmt.Sprint("behind EXEC ", i), readRaw(t, client), want)
			}
		}
	})
}

// TestWatchLeaderChanges: what was watched on a leader that leads no more is not known to the next one.
func TestWatchLeaderChanges(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	first, second := c.nodes[(lead+1)%3].dial(), c.nodes[(lead+2)%3].dial()
	for _, conn := range []*redistest.Conn{first, second} {
		expect(t, conn, "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n", "INCR n", "+QUEUED\r\n")
	}
	c.stop(lead)
	expect(t, first, "EXEC", aborted, "GET n", "$-1\r\n")
	expect(t, second, "EXEC", aborted, "GET n", "$-1\r\n")
	for _, conn := range []*redistest.Conn{first, second} {
		expect(t, conn, "WATCH w", "+OK\r\n", "MULTI", "+OK\r\n", "INCR w", "+QUEUED\r\n")
		if got := call(t, conn, "EXEC"); !strings.HasPrefix(got, "*1\r\n:") {
			t.Errorf("EXEC: %q", got)
		}
	}
	c.nothingWatched()
}

// TestWatchCounts: clients of all nodes count one key by WATCH, GET, SET, while the leader stops. None of their transactions
// takes another one's count.
func TestWatchCounts(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	var ran, unknown, aborts atomic.Int64
	var busy sync.WaitGroup
	end := time.Now().Add(time.Duration(redistest.Size(1, 2, 6)) * time.Second)
	for i := range 6 {
		conn := c.nodes[(lead+1+i%2)%3].dial()
		busy.Go(func() {
			for time.Now().Before(end) {
				if got := call(t, conn, "WATCH n"); got != "+OK\r\n" {
					continue
				}
				var v int64
				got := call(t, conn, "GET n")
				fmt.Sscanf(strings.ReplaceAll(got, "\r\n", " "), "$%d %d", new(int), &v)
				if got[0] != '$' {
					expect(t, conn, "UNWATCH", "+OK\r\n")
					continue
				}
				call(t, conn, "MULTI")
				call(t, conn, fmt.Sprintf("SET n %d", v+1))
				switch got := call(t, conn, "EXEC"); {
				case got == done:
					ran.Add(1)
				case got == aborted:
					aborts.Add(1)
				case strings.HasPrefix(got, "-UNKNOWN"):
					unknown.Add(1)
				}
			}
		})
	}
	time.Sleep(time.Until(end) / 2)
	c.stop(lead)
	busy.Wait()
	var v int64
	fmt.Sscanf(strings.ReplaceAll(call(t, c.nodes[(lead+1)%3].dial(), "GET n"), "\r\n", " "), "$%d %d", new(int), &v)
	if v < ran.Load() || v > ran.Load()+unknown.Load() || v == 0 || aborts.Load() == 0 {
		t.Errorf("%d transactions ran, %d have an unknown outcome, %d aborted; the counter has %d", ran.Load(), unknown.Load(), aborts.Load(), v)
	}
	c.nothingWatched()
}

// TestWatchSet: a leader that cannot know all that a client watches lets no transaction run.
func TestWatchSet(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	r := n.srv.replicas[0]
	none := func(int, []byte) bool { return false }
	keys := func(list ...string) (k [][]byte) {
		for _, s := range list {
			k = append(k, []byte(s))
		}
		return k
	}
	two := func(set *watchSet) {
		set.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0)
		set.Watch(exec.Watch{ID: 7, Count: 2}, 0, keys("b"), 0)
	}
	for _, c := range []struct {
		name string
		do   func(t, other *watchSet)
		runs bool
	}{
		{"one", func(t, _ *watchSet) { t.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0) }, false},
		{"two", func(t, _ *watchSet) { two(t) }, true},
		{"both twice", func(t, _ *watchSet) {
			for range 2 {
				t.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0)
			}
			for range 2 {
				t.Watch(exec.Watch{ID: 7, Count: 2}, 0, keys("b"), 0)
			}
		}, true},
		{"the second only", func(t, _ *watchSet) { t.Watch(exec.Watch{ID: 7, Count: 2}, 0, keys("b"), 0) }, false},
		{"another name", func(t, _ *watchSet) { t.Watch(exec.Watch{ID: 8, Count: 2}, 0, keys("b"), 0) }, false},
		{"the connection ends", func(t, _ *watchSet) {
			two(t)
			t.Close()
		}, false},
		{"late, over a connection that has ended", func(t, _ *watchSet) {
			t.Close()
			two(t)
		}, false},
		{"the first over one that has ended", func(t, other *watchSet) {
			t.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0)
			t.Close()
			other.Watch(exec.Watch{ID: 7, Count: 2}, 0, keys("b"), 0)
		}, false},
		{"again over the next one", func(t, other *watchSet) {
			t.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0)
			t.Close()
			other.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0)
			t.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0)
			other.Watch(exec.Watch{ID: 7, Count: 2}, 0, keys("b"), 0)
		}, true},
		{"over two connections of the same node", func(t, other *watchSet) {
			t.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0)
			other.Watch(exec.Watch{ID: 7, Count: 2}, 0, keys("b"), 0)
		}, true},
		{"changed, then a late copy", func(t, other *watchSet) {
			two(t)
			t.ids[7].touched.Store(true)
			two(other)
		}, false},
		{"in an earlier term", func(t, other *watchSet) {
			two(t)
			t.ids[7].term--
		}, false},
		{"UNWATCH", func(t, _ *watchSet) {
			two(t)
			t.Watch(exec.Watch{ID: 7, Count: 2}, 0, nil, 0)
		}, false},
		{"asked twice", func(t, _ *watchSet) {
			two(t)
			t.Guard(exec.Watch{ID: 7, Count: 2}).Aborts(0, none)
		}, false},
		{"too much", func(t, _ *watchSet) {
			t.Watch(exec.Watch{ID: 7, Count: 1}, 0, keys("a"), 0)
			for i := range uint64(9) {
				t.Watch(exec.Watch{ID: 10 + i, Count: 1}, 0, keys(strings.Repeat("x", 8<<20)), 0)
			}
			if refusal := t.Watch(exec.Watch{ID: 7, Count: 2}, 0, keys(strings.Repeat("y", 8<<20)), 0); !strings.HasPrefix(refusal, "TRYAGAIN") {
				panic("accepted: " + refusal)
			}
		}, false},
	} {
		first, other := n.srv.watchSet(r).(*watchSet), n.srv.watchSet(r).(*watchSet)
		c.do(first, other)
		if runs := !first.Guard(exec.Watch{ID: 7, Count: 2}).Aborts(0, none); runs != c.runs {
			t.Errorf("%s: runs %v", c.name, runs)
		}
		first.Close()
		other.Close()
		if w := n.srv.watches; len(w.named)+len(w.keys) != 0 || w.count.Load() != 0 || first.size != 0 || other.size != 0 {
			t.Errorf("%s: something is left: %d names, %d keys, %d bytes", c.name, len(w.named), len(w.keys), first.size+other.size)
		}
	}
}
