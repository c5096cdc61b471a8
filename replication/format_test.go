package replication

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		h := entryHeader{
			flags: rapid.Uint8Range(0, knownFlags).Draw(t, "flags"), level: rapid.Uint16().Draw(t, "level"),
			stamp: rapid.Int64().Draw(t, "stamp"), term: rapid.Uint64().Draw(t, "term"),
			proposer: rapid.Uint64().Draw(t, "proposer"), sequence: rapid.Uint64().Draw(t, "sequence"),
		}
		buf := append(make([]byte, HeaderSize), payload...)
		encodeEntry(buf, h)
		got, p, err := decodeEntry(buf)
		if err != nil || got != h || !bytes.Equal(p, payload) {
			t.Fatalf("%+v %v %v", got, p, err)
		}
		damaged := bytes.Clone(buf)
		damaged[rapid.IntRange(0, len(buf)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, _, err := decodeEntry(damaged); err == nil {
			t.Fatal("a flipped bit was not noticed")
		}
		if _, _, err := decodeEntry(buf[:rapid.IntRange(0, len(buf)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a cut was not noticed")
		}
	})
}

func TestEntryFromTheFuture(t *testing.T) {
	buf := make([]byte, HeaderSize)
	encodeEntry(buf, entryHeader{})
	buf[4] = entryVersion + 1
	var newer *VersionError
	if _, _, err := decodeEntry(buf); !errors.As(err, &newer) || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("%v", err)
	}
}

// The bytes of released formats stay readable: a change here is a new version.
func TestEntryBytes(t *testing.T) {
	buf := append(make([]byte, HeaderSize), "abc"...)
	encodeEntry(buf, entryHeader{level: 1, stamp: 0x0102030405060708, term: 11, proposer: 9, sequence: 10})
	want := "QPEN\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x07\x06\x05\x04\x03\x02\x01\x0b\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00"
	if string(buf[:52]) != want || string(buf[56:]) != "abc" {
		t.Errorf("%q", buf)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	buf := append(make([]byte, HeaderSize), "payload"...)
	encodeEntry(buf, entryHeader{level: 1, stamp: 2, term: 5, proposer: 3, sequence: 4})
	f.Add(buf)
	f.Add(buf[:HeaderSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, p, err := decodeEntry(b)
		if err != nil {
			return
		}
		again := append(make([]byte, HeaderSize), p...)
		encodeEntry(again, h)
		if !bytes.Equal(again, b) {
			t.Errorf("%q decodes and encodes to %q", b, again)
		}
	})
}
