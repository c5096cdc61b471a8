package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft"
)

// A snapshot file, little-endian:
//
//	 0              8       10         12       16
//	┌──────────────┬───────┬──────────┬────────┐
//	│ "QUIPUSNP"   │version│ reserved │ h      │   h: length of the header fields
//	├──────────────┴───────┴──────────┴────────┤
//	│ index u64 · term u64 · configuration     │
//	│ index u64 · created (ms) u64             │
//	│ incarnation, 16 bytes                    │
//	│ cluster name: u32 length, bytes          │
//	│ Raft configuration: u32 length, bytes    │
//	├──────────────────────────────────────────┤   at 16+h
//	│ CRC32C of all above                      │
//	├──────────────────────────────────────────┤   at 20+h: the body begins
//	│ body …                                   │
//	├──────────────────────────────────────────┤   footer
//	│ CRC32C of each 1 MiB block of the body   │   u32 each; the last block may be shorter
//	├──────────────────────────────────────────┤   at size−24
//	│ body length u64 · blocks u32 · reserved  │
//	│ u32 · CRC32C of footer and header's CRC  │   covers the footer up to here and then the header's CRC
//	│ u32 · "SNPE"                             │
//	└──────────────────────────────────────────┘
//
// Everything is covered by a CRC32C; the body by blocks, so that several goroutines can look for damage, and a message can name the place.
const (
	snapMagic     = "QUIPUSNP"
	snapEnd       = 0x45504e53 // "SNPE"
	snapVersion   = 1
	snapFixed     = 16
	snapFooter    = 24
	snapBlock     = 1 << 20
	snapMaxHeader = 1 << 20
	// The fields before the cluster name.
	snapFields = 8*4 + 16
)

// snapHeader is the decoded header.
type snapHeader struct {
	index, term   uint64
	configIndex   uint64
	created       int64 // ms since the epoch
	incarnation   [16]byte
	cluster       string
	configuration raft.Configuration
}

func encodeSnapHeader(h snapHeader) []byte {
	le := binary.LittleEndian
	conf := raft.EncodeConfiguration(h.configuration)
	b := make([]byte, snapFixed, snapFixed+snapFields+8+len(h.cluster)+len(conf)+4)
	copy(b, snapMagic)
	le.PutUint16(b[8:], snapVersion)
	b = le.AppendUint64(b, h.index)
	b = le.AppendUint64(b, h.term)
	b = le.AppendUint64(b, h.configIndex)
	b = le.AppendUint64(b, uint64(h.created))
	b = append(b, h.incarnation[:]...)
	b = le.AppendUint32(b, uint32(len(h.cluster)))
	b = append(b, h.cluster...)
	b = le.AppendUint32(b, uint32(len(conf)))
	b = append(b, conf...)
	le.PutUint32(b[12:], uint32(len(b)-snapFixed))
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

var errSnapShort = errors.New("the header is cut off")

// decodeSnapHeader decodes the header at the front of b, which may go on behind it, and returns its length.
func decodeSnapHeader(b []byte) (h snapHeader, size int, err error) {
	le := binary.LittleEndian
	if len(b) < snapFixed {
		return h, 0, errSnapShort
	}
	if string(b[:8]) != snapMagic {
		return h, 0, errors.New("the file does not begin with the magic of a snapshot")
	}
	if v := le.Uint16(b[8:]); v > snapVersion {
		return h, 0, &VersionError{What: "snapshot", Found: int(v), Known: snapVersion}
	}
	n := le.Uint32(b[12:])
	if n > snapMaxHeader || n < snapFields+8 {
		return h, 0, fmt.Errorf("header of %d bytes", n)
	}
	size = snapFixed + int(n) + 4
	if len(b) < size {
		return h, 0, errSnapShort
	}
	b = b[:size]
	if crc32.Checksum(b[:size-4], castagnoli) != le.Uint32(b[size-4:]) {
		return h, 0, errors.New("the header fails its CRC32C")
	}
	if le.Uint16(b[8:]) != snapVersion {
		return h, 0, fmt.Errorf("version %d", le.Uint16(b[8:]))
	}
	h = snapHeader{index: le.Uint64(b[16:]), term: le.Uint64(b[24:]), configIndex: le.Uint64(b[32:]), created: int64(le.Uint64(b[40:]))}
	copy(h.incarnation[:], b[48:])
	rest := b[snapFixed+snapFields : size-4]
	name, rest, ok := cutField(rest)
	conf, rest, ok2 := cutField(rest)
	if !ok || !ok2 || len(rest) != 0 {
		return h, 0, errors.New("the header's fields do not fit its length")
	}
	h.cluster = string(name)
	h.configuration, err = decodeConfiguration(conf)
	return h, size, err
}

// cutField takes a u32 length and as many bytes off b.
func cutField(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// decodeConfiguration turns the panic of Raft's decoder into an error.
func decodeConfiguration(b []byte) (c raft.Configuration, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the Raft configuration cannot be decoded: %v", r)
		}
	}()
	return raft.DecodeConfiguration(b), nil
}

// encodeSnapFooter ends a file. headerCRC ties it to its header.
func encodeSnapFooter(blocks []uint32, body int64, headerCRC uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, 4*len(blocks)+snapFooter)
	for _, crc := range blocks {
		b = le.AppendUint32(b, crc)
	}
	b = le.AppendUint64(b, uint64(body))
	b = le.AppendUint32(b, uint32(len(blocks)))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, le.AppendUint32(nil, headerCRC)))
	return le.AppendUint32(b, snapEnd)
}

// readSnapFooter reads and verifies the footer of a file of the given size whose body begins at start.
func readSnapFooter(r io.ReaderAt, size, start int64, headerCRC uint32) (blocks []uint32, body int64, err error) {
	le := binary.LittleEndian
	var end [snapFooter]byte
	if size < start+snapFooter {
		return nil, 0, errors.New("the file ends before its footer")
	}
	if _, err := r.ReadAt(end[:], size-snapFooter); err != nil {
		return nil, 0, err
	}
	body, n := int64(le.Uint64(end[:])), int64(le.Uint32(end[8:]))
	if le.Uint32(end[20:]) != snapEnd || body < 0 || n != (body+snapBlock-1)/snapBlock || start+body+4*n+snapFooter != size {
		return nil, 0, errors.New("the file does not end with a footer: it is cut off or damaged")
	}
	table := make([]byte, 4*n, 4*n+snapFooter)
	if _, err := r.ReadAt(table, start+body); err != nil {
		return nil, 0, err
	}
	sum := crc32.Update(crc32.Checksum(table, castagnoli), castagnoli, end[:16])
	if sum = crc32.Update(sum, castagnoli, le.AppendUint32(nil, headerCRC)); sum != le.Uint32(end[16:]) {
		return nil, 0, errors.New("the footer fails its CRC32C")
	}
	blocks = make([]uint32, n)
	for i := range blocks {
		blocks[i] = le.Uint32(table[4*i:])
	}
	return blocks, body, nil
}
