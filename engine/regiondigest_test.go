package engine

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"quipu/engine/shared"
)

// compareDigest has a node of region b compare what one of region a says of itself.
func (w *regionsWorld) compareDigest(a, b *testRegion, as *[shared.MaxOrigins]shared.Origin) DigestVerdict {
	setup, _ := a.nodes[0].Regions()
	digest := a.nodes[w.rnd.IntN(2)].BeginDigest(w.part).End()
	v, err := b.nodes[w.rnd.IntN(2)].View(0, w.now, false).CompareDigest(w.part, as[setup.Me], digest)
	if err != nil {
		w.Fatal(err)
	}
	return v
}

// incorporated is how far a node has come with an origin's counters.
func incorporated(ks *Keyspace, o shared.Origin, w *regionsWorld) uint64 {
	counters, _ := ks.View(0, w.now, false).Incorporated(o)
	return counters[w.part]
}

// digestPair is two regions, of which b has what a has counted.
func digestPair(t *testing.T) (w *regionsWorld, a, b *testRegion, tell func(full bool)) {
	w = newRegionsWorld(t, 1)
	t.Cleanup(w.close)
	a, b = w.regions[0], w.regions[1]
	return w, a, b, func(full bool) {
		as := w.learn(a, b)
		for i, ks := range b.nodes {
			frame := a.nodes[i].FullFrame(w.part, w.now)
			if !full {
				frame, _ = a.nodes[i].Frame(nil, w.part, incorporated(b.nodes[i], as[0], w), w.now)
			}
			if len(frame) == 0 {
				continue
			}
			if v, _, err := ks.Txn(0, w.now, false).MergeFrame(w.part, frame, as); v != shared.Applied || err != nil {
				t.Fatal(v, err)
			}
		}
	}
}

// TestDigestNoticesDamage: each kind of difference is noticed, and a full part at the same position repairs it.
func TestDigestNoticesDamage(t *testing.T) {
	w, a, b, tell := digestPair(t)
	for i := range 4 {
		w.both(a, "counting", func(ks *Keyspace) string {
			w.locked(ks, func(t Txn) {
				_, _ = t.Add(regionKey(i), 5)
				if i == 2 {
					t.SetInt(regionKey(i), 8, 0)
				}
			})
			return ""
		})
	}
	tell(false)
	as := w.learn(a, b)
	me := as[0]
	damage := func(name []byte, change func(k *shared.Key)) {
		for _, ks := range b.nodes {
			w.locked(ks, func(t Txn) {
				p := ks.sharedPart(w.part, w.now)
				s := &regionStore{t, p, w.part, &p.Part}
				var k shared.Key
				s.Read(name, &k)
				change(&k)
				s.Write(name, &k, false)
			})
		}
	}
	if v := w.compareDigest(a, b, as); !v.Here || v.Compared != digestBuckets || v.Differs != 0 {
		t.Fatalf("before any damage: %+v", v)
	}
	for what, change := range map[string]func(k *shared.Key){
		"a sum":         func(k *shared.Key) { k.Others[0].Cum++ },
		"a reset":       func(k *shared.Key) { k.Others[0].RCum-- },
		"a later reset": func(k *shared.Key) { k.Others[0].RSeq++ },
		"a share gone":  func(k *shared.Key) { k.Others = nil },
		"a base":        func(k *shared.Key) { k.Others[0].Base = shared.Base{Stamp: 1, Value: 1} },
		"a wish":        func(k *shared.Key) { k.Others[0].Wish = shared.Wish{Stamp: 3} },
	} {
		damage(regionKey(1), change)
		if v := w.compareDigest(a, b, as); !v.Here || v.Differs != 1 {
			t.Errorf("%s: %+v", what, v)
		}
		tell(true)
		if v := w.compareDigest(a, b, as); !v.Here || v.Compared != digestBuckets || v.Differs != 0 {
			t.Errorf("%s, repaired: %+v", what, v)
		}
	}
	damage([]byte("{k}more"), func(k *shared.Key) {
		k.Others = append(k.Others[:0], shared.Other{Origin: me, Share: shared.Share{Cum: 3, Seq: 1}, Live: true})
	})
	if v := w.compareDigest(a, b, as); v.Differs != 1 {
		t.Errorf("a share too many: %+v", v)
	}
	if tell(true); w.compareDigest(a, b, as).Differs != 0 {
		t.Error("a share too many is not repaired")
	}
}

// TestDigestLeavesOut: what is not the same in both regions by rule is left out.
func TestDigestLeavesOut(t *testing.T) {
	w, a, b, tell := digestPair(t)
	for _, i := range []int{0, 3} {
		w.both(a, "counting", func(ks *Keyspace) string {
			w.locked(ks, func(t Txn) { _, _ = t.Add(regionKey(i), 5) })
			return ""
		})
	}
	tell(false)
	as := w.learn(a, b)
	// What changes while a digest is made, in place or not, is not compared, and the rest is.
	d := a.nodes[0].BeginDigest(w.part)
	w.both(a, "counting", func(ks *Keyspace) string {
		w.locked(ks, func(t Txn) { _, _ = t.Add(regionKey(0), 1) })
		return ""
	})
	tell(false)
	if v, err := b.nodes[0].View(0, w.now, false).CompareDigest(w.part, as[0], d.End()); !v.Here || v.Compared != digestBuckets-1 || v.Differs != 0 || err != nil {
		t.Errorf("with an increment meanwhile: %+v, %v", v, err)
	}
	// What is not comparable is left out, and nothing is said of another position.
	w.both(b, "a reset", func(ks *Keyspace) string {
		w.locked(ks, func(t Txn) { t.Delete(regionKey(3)) })
		return ""
	})
	if v := w.compareDigest(a, b, as); v.Compared != digestBuckets-1 || v.Differs != 0 {
		t.Errorf("with a reset that is not confirmed: %+v", v)
	}
	w.both(a, "counting", func(ks *Keyspace) string {
		w.locked(ks, func(t Txn) { _, _ = t.Add(regionKey(0), 1) })
		return ""
	})
	if v := w.compareDigest(a, b, as); v != (DigestVerdict{}) {
		t.Errorf("at another position: %+v", v)
	}
	// What dies does so in each region by itself.
	w.both(a, "counting", func(ks *Keyspace) string {
		w.locked(ks, func(t Txn) { _, _ = t.Add(regionKey(1), 5); t.SetDeadline(regionKey(1), w.now+5) })
		return ""
	})
	tell(false)
	w.now += 10
	for _, ks := range b.nodes {
		ks.Reclaim(w.part, w.now, 100)
	}
	if v := w.compareDigest(a, b, as); !v.Here || v.Differs != 0 {
		t.Errorf("with what has died in one region: %+v", v)
	}
}

// TestDigestWhileCounting: passes that give the lock away, with both regions counting, deleting and being told meanwhile, find no difference.
func TestDigestWhileCounting(t *testing.T) {
	w, a, b, tell := digestPair(t)
	name := func(i int) []byte { return fmt.Appendf(nil, "{k}:%d", i) }
	const keys = 3 * digestKeys
	for _, ks := range append(a.nodes[:], b.nodes[:]...) {
		ks.regions.Load().parts[w.part].changed.limit = 1 << 20
	}
	for i := range keys {
		w.locked(a.nodes[0], func(t Txn) { _, _ = t.Add(name(i), int64(i)) })
		w.locked(a.nodes[1], func(t Txn) { _, _ = t.Add(name(i), int64(i)) })
	}
	tell(false)
	as := w.learn(a, b)
	compared := 0
	for round := range 20 {
		stop := make(chan struct{})
		var busy sync.WaitGroup
		for n, ks := range []*Keyspace{a.nodes[0], b.nodes[0]} {
			rnd := rand.New(rand.NewPCG(uint64(round), uint64(n)))
			busy.Go(func() {
				for done := false; !done; {
					select {
					case <-stop:
						done = true
					default:
					}
					w.locked(ks, func(t Txn) {
						key := name(rnd.IntN(keys))
						switch rnd.IntN(4) {
						case 0:
							t.Delete(key)
						case 1:
							t.SetInt(key, 5, 0)
						default:
							_, _ = t.Add(key, 1)
						}
					})
					for range rnd.IntN(20_000) { // lets most buckets be as they are
						rnd.Uint64()
					}
				}
			})
		}
		d := a.nodes[0].BeginDigest(w.part)
		frame, _ := a.nodes[0].Frame(nil, w.part, incorporated(b.nodes[0], as[0], w), w.now)
		if len(frame) > 0 {
			if v, _, err := b.nodes[0].Txn(0, w.now, false).MergeFrame(w.part, frame, as); v != shared.Applied || err != nil {
				t.Fatal(v, err)
			}
		}
		v, err := b.nodes[0].View(0, w.now, false).CompareDigest(w.part, as[0], d.End())
		close(stop)
		busy.Wait()
		if !v.Here || v.Differs != 0 || err != nil {
			t.Fatalf("round %d: %+v, %v", round, v, err)
		}
		compared += v.Compared
		w.now += 100
	}
	if t.Logf("%d of %d buckets compared", compared, 20*digestBuckets); compared == 0 {
		t.Error("nothing could be compared")
	}
	if n := len(a.nodes[0].regions.Load().parts[w.part].passes) + len(b.nodes[0].regions.Load().parts[w.part].passes); n != 0 {
		t.Errorf("%d passes have not ended", n)
	}
}

// TestPassesHearOfWrites: whatever may move a key between its record and a grave has the bucket left out in passes that are under way.
func TestPassesHearOfWrites(t *testing.T) {
	w, a, b, tell := digestPair(t)
	for i := range 5 {
		w.both(a, "counting", func(ks *Keyspace) string {
			w.locked(ks, func(t Txn) { _, _ = t.Add(regionKey(i), 5) })
			return ""
		})
	}
	tell(false)
	ks := b.nodes[0]
	p := &ks.regions.Load().parts[w.part]
	hears := func(what string, i int, do func(t Txn)) {
		t.Helper()
		var d digestPass
		p.passes = append(p.passes, &d)
		w.locked(ks, do)
		p.endPass(&d)
		var want digestPass
		if want.touch(regionKey(i)); d.leftOut != want.leftOut {
			t.Errorf("%s: left out %x, should be %x", what, d.leftOut, want.leftOut)
		}
	}
	hears("DEL", 1, func(t Txn) { t.Delete(regionKey(1)) })
	hears("INCR of what is in a grave", 1, func(t Txn) { _, _ = t.Add(regionKey(1), 1) })
	hears("SET", 2, func(t Txn) { t.SetInt(regionKey(2), 4, 0) })
	hears("EXPIRE", 2, func(t Txn) { t.SetDeadline(regionKey(2), w.now+5) })
	w.now += 10
	hears("a deadline", 2, func(t Txn) { ks.shard(w.part, 0).reclaimDue(w.now, 100) })
	if len(p.passes) != 0 {
		t.Errorf("%d passes are left", len(p.passes))
	}
}

// FuzzDigest: whatever another region sends is a digest or refused.
func FuzzDigest(f *testing.F) {
	d := digestPass{from: 3, to: 5, leftOut: 2}
	d.sums[9] = 77
	f.Add(d.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDigest(b)
		if err != nil {
			return
		}
		if again, err := decodeDigest(d.append(nil)); err != nil || again != d {
			t.Errorf("%+v becomes %+v, %v", d, again, err)
		}
	})
}

// BenchmarkRegionDigest is one pass over a part of a region with 64 million shared keys, and the comparison of it: ns a key.
func BenchmarkRegionDigest(b *testing.B) {
	ks := New(Config{Databases: 1})
	defer ks.Close()
	if _, err := ks.Txn(0, 1000, false).OpenRegions("eu", []string{"*"}, 0); err != nil {
		b.Fatal(err)
	}
	const keys = 250_000
	part := Part(regionKey(0))
	ks.LockPart(part)
	for i := range keys {
		_, _ = ks.Txn(0, 1000, false).Add(fmt.Appendf(nil, "{k}like:%010d", i), 1)
	}
	ks.UnlockPart(part)
	b.ResetTimer()
	for range b.N {
		if ks.BeginDigest(part).End() == nil {
			b.Fatal("no digest")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
}
