package acl

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"quipu/internal/redistest"
	"quipu/protocol"
)

var rewrite = flag.Bool("rewrite", false, "record what redis-server says into testdata")

// What redis-server 7.0 says: its commands with their categories, and, for lists of rules given to a new user one call after the
// other, the errors and the user's line at the end. Arguments are separated by tabs.
const (
	commandsFile = "testdata/commands.txt"
	rulesFile    = "testdata/rules.txt"
)

// redisCategories is in the order of ACL CAT.
var redisCategories = strings.Fields("keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin " +
	"fast slow blocking dangerous connection transaction scripting")

// redisCatalog is the commands of redis-server 7.0.
func redisCatalog(t testing.TB) *Catalog {
	t.Helper()
	text, err := os.ReadFile(commandsFile)
	if err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		e := Entry{Name: f[0]}
		for _, word := range f[1:] {
			if category, ok := strings.CutPrefix(word, "@"); ok {
				e.Categories = append(e.Categories, category)
			} else {
				e.Free = e.Free || word == "no_auth"
			}
		}
		entries = append(entries, e)
	}
	return NewCatalog(entries, redisCategories)
}

// setUser does what ACL SETUSER does, and returns the error's text, or "OK".
func setUser(c *Catalog, u *User, args []string) string {
	rules, open := JoinSelectors(args)
	if open != "" {
		return protocol.ErrOpenSelector(open)
	}
	changed := u.Clone()
	for _, rule := range rules {
		if _, err := c.Try(changed, rule); err != nil {
			return protocol.ErrACLRule(rule, err.Error())
		}
	}
	*u = *changed
	return "OK"
}

// TestRules: for every list of rules, the replies are those of redis-server, and the user that comes out is the same one. Its
// commands may be told in other words: Redis 7.0 finds a short text for the set that is left, and we keep the rules.
func TestRules(t *testing.T) {
	if *rewrite {
		record(t)
	}
	catalog := redisCatalog(t)
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		u := NewUser("u")
		lines := strings.Split(block, "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			args := strings.Split(strings.TrimPrefix(lines[i], "> "), "\t")
			if got := setUser(catalog, u, args); got != lines[i+1] {
				t.Errorf("%q: %s, want %s", args, got, lines[i+1])
			}
		}
		sameUser(t, catalog, block, u, lines[len(lines)-1])
		cases++
	}
	if cases < 80 {
		t.Errorf("only %d cases", cases)
	}
}

// sameUser compares a user with the line of redis-server.
func sameUser(t *testing.T, catalog *Catalog, block string, u *User, line string) {
	t.Helper()
	words, _ := JoinSelectors(strings.Split(line, " "))
	theirs := catalog.ParseLine(words[1:], func(rule string, err error) bool {
		t.Errorf("%s\n%s: %v", block, rule, err)
		return true
	})
	ours, want := catalog.Compile(u), catalog.Compile(theirs)
	if len(ours.grants) != len(want.grants) {
		t.Errorf("%s\nselectors: %s", block, u.Describe())
		return
	}
	for i := range ours.grants {
		for id := range catalog.entries {
			call := &Call{ID: id}
			if a, b := ours.grants[i].allowsCommand(catalog, call), want.grants[i].allowsCommand(catalog, call); a != b {
				t.Errorf("%s\n%s: %v in selector %d, in Redis %v", block, catalog.entries[id].Name, a, i, b)
			}
		}
	}
	bare := func(u *User) string {
		u = u.Clone()
		for _, s := range append([]*Selector{&u.Root}, pointers(u.Selectors)...) {
			s.AllCommands, s.Commands = false, nil
		}
		return u.Describe()
	}
	if got, want := bare(u), bare(theirs); got != want {
		t.Errorf("%s\ngot  %s\nwant %s", block, got, want)
	}
	if record, _ := u.Encode(); true {
		again, err := Decode(u.Name, record)
		if err != nil || again.Describe() != u.Describe() || !slices.Equal(again.Rules(), u.Rules()) {
			t.Errorf("%s\nfrom the record: %v, %v", block, again, err)
		}
	}
}

func pointers(list []Selector) (p []*Selector) {
	for i := range list {
		p = append(p, &list[i])
	}
	return p
}

func record(t *testing.T) {
	srv := redistest.StartRedis(t)
	c := srv.Dial(t)
	all, err := c.Do("COMMAND")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var add func(list []redistest.Reply)
	add = func(list []redistest.Reply) {
		for _, info := range list {
			words := []string{info.Elems[0].Text}
			for _, f := range info.Elems[2].Elems {
				if f.Text == "no_auth" {
					words = append(words, f.Text)
				}
			}
			for _, category := range info.Elems[6].Elems {
				words = append(words, category.Text)
			}
			lines = append(lines, strings.Join(words, " "))
			add(info.Elems[9].Elems)
		}
	}
	add(all.Elems)
	slices.Sort(lines)
	write(t, commandsFile, strings.Join(lines, "\n")+"\n")
	var b strings.Builder
	for _, calls := range ruleCases {
		for _, call := range strings.Split(calls, ";") {
			args := strings.Split(call, "\t")
			r, err := c.Do(append([]string{"ACL", "SETUSER", "u"}, args...)...)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString("> " + strings.Join(args, "\t") + "\n" + strings.TrimRight(r.Text, "\r\n") + "\n")
		}
		list, err := c.Do("ACL", "LIST")
		if err != nil {
			t.Fatal(err)
		}
		line := "user u off resetchannels -@all" // there is none: all of its rules were refused
		for _, l := range list.Elems {
			if strings.HasPrefix(l.Text, "user u ") {
				line = l.Text
			}
		}
		b.WriteString(line + "\n\n")
		if _, err := c.Do("ACL", "DELUSER", "u"); err != nil {
			t.Fatal(err)
		}
	}
	write(t, rulesFile, b.String())
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
