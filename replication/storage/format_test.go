package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

func FuzzDecodeSnapHeader(f *testing.F) {
	f.Add(encodeSnapHeader(snapHeader{index: 5, term: 2, configIndex: 1, cluster: "quipu", configuration: raft.Configuration{
		Servers: []raft.Server{{ID: "a", Address: "b"}},
	}}))
	f.Add([]byte(snapMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := decodeSnapHeader(b)
		if err == nil && (n > len(b) || !bytes.Equal(encodeSnapHeader(h), b[:n])) {
			t.Errorf("%q decodes to %+v", b, h)
		}
	})
}

func FuzzDecodeWatermark(f *testing.F) {
	var b1 [markSize]byte
	encodeMark(&b1, mark{sequence: 7, index: 8, crc: 9})
	f.Add(b1[:])
	f.Add(append(make([]byte, watermarkStride), b1[:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeWatermark(b)
		if err != nil {
			return
		}
		encodeMark(&b1, m)
		if !bytes.Contains(b, b1[:]) {
			t.Errorf("%q decodes to %+v", b, m)
		}
	})
}

func FuzzDecodeVote(f *testing.F) {
	f.Add(encodeVote(voteRecord{term: 3, voteTerm: 2, candidate: []byte("n")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := decodeVote(b); err == nil && !bytes.Equal(encodeVote(v), b) {
			t.Errorf("%q decodes to %+v", b, v)
		}
	})
}

func FuzzCheckBolt(f *testing.F) {
	f.Add([]byte("not a bolt file"))
	path := filepath.Join(f.TempDir(), "stable.db")
	s, err := OpenVotes(path, true, func(err error) { f.Error(err) })
	if err != nil {
		f.Fatal(err)
	}
	s.SetUint64([]byte(keyCurrentTerm), 1)
	s.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if _, what := checkBolt(b); what != "" {
		f.Fatal(what)
	}
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { checkBolt(b) })
}
