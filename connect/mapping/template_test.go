package mapping

import (
	"strings"
	"testing"

	"quipu/connect/config"
)

// TestTemplates: the one element that PFADD has for a record in JSON, or why the record is bad.
func TestTemplates(t *testing.T) {
	for _, c := range []struct{ template, record, want string }{
		{"x", `{}`, "x"},
		{"{a}", `{"a":"x"}`, "x"},
		{"<{a}|{b}>", `{"b":2,"a":"x"}`, "<x|2>"},
		{"{{{a}}}", `{"a":"x"}`, "{x}"},
		{"{{a}}", `{"a":"x"}`, "{a}"},
		{"{a}", `{"a":""}`, `""`},
		{"{a}", `{"a":"\u00e9\n\ud83d\ude00"}`, `"é\x0a😀"`},
		{"{a}", `{"a":-1.50e+3}`, "-1.50e+3"},
		{"{a}", `{"a":12345678901234567890123}`, "12345678901234567890123"},
		{"{a}{b}", `{"a":true,"b":false}`, "truefalse"},
		{"{a.b.c}", `{"a":{"x":1,"b":{"c":"deep"}}}`, "deep"},
		{"{a.1.b}", `{"a":[0,{"b":"in"}]}`, "in"},
		{"{a.1}", `{"a":{"1":"name"}}`, "name"},
		{"{a}{a}", `{"a":"x"}`, "xx"},
		{`{a\.b}`, `{"a.b":"dot","a":{"b":1}}`, "dot"},
		{`{a\|b}{c\}}{\{}`, `{"a|b":1,"c}":2,"{":3}`, "123"},
		{"{@timestamp}{a b}", `{"@timestamp":1,"a b":2}`, "12"},
		{"{a}", `{"a":1,"a":2}`, "1"},
		{"{a.b}", `{"a":{"c":1},"a":{"b":2}}`, "line 3: {a.b}: the record has no a.b"},
		{"{a|1}", `{}`, "1"},
		{"{a|1}", `{"a":null}`, "1"},
		{"{a|1}", `{"a":""}`, `""`},
		{"{a.b|none}", `{"a":3}`, "none"},
		{"{a|}", `{}`, `""`},
		{"{a|so so}", `{}`, `"so so"`},
		{`{a|"hour"}`, `{}`, "hour"},
		{`{a|"}|\"\\"}`, `{}`, `"}|\"\\"`},
		{"{a|hour}", `{"a":1764410000}`, "2025-11-29T09"},
		{"{a|minute}", `{"a":1764410000123}`, "2025-11-29T09:53"},
		{"{a|day}", `{"a":"1764410000"}`, "2025-11-29"},
		{"{a|month}", `{"a":1764410000.999}`, "2025-11"},
		{"{a|hour}", `{"a":1.764410000e9}`, "2025-11-29T09"},
		{"{a|hour}", `{"a":0}`, "1970-01-01T00"},
		{"{a|minute}", `{"a":-1}`, "1969-12-31T23:59"},
		{"{a|minute}", `{"a":99999999999}`, "5138-11-16T09:46"},
		{"{a|minute}", `{"a":100000000000}`, "1973-03-03T09:46"},
		{"{a|minute}", `{"a":253402300799999}`, "9999-12-31T23:59"},
		{"{a|minute}", `{"a":"2026-11-29T10:05:59Z"}`, "2026-11-29T10:05"},
		{"{a|minute}", `{"a":"2026-11-29T00:05:59.123+05:30"}`, "2026-11-28T18:35"},
		{"{a|day}", `{"a":"2026-11-29\u005400:00:00Z"}`, "2026-11-29"},
		{"{a|month}{b|month}", `{"a":"2026-12-31T23:59:59Z","b":"2024-02-29T00:00:00Z"}`, "2026-122024-02"},

		{"{a}", `{}`, "line 3: {a}: the record has no a"},
		{"{a.b}", `{"a":3}`, "line 3: {a.b}: the record has no a.b"},
		{"{a}", `{"a":null}`, "line 3: {a}: it is null in the record"},
		{"{a}", `{"a":[]}`, "line 3: {a}: it is an object or array in the record"},
		{"{a|1}", `{"a":{}}`, "line 3: {a|1}: it is an object or array in the record"},
		{"{a|hour}", `{}`, "line 3: {a|hour}: the record has no a"},
		{"{a|hour}", `{"a":true}`, `line 3: {a|hour}: "true" is no time: neither seconds or milliseconds since 1970 nor as in 2026-11-29T10:05:00Z`},
		{"{a|hour}", `{"a":""}`, `line 3: {a|hour}: "" is no time: neither seconds or milliseconds since 1970 nor as in 2026-11-29T10:05:00Z`},
		{"{a|hour}", `{"a":"2026-11-29 10:05:00"}`, `line 3: {a|hour}: "2026-11-29 10:05:00" is no time: neither seconds or milliseconds since 1970 nor as in 2026-11-29T10:05:00Z`},
		{"{a|hour}", `{"a":1764410000123456}`, `line 3: {a|hour}: "1764410000123456" is no time: neither seconds or milliseconds since 1970 nor as in 2026-11-29T10:05:00Z`},
		{"{a|hour}", `{"a":1e300}`, `line 3: {a|hour}: "1e300" is no time: neither seconds or milliseconds since 1970 nor as in 2026-11-29T10:05:00Z`},
	} {
		want := c.want
		if !strings.HasPrefix(want, "line ") {
			want = "PFADD k " + want + "\n"
		}
		if got := add(t, compile(t, `PFADD k "`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.template)+`"`), c.record); got != want {
			t.Errorf("%s with %s:\n got %swant %s", c.template, c.record, got, want)
		}
	}
}

// TestBuckets: the last bucket is remembered, so times go back and forth.
func TestBuckets(t *testing.T) {
	p := compile(t, "INCR {t|minute}\nINCR {t|hour}\nINCR {t|day}\nINCR {t|month}")
	got := add(t, p, `{"t":"2024-02-29T23:59:59.999Z"}`, `{"t":"2024-03-01T00:00:00Z"}`, `{"t":"2024-02-29T23:59:00Z"}`,
		`{"t":"2024-02-01T00:00:00Z"}`, `{"t":"2024-01-31T23:59:59Z"}`)
	want := `INCRBY 2024-02-29T23:59 2
INCRBY 2024-02-29T23 2
INCRBY 2024-02-29 2
INCRBY 2024-02 3
INCRBY 2024-03-01T00:00 1
INCRBY 2024-03-01T00 1
INCRBY 2024-03-01 1
INCRBY 2024-03 1
INCRBY 2024-02-01T00:00 1
INCRBY 2024-02-01T00 1
INCRBY 2024-02-01 1
INCRBY 2024-01-31T23:59 1
INCRBY 2024-01-31T23 1
INCRBY 2024-01-31 1
INCRBY 2024-01 1
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestCSV(t *testing.T) {
	p := compile(t, "format csv\ncolumns \"id,user name,n,a.b\"\nwhen id != 'skip'\nPFADD \"{id}:{user name}:{a.b}\" \"{user name|nobody}\"\nINCRBY {id} {n|1}")
	for _, c := range []struct{ record, want string }{
		{"x,Ann,2,c", "PFADD x:Ann:c Ann\nINCRBY x 2\n"},
		{"x,Ann,2,c\r\n", "PFADD x:Ann:c Ann\nINCRBY x 2\n"},
		{`"x","Ann ""A"", B","-3",""`, `PFADD "x:Ann \"A\", B:" "Ann \"A\", B"` + "\nINCRBY x -3\n"},
		{"x,\"a\nb\",1,", `PFADD "x:a\x0ab:" "a\x0ab"` + "\nINCRBY x 1\n"},
		{"x,,,", "PFADD x:: nobody\nINCRBY x 1\n"},
		{"skip,,,", ""},
		{"", "the record is empty"},
		{"\n", "the record is empty"},
		{"x", "the record has 1 columns; 4 are named"},
		{"x,y,1,z,", "the record has 5 columns; 4 are named"},
		{`x,a"b,1,z`, "column 2: a quote in a field without quotes"},
		{`x,"ab,1,z`, "column 2: a quote is not closed"},
		{`x,"ab"",1,z`, "column 2: a quote is not closed"},
		{`x,"ab"c,1,z`, "column 2: text behind a closing quote"},
		{"x,y,1.5,z", `line 7: {n|1}: "1.5" is not a whole number of 64 bits`},
		{",y,1,z", `line 7: {id}: the key is empty`},
		{strings.Repeat("x", MaxRecord+1), "the record has 1048577 bytes; 1048576 are the limit"},
	} {
		if got := add(t, p, c.record); got != c.want {
			t.Errorf("%.100q:\n got %swant %s", c.record, got, c.want)
		}
	}
}

// TestHeader: the names of the columns may be known only when the file is read.
func TestHeader(t *testing.T) {
	if got, want := add(t, compile(t, "format csv\nINCR {b}"), "x"), "the names of the columns are not known"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	src := &config.Source{File: "c", Line: 1, Format: config.FormatCSV, Commands: []config.Command{{Line: 7, Words: []string{"INCR", "{b}"}}}}
	for columns, want := range map[string]string{
		"a,b": "INCRBY y 1\n", "b,a": "INCRBY x 1\n", "a,c": `c:7: there is no column "b"; columns are a, c`, "b,b": `c:1: two columns are named "b"`,
	} {
		src.Columns = strings.Split(columns, ",")
		got := ""
		if p, err := Compile(src); err != nil {
			got = err.Error()
		} else {
			got = add(t, p, "x,y")
		}
		if got != want {
			t.Errorf("%s: %s, want %s", columns, got, want)
		}
	}
}
