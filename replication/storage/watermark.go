package storage

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
)

// The watermark says up to where the log was acknowledged: an entry at or below it that is missing was lost, not torn.
// raft-wal cannot tell: a flipped bit in a frame header makes its recovery end there and call the rest unwritten.
//
// File wal/watermark: two marks, each in a sector of its own, written in turn; the valid one with the higher sequence
// counts. A mark, little-endian:
//
//	 0        4    5          8               16          24           28         32
//	┌────────┬────┬──────────┬───────────────┬───────────┬────────────┬──────────┐
//	│ "QPWK" │ver │ reserved │ sequence      │ log index │ entry's CRC│ CRC32C   │   at 0 and at 512
//	└────────┴────┴──────────┴───────────────┴───────────┴────────────┴──────────┘
//
// The CRC32C covers bytes 0–27. The entry's CRC is that of logstore.go; 0: not known. The file is written after each write
// of the log and not synced, so after a power cut it may be behind the log; it must never be ahead of it.
const (
	watermarkName    = "watermark"
	watermarkMagic   = 0x4b575051 // "QPWK"
	watermarkVersion = 1
	markSize         = 32
	watermarkStride  = 512
)

// mark is one of the two marks in the file.
type mark struct {
	sequence uint64
	index    uint64
	crc      uint32
}

func encodeMark(b *[markSize]byte, m mark) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], watermarkMagic)
	b[4], b[5], b[6], b[7] = watermarkVersion, 0, 0, 0
	le.PutUint64(b[8:], m.sequence)
	le.PutUint64(b[16:], m.index)
	le.PutUint32(b[24:], m.crc)
	le.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
}

var errBadMark = errors.New("no valid watermark")

func decodeMark(b []byte) (m mark, err error) {
	le := binary.LittleEndian
	if len(b) < markSize || le.Uint32(b) != watermarkMagic {
		return m, errBadMark
	}
	if b[4] > watermarkVersion {
		return m, &VersionError{What: "watermark", Found: int(b[4]), Known: watermarkVersion}
	}
	if le.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) || b[4] != watermarkVersion {
		return m, errBadMark
	}
	return mark{sequence: le.Uint64(b[8:]), index: le.Uint64(b[16:]), crc: le.Uint32(b[24:])}, nil
}

// decodeWatermark returns the mark that counts.
func decodeWatermark(b []byte) (mark, error) {
	m0, err0 := decodeMark(b)
	m1, err1 := mark{}, error(errBadMark)
	if len(b) >= watermarkStride {
		m1, err1 = decodeMark(b[watermarkStride:])
	}
	var newer *VersionError
	switch {
	case errors.As(err0, &newer):
		return m0, err0
	case errors.As(err1, &newer):
		return m1, err1
	case err0 != nil && err1 != nil:
		return mark{}, errBadMark
	case err0 != nil || err1 == nil && m1.sequence > m0.sequence:
		return m1, nil
	default:
		return m0, nil
	}
}

// watermark is the open file. Its users hold the log store's lock.
type watermark struct {
	f    *os.File
	last mark
	buf  [markSize]byte
}

// openWatermark reads the file, or creates it if create is set.
func openWatermark(path string, create bool) (*watermark, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &CorruptError{File: path, Offset: -1, What: "the file is missing",
			Action: "restore the directory from a backup: without it lost log entries cannot be told from unwritten ones"}
	}
	if err != nil {
		return nil, err
	}
	w := &watermark{f: f}
	if create {
		if err = w.set(0, 0); err == nil {
			err = w.force(0, 0)
		}
	} else {
		b := make([]byte, 2*watermarkStride)
		var n int
		if n, err = f.ReadAt(b, 0); err == io.EOF {
			err = nil
		}
		if err == nil {
			if w.last, err = decodeWatermark(b[:n]); errors.Is(err, errBadMark) {
				err = &CorruptError{File: path, Offset: 0, What: "both watermarks are damaged", Action: restoreAdvice}
			}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return w, nil
}

// set writes the next mark, without syncing it.
func (w *watermark) set(index uint64, crc uint32) error {
	m := mark{sequence: w.last.sequence + 1, index: index, crc: crc}
	encodeMark(&w.buf, m)
	if _, err := w.f.WriteAt(w.buf[:], int64(m.sequence%2)*watermarkStride); err != nil {
		return err
	}
	w.last = m
	return nil
}

// force writes the next mark and syncs it. That is needed before the log is shortened, since the watermark must not be ahead
// of the log after a power cut.
func (w *watermark) force(index uint64, crc uint32) error {
	if err := w.set(index, crc); err != nil {
		return err
	}
	return w.f.Sync()
}

func (w *watermark) close() error { return w.f.Close() }
