package mapping

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// jsonCases are records, valid or not; the fuzz target begins with them.
var jsonCases = []string{
	`{}`, ` {"a":1} `, `{"a":{"b":[1,{"c":null}]},"a":2}`, `{"a" : [ ] , "b":{ } }`, "{\"a\"\t:\r\n1}", `{"\u0061":1}`,
	`{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800"}`, `{"a":-0.5e+10,"b":0,"c":-1E2}`, `{"a":true,"b":false,"c":null}`,
	``, ` `, `[]`, `1`, `"x"`, `null`, `{`, `}`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a":1 "b":2}`, `{,}`, `{a:1}`,
	`{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":+1}`, `{"a":tru}`, `{"a":nul}`, `{"a":"\x"}`, `{"a":"\u12g4"}`,
	`{"a":"\u12`, "{\"a\":\"\x01\"}", "{\"a\":\"\x7f\xff\"}", `{"a":1}}`, `{"a":1} x`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[}`,
	`{"12345678":"12345678\\","1234567\"":1}`, strings.Repeat(`{"a":`, 999) + "1" + strings.Repeat("}", 999),
	strings.Repeat(`{"a":`, 1001) + "1" + strings.Repeat("}", 1001), strings.Repeat("[", 100000),
}

func FuzzReadJSON(f *testing.F) {
	for _, c := range jsonCases {
		f.Add([]byte(c))
	}
	f.Fuzz(func(t *testing.T, rec []byte) { checkReader(t, rec) })
}

// TestDamaged has the reader read records in which a few bytes are changed, and says how many were valid.
func TestDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	valid := 0
	const rounds = 30_000
	for range rounds {
		rec := []byte(jsonCases[r.IntN(len(jsonCases))])
		if len(rec) > 1000 {
			continue
		}
		for range r.IntN(4) {
			const bytes = "{}[]\",:\\u0129eE.+-tfn ab\n\x00\x1f\x80"
			at, b := r.IntN(len(rec)+1), bytes[r.IntN(len(bytes))]
			switch {
			case r.IntN(3) == 0 || at == len(rec):
				rec = slices.Insert(rec, at, b)
			case r.IntN(2) == 0:
				rec = slices.Delete(rec, at, at+1)
			default:
				rec[at] = b
			}
		}
		if checkReader(t, rec) {
			valid++
		}
	}
	if valid < rounds/20 || valid > rounds/2 {
		t.Errorf("%d of %d records were valid", valid, rounds)
	}
}

// checkReader compares what is read of a record with gjson, and reports whether it is valid.
func checkReader(t *testing.T, rec []byte) bool {
	t.Helper()
	var p paths
	for _, path := range []string{"a", "a.b", "a.b.1", "a.b.1.c", "é", "b", "a.a.a", "12345678"} {
		p.add(strings.Split(path, "."))
	}
	r := fields{paths: p, vals: make([]value, len(p.nodes))}
	err := r.readJSON(rec)
	valid := gjson.ValidBytes(rec) && bytes.HasPrefix(bytes.TrimSpace(rec), []byte("{")) && depth(rec) <= maxDepth && len(rec) <= MaxRecord
	if (err == nil) != valid {
		t.Fatalf("%.200q: %v; gjson: %v", rec, err, valid)
	}
	if err != nil {
		return false
	}
	all := map[string]any{}
	r.decodeMembers(skipBlanks(rec, 0), all)
	for n := range r.nodes {
		path, v := r.nodes[n].path, r.vals[n]
		if got, want := r.decode(v), lookUp(all, path); !reflect.DeepEqual(got, want) {
			t.Errorf("%.200q: %s is %#v, want %#v", rec, path, got, want)
		}
		if v.kind == text || v.kind == escaped {
			if got, want := string(r.appendText(nil, v)), gjson.GetBytes(rec, path); got != want.Str {
				t.Errorf("%.200q: %s is %q, gjson: %q", rec, path, got, want.Str)
			}
		}
	}
	return true
}

// lookUp follows a path through decoded values.
func lookUp(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			if v = nil; name == "1" && len(in) > 1 {
				v = in[1]
			}
		default:
			return nil
		}
	}
	return v
}

// depth is how many arrays and objects are inside each other in a valid record.
func depth(rec []byte) (most int) {
	now, inText := 0, false
	for i := 0; i < len(rec); i++ {
		switch c := rec[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}

func TestInvalid(t *testing.T) {
	p := compile(t, "PFADD k {a}")
	for rec, want := range map[string]string{
		"":                               "the record is empty",
		" \n":                            "the record is empty",
		"[1]":                            "the record is JSON, but no object",
		"null":                           "the record is JSON, but no object",
		`{"a":1,}`:                       "the record is not valid JSON: invalid character '}' looking for beginning of object key string, byte 8",
		`{"a":"x`:                        "the record is not valid JSON: unexpected end of JSON input, byte 7",
		`{"a":1}x`:                       "the record is not valid JSON: invalid character 'x' after top-level value, byte 8",
		strings.Repeat(`{"a":`, 1001):    "the record has more than 1000 arrays and objects inside each other",
		strings.Repeat(`[`, MaxRecord):   "the record has more than 1000 arrays and objects inside each other",
		strings.Repeat(` `, MaxRecord+1): "the record has 1048577 bytes; 1048576 are the limit",
	} {
		if got := add(t, p, rec); got != want {
			t.Errorf("%.50q: %s, want %s", rec, got, want)
		}
	}
}

func TestDecode(t *testing.T) {
	const rec = `{"i":-9223372036854775808,"u":18446744073709551615,"f":1.0,"e":1e2,"x":1e999,"big":18446744073709551616,"s":"\u00e9",` +
		`"l":[1,"a",{"b":true,"b":false}],"n":null}`
	var f fields
	if err := f.readJSON([]byte(rec)); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	f.decodeMembers(0, got)
	var want map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(rec, "1e999", "0")), &want); err != nil {
		t.Fatal(err)
	}
	want["i"], want["u"] = int64(-1<<63), uint64(1<<64-1)
	want["l"] = []any{int64(1), "a", map[string]any{"b": true}}
	x, _ := got["x"].(float64)
	want["x"] = x
	if !reflect.DeepEqual(got, want) || x < 1e300 {
		t.Errorf("%#v", got)
	}
}

func TestParseInt(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "-1": -1, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63, "1000000000000000000": 1e18,
	} {
		if got, ok := parseInt([]byte(text)); !ok || got != want {
			t.Errorf("%s: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "-", "-0", "00", "01", "-01", "+1", "1.0", "1e3", " 1", "9223372036854775808", "-9223372036854775809", "99999999999999999999", "x"} {
		if got, ok := parseInt([]byte(text)); ok {
			t.Errorf("%q: %d", text, got)
		}
	}
}
