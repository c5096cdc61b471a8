package exec

import (
	"strings"
	"testing"

	"quipu/commands"
)

// TestGuardOfReads has a transaction that only reads watch a key that an operation before it in its own sub-batch changes.
func TestGuardOfReads(t *testing.T) {
	table := commands.NewTable()
	for _, c := range []struct {
		before []string
		aborts bool
	}{
		{[]string{"SET k 1"}, true}, {[]string{"INCR j", "INCR k"}, true}, {[]string{"SET j 1"}, false},
	} {
		node := newNodeRig(t, table)
		s := NewSubBatch(table)
		s.Begin(nil, 0)
		for _, line := range c.before {
			add(t, s, lines(line)[0])
		}
		s.BeginTxn(1, 0, &watching{key: "k"}, plain)
		add(t, s, lines("GET j")[0])
		s.EndTxn()
		add(t, s, lines("INCR after")[0])
		s.End()
		b, payload := node.sealEntry(s)
		if err := b.Execute(node.r, payload, startOfLogTime); err != nil {
			t.Fatal(err)
		}
		replies := string(s.Replies(&s.Submissions()[0]))
		if aborted := strings.Contains(replies, "*-1\r\n"); aborted != c.aborts {
			t.Errorf("behind %q: %q", c.before, replies)
		}
		node.close()
	}
}
