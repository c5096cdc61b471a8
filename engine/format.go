package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A snapshot is a stream of
//
//	header   plan   section …   end
//
// with all numbers little-endian and every byte covered by a CRC-32C:
//
//	header, 32 bytes
//	0               8        9       10          12    16      24       28     32
//	┌───────────────┬────────┬────────┬──────────┬─────┬───────┬────────┬──────┐
//	│ "QUIPUKS\n"   │version │ 0      │databases │ 0   │ seed  │ shards │ CRC  │
//	│               │u8      │        │u16       │     │ u64   │ u32    │ u32  │
//	└───────────────┴────────┴────────┴──────────┴─────┴───────┴────────┴──────┘
//
//	plan: shards entries of 12 bytes in ascending order of part and database,
//	then a CRC of them; database 16384 is the hidden one (origin.go)
//	0      1     2            4               12
//	┌──────┬─────┬────────────┬───────────────┐
//	│ part │ 0   │ database   │ records, u64  │
//	└──────┴─────┴────────────┴───────────────┘
//
//	section, 24 bytes and a body of so many bytes: some records of one shard
//	0      1      2          4          8            16        20         24
//	┌──────┬──────┬──────────┬──────────┬────────────┬─────────┬──────────┬──────
//	│ 'S'  │ part │ database │ records  │ body bytes │ CRC of  │ CRC of   │ body …
//	│      │      │ u16      │ u32      │ u64        │ body    │ this     │
//	└──────┴──────┴──────────┴──────────┴────────────┴─────────┴──────────┴──────
//
//	end, 24 bytes, the last of the stream
//	0      1        4          8          16       20         24
//	┌──────┬────────┬──────────┬──────────┬────────┬──────────┐
//	│ 'E'  │ 0      │ sections │ records  │ 0      │ CRC of   │
//	│      │        │ u32      │ u64      │        │ this     │
//	└──────┴────────┴──────────┴──────────┴────────┴──────────┘
//
//	record, in a section's body
//	┌──────────┬──────────────┬────────────┬─────────────┬──────┬─────────┐
//	│ kind and │ key length   │ deadline   │ KindInt: n  │ key  │ content │
//	│ flags u8 │ uvarint      │ u64 if any │ varint;     │      │         │
//	│          │              │            │ else length │      │         │
//	│          │              │            │ uvarint     │      │         │
//	└──────────┴──────────────┴────────────┴─────────────┴──────┴─────────┘
//
// Bits 0-3 of the first byte are the kind, bit 4 says that there is a deadline,
// the others are 0. Sections come in any order. The counts make sure that what
// was cut off is noticed: a reader accepts nothing but the whole stream.
const (
	formatMagic   = "QUIPUKS\n"
	formatVersion = 3
	formatRegions = 4 // with regions, which programs that know no later version than formatVersion must not load

	headerBytes    = 32
	planEntryBytes = 12
	sectionBytes   = 24 // also the size of the end

	sectionMark = 'S'
	endMark     = 'E'

	flagDeadline = 0x10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// appendCRC appends the checksum of b[from:].
func appendCRC(b []byte, from int) []byte {
	return binary.LittleEndian.AppendUint32(b, checksum(b[from:]))
}

// goodCRC reports whether the last 4 bytes of b are the checksum of the others.
func goodCRC(b []byte) bool {
	n := len(b) - 4
	return checksum(b[:n]) == binary.LittleEndian.Uint32(b[n:])
}

// CorruptError says where a snapshot is damaged.
type CorruptError struct {
	Offset int64 // of the damaged piece, in bytes from the snapshot's start
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("snapshot is damaged at byte %d: %s", e.Offset, e.Reason)
}

// VersionError says that a snapshot is of a format this program does not know.
type VersionError struct{ Version int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("snapshot has keyspace format version %d, this program knows %d: use a newer program", e.Version, formatRegions)
}

type header struct {
	databases uint16
	seed      uint64
	shards    uint32
	regions   bool
}

func (h header) append(b []byte) []byte {
	at := len(b)
	b = append(b, formatMagic...)
	version := byte(formatVersion)
	if h.regions {
		version = formatRegions
	}
	b = append(b, version, 0)
	b = binary.LittleEndian.AppendUint16(b, h.databases)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, h.seed)
	b = binary.LittleEndian.AppendUint32(b, h.shards)
	return appendCRC(b, at)
}

func decodeHeader(b []byte) (h header, err error) {
	if string(b[:8]) != formatMagic {
		return h, &CorruptError{0, "this is not a keyspace snapshot"}
	}
	if b[8] > formatRegions {
		return h, &VersionError{int(b[8])}
	}
	if !goodCRC(b) {
		return h, &CorruptError{0, "the header's checksum is wrong"}
	}
	h.databases = binary.LittleEndian.Uint16(b[10:])
	h.seed = binary.LittleEndian.Uint64(b[16:])
	h.shards = binary.LittleEndian.Uint32(b[24:])
	if b[8] < formatVersion || b[9] != 0 || binary.LittleEndian.Uint32(b[12:]) != 0 || h.databases == 0 ||
		h.databases > MaxDatabases || h.shards > Parts*(uint32(h.databases)+1) {
		return h, &CorruptError{0, "the header has impossible values"}
	}
	return h, nil
}

// planEntry says how many records one shard has.
type planEntry struct {
	part    uint8
	db      uint16
	records uint64
}

func (e planEntry) append(b []byte) []byte {
	b = append(b, e.part, 0)
	b = binary.LittleEndian.AppendUint16(b, e.db)
	return binary.LittleEndian.AppendUint64(b, e.records)
}

func decodePlanEntry(b []byte) planEntry {
	return planEntry{b[0], binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint64(b[4:])}
}

// section is the header of a section.
type section struct {
	part    uint8
	db      uint16
	records uint32
	bytes   uint64
	crc     uint32
}

func (s section) append(b []byte) []byte {
	at := len(b)
	b = append(b, sectionMark, s.part)
	b = binary.LittleEndian.AppendUint16(b, s.db)
	b = binary.LittleEndian.AppendUint32(b, s.records)
	b = binary.LittleEndian.AppendUint64(b, s.bytes)
	b = binary.LittleEndian.AppendUint32(b, s.crc)
	return appendCRC(b, at)
}

func decodeSection(b []byte) section {
	return section{
		part:    b[1],
		db:      binary.LittleEndian.Uint16(b[2:]),
		records: binary.LittleEndian.Uint32(b[4:]),
		bytes:   binary.LittleEndian.Uint64(b[8:]),
		crc:     binary.LittleEndian.Uint32(b[16:]),
	}
}

// end is the last piece of a snapshot.
type end struct {
	sections uint32
	records  uint64
}

func (e end) append(b []byte) []byte {
	at := len(b)
	b = append(b, endMark, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, e.sections)
	b = binary.LittleEndian.AppendUint64(b, e.records)
	b = append(b, 0, 0, 0, 0)
	return appendCRC(b, at)
}

func decodeEnd(b []byte) end {
	return end{binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint64(b[8:])}
}

// appendRecord appends a record.
func appendRecord(b []byte, r record) []byte {
	kind, deadline, key := r.kind(), r.deadline(), r.key()
	first := byte(kind)
	if deadline != 0 {
		first |= flagDeadline
	}
	b = append(b, first)
	b = binary.AppendUvarint(b, uint64(len(key)))
	if deadline != 0 {
		b = binary.LittleEndian.AppendUint64(b, uint64(deadline))
	}
	if kind == KindInt {
		b = binary.AppendVarint(b, r.int())
		return append(b, key...)
	}
	content := r.content()
	b = binary.AppendUvarint(b, uint64(len(content)))
	b = append(b, key...)
	return append(b, content...)
}

var errRecord = errors.New("a record is malformed")

// decodeRecord reads the record at the start of b and returns its size. Key and
// content alias b.
func decodeRecord(b []byte) (key []byte, v Value, size int, err error) {
	if len(b) == 0 || b[0]&^(kindMask|flagDeadline) != 0 || b[0]&kindMask == 0 {
		return nil, v, 0, errRecord
	}
	v.Kind = Kind(b[0] & kindMask)
	keyLen, n := binary.Uvarint(b[1:])
	if n <= 0 || keyLen > MaxKey+1 { // a grave has the name of a key and a byte
		return nil, v, 0, errRecord
	}
	at := 1 + n
	if b[0]&flagDeadline != 0 {
		if len(b)-at < 8 {
			return nil, v, 0, errRecord
		}
		v.Deadline = int64(binary.LittleEndian.Uint64(b[at:]))
		if at += 8; v.Deadline == 0 {
			return nil, v, 0, errRecord
		}
	}
	contentLen := uint64(0)
	if v.Kind == KindInt {
		v.Int, n = binary.Varint(b[at:])
	} else {
		contentLen, n = binary.Uvarint(b[at:])
	}
	if n <= 0 || contentLen > MaxValue || uint64(len(b)-at-n) < keyLen+contentLen {
		return nil, v, 0, errRecord
	}
	at += n
	key = b[at : at+int(keyLen)]
	at += int(keyLen)
	if v.Kind != KindInt {
		v.Bytes = b[at : at+int(contentLen)]
		at += int(contentLen)
	}
	return key, v, at, nil
}
