package server

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/internal/redistest"
)

const (
	compatibilityPage = "../docs/compatibility.md"
	redis70File       = "testdata/redis70.txt"

	// Between these lines the page is generated.
	pageBegin = "<!-- from the command table: go test ./server -run TestCompatibilityPage -rewrite -->\n"
	ownBegin  = "Redis 7.0 does not have"
	pageEnd   = "<!-- end of what is generated -->\n"
)

// missing says why we lack commands of Redis 7.0: "@group" stands for what a group has and no other row names, "acl" for a
// command with its subcommands.
var missing = []struct{ what, reason, names string }{
	{"Hashes", "later: counters as fields of hashes are the next data type", "@hash"},
	{"Lua", "later: `EVAL` and its kin; many rate limiters can do without by `INCREX`. What asks the cache of scripts is answered truly: it is empty", "@scripting"},
	{"Sorted sets", "later: leaderboards", "@sorted-set"},
	{"Bitmaps", "later", "@bitmap"},
	{"Moving single keys between servers", "later, with the import of Redis's files", "dump restore migrate"},
	{"Changing a cluster", "nodes are members of one Raft group, and slots do not move between them; `CLUSTER FORGET` takes a node out", "@cluster"},
	{"Redis's replication", "nodes replicate the log by Raft; following a live Redis, to import its data, comes later", "psync sync replconf failover restore-asking"},
	{"Swapping databases", "not planned: it concerns all keys of both at once, and programs that count do not use it", "swapdb"},
	{"Longest common subsequence", "not planned: its time grows with the square of the values", "lcs"},
	{"Lists", "out of scope: a counter server has no queues", "@list"},
	{"Sets", "out of scope: distinct things are counted, not kept", "@set"},
	{"Streams", "out of scope: the log is not for clients", "@stream"},
	{"Places", "out of scope: no geographic index", "@geo"},
	{"Sorting", "out of scope: sorts what lists and sets hold", "sort sort_ro"},
	{"Modules", "out of scope: native code in the server's process could not be deterministic", "module"},
	{"Art", "out of scope", "lolwut"},
}

// families are the headings of the supported commands, by group, in the order of the page.
var families = []struct{ title, group string }{
	{"Counters and strings", "string"}, {"HyperLogLog", "hyperloglog"}, {"Sketches", "module"}, {"Keys", "generic"}, {"Transactions", "transactions"}, {"Connections", "connection"},
	{"Pub/sub", "pubsub"}, {"Server", "server"}, {"Cluster", "cluster"}, {"Scripting", "scripting"},
}

// redisCommand is a command or, as "container|sub", a subcommand of Redis 7.0.
type redisCommand struct{ name, group string }

// TestOwnCommands: Own in an entry says the truth. All tests that compare with Redis go by it.
func TestOwnCommands(t *testing.T) {
	in70 := map[string]bool{}
	for _, c := range redis70(t) {
		in70[c.name] = true
	}
	for _, cmd := range Commands().All() {
		switch {
		case cmd.Own && in70[cmd.FullName()]:
			t.Errorf("%s: Own is set, and Redis 7.0 has it", cmd.FullName())
		case !cmd.Own && !in70[cmd.FullName()]:
			t.Errorf("%s: Redis 7.0 does not have it: set Own in its entry", cmd.FullName())
		}
	}
}

func redis70(t *testing.T) (list []redisCommand) {
	t.Helper()
	text, err := os.ReadFile(redis70File)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		group, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			t.Fatalf("%s: bad line %q", redis70File, line)
		}
		list = append(list, redisCommand{name, group})
	}
	return list
}

// TestRedis70File holds the list of Redis's commands against redis-server; with -rewrite it records them.
func TestRedis70File(t *testing.T) {
	conn := redistest.StartRedis(t).Dial(t)
	names, err := conn.Do("COMMAND", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range names.Elems {
		docs, err := conn.Do("COMMAND", "DOCS", e.Text)
		if err != nil || len(docs.Elems) != 2 {
			t.Fatalf("COMMAND DOCS %s: %v, %v", e.Text, docs, err)
		}
		lines = append(lines, fieldOf(docs.Elems[1], "group").Text+" "+e.Text+"\n")
	}
	slices.Sort(lines)
	want := strings.Join(lines, "")
	if *rewrite {
		if err := os.WriteFile(redis70File, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(redis70File); err != nil || string(got) != want {
		t.Errorf("%s is not what COMMAND LIST and COMMAND DOCS say (%v): go test ./server -run TestRedis70File -rewrite", redis70File, err)
	}
}

// TestCompatibilityPage holds that the page has every command of Redis 7.0 and every one of ours exactly once: as
// supported if it is in the command table, else with a reason.
func TestCompatibilityPage(t *testing.T) {
	table, _ := buildTable()
	page, err := os.ReadFile(compatibilityPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(page), pageBegin)
	shown, after, ok2 := strings.Cut(rest, pageEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks the lines between which it is generated", compatibilityPage)
	}
	want := renderCompatibility(t, table)
	if *rewrite && shown != want {
		if err := os.WriteFile(compatibilityPage, []byte(before+pageBegin+want+pageEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		shown = want
	}
	if shown != want {
		t.Errorf("%s differs from the command table: go test ./server -run TestCompatibilityPage -rewrite", compatibilityPage)
	}
	checkPage(t, table, shown)
}

// checkPage reads the tables as a person does, without regard to how they are made.
func checkPage(t *testing.T, table *commands.Table, shown string) {
	supported, unsupported, ok := strings.Cut(shown, "### Not supported")
	if !ok {
		t.Fatal("no list of what is not supported")
	}
	supported, own, ok := strings.Cut(supported, ownBegin)
	if !ok {
		t.Fatal("no list of what Redis 7.0 does not have")
	}
	for _, name := range namesIn(own) {
		if cmd := table.LookupFull([]byte(name)); cmd == nil || !cmd.Own {
			t.Errorf("the page says that Redis 7.0 does not have %s", name)
		}
	}
	count := map[string]int{}
	for _, name := range namesIn(supported) {
		count[name]++
		if cmd := table.LookupFull([]byte(name)); cmd == nil {
			t.Errorf("the page calls %s supported, and it is not in the command table", name)
		}
	}
	for row := range strings.Lines(unsupported) {
		cells := strings.Split(row, "|")
		if len(cells) != 5 || !strings.Contains(cells[2], "`") {
			continue
		}
		if len(strings.TrimSpace(cells[3])) < 5 {
			t.Errorf("no reason: %s", row)
		}
		for _, name := range namesIn(cells[2]) {
			count[name]++
			if table.LookupFull([]byte(name)) != nil {
				t.Errorf("the page calls %s unsupported, and it is in the command table", name)
			}
		}
	}
	known := map[string]bool{}
	for _, c := range redis70(t) {
		known[c.name] = true
	}
	for _, cmd := range table.All() {
		known[cmd.FullName()] = true
	}
	for name := range known {
		if count[name] != 1 {
			t.Errorf("%s is on the page %d times", name, count[name])
		}
	}
	for name := range count {
		if !known[name] {
			t.Errorf("%s is on the page and exists nowhere", name)
		}
	}
}

var codeOrBracket = regexp.MustCompile("`[^`]*`|[()]")

// namesIn reads "`GET`, `CLIENT` (`ID` `INFO`), `CLUSTER MEET`": subcommands stand in brackets, or behind their container.
func namesIn(text string) (names []string) {
	container, last := "", ""
	for _, token := range codeOrBracket.FindAllString(text, -1) {
		switch token {
		case "(":
			container = last
		case ")":
			container = ""
		default:
			last = strings.ReplaceAll(strings.ToLower(strings.Trim(token, "`")), " ", "|")
			if container != "" {
				last = container + "|" + last
			}
			names = append(names, last)
		}
	}
	return names
}

func renderCompatibility(t *testing.T, table *commands.Table) string {
	have := map[string][]string{}
	for _, cmd := range table.All() {
		group := cmd.Group
		if cmd.Parent != nil {
			group = cmd.Parent.Group
		}
		have[group] = append(have[group], cmd.FullName())
	}
	var b strings.Builder
	b.WriteString("### Supported\n\n| Family | Commands |\n|---|---|\n")
	for _, f := range families {
		fmt.Fprintf(&b, "| %s | %s |\n", f.title, nameList(have[f.group]))
		delete(have, f.group)
	}
	for group := range have {
		t.Errorf("group %s has no heading in families", group)
	}
	var own []string
	for _, cmd := range table.All() {
		if cmd.Own {
			own = append(own, cmd.FullName())
		}
	}
	fmt.Fprintf(&b, "\n%s: %s.\n", ownBegin, nameList(own))
	b.WriteString("\n### Not supported\n\nThese answer `-ERR unknown command` or `-ERR unknown subcommand`.\n\n| What | Commands of Redis 7.0 | Why not |\n|---|---|---|\n")
	rows := lacking(t, table)
	for i, m := range missing {
		if len(rows[i]) == 0 {
			t.Errorf("nothing lacks for the reason %q", m.what)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.what, nameList(rows[i]), m.reason)
	}
	return b.String()
}

// lacking is what we lack of Redis 7.0, by row of missing.
func lacking(t *testing.T, table *commands.Table) [][]string {
	rows := make([][]string, len(missing))
	unused := map[string]bool{}
	for _, m := range missing {
		for _, key := range strings.Fields(m.names) {
			unused[key] = true
		}
	}
	for _, c := range redis70(t) {
		if table.LookupFull([]byte(c.name)) != nil {
			continue
		}
		container, _, _ := strings.Cut(c.name, "|")
		row := -1
		for _, key := range []string{c.name, container, "@" + c.group} {
			for i, m := range missing {
				if row < 0 && slices.Contains(strings.Fields(m.names), key) {
					row = i
					delete(unused, key)
				}
			}
		}
		if row < 0 {
			t.Errorf("%s is not supported, and no reason says why", c.name)
			continue
		}
		rows[row] = append(rows[row], c.name)
	}
	for key := range unused {
		t.Errorf("missing gives a reason for %s, which stands for nothing that lacks", key)
	}
	return rows
}

// nameList puts subcommands into brackets behind their container where that is among the names.
func nameList(names []string) string {
	slices.Sort(names)
	subs := map[string][]string{}
	var top []string
	for _, name := range names {
		container, sub, ok := strings.Cut(name, "|")
		switch {
		case !ok:
			top = append(top, name)
		case slices.Contains(names, container):
			subs[container] = append(subs[container], "`"+strings.ToUpper(sub)+"`")
		default:
			top = append(top, container+" "+sub)
		}
	}
	for i, name := range top {
		top[i] = "`" + strings.ToUpper(name) + "`"
		if len(subs[name]) != 0 {
			top[i] += " (" + strings.Join(subs[name], " ") + ")"
		}
	}
	return strings.Join(top, ", ")
}
