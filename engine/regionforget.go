package engine

import (
	"slices"

	"quipu/engine/shared"
)

// ForgetRegion forgets all incarnations of a region that are lost (shared.Forget): what they have counted stays in the values, and nobody is
// heard about them any more. It returns how many resets and dead shares are dropped; false: no incarnation of that region is lost. The caller
// holds no parts, or all.
func (t Txn) ForgetRegion(name string) (dropped int64, ok bool) {
	g := t.ks.regions.Load()
	unlock := t.lockAll()
	defer unlock()
	next := *g.setup()
	next.Origins = slices.Clone(next.Origins)
	for i := range next.Origins {
		o := &next.Origins[i]
		if o.Name != name || !o.Lost {
			continue
		}
		o.Forgotten, ok = true, true
		for part := range Parts {
			p := t.ks.sharedPart(part, t.now)
			dropped += int64(shared.Forget(&p.Part, &regionStore{t.WithDB(0).In(part), p, part, &p.Part}, shared.Origin(i)))
		}
	}
	if ok {
		g.current.Store(&next)
		t.storeRegionSetup(&next)
	}
	return dropped, ok
}
