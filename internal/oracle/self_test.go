package oracle

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
	"quipu/server"
)

// TestEveryCommandIsCalled: each command that Quipu lists has a generator, or a reason why not.
func TestEveryCommandIsCalled(t *testing.T) {
	called := map[string]bool{}
	for _, s := range slices.Concat(commandShapes, rareShapes) {
		if called[s.name] {
			t.Errorf("%s is there twice", s.name)
		}
		called[s.name] = true
	}
	table := server.Commands()
	for _, cmd := range table.All() {
		name := cmd.FullName()
		switch {
		case cmd.Own && called[name]:
			t.Errorf("the oracle calls %s, which Redis does not have by its entry (Own)", name)
		case !cmd.Own && !cmd.IsContainer() && !called[name] && excluded[name] == "":
			t.Errorf("the oracle never calls %s", name)
		}
		if slices.Contains(foreignNames, name) || slices.Contains(foreignSubcommands, name) {
			t.Errorf("%s is supported, and no longer foreign", name)
		}
	}
	for name := range called {
		if table.LookupFull([]byte(name)) == nil {
			t.Errorf("the oracle calls %s, which does not exist", name)
		}
	}
	for name := range excluded {
		if cmd := table.LookupFull([]byte(name)); cmd == nil || cmd.Own {
			t.Errorf("%s is excluded, and not of both servers", name)
		}
	}
}

// TestRulesAreDocumented: what the rules let pass stands in docs/compatibility.md.
func TestRulesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "## Different on purpose")
	table, _, ok2 := strings.Cut(table, "\n## ")
	if !ok || !ok2 {
		t.Fatal("docs/compatibility.md has no section Different on purpose")
	}
	topics := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(table, -1) {
		topics[m[1]] = true
	}
	delete(topics, "Topic")
	unseen := map[string]bool{}
	for topic := range topics {
		unseen[topic] = true
	}
	for _, r := range *newRules() {
		if !topics[r.topic] && !strings.HasPrefix(r.topic, "own: ") {
			t.Errorf("rule %q: there is no row %q", r.name, r.topic)
		}
		delete(unseen, r.topic)
	}
	for topic, why := range outOfReach {
		if !topics[topic] {
			t.Errorf("there is no row %q (%s)", topic, why)
		}
		delete(unseen, topic)
	}
	for topic := range unseen {
		t.Errorf("the row %q is neither checked by a rule nor known to be out of the oracle's reach", topic)
	}
}

// TestFindsAndShrinks: a wrong reply is found, and what is left of the sequence is what it takes.
func TestFindsAndShrinks(t *testing.T) {
	lib := shim(t)
	for _, test := range []struct {
		name     string
		twist    func(args []string, reply string) string
		commands int // most that may be left
	}{
		{"one reply", func(args []string, reply string) string {
			if word(args, 0) == "strlen" && reply == ":2\r\n" {
				return ":3\r\n"
			}
			return reply
		}, 3}, // two increments may be needed for two digits
		{"after a transaction", func(args []string, reply string) string {
			if word(args, 0) == "exec" && strings.HasPrefix(reply, "*2\r\n:1\r\n") {
				return strings.Replace(reply, ":1", ":0", 1)
			}
			return reply
		}, 6},
		{"another error", func(args []string, reply string) string {
			return strings.Replace(reply, "-ERR offset is out of range", "-ERR offset is out of", 1)
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &player{pair: startPair(t, lib, setup{transport: "auto"}), rules: newRules(), twist: test.twist}
			defer p.end()
			for n := uint64(1); ; n++ {
				seq := newGenerator(1, n, false).sequence()
				same, err := p.play(seq)
				if err != nil || n > 3000 {
					t.Fatalf("%d sequences, %v", n, err)
				}
				if same {
					continue
				}
				small, err := shrink(p, seq, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if same, err = p.play(small); same || err != nil {
					t.Fatalf("what was shrunk does not fail: %v", err)
				}
				text := printLog(p.log)
				if left := small.commands(); left > test.commands || !strings.Contains(text, "\nq   ") {
					t.Errorf("%d of %d commands are left:\n%s", left, seq.commands(), text)
				}
				return
			}
		})
	}
}

// TestMissesNoMessage: a key that one server tells a connection of, and the other does not, is found.
func TestMissesNoMessage(t *testing.T) {
	p := &player{pair: startPair(t, shim(t), setup{transport: "auto"}), rules: newRules()}
	defer p.end()
	send := func(conn int, commands ...string) (list []step) {
		for _, c := range commands {
			list = append(list, step{conn: conn, items: []item{{args: strings.Fields(c)}}})
		}
		return list
	}
	seq := slices.Concat(send(0, "HELLO 3", "CLIENT TRACKING ON", "GET a", "GET b"), send(1, "INCR a"), send(0, "DBSIZE"))
	for side, other := range []int{quipu, redis} {
		if err := p.begin(); err != nil {
			t.Fatal(err)
		}
		for i := range seq {
			if same, err := p.step(i, &seq[i]); !same || err != nil {
				t.Fatalf("step %d: %t, %v", i, same, err)
			}
		}
		c := p.clients[0]
		if !p.sameMessages(len(seq)) || !c.told[redis]["a"] || len(c.told[quipu]) != 1 {
			t.Fatalf("told %v, both should be told of a", c.told)
		}
		if delete(c.told[side], "a"); p.equalTold(0, c) {
			t.Errorf("only %s has told of a, and nothing is said of it", sideNames[other])
		}
		p.hangUp()
	}
}

// TestMessagesInOrder: what is chance in Redis is the same in any order, and nothing else is.
func TestMessagesInOrder(t *testing.T) {
	message := func(elems ...string) string { return string(redistest.AppendCommand(nil, elems...)) }
	ended := func(name, left string) string {
		return "*3\r\n$11\r\nunsubscribe\r\n$1\r\n" + name + "\r\n:" + left + "\r\n"
	}
	for _, test := range []struct {
		a, b []string
		same bool
	}{
		{[]string{message("pmessage", "*", "c", "1"), message("pmessage", "c*", "c", "1")}, []string{message("pmessage", "c*", "c", "1"), message("pmessage", "*", "c", "1")}, true},
		{[]string{message("pmessage", "*", "c", "1"), message("pmessage", "*", "c", "2")}, []string{message("pmessage", "*", "c", "2"), message("pmessage", "*", "c", "1")}, false},
		{[]string{message("message", "a", "1"), message("message", "b", "1")}, []string{message("message", "b", "1"), message("message", "a", "1")}, false},
		{[]string{ended("a", "1"), ended("b", "0")}, []string{ended("b", "1"), ended("a", "0")}, true},
		{[]string{ended("a", "1"), ended("b", "0")}, []string{ended("a", "0"), ended("b", "1")}, false},
	} {
		if same := slices.Equal(inOrder(test.a), inOrder(test.b)); same != test.same {
			t.Errorf("%q and %q are the same: %t", test.a, test.b, same)
		}
	}
}

// TestSameSeedSameSequence: what a failure prints can be played again.
func TestSameSeedSameSequence(t *testing.T) {
	for n := range uint64(500) {
		password := n%2 == 0
		a, b := newGenerator(7, n, password).sequence(), newGenerator(7, n, password).sequence()
		if len(a) != len(b) || !slices.EqualFunc(a, b, sameStep) {
			t.Fatalf("sequence %d is another one each time", n)
		}
		if !a.legal() {
			t.Errorf("sequence %d cannot be played", n)
		}
	}
}

func sameStep(a, b step) bool {
	return a.kind == b.kind && a.conn == b.conn && a.cuts == b.cuts && a.by == b.by && slices.EqualFunc(a.items, b.items, func(a, b item) bool {
		return a.form == b.form && slices.Equal(a.args, b.args)
	})
}
