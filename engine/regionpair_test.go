package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"quipu/engine/shared"
)

// regionsWorld is two regions of two nodes each, of which one part is used.
type regionsWorld struct {
	*testing.T
	seed    uint64
	rnd     *rand.Rand
	now     int64
	regions []*testRegion
	part    int
}

type testRegion struct {
	name  string
	nodes [2]*Keyspace
}

func regionKey(i int) []byte { return fmt.Appendf(nil, "{k}%d", i) } // all in one part

func newRegionsWorld(t *testing.T, seed uint64) *regionsWorld {
	w := &regionsWorld{T: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 7)), now: 1000, part: Part(regionKey(0))}
	for i := range 2 {
		r := &testRegion{name: string(rune('a' + i))}
		for j := range r.nodes {
			ks := New(Config{Databases: 2, Seed: uint64(i*2 + j)})
			ks.SetRegionRing(1)
			r.nodes[j] = ks
			if _, err := ks.Txn(0, w.now, false).OpenRegions(r.name, []string{"{k}*", "nothing"}, 0); err != nil {
				t.Fatal(err)
			}
		}
		w.regions = append(w.regions, r)
	}
	return w
}

func (w *regionsWorld) close() {
	for _, r := range w.regions {
		for _, ks := range r.nodes {
			ks.Close()
		}
	}
}

func (w *regionsWorld) locked(ks *Keyspace, fn func(t Txn)) {
	ks.LockPart(w.part)
	defer ks.UnlockPart(w.part)
	fn(ks.Txn(0, w.now, false))
}

// both does something on both nodes of a region, and demands the same result.
func (w *regionsWorld) both(r *testRegion, what string, do func(ks *Keyspace) string) {
	first, second := do(r.nodes[0]), do(r.nodes[1])
	if first != second {
		w.Fatalf("%s: %s and %s", what, first, second)
	}
}

// learn has region b number what a knows, and returns how.
func (w *regionsWorld) learn(a, b *testRegion) *[shared.MaxOrigins]shared.Origin {
	setup, _ := a.nodes[0].Regions()
	as := &[shared.MaxOrigins]shared.Origin{}
	for i, o := range setup.Origins {
		w.both(b, "an origin", func(ks *Keyspace) string {
			var err error
			if as[i], err = ks.Txn(0, w.now, false).RegionOrigin(o); err != nil {
				w.Fatal(err)
			}
			return fmt.Sprint(as[i])
		})
	}
	return as
}
