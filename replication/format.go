package replication

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The bytes of an entry, little-endian. level is the semantics level. What the payload means is up to the state machine.
//
//	 0         4     5     6       8       10      12         16
//	┌─────────┬─────┬─────┬───────┬───────┬───────┬──────────┐
//	│ "QPEN"  │ ver │flags│ level │ group │ part  │ reserved │   group, part: 0; reserved for many groups and for moves
//	├─────────┴─────┴─────┴───────┼───────┴───────┴──────────┤
//	│ stamp: log time, ms         │ term                     │   term: in which the proposer leads
//	├─────────────────────────────┼──────────────────────────┤
//	│ proposer: random number of  │ sequence: of the         │   proposer: chosen anew at each start of a process
//	│ the process                 │ proposer                 │   sequence: 1, 2, 3 … as proposed
//	├──────────────┬───────────┬──┴──────────────────────────┤
//	│ payload len  │  CRC32C   │ payload …                   │   CRC32C (Castagnoli) of bytes 0–51 and the payload
//	└──────────────┴───────────┴─────────────────────────────┘
//	16 stamp · 24 term · 32 proposer · 40 sequence · 48 length · 52 CRC · 56 payload
//
// An entry is void, on every node, if the term that Raft has given it in the log is another than the one here. Without that
// rule a proposal that slept in Raft's channel while the node lost its office and won it again would still be executed,
// after its clients were told that it was not.
//
// Flag bit 0 (tick): no payload, the entry only advances log time. Bit 1 (check): every node takes a checksum of its state
// behind the entry. Other flag bits are 0; if one is set, a newer version has written the entry.

// HeaderSize is the number of bytes Batch.Seal leaves free at the front of its buffer.
const HeaderSize = 56

const (
	entryMagic   = 0x4e455051 // "QPEN"
	entryVersion = 2

	flagTick   = 1 << 0
	flagCheck  = 1 << 1
	knownFlags = flagTick | flagCheck
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entryHeader is the decoded front of an entry.
type entryHeader struct {
	flags    uint8
	level    uint16
	stamp    int64
	term     uint64
	proposer uint64
	sequence uint64
}

// encodeEntry fills the first HeaderSize bytes of buf. The rest of buf is the payload, which is there already.
func encodeEntry(buf []byte, h entryHeader) {
	_ = buf[HeaderSize-1]
	le := binary.LittleEndian
	le.PutUint32(buf[0:], entryMagic)
	buf[4] = entryVersion
	buf[5] = h.flags
	le.PutUint16(buf[6:], h.level)
	le.PutUint64(buf[8:], 0)
	le.PutUint64(buf[16:], uint64(h.stamp))
	le.PutUint64(buf[24:], h.term)
	le.PutUint64(buf[32:], h.proposer)
	le.PutUint64(buf[40:], h.sequence)
	le.PutUint32(buf[48:], uint32(len(buf)-HeaderSize))
	le.PutUint32(buf[52:], entryCRC(buf))
}

func entryCRC(buf []byte) uint32 {
	return crc32.Update(crc32.Checksum(buf[:52], castagnoli), castagnoli, buf[HeaderSize:])
}

// decodeEntry is the mirror of encodeEntry. The payload aliases buf. It refuses anything but exactly one undamaged entry.
func decodeEntry(buf []byte) (h entryHeader, payload []byte, err error) {
	le := binary.LittleEndian
	if len(buf) < HeaderSize {
		return h, nil, fmt.Errorf("entry of %d bytes is shorter than its header", len(buf))
	}
	if m := le.Uint32(buf); m != entryMagic {
		return h, nil, fmt.Errorf("entry begins with %#08x instead of its magic", m)
	}
	// The version is judged before the CRC: a newer one may place or compute it differently.
	if v := buf[4]; v != entryVersion {
		if v > entryVersion {
			return h, nil, &VersionError{What: "log entry", Found: int(v), Known: entryVersion}
		}
		return h, nil, fmt.Errorf("entry has version %d", v)
	}
	if n := le.Uint32(buf[48:]); uint64(n) != uint64(len(buf)-HeaderSize) {
		return h, nil, fmt.Errorf("entry says %d bytes of payload and has %d", n, len(buf)-HeaderSize)
	}
	if want, got := le.Uint32(buf[52:]), entryCRC(buf); want != got {
		return h, nil, fmt.Errorf("entry has CRC32C %08x and says %08x", got, want)
	}
	h = entryHeader{
		flags: buf[5], level: le.Uint16(buf[6:]),
		stamp: int64(le.Uint64(buf[16:])), term: le.Uint64(buf[24:]),
		proposer: le.Uint64(buf[32:]), sequence: le.Uint64(buf[40:]),
	}
	if h.flags&^knownFlags != 0 || le.Uint64(buf[8:]) != 0 {
		return h, nil, fmt.Errorf("entry has unknown flags %#02x or reserved bytes: it is from a newer version of Quipu", h.flags)
	}
	return h, buf[HeaderSize:], nil
}

// isTick reports whether data is an entry that only advances log time. It is cheap: it verifies no checksum.
func isTick(data []byte) bool {
	return len(data) == HeaderSize && binary.LittleEndian.Uint32(data) == entryMagic && data[5]&flagTick != 0
}
