package engine

import "testing"

// TestOpenRegions: what is no counter cannot be shared, and nothing is changed then.
func TestOpenRegions(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2})
	txn := ks.Txn(0, 1000, true)
	locked(ks, func() {
		txn.SetInt([]byte("n"), 5, 0)
		txn.SetInt([]byte("dies"), 7, 2000)
		txn.SetBytes([]byte("number"), []byte("12"), KindRaw, 0)
		txn.SetBytes([]byte("other"), []byte("text"), KindString, 0)
		txn.WithDB(1).SetBytes([]byte("elsewhere"), []byte("text"), KindString, 0)
		before := ks.View(0, 1000, true)
		if _, err := txn.OpenRegions("eu", []string{"*"}, 7); err == nil {
			t.Error("text is shared")
		}
		if _, ok := before.Get([]byte("n")); !ok || ks.regions.Load() != nil {
			t.Error("regions are on after an error")
		}
		for _, bad := range [][]string{{}, {""}, {string(make([]byte, 2000))}} {
			if _, err := txn.OpenRegions("eu", bad, 7); err != ErrRegionSetup {
				t.Errorf("patterns %q: %v", bad, err)
			}
		}
		if n, err := txn.OpenRegions("eu", []string{"n*", "dies"}, 7); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		if _, err := txn.OpenRegions("eu", []string{"n*"}, 7); err != ErrRegionsOpen {
			t.Errorf("again: %v", err)
		}
	})
	image := saved(t, ks)
	if image[8] != formatRegions {
		t.Errorf("version %d", image[8])
	}
	for _, ks := range []*Keyspace{ks, loaded(t, image, 2)} {
		if s, _ := ks.Regions(); s.Origins[0].Data != 7 {
			t.Errorf("began with data %d", s.Origins[0].Data)
		}
		if p := &ks.regions.Load().parts[Part([]byte("n"))]; p.Pos != 1 {
			t.Errorf("position %d", p.Pos)
		}
		locked(ks, func() {
			v := ks.View(0, 1000, true)
			for key, want := range map[string]Value{"n": {Kind: KindInt, Int: 5}, "dies": {Kind: KindInt, Int: 7, Deadline: 2000}, "number": {Kind: KindInt, Int: 12}} {
				if got, ok := v.Get([]byte(key)); !ok || got.Int != want.Int || got.Kind != want.Kind || got.Deadline != want.Deadline {
					t.Errorf("%s is %+v", key, got)
				}
			}
			if _, ok := v.Get([]byte("other")); !ok {
				t.Error("what does not match is gone")
			}
		})
	}
}
