package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
)

// TestOrigins goes through all that can become of a drain's position.
func TestOrigins(t *testing.T) {
	ks := newOrigin(t, "me", 7)
	item := func(delta int64) []byte { return binary.AppendVarint([]byte{0, 1, 'k'}, delta) }
	from := func(origin string, incarnation, at uint64, delta int64) drained {
		return drained{Part([]byte("k")), DrainID{[]byte(origin), incarnation, at, at + 1}, 1, append(item(delta), 0)}
	}
	for _, c := range []struct {
		d    drained
		want DrainOutcome
		sum  int64
	}{
		{from("a", 1, 1, 1), DrainGap, 0},
		{from("a", 1, 0, 1), DrainApply, 1},
		{from("a", 1, 0, 1), DrainStale, 1},
		{from("a", 1, 2, 1), DrainGap, 1},
		{from("a", 1, 1, 2), DrainApply, 3},
		{from("b", 1, 0, 10), DrainApply, 13},
		{from("a", 2, 2, 100), DrainGap, 13},
		{from("a", 2, 0, 100), DrainApply, 113},
		{from("a", 1, 2, 1000), DrainGap, 113},
		{from("b", 1, 1, 1000), DrainApply, 1113},
		{from("0", 9, 0, 1), DrainApply, 1114},
	} {
		if got := deliver(t, ks, c.d, 1); got != c.want {
			t.Errorf("%+v: %v, want %v", c.d.id, got, c.want)
		}
		if v, _ := getAt(ks, 0, "k", 1, false); v.Int != c.sum {
			t.Errorf("%+v: %d, want %d", c.d.id, v.Int, c.sum)
		}
	}
	snapshot := saved(t, ks)
	other := loaded(t, snapshot, 3)
	if a, b := ks.Checksum(1), other.Checksum(1); a != b {
		t.Errorf("checksum %x, loaded %x", a, b)
	}
	if got := deliver(t, other, from("b", 1, 1, 1000), 1); got != DrainStale {
		t.Errorf("after loading: %v", got)
	}
	if got := deliver(t, other, from("b", 1, 2, 1000), 1); got != DrainApply {
		t.Errorf("after loading: %v", got)
	}
	if ks.Checksum(1) == other.Checksum(1) {
		t.Error("the checksum does not see counts")
	}
	if err := ks.SetOrigin(string(make([]byte, MaxOrigin+1)), 1); err == nil {
		t.Error("a name that is too long")
	}
}

// TestPositionsInChecksum compares states that differ in a position only.
func TestPositionsInChecksum(t *testing.T) {
	a, b := newOrigin(t, "me", 7), newOrigin(t, "me", 7)
	d := drained{3, DrainID{[]byte("x"), 1, 0, 1}, 0, nil}
	deliver(t, a, d, 1)
	if a.Checksum(1) == b.Checksum(1) {
		t.Error("the checksum does not see positions")
	}
	d.part = 4
	deliver(t, b, d, 1)
	if a.Checksum(1) == b.Checksum(1) {
		t.Error("the checksum does not see whose positions they are")
	}
}

// asVersion1 is the snapshot as the first version of the format wrote it.
func asVersion1(b []byte) []byte {
	b = bytes.Clone(b)
	b[8] = 1
	at := headerBytes + int(binary.LittleEndian.Uint32(b[24:]))*planEntryBytes + 4
	n := sectionBytes + int(binary.LittleEndian.Uint64(b[at+8:]))
	b = append(b[:at], b[at+n:]...)
	reseal(b)
	return b
}

func TestLoadVersion1(t *testing.T) {
	ks := newOrigin(t, "me", 7)
	fill(ks, 3000, 0)
	sum := ks.Checksum(1)
	deliver(t, ks, drained{3, DrainID{[]byte("x"), 1, 0, 1}, 0, nil}, 1)
	old := loaded(t, asVersion1(saved(t, ks)), 3)
	if got := old.Checksum(1); got != sum {
		t.Errorf("checksum %x, want %x", got, sum)
	}
}

func TestDamagedOrigins(t *testing.T) {
	entry := func(part byte, name string, position byte) []byte {
		b := append([]byte{part, byte(len(name))}, name...)
		return append(append(b, make([]byte, 8)...), position, 0, 0, 0, 0, 0, 0, 0)
	}
	for _, c := range []struct {
		name    string
		body    []byte
		entries uint32
	}{
		{"fewer than said", entry(1, "a", 1), 2},
		{"more than said", append(entry(1, "a", 1), entry(2, "a", 1)...), 1},
		{"cut off", entry(1, "a", 1)[:18], 1},
		{"name too long", append([]byte{1, 200}, make([]byte, 60)...), 1},
		{"parts out of order", append(entry(2, "a", 1), entry(1, "a", 1)...), 2},
		{"origins out of order", append(entry(1, "b", 1), entry(1, "a", 1)...), 2},
		{"twice", append(entry(1, "a", 1), entry(1, "a", 2)...), 2},
		{"position 0", entry(1, "a", 0), 1},
	} {
		if _, err := decodeOrigins(c.body, c.entries); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
	}
	if list, err := decodeOrigins(append(entry(1, "a", 1), entry(1, "b", 2)...), 2); err != nil || len(list) != 2 || list[1].position != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestDecodeDrainItem(t *testing.T) {
	part := Part([]byte("k"))
	good := []byte{1, 1, 'k', 5, 0}
	if it, n, err := DecodeDrainItem(append(good, 9), part, 3); err != nil || n != 5 || it.DB != 1 || string(it.Key) != "k" || it.Delta != -3 {
		t.Errorf("%+v, %d, %v", it, n, err)
	}
	for i := range good {
		if _, _, err := DecodeDrainItem(good[:i], part, 3); err == nil {
			t.Errorf("accepted after %d bytes", i)
		}
	}
	for _, bad := range [][]byte{
		{3, 1, 'k', 5, 0},                         // there is no such database
		{1, 2, 'k', 5, 0},                         // key beyond the end
		{1, 1, 'x', 5, 0},                         // another part
		{1, 0xff, 0xff, 0xff, 0xff, 1, 'k', 5, 0}, // key too long
	} {
		if _, _, err := DecodeDrainItem(bad, part, 3); err == nil {
			t.Errorf("%v accepted", bad)
		}
	}
}

// TestPendingConcurrently counts from several goroutines, drains from one and has
// another rewrite the arenas: each reply comes once, and no count is lost.
func TestPendingConcurrently(t *testing.T) {
	ks := newOrigin(t, "n", 7)
	const workers, rounds, keys = 3, 4000, 40
	seen := make([][]int64, workers)
	var wg, background sync.WaitGroup
	stop := make(chan struct{})
	background.Go(func() {
		for carrier := uint64(1); ; carrier++ {
			for p := range Parts {
				if d, ok := cut(ks, p, carrier); ok {
					deliver(t, ks, d, 1)
				}
			}
			select {
			case <-stop:
				if !ks.HasPending() {
					return
				}
			default:
			}
		}
	})
	background.Go(func() { rewriteArenas(ks, stop) })
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				incs := []Increment{{Key: []byte("hot"), Delta: 1}, {Key: fmt.Append(nil, "k", i%keys), Delta: 2}}
				for done := 0; done < len(incs); {
					done += ks.AddPending(incs[done:], 1)
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
	if v, _ := getAt(ks, 0, "hot", 1, false); v.Int != workers*rounds {
		t.Errorf("hot is %d, want %d", v.Int, workers*rounds)
	}
	for i := range keys {
		if v, _ := getAt(ks, 0, fmt.Sprint("k", i), 1, false); v.Int != 2*workers*rounds/keys {
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
	ks := newOrigin(t, "n", 7)
	slots := 0
	for i := 0; ; i++ {
		incs := []Increment{{Key: fmt.Appendf(nil, "{k}%d", i), Delta: 1}}
		if ks.AddPending(incs, 1) == 0 {
			break
		}
		slots++
	}
	if slots < 20_000 || slots >= indexMax {
		t.Errorf("%d slots", slots)
	}
	if n, err := addLocal(t, ks, 0, "{k}7", 1, 1); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := ks.Check(); err != nil {
		t.Fatal(err)
	}
	d, _ := cut(ks, Part([]byte("k")), 1)
	if len(d.items) > pendingPartMax+1<<10 || d.count != slots {
		t.Errorf("%d bytes, %d items", len(d.items), d.count)
	}
	if got := deliver(t, ks, d, 1); got != DrainSettled || ks.View(0, 1, false).Len() != int64(slots) {
		t.Errorf("%v, %d keys", got, ks.View(0, 1, false).Len())
	}
}
