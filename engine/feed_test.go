package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// feedReader is what a program builds from a feed: it knows nothing but rows, cursors and stamps.
type feedReader struct {
	t      *testing.T
	cursor FeedCursor
	stamp  int64
	share  int64
	known  map[string]FeedRow
}

func newFeedReader(t *testing.T) *feedReader {
	return &feedReader{t: t, known: map[string]FeedRow{}}
}

func (r *feedReader) page(count int) FeedPage {
	once := map[string]bool{}
	return FeedPage{Count: count, Share: r.share, Give: func(_ View, row FeedRow) {
		if row.Flush {
			for k, was := range r.known {
				if was.Index <= row.Index {
					r.known[k] = FeedRow{Index: row.Index}
				}
			}
			return
		}
		key := string(row.Key)
		if once[key] {
			r.t.Errorf("%q is twice on a page", key)
		}
		once[key] = true
		if was, ok := r.known[key]; ok && was.Index >= row.Index {
			if was.Index == row.Index && was.Value.Int != row.Value.Int {
				r.t.Errorf("%q is %d and %d at index %d", key, was.Value.Int, row.Value.Int, row.Index)
			}
			return
		}
		row.Key, row.Value.Bytes = nil, nil
		r.known[key] = row
	}}
}

// read reads one page, or everything again if there is a gap.
func (r *feedReader) read(f *Feed, count int) (gap bool) {
	next, stamp, err := f.Read(r.cursor, r.page(count))
	if errors.Is(err, ErrFeedGap) {
		r.sweep(f, count)
		return true
	}
	if next.Index < r.cursor.Index {
		r.t.Errorf("the cursor goes from %d to %d", r.cursor.Index, next.Index)
	}
	if r.cursor, r.stamp = next, max(r.stamp, stamp); (stamp == 0) != (next.Index == r.cursor.Index) && stamp < 0 {
		r.t.Errorf("stamp %d", stamp)
	}
	return false
}

func (r *feedReader) sweep(f *Feed, count int) {
	next, first, stamp := f.Sweep(0, r.page(count))
	for next != 0 {
		next, _, _ = f.Sweep(next, r.page(count))
	}
	for k, was := range r.known {
		if was.Index < first.Index {
			delete(r.known, k)
		}
	}
	r.cursor, r.stamp = first, max(r.stamp, stamp)
}

// value is what the reader holds a key for.
func (r *feedReader) value(key string) (n int64, ok bool) {
	row, ok := r.known[key]
	if !ok || !row.Found || row.Value.Deadline != 0 && row.Value.Deadline <= r.stamp {
		return 0, false
	}
	return row.Value.Int, true
}

// feedNode executes a log, and has a feed.
type feedNode struct {
	ks   *Keyspace
	feed *Feed
}

func newFeedNode(t testing.TB, limit int, base uint64) *feedNode {
	ks := New(Config{Databases: 2, Seed: 7})
	t.Cleanup(ks.Close)
	return &feedNode{ks, ks.OpenFeed(limit, base)}
}

type feedOp struct {
	kind, db int
	key      string
	n        int64
}

func (n *feedNode) apply(index uint64, stamp int64, ops []feedOp) {
	n.feed.Begin(index)
	for _, op := range ops {
		key := []byte(op.key)
		txn := n.ks.Txn(op.db, stamp, false)
		part := Part(key)
		if op.kind != 6 {
			n.ks.LockPart(part)
		}
		switch op.kind {
		case 0, 1, 2:
			txn.Add(key, op.n)
		case 3:
			txn.SetInt(key, op.n, 0)
		case 4:
			txn.Delete(key)
		case 5:
			txn.SetDeadline(key, stamp+op.n%50)
		case 6:
			txn.FlushDB()
		}
		if op.kind != 6 {
			n.ks.UnlockPart(part)
		}
	}
	n.feed.End(stamp, 0)
}

// TestFeedModel: readers with pages of any size, who go from one node to another whenever they like, and miss so much now and then that
// they have to begin anew, hold in the end what the nodes have, and never anything newer than their cursor allows.
func TestFeedModel(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			nodes := []*feedNode{newFeedNode(t, 1<<20, rng.Uint64()), newFeedNode(t, 1<<20, rng.Uint64())}
			readers := []*feedReader{newFeedReader(t), newFeedReader(t), newFeedReader(t)}
			readers[1].share = 100
			keys := []int{10, 1000, 100_000}[rng.IntN(3)]
			stamp, gaps := int64(1000), 0
			var log [][]feedOp
			at := []int{0, 0} // a node may lag
			stamps := []int64{}
			for range 300 {
				ops := randomFeedOps(rng, keys)
				if stamp += int64(rng.IntN(30)); rng.IntN(20) == 0 {
					stamp += feedPace // the node makes a mark of its own
				}
				log, stamps = append(log, ops), append(stamps, stamp)
				for i, n := range nodes {
					for at[i] < len(log) && rng.IntN(4) > 0 {
						n.apply(uint64(at[i]+1), stamps[at[i]], log[at[i]])
						at[i]++
					}
				}
				if r := readers[rng.IntN(3)]; rng.IntN(3) > 0 && r.read(nodes[rng.IntN(2)].feed, 1+rng.IntN(400)) {
					gaps++
				}
			}
			for i, n := range nodes {
				for ; at[i] < len(log); at[i]++ {
					n.apply(uint64(at[i]+1), stamps[at[i]], log[at[i]])
				}
			}
			for i, r := range readers {
				n := nodes[i%2]
				for r.cursor.Index < uint64(len(log)) {
					r.read(n.feed, 1+rng.IntN(1000))
				}
				r.compare(n, stamp, keys)
			}
			t.Log(gaps, "gaps,", readers[0].cursor)
		})
	}
}

func randomFeedOps(rng *rand.Rand, keys int) (ops []feedOp) {
	for range 1 + rng.IntN(400) {
		kind := rng.IntN(6)
		if rng.IntN(20_000) == 0 {
			kind = 6
		}
		ops = append(ops, feedOp{kind, rng.IntN(20) / 19, fmt.Sprintf("key:%09d", rng.IntN(keys)), rng.Int64N(100) - 20})
	}
	return ops
}

func (r *feedReader) compare(n *feedNode, stamp int64, keys int) {
	r.t.Helper()
	r.stamp = max(r.stamp, n.feed.Stats().Stamp)
	for i := range keys {
		key := fmt.Sprintf("key:%09d", i)
		part := Part([]byte(key))
		n.ks.LockPart(part)
		v, ok := n.ks.View(0, stamp, false).Get([]byte(key))
		n.ks.UnlockPart(part)
		if got, have := r.value(key); have != ok || got != v.Int {
			r.t.Fatalf("%s is %d, %v to the reader and %d, %v to the node", key, got, have, v.Int, ok)
		}
	}
}

// TestFeedCoalesces: a key that is incremented a million times takes one row; those that change while nobody reads take no more
// memory than the ring has.
func TestFeedCoalesces(t *testing.T) {
	n := newFeedNode(t, 1<<20, 5)
	for i := range uint64(1000) {
		ops := make([]feedOp, 1000)
		for j := range ops {
			ops[j] = feedOp{key: "hot", n: 1}
		}
		n.apply(i+1, 10, ops)
	}
	if s := n.feed.Stats(); s.Rows != 1 {
		t.Errorf("%d rows", s.Rows)
	}
	r := newFeedReader(t)
	r.read(n.feed, 10)
	if got, _ := r.value("hot"); got != 1_000_000 || r.cursor.Index != 1000 {
		t.Errorf("%d at %d", got, r.cursor.Index)
	}
	for i := range uint64(100) {
		ops := make([]feedOp, 1000)
		for j := range ops {
			ops[j] = feedOp{key: fmt.Sprint("key:", i, ":", j), n: 1}
		}
		n.apply(1001+i, 20, ops)
	}
	if s := n.feed.Stats(); s.Bytes > s.Limit || s.First <= 1000 {
		t.Errorf("%+v", s)
	}
	if _, _, err := n.feed.Read(FeedCursor{Index: 1000}, r.page(10)); !errors.Is(err, ErrFeedGap) {
		t.Errorf("a reader that was left behind: %v", err)
	}
}

// TestFeedShared: readers that share marks have each key that changes get one row for all of them, and miss nothing.
func TestFeedShared(t *testing.T) {
	n := newFeedNode(t, 1<<20, 5)
	readers := make([]*feedReader, 50)
	for i := range readers {
		readers[i] = newFeedReader(t)
		readers[i].share = 100
	}
	hot := []feedOp{{key: "hot", n: 1}}
	index := uint64(0)
	for range 2 {
		for _, r := range readers {
			index++
			n.apply(index, 10, hot)
			r.read(n.feed, 10)
		}
	}
	if s := n.feed.Stats(); s.Rows != 3 { // the first reader of each round makes a mark
		t.Errorf("%d rows", s.Rows)
	}
	index++
	n.apply(index, 110, hot)
	for _, r := range readers {
		for range 2 { // to the last mark, and then from there
			r.read(n.feed, 10)
		}
		if got, _ := r.value("hot"); got != int64(index) || r.cursor.Index != index {
			t.Fatalf("a reader has %d, at %d of %d", got, r.cursor.Index, index)
		}
	}
}

// TestFeedCoalescesInFullRing: where the oldest rows go to make room, keys whose rows stay have no new ones.
func TestFeedCoalescesInFullRing(t *testing.T) {
	n := newFeedNode(t, 2<<20, 5)
	at := uint64(0)
	apply := func(prefix string, keys int) {
		ops := make([]feedOp, keys)
		for j := range ops {
			ops[j] = feedOp{key: fmt.Sprint(prefix, ":", j), n: 1}
		}
		at++
		n.apply(at, 10, ops)
	}
	for range 3 { // the ring is full
		apply("old", 40_000)
		apply("older", 40_000)
	}
	r := newFeedReader(t)
	r.sweep(n.feed, 10_000)
	const keys = 30_000 // a fifth of the ring
	was := n.feed.rows
	for range 10 {
		apply("new", keys)
	}
	if rows := n.feed.rows - was; rows != keys {
		t.Errorf("%d rows for %d keys", rows, keys)
	}
	for r.cursor.Index < at || r.cursor.Place != 0 {
		r.read(n.feed, 10_000)
	}
	for j := range keys {
		if got, _ := r.value(fmt.Sprint("new:", j)); got != 10 {
			t.Fatalf("new:%d is %d", j, got)
		}
	}
}

// TestFeedFlush: a flush is older than what was written after it, whenever it is read.
func TestFeedFlush(t *testing.T) {
	n := newFeedNode(t, 1<<20, 5)
	n.apply(1, 10, []feedOp{{key: "k", n: 1}, {key: "gone", n: 1}})
	r := newFeedReader(t)
	r.read(n.feed, 10)
	behind := r.cursor
	n.apply(2, 10, []feedOp{{kind: 6}})
	n.apply(3, 10, []feedOp{{key: "k", n: 5}})
	r.sweep(n.feed, 10)
	n.apply(4, 10, []feedOp{{key: "other", n: 1}})
	r.cursor = behind
	r.read(n.feed, 10)
	if got, _ := r.value("k"); got != 5 {
		t.Errorf("k is %d", got)
	}
	if _, there := r.value("gone"); there {
		t.Error("a key of before is there")
	}
}

// TestFeedForeignPlaces: a place comes from a client, and may be anything.
func TestFeedForeignPlaces(t *testing.T) {
	n := newFeedNode(t, 1<<20, 5)
	for i := range uint64(300) {
		n.apply(i+1, 10, randomFeedOps(rand.New(rand.NewPCG(i, 2)), 10_000))
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for range 20_000 {
		place := n.feed.first + rng.Uint64N(n.feed.tail()-n.feed.first+100)
		n.feed.Read(FeedCursor{Index: 3, Place: place}, FeedPage{Count: 100, Give: func(View, FeedRow) {}})
	}
}

// TestFeedReset: after another state has taken the place of the keyspace every older cursor is a gap, and nothing of before is given.
func TestFeedReset(t *testing.T) {
	n := newFeedNode(t, 1<<20, 5)
	n.apply(1, 10, []feedOp{{key: "a", n: 1}})
	r := newFeedReader(t)
	r.read(n.feed, 10)
	n.ks.Txn(0, 10, false).FlushAll()
	n.feed.Reset(500, 20)
	if _, _, err := n.feed.Read(r.cursor, r.page(10)); !errors.Is(err, ErrFeedGap) {
		t.Errorf("a cursor of before: %v", err)
	}
	n.apply(501, 30, []feedOp{{key: "b", n: 2}})
	for _, c := range []FeedCursor{{Index: 500}, {Index: 500, Place: r.cursor.Place}} {
		r := newFeedReader(t)
		r.cursor = c
		r.read(n.feed, 10)
		if got, _ := r.value("b"); got != 2 || len(r.known) != 1 {
			t.Errorf("%v: %v", c, r.known)
		}
	}
}

func BenchmarkFeed(b *testing.B) {
	for _, keys := range []int{1, 10_000, 1_000_000} {
		for _, with := range []bool{false, true} {
			b.Run(fmt.Sprintf("keys=%d/feed=%v", keys, with), func(b *testing.B) {
				ks := New(Config{Databases: 1, Seed: 7})
				defer ks.Close()
				names := make([][]byte, keys)
				for i := range names {
					names[i] = fmt.Appendf(nil, "key:%012d", i)
					ks.LockPart(Part(names[i]))
					ks.Txn(0, 1, false).Add(names[i], 1)
					ks.UnlockPart(Part(names[i]))
				}
				var feed *Feed
				if with {
					feed = ks.OpenFeed(64<<20, 1)
				}
				rng := rand.New(rand.NewPCG(1, 1))
				runs := make([]Run, WarmMax)
				var cause Cause
				b.ResetTimer()
				for done, index := 0, uint64(1); done < b.N; index++ {
					feed.Begin(index)
					for range 8 {
						for i := range runs {
							runs[i] = Run{Key: names[rng.IntN(keys)], Delta: 1, Count: 1}
						}
						done += ks.AddRuns(runs, 1000+int64(done)/1000, &cause)
					}
					feed.End(1000+int64(done)/1000, 0)
				}
			})
		}
	}
}

func BenchmarkFeedRead(b *testing.B) {
	const keys = 1_000_000
	n := newFeedNode(b, 64<<20, 1)
	var cause Cause
	runs := make([]Run, WarmMax)
	change := func(index uint64) {
		n.feed.Begin(index)
		for from := 0; from < keys; from += len(runs) {
			for i := range runs {
				runs[i] = Run{Key: fmt.Appendf(nil, "key:%012d", (from+i)*7919%keys), Delta: 1, Count: 1}
			}
			n.ks.AddRuns(runs, 1000, &cause)
		}
		n.feed.End(1000, 0)
	}
	change(1)
	b.ResetTimer()
	var c FeedCursor
	for read, index := 0, uint64(2); read < b.N; {
		rows := 0
		next, _, err := n.feed.Read(c, FeedPage{Count: 10_000, Give: func(View, FeedRow) { rows++ }})
		if err != nil {
			b.Fatal(err)
		}
		read += rows
		if c = next; rows == 0 {
			b.StopTimer()
			change(index)
			index++
			b.StartTimer()
		}
	}
}

// TestFeedRest: a feed that nobody reads takes no memory at rest; one that is read keeps what it has.
func TestFeedRest(t *testing.T) {
	n := newFeedNode(t, 1<<20, 5)
	n.apply(1, 10, []feedOp{{key: "a", n: 1}})
	n.feed.Rest()
	if s := n.feed.Stats(); s.Bytes != 0 || s.First != 1 {
		t.Errorf("%+v", s)
	}
	r := newFeedReader(t)
	if !r.read(n.feed, 10) {
		t.Error("a reader that has nothing is not told of a gap")
	}
	n.apply(2, 10, []feedOp{{key: "b", n: 1}})
	n.feed.Rest()
	if r.read(n.feed, 10) || len(r.known) != 2 {
		t.Errorf("what changes is lost to a reader: %v", r.known)
	}
}
