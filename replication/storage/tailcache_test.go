package storage

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

func entries(from, to uint64, data func(index uint64) []byte) (logs []*raft.Log) {
	for i := from; i < to; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: 1, Type: raft.LogCommand, Data: data(i)})
	}
	return logs
}

// cached are the indexes that the cache has, of those up to last.
func cached(c *tailCache, last uint64) (first, n uint64) {
	var l raft.Log
	for i := uint64(1); i <= last; i++ {
		if c.get(i, &l) {
			if n++; n == 1 {
				first = i
			}
		}
	}
	return first, n
}

func TestTailCache(t *testing.T) {
	var c tailCache
	if c.add(entries(1, 10, testData)); c.get(5, &raft.Log{}) {
		t.Error("a cache that is off keeps something")
	}
	c.keep(true)
	c.add(entries(10, 200, testData))
	if first, n := cached(&c, 300); first != 200-tailEntries || n != tailEntries {
		t.Errorf("%d entries from %d on", n, first)
	}
	// The end is taken back, and other entries come in its place.
	c.remove(190, 199)
	c.add(entries(190, 192, func(uint64) []byte { return []byte("other") }))
	var l raft.Log
	if !c.get(191, &l) || string(l.Data) != "other" || c.get(192, &l) {
		t.Errorf("after a conflict: %+v", l)
	}
	// The beginning is taken away.
	c.remove(1, 180)
	if first, n := cached(&c, 300); first != 181 || n != 11 {
		t.Errorf("%d entries from %d on", n, first)
	}
	// A snapshot was installed: there is a gap.
	c.add(entries(250, 253, testData))
	if first, n := cached(&c, 300); first != 250 || n != 3 {
		t.Errorf("%d entries from %d on", n, first)
	}
	// Few of the largest fit.
	large := make([]byte, tailBytes/4+1)
	c.add(entries(253, 260, func(uint64) []byte { return large }))
	if first, n := cached(&c, 300); first != 257 || n != 3 || c.bytes > tailBytes {
		t.Errorf("%d entries from %d on, %d bytes", n, first, c.bytes)
	}
	c.add(entries(260, 261, func(uint64) []byte { return make([]byte, tailBytes+1) }))
	if _, n := cached(&c, 300); n != 0 || c.bytes != 0 {
		t.Errorf("%d entries, %d bytes behind one above the limit", n, c.bytes)
	}
	c.add(entries(261, 262, testData))
	c.keep(false)
	if _, n := cached(&c, 300); n != 0 || c.bytes != 0 {
		t.Error("a cache that was turned off keeps something")
	}
}

// TestTailCacheCopies: the Batcher uses the buffer of an entry again when it is applied; what a follower is sent must not
// change with it.
func TestTailCacheCopies(t *testing.T) {
	s, _ := newLog(t)
	defer s.Close()
	s.KeepTail(true)
	buf := testData(2)
	if err := s.StoreLog(&raft.Log{Index: 2, Term: 1, Type: raft.LogCommand, Data: buf}); err != nil {
		t.Fatal(err)
	}
	clear(buf)
	checkLog(t, "after the buffer was used again", s, 2)
	var l raft.Log
	if !s.tail.get(2, &l) {
		t.Error("the entry is not in the cache")
	}
	appendLog(t, s, 3, 10)
	if err := s.DeleteRange(6, 9); err != nil {
		t.Fatal(err)
	}
	checkLog(t, "after the end was taken back", s, 5)
	if err := s.GetLog(6, &l); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("an entry that was deleted: %v", err)
	}
}

// A log that was emptied for a snapshot goes on behind the snapshot, also after it was closed.
func TestEmptiedLogGoesOn(t *testing.T) {
	s, cfg := newLog(t)
	appendLog(t, s, 2, 300)
	if err := s.DeleteRange(1, 299); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if last, err := s.LastIndex(); last != 0 || err != nil {
			t.Fatalf("the last entry is %d, %v", last, err)
		}
		s.Close()
		s = openLog(t, cfg)
	}
	appendLog(t, s, 1000, 1300)
	s.Close()
	s = openLog(t, cfg)
	defer s.Close()
	first, err := s.FirstIndex()
	last, err2 := s.LastIndex()
	if first != 1000 || last != 1299 || err != nil || err2 != nil {
		t.Errorf("entries %d to %d, %v, %v", first, last, err, err2)
	}
}
