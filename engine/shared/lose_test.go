package shared

import (
	"slices"
	"testing"
)

// keyList is keys by name, of which Each notes what it is told to write.
type keyList struct {
	Store
	names   []string
	keys    []Key
	written []string
}

func (l *keyList) Each(fn func(name []byte, k *Key) (write, changed bool)) {
	for i, name := range l.names {
		if write, _ := fn([]byte(name), &l.keys[i]); write {
			l.written = append(l.written, name)
		}
	}
}

// TestLoseWritesLittle: where a region is lost, keys are written that have something to remember of it, and no others.
func TestLoseWritesLittle(t *testing.T) {
	p := Part{Now: 100, Pos: 10}
	p.Ctx[1], p.Ctx[2] = 10, 10
	own := Share{Cum: 5, Seq: 5, RSeq: 1}
	with := func(e Share, w Wish) Share { e.Wish = w; return e }
	l := &keyList{
		names: []string{"plain", "a reset of any", "dead", "a newer wish", "an older wish"},
		keys: []Key{
			{HasOwn: true, Own: own, Others: []Other{{Origin: 1, Share: own, Live: true}}},
			{HasOwn: true, Own: own, Others: []Other{{Origin: 2, Share: own, Hinted: true}}},
			{HasOwn: true, Own: own, Others: []Other{{Origin: 2, Share: with(own, Wish{90, 50}), Live: true}}},
			{HasOwn: true, Own: with(own, Wish{900, 50}), Others: []Other{{Origin: 1, Share: own, Live: true}}},
			{HasOwn: true, Own: with(own, Wish{900, 50}), Others: []Other{{Origin: 1, Share: with(own, Wish{800, 60}), Live: true}}},
		},
	}
	Lose(&p, l, 1)
	if want := []string{"a reset of any", "dead", "a newer wish"}; !slices.Equal(l.written, want) {
		t.Errorf("written: %q", l.written)
	}
	if !p.IsLost(1) || p.Lost != 2 {
		t.Errorf("lost: %b", p.Lost)
	}
	l.written = nil
	Lose(&p, l, 1)
	if l.written != nil {
		t.Errorf("written again: %q", l.written)
	}
	if r := l.keys[3].Others[0]; r.Wish.Deadline != 900 {
		t.Errorf("the newer wish is %+v", r.Wish)
	}
}
