package replication

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// farGroup is a group whose leader is elsewhere, and takes batches when the test lets it.
type farGroup struct {
	*fakeGroup
	mu   sync.Mutex // guards the fields below: a Batcher's timers send as well
	free bool
	sent []func(a *Answer, sent bool) (goOn bool)
	term uint64

	bodies []int // bytes of what was sent
}

// set makes the courier free, or not.
func (g *farGroup) set(free bool) {
	g.mu.Lock()
	g.free = free
	g.mu.Unlock()
}

// count is how many batches were sent.
func (g *farGroup) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sent)
}

// answer tells what became of the i-th batch.
func (g *farGroup) answer(i int, a *Answer, sent bool) {
	g.mu.Lock()
	done := g.sent[i]
	g.mu.Unlock()
	done(a, sent)
}

func (g *farGroup) Forwards() bool  { return true }
func (g *farGroup) SoleVoter() bool { return false }
func (g *farGroup) Term() uint64    { return g.term }
func (g *farGroup) MaySend(bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.free
}
func (g *farGroup) Send(body []byte, _ bool, done func(a *Answer, sent bool) (goOn bool)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.free {
		return false
	}
	g.free = false
	g.sent, g.bodies = append(g.sent, done), append(g.bodies, len(body))
	return true
}

// What was answered ahead goes before each batch, and alone when it is time, until the leader says that it has applied it: not while
// that is unknown, or refused.
func TestShippedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &farGroup{fakeGroup: newFakeGroup()}
		source := &testSource{ahead: []uint64{1, 2}}
		b := NewBatcher(g, g.clock, source, BatcherOptions{})
		defer b.Close()
		const section = 16 // bytes
		for i, step := range []struct {
			answer *Answer
			told   int
		}{{nil, 0}, {&Answer{Outcome: Unknown}, 0}, {&Answer{Outcome: NotApplied, Reason: ErrNotLeader}, 0}, {&Answer{Outcome: Applied}, 1}} {
			g.set(true)
			b.Tick()
			synctest.Wait()
			if g.count() != i+1 || g.bodies[i] != section {
				t.Fatalf("step %d: %d were sent, %v bytes", i, g.count(), g.bodies)
			}
			g.answer(i, step.answer, true)
			if source.told != step.told {
				t.Errorf("after %+v the source was told %d times that it is applied", step.answer, source.told)
			}
		}
		g.set(true)
		outcome := submit(b, 7)
		synctest.Wait()
		if n := g.count(); n != 5 || g.bodies[4] != section { // a testBatch itself has no bytes
			t.Fatalf("a batch goes as %v", g.bodies)
		}
		g.answer(4, nil, true)
		if err := <-outcome; !errors.Is(err, ErrUnknown) || source.told != 1 {
			t.Errorf("%v, told %d times", err, source.told)
		}
	})
}

func newFarBatcher() (*farGroup, *Batcher) {
	g := &farGroup{fakeGroup: newFakeGroup()}
	return g, NewBatcher(g, g.clock, &testSource{}, BatcherOptions{})
}

// While no leader takes them, batches wait up to the write timeout; Drain returns when they are gone.
func TestDrainWithoutLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := newFarBatcher()
		defer b.Close()
		outcome := submit(b, 1)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		began := time.Now()
		if err := b.Drain(ctx); err != nil || time.Since(began) > defaultWriteTimeout+time.Second {
			t.Errorf("Drain took %v: %v", time.Since(began), err)
		}
		if err := <-outcome; !isNotApplied(err) || !errors.Is(err, ErrNotLeader) {
			t.Error(err)
		}
	})
}

// What becomes of a batch that was forwarded: what was refused, or never sent, is forwarded again; what was sent and not
// answered is unknown.
func TestShipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, b := newFarBatcher()
		defer b.Close()
		answer := func(a *Answer, sent bool) {
			g.answer(g.count()-1, a, sent)
			g.set(true)
			b.Flush()
			synctest.Wait()
		}
		g.set(true)
		outcome, tries := submit(b, 1), 1
		for _, a := range []*Answer{nil, {Outcome: NotApplied, Reason: ErrNotLeader}, {Outcome: NotApplied, Reason: ErrShutdown}} {
			answer(a, false)
			if tries++; g.count() != tries {
				t.Fatalf("after %+v it is not sent again", a)
			}
			select {
			case err := <-outcome:
				t.Fatalf("after %+v it is decided: %v", a, err)
			default:
			}
		}
		answer(&Answer{Outcome: Applied}, true)
		if err := <-outcome; err != nil {
			t.Error(err)
		}
		outcome = submit(b, 2)
		answer(nil, true)
		if err := <-outcome; !errors.Is(err, ErrUnknown) {
			t.Errorf("sent, and not answered: %v", err)
		}
		outcome = submit(b, 3)
		answer(&Answer{Outcome: NotApplied, Reason: &DiskFullError{}}, true)
		var full *DiskFullError
		if err := <-outcome; !isNotApplied(err) || !errors.As(err, &full) {
			t.Errorf("refused for its disk: %v", err)
		}
	})
}

// A node that is elected while a batch of its own is still under way to the leader before it logs a tick once that is decided:
// other nodes wait for an entry of the new term.
func TestTickAfterShipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, b := newFarBatcher()
		defer b.Close()
		g.set(true)
		outcome := submit(b, 1)
		g.term = 7
		b.TermBegan(7)
		b.Tick()
		if b.sequence != 0 {
			t.Fatal("an entry beside the batch that is under way")
		}
		g.answer(0, nil, true)
		if err := <-outcome; !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		if b.sequence != 1 {
			t.Error("the tick was lost")
		}
		g.take()
	})
}

// With several voters a batch waits for those who were in the last entry, but not for long.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, b := newFarBatcher()
		defer b.Close()
		g.set(true)
		first := submit(b, 1) // two clients: this one, and the next while it is under way
		second := submit(b, 2)
		time.Sleep(8 * time.Millisecond)
		g.set(true)
		g.answer(0, &Answer{Outcome: Applied}, true)
		<-first
		if g.count() != 1 {
			t.Fatal("the second client does not wait for the first one")
		}
		third := submit(b, 3) // the first client is back
		if g.count() != 2 {
			t.Fatal("both are there, and the batch still waits")
		}
		time.Sleep(8 * time.Millisecond)
		g.set(true)
		g.answer(1, &Answer{Outcome: Applied}, true)
		<-second
		<-third
		began := time.Now()
		last := submit(b, 4) // one of the two does not come back
		for g.count() < 3 {
			time.Sleep(100 * time.Microsecond)
		}
		if took := time.Since(began); took < time.Millisecond || took > 3*time.Millisecond {
			t.Errorf("it waited %v for the other one, not a quarter of 8 ms", took)
		}
		g.set(true)
		g.answer(2, &Answer{Outcome: Applied}, true)
		<-last
	})
}
