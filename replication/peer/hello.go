package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The first message on a connection between nodes, and the answer to it, little-endian:
//
//	 0        4    5         6        8       10         12          16             24              32
//	┌────────┬────┬─────────┬────────┬───────┬──────────┬───────────┬──────────────┬───────────────┐
//	│ "QPHI" │ver │ purpose │ length │ level │ reserved │ databases │ boot         │ wall time, ms │
//	├────────┴────┴─────────┴────────┴───────┴──────────┴───────────┴──────────────┴───────────────┤
//	│ cluster, incarnation, sender, target, peer address, client address, founders, leader, refusal│   each a length byte and that many bytes
//	├────────┬─────────────────────────────────────────────────────────────────────────────────────┘
//	│ CRC32C │   of everything before it
//	└────────┘
//
// length is that of the whole message, at most maxHello bytes. level is the highest semantics level that the sender knows.

// Purpose says what a connection is for.
type Purpose uint8

// Purposes.
const (
	ForRaft    Purpose = 1 + iota // Raft's messages
	ForStatus                     // questions about the other node; also before the nodes are a cluster
	ForJoin                       // to be added to the cluster; the answer is all there is
	ForWrites                     // batches with writes, for the leader
	ForReads                      // batches without
	ForLead                       // to lead in place of the node that does; the answer is all there is
	ForNotices                    // what clients publish
	purposes
)

// forBatches reports whether batches come over the connection.
func (p Purpose) forBatches() bool { return p == ForWrites || p == ForReads }

// String is the purpose in log lines.
func (p Purpose) String() string {
	switch p {
	case ForRaft:
		return "raft"
	case ForStatus:
		return "status"
	case ForJoin:
		return "join"
	case ForWrites:
		return "writes"
	case ForReads:
		return "reads"
	case ForLead:
		return "lead"
	case ForNotices:
		return "notices"
	}
	return fmt.Sprintf("purpose %d", uint8(p))
}

// Hello is what a node tells another one when they connect.
type Hello struct {
	Purpose       Purpose
	Level         uint16 // highest semantics level that the sender knows
	Databases     uint32
	Boot          uint64 // how often the sender has started
	WallTime      int64  // ms since the Unix epoch
	Cluster       string
	Incarnation   string // of the cluster's data; empty: the sender has no data yet
	Sender        string // node ID
	Target        string // node ID that the sender wants to reach; empty where it asks who is there (not ForRaft)
	PeerAddress   string // under which other nodes reach the sender
	ClientAddress string // under which clients reach it
	Founders      string // digest of the list of nodes that are to found a cluster; empty: the sender founds none
	Leader        string // peer address of the leader that the sender knows; empty: none
	Refusal       string // in an answer: why the connection is not accepted; empty: it is
}

const (
	helloMagic   = 0x49485051 // "QPHI"
	helloVersion = 1
	helloFixed   = 32
	maxHello     = 512
	maxRefusal   = 160
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *Hello) strings() []*string {
	return []*string{&h.Cluster, &h.Incarnation, &h.Sender, &h.Target, &h.PeerAddress, &h.ClientAddress, &h.Founders, &h.Leader, &h.Refusal}
}

// encode returns the message. It fails if the names are too long for it, which the settings exclude.
func (h *Hello) encode() ([]byte, error) {
	le := binary.LittleEndian
	b := make([]byte, helloFixed, maxHello)
	le.PutUint32(b, helloMagic)
	b[4], b[5] = helloVersion, uint8(h.Purpose)
	le.PutUint16(b[8:], h.Level)
	le.PutUint32(b[12:], h.Databases)
	le.PutUint64(b[16:], h.Boot)
	le.PutUint64(b[24:], uint64(h.WallTime))
	for _, s := range h.strings() {
		if len(*s) > 255 {
			return nil, fmt.Errorf("a name of %d bytes does not fit a hello", len(*s))
		}
		b = append(append(b, byte(len(*s))), *s...)
	}
	if len(b)+4 > maxHello {
		return nil, fmt.Errorf("a hello of %d bytes: at most %d are possible; use shorter names", len(b)+4, maxHello)
	}
	le.PutUint16(b[6:], uint16(len(b)+4))
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

var errHello = errors.New("not a hello of a Quipu node")

// readHello reads one message and no byte more.
func readHello(r io.Reader) (h Hello, err error) {
	var buf [maxHello]byte
	le := binary.LittleEndian
	if _, err := io.ReadFull(r, buf[:8]); err != nil {
		return h, err
	}
	if le.Uint32(buf[:]) != helloMagic {
		return h, errHello
	}
	if v := buf[4]; v != helloVersion {
		return h, fmt.Errorf("hello has version %d, this program knows %d: run the same version of Quipu on all nodes", v, helloVersion)
	}
	n := int(le.Uint16(buf[6:]))
	if n < helloFixed+4 || n > maxHello {
		return h, errHello
	}
	b := buf[:n]
	if _, err := io.ReadFull(r, b[8:]); err != nil {
		return h, err
	}
	return decodeHello(b)
}

// decodeHello is the mirror of encode for a whole message.
func decodeHello(b []byte) (h Hello, err error) {
	le := binary.LittleEndian
	end := len(b) - 4
	if crc32.Checksum(b[:end], castagnoli) != le.Uint32(b[end:]) || le.Uint16(b[10:]) != 0 {
		return h, errHello
	}
	h = Hello{
		Purpose: Purpose(b[5]), Level: le.Uint16(b[8:]), Databases: le.Uint32(b[12:]),
		Boot: le.Uint64(b[16:]), WallTime: int64(le.Uint64(b[24:])),
	}
	rest := b[helloFixed:end]
	for _, s := range h.strings() {
		if len(rest) == 0 || len(rest)-1 < int(rest[0]) {
			return h, errHello
		}
		n := 1 + int(rest[0])
		*s, rest = string(rest[1:n]), rest[n:]
	}
	if len(rest) > 0 || h.Purpose == 0 || h.Purpose >= purposes {
		return h, errHello
	}
	return h, nil
}
