package engine

import "testing"

// TestForgottenIsKept: what is forgotten is so after a restart.
func TestForgottenIsKept(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	txn := ks.Txn(0, 1000, false)
	if _, err := txn.OpenRegions("eu", []string{"*"}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.RegionOrigin(RegionOrigin{Name: "us", Incarnation: 5}); err != nil {
		t.Fatal(err)
	}
	if _, ok := txn.ForgetRegion("us"); ok {
		t.Error("a region that is not lost is forgotten")
	}
	txn.LoseRegion("us", 5)
	if _, ok := txn.ForgetRegion("us"); !ok {
		t.Error("it is not forgotten")
	}
	for _, ks := range []*Keyspace{ks, loaded(t, saved(t, ks), 1)} {
		if s, _ := ks.Regions(); !s.Origins[1].Forgotten || !s.Origins[1].Lost || s.Origins[0].Forgotten {
			t.Errorf("%+v", s)
		}
	}
}
