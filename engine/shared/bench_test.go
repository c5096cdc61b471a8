package shared

import "testing"

// threeRegions is a key that three regions count, and the part of one of them.
func threeRegions() (Key, *Part) {
	p := &Part{Now: 1, Pos: 1 << 20}
	k := Key{HasOwn: true, Own: Share{Cum: 1000, Seq: 1 << 20, RSeq: 1 << 19}}
	for o := Origin(1); o < 3; o++ {
		k.Others = append(k.Others, Other{Origin: o, Share: Share{Cum: 5000, RSeq: 1 << 19}, Live: true})
		p.Ctx[o] = 1 << 20
	}
	return k, p
}

// BenchmarkKey is what is done to a key that three regions count.
func BenchmarkKey(b *testing.B) {
	b.Run("increment in place", func(b *testing.B) {
		k, p := threeRegions()
		content := k.Append(nil)
		for b.Loop() {
			AddInPlace(content, p, 1)
		}
	})
	b.Run("increment", func(b *testing.B) {
		k, p := threeRegions()
		content := k.Append(nil)
		for b.Loop() {
			k.Load(content)
			k.Add(p, 1)
			content = k.Append(content[:0])
		}
	})
	b.Run("value", func(b *testing.B) {
		k, p := threeRegions()
		content := k.Append(nil)
		for b.Loop() {
			k.Load(content)
			k.Value(p)
		}
	})
	b.Run("row", func(b *testing.B) {
		k, p := threeRegions()
		content := k.Append(nil)
		row := k.Own
		for b.Loop() {
			k.Load(content)
			k.Merge(p, 1, p.Ctx[1]+1, &row)
			content = k.Append(content[:0])
		}
	})
}
