package commands

import "testing"

// TestLevelOf: a call needs the level of its command, and ONCE that of the command inside.
func TestLevelOf(t *testing.T) {
	args := func(words ...string) (list [][]byte) {
		for _, w := range words {
			list = append(list, []byte(w))
		}
		return list
	}
	newer := &Command{Name: "newer", LogID: 60000, Own: true, Arity: 2, Flags: FlagWrite, Keys: keyAt(1, KeyRW|KeyUpdate), Level: 3, Group: "string",
		Summary: "x", Syntax: "key", Write: runIncr}
	table := NewTable(newer)
	for _, c := range []struct {
		args  [][]byte
		level uint16
	}{
		{args("newer", "k"), 3}, {args("incr", "k"), 0}, {args("ONCE", "p", "1", "1", "newer", "k"), 3}, {args("ONCE", "p", "1", "1", "incr", "k"), 0}, {args("ONCE", "p", "1", "1"), 0},
	} {
		cmd, refusal := table.Resolve(c.args)
		if cmd == nil {
			t.Fatal(refusal)
		}
		if got, _ := table.LevelOf(cmd, c.args); got != c.level {
			t.Errorf("%q needs level %d, want %d", c.args, got, c.level)
		}
	}
}
