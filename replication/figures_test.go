package replication

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestFigures: an entry counts once when it is applied, with the time since it was proposed and its bytes; one that is not applied does not
// count.
func TestFigures(t *testing.T) {
	withBatcher(t, BatcherOptions{}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		submit(b, 1)
		time.Sleep(3 * time.Millisecond)
		p := g.take()
		size := int64(len(p.data))
		g.commit(p, nil)
		if f := b.Figures(); f.Commits.Count != 1 || f.Commits.Sum != int64(3*time.Millisecond) || f.Entries.Count != 1 || f.Entries.Sum != size || f.Forwards.Count != 0 {
			t.Errorf("%+v", f)
		}
		b.Tick() // nobody waits for it, and it counts
		time.Sleep(time.Millisecond)
		g.commit(g.take(), nil)
		if f := b.Figures(); f.Commits.Count != 2 || f.Commits.Sum != int64(4*time.Millisecond) {
			t.Errorf("%+v", f)
		}
		submit(b, 1)
		p = g.take()
		g.prop.Void(p.header.proposer, p.header.sequence)
		p.result <- raft.ErrNotLeader
		if f := b.Figures(); f.Commits.Count != 2 || f.Entries.Count != 2 || f.Forwards.Count != 0 {
			t.Errorf("an entry that was not applied counts: %+v", f)
		}
	})
}

// TestFiguresOfForwards: a batch that the leader has applied counts, and one that it has refused does not.
func TestFiguresOfForwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, b := newFarBatcher()
		defer b.Close()
		g.set(true)
		submit(b, 1)
		synctest.Wait()
		g.answer(0, &Answer{Outcome: NotApplied, Reason: ErrNotLeader}, true)
		g.set(true)
		b.Flush()
		synctest.Wait()
		time.Sleep(2 * time.Millisecond)
		if f := b.Figures(); g.count() != 2 || f.Forwards.Count != 0 {
			t.Fatalf("%d were sent: %+v", g.count(), f)
		}
		g.answer(1, &Answer{Outcome: Applied, Index: 1}, true)
		if f := b.Figures(); f.Forwards.Count != 1 || f.Forwards.Sum != int64(2*time.Millisecond) || f.Commits.Count != 0 || f.Entries.Count != 0 {
			t.Errorf("%+v", f)
		}
	})
}

// BenchmarkFigures measures what is counted for an entry, however many commands are in it: once for hundreds of them under load.
func BenchmarkFigures(b *testing.B) {
	f := newFigures()
	p := &proposal{buf: make([]byte, 1000)}
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += 1000
		f.applied(p, now)
	}
}
