package engine

import (
	"testing"

	"quipu/engine/shared"
)

// TestRegionMarks: a history knows which of its marks others were told under, and how far; a copy that has gone on another way does not.
func TestRegionMarks(t *testing.T) {
	ks, add, has, part := lagWorld(t)
	count := func(ks *Keyspace, n int) {
		for range n {
			ks.LockPart(part)
			_, _ = ks.Txn(0, 2000, false).Add(regionKey(0), 1)
			ks.UnlockPart(part)
		}
	}
	ks.MarkRegions(0)
	if m := ks.RegionMark(); m != (RegionMark{}) {
		t.Errorf("nobody has proposed anything: %+v", m)
	}
	ks.MarkRegions(100)
	add(2000, 0)
	ks.MarkRegions(100)
	first := ks.RegionMark()
	if first != (RegionMark{1, 100}) {
		t.Errorf("the first mark: %+v", first)
	}
	count(ks, 9)
	old := saved(t, ks) // at 10
	count(ks, 5)
	has[part] = 15
	judge := func(what string, ks *Keyspace, m RegionMark, good bool) {
		t.Helper()
		if err := ks.JudgeMark(m, &has); (err == nil) != good {
			t.Errorf("%s: %v", what, err)
		}
	}
	ks.MarkRegions(200)
	count(ks, 5)
	judge("what was told before the next leader", ks, first, true)
	judge("nothing was told", ks, RegionMark{}, true)
	judge("the last mark", ks, RegionMark{2, 200}, true)
	judge("another mark of that number", ks, RegionMark{2, 201}, false)
	judge("a mark that is not there", ks, RegionMark{3, 300}, false)
	image := saved(t, ks)
	judge("after a snapshot", loaded(t, image, 1), first, true)
	judge("another one, after a snapshot", loaded(t, image, 1), RegionMark{2, 201}, false)

	has[part] = 16
	judge("more than there was under that mark, after a snapshot", loaded(t, image, 1), first, false)
	has[part] = 15

	older := loaded(t, old, 1)
	older.MarkRegions(300)
	count(older, 100) // it has overtaken what others know
	judge("a copy that has gone on", older, first, false)
	has[part] = 10
	judge("a copy, of which others know no more than it had", older, first, true)

	// Old marks go, and what was told under them is judged by the first that is kept.
	has[part] = 15
	for i := range uint64(2 * marksMax) {
		ks.MarkRegions(1000 + i)
	}
	judge("long ago", ks, first, true)
	has[part] = 21
	judge("long ago, and more than there was", ks, first, false)
	if n := len(*ks.regions.Load().marks.Load()); n != marksMax {
		t.Errorf("%d marks", n)
	}
	if err := ks.Txn(0, 3000, false).RenewRegion(); err != nil {
		t.Fatal(err)
	}
	if m := ks.RegionMark(); m.Random != 1000+2*marksMax-1 || len(*ks.regions.Load().marks.Load()) != 1 {
		t.Errorf("of another incarnation: %+v", m)
	}
}

// TestHearMark: the last mark of an origin is kept, an earlier one is no news, and another one of the same number is of another history.
func TestHearMark(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	txn := ks.Txn(0, 1000, false)
	if _, err := txn.OpenRegions("eu", []string{"*"}, 0); err != nil {
		t.Fatal(err)
	}
	o, err := txn.RegionOrigin(RegionOrigin{Name: "us", Incarnation: 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		m    RegionMark
		good bool
		kept RegionMark
	}{
		{RegionMark{2, 20}, true, RegionMark{2, 20}}, {RegionMark{2, 20}, true, RegionMark{2, 20}}, {RegionMark{2, 21}, false, RegionMark{2, 20}},
		{RegionMark{1, 10}, true, RegionMark{2, 20}}, {RegionMark{4, 40}, true, RegionMark{4, 40}},
	} {
		if good := txn.HearMark(o, step.m); good != step.good || txn.Incarnations().Origins[o].Heard != step.kept {
			t.Errorf("%+v: %v, kept %+v", step.m, good, txn.Incarnations().Origins[o].Heard)
		}
	}
	if s, _ := loaded(t, saved(t, ks), 1).Regions(); s.Origins[o].Heard != (RegionMark{4, 40}) || s.Origins[shared.Origin(0)].Heard != (RegionMark{}) {
		t.Errorf("after a snapshot: %+v", s.Origins)
	}
}
