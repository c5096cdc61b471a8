package mapping

import (
	"errors"
	"strings"
	"testing"

	"quipu/connect/config"
)

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"GET k", "c:3: GET cannot stand in a source: it only reads"},
		{"get k", "c:3: GET cannot stand in a source: it only reads"},
		{"MULTI", "c:3: MULTI cannot stand in a source: each batch is a transaction already"},
		{"INGEST a b c d", "c:3: INGEST cannot stand in a source: each batch is a transaction already"},
		{"SELECT 1", "c:3: SELECT cannot stand in a source: it writes no key"},
		{"FLUSHALL", "c:3: FLUSHALL cannot stand in a source: it empties the database"},
		{"INCR", "c:3: wrong number of words; write INCR key"},
		{"INCR a b", "c:3: wrong number of words; write INCR key"},
		{"PFADD k", "c:3: wrong number of words; write PFADD key element [element ...]"},
		{"MSET a b c", "c:3: wrong number of words; write MSET key value [key value ...]"},
		{"CMS.INCRBY k i", "c:3: wrong number of words; write CMS.INCRBY key item increment [item increment ...]"},
		{"CMS.INCRBY k i 1 j", "c:3: wrong number of words; write CMS.INCRBY key item increment [item increment ...]"},
		{"DEL" + strings.Repeat(" k", 1001), "c:3: DEL has more than 1000 words"},
		{"INCRBY k x", `c:3: "x" is not a whole number of 64 bits`},
		{"INCRBY k 1.0", `c:3: "1.0" is not a whole number of 64 bits`},
		{"INCRBY k 9223372036854775808", `c:3: "9223372036854775808" is not a whole number of 64 bits`},
		{"DECRBY k -9223372036854775808", `c:3: -9223372036854775808 cannot be subtracted`},
		{"TOPK.INCRBY k i -1", `c:3: -1 is below 0, which a Top-K sketch cannot count`},
		{"CMS.INCRBY k i x", `c:3: "x" is not a whole number of 64 bits`},
		{`INCR ""`, "c:3: the key is empty"},
		{"INCR " + strings.Repeat("k", 513), "c:3: a key of 513 bytes; 512 are the limit"},
		{"RENAME k " + strings.Repeat("k", 513), "c:3: a key of 513 bytes; 512 are the limit"},
		{"MSET k v " + strings.Repeat("k", 513) + " v", "c:3: a key of 513 bytes; 512 are the limit"},
		{"TOPK.ADD k " + strings.Repeat("i", 65537), "c:3: an argument of 65537 bytes; 65536 are the limit"},
		{"INCR k{", "c:3: k{: a placeholder is not closed; as text an opening brace is written {{"},
		{"INCR k}", "c:3: k}: a closing brace without an opening one; as text it is written }}"},
		{"INCR {a{b}}", "c:3: {a{b}}: a brace inside a placeholder; as text an opening brace is written {{"},
		{"INCR {}", "c:3: {}: a path is empty, or a name in it; names are separated by dots, as in {user.id}"},
		{"INCR {a..b}", "c:3: {a..b}: a path is empty, or a name in it; names are separated by dots, as in {user.id}"},
		{"INCR {|x}", "c:3: {|x}: a path is empty, or a name in it; names are separated by dots, as in {user.id}"},
		{`INCR {a"}"}`, `c:3: {a"}"}: a path has no quotes; a quote in a name is written \"`},
		{"INCR {ts|hours}", `c:3: {ts|hours}: hours is no unit of time here: minute, hour, day and month are; as a default, write |"hours"`},
		{"INCR {ts|Hour}", `c:3: {ts|Hour}: Hour is no unit of time here: minute, hour, day and month are; as a default, write |"Hour"`},
		{"INCR {ts|week}", `c:3: {ts|week}: week is no unit of time here: minute, hour, day and month are; as a default, write |"week"`},
		{"INCR {ts|hour|1}", `c:3: {ts|hour|1}: a default with | in it stands in quotes; a placeholder has one |, as in {weight|1} or {ts|hour}`},
		{`INCR {a|"b"c}`, `c:3: {a|"b"c}: there is text behind the quotes of a default`},
		{`INCR {a|"b}`, `c:3: {a|"b}: a placeholder is not closed; as text an opening brace is written {{`},
		{"INCR k expire 1d", "c:3: expire needs a key with one unit of time, such as {ts|hour}, which it counts from; k has none"},
		{"INCR {a|hour}{a|day} expire 1d", "c:3: expire needs a key with one unit of time, such as {ts|hour}, which it counts from; {a|hour}{a|day} has several"},
		{"SET k {ts|hour} expire 1d", "c:3: expire needs a key with one unit of time, such as {ts|hour}, which it counts from; k has none"},
		{"DEL {ts|hour} expire 1d", "c:3: expire is for commands with one key, and DEL may have several"},
		{"when a ==\nINCR k", "c:3: when: Syntax error: mismatched input '<EOF>' (column 5)"},
		{"INCR k\nwhen a + 1", "c:4: when: the condition comes to int, not to true or false"},
		{"INCR k\nwhen a.b.c == size(1)", "c:4: when: found no matching overload for 'size' applied to '(int)' (column 14)"},
		{"INCR k\nwhen has(1)", "c:4: when: has() takes a field, as in has(user_id) (column 5)"},
		{"INCR k\nwhen a.exists(_, _ == 1)", "c:4: when: _ is the record; the variable needs another name"},
		{"INCR k\nwhen a.exists(v, has(v))", "c:4: when: has(v) asks for a field of the record, and here v is a variable"},
		{"when a ==\nGET k\nINCR", "c:3: when: Syntax error: mismatched input '<EOF>' (column 5)\nc:4: GET cannot stand in a source: it only reads\nc:5: wrong number of words; write INCR key"},
		{"format csv\ncolumns a,b\nwhen c == 'x'\nINCR {a}", `c:5: when: there is no column "c"; columns are a, b`},
		{"format csv\ncolumns a,b\nINCR {c}", `c:5: there is no column "c"; columns are a, b`},
		{"format csv\ncolumns a,b\nINCR {a}\nwhen a > 1", `c:6: when: found no matching overload for '_>_' applied to '(string, int)' (column 3)`},
		{"format csv\ncolumns a,b\nINCR {a}\nwhen size(_) > 1", `c:6: when: _ needs the name of a column here, as in _["user id"]`},
	} {
		_, err := tryCompile(c.lines)
		var errs config.Errors
		if err == nil || err.Error() != c.want || !errors.As(err, &errs) {
			t.Errorf("%.200q:\n got %v\nwant %s", c.lines, err, c.want)
		}
	}
}

// TestCompileByHand: sources that did not come from a file are checked too.
func TestCompileByHand(t *testing.T) {
	for want, words := range map[string][]string{
		`c:7: unknown command "HSET"`:   {"HSET", "a", "b"},
		"c:7: the line has no command":  {},
		"c:7: the key is empty":         {"incr", ""},
		"c:7: wrong number of words; w": {"incr"},
	} {
		src := &config.Source{File: "c", Format: config.FormatJSON, Commands: []config.Command{{Line: 7, Words: words}}}
		if _, err := Compile(src); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", words, err)
		}
	}
	src := &config.Source{File: "c", Line: 2, Commands: make([]config.Command, 1001)}
	if _, err := Compile(src); err == nil || err.Error() != "c:2: the source has more than 1000 commands" {
		t.Error(err)
	}
}
