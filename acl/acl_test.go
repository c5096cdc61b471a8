package acl

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"quipu/protocol"
)

// user makes a user by rules, separated by commas.
func user(t testing.TB, c *Catalog, rules string) *User {
	t.Helper()
	u := NewUser("u")
	if text := setUser(c, u, strings.Split(rules, ",")); text != "OK" {
		t.Fatal(text)
	}
	return u
}

func TestCheck(t *testing.T) {
	c := redisCatalog(t)
	get, set, sel, auth, config := c.byName["get"], c.byName["set"], c.byName["select"], c.byName["auth"], c.byName["config|get"]
	keys := func(words ...string) (uses []KeyUse) {
		for _, w := range words {
			mode, key, _ := strings.Cut(w, ":")
			use := Access(0)
			if strings.Contains(mode, "r") {
				use |= Read
			}
			if strings.Contains(mode, "w") {
				use |= Write
			}
			uses = append(uses, KeyUse{[]byte(key), use})
		}
		return uses
	}
	for i, test := range []struct {
		rules string
		call  Call
		want  Reason
		at    int
	}{
		{"-@all", Call{ID: get}, DeniedCommand, 0},
		{"-@all", Call{ID: auth}, Allowed, 0},
		{"+get", Call{ID: get, Keys: keys("r:a")}, DeniedKey, 0},
		{"+get,~a", Call{ID: get, Keys: keys("r:a")}, Allowed, 0},
		{"+get,~a", Call{ID: get, Keys: keys("r:a", "r:b")}, DeniedKey, 1},
		{"+get,~*", Call{ID: get, Keys: keys("r:a", "rw:b")}, Allowed, 0},
		{"+set,%R~a", Call{ID: set, Keys: keys("w:a")}, DeniedKey, 0},
		{"+set,%W~a", Call{ID: set, Keys: keys("w:a")}, Allowed, 0},
		{"+set,%W~a", Call{ID: set, Keys: keys("rw:a")}, DeniedKey, 0},
		{"+set,%W~a,%R~a", Call{ID: set, Keys: keys("rw:a")}, Allowed, 0},
		{"+set,%W~a*,%R~*a", Call{ID: set, Keys: keys("rw:a")}, DeniedKey, 0}, // one pattern has to allow it all
		{"+get,%W~a", Call{ID: get, Keys: keys(":a")}, Allowed, 0},            // such as EXISTS: any pattern will do
		{"+get,%W~a", Call{ID: get, Keys: keys(":b")}, DeniedKey, 0},
		// Selectors: one of them has to allow all of the call; the reason that comes furthest is told.
		{"+get,~a,(+set ~b)", Call{ID: set, Keys: keys("w:a")}, DeniedKey, 0},
		{"+get,~a,(+set ~b)", Call{ID: set, Keys: keys("w:b")}, Allowed, 0},
		{"+get,~a,(+get ~b)", Call{ID: get, Keys: keys("r:a", "r:b")}, DeniedKey, 1},
		{"(+get ~a),(+get ~b)", Call{ID: get, Keys: keys("r:a", "r:c", "r:b")}, DeniedKey, 1},
		{"(+@all ~*),-get", Call{ID: get, Keys: keys("r:a")}, Allowed, 0},
		{"+get,~a,(&x +get ~b)", Call{ID: get, Keys: keys("r:b"), Channel: []Channel{{Name: []byte("y")}}}, DeniedChannel, 0},
		{"+get,&x*", Call{ID: get, Channel: []Channel{{Name: []byte("xy")}}}, Allowed, 0},
		{"+get,&x*", Call{ID: get, Channel: []Channel{{Name: []byte("x?"), Pattern: true}}}, DeniedChannel, 0},
		{"+get,&x*", Call{ID: get, Channel: []Channel{{Name: []byte("x*"), Pattern: true}}}, Allowed, 0},
		// First arguments.
		{"+select|0", Call{ID: sel, Arg: []byte("0")}, Allowed, 0},
		{"+select|0", Call{ID: sel, Arg: []byte("1")}, DeniedCommand, 0},
		{"+select|0", Call{ID: sel}, DeniedCommand, 0},
		{"+select|0", Call{ID: sel, Arg: []byte("0\x00")}, DeniedCommand, 0},
		{"+select|0,+get|Abc", Call{ID: get, Arg: []byte("aBC")}, Allowed, 0},
		{"+select|0,-@connection", Call{ID: sel, Arg: []byte("0")}, DeniedCommand, 0},
		{"+config", Call{ID: config}, Allowed, 0},
		{"+config|set", Call{ID: config}, DeniedCommand, 0},
		// What concerns keys of any name.
		{"+get,~a", Call{ID: get, AllKeys: Read}, DeniedKey, 0},
		{"+get,~*", Call{ID: get, AllKeys: Read}, Allowed, 0},
		{"+get,%R~*", Call{ID: get, AllKeys: Read}, Allowed, 0},
		{"+get,%W~*,~**", Call{ID: get, AllKeys: Read}, DeniedKey, 0},
	} {
		s := c.Compile(user(t, c, test.rules))
		if got, at := s.Check(&test.call); got != test.want || at != test.at {
			t.Errorf("%d: %s: %d at %d, want %d at %d", i, test.rules, got, at, test.want, test.at)
		}
	}
}

func TestUnrestricted(t *testing.T) {
	c := redisCatalog(t)
	for rules, want := range map[string]bool{
		"+@all,~*,&*": true, "+@all,~*": false, "+@all,&*": false, "~*,&*": false, "+@all,~*,&*,-get": false, "+@all,~*,&*,-get,+get": true,
		"(+@all ~* &*)": true, "on": false,
	} {
		if got := c.Compile(user(t, c, rules)).Unrestricted(); got != want {
			t.Errorf("%s: %v", rules, got)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	c := redisCatalog(t)
	named := func(name, rules string) *User {
		u := user(t, c, rules)
		u.Name = name
		return u
	}
	all := NewUsers([]*User{named("a", "on,>p,>q"), named("off", ">p"), named("any", "on,nopass"), named("none", "on")}, c, "secret")
	for _, test := range []struct {
		name, password string
		ok             bool
	}{
		{"a", "p", true}, {"a", "q", true}, {"a", "", false}, {"a", "P", false}, {"a", Hash("p"), false}, {"off", "p", false}, {"any", "x", true}, {"any", "", true},
		{"none", "", false}, {"nobody", "", false}, {"nobody", "p", false}, {"default", "secret", true}, {"default", "", false}, {"", "", false},
	} {
		if got := all.Authenticate(test.name, []byte(test.password)); (got != nil) != test.ok || test.ok && got.Name != test.name {
			t.Errorf("%s with %q: %v", test.name, test.password, got)
		}
	}
	if all.Open || !NewUsers(nil, c, "").Open {
		t.Error("Open is wrong")
	}
	if u := DefaultUser().WithPassword(""); !u.NoPass || u.Inherits {
		t.Errorf("%+v", u)
	}
	// Rules about the default user's passwords begin from those of the setting.
	u := DefaultUser()
	for _, rule := range []string{IfInherits + Hash("secret"), "#" + Hash("p"), IfInherits + Hash("other")} {
		if err := u.Apply(rule); err != nil {
			t.Fatal(err)
		}
	}
	if !u.Accepts([]byte("secret")) || !u.Accepts([]byte("p")) || u.Accepts([]byte("other")) || u.Inherits {
		t.Errorf("%+v", u)
	}
	record, _ := DefaultUser().Encode()
	if u, err := Decode(DefaultName, record); err != nil || !u.Inherits || u.Describe() != "user default on ~* &* +@all" {
		t.Errorf("%v, %v", u, err)
	}
	if _, err := Decode("other", record); err == nil {
		t.Error("another user inherits the password of requirepass")
	}
}

func TestParseFile(t *testing.T) {
	c := redisCatalog(t)
	const none = "OK "
	for text, want := range map[string]string{
		"": none, "\n  \nuser b on  +get   ~x \r\n": none + "user b on ~x resetchannels -@all +get",
		"user a on\nuser a off": protocol.ACLDuplicate("a", 2), "usr x": protocol.ACLLineStart("f", 1), "user": protocol.ACLLineStart("f", 1), "# comment": protocol.ACLLineStart("f", 1),
		"user b +nosuch +no\nuser c foo bar": "f:1: Error in applying operation '+nosuch': Unknown command or category name in ACL. " +
			"f:1: Error in applying operation '+no': Unknown command or category name in ACL. f:2: Syntax error. ",
		"user b (+get ~x\nuser c foo": "f:1: Unmatched parenthesis in selector definition.f:2: Syntax error. ",
		"user b +get\n\nuser c ~* ~a": "f:3: " + protocol.ACLAllKeys + ". ",
		"user b (+get ~x) on":         none + "user b on resetchannels -@all (~x resetchannels -@all +get)",
		"user a\x00b on":              protocol.ACLLineName("f", 1, "a\x00b"),
	} {
		users, problems := c.ParseFile("f", []byte(text))
		got := problems
		if problems == "" {
			got = none
			for _, u := range users {
				got += u.Describe()
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	// What SAVE writes, LOAD reads.
	u := user(t, c, "on,>p,>q,skip-sanitize-payload,%RW~*,~a,%R~b,&c,+@all,-@read,+get|x,(+get),(-@all ~* &*)")
	again, problems := c.ParseFile("f", []byte(u.Describe()))
	if problems != "" || again[0].Describe() != u.Describe() || fmt.Sprint(again[0].Rules()) != fmt.Sprint(u.Rules()) {
		t.Errorf("%s\n%v %s", u.Describe(), again, problems)
	}
	var many strings.Builder
	for i := range MaxUsers + 1 {
		fmt.Fprintf(&many, "user u%d on\n", i)
	}
	if _, problems := c.ParseFile("f", []byte(many.String())); problems == "" {
		t.Error("there is no limit to the number of users")
	}
}

// TestContainerRules: what has no effect any more is left out, so that the rules of a user do not grow.
func TestContainerRules(t *testing.T) {
	c := redisCatalog(t)
	for rules, want := range map[string]string{
		"+config|get,+config|set,+config": "-@all +config", "+config,-config|set,-config": "-@all", "+get,-get,+get": "-@all +get", "+@all,-get,+get": "+@all",
		"+@read,-@read": "-@all", "+@read,-get,+@read": "-@all +@read", "-get,+set": "-@all +set", "+select|0,+select|1,-select": "-@all", "+@all,-config|set,-config,+config|get": "+@all -config +config|get",
	} {
		if got := user(t, c, rules).Root.CommandText(); got != want {
			t.Errorf("%s: %s, want %s", rules, got, want)
		}
	}
}

// TestLimits: what a user may have ends with an error, and its record fits.
func TestLimits(t *testing.T) {
	c := redisCatalog(t)
	for name, rule := range map[string]func(i int) string{
		"passwords": func(i int) string { return ">" + fmt.Sprint(i) },
		"keys":      func(i int) string { return fmt.Sprint("~", i) },
		"channels":  func(i int) string { return fmt.Sprint("&", i) },
		"selectors": func(int) string { return "(+get)" },
		"commands":  func(i int) string { return fmt.Sprint("+get|", i) },
	} {
		u := NewUser("u")
		n := 0
		for ; n < 10_000; n++ {
			normal, err := c.Normalize(rule(n))
			if err != nil {
				t.Fatal(err)
			}
			if err := u.Apply(normal); errors.Is(err, ErrTooMany) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]int{"passwords": MaxPasswords, "keys": MaxPatterns, "channels": MaxPatterns, "selectors": MaxSelectors, "commands": MaxCommands}[name]
		if n != want {
			t.Errorf("%d %s, the limit is %d", n, name, want)
		}
	}
	for _, rule := range []string{"~" + strings.Repeat("x", 1025), "&" + strings.Repeat("x", 1025), "(%R~" + strings.Repeat("x", 1025) + ")", "+get|" + strings.Repeat("x", 200)} {
		if _, err := c.Normalize(rule); !errors.Is(err, ErrTooLong) {
			t.Errorf("%.20s…: %v", rule, err)
		}
	}
	u := NewUser("u")
	for i := range 60 {
		if err := u.Apply(fmt.Sprint("~", i, strings.Repeat("x", 1000))); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := u.Encode(); ok {
		t.Error("there is no limit to a record")
	}
}

func TestLog(t *testing.T) {
	var l Log
	at := time.Unix(1000, 0)
	add := func(seconds int, object string, limit int) {
		l.Add(LogEntry{Reason: DeniedKey, Object: object, Username: "u", Client: object, At: at.Add(time.Duration(seconds) * time.Second)}, limit)
	}
	show := func() (text string) {
		for _, e := range l.Newest(100) {
			text += fmt.Sprintf("%s%d ", e.Object, e.Count)
		}
		return text
	}
	for _, step := range []struct {
		second int
		object string
		limit  int
		want   string
	}{
		{0, "a", 9, "a1 "}, {1, "b", 9, "b1 a1 "}, {2, "a", 9, "a2 b1 "}, {61, "b", 9, "b2 a2 "}, {63, "a", 9, "a1 b2 a2 "}, {64, "c", 3, "c1 a1 b2 "},
		{65, "d", 0, ""},
	} {
		if add(step.second, step.object, step.limit); show() != step.want {
			t.Errorf("after %s at %d: %s, want %s", step.object, step.second, show(), step.want)
		}
	}
	for i := range 20 {
		add(100, fmt.Sprint("x", i, "-"), 100)
	}
	add(100, "x0-", 100) // the eleventh and older ones are not looked at
	if got := l.Newest(1)[0]; got.Count != 1 || len(l.Newest(100)) != 21 || len(l.Newest(-1)) != 0 {
		t.Errorf("%+v, %d entries", got, len(l.Newest(100)))
	}
	l.Add(LogEntry{Object: strings.Repeat("x", 1<<20), At: at}, 100)
	if n := len(l.Newest(1)[0].Object); n != maxLogText {
		t.Errorf("an object of %d bytes", n)
	}
	if l.Reset(); len(l.Newest(100)) != 0 {
		t.Error("RESET leaves something")
	}
}

// FuzzRules: whatever the rules, what comes out is a user whose record and line make the same one.
func FuzzRules(f *testing.F) {
	c := redisCatalog(f)
	for _, rules := range ruleCases {
		f.Add(strings.NewReplacer(";", "\t").Replace(rules))
	}
	f.Fuzz(func(t *testing.T, rules string) {
		u := NewUser("u")
		words, open := JoinSelectors(strings.Split(rules, "\t"))
		if open != "" {
			return
		}
		for _, rule := range words {
			normal, err := c.Normalize(rule)
			if err != nil {
				continue
			}
			if again, err := c.Normalize(normal); err != nil || again != normal {
				t.Fatalf("%q is %q, and that is %q, %v", rule, normal, again, err)
			}
			if changed := u.Clone(); changed.Apply(normal) == nil {
				u = changed
			}
		}
		record, ok := u.Encode()
		if !ok {
			return
		}
		again, err := Decode("u", record)
		if err != nil || fmt.Sprint(again.Rules()) != fmt.Sprint(u.Rules()) {
			t.Fatalf("%q: %v, %v", u.Rules(), again, err)
		}
		loaded := c.ParseLine(strings.Split(u.Describe(), " ")[1:], func(rule string, err error) bool {
			t.Fatalf("%s: %q: %v", u.Describe(), rule, err)
			return false
		})
		if loaded.Describe() != u.Describe() {
			t.Fatalf("%s\nis loaded as\n%s", u.Describe(), loaded.Describe())
		}
		c.Compile(u)
	})
}

// FuzzDecode: a record is read whole or not at all, whatever its bytes.
func FuzzDecode(f *testing.F) {
	c := redisCatalog(f)
	for _, rules := range []string{"on", "on,>p,~a,(+get ~b)", "+@all,-get"} {
		record, _ := user(f, c, rules).Encode()
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		u, err := Decode("u", record)
		if err != nil {
			return
		}
		b, _ := u.Encode()
		if again, err := Decode("u", b); err != nil || fmt.Sprint(again.Rules()) != fmt.Sprint(u.Rules()) {
			t.Fatalf("%q: %v, %v", u.Rules(), again, err)
		}
		c.Compile(u)
	})
}

func BenchmarkCheck(b *testing.B) {
	c := redisCatalog(b)
	s := c.Compile(user(b, c, "on,+@read,+@write,~app:*,~views:*"))
	call := &Call{ID: c.byName["get"], Keys: []KeyUse{{[]byte("views:12345"), Read}}}
	for b.Loop() {
		if r, _ := s.Check(call); r != Allowed {
			b.Fatal(r)
		}
	}
}
