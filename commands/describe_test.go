package commands

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/engine"
	"quipu/protocol"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files of this package")

// TestLogNumbers keeps the numbers of commands in the log as they are: logs on disk hold them.
func TestLogNumbers(t *testing.T) {
	const file = "testdata/lognumbers.txt"
	var lines []string
	for _, cmd := range NewTable().All() {
		if cmd.LogID != 0 {
			lines = append(lines, fmt.Sprintf("%5d %s", cmd.LogID, cmd.FullName()))
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimRight(string(want), "\n"), "\n") {
		if !slices.Contains(lines, line) {
			t.Errorf("%q is gone or has another number; a number is never changed, nor used again", strings.TrimSpace(line))
		}
	}
	if got != string(want) {
		t.Errorf("the numbers are not those of %s; after adding a command: go test ./commands -run LogNumbers -rewrite", file)
	}
}

func TestLookup(t *testing.T) {
	table := NewTable(&Command{Name: "ping", Arity: -1, Flags: FlagFast, Group: "connection"})
	for _, cmd := range table.Top() {
		for _, name := range []string{cmd.Name, strings.ToUpper(cmd.Name), strings.ToUpper(cmd.Name[:1]) + cmd.Name[1:]} {
			if table.Lookup([]byte(name)) != cmd {
				t.Errorf("%s is not found", name)
			}
		}
		for _, name := range []string{cmd.Name + "x", cmd.Name + " ", cmd.Name[1:] + "\x00", "\x00" + cmd.Name} {
			if found := table.Lookup([]byte(name)); found != nil {
				t.Errorf("%q finds %s", name, found.Name)
			}
		}
		if cmd.LogID != 0 && table.ByLogID(cmd.LogID) != cmd {
			t.Errorf("%s is not found by its number", cmd.Name)
		}
	}
	for _, name := range []string{"", "GE\x14", "g@t", strings.Repeat("get", 100)} {
		if cmd := table.Lookup([]byte(name)); cmd != nil {
			t.Errorf("%q finds %s", name, cmd.Name)
		}
	}
	for i, cmd := range table.All() {
		if cmd.ID() != i {
			t.Errorf("%s has ID %d, not %d", cmd.FullName(), cmd.ID(), i)
		}
	}
	if table.ByLogID(0) != nil || table.ByLogID(65535) != nil {
		t.Error("a number without a command finds one")
	}
	if table.LookupFull([]byte("OBJECT|Encoding")).FullName() != "object|encoding" || table.LookupFull([]byte("get|x")) != nil {
		t.Error("subcommands by full name")
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	table := NewTable()
	args := words(t, "MsetNX a 1 b 2")
	set := words(t, "set a 1")
	n := testing.AllocsPerRun(100, func() {
		cmd, _ := table.Resolve(args)
		var parts engine.PartSet
		cmd.AddParts(args, &parts)
		count := 0
		cmd.EachKey(args, func([]byte) { count++ })
		if count != 2 || cmd.FirstKey(args) == nil {
			t.Fatal("keys")
		}
		if table.Lookup(set[0]) == nil {
			t.Fatal("set")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHandlersDoNotAllocate(t *testing.T) {
	s := newShell(t)
	s.do(words(t, "CMS.INITBYDIM cms 100 7")...)
	s.do(words(t, "TOPK.RESERVE topk 5")...)
	w := &protocol.Writer{B: make([]byte, 0, 1024), V: 2}
	for _, line := range []string{"INCR a", "INCRBY a 5", "SET b hello", "SET b 5 EX 100", "GET b", "MGET a b", "EXPIRE a 100", "TTL a", "EXISTS a", "GETRANGE a 0 1", "CMS.INCRBY cms x 1", "CMS.QUERY cms x", "TOPK.ADD topk x", "TOPK.QUERY topk x"} {
		args := words(t, line)
		cmd := s.table.Find(args)
		call := &Call{Cmd: cmd, Args: args, W: w, Table: s.table, MaxBulk: 1 << 20, Databases: 16}
		n := testing.AllocsPerRun(100, func() {
			w.B = w.B[:0]
			if cmd.Write != nil {
				call.RunWrite(s.ks.Txn(0, s.now, false))
			} else {
				cmd.Read(call, s.ks.View(0, s.now, false))
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	table := NewTable()
	names := [][]byte{[]byte("INCR"), []byte("get"), []byte("SET"), []byte("incrby")}
	i := 0
	for b.Loop() {
		if table.Lookup(names[i&3]) == nil {
			b.Fatal("not found")
		}
		i++
	}
}

func TestTableRefusesContradictions(t *testing.T) {
	run := func(c *Call, t engine.Txn) {}
	for name, cmd := range map[string]*Command{
		"twice":             {Name: "get", Arity: 1},
		"upper case":        {Name: "Foo", Arity: 1},
		"no arity":          {Name: "foo"},
		"no number":         {Name: "foo", Arity: 1, Flags: FlagWrite, Write: run},
		"number taken":      {Name: "foo", Arity: 1, Flags: FlagWrite, Write: run, LogID: 1},
		"no flag":           {Name: "foo", Arity: 1, Write: run, LogID: 60000},
		"number for a read": {Name: "foo", Arity: 1, LogID: 60000},
		"bad syntax":        {Name: "foo", Arity: 1, Syntax: "key [NX|"},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			NewTable(cmd)
		}()
	}
}

func TestSyntax(t *testing.T) {
	for _, c := range []struct{ syntax, usage string }{
		{"", ""},
		{"key", "key"},
		{"key value [key value ...]", "key value [key value ...]"},
		{"key [key ...]", "key [key ...]"},
		{"[name [name ...]]", "[name [name ...]]"},
		{"key [condition@1.2=NX|XX] [GET@6.2.0]", "key [NX|XX] [GET]"},
		{"[FILTERBY <by=MODULE name|ACLCAT category>]", "[FILTERBY MODULE name|ACLCAT category]"},
		{"[LIMIT offset count]", "[LIMIT offset count]"},
		{"<how=A|B x:integer> [arg ...]", "A|B x [arg [arg ...]]"},
		{"ID <id@6.2.0=number:integer ...>", "ID number [number ...]"},
		{"<what=word> ...", "word [word ...]"},
		{"<by=a:b:string@-2.8.12|<new=[ID number]|[X]> ...>", "a:b|[ID number]|[X] ..."},
		{"[all=version [AUTH <user password>]]", "[version [AUTH user password]]"},
	} {
		args, err := parseSyntax(c.syntax)
		if got := usageOf(args, " "); err != nil || got != c.usage {
			t.Errorf("%q: %q, %v, want %q", c.syntax, got, err, c.usage)
		}
	}
	for _, bad := range []string{"]", "[", "a|b", "[]", "<a]", "a=b", "[A|]", "[x=]"} {
		if _, err := parseSyntax(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// parseTree reads a reply as nested values: maps with string keys, sorted sets, lists, strings.
func parseTree(tb testing.TB, r *bufio.Reader) any {
	tb.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	line = strings.TrimSuffix(line, "\r\n")
	n, _ := strconv.Atoi(line[1:])
	switch line[0] {
	case '$', '=':
		body := make([]byte, n+2)
		if _, err := r.Read(body); err != nil {
			tb.Fatal(err)
		}
		return string(body[:n])
	case '*', '~':
		list := make([]any, n)
		for i := range list {
			list[i] = parseTree(tb, r)
		}
		if line[0] == '~' {
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		return list
	case '%':
		m := map[string]any{}
		for range n {
			key := parseTree(tb, r).(string)
			m[key] = parseTree(tb, r)
		}
		return m
	}
	return line
}

func TestCommandReplies(t *testing.T) {
	steps := []step{
		{"COMMAND GETKEYS SET a b", "*1 $1 a", ""},
		{"COMMAND GETKEYS MSET a 1 b 2", "*2 $1 a $1 b", ""},
		{"COMMAND GETKEYS RENAME a b", "*2 $1 a $1 b", ""},
		{"COMMAND GETKEYS OBJECT ENCODING a", "*1 $1 a", ""},
		{"COMMAND GETKEYS DBSIZE x", "-ERR The command has no key arguments", ""},
		{"COMMAND GETKEYS GET a b", "-ERR Invalid number of arguments specified for command", ""},
		{"COMMAND GETKEYS nosuch a", "-ERR Invalid command specified", ""},
		{"COMMAND GETKEYS get", "-ERR wrong number of arguments for 'command|getkeys' command", ""},
		{"COMMAND GETKEYSANDFLAGS SET a b GET", "*1 *2 $1 a *3 +RW +access +update", "*1 *2 $1 a ~3 +RW +access +update"},
		{"COMMAND GETKEYSANDFLAGS SET a b", "*1 *2 $1 a *2 +OW +update", "*1 *2 $1 a ~2 +OW +update"},
		{"COMMAND INFO nosuch", "*1 $-1", "*1 _"},
		{"COMMAND DOCS nosuch", "*0", "%0"},
		{"COMMAND LIST FILTERBY MODULE x", "*0", ""},
		{"COMMAND LIST FILTERBY ACLCAT x", "*0", ""},
		{"COMMAND LIST FILTERBY PATTERN DBS*", "*1 $6 dbsize", ""},
		{"COMMAND LIST FILTERBY NAME x", "-ERR syntax error", ""},
		{"COMMAND LIST FILTERBY", "-ERR syntax error", ""},
		{"COMMAND nosuch", "-ERR unknown subcommand 'nosuch'. Try COMMAND HELP.", ""},
		{"COMMAND COUNT x", "-ERR wrong number of arguments for 'command|count' command", ""},
		{"nosuch a b", "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' ", ""},
		{"GET", "-ERR wrong number of arguments for 'get' command", ""},
		{"OBJECT", "-ERR wrong number of arguments for 'object' command", ""},
	}
	runSteps(t, steps)
	compareSteps(t, steps)
}

func TestHelp(t *testing.T) {
	s := newShell(t)
	got := string(s.do([]byte("OBJECT"), []byte("HELP")))
	for _, want := range []string{"*11\r\n+OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n", "+ENCODING key\r\n", "+HELP\r\n+    Prints this help.\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

// TestKeysOfEveryCall: whatever is looked up under its name is a key that permissions are asked for. Redis before 2026 asked for
// none in PFMERGE of one key, since its second row of keys is empty then.
func TestKeysOfEveryCall(t *testing.T) {
	for _, cmd := range NewTable().All() {
		if !cmd.HasKeys() {
			continue
		}
		name := strings.Fields(cmd.FullName())
		for n := max(cmd.Arity, -cmd.Arity); n <= max(cmd.Arity, 8-cmd.Arity); n++ {
			args := make([][]byte, n)
			for i := range args {
				args[i] = []byte("1") // a number, where one is wanted
				if i < len(name) {
					args[i] = []byte(name[i])
				}
			}
			var found, asked int
			cmd.EachKey(args, func([]byte) { found++ })
			cmd.EachKeyFlags(args, func([]byte, KeyFlag) { asked++ })
			if found != asked || found == 0 && cmd.GetKeys == nil && cmd.KeysIn == nil {
				t.Errorf("%s with %d arguments: %d keys, of which permissions know %d", cmd.FullName(), n, found, asked)
			}
		}
	}
}
