package engine

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// follower is a node that does not lead, and the log as the node that leads has applied it.
type follower struct {
	t            *rapid.T
	node, leader *Keyspace
	log          []func(ks *Keyspace) // what the leader has applied
	applied      int                  // how many of them the node has applied
	counted      map[string]int64     // answered ahead by the node
	added        map[string]int64     // by others, in the log
	unsure       *countedSection      // sent, and the outcome is not known
}

func (f *follower) append(op func(ks *Keyspace)) {
	op(f.leader)
	f.log = append(f.log, op)
}

func (f *follower) deliver(s countedSection) {
	f.append(func(ks *Keyspace) { deliver(f.t, ks, s, 1) })
}

// ship sends the next section, and hears of it or not.
func (f *follower) ship() {
	s, ok := seal(f.node)
	if !ok {
		return
	}
	if f.unsure != nil {
		if landed := string(s.origin.To) != string(f.unsure.origin.To); !landed && !bytes.Equal(s.body, f.unsure.body) {
			f.t.Fatalf("a section of unknown fate was sent again as another: %x, then %x", f.unsure.body, s.body)
		}
	}
	f.unsure = nil
	switch rapid.SampledFrom([]string{"applied", "applied", "lost", "unheard", "twice"}).Draw(f.t, "outcome") {
	case "applied":
		f.deliver(s)
		f.node.CountedApplied()
	case "twice":
		f.deliver(s)
		f.deliver(s)
		f.node.CountedApplied()
	case "lost":
		f.unsure = &s
	case "unheard":
		f.deliver(s)
		f.unsure = &s
	}
}

// install gives the node the leader's state, as a snapshot does.
func (f *follower) install() {
	var b bytes.Buffer
	c := f.leader.Capture()
	if _, err := c.WriteTo(&b); err != nil {
		f.t.Fatal(err)
	}
	c.Release()
	f.node.Txn(0, 0, false).FlushAll()
	if err := f.node.Load(bytes.NewReader(b.Bytes()), int64(b.Len()), runtime.GOMAXPROCS(0)); err != nil {
		f.t.Fatal(err)
	}
	f.applied = len(f.log)
}

func (f *follower) step() {
	key := rapid.SampledFrom([]string{"a", "b", "{a}1", "{a}2"}).Draw(f.t, "key")
	switch rapid.SampledFrom([]string{"local", "local", "local", "add", "ship", "ship", "apply", "apply", "install"}).Draw(f.t, "op") {
	case "local":
		incs := []Increment{{Key: []byte(key), Delta: 1}}
		if f.node.AnswerAhead(incs, 1) == 1 {
			f.counted[key]++
		}
	case "add":
		f.added[key] += 100
		f.append(func(ks *Keyspace) { write(ks, 0, key, 1, func(t Txn, k []byte) { _, _ = t.Add(k, 100) }) })
	case "ship":
		f.ship()
	case "apply":
		f.apply()
	case "install":
		if rapid.IntRange(0, 3).Draw(f.t, "really") == 0 {
			f.install()
		}
	}
	if err := f.node.Check(); err != nil {
		f.t.Fatal(err)
	}
	f.verify()
}

func (f *follower) apply() {
	if f.applied < len(f.log) {
		f.log[f.applied](f.node)
		f.applied++
	}
}

// verify: at every moment the node's clients see all that it has answered, once, and what it has applied of others.
func (f *follower) verify() {
	for _, key := range []string{"a", "b", "{a}1", "{a}2"} {
		v, _ := getAt(f.node, 0, key, 1, true)
		if v.Int%100 != f.counted[key]%100 || v.Int > f.counted[key]+f.added[key] {
			f.t.Fatalf("%s: the node shows %d; it has answered %d, others %d", key, v.Int, f.counted[key], f.added[key])
		}
	}
}

// TestLanding: the sections of a node that does not lead count once, whatever becomes of them and of its own state, and its
// clients never see the sum flicker, while the node hears of them before, after or instead of applying them.
func TestLanding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &follower{t: t, counted: map[string]int64{}, added: map[string]int64{}}
		for _, ks := range []**Keyspace{&f.node, &f.leader} {
			*ks = New(Config{Databases: 1, Seed: 5})
			defer (*ks).Close()
		}
		if err := f.node.SetSelf("node", 7); err != nil {
			t.Fatal(err)
		}
		if err := f.leader.SetSelf("leader", 3); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			f.step()
		}
		for f.node.HasAhead() || f.applied < len(f.log) {
			if s, ok := seal(f.node); ok {
				f.deliver(s)
				f.node.CountedApplied()
			}
			f.apply()
		}
		for key, n := range f.counted {
			for name, ks := range map[string]*Keyspace{"node": f.node, "leader": f.leader} {
				if v, _ := getAt(ks, 0, key, 1, false); v.Int != n+f.added[key] {
					t.Fatalf("%s on the %s: %d, answered %d and %d", key, name, v.Int, n, f.added[key])
				}
			}
		}
		if a, b := f.node.Checksum(1), f.leader.Checksum(1); a != b {
			t.Fatal("node and leader differ")
		}
	})
}

// TestLandingStalls: with two sections applied elsewhere and not here, nothing more is sealed; what was answered since waits, and
// goes once the first has landed.
func TestLandingStalls(t *testing.T) {
	ks, leader := newNode(t, "n", 7), newNode(t, "m", 2)
	var sent []countedSection
	for i := range 2 {
		answer(t, ks, 0, "k", 1, 1)
		s, all := sealUpTo(ks, 1<<20)
		if !all || len(s.body) == 0 || deliver(t, leader, s, 1) != Accepted {
			t.Fatalf("section %d: %x, %v", i, s.body, all)
		}
		ks.CountedApplied()
		sent = append(sent, s)
	}
	if s, all := sealUpTo(ks, 1<<20); len(s.body) > 0 || !all {
		t.Fatalf("nothing has come since: %x, all %v", s.body, all)
	}
	answer(t, ks, 0, "k", 1, 1)
	if s, all := sealUpTo(ks, 1<<20); len(s.body) > 0 || all {
		t.Fatalf("a third section: %x, all %v", s.body, all)
	}
	if n, err := answer(t, ks, 0, "k", 1, 1); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	deliver(t, ks, sent[0], 1)
	s, all := sealUpTo(ks, 1<<20)
	if !all || deliver(t, leader, s, 1) != Accepted {
		t.Fatalf("%x, all %v", s.body, all)
	}
	for _, one := range []countedSection{sent[1], s} {
		deliver(t, ks, one, 1)
	}
	if v, _ := getAt(ks, 0, "k", 1, false); v.Int != 4 || ks.HasAhead() {
		t.Errorf("%d, still ahead: %v", v.Int, ks.HasAhead())
	}
	if got := fmt.Sprint(ks.Ahead()); ks.Ahead().Landed != 3 {
		t.Error(got)
	}
}

// TestSelfWhileApplying: entries of other nodes are applied from when the log is open, and this node gets its name a moment later.
func TestSelfWhileApplying(t *testing.T) {
	ks, other := newTestKeyspace(t, Config{Databases: 3, Seed: 5}), newNode(t, "other", 2)
	var busy sync.WaitGroup
	answer(t, other, 0, "k", 5, 1)
	s, _ := seal(other)
	busy.Go(func() { deliver(t, ks, s, 1) })
	if err := ks.SetSelf("n", 7); err != nil {
		t.Fatal(err)
	}
	busy.Wait()
	if n, err := answer(t, ks, 0, "k", 1, 1); n != 6 || err != nil {
		t.Error(n, err)
	}
}
