package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"quipu/engine/shared"
)

// TestAheadOfSharedKeys: a node that answers increments of shared keys ahead is told their values, and comes to the same state, and tells other
// regions the same, as a node that has the log alone; while another region counts, keys are deleted and expire, and records move.
func TestAheadOfSharedKeys(t *testing.T) {
	for seed := range uint64(40) {
		ahead := &sharedAhead{t: t, rnd: rand.New(rand.NewPCG(seed, 3)), now: 1000, counted: map[string]int64{}}
		ahead.node = newNode(t, "node", 77)
		ahead.other = newTestKeyspace(t, Config{Databases: 3, Seed: 6})
		for _, ks := range ahead.both() {
			ks.SetRegionRing(1 << 20)
			if _, err := ks.Txn(0, ahead.now, false).OpenRegions("eu", []string{"{s}*"}, 0); err != nil {
				t.Fatal(err)
			}
			if o, err := ks.Txn(0, ahead.now, false).RegionOrigin(RegionOrigin{Name: "us", Incarnation: 5}); err != nil || o != 1 {
				t.Fatal(o, err)
			}
		}
		for range 400 {
			ahead.step()
		}
		if seed == 0 && (ahead.refused > 200 || ahead.landed < 20) {
			t.Errorf("%d increments refused, %d sections", ahead.refused, ahead.landed)
		}
	}
}

type sharedAhead struct {
	t               *testing.T
	rnd             *rand.Rand
	now             int64
	node, other     *Keyspace
	pos             uint64           // of the other region
	counted         map[string]int64 // by it
	told            uint64           // how far frames have led
	refused, landed int
}

func (a *sharedAhead) both() [2]*Keyspace { return [2]*Keyspace{a.node, a.other} }

func (a *sharedAhead) step() {
	key := fmt.Sprintf("{s}%d", a.rnd.IntN(6))
	part := Part([]byte(key))
	switch a.rnd.IntN(20) {
	default:
		before, _ := getAt(a.node, 0, key, a.now, true)
		incs := []Increment{{Key: []byte(key), Delta: int64(a.rnd.IntN(9)) - 2}}
		if a.node.AnswerAhead(incs, a.now) == 0 {
			a.refused++ // its deadline is another one by now
		} else if incs[0].Err != nil || incs[0].Sum != before.Int+incs[0].Delta {
			a.t.Fatalf("%s was %d and is %+v", key, before.Int, incs[0])
		}
	case 0, 1, 2, 3:
		a.land()
	case 4, 5, 6:
		a.counted[key] += int64(a.rnd.IntN(1000))
		a.pos++
		frame := shared.AppendFrame(nil, shared.FrameDelta, 1, a.pos-1, a.pos)
		k := shared.Key{HasOwn: true, Own: shared.Share{Cum: a.counted[key], Seq: a.pos}}
		frame = k.AppendRow(frame, []byte(key))
		for _, ks := range a.both() {
			if v, _, err := ks.Txn(0, a.now, false).MergeFrame(part, frame, nil); v != shared.Applied || err != nil {
				a.t.Fatal(v, err)
			}
		}
	case 7:
		for _, ks := range a.both() {
			write(ks, 0, key, a.now, func(t Txn, k []byte) { t.Delete(k) })
		}
	case 8:
		deadline := a.now + int64(a.rnd.IntN(50))
		for _, ks := range a.both() {
			write(ks, 0, key, a.now, func(t Txn, k []byte) {
				if _, ok := t.Get(k); ok {
					t.SetDeadline(k, deadline)
				}
			})
		}
	case 9:
		a.now += int64(a.rnd.IntN(40))
	case 10: // what comes and goes beside it makes its record move
		for i := range 50 {
			name := fmt.Sprintf("%d{s}", i)
			for _, ks := range a.both() {
				write(ks, 0, name, a.now, func(t Txn, k []byte) {
					if !t.Delete(k) {
						t.Set(k, make([]byte, 300+i), 0)
					}
				})
			}
		}
	}
}

// land has the log bring a section to both nodes, which are equal then.
func (a *sharedAhead) land() {
	s, ok := seal(a.node)
	if !ok {
		return
	}
	a.landed++
	for _, ks := range a.both() {
		if v := deliver(a.t, ks, s, a.now); v != Accepted {
			a.t.Fatal(v)
		}
	}
	if x, y := a.node.Checksum(a.now), a.other.Checksum(a.now); x != y {
		a.t.Fatalf("after section %d the nodes differ", a.landed)
	}
	part := Part([]byte("{s}"))
	one, to := a.node.Frame(nil, part, a.told, a.now)
	other, also := a.other.Frame(nil, part, a.told, a.now)
	if to != also || fmt.Sprint(rowsOf(a.t, one)) != fmt.Sprint(rowsOf(a.t, other)) {
		a.t.Fatalf("after section %d other regions are told\n%v up to %d, or\n%v up to %d", a.landed, rowsOf(a.t, one), to, rowsOf(a.t, other), also)
	}
	a.told = to
}

// rowsOf is the rows of a frame, the last one of each key.
func rowsOf(t *testing.T, frame []byte) map[string]shared.Share {
	rows := map[string]shared.Share{}
	if len(frame) == 0 {
		return rows
	}
	f, err := shared.OpenFrame(frame)
	var row shared.Row
	for more := err == nil; more; {
		if more, err = f.Next(&row); more {
			rows[string(row.Key)] = row.Share
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
