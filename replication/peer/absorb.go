package peer

import (
	"bufio"
	"fmt"
	"net"
	"sync"
)

// Answer is what became of a batch that another node has sent.
type Answer struct {
	Outcome uint8  // up to the handler; not 0
	Reason  uint8  // up to the handler
	Index   uint64 // of the log: what the batch has done is in the state from here on
	Replies []byte
}

const (
	// MaxBatch is the most bytes of a batch, as it is sent. One command of the largest size fits.
	MaxBatch = 16 << 20
	// maxAnswer is the most bytes of an answer.
	maxAnswer = 256 << 20
)

func (a *Answer) frame(sequence uint64) frame {
	return frame{kind: frameDone, flags: a.Outcome, sequence: sequence, index: a.Index, body: append([]byte{a.Reason}, a.Replies...)}
}

func decodeAnswer(f *frame) (a Answer, err error) {
	if f.kind != frameDone || len(f.body) == 0 || f.flags == 0 {
		return a, fmt.Errorf("expected the outcome of a batch, got message %d of %d bytes", f.kind, len(f.body))
	}
	return Answer{Outcome: f.flags, Reason: f.body[0], Index: f.index, Replies: f.body[1:]}, nil
}

// source is a connection over which another node sends batches. There is one for each node and purpose. When a node connects
// anew, it has given up what it sent before: its older connection is closed, and what was not read from it never will be,
// before the first batch of the new one is read. So batches of a node are executed in the order in which it sent them.
type source struct {
	c    net.Conn
	mu   sync.Mutex // held while a batch is handed over
	dead bool
}

type sourceKey struct {
	node    string
	purpose Purpose
}

// replaces makes c the source of its node.
func (p *Listener) replaces(h Hello, c net.Conn) {
	key := sourceKey{h.Sender, h.Purpose}
	p.mu.Lock()
	old := p.sources[key]
	p.sources[key] = &source{c: c}
	p.mu.Unlock()
	if old != nil {
		old.mu.Lock()
		old.dead = true
		old.mu.Unlock()
		old.c.Close()
	}
}

// absorb takes batches from a connection until it ends. The next one is read when the outcome of the one before is known.
func (p *Listener) absorb(c net.Conn, h Hello, handler Handler) error {
	key := sourceKey{h.Sender, h.Purpose}
	p.mu.Lock()
	s := p.sources[key]
	p.mu.Unlock()
	if inner, ok := c.(*servedConn); s == nil || !ok || s.c != inner.Conn {
		return nil // the node has made another one since
	}
	defer func() {
		p.mu.Lock()
		if p.sources[key] == s {
			delete(p.sources, key)
		}
		p.mu.Unlock()
	}()
	r := bufio.NewReaderSize(c, 32<<10)
	var in, out []byte
	for {
		f, err := readFrame(r, in, MaxBatch)
		if err != nil {
			return err
		}
		if f.kind != frameBatch {
			return fmt.Errorf("expected a batch, got message %d", f.kind)
		}
		s.mu.Lock()
		if s.dead {
			s.mu.Unlock()
			return nil
		}
		wait := handler.Absorb(f.body, f.term, h.Purpose == ForReads)
		s.mu.Unlock()
		answer := wait()
		reply := answer.frame(f.sequence)
		out = reply.append(out[:0])
		if _, err := c.Write(out); err != nil {
			return err
		}
		in, out = keepBuffer(f.body), keepBuffer(out)
	}
}

// keepBuffer is a buffer to use again, unless it is large.
func keepBuffer(b []byte) []byte {
	if cap(b) > 1<<20 {
		return nil
	}
	return b[:0]
}
