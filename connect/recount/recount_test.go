package recount

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

// TestCompare: what counts as equal, as a difference, and as nothing that can be compared.
func TestCompare(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	key := func(n int64) entry { return entry{key: "k", n: n, records: 1} }
	is := func(n int64) value { return value{exists: true, number: true, n: n} }
	text := value{exists: true}
	until := func(v value, d time.Duration) value { v.deadline = at(d); return v }
	for name, c := range map[string]struct {
		e       entry
		v       value
		differs bool
		off     string
		counted string // which figure of the report is 1
	}{
		"equal":                  {key(5), is(5), false, "", "compared"},
		"too much":               {key(5), is(7), true, "2", "differing"},
		"missing":                {key(5), value{}, true, "-5", "missing"},
		"made up":                {entry{key: "k"}, is(3), true, "3", "extra"},
		"neither":                {entry{key: "k"}, value{}, false, "", "compared"},
		"a sum of 0":             {key(0), value{}, false, "", "compared"},
		"a text":                 {key(5), text, true, "-5", "texts"},
		"a text for a sum of 0":  {key(0), text, true, "0", "texts"},
		"a text of others":       {entry{key: "k"}, text, false, "", "other"},
		"other commands":         {entry{key: "k", n: 5, records: 1, other: true}, is(9), false, "", "other"},
		"ended":                  {entry{key: "k", n: 5, records: 1, deadline: at(-time.Second)}, value{}, false, "", "ending"},
		"ends soon":              {entry{key: "k", n: 5, records: 1, deadline: at(30 * time.Second)}, is(5), false, "", "ending"},
		"ends soon only there":   {entry{key: "k"}, until(is(5), 30*time.Second), false, "", "ending"},
		"ends later, is missing": {entry{key: "k", n: 5, records: 1, deadline: at(time.Hour)}, value{}, true, "-5", "missing"},
		"beyond 64 bits":         {key(math.MinInt64), is(math.MaxInt64), true, "18446744073709551615", "differing"},
	} {
		var r Report
		d, differs := r.compare(&c.e, c.v, now)
		figures := map[string]int64{
			"compared": r.Compared, "differing": r.Differing, "missing": r.Missing, "extra": r.Extra, "texts": r.Texts, "other": r.Other, "ending": r.Ending,
		}
		if differs != c.differs || differs && d.off().String() != c.off || figures[c.counted] != 1 || r.Compared+r.Other+r.Ending != 1 || (r.Differing == 1) != differs {
			t.Errorf("%s: differs %v, %+v; report %+v", name, differs, d, r)
		}
		if mends := differs && !strings.Contains(name, "text") && name != "beyond 64 bits"; d.repairable() != mends && differs {
			t.Errorf("%s: repairable %v", name, d.repairable())
		}
		if want := max(c.v.deadline, c.e.deadline); differs && d.deadline != want {
			t.Errorf("%s: the deadline is %d, want %d", name, d.deadline, want)
		}
	}
}

// TestLargest: the largest differences are kept, in their order, and the sums are exact beyond 64 bits.
func TestLargest(t *testing.T) {
	var r Report
	for i := range int64(100) {
		n := (i * 37 % 100) * (1 - 2*(i%2))
		r.compare(&entry{key: fmt.Sprint(i), n: 0, records: 1}, value{exists: true, number: true, n: n}, time.Now())
	}
	for range 2 {
		r.compare(&entry{key: "huge", n: math.MinInt64, records: 1}, value{exists: true, number: true, n: 1}, time.Now())
	}
	last := new(big.Int).Lsh(big.NewInt(1), 70)
	for i, d := range r.Largest {
		if d.off().CmpAbs(last) > 0 {
			t.Errorf("number %d is larger than the one before: %+v", i, r.Largest)
		}
		last = d.off()
	}
	if len(r.Largest) != largest || r.Largest[0].Key != "huge" || r.Largest[2].off().CmpAbs(big.NewInt(99)) != 0 {
		t.Errorf("the largest are %+v", r.Largest)
	}
	want := new(big.Int).Lsh(big.NewInt(1), 64)
	want.Add(want, big.NewInt(2+99*100/2))
	if r.Total.Cmp(want) != 0 {
		t.Errorf("the sizes add up to %v, want %v", &r.Total, want)
	}
}

// script is a reader of records "partition number".
type script struct{ at map[string]int64 }

func (s *script) Close() {}

func (s *script) ReadTo(_ context.Context, to map[string]int64, each func(string, count.Record)) error {
	for name, end := range to {
		for ; s.at[name] < end; s.at[name]++ {
			each(name, count.Record{Value: fmt.Appendf(nil, `{"k":"%d"}`, s.at[name]%3), At: count.Coord{A: s.at[name], Epoch: 4}})
		}
	}
	return nil
}

// TestShadow: records are counted up to each vector, those that are set aside when they are no more.
func TestShadow(t *testing.T) {
	cfg, err := config.Parse("c", []byte("source s\n  file f\n  INCRBY n:{k} 2\n  DEL d:{k} e\n  CMS.MERGE m 2 a b\n  RENAME x y\n  MSET p:{k} 1 q 2"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := mapping.Compile(cfg.Sources[0])
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Job: &count.Job{Source: cfg.Sources[0], Program: program}, Keys: 100, Passes: 1}
	o.Kind.Fetch = func(_ context.Context, _ *count.Job, partition string, at []count.Coord, each func(count.Record)) error {
		if partition != "s/0" || len(at) != 1 || at[0].A != 4 {
			t.Errorf("%s: %v is fetched", partition, at)
		}
		each(count.Record{Value: []byte(`{"k":"late"}`), At: at[0]})
		return nil
	}
	s := newShadow(o, &script{map[string]int64{}}, 0)
	s.at = &vector{}
	aside := func(at ...int64) map[string]map[count.Coord]bool {
		set := map[count.Coord]bool{}
		for _, a := range at {
			set[count.Coord{A: a}] = true
		}
		return map[string]map[count.Coord]bool{"s/0": set}
	}
	for i, step := range []struct {
		vector vector
		want   map[string]int64
	}{
		{vector{places: map[string]int64{"s/0": 6, "s/1": 3}, parked: aside(4, 2)}, map[string]int64{"n:0": 6, "n:1": 4, "n:2": 4}},
		{vector{places: map[string]int64{"s/0": 9, "s/1": 3}, parked: aside(7, 2)}, map[string]int64{"n:0": 8, "n:1": 4, "n:2": 6, "n:late": 2}},
	} {
		if err := s.advance(t.Context(), &step.vector); err != nil {
			t.Fatal(err)
		}
		for key, n := range step.want {
			if e := s.entry(key); e.n != n || e.other {
				t.Errorf("step %d: %s is %+v, want %d", i, key, *e, n)
			}
		}
	}
	if s.read["s/0"] != 9 || s.read["s/1"] != 3 {
		t.Errorf("read %v", s.read)
	}
	others := ""
	for _, e := range s.entries {
		if e.other {
			others += e.key + " "
		}
	}
	for _, key := range strings.Fields("d:0 d:1 d:2 d:late e m x y p:0 q") {
		if !strings.Contains(others, key+" ") {
			t.Errorf("%s is written by other commands, and compared; not compared are %s", key, others)
		}
	}
	if s.entry("n:0").increment(math.MaxInt64, 1); !s.entry("n:0").other {
		t.Error("a sum beyond 64 bits is compared")
	}
}

// TestCurrent: an answer of a node that lags is not taken.
func TestCurrent(t *testing.T) {
	at := func(mine string, place int64, incarnation string) *vector {
		return &vector{
			stored: map[string]quipu.Stored{"s/0": {Name: "s/0", Incarnation: incarnation}}, positions: map[string]count.Position{"s/0": {}},
			places: map[string]int64{"s/0": place}, mine: mine,
		}
	}
	r := &run{repairer: &repairer{position: "a 1"}, shadow: &shadow{at: at("a 1", 10, "x")}}
	for _, c := range []struct {
		v   *vector
		old bool
		err bool
	}{
		{at("a 1", 10, "x"), false, false},
		{at("a 1", 11, "x"), false, false},
		{at("a 0", 11, "x"), true, true},
		{at("a 1", 9, "x"), true, true},
		{at("a 1", 11, "y"), false, true},
		{&vector{mine: "a 1"}, false, true},
	} {
		if err := r.current(c.v); errors.Is(err, errOld) != c.old || (err != nil) != c.err {
			t.Errorf("%+v: %v", c.v, err)
		}
	}
}
