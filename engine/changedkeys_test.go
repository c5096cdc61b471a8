package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"quipu/engine/shared"
)

// changedTest is changedKeys, and what should be in them.
type changedTest struct {
	*testing.T
	changedKeys
	hash     func(key []byte) uint64
	p        shared.Part
	contents map[string][]byte
	last     map[string]uint64 // position of each key's last change
	found    [4]int            // positions that were known, and were not; notes that were rows, and were bare
}

const changedLimit = 2000

func newChangedTest(t *testing.T) *changedTest {
	ks := New(Config{Databases: 1})
	t.Cleanup(func() { ks.Close() })
	c := &changedTest{T: t, hash: ks.hash, contents: map[string][]byte{}, last: map[string]uint64{}}
	c.begin(0, changedLimit)
	for i := range 60 { // those from 50 on cannot be written as rows
		k := shared.Key{HasOwn: i < 50, Own: shared.Share{Cum: 5, Seq: 1}}
		c.contents[fmt.Sprint("key:", i)] = k.Append(nil)
	}
	return c
}

// change changes a key by d, and notes that.
func (c *changedTest) change(key string, d int64) {
	name, content := []byte(key), c.contents[key]
	if _, front, _ := shared.Quick(content, &c.p); front > 0 {
		shared.AddInPlace(content, &c.p, d)
		c.noteRow(c.hash(name), name, content[:front], c.p.Pos, 1)
	} else {
		c.p.Pos++
		c.note(c.hash(name), name, c.p.Pos, 1)
	}
	c.last[key] = c.p.Pos
	if used := len(c.rows) + len(c.bare)*spanBytes; used > changedLimit || len(c.cuts) > cutsMax || len(c.cells) > changedLimit/cellsShare || 2*c.used > len(c.cells) {
		c.Fatalf("%d bytes of notes, %d cuts, %d of %d cells", used, len(c.cuts), c.used, len(c.cells))
	}
}

// look demands that what changed behind a position is found, and as it is, if the position is known.
func (c *changedTest) look(from uint64) {
	at, later, ok := c.from(from)
	if !ok {
		c.found[1]++
		return
	}
	c.found[0]++
	have := c.lastNotes(c.T, at)
	for key, changed := range c.last {
		e, ok := have[key]
		switch {
		case changed > from && !ok:
			c.Fatalf("%s changed at %d, and is not found from %d (cut %+v, %d later)", key, changed, from, at, later)
		case ok && e.bare:
			c.found[3]++
		case ok && e.row.Share.Seq != changed:
			c.Fatalf("the last row of %s is of %d, and it changed at %d: %+v", key, e.row.Share.Seq, changed, e.row)
		case ok:
			c.found[2]++
		}
	}
}

// TestChangedKeys: whatever cuts are made and dropped, each key that has changed behind a position is found, or the position is not known any
// more; the last row is of the last change, if it is none to be looked up.
func TestChangedKeys(t *testing.T) {
	c := newChangedTest(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 40_000 {
		c.change(fmt.Sprint("key:", rnd.IntN(60)), rnd.Int64N(120)-50) // its row may be a byte longer then, or shorter
		if rnd.IntN(10) == 0 {
			c.cut(c.p.Pos)
		}
		if rnd.IntN(20) == 0 {
			c.look(c.p.Pos - min(c.p.Pos, uint64(rnd.IntN(100))))
		}
	}
	for i, n := range c.found {
		if n < 100 {
			t.Errorf("only %d times %d", n, i)
		}
	}
	for range 1000 {
		c.p.Pos++
		c.cut(c.p.Pos) // frames without rows
	}
	if len(c.cuts) > cutsMax {
		t.Errorf("%d cuts", len(c.cuts))
	}
}

// TestChangedKeysUnasked: where no frame is sent, what changed last is known nevertheless, unless it does not fit.
func TestChangedKeysUnasked(t *testing.T) {
	c := newChangedTest(t)
	for _, length := range []int{1, 100, changedLimit / 5} {
		for i := range 1000 {
			c.change(fmt.Sprintf("%0*d", length, i), 1)
			if _, _, ok := c.from(c.p.Pos - 1); !ok && length > 1 {
				t.Fatalf("with names of %d bytes nothing is known after %d", length, i)
			}
		}
	}
	c.p.Pos++
	long := make([]byte, 2*changedLimit)
	c.note(c.hash(long), long, c.p.Pos, 1)
	if _, _, ok := c.from(c.p.Pos - 1); ok || len(c.rows) > 0 {
		t.Errorf("%d bytes of a name that does not fit", len(c.rows))
	}
}

// changedNote is a note of changedKeys.
type changedNote struct {
	bare bool
	row  shared.Row
}

// lastNotes are the last notes of all keys behind a cut.
func (c *changedKeys) lastNotes(t *testing.T, from cut) map[string]changedNote {
	have := map[string]changedNote{}
	bare := c.bare[c.bareFrom(from.at):]
	for at := from.at; at < len(c.rows); {
		if len(bare) > 0 && int(bare[0].at) == at {
			n, size := binary.Uvarint(c.rows[at:])
			have[string(c.rows[at+size:][:n])] = changedNote{bare: true}
			at, bare = int(bare[0].end), bare[1:]
			continue
		}
		end := len(c.rows)
		if len(bare) > 0 {
			end = int(bare[0].at)
		}
		f, err := shared.OpenFrame(append(shared.AppendFrame(nil, shared.FrameDelta, 0, 0, 0), c.rows[at:end]...))
		for err == nil {
			var e changedNote
			var more bool
			if more, err = f.Next(&e.row); !more {
				break
			}
			have[string(e.row.Key)] = e
		}
		if err != nil {
			t.Fatal(err)
		}
		at = end
	}
	return have
}

// exactRows demands that the last row of each key in a frame is what a look at the key gives.
func exactRows(t *testing.T, ks *Keyspace, part int, from uint64, now int64) {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	txn, p := ks.Txn(0, now, false).In(part), ks.sharedPart(part, now)
	c, _, ok := p.changed.from(from)
	if !ok {
		return
	}
	frame := txn.appendChanged(nil, p, part, c)
	f, err := shared.OpenFrame(frame)
	if err != nil {
		t.Fatal(err)
	}
	looked := shared.AppendFrame(nil, f.Kind, f.Origin, f.From, f.To)
	for row := (shared.Row{}); ; {
		if more, err := f.Next(&row); err != nil {
			t.Fatal(err)
		} else if !more {
			break
		}
		looked = txn.appendRow(looked, p, part, row.Key)
	}
	if got, want := shared.LastRows(bytes.Clone(frame)), shared.LastRows(looked); !bytes.Equal(got, want) {
		t.Fatalf("a frame is\n%x, by the keys it is\n%x", got, want)
	}
}

// TestHotSharedKey: a key that is incremented again and again is one row of the ring until the next frame.
func TestHotSharedKey(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	txn := ks.Txn(0, 1000, false)
	if _, err := txn.OpenRegions("eu", []string{"*"}, 0); err != nil {
		t.Fatal(err)
	}
	key := []byte("hot")
	part := Part(key)
	p := &ks.regions.Load().parts[part]
	for frames := range 3 {
		for range 1000 {
			ks.LockPart(part)
			if _, err := txn.Add(key, 1); err != nil {
				t.Fatal(err)
			}
			ks.UnlockPart(part)
		}
		if n := len(p.changed.rows); n > (frames+1)*20 {
			t.Errorf("%d bytes of rows", n)
		}
		frame, to := ks.Frame(nil, part, uint64(frames*1000), 1000)
		f, err := shared.OpenFrame(frame)
		if err != nil || to != uint64(frames+1)*1000 || len(frame) > 40 {
			t.Fatalf("a frame of %d bytes, up to %d: %v", len(frame), to, err)
		}
		var row shared.Row
		if more, err := f.Next(&row); !more || row.Share.Cum != int64(to) {
			t.Errorf("the row is %+v, %v, %v", row, more, err)
		}
	}
	// Who is far behind is told of it once nevertheless.
	for range 3 * copiesAtOne {
		ks.LockPart(part)
		if _, err := txn.Add(key, 1); err != nil {
			t.Fatal(err)
		}
		p.changed.cut(p.Pos)
		ks.UnlockPart(part)
	}
	if frame, _ := ks.Frame(nil, part, 3000, 1000); len(frame) > 40 || len(frame) == 0 {
		t.Errorf("a frame of %d bytes", len(frame))
	}
}

// TestMergeInPlace: a row that takes the place of another one is told, and a snapshot that was begun before does not have it.
func TestMergeInPlace(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 1})
	var told []string
	ks.Observe(func(c *Change) { told = append(told, fmt.Sprint(string(c.Key), c.Old.N, c.New.N)) }, nil)
	txn := ks.Txn(0, 1000, false)
	if _, err := txn.OpenRegions("eu", []string{"*"}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.RegionOrigin(RegionOrigin{Name: "us", Incarnation: 5}); err != nil {
		t.Fatal(err)
	}
	name := []byte("n")
	part := Part(name)
	merge := func(n int64, to uint64) {
		k := shared.Key{HasOwn: true, Own: shared.Share{Cum: n, Seq: to, RSeq: 1}}
		if v, _, err := txn.MergeFrame(part, k.AppendRow(shared.AppendFrame(nil, shared.FrameDelta, 1, 0, to), name), nil); v != shared.Applied || err != nil {
			t.Fatal(v, err)
		}
	}
	merge(5, 10)
	s := ks.Capture()
	merge(6, 20)
	merge(6, 30)
	var image bytes.Buffer
	if _, err := s.WriteTo(&image); err != nil {
		t.Fatal(err)
	}
	s.Release()
	if got, want := fmt.Sprint(told), "[n0 5 n5 6]"; got != want {
		t.Errorf("observers were told %s, want %s", got, want)
	}
	for n, ks := range map[int64]*Keyspace{6: ks, 5: loaded(t, image.Bytes(), 1)} {
		ks.LockPart(part)
		if v, ok := ks.View(0, 1000, false).Get(name); !ok || v.Int != n {
			t.Errorf("the value is %d, %v, want %d", v.Int, ok, n)
		}
		ks.UnlockPart(part)
	}
}
