package exec

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"quipu/commands"
)

// watchList is Watches that remembers what it was asked.
type watchList map[Watch]string

func (l watchList) Watch(w Watch, db int, keys [][]byte, now int64) string {
	l[w] += fmt.Sprintf("%d%q@%d", db, keys, now-startOfLogTime)
	if len(keys) > 2 {
		return "TRYAGAIN too many"
	}
	return ""
}

func (l watchList) Guard(w Watch) Guard { return &watching{key: "k", name: w} }

// gatherWatch adds a WATCH, and a transaction that depends on it.
func gatherWatch(tb testing.TB, b *SubBatch, name Watch) *watching {
	g := &watching{key: "k", name: name}
	b.Begin(nil, 0)
	add(tb, b, lines("INCR k")[0])
	b.Watch(name, [][]byte{[]byte("k"), []byte("j")}, As{DB: 2, RESP: 2})
	add(tb, b, lines("INCR k")[0])
	b.Watch(name, [][]byte{nil, nil, nil}, As{RESP: 2})
	b.End()
	b.Begin(nil, 1)
	b.BeginTxn(2, 0, g, As{RESP: 3})
	add(tb, b, lines("INCR n")[0])
	add(tb, b, lines("GET k")[0])
	b.EndTxn()
	b.End()
	return g
}

// TestWatchForwarded has WATCH and a transaction that depends on it be carried out by the node that leads.
func TestWatchForwarded(t *testing.T) {
	table := commands.NewTable()
	for _, touched := range []bool{true, false} {
		node := newNodeRig(t, table)
		b, a := NewSubBatch(table), NewSubBatch(table)
		g := gatherWatch(t, b, Watch{5, 3})
		watches := watchList{}
		a.UseWatches(watches)
		if err := a.Absorb(b.AppendForward(nil), "node", 3, func(*commands.Command, [][]byte) {}); err != nil {
			t.Fatal(err)
		}
		if a.ReadsOnly() {
			t.Error("a transaction with a guard needs no log")
		}
		if !touched {
			a.txns[0].guard.(*watching).key = "other"
		}
		batch, payload := node.sealEntry(a)
		if err := batch.Execute(node.r, payload, startOfLogTime); err != nil {
			t.Fatal(err)
		}
		if got, want := watches[Watch{5, 3}], `2["k" "j"]@00["" "" ""]@0`; got != want {
			t.Errorf("watched %s, want %s", got, want)
		}
		if rest, err := b.TakeReplies(a.AppendReplies(nil)); err != nil || len(rest) > 0 {
			t.Fatal(err)
		}
		want := []string{":1 +OK :2 -TRYAGAIN too many", "*2 :1 $1 2"}
		if touched {
			want[1] = "_"
		}
		for i := range b.subs {
			if got := show(b.Replies(&b.subs[i])); got != want[i] {
				t.Errorf("replies %s, want %s", got, want[i])
			}
		}
		if !slices.Equal(g.decided, []bool{!touched}) {
			t.Errorf("the guard was told %v", g.decided)
		}
		node.close()
	}
	// A guard of this node alone.
	b := NewSubBatch(table)
	g := gatherWatch(t, b, Watch{})
	if records := b.AppendForward(nil); !slices.Equal(g.decided, []bool{false}) || !bytes.Contains(records, []byte("_\r\n")) {
		t.Errorf("forwarded as %q, the guard was told %v", records, g.decided)
	}
}
