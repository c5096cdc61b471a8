package server

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// again reports whether an answer means that the command is to be sent again, with the same number.
func again(reply string) bool {
	word, _, _ := strings.Cut(reply, " ")
	return word == "-UNKNOWN" || word == "-TRYAGAIN" || word == "-CLUSTERDOWN" || reply == aborted
}

// twice has commands be answered twice, through one node after the other, and returns how often they had to be sent again. The
// reply to the last one begins with want, and is the same both times.
func twice(t *testing.T, conns []*redistest.Conn, at int, commands []string, want string) (repeats int64) {
	for answers := 0; answers < 2; at++ {
		conn := conns[at%2]
		send(t, conn, commands...)
		got := ""
		for range commands {
			got = readRaw(t, conn)
		}
		switch {
		case again(got):
			repeats++
			continue
		case !strings.HasPrefix(got, want) || answers > 0 && got != want:
			t.Errorf("%v: %q, want %q", commands, got, want)
			return repeats
		}
		want = got
		answers++
	}
	return repeats
}

// TestOnceWithNodes: clients count by ONCE through all nodes, single increments and transactions, and send each again until it is
// answered, while the leader stops and comes back. The sums are exact, and whoever asks again gets the first reply.
func TestOnceWithNodes(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	stays := []int{(lead + 1) % 3, (lead + 2) % 3}
	var total, repeats atomic.Int64
	var busy sync.WaitGroup
	end := time.Now().Add(time.Duration(redistest.Size(2, 3, 8)) * time.Second)
	for i := range 6 {
		conns := []*redistest.Conn{c.nodes[stays[0]].dial(), c.nodes[stays[1]].dial()}
		busy.Go(func() {
			open := ""
			for at := i; ; at++ {
				if open = call(t, conns[at%2], fmt.Sprintf("ONCE OPEN p%d", i)); !again(open) {
					break
				}
			}
			epoch := strings.Trim(open, ":\r\n")
			for n := 1; time.Now().Before(end) && !t.Failed(); n++ {
				want := fmt.Sprintf(":%d\r\n", n)
				commands := []string{fmt.Sprintf("ONCE p%d %s %d INCR own%d", i, epoch, n, i)}
				if i%2 == 1 {
					want = "*3\r\n+OK\r\n" + want
					commands = []string{"MULTI", fmt.Sprintf("ONCE p%d %s %d", i, epoch, n), fmt.Sprintf("INCR own%d", i), "INCR all", "EXEC"}
				}
				repeats.Add(twice(t, conns, n, commands, want))
				total.Add(int64(i % 2))
			}
		})
	}
	time.Sleep(time.Until(end) / 3)
	c.stop(lead)
	time.Sleep(time.Until(end) / 2)
	c.start(lead)
	busy.Wait()
	expect(t, c.nodes[lead].dial(), "GET all", bulk(fmt.Sprint(total.Load())))
	c.agree()
	for _, n := range c.nodes {
		conn := n.dial()
		got := call(t, conn, "ONCE INFO p0")
		if !strings.HasPrefix(got, "*8\r\n"+bulk("epoch")+":1\r\n") {
			t.Errorf("ONCE INFO: %q", got)
		}
	}
	t.Logf("%d transactions, %d commands were sent again", total.Load(), repeats.Load())
}
