package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// The bytes of a small file that is replaced as a whole (node, boot, wal/meta), little-endian:
//
//	 0        4    5          8          12         16
//	┌────────┬────┬──────────┬──────────┬──────────┬─────────────┐
//	│ magic  │ver │ reserved │ length   │ CRC32C   │ body        │
//	└────────┴────┴──────────┴──────────┴──────────┴─────────────┘
//
// The CRC32C covers bytes 0–11 and the body, which ends the file.
const containerHeader = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// container is one kind of such file.
type container struct {
	magic   uint32
	version uint8
	what    string // for messages
}

func (c container) encode(body []byte) []byte {
	b := make([]byte, containerHeader, containerHeader+len(body))
	le := binary.LittleEndian
	le.PutUint32(b, c.magic)
	b[4] = c.version
	le.PutUint32(b[8:], uint32(len(body)))
	le.PutUint32(b[12:], crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, body))
	return append(b, body...)
}

// decode returns the body of the file at path, whose bytes are b.
func (c container) decode(path string, b []byte) ([]byte, error) {
	corrupt := func(offset int64, what string) error {
		return &CorruptError{File: path, Offset: offset, What: what, Action: restoreAdvice}
	}
	le := binary.LittleEndian
	switch {
	case len(b) < containerHeader || le.Uint32(b) != c.magic:
		return nil, corrupt(0, "not a "+c.what)
	case b[4] > c.version:
		return nil, &VersionError{What: "file " + path, Found: int(b[4]), Known: int(c.version)}
	case b[4] != c.version:
		return nil, corrupt(4, "unknown version")
	}
	body := b[containerHeader:]
	if uint64(le.Uint32(b[8:])) != uint64(len(body)) {
		return nil, corrupt(8, fmt.Sprintf("it says %d bytes follow and %d do", le.Uint32(b[8:]), len(body)))
	}
	if crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, body) != le.Uint32(b[12:]) {
		return nil, corrupt(12, "CRC32C does not match")
	}
	return body, nil
}

// tempSuffix is the suffix of a file being written, and after replaceFile of the file that was replaced.
const tempSuffix = ".tmp"

// replaceFile replaces a file so that after a crash it has the old or the new contents. It needs no new blocks, so that it
// works on a full disk: the file that is replaced stays as a temporary file, and the next replacement is written to its
// blocks. On a file system without hard links the file that is replaced does not stay, so each replacement needs new blocks.
func replaceFile(path string, b []byte) error {
	temp := path + tempSuffix
	current, err1 := os.Stat(path)
	spare, err2 := os.Stat(temp)
	if err1 == nil && err2 == nil && os.SameFile(current, spare) {
		os.Remove(temp) // a crash without a journal may leave this; the file that counts is never written to
	}
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	old := path + ".old"
	os.Remove(old)
	linked := os.Link(path, old) == nil
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if linked {
		os.Rename(old, temp)
	}
	return SyncDir(filepath.Dir(path))
}
