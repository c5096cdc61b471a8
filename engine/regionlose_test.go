package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"quipu/engine/shared"
)

// TestLoseRestless: where a region is lost, leaving out the quiet keys leads to what looking at all of them leads to.
func TestLoseRestless(t *testing.T) {
	const now = 5000
	rnd := rand.New(rand.NewPCG(1, 2))
	ks := newTestKeyspace(t, Config{Databases: 1})
	txn := ks.Txn(0, 1000, false)
	if _, err := txn.OpenRegions("eu", []string{"*"}, 0); err != nil {
		t.Fatal(err)
	}
	var names [Parts][][]byte
	wish := func() (w shared.Wish) {
		if rnd.IntN(3) == 0 {
			w = shared.Wish{Deadline: 2000 + rnd.Int64N(8000), Stamp: 1 + rnd.Int64N(1000)}
		}
		return w
	}
	for i := range 2000 {
		name := fmt.Appendf(nil, "key:%d", i)
		names[Part(name)] = append(names[Part(name)], name)
		if rnd.IntN(3) > 0 {
			continue
		}
		ks.AddRuns([]Run{{Key: name, Delta: 1, Count: 1}}, 1000, nil)
		if w := wish(); w.Stamp != 0 {
			locked(ks, func() { ks.Txn(0, w.Stamp, true).SetDeadline(name, w.Deadline) })
		}
	}
	for _, name := range []string{"us", "asia"} {
		o, err := txn.RegionOrigin(RegionOrigin{Name: name, Incarnation: 5})
		if err != nil {
			t.Fatal(err)
		}
		for part := range Parts {
			frame := shared.AppendFrame(nil, shared.FrameFull, o, 0, 100)
			for _, name := range names[part] {
				k := shared.Key{HasOwn: rnd.IntN(3) > 0, Own: shared.Share{Cum: 7, Seq: 50, RSeq: 10, Wish: wish()}}
				if !k.HasOwn {
					k.Own = shared.Share{}
				}
				if o == 2 && rnd.IntN(3) == 0 {
					k.Others = []shared.Other{{Origin: 1, Share: shared.Share{RSeq: 60, RCum: 7}, Hinted: true, Mine: true}}
				}
				frame = k.AppendRow(frame, name)
			}
			if v, _, err := txn.MergeFrame(part, frame, nil); v != shared.Applied || err != nil {
				t.Fatal(v, err)
			}
		}
	}
	compareLosses(t, saved(t, ks), now)
}

// compareLosses has two keyspaces of one image lose us, one of them as LoseRegion does.
func compareLosses(t *testing.T, image []byte, now int64) {
	some, all := loaded(t, image, 1), loaded(t, image, 1)
	some.Txn(0, now, false).LoseRegion("us", 5)
	locked(all, func() {
		txn, g := all.Txn(0, now, true), all.regions.Load()
		next := *g.setup()
		next.Origins = slices.Clone(next.Origins)
		next.Origins[1].Lost = true
		for part := range Parts {
			p := all.sharedPart(part, now)
			shared.Lose(&p.Part, &regionStore{txn.In(part), p, part, &p.Part}, 1)
		}
		g.current.Store(&next)
		txn.storeRegionSetup(&next)
	})
	if some.Checksum(now) != all.Checksum(now) || some.Checksum(now) == loaded(t, image, 1).Checksum(now) {
		t.Error("other keys are told")
	}
	for part := range Parts {
		if a, b := some.regions.Load().parts[part].Pos, all.regions.Load().parts[part].Pos; a != b {
			t.Errorf("part %d is at %d, and at %d where all keys are looked at", part, a, b)
		}
	}
}
