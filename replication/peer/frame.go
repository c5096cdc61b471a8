package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// What follows the hellos on a connection that is not Raft's: messages of a header and a body, little-endian.
//
//	 0        4      5       6          8      16         24      32         36       40
//	┌────────┬──────┬───────┬──────────┬──────┬──────────┬───────┬──────────┬────────┬────────┐
//	│ length │ type │ flags │ reserved │ term │ sequence │ index │ reserved │ CRC32C │ body … │
//	└────────┴──────┴───────┴──────────┴──────┴──────────┴───────┴──────────┴────────┴────────┘
//
// length is that of the body, in bytes. The CRC32C covers bytes 0–35 and the body.

// frameType says what a frame is.
type frameType uint8

const (
	frameAsk    frameType = 1 + iota // a question for the state of a node; sequence: chosen by who asks
	frameStatus                      // the answer, with the sequence of the question; body: status.go
	frameBatch                       // what clients of another node want; body: up to the state machine
	frameDone                        // its outcome, with the sequence of the batch; body: absorb.go
	frameRetire                      // no more batches, please: this node stops
	frameNotice                      // something for the clients of the other node; flags: what, and body: up to the handler
)

const (
	frameHeader = 40
	frameCRC    = 36
)

type frame struct {
	kind     frameType
	flags    uint8
	term     uint64
	sequence uint64
	index    uint64
	body     []byte
}

var errFrame = errors.New("a message between nodes is damaged")

// append appends the bytes of the frame to dst.
func (f *frame) append(dst []byte) []byte {
	le := binary.LittleEndian
	at := len(dst)
	dst = le.AppendUint32(dst, uint32(len(f.body)))
	dst = append(dst, byte(f.kind), f.flags, 0, 0)
	dst = le.AppendUint64(dst, f.term)
	dst = le.AppendUint64(dst, f.sequence)
	dst = le.AppendUint64(dst, f.index)
	dst = le.AppendUint32(dst, 0)
	crc := crc32.Update(crc32.Checksum(dst[at:at+frameCRC], castagnoli), castagnoli, f.body)
	dst = le.AppendUint32(dst, crc)
	return append(dst, f.body...)
}

// readFrame reads one frame, whose body has at most limit bytes. The body uses buf if it is large enough.
func readFrame(r io.Reader, buf []byte, limit int) (f frame, err error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return f, err
	}
	le := binary.LittleEndian
	n := int(le.Uint32(h[:]))
	if n > limit {
		return f, fmt.Errorf("a message between nodes of %d bytes: at most %d are possible here", n, limit)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	f = frame{
		kind: frameType(h[4]), flags: h[5], term: le.Uint64(h[8:]), sequence: le.Uint64(h[16:]), index: le.Uint64(h[24:]), body: buf[:n],
	}
	if _, err := io.ReadFull(r, f.body); err != nil {
		return f, err
	}
	crc := crc32.Update(crc32.Checksum(h[:frameCRC], castagnoli), castagnoli, f.body)
	if crc != le.Uint32(h[frameCRC:]) || le.Uint16(h[6:]) != 0 || le.Uint32(h[32:]) != 0 {
		return f, errFrame
	}
	return f, nil
}
