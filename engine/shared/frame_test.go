package shared_test

import (
	"bytes"
	"testing"

	"quipu/engine/shared"
	"quipu/internal/regionmodel"
)

var names = [regionmodel.Keys][]byte{[]byte("a"), []byte("b")}

// FuzzFrame: whatever arrives is refused or applied, and what is stored then can be read.
func FuzzFrame(f *testing.F) {
	b := shared.AppendFrame(nil, shared.FrameDelta, 1, 0, 5)
	k := shared.Key{HasOwn: true, Own: shared.Share{Cum: 4, Seq: 5, RSeq: 1}, Others: []shared.Other{{Origin: 0, Share: shared.Share{RSeq: 3}, Hinted: true, Mine: true}}}
	f.Add(k.AppendRow(b, names[0]))
	f.Add(k.AppendRow(shared.AppendFrame(nil, shared.FrameFull, 1, 0, 5), names[1]))
	f.Add(k.Others[0].AppendLostRow(shared.AppendFrame(nil, shared.FrameLost, 2, 0, 5), names[1]))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := shared.Part{Pos: 7, Lost: 4}
		r := &regionmodel.Store{Names: &names}
		for i := range r.Content {
			k := shared.Key{Others: []shared.Other{{Origin: 1, Share: shared.Share{Cum: 2, RSeq: 1}, Live: true}, {Origin: 2, Share: shared.Share{Cum: 2, RSeq: 1, RCum: 1}, Hinted: true}}}
			r.Content[i] = k.Append(nil)
		}
		before := *r
		frame, err := shared.OpenFrame(b)
		if err == nil && !onlyNames(frame) {
			return // the test's store has no other keys
		}
		verdict, err := shared.Apply(&p, r, b, nil)
		for i := range r.Content {
			if (err != nil || verdict != shared.Applied) && !bytes.Equal(r.Content[i], before.Content[i]) {
				t.Fatalf("%x: %v, %v, and key %d is changed", b, verdict, err, i)
			}
			var k shared.Key
			r.Read(names[i], &k)
		}
	})
}

func onlyNames(f shared.Frame) bool {
	var row shared.Row
	for {
		more, err := f.Next(&row)
		if !more {
			return err == nil
		}
		if string(row.Key) != "a" && string(row.Key) != "b" {
			return false
		}
	}
}
