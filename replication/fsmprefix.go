package replication

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The front of a snapshot's body, before the bytes of the state machine, little-endian:
//
//	 0        4    5          8               16           24      26         44       48
//	┌────────┬────┬──────────┬───────────────┬────────────┬───────┬──────────┬────────┐
//	│ "QPFS" │ver │ reserved │ applied index │ last stamp │ level │ reserved │ CRC32C │
//	└────────┴────┴──────────┴───────────────┴────────────┴───────┴──────────┴────────┘
//
// level: the semantics level of the last entry. Reserved bytes are 0. The CRC32C covers bytes 0–43.
const (
	fsmPrefixSize    = 48
	fsmPrefixMagic   = 0x53465051 // "QPFS"
	fsmPrefixVersion = 1
)

type fsmPrefix struct {
	applied uint64
	stamp   int64
	level   uint16
}

func encodeFSMPrefix(p fsmPrefix) []byte {
	b := make([]byte, fsmPrefixSize)
	le := binary.LittleEndian
	le.PutUint32(b, fsmPrefixMagic)
	b[4] = fsmPrefixVersion
	le.PutUint64(b[8:], p.applied)
	le.PutUint64(b[16:], uint64(p.stamp))
	le.PutUint16(b[24:], p.level)
	le.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
	return b
}

func decodeFSMPrefix(b []byte) (p fsmPrefix, err error) {
	le := binary.LittleEndian
	if len(b) < fsmPrefixSize || le.Uint32(b) != fsmPrefixMagic {
		return p, errors.New("snapshot body does not begin with its prefix")
	}
	if b[4] > fsmPrefixVersion {
		return p, &VersionError{What: "snapshot body", Found: int(b[4]), Known: fsmPrefixVersion}
	}
	if le.Uint32(b[44:]) != crc32.Checksum(b[:44], castagnoli) {
		return p, errors.New("snapshot body's prefix fails its CRC32C")
	}
	p = fsmPrefix{applied: le.Uint64(b[8:]), stamp: int64(le.Uint64(b[16:])), level: le.Uint16(b[24:])}
	if b[4] != fsmPrefixVersion || le.Uint32(b[28:]) != 0 {
		return p, errors.New("snapshot body's prefix has unknown contents")
	}
	if p.level > SemanticsLevel {
		return p, &VersionError{What: "semantics level of snapshot", Found: int(p.level), Known: int(SemanticsLevel)}
	}
	return p, nil
}
