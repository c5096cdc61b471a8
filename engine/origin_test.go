package engine

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
)

func nodeOrigin(name string, epoch, from uint64) Origin {
	return Origin{Kind: OriginNode, Name: []byte(name), Epoch: number(epoch), From: number(from), To: number(from + 1)}
}

func source(name, epoch, from, to string) Origin {
	return Origin{Kind: OriginSource, Name: []byte(name), Epoch: []byte(epoch), From: []byte(from), To: []byte(to)}
}

// TestAdvance goes through all that can become of a conditional operation.
func TestAdvance(t *testing.T) {
	ks := newNode(t, "me", 7)
	for i, c := range []struct {
		origin Origin
		want   Verdict
	}{
		{nodeOrigin("a", 1, 1), Stale}, // a gap
		{nodeOrigin("a", 1, 0), Accepted},
		{nodeOrigin("a", 1, 0), Stale},
		{nodeOrigin("a", 1, 2), Stale}, // a gap
		{nodeOrigin("a", 1, 1), Accepted},
		{nodeOrigin("b", 1, 0), Accepted},
		{nodeOrigin("a", 2, 2), Stale}, // a gap
		{nodeOrigin("a", 2, 0), Accepted},
		{nodeOrigin("a", 1, 2), Stale}, // a late copy from before a restart
		{nodeOrigin("a", 1, 0), Stale}, // another, that began anew
		{nodeOrigin("a", 2, 1), Accepted},
		{nodeOrigin("b", 1, 1), Accepted},
		{nodeOrigin("b", 10, 0), Accepted}, // as numbers, not as text
		{nodeOrigin("b", 9, 0), Stale},
		{source("a", "x", "1", "2"), Stale},
		{source("a", "x", "", "2"), Accepted},
		{source("a", "x", "", "2"), Stale},
		{source("a", "y", "", "2"), Stale}, // another incarnation: only its operator can say
		{source("a", "y", "2", "3"), Stale},
		{source("a", "x", "2", "1"), Accepted}, // positions have no order
		{source("a", "x", "1", ""), Accepted},
		{source("a", "x", "", "9"), Accepted},
	} {
		if got := ks.Txn(0, 1, false).Advance(&c.origin, 0); got != c.want {
			t.Errorf("%d: %q from %x: %v, want %v", i, c.origin.Name, c.origin.From, got, c.want)
		}
	}
	if st := ks.Ahead(); st.Gaps != 4 || st.Stale != 7 {
		t.Errorf("%+v", st)
	}
	for db := range ks.Databases() {
		if n := ks.View(db, 1, false).Len(); n != 0 {
			t.Errorf("database %d shows %d positions", db, n)
		}
	}
	ks.Txn(0, 1, false).FlushAll()
	other := loaded(t, saved(t, ks), 3)
	if a, b := ks.Checksum(1), other.Checksum(1); a != b {
		t.Errorf("checksum %x, loaded %x", a, b)
	}
	x := nodeOrigin("b", 10, 1)
	if got := other.Txn(0, 1, false).Advance(&x, 0); got != Accepted {
		t.Errorf("after FLUSHALL and loading: %v", got)
	}
	if ks.Checksum(1) == other.Checksum(1) {
		t.Error("the checksum does not see positions")
	}
	y := source("a", "x", "", "")
	if p, ok := other.Txn(0, 1, false).Position(&y); !ok || string(p.Epoch) != "x" || string(p.At) != "9" {
		t.Errorf("%q, %v", p, ok)
	}
	if err := ks.SetSelf(string(make([]byte, MaxOriginName+1)), 1); err == nil {
		t.Error("a name that is too long")
	}
}

func TestOriginValid(t *testing.T) {
	long := string(make([]byte, 256))
	for _, bad := range []Origin{
		{}, source("", "", "", ""), source(long, "", "", ""), source("a", long, "", ""), source("a", "", long, ""), source("a", "", "", long),
		{Kind: OriginNode, Name: []byte("a"), Epoch: []byte("short")}, {Kind: 'x', Name: []byte("a")},
	} {
		if bad.Valid() {
			t.Errorf("%+v", bad)
		}
	}
	for _, good := range []Origin{source("a", "", "", ""), nodeOrigin("a", 1, 0), source(long[1:], long[1:], long[1:], long[1:])} {
		if !good.Valid() {
			t.Errorf("%+v", good)
		}
	}
}

// TestManySources fills the table of sources up to its limit. Expired ones make room, on nodes that have reclaimed them
// and on those that have not.
func TestManySources(t *testing.T) {
	reclaimed, not := newNode(t, "a", 1), newNode(t, "b", 1)
	nodes := []*Keyspace{reclaimed, not}
	for _, ks := range nodes {
		for i := range MaxSources {
			o := source(fmt.Sprint("source", i), "", "", "1")
			deadline := int64(0)
			if i%10 == 0 {
				deadline = 50
			}
			if got := ks.Txn(0, 1, false).Advance(&o, deadline); got != Accepted {
				t.Fatal(i, got)
			}
		}
		more := source("one more", "", "", "1")
		if got := ks.Txn(0, 1, false).Advance(&more, 0); got != Full {
			t.Errorf("beyond the limit: %v", got)
		}
		if o := nodeOrigin("node", 1, 0); ks.Txn(0, 1, false).Advance(&o, 0) != Accepted {
			t.Error("a node was refused")
		}
	}
	for part := range Parts {
		for more := true; more; {
			_, _, more = reclaimed.Reclaim(part, 50, 1000)
		}
	}
	for i := range MaxSources/10 + 1 {
		want := Accepted
		if i == MaxSources/10 {
			want = Full
		}
		for _, ks := range nodes {
			o := source(fmt.Sprint("later", i), "", "", "1")
			if got := ks.Txn(0, 60, false).Advance(&o, 0); got != want {
				t.Fatalf("%d: %v, want %v", i, got, want)
			}
		}
	}
	if a, b := reclaimed.Checksum(60), not.Checksum(60); a != b {
		t.Errorf("nodes differ: %x, %x", a, b)
	}
	if n := loaded(t, saved(t, not), 3).sources.Load(); n != MaxSources {
		t.Errorf("%d sources after loading", n)
	}
}

func TestEachCounted(t *testing.T) {
	part := byte(Part([]byte("k")))
	good := []byte{part, 1, 1, 1, 'k', 5, 0}
	if err := EachCounted(good, 3, func(db int, key []byte) {
		if db != 1 || string(key) != "k" {
			t.Errorf("%d %q", db, key)
		}
	}); err != nil {
		t.Error(err)
	}
	for i := 1; i < len(good); i++ {
		if EachCounted(good[:i], 3, nil) == nil {
			t.Errorf("accepted after %d bytes", i)
		}
	}
	for _, bad := range [][]byte{
		{part, 1, 3, 1, 'k', 5, 0},                         // there is no such database
		{part, 1, 1, 2, 'k', 5, 0},                         // key beyond the end
		{part, 1, 1, 1, 'x', 5, 0},                         // another part
		{part, 1, 1, 0xff, 0xff, 0xff, 0xff, 1, 'k', 5, 0}, // key too long
		{part, 0},                   // a part without items
		append(good[:7:7], good...), // a part twice
		{part, 2, 1, 1, 'k', 5, 0},  // fewer items than announced
		append(good[:7:7], 1),       // something behind
	} {
		if EachCounted(bad, 3, nil) == nil {
			t.Errorf("%v accepted", bad)
		}
	}
}

// TestLoadReconciles loads a snapshot that holds what this node has sealed, and one that does not.
func TestLoadReconciles(t *testing.T) {
	for _, holds := range []bool{true, false} {
		node, other := newNode(t, "n", 7), newNode(t, "other", 1)
		answer(t, node, 0, "a", 1, 1)
		s, _ := seal(node)
		answer(t, node, 0, "b", 2, 1)
		if holds {
			deliver(t, other, s, 1)
		}
		image := saved(t, other)
		if err := node.Load(bytes.NewReader(image), int64(len(image)), 2); err != nil {
			t.Fatal(err)
		}
		if err := node.Check(); err != nil {
			t.Fatal(err)
		}
		if v, ok := getAt(node, 0, "a", 1, true); !ok || v.Int != 1 {
			t.Errorf("holds %v: a is %+v, %v", holds, v, ok)
		}
		for node.HasAhead() {
			s, _ := seal(node)
			if got := deliver(t, node, s, 1); got != Accepted {
				t.Fatalf("holds %v: %v", holds, got)
			}
		}
		a, _ := getAt(node, 0, "a", 1, false)
		if b, _ := getAt(node, 0, "b", 1, false); a.Int != 1 || b.Int != 2 {
			t.Errorf("holds %v: a %d, b %d", holds, a.Int, b.Int)
		}
	}
}

// TestAheadConcurrently counts from several goroutines, takes it into the log from one and has
// another rewrite the arenas: each reply comes once, and no count is lost.
func TestAheadConcurrently(t *testing.T) {
	ks := newNode(t, "n", 7)
	const writers, rounds, keys = 3, 4000, 40
	seen := make([][]int64, writers)
	var wg, background sync.WaitGroup
	stop := make(chan struct{})
	background.Go(func() {
		for {
			if s, ok := seal(ks); ok {
				deliver(t, ks, s, 1)
			}
			select {
			case <-stop:
				if !ks.HasAhead() {
					return
				}
			default:
			}
		}
	})
	background.Go(func() { rewriteArenas(ks, stop) })
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				incs := []Increment{{Key: []byte("hot"), Delta: 1}, {Key: fmt.Append(nil, "k", i%keys), Delta: 2}}
				for done := 0; done < len(incs); {
					done += ks.AnswerAhead(incs[done:], 1)
				}
				seen[w] = append(seen[w], incs[0].Sum)
			}
		})
	}
	wg.Wait()
	close(stop)
	background.Wait()
	once := map[int64]bool{}
	for _, list := range seen {
		last := int64(0)
		for _, n := range list {
			if once[n] || n <= last {
				t.Fatalf("reply %d came twice, or after %d", n, last)
			}
			once[n], last = true, n
		}
	}
	if v, _ := getAt(ks, 0, "hot", 1, false); v.Int != writers*rounds {
		t.Errorf("hot is %d, want %d", v.Int, writers*rounds)
	}
	for i := range keys {
		if v, _ := getAt(ks, 0, fmt.Sprint("k", i), 1, false); v.Int != 2*writers*rounds/keys {
			t.Errorf("k%d is %d", i, v.Int)
		}
	}
}

// rewriteArenas makes and deletes records of all sizes until it is stopped.
func rewriteArenas(ks *Keyspace, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
			write(ks, 0, fmt.Sprint("other", i%3000), 1, func(t Txn, k []byte) {
				if i%2 == 0 {
					t.SetBytes(k, make([]byte, i%200), KindString, 0)
				} else {
					t.Delete(k)
				}
			})
		}
	}
}

// TestPartGathersMany fills one part's table up to its limit: the index is fullest there.
func TestPartGathersMany(t *testing.T) {
	ks := newNode(t, "n", 7)
	keys := 0
	for i := 0; ; i++ {
		incs := []Increment{{Key: fmt.Appendf(nil, "{k}%d", i), Delta: 1}}
		if ks.AnswerAhead(incs, 1) == 0 {
			break
		}
		keys++
	}
	if keys < 20_000 || keys >= indexMax {
		t.Errorf("%d keys", keys)
	}
	if n, err := answer(t, ks, 0, "{k}7", 1, 1); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := ks.Check(); err != nil {
		t.Fatal(err)
	}
	d, _ := seal(ks)
	if len(d.body) > aheadPartMax+1<<10 {
		t.Errorf("%d bytes", len(d.body))
	}
	if got := deliver(t, ks, d, 1); got != Accepted || ks.View(0, 1, false).Len() != int64(keys) {
		t.Errorf("%v, %d keys", got, ks.View(0, 1, false).Len())
	}
}
