package server

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/internal/redistest"
)

// differentDocs lists every field in which COMMAND DOCS and COMMAND INFO differ from Redis 7.0 on purpose, by the name of
// the command, "*" being all of them, and why.
var differentDocs = map[string]map[string]string{
	"*": {
		"summary":     "in our own words",
		"complexity":  "what the command costs here, in our own words",
		"history":     "tells what changed in Redis from version to version",
		"subcommands": "compared one by one; those that only one of the two has, and their order, which is random in Redis, are left out",
	},
	"command|getkeys":         {"arguments": "7.0 forgot to describe them"},
	"command|getkeysandflags": {"arguments": "7.0 forgot to describe them"},
	"client|tracking":         {"arguments": "that PREFIX is repeated with its word has no notation here"},
	"debug":                   {"arguments": "other subcommands than in Redis, where each version has its own"},
}

// pair is a node and a redis-server with a connection to each that speaks the same protocol.
type pair struct {
	t           *testing.T
	table       *commands.Table
	ours, redis *redistest.Conn
}

// bothProtocols runs a test on a pair in RESP2 and again in RESP3. It is skipped where there is no redis-server.
func bothProtocols(t *testing.T, test func(t *testing.T, p *pair)) {
	redis := redistest.StartRedis(t)
	n := startGroupNode(t, &testGroup{}, nil)
	for _, resp := range []string{"2", "3"} {
		t.Run("RESP"+resp, func(t *testing.T) {
			p := &pair{t: t, table: n.srv.table, ours: n.dial(), redis: redis.Dial(t)}
			p.do("HELLO", resp)
			test(t, p)
		})
	}
}

func (p *pair) do(args ...string) (ours, redis redistest.Reply) {
	p.t.Helper()
	ours, err := p.ours.Do(args...)
	if err != nil {
		p.t.Fatalf("%.100q: %v", args, err)
	}
	if redis, err = p.redis.Do(args...); err != nil {
		p.t.Fatalf("redis-server: %.100q: %v", args, err)
	}
	return ours, redis
}

// same compares the bytes of two replies. What it reports is short: only where they begin to differ.
func (p *pair) same(what string, ours, redis redistest.Reply) bool {
	p.t.Helper()
	a, b := ours.Encode(nil), redis.Encode(nil)
	if bytes.Equal(a, b) {
		return true
	}
	const before, after = 60, 100
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	from := max(0, at-before)
	p.t.Errorf("%.200s: different from byte %d on\n ours  …%q\n redis …%q", what, at, a[from:min(len(a), at+after)], b[from:min(len(b), at+after)])
	return false
}

// onlyIn lists the names of a that b lacks.
func onlyIn(a, b []string) (names []string) {
	for _, name := range a {
		if !slices.Contains(b, name) {
			names = append(names, name)
		}
	}
	return names
}

// shared is the commands and subcommands that both servers have.
func (p *pair) shared() (cmds []*commands.Command) {
	for _, cmd := range p.table.All() {
		if !cmd.Own {
			cmds = append(cmds, cmd)
		}
	}
	return cmds
}

// sharedNames keeps of a list of names those both servers have, in order.
func (p *pair) sharedNames(list redistest.Reply) (names []string) {
	for _, e := range list.Elems {
		if cmd := p.table.LookupFull([]byte(e.Text)); cmd != nil && !cmd.Own {
			names = append(names, e.Text)
		}
	}
	slices.Sort(names)
	return names
}

// sharedInfo brings the subcommands of one element of COMMAND INFO into order and drops those only one server has.
func (p *pair) sharedInfo(info redistest.Reply) redistest.Reply {
	if len(info.Elems) != 10 || len(info.Elems[9].Elems) == 0 {
		return info
	}
	info.Elems = slices.Clone(info.Elems)
	subs := slices.DeleteFunc(slices.Clone(info.Elems[9].Elems), func(e redistest.Reply) bool {
		cmd := p.table.LookupFull([]byte(e.Elems[0].Text))
		return cmd == nil || cmd.Own
	})
	slices.SortFunc(subs, func(a, b redistest.Reply) int { return strings.Compare(a.Elems[0].Text, b.Elems[0].Text) })
	info.Elems[9].Elems = subs
	return info
}

func TestCommandInfoIsThatOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		for _, cmd := range p.shared() {
			ours, redis := p.do("COMMAND", "INFO", cmd.FullName())
			ours.Elems[0], redis.Elems[0] = p.sharedInfo(ours.Elems[0]), p.sharedInfo(redis.Elems[0])
			p.same("COMMAND INFO "+cmd.FullName(), ours, redis)
		}
		all, _ := p.do("COMMAND")
		for _, entry := range all.Elems {
			one, err := p.ours.Do("COMMAND", "INFO", entry.Elems[0].Text)
			if err != nil {
				t.Fatal(err)
			}
			p.same("COMMAND and COMMAND INFO "+entry.Elems[0].Text, entry, one.Elems[0])
		}
		p.same(p.do2("COMMAND", "INFO", "nosuch", "GET", "", "get|x", "client|nosuch", "Client|ID"))
	})
}

// do2 is do with the command first, for same.
func (p *pair) do2(args ...string) (what string, ours, redis redistest.Reply) {
	ours, redis = p.do(args...)
	return strings.Join(args, " "), ours, redis
}

func TestCommandDocsAreThoseOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		for _, cmd := range p.shared() {
			ours, redis := p.do("COMMAND", "DOCS", cmd.FullName())
			if len(ours.Elems) != 2 || len(redis.Elems) != 2 {
				t.Errorf("COMMAND DOCS %s: described here %v, in Redis %v", cmd.FullName(), len(ours.Elems) == 2, len(redis.Elems) == 2)
				continue
			}
			for _, field := range []string{"summary", "complexity"} {
				text := fieldOf(ours.Elems[1], field).Text
				if len(strings.Fields(text)) > 1 && strings.EqualFold(strings.Trim(text, "."), strings.Trim(fieldOf(redis.Elems[1], field).Text, ".")) {
					t.Errorf("%s: the %s %q is in Redis's words", cmd.FullName(), field, text)
				}
			}
			for field := range differentDocs[cmd.FullName()] {
				if fieldOf(ours.Elems[1], field).String() == fieldOf(redis.Elems[1], field).String() {
					t.Errorf("%s: %s is listed as different and is the same", cmd.FullName(), field)
				}
			}
			dropFields(&ours.Elems[1], cmd)
			dropFields(&redis.Elems[1], cmd)
			p.same("COMMAND DOCS "+cmd.FullName(), ours, redis)
		}
		p.same(p.do2("COMMAND", "DOCS", "nosuch", "client|nosuch", "get|x", ""))
	})
}

// fieldOf is the value of a field of a map, or nothing.
func fieldOf(m redistest.Reply, field string) redistest.Reply {
	for i := 0; i+1 < len(m.Elems); i += 2 {
		if m.Elems[i].Text == field {
			return m.Elems[i+1]
		}
	}
	return redistest.Reply{}
}

// dropFields removes from a map what differs on purpose.
func dropFields(m *redistest.Reply, cmd *commands.Command) {
	var kept []redistest.Reply
	for i := 0; i+1 < len(m.Elems); i += 2 {
		field := m.Elems[i].Text
		if differentDocs["*"][field] == "" && differentDocs[cmd.FullName()][field] == "" {
			kept = append(kept, m.Elems[i], m.Elems[i+1])
		}
	}
	m.Elems = kept
}

func TestCommandListIsThatOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		lists := [][]string{{"COMMAND", "LIST"}}
		categories, err := p.redis.Do("ACL", "CAT")
		if err != nil || len(categories.Elems) == 0 {
			t.Fatalf("ACL CAT: %v, %v", categories, err)
		}
		for _, e := range append(categories.Elems, redistest.Reply{Text: "all"}, redistest.Reply{Text: "Read"}, redistest.Reply{Text: "@read"},
			redistest.Reply{Text: "nosuch"}, redistest.Reply{}) {
			lists = append(lists, []string{"COMMAND", "LIST", "FILTERBY", "ACLCAT", e.Text})
		}
		for _, pattern := range []string{"*", "", "get", "GET", "[a-m]*", "c*|*", "*|help", "*\\|get*", "conf?g|[^h]*", "x*"} {
			lists = append(lists, []string{"command", "list", "filterby", "pattern", pattern})
		}
		for _, module := range []string{"", "x", "*"} {
			lists = append(lists, []string{"Command", "List", "FilterBy", "Module", module})
		}
		for _, list := range lists {
			ours, redis := p.do(list...)
			if a, b := p.sharedNames(ours), p.sharedNames(redis); !slices.Equal(a, b) {
				t.Errorf("%q: only ours has %q, only Redis %q", list, onlyIn(a, b), onlyIn(b, a))
			}
		}
		for _, bad := range []string{"FILTERBY", "FILTERBY NAME x", "FILTERBY PATTERN a b", "x", "PATTERN a", "FILTERBY ACLCAT read MODULE x"} {
			p.same(p.do2(append([]string{"COMMAND", "LIST"}, strings.Fields(bad)...)...))
		}
	})
}

// TestGetKeysIsThatOfRedis asks both servers for the keys in random arguments, valid or not, of every command they share.
func TestGetKeysIsThatOfRedis(t *testing.T) {
	words := []string{
		"a", "b", "", "k\x00", "{t}1", "0", "1", "-1", "10", "x", "NX", "XX", "GET", "get", "EX", "PX", "EXAT", "KEEPTTL", "PERSIST", "DB",
		"REPLACE", "MATCH", "COUNT", "TYPE", "SAMPLES", "SET", "encoding", "USAGE", "*",
	}
	const listsEach = 40
	seed := rand.Uint64()
	bothProtocols(t, func(t *testing.T, p *pair) {
		r := rand.New(rand.NewPCG(seed, 0))
		for _, cmd := range p.shared() {
			for range listsEach {
				args := append([]string{"COMMAND", []string{"GETKEYS", "GETKEYSANDFLAGS"}[r.IntN(2)]}, strings.Split(cmd.FullName(), "|")...)
				for range max(0, max(cmd.Arity, -cmd.Arity)-len(args)+2+r.IntN(6)-2) {
					args = append(args, words[r.IntN(len(words))])
				}
				if len(cmd.Sub) != 0 && len(args) > 3 && cmd.Subcommand([]byte(args[3])) == nil {
					args[3] = "nosuch" // not a subcommand that only Redis has
				}
				if what, ours, redis := p.do2(args...); !p.same(what, ours, redis) {
					t.Fatalf("seed %d: %q", seed, args)
				}
			}
		}
		for _, line := range []string{
			"GETKEYS", "GETKEYS nosuch a b", "GETKEYS GET a b c", "getkeysandflags GET", "getkeysandflags SET a b GET", "GETKEYS MSET a",
			"GETKEYS MSET a b c", "GETKEYS DEL", "GETKEYS OBJECT", "GETKEYS OBJECT nosuch", "GETKEYS object|encoding a b", "GETKEYS COMMAND GETKEYS GET a",
		} {
			p.same(p.do2(append([]string{"COMMAND"}, strings.Fields(line)...)...))
		}
	})
}
