package shared

import "testing"

// keyMap is a store of a few keys.
type keyMap map[string]Key

func (m keyMap) Read(name []byte, k *Key) { *k = m[string(name)] }

func (m keyMap) Write(name []byte, k *Key, _ bool) {
	if delete(m, string(name)); !k.Empty() {
		m[string(name)] = *k
	}
}

func (keyMap) Fetch([]Row) {}

func (keyMap) Quick(Origin, uint64, *Row) bool { return false }

func (m keyMap) Each(fn func(name []byte, k *Key) (write, changed bool)) {
	for name, k := range m {
		if write, changed := fn([]byte(name), &k); write {
			m.Write([]byte(name), &k, changed)
		}
	}
}

// TestForget: what is dropped, what stays, and who is heard about it.
func TestForget(t *testing.T) {
	const lost = Origin(1)
	begin := Part{Now: 10 * forgetDead, Me: 0, Lost: 1 << lost}
	begin.Ctx[lost] = 50
	p, r, name := begin, keyMap{}, []byte("a")
	for what, test := range map[string]struct {
		copy           Other
		dropped, stays bool
	}{
		"nothing":                        {Other{}, false, false},
		"what counts":                    {Other{Share: Share{Cum: 5, Seq: 9, RSeq: 3}, Live: true}, false, true},
		"what counts and came to 0":      {Other{Share: Share{Cum: 0, Seq: 9, RSeq: 3}, Live: true}, false, true},
		"a reset of all":                 {Other{Share: Share{Cum: 5, RSeq: 20, RCum: 5}, Hinted: true, Mine: true}, true, false},
		"a reset of some":                {Other{Share: Share{Cum: 8, RSeq: 20, RCum: 5}, Hinted: true, Mine: true}, false, true},
		"a bare pair of what never came": {Other{Share: Share{Cum: 2, RSeq: 70, RCum: 9}, Hinted: true}, true, false},
		"what has just died":             {Other{Share: Share{Cum: 5, RSeq: 3, Wish: Wish{begin.Now - 1, 7}}, Live: true}, false, true},
		"what died long ago":             {Other{Share: Share{Cum: 5, RSeq: 3, Wish: Wish{begin.Now - forgetDead, 7}}, Live: true}, true, false},
	} {
		p = begin
		k := Key{HasOwn: true, Own: Share{Cum: 1, Seq: 4, RSeq: 3}}
		if what != "nothing" {
			test.copy.Origin = lost
			k.put(test.copy)
		}
		r.Write(name, &k, false)
		before, _ := k.Value(&p)
		n := Forget(&p, r, lost)
		r.Read(name, &k)
		c := k.other(lost)
		if after, _ := k.Value(&p); after != before || (n == 1) != test.dropped || (c != nil) != test.stays || c != nil && c.Hinted {
			t.Errorf("%s: %d dropped, %d before and %d after: %+v", what, n, before, after, k)
		}
	}
	// Nobody is heard about it any more: neither it itself, nor those who have not heard of a reset.
	for what, frame := range map[string]struct {
		bytes []byte
		want  Verdict
	}{
		"its own":   {AppendFrame(nil, FrameDelta, lost, 0, 99), Refused},
		"another's": {(&Other{Share: Share{Cum: 7, RSeq: 3}, Live: true}).AppendLostRow(AppendFrame(nil, FrameLost, lost, 0, 99), []byte("b")), Old},
	} {
		if v, err := Apply(&p, r, frame.bytes, nil); v != frame.want || err != nil || len(r) > 1 {
			t.Errorf("%s frame: %d, %v", what, v, err)
		}
	}
	var k Key
	if k.Hear(&p, Hint{lost, 80, 9}); !k.Empty() {
		t.Errorf("a reset of what is forgotten is kept: %+v", k)
	}
}
