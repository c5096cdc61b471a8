package shared

import "testing"

// TestPersistOfTheDead: a PERSIST of a key of which this region has no share is kept for owners that have not heard of it, and goes a week later
// if none of them is left; a share that counts does not go with it.
func TestPersistOfTheDead(t *testing.T) {
	const asked = 1000
	begin := func() (*Key, *Part) {
		p := &Part{Now: asked, Pos: 5}
		p.Ctx[1] = 9
		k := &Key{Others: []Other{{Origin: 1, Share: Share{Cum: 7, Wish: Wish{Deadline: 2000, Stamp: 500}}, Live: true}}}
		k.Expire(p, 0)
		return k, p
	}
	k, p := begin()
	if _, exists := k.Value(p); !exists || k.Wish(p) != (Wish{0, asked}) {
		t.Fatalf("%+v", k)
	}
	p.Now = 2001 // the other region had counted with a deadline, and was cut off
	if k.Bury(p); len(k.Others) != 0 || k.Fades(p) != asked+TombstoneAge {
		t.Errorf("%+v fades at %d", k, k.Fades(p))
	}
	if p.Now = asked + TombstoneAge - 1; k.Bury(p) || !k.HasOwn {
		t.Error("it went early")
	}
	if p.Now++; !k.Bury(p) || !k.Empty() {
		t.Errorf("it stays: %+v", k)
	}
	k, p = begin()
	k.Merge(p, 1, 10, &Share{Cum: 7, Seq: 10, Wish: Wish{Stamp: asked}}) // the other region has heard of it
	p.Ctx[1] = 10
	for _, persisted := range []func(){func() {}, func() { k.Add(p, 1) }} {
		persisted()
		if p.Now = asked + 3*TombstoneAge; k.Fades(p) != 0 || k.Bury(p) {
			t.Errorf("%+v fades at %d", k, k.Fades(p))
		}
	}
	k = &Key{HasOwn: true, Own: Share{Cum: 1, Seq: 6, RSeq: 5, Wish: Wish{Stamp: asked}}}
	if k.Fades(p) != 0 || k.Bury(p) {
		t.Error("a share that counts went with the PERSIST that it was given")
	}
}
