package systest

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestKill9Local kills a node that answers increments ahead: what CLIENT ACK has confirmed is there, what was answered since
// may be lost, and nothing is counted twice.
func TestKill9Local(t *testing.T) {
	rng := newRand(t)
	node := redistest.Quipu{Dir: t.TempDir(), Port: redistest.FreePort(t), Flags: append([]string{"--ack-rule", "hot* local"}, smallFiles...)}
	total := int64(0)
	for round := range 12 {
		s := node.Start(t)
		c := s.Dial(t)
		before, err := do(t, c, "INCRBY", "hot", "0").Int()
		if err != nil {
			t.Fatal(err)
		}
		var confirmed, sent atomic.Int64
		confirmed.Store(before)
		sent.Store(before)
		done := make(chan struct{})
		go func() {
			defer close(done)
			countAndConfirm(c, rand.New(rand.NewPCG(uint64(round), 0)), &confirmed, &sent)
		}()
		time.Sleep(time.Duration(30+rng.IntN(300)) * time.Millisecond)
		s.Kill9()
		<-done
		s = node.Start(t)
		got, err := do(t, s.Dial(t), "INCRBY", "hot", "0").Int()
		if err != nil || got < confirmed.Load() || got > sent.Load() {
			t.Fatalf("round %d: hot is %d (%v), %d was confirmed, %d were sent", round, got, err, confirmed.Load(), sent.Load())
		}
		total = got
		if status, ok := s.Terminate(30 * time.Second); !ok || status != 0 {
			t.Fatalf("SIGTERM: exit status %d, in time %v: %s", status, ok, s.Output())
		}
	}
	if total == 0 {
		t.Error("nothing was ever confirmed: the test tests nothing")
	}
	t.Logf("%d counted", total)
}

// countAndConfirm increments until the server goes away, and now and then has all it was told confirmed.
func countAndConfirm(c *redistest.Conn, r *rand.Rand, confirmed, sent *atomic.Int64) {
	for {
		n := 1 + r.IntN(200)
		commands := make([][]string, n)
		for i := range commands {
			commands[i] = []string{"INCR", "hot"}
		}
		sent.Add(int64(n))
		replies, err := c.Pipeline(commands...)
		if err != nil || len(replies) != n {
			return
		}
		last, err := replies[n-1].Int()
		if err != nil {
			return
		}
		if r.IntN(5) == 0 {
			if reply, err := c.Do("CLIENT", "ACK", "default"); err != nil || reply.Text != "OK" {
				return
			}
			confirmed.Store(last)
		}
	}
}
