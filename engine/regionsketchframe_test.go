package engine

import (
	"bytes"
	"testing"

	"quipu/engine/cms"
	"quipu/engine/hll"
	"quipu/engine/shared"
)

// TestSketchFramesAreShort: a frame of many small sketches has a limit of rows, and those that are left come in the next ones.
func TestSketchFramesAreShort(t *testing.T) {
	const now, sketches = 1_000_000, 2*sketchRowsMax + 1
	ks := New(Config{Databases: 1, Seed: 1})
	defer ks.Close()
	if _, err := ks.Txn(0, now, false).OpenRegions("a", []string{"*"}, 0); err != nil {
		t.Fatal(err)
	}
	part := Part(sketchKey(0))
	ks.LockPart(part)
	for i := range sketches {
		tx := ks.Txn(0, now, false)
		c := tx.Resize(sketchKey(i), len(hll.AppendNew(nil)), KindRaw)
		copy(c.Bytes, hll.AppendNew(nil))
		tx.Changed(sketchKey(i), c)
	}
	ks.UnlockPart(part)
	var rest SketchRest
	told, frames := 0, 0
	for frames == 0 || len(rest.Names) > 0 {
		f, err := shared.OpenSketchFrame(ks.SketchFrame(nil, part, 0, &rest, now))
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		for row := (shared.SketchRow{}); ; rows++ {
			if more, err := f.Next(&row); err != nil || !more {
				break
			}
		}
		if rows > sketchRowsMax {
			t.Errorf("a frame has %d rows", rows)
		}
		told, frames = told+rows, frames+1
	}
	if told != sketches || frames != 3 {
		t.Errorf("%d of %d sketches are told, in %d frames", told, sketches, frames)
	}
}

// TestSketchFramesFitArguments: the largest sketch beside others, all with the longest names, makes no frame that is longer than an argument may be.
func TestSketchFramesFitArguments(t *testing.T) {
	const now, argument = 1_000_000, 1 << 20
	ks := New(Config{Databases: 1, Seed: 1})
	defer ks.Close()
	if _, err := ks.Txn(0, now, false).OpenRegions("a", []string{"*"}, 0); err != nil {
		t.Fatal(err)
	}
	part := Part(sketchKey(0))
	fits := func(frame func(b []byte, rest *SketchRest) []byte) {
		t.Helper()
		rest, some := SketchRest{}, 0
		for ; ; some++ {
			b := frame(nil, &rest)
			if len(b) > argument {
				t.Errorf("a frame has %d bytes", len(b))
			}
			if len(b) == 0 || rest.Names == nil {
				break
			}
		}
		if some == 0 {
			t.Error("all are in one frame")
		}
	}
	ks.LockPart(part)
	for i := range 8 { // the first ones are small
		name := append(sketchKey(i), bytes.Repeat([]byte("n"), MaxKey-len(sketchKey(i)))...)
		width := int64(1000)
		if i > 1 {
			width = (shared.MaxSketch - cms.HeaderBytes) / 4
		}
		tx := ks.Txn(0, now, false)
		size, _ := cms.Dimensions(width, 1, 4)
		c := tx.Resize(name, size, KindCMS)
		cms.Init(c.Bytes, width, 1, 4, false)
		tx.Changed(name, c)
	}
	ks.UnlockPart(part)
	fits(func(b []byte, rest *SketchRest) []byte { return ks.SketchFrame(b, part, 1<<40, rest, now) })
	if err := ks.Txn(0, now, false).RenewRegion(); err != nil {
		t.Fatal(err)
	}
	fits(func(b []byte, rest *SketchRest) []byte { return ks.LostSketches(b, part, 0, rest, now) })
}
