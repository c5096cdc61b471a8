package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

func isNotApplied(err error) bool {
	var e *NotAppliedError
	return errors.As(err, &e)
}

// withBatcher runs a test with a Batcher on a fakeGroup in a synctest bubble.
func withBatcher(t *testing.T, opt BatcherOptions, test func(*testing.T, *fakeGroup, *Batcher)) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup()
		b := NewBatcher(g, g.clock, &testSource{}, opt)
		test(t, g, b)
		b.Close()
		for p := g.take(); p != nil; p = g.take() {
			p.result <- raft.ErrRaftShutdown
		}
	})
}

func TestBatcherOneInFlightOthersGather(t *testing.T) {
	withBatcher(t, BatcherOptions{}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		var waits []chan error
		for v := range uint64(10) {
			waits = append(waits, submit(b, v))
		}
		first := g.take()
		if first == nil || len(first.data) != HeaderSize+8 || g.take() != nil {
			t.Fatal("the first submission is to be proposed alone, and nothing beside it")
		}
		if got := b.Queued(); got != 80 {
			t.Errorf("Queued() = %d with 10 numbers waiting", got)
		}
		g.commit(first, nil)
		second := g.take()
		if second == nil || len(second.data) != HeaderSize+72 {
			t.Fatal("the nine others are to be one entry, proposed by whoever applied the first")
		}
		g.commit(second, nil)
		for _, ch := range waits {
			if err := <-ch; err != nil {
				t.Error(err)
			}
		}
		if b.Queued() != 0 {
			t.Errorf("Queued() = %d at rest", b.Queued())
		}
	})
}

// TestToldOnlyWhenApplied: nobody is told that a batch is applied before the state machine has it.
func TestToldOnlyWhenApplied(t *testing.T) {
	withBatcher(t, BatcherOptions{}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		told := submit(b, 1)
		synctest.Wait()
		if len(told) > 0 {
			t.Fatal("told before the entry is committed")
		}
		g.commit(g.take(), func(Entry, Batch) {
			if len(told) > 0 {
				t.Error("told before the entry is applied")
			}
		})
		if err := <-told; err != nil {
			t.Error(err)
		}
	})
	c := &counter{}
	g := NewMemoryGroup(c, nil)
	rounds := uint64(0)
	b := NewBatcher(g, g.Clock(), &testSource{made: func(b *testBatch) {
		b.onDone = func() {
			if got := c.state().count; got != rounds {
				t.Errorf("told with %d entries applied, not %d", got, rounds)
			}
		}
	}}, BatcherOptions{})
	for rounds < 3 {
		rounds++
		if err := <-submit(b, 1); err != nil {
			t.Error(err)
		}
	}
	b.Close()
	if err := g.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestBatcherSoftLimitQueuesInOrder(t *testing.T) {
	withBatcher(t, BatcherOptions{EntrySoftLimit: 24}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		for v := range uint64(10) {
			submit(b, v)
		}
		var c counter
		for p := g.take(); p != nil; p = g.take() {
			if len(p.data) > HeaderSize+24 {
				t.Errorf("entry of %d bytes above the soft limit", len(p.data))
			}
			g.commit(p, c.Apply)
		}
		if g.most != 1 {
			t.Errorf("%d in flight", g.most)
		}
		if c.state() != expected(10) || c.failed != nil {
			t.Errorf("state %+v, %v", c.state(), c.failed)
		}
	})
}

func TestBatcherHardLimitIsNotApplied(t *testing.T) {
	withBatcher(t, BatcherOptions{EntrySoftLimit: 1 << 20, EntryHardLimit: 64}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		ch := make(chan error, 9)
		for v := range uint64(9) {
			b.Submit(number{v: v, waiter: ch})
		}
		b.Flush()
		if err := <-ch; !isNotApplied(err) || !errors.Is(err, ErrEntryTooLarge) || g.take() != nil {
			t.Errorf("outcome %v", err)
		}
	})
}

func TestBatcherRefusesBeforeProposing(t *testing.T) {
	withBatcher(t, BatcherOptions{}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		full := &DiskFullError{Dir: "d", Free: 1, Need: 2, What: "free bytes"}
		g.refuse(notApplied(full))
		var got *DiskFullError
		if err := <-submit(b, 1); !isNotApplied(err) || !errors.As(err, &got) || got != full {
			t.Errorf("outcome %v", err)
		}
		b.Tick()
		if g.take() != nil {
			t.Error("something was proposed with the disk full")
		}
		g.refuse(nil)
		ch := submit(b, 2)
		g.commit(g.take(), nil)
		if err := <-ch; err != nil {
			t.Errorf("outcome %v when there is room again", err)
		}
	})
}

func TestBatcherWriteTimeoutIsUnknownThenLateApplyHasNoBatch(t *testing.T) {
	withBatcher(t, BatcherOptions{WriteTimeout: time.Second}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		start := time.Now()
		batch := b.filling.batch.(*testBatch)
		ch := submit(b, 1)
		stuck := g.take()
		if err := <-ch; !errors.Is(err, ErrUnknown) || isNotApplied(err) {
			t.Errorf("outcome %v of a proposal that is stuck", err)
		}
		if d := time.Since(start); d < time.Second || d > time.Second+3*watchEvery {
			t.Errorf("given up after %v", d)
		}
		// Gathered behind it: never proposed, so certainly not applied.
		if err := <-submit(b, 2); !errors.Is(err, ErrTimeout) || !isNotApplied(err) {
			t.Errorf("outcome %v of what waited behind it", err)
		}
		if g.take() != nil {
			t.Fatal("something was proposed behind a stuck entry")
		}
		late := submit(b, 3)
		if local := g.commit(stuck, nil); local != nil {
			t.Error("the late apply got the batch that was given up")
		}
		if fmt.Sprint(batch.fates) != "[true]" {
			t.Errorf("fates %v", batch.fates)
		}
		g.commit(g.take(), nil)
		if err := <-late; err != nil {
			t.Errorf("outcome %v after the late apply", err)
		}
	})
}

func TestBatcherOutcomeClasses(t *testing.T) {
	for _, tc := range []struct {
		err     error
		applied string
	}{
		{raft.ErrNotLeader, "no"},
		{raft.ErrLeadershipTransferInProgress, "no"},
		{raft.ErrEnqueueTimeout, "no"},
		{raft.ErrLeadershipLost, "unknown"},
		{raft.ErrAbortedByRestore, "unknown"},
		{raft.ErrRaftShutdown, "unknown"},
		{errors.New("input/output error"), "unknown"},
	} {
		withBatcher(t, BatcherOptions{}, func(t *testing.T, g *fakeGroup, b *Batcher) {
			batch := b.filling.batch.(*testBatch)
			ch := submit(b, 1)
			behind := submit(b, 2)
			g.take().result <- tc.err
			err := <-ch
			if isNotApplied(err) != (tc.applied == "no") || errors.Is(err, ErrUnknown) != (tc.applied == "unknown") {
				t.Errorf("%v: outcome %v, want %s", tc.err, err, tc.applied)
			}
			synctest.Wait()
			next := g.take()
			if tc.applied == "unknown" {
				if next != nil || len(batch.fates) > 0 {
					t.Fatalf("%v: %v proposed, fates %v, while the entry may still be applied", tc.err, next, batch.fates)
				}
				b.TermBegan(g.term)
				if g.take() != nil {
					t.Fatal("the same term decides nothing")
				}
				g.term++
				b.TermBegan(g.term)
				next = g.take()
			}
			if want := map[string]string{"no": "[]", "unknown": "[false]"}[tc.applied]; fmt.Sprint(batch.fates) != want {
				t.Errorf("%v: fates %v, want %v", tc.err, batch.fates, want)
			}
			if next == nil {
				t.Fatal("the next batch was not proposed after a failure")
			}
			g.commit(next, nil)
			if err := <-behind; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBatcherEntryEndedByTheLog: what is in the log, or a later term there, decides an entry, whatever its clients were told.
func TestBatcherEntryEndedByTheLog(t *testing.T) {
	withBatcher(t, BatcherOptions{WriteTimeout: time.Second}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		// Void: in the log under a later term.
		first, second := submit(b, 1), submit(b, 2)
		p := g.take()
		b.Void(p.header.proposer, p.header.sequence)
		if err := <-first; !isNotApplied(err) || !errors.Is(err, ErrNotLeader) {
			t.Errorf("void: %v", err)
		}
		// A later term begins before Raft's future knows anything.
		g.term = 2
		if p = g.take(); p.header.term != 1 {
			t.Errorf("proposed in term %d", p.header.term)
		}
		third := submit(b, 3)
		b.TermBegan(2)
		if err := <-second; !isNotApplied(err) {
			t.Errorf("a later term: %v", err)
		}
		if p = g.take(); p.header.term != 2 {
			t.Errorf("proposed in term %d", p.header.term)
		}
		// Given up, and then applied in its own term, which is found in the log of the next leader.
		batch := b.inflight.Load().batch.(*testBatch)
		if err := <-third; !errors.Is(err, ErrUnknown) {
			t.Errorf("after the timeout: %v", err)
		}
		// Meanwhile this node does not lead: who comes is told so at once, not after a second.
		g.refuse(errNotLeader)
		start := time.Now()
		if err := <-submit(b, 4); !isNotApplied(err) || time.Since(start) > 2*watchEvery {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		g.refuse(nil)
		if g.commit(p, nil) != nil || fmt.Sprint(batch.fates) != "[true]" {
			t.Errorf("fates %v", batch.fates)
		}
		last := submit(b, 5)
		g.commit(g.take(), nil)
		if err := <-last; err != nil {
			t.Error(err)
		}
	})
}

// TestBatcherRestored: a snapshot that takes the place of the state ends the entry in flight, which may be in it.
func TestBatcherRestored(t *testing.T) {
	withBatcher(t, BatcherOptions{}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		batch := b.filling.batch.(*testBatch)
		ch := submit(b, 1)
		g.take()
		b.Restored()
		if err := <-ch; !errors.Is(err, ErrUnknown) || isNotApplied(err) || fmt.Sprint(batch.fates) != "[false]" {
			t.Errorf("outcome %v, fates %v", err, batch.fates)
		}
		last := submit(b, 2)
		g.commit(g.take(), nil)
		if err := <-last; err != nil {
			t.Error(err)
		}
		b.Restored() // nothing is in flight
	})
}

// TestBatcherDrainWithoutOffice: a node that has lost its office does not wait for the fate of its last entry when it stops.
func TestBatcherDrainWithoutOffice(t *testing.T) {
	withBatcher(t, BatcherOptions{WriteTimeout: time.Hour}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		ch := submit(b, 1)
		g.refuse(errNotLeader)
		g.take().result <- raft.ErrLeadershipLost
		if err := <-ch; !errors.Is(err, ErrUnknown) {
			t.Errorf("outcome %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestBatcherTickOnlyWhenIdle(t *testing.T) {
	withBatcher(t, BatcherOptions{}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		b.Tick()
		p := g.take()
		if p == nil || !isTick(p.data) {
			t.Fatal("no tick")
		}
		b.Tick()
		if g.take() != nil {
			t.Error("a tick beside one in flight")
		}
		g.commit(p, nil)
		submit(b, 1)
		b.Tick()
		if p := g.take(); p == nil || isTick(p.data) || g.take() != nil {
			t.Error("a tick beside a batch")
		}
	})
}

// TestBatcherAhead has something stand before the batches, though nobody waits for it.
func TestBatcherAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup()
		src := &testSource{ahead: []uint64{100}}
		b := NewBatcher(g, g.clock, src, BatcherOptions{EntryHardLimit: 40})
		defer b.Close()
		// expect commits the entry in flight, which is to hold these numbers.
		expect := func(want ...uint64) {
			t.Helper()
			p := g.take()
			if p == nil {
				t.Fatalf("no entry with %v", want)
			}
			var got []uint64
			for at := HeaderSize; at < len(p.data); at += 8 {
				got = append(got, binary.LittleEndian.Uint64(p.data[at:]))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("entry with %v, want %v", got, want)
			}
			src.ahead = src.ahead[src.sealed:]
			g.commit(p, nil)
		}
		b.Tick()
		first := submit(b, 1)
		src.ahead = append(src.ahead, 101, 102)
		expect(100)
		expect(101, 102, 1)
		if err := <-first; err != nil {
			t.Error(err)
		}

		// What does not fit an entry goes first, and no batch with it.
		src.ahead, src.limit = []uint64{103, 104, 105}, 2
		second := submit(b, 2)
		expect(103, 104)
		expect(105, 2)
		// A large batch goes with it: left for the next entry, it might be left for ever.
		src.ahead, src.limit = []uint64{106, 107, 108}, 0
		flying := submit(b, 3)
		expect(106, 107, 108, 3)
		src.ahead = []uint64{109, 110}
		for v := range uint64(5) {
			b.Submit(number{v: 10 + v, waiter: make(chan error, 1)})
		}
		b.Flush()
		expect(109, 110, 10, 11, 12, 13, 14)
		if <-second != nil || <-flying != nil {
			t.Error("not applied")
		}

		// A failure before anything could be tried is the batch's, and what was to go ahead stays.
		src.ahead = []uint64{111}
		g.refuse(notApplied(ErrNotLeader))
		if err := <-submit(b, 4); !isNotApplied(err) {
			t.Error(err)
		}
		b.Tick()
		if g.take() != nil {
			t.Error("proposed while not writable")
		}
		g.refuse(nil)
		b.Tick()
		expect(111)
	})
}

func TestBatcherDrainAndClose(t *testing.T) {
	withBatcher(t, BatcherOptions{WriteTimeout: time.Hour}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		flying, waits := submit(b, 1), submit(b, 2)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain with a proposal stuck: %v", err)
		}
		g.commit(g.take(), nil)
		drained := make(chan error, 1)
		go func() { drained <- b.Drain(context.Background()) }()
		synctest.Wait()
		g.commit(g.take(), nil)
		if err := <-drained; err != nil || <-flying != nil || <-waits != nil {
			t.Errorf("Drain: %v", err)
		}
		stuck, behind := submit(b, 3), submit(b, 4)
		b.Close()
		if err := <-stuck; !errors.Is(err, ErrUnknown) {
			t.Errorf("in flight at Close: %v", err)
		}
		if err := <-behind; !isNotApplied(err) || !errors.Is(err, ErrShutdown) {
			t.Errorf("waiting at Close: %v", err)
		}
		if err := <-submit(b, 5); !isNotApplied(err) {
			t.Errorf("submitted after Close: %v", err)
		}
		b.Close()
	})
}

func TestBatcherGroupFailureResolvesEverything(t *testing.T) {
	withBatcher(t, BatcherOptions{WriteTimeout: time.Hour}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		flying, waits := submit(b, 1), submit(b, 2)
		g.err = errors.New("disk on fire")
		close(g.done)
		if err := <-flying; !errors.Is(err, ErrUnknown) || !errors.Is(err, g.err) {
			t.Errorf("in flight: %v", err)
		}
		if err := <-waits; !isNotApplied(err) || !errors.Is(err, ErrFailed) {
			t.Errorf("waiting: %v", err)
		}
	})
}

// TestBatcherRace lets committing, giving up and failing compete; every batch must be completed exactly once (testBatch
// panics otherwise), and a batch that the machine applied must not be called not applied.
func TestBatcherRace(t *testing.T) {
	g := newFakeGroup()
	b := NewBatcher(g, g.clock, &testSource{}, BatcherOptions{WriteTimeout: 3 * time.Millisecond, EntrySoftLimit: 64})
	stop := make(chan struct{})
	var applier, callers sync.WaitGroup
	applied := map[uint64]bool{}
	applier.Go(func() {
		for n := 0; ; n++ {
			p := g.take()
			if p == nil {
				select {
				case <-stop:
					return
				default:
					time.Sleep(20 * time.Microsecond)
					continue
				}
			}
			switch n % 9 {
			case 3:
				time.Sleep(3 * time.Millisecond) // about the write timeout
			case 5:
				p.result <- raft.ErrNotLeader
				continue
			}
			g.commit(p, func(e Entry, local Batch) {
				for i := 0; i+8 <= len(e.Payload); i += 8 {
					applied[uint64(e.Payload[i])|uint64(e.Payload[i+1])<<8|uint64(e.Payload[i+2])<<16] = true
				}
			})
		}
	})
	outcomes := make([]map[uint64]error, 4)
	for c := range outcomes {
		outcomes[c] = map[uint64]error{}
		callers.Go(func() {
			for i := range 300 {
				v := uint64(c*1000 + i)
				outcomes[c][v] = <-submit(b, v)
			}
		})
	}
	callers.Wait()
	close(stop)
	applier.Wait()
	b.Close()
	counts := map[string]int{}
	for _, m := range outcomes {
		for v, err := range m {
			switch {
			case err == nil && !applied[v], isNotApplied(err) && applied[v]:
				t.Errorf("number %d: applied %v, outcome %v", v, applied[v], err)
			case err == nil:
				counts["ok"]++
			case isNotApplied(err):
				counts["not applied"]++
			default:
				counts["unknown"]++
			}
		}
	}
	if g.most > 1 {
		t.Errorf("%d in flight", g.most)
	}
	t.Log(fmt.Sprint(counts))
}

func TestMemoryGroup(t *testing.T) {
	c := &counter{}
	g := NewMemoryGroup(c, nil)
	b := NewBatcher(g, g.Clock(), &testSource{}, BatcherOptions{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if err := <-submit(b, 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := c.state(); got.count != 2000 || c.failed != nil {
		t.Errorf("%+v %v", got, c.failed)
	}
	if err := g.Snapshot(); err != nil || g.Status().SnapshotIndex != g.AppliedIndex() {
		t.Errorf("snapshot: %v, %+v", err, g.Status())
	}
	b.Close()
	if err := g.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if !isNotApplied(g.Writable()) {
		t.Error("writable after shutdown")
	}
}

// TestBatcherDropsSpare checks that the buffer of an entry is used for the next one, until it is given up.
func TestBatcherDropsSpare(t *testing.T) {
	withBatcher(t, BatcherOptions{}, func(t *testing.T, g *fakeGroup, b *Batcher) {
		propose := func() *byte {
			done := submit(b, 1)
			p := g.take()
			g.commit(p, nil)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			return &p.data[0]
		}
		first := propose()
		if propose() != first {
			t.Error("the buffer is not used again")
		}
		b.DropSpare()
		if propose() == first {
			t.Error("the buffer that was given up is used again")
		}
	})
}
