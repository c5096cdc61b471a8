package storage

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"quipu/internal/redistest"
)

// A vote is two writes of Raft; after the first alone, the disk must still hold the old vote.
func TestTrapVoteIsOneWrite(t *testing.T) {
	dir := redistest.FastDir(t)
	path := filepath.Join(dir, "stable.db")
	s, err := OpenVotes(path, true, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	reopened := func() *VoteStore {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		crashed := filepath.Join(dir, "crashed.db")
		if err := os.WriteFile(crashed, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenVotes(crashed, false, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	vote := func(s *VoteStore) string {
		term, err := s.GetUint64([]byte(keyVoteTerm))
		if err != nil && err.Error() != "not found" {
			t.Error(err)
		}
		candidate, _ := s.Get([]byte(keyVoteCand))
		current, _ := s.GetUint64([]byte(keyCurrentTerm))
		return fmt.Sprintf("term %d, vote %d %s", current, term, candidate)
	}
	check := func(want string) {
		t.Helper()
		c := reopened()
		if got := vote(c); got != want {
			t.Errorf("on disk: %s, want %s", got, want)
		}
		c.Close()
	}
	check("term 0, vote 0 ")
	s.SetUint64([]byte(keyCurrentTerm), 4)
	s.SetUint64([]byte(keyVoteTerm), 4)
	s.Set([]byte(keyVoteCand), []byte("alice"))
	check("term 4, vote 4 alice")
	s.SetUint64([]byte(keyCurrentTerm), 5)
	s.SetUint64([]byte(keyVoteTerm), 5)
	check("term 5, vote 4 alice") // not: vote 5 alice
	s.Set([]byte(keyVoteCand), []byte("bob"))
	check("term 5, vote 5 bob")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// bolt must not write its freelist at each commit: NoFreelistSync shows in the meta pages.
func TestTrapBoltOptions(t *testing.T) {
	path := filepath.Join(redistest.FastDir(t), "stable.db")
	s, err := OpenVotes(path, true, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	s.SetUint64([]byte(keyCurrentTerm), 1)
	s.SetUint64([]byte(keyCurrentTerm), 2)
	s.Close()
	b, _ := os.ReadFile(path)
	size := int(binary.LittleEndian.Uint32(b[boltPageHeader+8:]))
	for i := range 2 {
		if freelist := binary.LittleEndian.Uint64(b[i*size+boltPageHeader+32:]); freelist != 1<<64-1 {
			t.Errorf("meta page %d has a freelist at page %d", i, freelist)
		}
	}
	if info, _ := os.Stat(path); info.Size() > 256<<10 {
		t.Errorf("%d bytes for one record", info.Size())
	}
}
