package exec

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// TestRowsOfIncrements has equal increments in a row, which are carried out as one, up to where they overflow.
func TestRowsOfIncrements(t *testing.T) {
	g := newNodeRig(t, commands.NewTable())
	defer g.close()
	const top = math.MaxInt64
	for _, c := range []struct {
		start, delta int64
		count, want  int
	}{
		{0, 1, 5, 5}, {10, -3, 200, 200}, {top - 3, 1, 5, 3}, {top - 3, 2, 5, 1}, {top, 1, 3, 0}, {-top, -1, 3, 1},
		{-top - 1, -1, 2, 0}, {top - 100, 1, 150, 100}, {5, 0, 3, 3}, {-top - 1, 1, 70, 70},
	} {
		g.ks.Txn(0, 1, false).SetInt([]byte("k"), c.start, 0)
		client := &burstClient{}
		want := &protocol.Writer{}
		gathered := 0
		for i := range c.count {
			gathered = client.gather(g.r, "k", c.delta)
			if i < c.want {
				want.Int(c.start + c.delta*int64(i+1))
			} else {
				want.Error(protocol.ErrOverflow)
			}
		}
		g.r.Answer(1)
		if !bytes.Equal(client.w.B, want.B) || len(client.rest) > 0 || gathered != (c.count+engine.IncrementMax-1)/engine.IncrementMax {
			t.Errorf("%+v: %d in %d rows, got %.300q", c, c.count, gathered, client.w.B)
		}
		if st := g.ks.Ahead(); st.Increments != int64(c.want) {
			t.Errorf("%+v: %d ahead", c, st.Increments)
		}
		b, payload := g.sealEntry()
		if err := b.Execute(g.r, payload, startOfLogTime); err != nil || g.ks.HasAhead() {
			t.Fatal(err)
		}
		v, _ := g.ks.View(0, 1, false).Get([]byte("k"))
		if v.Int != c.start+c.delta*int64(c.want) {
			t.Errorf("%+v: %d", c, v.Int)
		}
	}
	client := &burstClient{}
	for range 3 {
		client.gather(g.r, "k", 1<<55)
	}
	g.r.Answer(1)
	if len(client.rest) != 3 || client.ends != 1 {
		t.Errorf("%d of a row that is too much were left to the log, %d ends", len(client.rest), client.ends)
	}
}

// TestAnswerLeavesTheRest has an increment that must go through the log in the middle of a burst of two clients.
func TestAnswerLeavesTheRest(t *testing.T) {
	g := newNodeRig(t, commands.NewTable())
	defer g.close()
	one, two := &burstClient{}, &burstClient{}
	g.ks.Txn(0, 1, false).Set([]byte("text"), []byte("x"), 0)
	one.gather(g.r, "a", 1)
	two.gather(g.r, "text", 1)
	one.gather(g.r, "b", 1<<62)
	two.gather(g.r, "a", 5)
	one.gather(g.r, "c", 1)
	one.gather(g.r, "c", 1)
	g.r.Answer(1)
	if string(one.w.B) != ":1\r\n" || string(two.w.B) != "-"+protocol.ErrNotInteger+"\r\n" || g.r.Gathered() != 0 {
		t.Errorf("%q, %q", one.w.B, two.w.B)
	}
	if got := fmt.Sprint(one.rest, two.rest); got != "[b 4611686018427387904 false c 1 false c 1 false] [a 5 false]" || one.ends != 2 || two.ends != 1 {
		t.Errorf("left to the log: %s, ends %d and %d", got, one.ends, two.ends)
	}
}

// TestSilent has increments without replies added up, and those that cannot be answered ahead left to the log.
func TestSilent(t *testing.T) {
	g := newNodeRig(t, commands.NewTable())
	defer g.close()
	one, two := &burstClient{}, &burstClient{db: 1}
	g.ks.Txn(0, 1, false).Set([]byte("text"), []byte("x"), 0)
	for i := range 1000 {
		for _, c := range []*burstClient{one, two} {
			if !c.gatherSilent(g.r, "hot", 1) || !c.gatherSilent(g.r, fmt.Sprint("key", i%10), int64(i%10)) {
				t.Fatal("full")
			}
		}
		one.gatherSilent(g.r, "text", 1)
	}
	g.r.Answer(1)
	if g.r.Gathered() != 0 || len(one.w.B)+len(two.w.B)+len(one.rest)+len(two.rest) > 0 {
		t.Errorf("%d gathered, replies %q and %q, left %q and %q", g.r.Gathered(), one.w.B, two.w.B, one.rest, two.rest)
	}
	one.gather(g.r, "hot", 1)
	two.gather(g.r, "hot", 1)
	one.gather(g.r, "key4", 0)
	g.r.Answer(1)
	if string(one.w.B) != ":1001\r\n:400\r\n" || string(two.w.B) != ":1001\r\n" {
		t.Errorf("%q, %q", one.w.B, two.w.B)
	}

	if !one.gatherSilent(g.r, "both", 1) || one.gatherSilent(g.r, "both", -1) || !two.gatherSilent(g.r, "both", -1) {
		t.Error("different amounts of a client, and only those, are to be carried out in order")
	}
	g.r.Answer(1)
	n := 0
	for one.gatherSilent(g.r, "row", 1) {
		n++
	}
	for i := range silentMax - 1 {
		if !one.gatherSilent(g.r, fmt.Sprint("more", i), 1) {
			t.Errorf("no room for key %d", i)
		}
	}
	if one.gatherSilent(g.r, "beyond", 1) || n != silentCount {
		t.Errorf("%d in a row, or too many keys", n)
	}
	g.r.Answer(1)
	if one.gatherSilent(g.r, "row", silentDelta) || one.gatherSilent(g.r, "row", -silentDelta) {
		t.Error("a large amount is added up")
	}
	g.ks.CloseAhead()
	one.gatherSilent(g.r, "late", 2)
	two.gatherSilent(g.r, "late", 3)
	one.gatherSilent(g.r, "late", 2)
	g.r.Answer(1)
	if got := fmt.Sprint(one.rest, two.rest); got != "[late 2 true late 2 true] [late 3 true]" || one.ends != 1 || two.ends != 1 {
		t.Errorf("left to the log: %s, ends %d and %d", got, one.ends, two.ends)
	}
}

// TestReadsTogether has reads of several clients and databases carried out together.
func TestReadsTogether(t *testing.T) {
	g := newNodeRig(t, commands.NewTable())
	defer g.close()
	g.ks.Txn(0, 1, false).Set([]byte("a"), []byte("x"), 500)
	g.ks.Txn(1, 1, false).SetInt([]byte("a"), 7, 0)
	g.ks.Txn(0, 1, false).SetInt([]byte("gone"), 7, 10)
	var one, two protocol.Writer
	g.answer("n", "n")
	ask := func(w *protocol.Writer, db int, sees Sees, name, key string) {
		cmd := g.table.Lookup([]byte(name))
		args := [][]byte{[]byte(name), []byte(key)}
		if !cmd.JoinsBurst(args) {
			t.Fatalf("%s is not gathered", name)
		}
		g.r.GatherRead(nil, cmd, args, db, sees, w)
	}
	ask(&one, 0, SeesApplied, "get", "a")
	ask(&two, 1, SeesApplied, "get", "a")
	ask(&one, 0, SeesApplied, "get", "gone")
	ask(&one, 0, SeesApplied, "get", "n")
	ask(&two, 0, SeesAhead, "get", "n")
	ask(&two, 0, SeesApplied, "pttl", "a")
	ask(&one, 2, SeesApplied, "strlen", "a")
	g.r.Answer(100)
	if string(one.B) != "$1\r\nx\r\n$-1\r\n$-1\r\n:0\r\n" || string(two.B) != "$1\r\n7\r\n$1\r\n2\r\n:400\r\n" || g.r.Gathered() != 0 {
		t.Errorf("%q, %q", one.B, two.B)
	}
	for _, args := range []string{"mget a", "exists a", "set a", "keys *", "get a b", "object help"} {
		words := bytes.Fields([]byte(args))
		if g.table.Lookup(words[0]).JoinsBurst(words) {
			t.Errorf("%s is gathered", args)
		}
	}
}
