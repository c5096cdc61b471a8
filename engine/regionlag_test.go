package engine

import (
	"fmt"
	"testing"
)

// lagWorld is a keyspace with regions, whose ring of changed keys is as small as it may be, and the part that its keys are in.
func lagWorld(t *testing.T) (ks *Keyspace, add func(now int64, i int), acked [Parts]uint64, part int) {
	ks = newTestKeyspace(t, Config{Databases: 1})
	ks.SetRegionRing(1)
	if _, err := ks.Txn(0, 1000, false).OpenRegions("eu", []string{"*"}, 0); err != nil {
		t.Fatal(err)
	}
	part = Part(regionKey(0))
	return ks, func(now int64, i int) {
		ks.LockPart(part)
		defer ks.UnlockPart(part)
		if _, err := ks.Txn(0, now, false).Add(regionKey(i), 1); err != nil {
			t.Fatal(err)
		}
	}, acked, part
}

// TestRegionLag: what another region is behind by, in changes and keys, and since when.
func TestRegionLag(t *testing.T) {
	ks, add, acked, part := lagWorld(t)
	demand := func(when string, want RegionLag) {
		t.Helper()
		if lag, ok := ks.RegionLag(&acked); lag != want || !ok {
			t.Errorf("%s: %+v, want %+v", when, lag, want)
		}
	}
	if _, ok := newTestKeyspace(t, Config{Databases: 1}).RegionLag(&acked); ok {
		t.Error("a lag without regions")
	}
	demand("nothing counted", RegionLag{})
	add(2000, 0)
	add(2010, 0)
	add(2020, 1)
	demand("three changes", RegionLag{Positions: 3, Keys: 2, Since: 2000})
	_, acked[part] = ks.Frame(nil, part, 0, 2030)
	demand("all is told", RegionLag{})
	add(9000, 1)
	demand("one change, long after", RegionLag{Positions: 1, Keys: 1, Since: 9000})
	_, behind := ks.Frame(nil, part, acked[part], 9001)
	add(9100, 1)
	add(9200, 0)
	demand("what is in two frames", RegionLag{Positions: 3, Keys: 3, Since: 9000})
	acked[part] = behind
	demand("the first frame is confirmed", RegionLag{Positions: 2, Keys: 2, Since: 9100})
	acked[part] = 0
	for i := range 100 { // more than the ring has
		add(10_000+int64(i), 2+i)
	}
	lag, _ := ks.RegionLag(&acked)
	if at := lag.Since; lag.Full != 1 || lag.Keys != 102 || lag.Positions != 106 || at <= 9200 || at >= 10_100 {
		t.Errorf("more than the ring has: %+v", lag)
	}
	other := loaded(t, saved(t, ks), 1)
	if lag, _ := other.RegionLag(&acked); lag != (RegionLag{106, 102, 0, 1}) {
		t.Errorf("of a node that was just loaded: %+v", lag)
	}
}

// TestLagBehindThinnedCuts: with more cuts than are kept, a change is never taken for younger than it is.
func TestLagBehindThinnedCuts(t *testing.T) {
	var c changedKeys
	c.begin(0, 1<<20)
	when := map[uint64]int64{}
	for i := range uint64(3000) {
		when[i+1] = int64(1000 + 7*i)
		c.note(i, fmt.Appendf(nil, "k%d", i), i+1, when[i+1])
		c.cut(i + 1)
	}
	for pos := range uint64(2999) {
		at, _, ok := c.from(pos)
		if since := c.since(at.pos); !ok || since == 0 || since > when[pos+1] {
			t.Fatalf("behind %d: since %d, and it was at %d", pos, since, when[pos+1])
		}
	}
}

// TestRegionCounts: graves are counted where they are made, dropped, reclaimed and loaded; late wishes where they come too late.
func TestRegionCounts(t *testing.T) {
	w := newRegionsWorld(t, 1)
	defer w.close()
	a, b := w.regions[0], w.regions[1]
	at := func(r *testRegion, fn func(t Txn)) { w.locked(r.nodes[0], fn) }
	send := func(a, b *testRegion) {
		w.now += frameShared
		as := w.learn(a, b)
		frame, _ := a.nodes[0].Frame(nil, w.part, 0, w.now)
		if _, _, err := b.nodes[0].Txn(0, w.now, false).MergeFrame(w.part, frame, as); err != nil {
			t.Fatal(err)
		}
	}
	graves := func(what string, ks *Keyspace, want int64) {
		t.Helper()
		if n := ks.RegionCounts(); n.Graves != want {
			t.Errorf("%s: %d graves, want %d", what, n.Graves, want)
		}
	}
	for i := 1; i < 4; i++ {
		at(a, func(t Txn) { _, _ = t.Add(regionKey(i), 1) })
	}
	send(a, b)
	for i := 1; i < 4; i++ {
		at(b, func(t Txn) { t.Delete(regionKey(i)) })
	}
	graves("three resets", b.nodes[0], 3)
	graves("a snapshot with them", loaded(t, saved(t, b.nodes[0]), 2), 3)
	at(b, func(t Txn) { _, _ = t.Add(regionKey(1), 1) })
	graves("a key that came back", b.nodes[0], 2)
	send(b, a)
	send(a, b) // confirmed
	graves("the owner has confirmed", b.nodes[0], 0)
	// Late: the wish is of a deadline that has passed here by the time it comes.
	at(a, func(t Txn) {
		_, _ = t.Add(regionKey(4), 1)
		t.SetDeadline(regionKey(4), w.now+50)
	})
	at(b, func(t Txn) { _, _ = t.Add(regionKey(4), 1) })
	w.now += 60
	send(a, b)
	if n := b.nodes[0].RegionCounts(); n.Late != 1 {
		t.Errorf("%d wishes came late", n.Late)
	}
	if n := a.nodes[0].RegionCounts(); n.Late != 0 {
		t.Errorf("%d wishes came late to where they are from", n.Late)
	}
}
