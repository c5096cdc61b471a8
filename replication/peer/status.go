package peer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
)

// Status is what a node says of its state when it is asked.
type Status struct {
	Term     uint64 // current term: the node has given no vote in a later one, and will give none in an earlier one
	Serves   bool   // leads in this term, with everything of earlier terms applied
	Applied  uint64 // index of the last entry that its state machine has executed
	Last     uint64 // index of the last entry in its log, on disk
	LogTime  int64  // ms since the Unix epoch
	Full     bool   // its disk has no room for more of the log
	Ready    bool   // it serves clients
	Doubtful bool   // its state is not what that of most nodes is
	Stops    bool   // it was told to stop
	Drains   bool   // and has something left to bring into the log

	CheckedIndex, Checksum uint64 // the last checksum of its state, behind the entry of that index
}

// The body of an answer, little-endian: Last u64, LogTime i64, flags u64 (bit 0: Serves, 1: Full, 2: Ready, 3: Doubtful,
// 4: Drains, 5: Stops), CheckedIndex u64, Checksum u64. Term and Applied are in the header.
const (
	statusBytes    = 40
	maxStatusBytes = 512
)

const (
	flagServes = 1 << iota
	flagFull
	flagReady
	flagDoubtful
	flagDrains
	flagStops
)

func (s *Status) frame(sequence uint64) frame {
	le := binary.LittleEndian
	body := make([]byte, 0, statusBytes)
	body = le.AppendUint64(body, s.Last)
	body = le.AppendUint64(body, uint64(s.LogTime))
	flags := uint64(0)
	for _, f := range [...]struct {
		flag uint64
		on   bool
	}{{flagServes, s.Serves}, {flagFull, s.Full}, {flagReady, s.Ready}, {flagDoubtful, s.Doubtful}, {flagDrains, s.Drains}, {flagStops, s.Stops}} {
		if f.on {
			flags |= f.flag
		}
	}
	body = le.AppendUint64(body, flags)
	body = le.AppendUint64(body, s.CheckedIndex)
	body = le.AppendUint64(body, s.Checksum)
	return frame{kind: frameStatus, term: s.Term, sequence: sequence, index: s.Applied, body: body}
}

func decodeStatus(f *frame) (s Status, err error) {
	if f.kind != frameStatus || len(f.body) < statusBytes { // a later version may say more
		return s, fmt.Errorf("expected the state of a node, got message %d of %d bytes", f.kind, len(f.body))
	}
	le := binary.LittleEndian
	flags := le.Uint64(f.body[16:])
	return Status{
		Term: f.term, Applied: f.index, Last: le.Uint64(f.body), LogTime: int64(le.Uint64(f.body[8:])),
		Serves: flags&flagServes != 0, Full: flags&flagFull != 0, Ready: flags&flagReady != 0,
		Doubtful: flags&flagDoubtful != 0, Drains: flags&flagDrains != 0, Stops: flags&flagStops != 0,
		CheckedIndex: le.Uint64(f.body[24:]), Checksum: le.Uint64(f.body[32:]),
	}, nil
}

// answerStatus answers questions on a connection until it ends.
func answerStatus(c net.Conn, h Handler) error {
	r := bufio.NewReaderSize(c, 2*frameHeader)
	var out []byte
	for {
		f, err := readFrame(r, nil, 0)
		if err != nil {
			return err
		}
		if f.kind != frameAsk {
			return fmt.Errorf("expected a question for the state of this node, got message %d", f.kind)
		}
		s := h.Status()
		answer := s.frame(f.sequence)
		out = answer.append(out[:0])
		if _, err := c.Write(out); err != nil {
			return err
		}
	}
}
