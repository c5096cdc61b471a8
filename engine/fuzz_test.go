package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// seedSnapshot is a small snapshot for fuzzing.
func seedSnapshot(f *testing.F) []byte {
	ks := newTestKeyspace(f, Config{Databases: 2, Seed: 5})
	locked(ks, func() {
		for i := range 6 {
			txn := ks.Txn(i%2, 1, true)
			txn.SetInt(fmt.Appendf(nil, "{a}%d", i), int64(i*1000), int64(i%3))
			txn.SetBytes(fmt.Appendf(nil, "{a}s%d", i), []byte("text"), KindString, 0)
		}
	})
	return saved(f, ks)
}

// reseal makes the checksums of a damaged snapshot right, as far as its
// structure can be followed, so that fuzzing gets behind them.
func reseal(b []byte) {
	seal := func(from, to int) { binary.LittleEndian.PutUint32(b[to:], checksum(b[from:to])) }
	if len(b) < headerBytes {
		return
	}
	seal(0, 28)
	at := uint64(headerBytes) + uint64(binary.LittleEndian.Uint32(b[24:]))*planEntryBytes
	if at+4 > uint64(len(b)) {
		return
	}
	seal(headerBytes, int(at))
	for at += 4; at+sectionBytes <= uint64(len(b)); {
		if b[at] == sectionMark {
			body := at + sectionBytes
			n := binary.LittleEndian.Uint64(b[at+8:])
			if n > uint64(len(b))-body {
				n = uint64(len(b)) - body
			}
			binary.LittleEndian.PutUint32(b[at+16:], checksum(b[body:body+n]))
			seal(int(at), int(at+20))
			at = body + n
			continue
		}
		seal(int(at), int(at+20))
		at += sectionBytes
	}
}

func FuzzLoad(f *testing.F) {
	snapshot := seedSnapshot(f)
	f.Add(snapshot)
	f.Add(snapshot[:len(snapshot)-1])
	f.Add([]byte(formatMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		reseal(b)
		ks := New(Config{Databases: 2})
		defer ks.Close()
		if ks.Load(bytes.NewReader(b), int64(len(b)), 1) != nil {
			return
		}
		if err := ks.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte{1, 1, 4, 'k'})
	f.Add([]byte{2 | flagDeadline, 1, 1, 2, 3, 4, 5, 6, 7, 8, 3, 'k', 'a', 'b', 'c'})
	f.Fuzz(func(t *testing.T, b []byte) {
		key, v, n, err := decodeRecord(b)
		if err != nil {
			return
		}
		if n > len(b) || len(key) > MaxKey || v.Kind == KindNone || v.Kind >= kindLimit {
			t.Fatalf("%d of %d bytes, key of %d, kind %d", n, len(b), len(key), v.Kind)
		}
		// What was read and is written again must read the same.
		ks := New(Config{Databases: 1})
		defer ks.Close()
		ks.Txn(0, 0, true).put(key, &v)
		sh := ks.shard(Part(key), 0)
		again := appendRecord(nil, sh.at(sh.find(ks.hash(key), key)))
		key2, v2, n2, err := decodeRecord(again)
		if err != nil || n2 != len(again) || !bytes.Equal(key, key2) || !sameValue(v, v2) {
			t.Fatalf("%q %+v became %q %+v, %v", key, v, key2, v2, err)
		}
	})
}
