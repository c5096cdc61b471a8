package mapping

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
)

const (
	counts  = "counted"
	ignored = "left out"
)

func TestWhen(t *testing.T) {
	for _, c := range []struct{ when, record, want string }{
		{`event == "like"`, `{"event":"like"}`, counts},
		{`event == "like"`, `{"event":"l\u0069ke"}`, counts},
		{`event == "like"`, `{"event":"view"}`, ignored},
		{`event == "like"`, `{}`, ignored},
		{`event != "like"`, `{}`, ignored},
		{`!(event == "like")`, `{}`, ignored},
		{`event != "like"`, `{"event":null}`, counts},
		{`"like" == event`, `{"event":"like"}`, counts},
		{`n == 5`, `{"n":5}`, counts},
		{`n == 5`, `{"n":5.0}`, counts},
		{`n == 5`, `{"n":"5"}`, ignored},
		{`n == 5.5 || n == 7u`, `{"n":7}`, counts},
		{`ok == true`, `{"ok":true}`, counts},
		{`user.country in ["DE", "CH", 3]`, `{"user":{"country":"CH"}}`, counts},
		{`user.country in ["DE", "CH", 3]`, `{"user":{"country":3}}`, counts},
		{`user.country in ["DE"]`, `{"user":"DE"}`, ignored},
		{`user.country in []`, `{"user":{"country":"CH"}}`, ignored},
		{`has(user_id)`, `{"user_id":null}`, counts},
		{`has(user_id)`, `{}`, ignored},
		{`!has(user_id)`, `{}`, counts},
		{`has(a.b)`, `{"a":{"b":1}}`, counts},
		{`!has(a.b)`, `{"a":{}}`, counts},
		{`!has(a.b)`, `{}`, ignored},
		{`a == 1 || b == 2`, `{"b":2}`, counts},
		{`a == 1 && b == 2`, `{"b":2}`, ignored},
		{`type == "like" && string == "s"`, `{"type":"like","string":"s"}`, counts},
		{`type(n) == int && n > 3`, `{"n":4}`, counts},
		{`_["user-id"] == "x"`, `{"user-id":"x"}`, counts},
		{`size(_) == 2`, `{"a":1,"b":2}`, counts},
		{`_.a == 1`, `{"a":1}`, counts},
		{`n > 3`, `{"n":4}`, counts},
		{`n > 3`, `{"n":3.5}`, counts},
		{`n > 3`, `{}`, ignored},
		{`n + 1.5 > 2`, `{"n":1.0}`, counts},
		{`event == "like" && n > 3`, `{"event":"view","n":"x"}`, ignored},
		{`event == "like" && n > 3`, `{"event":"like","n":4}`, counts},
		{`n > 3 && event == "like"`, `{"event":"view","n":"x"}`, ignored},
		{`"b" in tags`, `{"tags":["a","b"]}`, counts},
		{`tags.exists(t, t.startsWith("b") && other == 1)`, `{"tags":["a","b"],"other":1}`, counts},
		{`tags[0] == "a"`, `{"tags":["a"]}`, counts},
		{`tags[0] == "a"`, `{"tags":[]}`, ignored},
		{`name.matches("^a.*z$")`, `{"name":"abcz"}`, counts},
		{`timestamp(at).getFullYear() == 2026`, `{"at":"2026-11-29T10:05:00Z"}`, counts},
		{`flag`, `{"flag":true}`, counts},
		{`flag`, `{"flag":3}`, `line 3: when: it comes to "3", not to true or false`},
		{`flag && a == 1`, `{"flag":3,"a":2}`, ignored},
		{`n > 3`, `{"n":"x"}`, "line 3: when: no such overload"},
		{`event == "like" && n > 3`, `{"event":"like","n":"x"}`, "line 3: when: no such overload"},
		{`n / 0 == 1`, `{"n":1}`, "line 3: when: division by zero"},
		{`l.exists(x, x == 2)`, `{"l":[` + strings.Repeat("1,", 500_000) + `2]}`, counts},
		{`a.all(x, a.all(y, a.all(z, x + y + z >= 0)))`, `{"a":[` + strings.Repeat("1,", 999) + `1]}`, "line 3: when: operation cancelled: actual cost limit exceeded"},
	} {
		p := compile(t, "when "+c.when+"\nINCR k")
		got := ignored
		if counted, _, err := p.NewTally().Add([]byte(c.record), now); err != nil {
			got = err.Error()
		} else if counted {
			got = counts
		}
		if got != c.want {
			t.Errorf("%s with %.200s: %s, want %s", c.when, c.record, got, c.want)
		}
	}
}

// TestPlainForms: what is common is compiled without CEL.
func TestPlainForms(t *testing.T) {
	for when, want := range map[string]int{
		`event == "like"`: 0, `a.b != 3 && !(c in ["x", 1.5, true])`: 0, `has(a) || has(a.b.c) && _["x-y"] == 'z'`: 0,
		`a == b`: 1, `a > 1 && b > 1`: 1, `a == 1 && b > 1`: 1, `a == 1 && b > 1 && c > 1`: 2, `!(a > 1)`: 1, `a in [b]`: 1, `a == null`: 1,
	} {
		if got := evaluations(compile(t, "when "+when+"\nINCR k").when); got != want {
			t.Errorf("%s: %d programs of CEL, want %d", when, got, want)
		}
	}
}

func evaluations(m matcher) (n int) {
	switch m := m.(type) {
	case *evaluation:
		return 1
	case *negation:
		return evaluations(m.of)
	case *junction:
		for _, part := range m.parts {
			n += evaluations(part)
		}
	}
	return n
}

// TestPlainAgrees: for random conditions and records, plain matchers, with CEL inside or not, come to what CEL alone
// comes to.
func TestPlainAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	outcomes := map[string]int{}
	for range 400 {
		when := randomCondition(r, 3)
		p, err := tryCompile("when " + when + "\nINCR k")
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		reference := celAlone(t, when)
		tally := p.NewTally()
		for range 40 {
			rec := randomRecord(r, 2)
			var got string
			if counted, _, err := tally.Add([]byte(rec), now); err != nil {
				got = strings.TrimPrefix(err.Error(), "line 3: when: ")
			} else {
				got = fmt.Sprint(counted)
			}
			want := reference(rec)
			if got != want {
				t.Fatalf("%s with %s: %s, CEL: %s", when, rec, got, want)
			}
			outcomes[got]++
		}
	}
	if outcomes["true"] < 500 || outcomes["false"] < 500 || len(outcomes) < 3 {
		t.Errorf("the cases are one-sided: %v", outcomes)
	}
}

// celAlone evaluates a condition whose fields are written as _.field with CEL, on records that encoding/json decodes.
func celAlone(t *testing.T, when string) func(rec string) string {
	env, err := cel.NewEnv(cel.Variable("_", cel.DynType), cel.CrossTypeNumericComparisons(true))
	if err != nil {
		t.Fatal(err)
	}
	tree, issues := env.Compile(when)
	if issues.Err() != nil {
		t.Fatalf("%s: %v", when, issues.Err())
	}
	program, err := env.Program(tree)
	if err != nil {
		t.Fatal(err)
	}
	return func(rec string) string {
		d := json.NewDecoder(strings.NewReader(rec))
		d.UseNumber()
		var decoded any
		if err := d.Decode(&decoded); err != nil {
			t.Fatal(err)
		}
		result, _, err := program.Eval(map[string]any{"_": withNumbers(decoded)})
		switch {
		case err == nil:
			return fmt.Sprint(result.Value())
		case strings.HasPrefix(err.Error(), "no such key"), strings.HasPrefix(err.Error(), "unsupported index type"):
			return "false"
		}
		return err.Error()
	}
}

// withNumbers replaces numbers by whole ones where they are written so.
func withNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for name := range v {
			v[name] = withNumbers(v[name])
		}
	case []any:
		for i := range v {
			v[i] = withNumbers(v[i])
		}
	}
	return v
}

var (
	randomPaths  = []string{"_.a", "_.b", "_.c", "_.a.b", "_.b.c", "_.a.b.c"}
	randomValues = []string{`"x"`, `"y"`, `""`, "1", "0", "-1", "1.0", "1.5", "9007199254740993", "true", "false"}
)

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

func randomCondition(r *rand.Rand, depth int) string {
	path := pick(r, randomPaths)
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			return "(" + randomCondition(r, depth-1) + " && " + randomCondition(r, depth-1) + ")"
		case 1:
			return "(" + randomCondition(r, depth-1) + " || " + randomCondition(r, depth-1) + ")"
		case 2:
			return "!" + "(" + randomCondition(r, depth-1) + ")"
		}
	}
	switch r.IntN(8) {
	case 0:
		return path + " != " + pick(r, randomValues)
	case 1:
		return path + " in [" + pick(r, randomValues) + ", " + pick(r, randomValues) + "]"
	case 2:
		return "has(" + path + ")"
	case 3:
		return path + " > 0" // not plain, and an error for texts
	case 4:
		return pick(r, randomValues) + " == " + path
	}
	return path + " == " + pick(r, randomValues)
}

// randomRecord is a random object in JSON.
func randomRecord(r *rand.Rand, depth int) string {
	var members []string
	for _, name := range []string{"a", "b", "c"} {
		value := pick(r, append([]string{"null", "[]", `["x",1]`, "{}", "9007199254740992", "9007199254740992.0", "1e0"}, randomValues...))
		if depth > 0 && r.IntN(2) == 0 {
			value = randomRecord(r, depth-1)
		}
		if r.IntN(5) > 0 {
			members = append(members, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}
