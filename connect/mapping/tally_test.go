package mapping

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		lines   string
		records []string
		want    string
	}{
		{"INCR {k}", []string{`{"k":"a"}`, `{"k":"b"}`, `{"k":"a"}`}, "INCRBY a 2\nINCRBY b 1\n"},
		{"incr {k}\nDECR {k}\nINCRBY {k} {n}\nDECRBY {k} {n|3}", []string{`{"k":"a","n":10}`, `{"k":"a"}`}, "line 5: {n}: the record has no n"},
		{"INCR {k}\nDECR {k}\nINCRBY {k} 7\nDECRBY {k} {n|3}", []string{`{"k":"a","n":"10"}`, `{"k":"a"}`}, "INCRBY a 1\n"},
		{"INCR a\nDECR a", []string{`{}`}, "INCRBY a 0\n"},
		{"DECRBY a -5", []string{`{}`}, "INCRBY a 5\n"},
		{"INCRBY a {n}", []string{`{"n":9223372036854775807}`, `{"n":1}`, `{"n":-5}`}, "INCRBY a 9223372036854775807\nINCRBY a -4\n"},
		{"INCRBY a:{t|hour} {n} expire 1d", []string{`{"t":1764410000,"n":-9223372036854775808}`, `{"t":1764410000,"n":-1}`},
			"INCRBY a:2025-11-29T09 -9223372036854775808\nINCRBY a:2025-11-29T09 -1\nPEXPIREAT a:2025-11-29T09 1764496800000\n"},
		{"PFADD {k} {u}", []string{`{"k":"a","u":1}`, `{"k":"b","u":1}`, `{"k":"a","u":"1"}`, `{"k":"a","u":2}`}, "PFADD a 1 2\nPFADD b 1\n"},
		{"PFADD {k} {u} x {u}\nUC.ADD {k} {u}", []string{`{"k":"a","u":1}`}, "PFADD a 1 x\nUC.ADD a 1\n"},
		{"CMS.INCRBY {k} {u} {n} y 1", []string{`{"k":"a","u":1,"n":5}`, `{"k":"a","u":"y","n":-1}`, `{"k":"a","u":1,"n":1}`}, "CMS.INCRBY a 1 6 y 2\n"},
		{"CMS.INCRBY k i {n}", []string{`{"n":9223372036854775807}`, `{"n":2}`, `{"n":3}`}, "CMS.INCRBY k i 9223372036854775807 i 5\n"},
		{"TOPK.ADD {k} {u} z\nTOPK.INCRBY {k} {u} 10", []string{`{"k":"a","u":1}`, `{"k":"a","u":2}`, `{"k":"a","u":1}`}, "TOPK.INCRBY a 1 22 z 3 2 11\n"},
		{"SET last {k}\nINCR n\nAPPEND log \"{k} \"", []string{`{"k":"a"}`, `{"k":"b"}`}, "INCRBY n 2\nSET last a\nAPPEND log \"a \"\nSET last b\nAPPEND log \"b \"\n"},
		{"MSET a {k} b {k}\ndel {k} x\nINCREX {k} BYINT 2 UBOUND 10", []string{`{"k":"c"}`}, "MSET a c b c\nDEL c x\nINCREX c BYINT 2 UBOUND 10\n"},
		{"SET s:{t|day} 1 expire 2d", []string{`{"t":1764410000}`, `{"t":1764410000}`},
			"SET s:2025-11-29 1\nPEXPIREAT s:2025-11-29 1764633600000\nSET s:2025-11-29 1\nPEXPIREAT s:2025-11-29 1764633600000\n"},
		{"INCR a:{t|month} expire 30s\nPFADD u:{t|minute} {t} {k|x} expire 15m", []string{`{"t":1764410000}`, `{"t":1764410005}`, `{"t":1764410062}`},
			"INCRBY a:2025-11 3\nPEXPIREAT a:2025-11 1764547230000\nPFADD u:2025-11-29T09:53 1764410000 x 1764410005\n" +
				"PEXPIREAT u:2025-11-29T09:53 1764410940000\nPFADD u:2025-11-29T09:54 1764410062 x\nPEXPIREAT u:2025-11-29T09:54 1764411000000\n"},
	} {
		if got := add(t, compile(t, c.lines), c.records...); got != c.want {
			t.Errorf("%s:\n got %swant %s", c.lines, got, c.want)
		}
	}
}

// TestManyElements: a command has at most 1,000 elements or items.
func TestManyElements(t *testing.T) {
	for line, words := range map[string]int{"PFADD k {i}": 1, "UC.ADD k {i}": 1, "CMS.INCRBY k {i} 1": 2, "TOPK.ADD k {i}": 2} {
		tally := compile(t, line).NewTally()
		for i := range 2500 {
			for range 2 {
				if _, _, err := tally.Add(fmt.Appendf(nil, `{"i":%d}`, i), now); err != nil {
					t.Fatal(err)
				}
			}
		}
		checkCounts(t, tally)
		var sizes, records []int
		seen := map[any]bool{}
		tally.Each(func(n int, args []any) {
			sizes, records = append(sizes, len(args)), append(records, n)
			for i := 2; i < len(args); i += words {
				seen[args[i]] = true
			}
		})
		if want := []int{2 + 1000*words, 2 + 1000*words, 2 + 500*words}; !reflect.DeepEqual(sizes, want) || len(seen) != 2500 || !reflect.DeepEqual(records, []int{2000, 2000, 1000}) {
			t.Errorf("%s: commands of %v words for %v records, %d elements", line, sizes, records, len(seen))
		}
	}
}

func TestLate(t *testing.T) {
	p := compile(t, "when k == 'a'\nINCR all:{k}\nINCR a:{t|hour} expire 1h\nSET b:{t|minute} {x} expire 5s")
	end := time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC) // of the hour's bucket
	record := fmt.Appendf(nil, `{"k":"a","x":1,"t":%d}`, end.Add(-time.Millisecond).UnixMilli())
	for _, c := range []struct {
		now  time.Time
		late int
	}{
		{end.Add(5*time.Second - time.Millisecond), 0}, {end.Add(5 * time.Second), 1}, {end.Add(time.Hour - 1), 1}, {end.Add(time.Hour), 2},
	} {
		tally := p.NewTally()
		counted, late, err := tally.Add(record, c.now)
		if !counted || late != c.late || err != nil {
			t.Errorf("%v: %v, %d, %v", c.now, counted, late, err)
		}
		if got := strings.Count(printed(t, tally), "PEXPIREAT"); got != 2-c.late || tally.Commands() != 5-2*c.late {
			t.Errorf("%v: %d deadlines among %d commands", c.now, got, tally.Commands())
		}
	}
	if counted, late, err := p.NewTally().Add([]byte(`{"k":"b"}`), end); counted || late != 0 || err != nil {
		t.Errorf("left out: %v, %d, %v", counted, late, err)
	}
}

// TestBadRecordLeavesNothing: whatever is wrong with a record, and wherever, nothing of it is counted.
func TestBadRecordLeavesNothing(t *testing.T) {
	p := compile(t, "INCR a:{k}\nPFADD b:{k} {u|x}\nSET c:{k} {v|x}\nCMS.INCRBY d:{k} {u|x} {n|1}\nTOPK.INCRBY e:{k} {u|x} {m|1}\nDECRBY f:{k} {d|1}\nINCR g:{t|hour} expire 1d")
	tally := p.NewTally()
	good := []byte(`{"k":"K","t":1764410000}`)
	if _, _, err := tally.Add(good, now); err != nil {
		t.Fatal(err)
	}
	before, bytes, commands := printed(t, tally), tally.Bytes(), tally.Commands()
	long := strings.Repeat("k", 511)
	for rec, want := range map[string]string{
		`{"k":"` + long + `","t":1}`:                                       "line 3: a:{k}: a key of 513 bytes; 512 are the limit",
		`{"k":"L","t":1,"n":1.5}`:                                          `line 6: {n|1}: "1.5" is not a whole number of 64 bits`,
		`{"k":"L","t":1,"n":"007"}`:                                        `line 6: {n|1}: "007" is not a whole number of 64 bits`,
		`{"k":"L","t":1,"m":-1}`:                                           `line 7: {m|1}: -1 is below 0, which a Top-K sketch cannot count`,
		`{"k":"L","t":1,"d":-9223372036854775808}`:                         `line 8: {d|1}: -9223372036854775808 cannot be subtracted`,
		`{"k":"L","t":"x"}`:                                                `line 9: {t|hour}: "x" is no time: neither seconds or milliseconds since 1970 nor as in 2026-11-29T10:05:00Z`,
		`{"k":"L"}`:                                                        `line 9: {t|hour}: the record has no t`,
		`{"k":"L","t":1,"u":"` + strings.Repeat("u", 65537) + `"}`:         "line 7: {u|x}: an argument of 65537 bytes; 65536 are the limit",
		`{"k":"L","t":1,"v":{}}`:                                           "line 5: {v|x}: it is an object or array in the record",
		`{"k":"L","t":1,"n":99999999999999999999,"u":"y","v":"y"}`:         `line 6: {n|1}: "99999999999999999999" is not a whole number of 64 bits`,
		`{"k":"L","t":1,"u":"new","n":"` + strings.Repeat("9", 200):        "the record is not valid JSON: unexpected end of JSON input, byte 230",
		`{"k":"L","t":1,"u":"new","n":"` + strings.Repeat("9", 150) + `"}`: `line 6: {n|1}: "` + strings.Repeat("9", 100) + `"… is not a whole number of 64 bits`,
	} {
		if counted, late, err := tally.Add([]byte(rec), now); err == nil || err.Error() != want || counted || late != 0 {
			t.Errorf("%.100s:\n got %v\nwant %s", rec, err, want)
		}
		if tally.Bytes() != bytes || tally.Commands() != commands || printed(t, tally) != before {
			t.Fatalf("%.100s: something of it was counted:\n%s", rec, printed(t, tally))
		}
	}
	p = compile(t, strings.Repeat("SET k {v}\n", 4))
	rec := `{"v":"` + strings.Repeat("v", 900_000) + `"}`
	if got := add(t, p, rec); got != "line 6: the record comes to more than 3145728 bytes of commands" {
		t.Error(got)
	}
	p = compile(t, strings.Repeat("SET k {v}{v}\n", 1))
	if got := add(t, p, rec); got != "line 3: {v}{v}: an argument of 1800000 bytes; 1048576 are the limit" {
		t.Error(got)
	}
}

// TestReset: a tally that was used before counts like a new one, and keeps no more memory than is sensible.
func TestReset(t *testing.T) {
	p := compile(t, "INCR {k}\nPFADD u {k}\nSET last {k}")
	tally := p.NewTally()
	for i := range 100_000 {
		if _, _, err := tally.Add(fmt.Appendf(nil, `{"k":%d}`, i), now); err != nil {
			t.Fatal(err)
		}
	}
	tally.Each(func(int, []any) {})
	tally.Reset()
	if tally.Commands() != 0 || tally.Bytes() != 0 || printed(t, tally) != "" {
		t.Errorf("after Reset: %d commands, %d bytes", tally.Commands(), tally.Bytes())
	}
	if cap(tally.sums) > 1000 || cap(tally.args) > 1000 {
		t.Errorf("memory for %d sums and %d arguments is kept", cap(tally.sums), cap(tally.args))
	}
	for range 3 {
		tally.Reset()
		for _, k := range []string{"a", "b", "a"} {
			if _, _, err := tally.Add(fmt.Appendf(nil, `{"k":%q}`, k), now); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := printed(t, tally), "INCRBY a 2\nPFADD u a b\nINCRBY b 1\nSET last a\nSET last b\nSET last a\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
}

// TestNoAllocations: what is known already costs no memory.
func TestNoAllocations(t *testing.T) {
	tally := compile(t, "when event == 'like' && has(post_id)\nINCRBY likes:{post_id} {weight|1}\nINCR likes:{post_id}:{ts|hour} expire 400d\n"+
		"PFADD fans:{post_id} {user_id}\nTOPK.ADD top {post_id}\nCMS.INCRBY c {post_id} {weight}").NewTally()
	recs := [][]byte{record106(1), record106(2), []byte(`{"event":"view"}`)}
	if n := testing.AllocsPerRun(1000, func() {
		for _, rec := range recs {
			if _, _, err := tally.Add(rec, now); err != nil {
				t.Fatal(err)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestConcurrent: tallies of one program do not disturb each other. The race detector sees what they share.
func TestConcurrent(t *testing.T) {
	p := compile(t, "when event == 'like' && weight < 5\n"+"INCRBY likes:{post_id}:{ts|hour} {weight|1} expire 400d")
	var all sync.WaitGroup
	texts := make([]string, 4)
	for i := range texts {
		all.Go(func() {
			tally := p.NewTally()
			for n := range 1000 {
				if _, _, err := tally.Add(record106(n), now); err != nil {
					t.Error(err)
				}
			}
			texts[i] = printed(t, tally)
		})
	}
	all.Wait()
	if texts[0] == "" || texts[1] != texts[0] || texts[2] != texts[0] || texts[3] != texts[0] {
		t.Error("the tallies differ")
	}
}

// model is a server of a few commands.
type model map[string]any

// run executes commands; those that set a key's value remove its deadline.
func (m model) run(t *testing.T, tally *Tally) {
	tally.Each(func(_ int, args []any) {
		key := args[1].(string)
		set := func(item any, n int64) {
			counts, ok := m[key].(map[any]int64)
			if !ok {
				counts = map[any]int64{}
				m[key] = counts
			}
			counts[item] += n
		}
		switch name := args[0].(string); name {
		case "INCRBY":
			n, _ := m[key].(int64)
			m[key] = n + args[2].(int64)
		case "PFADD", "UC.ADD":
			for _, e := range args[2:] {
				set(e, 0)
			}
		case "CMS.INCRBY", "TOPK.INCRBY":
			for i := 2; i < len(args); i += 2 {
				set(args[i], args[i+1].(int64))
			}
		case "SET":
			m[key] = args[2]
			delete(m, "deadline of "+key)
		case "APPEND":
			s, _ := m[key].(string)
			m[key] = s + args[2].(string)
		case "PEXPIREAT":
			m["deadline of "+key] = args[2]
		default:
			t.Fatalf("unexpected command %s", name)
		}
	})
}

// TestAggregation: the commands of a batch bring a server to the state that those of each record bring it to.
func TestAggregation(t *testing.T) {
	lines := []string{
		"INCR a:{k}", "DECR a:{k}", "INCRBY a:{k} {n}", "DECRBY a:{k} {n}", "INCRBY h:{k}:{t|minute} {n} expire 2h", "INCR h:{k}:{t|minute} expire 3h",
		"PFADD p:{k} {u} {k}", "UC.ADD u:{k} {u}", "CMS.INCRBY c:{k} {u} {n} {k} 2", "TOPK.ADD t:{k} {u} {u}", "TOPK.INCRBY t:{k} {u} {m}",
		"SET s:{k} {u}", "APPEND log:{k} {u}", "SET s:{k}:{t|hour} {u} expire 1h", "SET s:{k}:{t|hour} x", "PFADD p:{t|day} {u} expire 1d",
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		chosen := map[string]bool{}
		for range 1 + r.IntN(6) {
			chosen[lines[r.IntN(len(lines))]] = true
		}
		var program []string
		for _, line := range lines {
			if chosen[line] {
				program = append(program, line)
			}
		}
		p := compile(t, strings.Join(program, "\n"))
		batch, one := p.NewTally(), p.NewTally()
		batches, singles := model{}, model{}
		for range 1 + r.IntN(3) {
			batch.Reset()
			for range r.IntN(60) {
				rec := fmt.Appendf(nil, `{"k":"%c","u":%d,"n":%d,"m":%d,"t":%d}`, 'a'+rune(r.IntN(3)), r.IntN(9), r.IntN(100)-50, r.IntN(9),
					now.UnixMilli()-r.Int64N(4*3600_000))
				one.Reset()
				counted, late, err := batch.Add(rec, now)
				counted1, late1, err1 := one.Add(rec, now)
				if !counted || err != nil || counted != counted1 || late != late1 || err1 != nil {
					t.Fatalf("%s: %v, %v; %v, %v", rec, counted, err, counted1, err1)
				}
				singles.run(t, one)
			}
			checkCounts(t, batch)
			batches.run(t, batch)
		}
		if !maps.EqualFunc(batches, singles, func(a, b any) bool { return reflect.DeepEqual(a, b) }) {
			t.Fatalf("%s:\n got %v\nwant %v", program, batches, singles)
		}
	}
}

func FuzzAdd(f *testing.F) {
	for _, c := range jsonCases {
		f.Add([]byte(c))
	}
	f.Add(record106(1))
	f.Add([]byte(`{"k":"x","n":-3,"a":[{"b":"é\n"}],"t":"2026-11-29T10:05:00.5+01:00"}`))
	f.Add([]byte("x,\"a\"\"b\",2,2026-11-29T10:05:00Z"))
	var tallies []*Tally
	for _, lines := range []string{
		"when post_id != 'x' && (n < 5 || has(a.b) || 'x' in _)\nINCRBY {post_id} {n|1}\nPFADD {post_id} {t|hour}\nSET {post_id}:{t|day} {a.0.b|x} expire 4000d",
		"INCRBY {k} {n}\nTOPK.INCRBY t {k|x} {n}\nCMS.INCRBY c {a.0.b|} {n}\nUC.ADD u {t|minute}\nINCR {k}:{t|month} expire 1h",
		"when a.exists(x, x.b == 'y') || size(_) > 2\nDECRBY {k} {n|2}\nMSET {k} {a|1} y {k}",
		"format csv\ncolumns a,b,c,d\nwhen a != '' && size(b) < 1000\nINCRBY {a} {c|1}\nPFADD {b} {d|hour}\nSET {a}:{d|minute} {b} expire 100d",
	} {
		tallies = append(tallies, compile(f, lines).NewTally())
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		for _, tally := range tallies {
			if tally.Commands() > 100 {
				tally.Reset()
			}
			bytes, commands := tally.Bytes(), tally.Commands()
			counted, late, err := tally.Add(rec, now)
			if changed := tally.Bytes() != bytes || tally.Commands() != commands; changed && (err != nil || !counted) || late > 0 && !counted {
				t.Errorf("%v, %d, %v: from %d commands of %d bytes to %d of %d", counted, late, err, commands, bytes, tally.Commands(), tally.Bytes())
			}
			if tally.Bytes() > bytes+MaxRecordBytes {
				t.Errorf("%d bytes for one record", tally.Bytes()-bytes)
			}
			printed(t, tally)
		}
	})
}
