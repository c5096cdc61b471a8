package exec

import (
	"strings"
	"testing"

	"quipu/commands"
)

// TestRunnerLetsGo checks that a runner keeps scratch memory for the next entry, but neither much of it nor the entry.
func TestRunnerLetsGo(t *testing.T) {
	table := commands.NewTable()
	g := newRig(t, table)
	defer g.close()
	run := func(list ...string) {
		t.Helper()
		b := NewSubBatch(table)
		gather(t, b, lines(list...)...)
		if err := g.r.Replay(b.ops, startOfLogTime); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][][]byte{g.r.args, g.r.ahead.d.args} {
			for _, arg := range args[:cap(args)] {
				if arg != nil {
					t.Fatal("an argument is held")
				}
			}
		}
		if g.r.call.Args != nil || g.r.call.W != nil {
			t.Fatal("the last command is held")
		}
	}
	small := []string{"SET k v", "GETSET k w"}
	run(small...)
	if cap(g.r.args) == 0 || cap(g.r.unread.B) == 0 {
		t.Error("no scratch memory is kept")
	}
	run("MSET"+strings.Repeat(" k v", 2000), "SET k "+strings.Repeat("v", 2*keptScratch), "GETSET k w")
	if cap(g.r.args) != 0 || cap(g.r.unread.B) != 0 {
		t.Errorf("scratch memory for %d arguments, %d bytes of replies is kept", cap(g.r.args), cap(g.r.unread.B))
	}
	run(small...)
}
