package shared

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestGoneBeforeReset: a region hears of a reset, of an origin that it has not heard of so far, and then in two frames what
// that origin did: it dropped its share, and made another one, which the reset has seen.
func TestGoneBeforeReset(t *testing.T) {
	p := Part{Now: 1}
	p.Ctx[1] = 3
	k := Key{Others: []Other{{Origin: 1, Share: Share{Cum: 7, RSeq: 1}, Live: true}}}
	k.Hear(&p, Hint{Origin: 1, Seq: 9, Cum: 4})
	check := func(when string, want int64, exists bool) {
		t.Helper()
		if n, ok := k.Value(&p); n != want || ok != exists {
			t.Errorf("%s the value is %d, %v; it should be %d, %v", when, n, ok, want, exists)
		}
	}
	check("before the frames", 0, false)
	k.Merge(&p, 1, 5, nil)
	p.Ctx[1] = 5
	check("behind the first", 0, false)
	k.Merge(&p, 1, 9, &Share{Cum: 4, Seq: 9, RSeq: 6})
	p.Ctx[1] = 9
	check("behind the second", 0, false)
	k.Merge(&p, 1, 12, &Share{Cum: 6, Seq: 12, RSeq: 9, RCum: 4})
	p.Ctx[1] = 12
	check("when the owner has confirmed", 2, true)
}

// TestBytes: one row of numbers in three forms.
func TestBytes(t *testing.T) {
	k := Key{HasOwn: true, Own: Share{Cum: -1, Seq: 300, RSeq: 5, RCum: 2, Base: Base{Stamp: 1, Value: -2}},
		Others: []Other{{Origin: 1, Share: Share{Cum: 64, RSeq: 128}, Live: true}, {Origin: 9, Share: Share{RSeq: 4, RCum: 4}, Hinted: true, Mine: true}}}
	want := []byte{3, 255, 255, 255, 255, 255, 255, 255, 255, 44, 1, 0, 0, 0, 0, 0, 5, 4, 1, 3,
		1, 4, 128, 1, 128, 1, 0,
		9, 24, 0, 4, 8}
	if got := k.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("content %v\nwant    %v", got, want)
	}
	b := AppendFrame(nil, FrameDelta, 2, 0, 44)
	b = k.AppendRow(b, []byte("k"))
	want = []byte{0, 2, 0, 44, 1, 'k', 3, 1, 5, 4, 1, 3, 44 + 128, 2, 1, 9, 4, 8}
	if !bytes.Equal(b, want) {
		t.Errorf("frame %v\nwant  %v", b, want)
	}
}

// TestSize: a key of 19 bytes in three regions must fit 75 bytes; beside the content a record takes 2+4 bytes, the key, and
// 7 in the index.
func TestSize(t *testing.T) {
	k := Key{HasOwn: true, Own: Share{Cum: 1 << 40, Seq: 1 << 40, RSeq: 1 << 20}}
	for o := range Origin(2) {
		k.Others = append(k.Others, Other{Origin: o + 1, Share: Share{Cum: 5000, RSeq: 1 << 20}, Live: true})
	}
	if n := len(k.Append(nil)) + 6 + 19 + 7; n > 75 {
		t.Errorf("a key takes %d bytes", n)
	}
}

func FuzzContent(f *testing.F) {
	f.Add([]byte{3, 255, 255, 255, 255, 255, 255, 255, 255, 44, 1, 0, 0, 0, 0, 0, 5, 4, 1, 3, 1, 4, 128, 1, 128, 1, 0, 9, 24, 0, 4, 8})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var k Key
		if k.Load(b) != nil {
			return
		}
		if got := k.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x is a content, and is written %x", b, got)
		}
		p := Part{Me: 63} // a time before all deadlines
		own := k.HasOwn && (k.Own.Wish.Stamp == 0 || k.Own.alive())
		c := bytes.Clone(b)
		if AddInPlace(c, &p, 3) != own {
			t.Fatalf("%x: an increment in place, and %v", b, own)
		}
		if own {
			var after Key
			if err := after.Load(c); err != nil || after.Own.Cum != k.Own.Cum+3 || after.Own.Seq != p.Pos {
				t.Fatalf("%x: after an increment %x, %+v, %v", b, c, after, err)
			}
		}
	})
}

// TestWishTooLate: a wish that arrives behind its own deadline leaves the share of this region alone.
func TestWishTooLate(t *testing.T) {
	for _, tc := range []struct {
		now, deadline int64 // deadline 0: the key has none then
	}{{99, 100}, {100, 0}, {150, 0}} {
		p := Part{Now: 10}
		var k Key
		k.Add(&p, 5)
		p.Now = tc.now
		k.Merge(&p, 1, 3, &Share{RSeq: 2, Seq: 2, Wish: Wish{Deadline: 100, Stamp: 20}})
		p.Ctx[1] = 3
		if n, exists := k.Value(&p); n != 5 || !exists || max(0, k.Wish(&p).Deadline) != tc.deadline {
			t.Errorf("at %d: %d, %v, %+v", tc.now, n, exists, k.Wish(&p))
		}
	}
}

// TestLostStaysDead: what a lost region has counted has died by a wish, and another region, which has not heard of that,
// tells of it.
func TestLostStaysDead(t *testing.T) {
	p := Part{Now: 150, Lost: 2}
	p.Ctx[1] = 4
	living := Other{Origin: 1, Share: Share{Cum: 3, RSeq: 1}, Live: true}
	dead := living
	dead.Wish = Wish{Deadline: 100, Stamp: 20}
	k := Key{Others: []Other{dead}}
	k.Hear(&p, Hint{Origin: 2, Seq: 1}) // anything that may free memory
	k.MergeLost(&p, 1, 4, &living)
	if n, exists := k.Value(&p); n != 0 || exists {
		t.Errorf("%d, %v", n, exists)
	}
}

// TestLoseAdopts: a wish that the owner has not taken over by the time when it is declared lost is that of its share from then on, though this
// region has no share itself.
func TestLoseAdopts(t *testing.T) {
	p := Part{Now: 50, Lost: 1 << 2}
	p.Ctx[1], p.Ctx[2] = 9, 9
	wish := Wish{Deadline: 200, Stamp: 20}
	k := Key{Others: []Other{{Origin: 1, Share: Share{Cum: 3, Wish: wish}, Live: true}, {Origin: 2, Share: Share{Cum: 4}, Live: true}}}
	if write, _ := k.Lose(&p); !write || k.Others[1].Wish != wish {
		t.Errorf("%+v", k)
	}
}

// TestForkedHistory: a region went on from an older copy of its data, and others have heard of both; they come to the same, whatever is told
// first.
func TestForkedHistory(t *testing.T) {
	const lost = 3
	copies := []Other{
		{Origin: lost, Share: Share{Cum: 15}, Live: true}, {Origin: lost, Share: Share{Cum: 11}, Live: true},
		{Origin: lost, Share: Share{Cum: 11, Base: Base{5, 1}}, Live: true}, {Origin: lost, Share: Share{Cum: 11, Base: Base{5, 2}}, Live: true},
	}
	for i := range copies {
		for j := range copies {
			var ends [2]Key
			for n, pair := range [][2]int{{i, j}, {j, i}} {
				p := Part{Now: 1, Lost: 1 << lost}
				p.Ctx[lost] = 2
				k := &ends[n]
				k.Others = []Other{copies[pair[0]]}
				k.MergeLost(&p, lost, 2, &copies[pair[1]])
			}
			if a, b := ends[0].Others[0], ends[1].Others[0]; a != b {
				t.Errorf("%d and %d: %+v or %+v", i, j, a, b)
			}
		}
	}
}

// TestQuickWays: what is read off a content is what a Key says.
func TestQuickWays(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	quick := 0
	for range 20_000 {
		p := Part{Now: 1000}
		k := Key{HasOwn: rnd.IntN(8) > 0, Own: Share{Cum: rnd.Int64N(1000) - 500, Seq: 9 + rnd.Uint64N(1<<40), RSeq: rnd.Uint64N(9), RCum: rnd.Int64N(9)}}
		base := func(e *Share) {
			if rnd.IntN(3) == 0 {
				e.Base = Base{1 + rnd.Int64N(5), rnd.Int64N(100)}
			}
			if rnd.IntN(8) == 0 {
				e.Wish = Wish{2000, 900}
			}
		}
		base(&k.Own)
		for o := range Origin(rnd.IntN(4)) {
			p.Ctx[o+1] = rnd.Uint64N(300)
			r := Other{Origin: o + 1, Share: Share{Cum: rnd.Int64N(1 << 40), RSeq: rnd.Uint64N(300), RCum: rnd.Int64N(300)}, Live: true, Hinted: rnd.IntN(6) == 0, Mine: true}
			base(&r.Share)
			k.Others = append(k.Others, r)
		}
		if !k.HasOwn {
			k.Own = Share{}
		}
		content := k.Append(nil)
		n, front, ok := Quick(content, &p)
		if ok {
			quick++
			if want, _ := k.Value(&p); n != want {
				t.Fatalf("%d, should be %d: %+v", n, want, k)
			}
		}
		if front > 0 {
			row, want := AppendQuickRow(nil, []byte("name"), content[:front]), k.AppendRow(nil, []byte("name"))
			if !bytes.Equal(row, want) || k.Own.Wish != (Wish{}) {
				t.Fatalf("%x, should be %x: %+v", row, want, k)
			}
		}
		if row, ok := QuickRow([]byte("before"), []byte("name"), content); ok {
			quick++
			if want := k.AppendRow([]byte("before"), []byte("name")); !bytes.Equal(row, want) {
				t.Fatalf("%x, should be %x: %+v", row, want, k)
			}
		} else if string(row) != "before" {
			t.Fatalf("%q", row)
		}
	}
	if quick < 10_000 {
		t.Errorf("quick %d times", quick)
	}
}

// TestQuickMerge: what QuickMerge makes of a content is what Key.Merge makes of the key.
func TestQuickMerge(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	share := func() (e Share) {
		e = Share{Cum: rnd.Int64N(300), Seq: 1 + rnd.Uint64N(9), RSeq: rnd.Uint64N(9), RCum: rnd.Int64N(3)}
		if rnd.IntN(4) == 0 {
			e.Base = Base{1 + rnd.Int64N(5), rnd.Int64N(100)}
		}
		if rnd.IntN(20) == 0 {
			e.Wish = Wish{2000, 900}
		}
		return e
	}
	quick := 0
	for range 100_000 {
		p := Part{Now: 1000}
		k := Key{HasOwn: rnd.IntN(4) > 0}
		if k.HasOwn {
			k.Own = share()
			k.Own.Seq += k.Own.RSeq // alive: without a wish it is
		}
		for o := range Origin(1 + rnd.IntN(3)) {
			r := Other{Origin: o + 1, Share: share(), Live: rnd.IntN(4) > 0, Hinted: rnd.IntN(4) == 0, Mine: rnd.IntN(2) == 0}
			r.Seq = 0
			k.Others = append(k.Others, r)
		}
		content := k.Append(nil)
		if _, _, ok := Quick(content, &p); !ok {
			continue // as the store does
		}
		row := Row{HasShare: rnd.IntN(20) > 0, Share: share()}
		if rnd.IntN(20) == 0 {
			row.Hints = append(row.Hints, Hint{2, 9, 1})
		}
		o, to, before := Origin(1+rnd.IntN(3)), 4+rnd.Uint64N(9), bytes.Clone(content)
		if !QuickMerge(content, o, to, &row) {
			if !bytes.Equal(content, before) {
				t.Fatalf("%x is changed to %x", before, content)
			}
			continue
		}
		quick++
		f := Frame{Kind: FrameDelta, Origin: o, To: to}
		changed := f.merge(&p, &k, &row)
		p.Ctx[o] = to
		if _, exists := k.Value(&p); changed || !exists || p.Pos != 0 || !bytes.Equal(content, k.Append(nil)) {
			t.Fatalf("%+v, %d, %+v: %x, should be %x; changed %v, exists %v", row, o, k, content, k.Append(nil), changed, exists)
		}
	}
	if quick < 2000 {
		t.Errorf("quick %d times", quick)
	}
}

// TestLastRows: of several rows of a key the last one is left, and nothing else goes.
func TestLastRows(t *testing.T) {
	frame := func(keys ...string) (b []byte) {
		b = AppendFrame(nil, FrameDelta, 1, 3, 900)
		for _, key := range keys {
			n, _ := strconv.Atoi(key[1:])
			k := Key{HasOwn: true, Own: Share{Cum: int64(n), Seq: 100}}
			b = k.AppendRow(b, []byte(key[:1]))
		}
		return b
	}
	for _, tc := range [][2][]byte{
		{frame("a1", "b2"), frame("a1", "b2")},
		{frame("a1", "b2000", "a3", "c4", "b5", "b6"), frame("a3", "c4", "b6")},
		{frame(), frame()},
	} {
		if got := LastRows(bytes.Clone(tc[0])); !bytes.Equal(got, tc[1]) {
			t.Errorf("of %x is left %x, should be %x", tc[0], got, tc[1])
		}
	}
}
