package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// The record of term and vote, the only value in stable.db, little-endian:
//
//	 0        4    5          8        16          24                28           32+n
//	┌────────┬────┬──────────┬────────┬───────────┬─────────────────┬────────────┬────────┐
//	│ "QPST" │ver │ reserved │ term   │ vote term │ n: its length   │ candidate… │ CRC32C │   n bytes at 28, CRC at 28+n
//	└────────┴────┴──────────┴────────┴───────────┴─────────────────┴────────────┴────────┘
//
// The CRC32C covers all before it.
const (
	voteMagic   = 0x54535051 // "QPST"
	voteVersion = 1
	voteHeader  = 28
)

type voteRecord struct {
	term      uint64
	voteTerm  uint64
	candidate []byte
}

func encodeVote(v voteRecord) []byte {
	le := binary.LittleEndian
	b := make([]byte, voteHeader, voteHeader+len(v.candidate)+4)
	le.PutUint32(b, voteMagic)
	b[4] = voteVersion
	le.PutUint64(b[8:], v.term)
	le.PutUint64(b[16:], v.voteTerm)
	le.PutUint32(b[24:], uint32(len(v.candidate)))
	b = append(b, v.candidate...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeVote(b []byte) (v voteRecord, err error) {
	le := binary.LittleEndian
	if len(b) < voteHeader+4 || le.Uint32(b) != voteMagic {
		return v, errors.New("not a record of term and vote")
	}
	if b[4] > voteVersion {
		return v, &VersionError{What: "record of term and vote", Found: int(b[4]), Known: voteVersion}
	}
	end := len(b) - 4
	if le.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) || b[4] != voteVersion || uint64(le.Uint32(b[24:])) != uint64(end-voteHeader) {
		return v, errors.New("record of term and vote fails its CRC32C")
	}
	return voteRecord{term: le.Uint64(b[8:]), voteTerm: le.Uint64(b[16:]), candidate: b[voteHeader:end:end]}, nil
}

// VoteStore keeps Raft's term and vote in raft-boltdb, as one value under one key.
//
// Raft stores a vote by two writes, the term of the vote and then the candidate; a crash between them leaves the new term
// with the old candidate, who may then win by a vote never given. The first write is therefore only remembered, and goes to
// disk with the second. One record with a CRC also shows damage: bolt's data pages have no checksum (boltcheck.go).
type VoteStore struct {
	path    string
	bolt    *raftboltdb.BoltStore
	fail    func(error)
	running atomic.Bool

	mu       sync.Mutex
	vote     voteRecord
	voteTerm uint64 // remembered until the candidate comes
}

var _ raft.StableStore = (*VoteStore)(nil)

var (
	recordKey      = []byte("quipu")
	keyCurrentTerm = "CurrentTerm" // Raft's keys
	keyVoteTerm    = "LastVoteTerm"
	keyVoteCand    = "LastVoteCand"
)

// OpenVotes opens the store at path; create makes an empty one. fail is told of an error that must stop the node.
func OpenVotes(path string, create bool, fail func(error)) (*VoteStore, error) {
	if !create {
		if err := checkBoltFile(path); err != nil {
			return nil, err
		}
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        time.Second, // of its own file lock; ours comes first
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	s := &VoteStore{path: path, bolt: bolt, fail: fail}
	if create {
		err = s.write(voteRecord{})
	} else {
		err = s.load()
	}
	if err != nil {
		bolt.Close()
		return nil, err
	}
	return s, nil
}

// Start says that Raft uses the store from here on: after a storage error its goroutine ends instead of panicking.
func (s *VoteStore) Start() { s.running.Store(true) }

func (s *VoteStore) load() error {
	b, err := s.bolt.Get(recordKey)
	if err == nil {
		s.vote, err = decodeVote(b)
	}
	var newer *VersionError
	if err != nil && !errors.As(err, &newer) {
		return &CorruptError{File: s.path, Offset: -1, What: "term and vote are damaged or missing", Action: restoreAdvice, Err: err}
	}
	return err
}

// write stores a record. On an error the node stops: Raft would panic.
func (s *VoteStore) write(v voteRecord) error {
	record := encodeVote(v)
	var err error
	if len(record) > maxVoteRecord {
		err = fmt.Errorf("the record has %d bytes, at most %d are possible", len(record), maxVoteRecord)
	} else {
		err = s.bolt.Set(recordKey, record)
	}
	if err != nil {
		err = fmt.Errorf("cannot store term and vote in %s: %w", s.path, err)
		s.fail(err)
		if s.running.Load() {
			runtime.Goexit() // as in LogStore.GetLog
		}
		return err
	}
	s.vote = v
	return nil
}

// Set implements raft.StableStore.
func (s *VoteStore) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) != keyVoteCand {
		return fmt.Errorf("BUG: unknown key %q", key)
	}
	return s.write(voteRecord{term: s.vote.term, voteTerm: s.voteTerm, candidate: append([]byte(nil), value...)})
}

// Get implements raft.StableStore.
func (s *VoteStore) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) != keyVoteCand || s.vote.voteTerm == 0 {
		return nil, raftboltdb.ErrKeyNotFound
	}
	return s.vote.candidate, nil
}

// SetUint64 implements raft.StableStore.
func (s *VoteStore) SetUint64(key []byte, value uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch string(key) {
	case keyVoteTerm:
		s.voteTerm = value
		return nil
	case keyCurrentTerm:
		v := s.vote
		v.term = value
		return s.write(v)
	default:
		return fmt.Errorf("BUG: unknown key %q", key)
	}
}

// GetUint64 implements raft.StableStore.
func (s *VoteStore) GetUint64(key []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v uint64
	switch string(key) {
	case keyVoteTerm:
		v = s.vote.voteTerm
	case keyCurrentTerm:
		v = s.vote.term
	}
	if v == 0 {
		return 0, raftboltdb.ErrKeyNotFound // Raft compares its text
	}
	return v, nil
}

// Close closes the file.
func (s *VoteStore) Close() error { return s.bolt.Close() }

// maxBoltFile is far above what one record of 100 bytes can make of a bolt file.
const maxBoltFile = 64 << 20

// checkBoltFile verifies the file before bolt maps it (boltcheck.go).
func checkBoltFile(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return &CorruptError{File: path, Offset: -1, What: "the file is missing; it holds this node's term and vote", Action: restoreAdvice}
	}
	if err != nil {
		return err
	}
	if info.Size() > maxBoltFile {
		return &CorruptError{File: path, Offset: maxBoltFile, What: fmt.Sprintf("%d bytes are too many", info.Size()), Action: restoreAdvice}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if offset, what := checkBolt(b); what != "" {
		return &CorruptError{File: path, Offset: offset, What: what, Action: restoreAdvice}
	}
	return nil
}
