package server

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"quipu/exec"
	"quipu/replica"
)

// TestRestWatch plays seconds of work and of rest: memory is given back once a node has rested for long enough, if there
// is something to give, and not again before it has rested for as long once more.
func TestRestWatch(t *testing.T) {
	const mb = 1 << 20
	var r restWatch
	gives := func(commands, bytes int64, heap, idle, released uint64) bool {
		ms := runtime.MemStats{HeapAlloc: heap, HeapIdle: idle, HeapReleased: released}
		if !r.sampled(commands, bytes) || !r.worth(&ms) {
			return false
		}
		ms.HeapAlloc = 20 * mb
		r.given(&ms)
		return true
	}
	for _, c := range []struct {
		what                 string
		seconds              int
		commands, bytes      int64
		heap, idle, released uint64
		given                int // seconds at whose end memory is given back
	}{
		{"a load", 100, 1_000_000, 50 * mb, 60 * mb, 40 * mb, 0, 0},
		{"large values", 100, 1, 50 * mb, 60 * mb, 40 * mb, 0, 0},
		{"not long enough", restSamples - 1, 5, 10_000, 60 * mb, 40 * mb, 0, 0},
		{"a load", 1, 1_000_000, 50 * mb, 60 * mb, 40 * mb, 0, 0},
		{"garbage", 2*restSamples - 1, 5, 10_000, 60 * mb, 0, 0, 1},
		{"nothing to give", 100, 5, 10_000, 23 * mb, 40 * mb, 40 * mb, 0},
		{"unused pages", restSamples, 5, 10_000, 20 * mb, 40 * mb, 36 * mb, 1},
		{"more garbage", 5 * restSamples, 5, 10_000, 24 * mb, 40 * mb, 40 * mb, 5},
		{"a smaller heap", 100, 5, 10_000, 10 * mb, 40 * mb, 40 * mb, 0},
	} {
		given := 0
		for range c.seconds {
			if gives(c.commands, c.bytes, c.heap, c.idle, c.released) {
				given++
			}
		}
		if given != c.given {
			t.Errorf("%s: given back %d times, expected %d", c.what, given, c.given)
		}
	}
}

// deafLoop is a loop on which nothing happens by itself.
type deafLoop struct{}

func (deafLoop) Post(func()) {}
func (deafLoop) Completed()  {}

// TestSpareSubBatches checks that a worker keeps sub-batches for use again, but never too much memory in them, and none
// while little is written.
func TestSpareSubBatches(t *testing.T) {
	n := startNode(t, nil)
	w := newWorker(n.srv, deafLoop{}, n.srv.netCalls)
	l := &w.lanes[0]
	text := []byte(strings.Repeat("x", 300_000))
	var subs []*replica.SubBatch
	for range 100 {
		sub := l.subBatch(w)
		sub.Begin(nil, 0)
		sub.Literal(text, exec.As{RESP: 2})
		sub.End()
		l.gathered += sub.Size()
		subs, l.open = append(subs, sub), nil
	}
	for _, sub := range subs {
		w.keep(sub)
	}
	full := l.kept
	if len(l.spare) < 2 || full < maxSpareBytes/2 || full > maxSpareBytes {
		t.Fatalf("%d sub-batches of %d bytes are kept", len(l.spare), full)
	}
	last := l.spare[len(l.spare)-1]
	if l.subBatch(w) != last || !last.Empty() || l.kept >= full {
		t.Errorf("the last one is not used again, empty: %d bytes are kept", l.kept)
	}
	l.open = nil
	w.keep(last)
	for range quietTicks {
		w.Tick() // the first ends a second in which much was handed over
		if l.kept != full {
			t.Fatal("sub-batches are given up too early")
		}
	}
	w.Tick()
	if len(l.spare) != 0 || l.kept != 0 {
		t.Errorf("%d sub-batches are kept on a quiet node", len(l.spare))
	}
}

// TestSlotsAfterLongPipeline checks that an idle session does not keep the slots of a long pipeline, and counts on.
func TestSlotsAfterLongPipeline(t *testing.T) {
	var q replySlots
	for round := range uint64(3) {
		const many = 10 * keptSlots
		for range many {
			q.take()
		}
		var out []byte
		for n := range uint64(many) {
			out = q.fill(round*many+n, []byte{'a' + byte(n%26)}, out)
		}
		if len(out) != many || !q.empty() || len(q.ring) != 0 {
			t.Fatalf("round %d: %d bytes, %d slots are left", round, len(out), len(q.ring))
		}
	}
}

// TestDropSparesUnderLoad gives up what replicas keep while clients write at both levels: nothing is lost.
func TestDropSparesUnderLoad(t *testing.T) {
	n := startNode(t, nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				n.srv.replicas[0].DropSpares()
			}
		}
	}()
	c := n.dial()
	const rounds, burst = 100, 50
	for i := range rounds {
		level := []string{"quorum", "local"}[i%2]
		commands := [][]string{{"CLIENT", "ACK", level}}
		for range burst {
			commands = append(commands, []string{"INCR", "n"}, []string{"SET", "s", "x"})
		}
		if _, err := c.Pipeline(commands...); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	if r, err := c.Do("INCRBY", "n", "0"); err != nil || r.Text != fmt.Sprint(rounds*burst) {
		t.Errorf("n is %v (%v), expected %d", r, err, rounds*burst)
	}
}
