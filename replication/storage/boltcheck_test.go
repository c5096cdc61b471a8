package storage

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// voteFile makes a file with votes of some terms for the candidate and returns its bytes.
func voteFile(t *testing.T, candidate string, terms, opens int) []byte {
	t.Helper()
	path := filepath.Join(redistest.FastDir(t), "stable.db")
	for i := range opens {
		s, err := OpenVotes(path, i == 0, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatalf("candidate of %d bytes, opened %d times: %v", len(candidate), i, err)
		}
		for range terms {
			term, _ := s.GetUint64([]byte(keyCurrentTerm))
			s.SetUint64([]byte(keyCurrentTerm), term+1)
			s.SetUint64([]byte(keyVoteTerm), term+1)
			if err := s.Set([]byte(keyVoteCand), []byte(candidate)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const maxCandidate = maxVoteRecord - voteHeader - 4

// bolt writes exactly the page that the check expects, whatever the record and however often the file was written.
func TestBoltCheckAcceptsWhatBoltWrites(t *testing.T) {
	for _, n := range []int{0, 1, 20, 255, maxCandidate - 1, maxCandidate} {
		for opens := 1; opens <= 4; opens++ {
			if offset, what := checkBolt(voteFile(t, strings.Repeat("c", n), 3*opens, opens)); what != "" {
				t.Errorf("candidate of %d bytes, opened %d times: %s at %d", n, opens, what, offset)
			}
		}
	}
}

// A record too large for the one page is refused, and the vote before it stays.
func TestVoteTooLarge(t *testing.T) {
	var failed error
	s, err := OpenVotes(filepath.Join(redistest.FastDir(t), "stable.db"), true, func(err error) { failed = err })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Set([]byte(keyVoteCand), make([]byte, maxCandidate+1)); err == nil || failed == nil {
		t.Errorf("stored: %v, %v", err, failed)
	}
	if _, err := s.Get([]byte(keyVoteCand)); err == nil {
		t.Error("a vote that is not on disk is served")
	}
}

// Every flipped bit and every cut of what bolt reads is found, so that it never serves another page than the newest.
func TestBoltCheckFindsAllDamage(t *testing.T) {
	b := voteFile(t, "node-1", 3, 2)
	root, size, _, what := checkBoltMetas(b)
	if what != "" {
		t.Fatal(what)
	}
	used := boltRoot(root, b[root*size+uint64(boltRecord):][:voteHeader+len("node-1")+4])
	at := int(root * size)
	read := func(i int) bool { // bolt's readers look at this byte
		in := i % int(size)
		meta := i < 2*int(size) && (in < 10 || in >= boltPageHeader && in < boltPageHeader+boltMetaSize)
		return meta || i >= at && i < at+len(used)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			offset, what := checkBolt(b)
			record := i >= at+boltRecord && i < at+boltRecord+voteHeader+len("node-1")+4 // has its own CRC32C
			if found := what != ""; found != (read(i) && !record) {
				t.Fatalf("bit %d of byte %d: found: %v (%s at %d)", bit, i, found, what, offset)
			}
			if record {
				if _, err := decodeVote(b[at+boltRecord:][:voteHeader+len("node-1")+4]); err == nil {
					t.Fatalf("bit %d of byte %d of the record was not noticed", bit, i-at-boltRecord)
				}
			}
			b[i] ^= 1 << bit
		}
	}
	pages := 0
	for i := range 2 {
		pages = max(pages, int(binary.LittleEndian.Uint64(b[i*int(size)+boltPageHeader+40:])))
	}
	for cut := range pages * int(size) {
		if _, what := checkBolt(b[:cut]); what == "" {
			t.Fatalf("cut at %d of %d was not noticed", cut, len(b))
		}
	}
	for from := 0; from < len(b); from += 512 {
		damaged := bytes.Clone(b)
		clear(damaged[from:min(len(b), from+512)])
		inUse := false
		for i := from; i < from+512; i++ {
			inUse = inUse || read(i)
		}
		if _, what := checkBolt(damaged); inUse && what == "" {
			t.Errorf("the sector at %d was cleared and not noticed", from)
		}
	}
}
