package shared

import (
	"reflect"
	"testing"

	"quipu/engine/cms"
)

func cmsPayload(width int64) []byte {
	size, _ := cms.Dimensions(width, 2, 4)
	b := make([]byte, size)
	cms.Init(b, width, 2, 4, false)
	return b
}

// TestSketchHear goes through what a region hears of a sketch, and what it makes of that.
func TestSketchHear(t *testing.T) {
	const now, other = 1000, Origin(3)
	narrow, wide := cmsPayload(5), cmsPayload(9)
	hll := func(gen uint64, w Wish) Sketch {
		return Sketch{Gen: gen, Kind: SketchHLL, Touched: true, Birth: 500, Wish: w}
	}
	count := func(copies ...Copy) Sketch {
		return Sketch{Gen: 7, Kind: SketchCMS, Touched: true, Birth: 500, Copies: copies}
	}
	row := func(kind SketchKind, gen uint64, payload []byte) SketchRow {
		return SketchRow{Gen: gen, Kind: kind, Birth: 600, At: 20, Payload: payload}
	}
	wish := func(r SketchRow, deadline, stamp int64) SketchRow {
		r.Wish = Wish{deadline, stamp}
		return r
	}
	brief := func(r SketchRow) SketchRow { r.Brief = true; return r }
	gone := SketchRow{Gone: true, At: 20}
	heard := Copy{other, 20, 600}
	for _, c := range []struct {
		what string
		m    Sketch
		row  SketchRow
		do   Action
		tell bool
		want Sketch
	}{
		{"nothing is known", Sketch{}, row(SketchHLL, 0, nil), Begin, true, Sketch{Kind: SketchHLL, Birth: now}},
		{"a share", Sketch{}, row(SketchCMS, 0, narrow), Begin, true, Sketch{Kind: SketchCMS, Birth: now, Copies: []Copy{heard}}},
		{"a digest of what is not known", Sketch{}, brief(row(SketchHLL, 0, nil)), Stay, false, Sketch{}},
		{"what has died by now", Sketch{}, wish(row(SketchHLL, 0, nil), now, 1), Stay, false, Sketch{}},
		{"a tombstone", Sketch{}, row(SketchNone, 9, nil), End, false, Sketch{Gen: 9}},
		{"the same", hll(7, Wish{}), row(SketchHLL, 7, nil), Join, false, hll(7, Wish{})},
		{"an older generation", hll(7, Wish{}), row(SketchHLL, 6, nil), Stay, true, hll(7, Wish{})},
		{"an older generation, of what others have told", Sketch{Gen: 7, Kind: SketchHLL, Birth: 500}, row(SketchHLL, 6, nil), Stay, true, hll(7, Wish{})},
		{"a newer generation", count(Copy{1, 5, 5}), row(SketchCMS, 8, narrow), Begin, true, Sketch{Gen: 8, Kind: SketchCMS, Birth: now, Copies: []Copy{heard}}},
		{"an older tombstone", hll(7, Wish{}), row(SketchNone, 6, nil), Stay, true, hll(7, Wish{})},
		{"the tombstone that it was begun behind", Sketch{Gen: 7, Kind: SketchHLL, Birth: 500}, row(SketchNone, 7, nil), Stay, true, hll(7, Wish{})},
		{"a newer tombstone", count(heard), row(SketchNone, 8, nil), End, false, Sketch{Gen: 8}},
		{"the same tombstone", Sketch{Gen: 8}, row(SketchNone, 8, nil), Stay, false, Sketch{Gen: 8}},
		{"what was begun behind a tombstone", Sketch{Gen: 8}, row(SketchHLL, 8, nil), Begin, true, Sketch{Gen: 8, Kind: SketchHLL, Birth: now}},
		{"what was deleted", Sketch{Gen: 8}, row(SketchHLL, 7, nil), Stay, true, Sketch{Gen: 8}},
		{"a lower kind", count(), row(SketchHLL, 7, nil), Stay, true, count()},
		{"a higher kind", hll(7, Wish{}), row(SketchCMS, 7, narrow), Begin, true, Sketch{Gen: 7, Kind: SketchCMS, Birth: now, Copies: []Copy{heard}}},
		{"a higher shape", count(), row(SketchCMS, 7, wide), Begin, true, Sketch{Gen: 7, Kind: SketchCMS, Birth: now, Copies: []Copy{heard}}},
		{"a share that is new", count(), row(SketchCMS, 7, narrow), Join, true, count(heard)},
		{"a share of which an older state is known", count(Copy{other, 19, 600}), row(SketchCMS, 7, narrow), Join, false, count(heard)},
		{"a late row", count(Copy{other, 21, 600}), row(SketchCMS, 7, narrow), Stay, false, count(Copy{other, 21, 600})},
		{"one that has begun anew", count(Copy{other, 19, 550}), row(SketchCMS, 7, narrow), Join, true, count(heard)},
		{"gone", count(heard, Copy{4, 1, 1}), gone, DropCopy, true, count(Copy{4, 1, 1})},
		{"gone, of what others have told", Sketch{Kind: SketchHLL, Birth: 500}, gone, Stay, true, Sketch{Kind: SketchHLL, Birth: 500, Touched: true}},
		{"gone, and deleted here", Sketch{Gen: 8}, gone, Stay, true, Sketch{Gen: 8}},
		{"gone, and nothing here", Sketch{}, gone, Stay, false, Sketch{}},
		{"a newer wish", hll(7, Wish{2000, 5}), wish(row(SketchHLL, 7, nil), 3000, 6), Join, false, hll(7, Wish{3000, 6})},
		{"an older wish", hll(7, Wish{2000, 5}), wish(row(SketchHLL, 7, nil), 3000, 4), Join, true, hll(7, Wish{2000, 5})},
		{"a newer wish that has passed", hll(7, Wish{2000, 5}), wish(row(SketchHLL, 7, nil), 900, 6), Stay, false, hll(7, Wish{900, 6})},
		{"an older wish that has passed", hll(7, Wish{2000, 5}), wish(row(SketchHLL, 7, nil), 900, 4), Stay, true, hll(7, Wish{2000, 5})},
		{"a wish that passed before this one was begun", count(heard), wish(row(SketchCMS, 7, narrow), 500, 4), Rebirth, true, Sketch{Gen: 500, Kind: SketchCMS, Touched: true, Birth: 500}},
		{"a newer generation that passed before this one was begun", count(heard), wish(row(SketchCMS, 800, narrow), 500, 4), Rebirth, true, Sketch{Gen: 801, Kind: SketchCMS, Touched: true, Birth: 500}},
		{"a higher shape that passed before this one was begun", count(), wish(row(SketchCMS, 7, wide), 400, 4), Rebirth, true, Sketch{Gen: 400, Kind: SketchCMS, Touched: true, Birth: 500}},
		{"a newer generation that has died by now", count(heard), wish(row(SketchCMS, 8, narrow), 900, 4), End, true, Sketch{Gen: 8}},
	} {
		m := c.m
		m.Copies = append([]Copy(nil), m.Copies...)
		do, tell := m.Hear(other, &c.row, Shape(m.Kind, narrow), now)
		if len(m.Copies) == 0 {
			m.Copies = nil
		}
		if do != c.do || tell != c.tell || !reflect.DeepEqual(m, c.want) {
			t.Errorf("%s: %d, %v, %+v, want %d, %v, %+v", c.what, do, tell, m, c.do, c.tell, c.want)
		}
		b := m.Append(nil)
		if err := m.Load(b); err != nil || string(m.Append(nil)) != string(b) {
			t.Errorf("%s: it is not read as it is written: %+v, %v", c.what, m, err)
		}
	}
	late := int64(8) + TombstoneAge - tombstoneMargin
	if m := (Sketch{Gen: 8}); true {
		if do, _ := m.Hear(other, &SketchRow{Kind: SketchHLL, Birth: 1, At: 1}, nil, late); do != Begin {
			t.Error("an outdated tombstone keeps what is new from being heard")
		}
	}
	if m := (Sketch{}); true {
		if do, _ := m.Hear(other, &SketchRow{Gen: 8, At: 1}, nil, late); do != Stay {
			t.Error("an outdated tombstone is heard")
		}
	}
}
