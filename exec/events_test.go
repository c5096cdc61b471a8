package exec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/engine"
)

// TestEventsOfEntries: increments that are combined, and those answered ahead, are told with their entry.
func TestEventsOfEntries(t *testing.T) {
	s := newNodeRig(t, commands.NewTable())
	defer s.close()
	var told []string
	s.ks.Observe(func(c *engine.Change) {
		told = append(told, fmt.Sprintf("%s %s %d>%d entry %d at %d", c.Event, c.Key, c.Old.N, c.New.N, c.Index, c.Stamp))
	}, nil)
	b := NewSubBatch(s.table)
	b.Begin(nil, 0)
	r := s.r
	for _, line := range []string{"INCR a", "INCR a", "INCRBY b 5", "SET c 1 EX 5", "PERSIST c"} {
		args := words(t, line)
		b.Write(s.table.Find(args), args, As{RESP: 2})
	}
	r.BeginEntry(41)
	if err := r.Replay(b.ops, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	b.End()
	r.BeginEntry(42)
	if err := r.Replay(b.ops, startOfLogTime+1); err != nil {
		t.Fatal(err)
	}
	s.answer("a", "new")
	_, counted := s.sealEntry()
	r.BeginEntry(43)
	if err := r.Replay(counted, startOfLogTime+2); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"incrby a 0>2 entry 41 at 0", "incrby b 0>5 entry 41 at 0", "set c 0>1 entry 41 at 0", "expire c 1>1 entry 41 at 0", "persist c 1>1 entry 41 at 0",
		"incrby a 2>4 entry 42 at 1", "incrby b 5>10 entry 42 at 1", "set c 1>1 entry 42 at 1", "expire c 1>1 entry 42 at 1", "persist c 1>1 entry 42 at 1",
		"incrby a 4>5 entry 43 at 2", "incrby new 0>1 entry 43 at 2",
	}
	for i := range want {
		stamp := startOfLogTime + int64(i/5)
		want[i] = want[i][:strings.LastIndexByte(want[i], ' ')+1] + strconv.FormatInt(stamp, 10)
	}
	slices.Sort(told[10:]) // the order is that of parts
	if strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("told\n%q, want\n%q", told, want)
	}
}

// TestWhoseChanges: an observer is told which client has made a change, unless several have, or another node.
func TestWhoseChanges(t *testing.T) {
	s := newNodeRig(t, commands.NewTable())
	defer s.close()
	var told []string
	s.ks.Observe(func(c *engine.Change) {
		if c.Op != engine.OpCreated {
			told = append(told, fmt.Sprintf("%s %s by %v", c.Event, c.Key, c.By))
		}
	}, nil)
	b := NewSubBatch(s.table)
	add := func(client string, lines ...string) {
		b.Begin(client, 0)
		for _, line := range lines {
			if args := words(t, line); args[0][0] == '+' {
				b.Increment(nil, args[1], 1, As{RESP: 2})
			} else {
				b.Write(s.table.Find(args), args, As{RESP: 2})
			}
		}
		b.End()
	}
	add("A", "+ shared")
	add("B", "+ shared", "SET y 1", "RENAME y z", "+ b1", "+ b1", "SET x 2")
	add("C", "+ c", "+ c2", "SET x 3", "+ c3")
	add("D", "+ d")
	s.r.BeginEntry(1)
	var batch Batch
	batch.Add(b)
	payload := batch.Seal(nil, 0, startOfLogTime)
	if err := batch.Execute(s.r, payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"incrby shared by <nil>", "set y by B", "rename_from y by B", "rename_to z by B", "incrby b1 by B", "set x by B",
		"incrby c by C", "incrby c2 by C", "set x by C", "incrby c3 by <nil>", "incrby d by <nil>",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told\n%q, want\n%q", told, want)
	}
	told = nil
	if err := s.r.Replay(payload, startOfLogTime); err != nil {
		t.Fatal(err)
	}
	for _, one := range told {
		if !strings.HasSuffix(one, " by <nil>") {
			t.Errorf("of another node's entry: %s", one)
		}
	}
}
