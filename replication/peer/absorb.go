package peer

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
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
	c     net.Conn
	to    Absorber
	mu    sync.Mutex // held while a batch is handed over
	dead  bool
	write sync.Mutex    // held while something is written
	ended chan struct{} // closed when nothing more is read
}

func (s *source) send(f *frame, buf []byte) ([]byte, error) {
	buf = f.append(buf[:0])
	s.write.Lock()
	defer s.write.Unlock()
	_, err := s.c.Write(buf)
	return buf, err
}

type sourceKey struct {
	node    string
	purpose Purpose
}

// replaces makes c the source of its node, unless this node takes no batches any more.
func (p *Listener) replaces(h Hello, c net.Conn, handler Handler) bool {
	key := sourceKey{h.Sender, h.Purpose}
	p.replacing.Lock() // until the old one is dead: a third one must not come between
	defer p.replacing.Unlock()
	p.mu.Lock()
	old := p.sources[key]
	retired := p.retired
	if !retired {
		p.sources[key] = &source{c: c, to: handler.Absorbs(h.Sender, h.Purpose == ForReads), ended: make(chan struct{})}
	}
	p.mu.Unlock()
	if old != nil && !retired {
		old.mu.Lock()
		old.dead = true
		old.mu.Unlock()
		old.to.Close()
		old.c.Close()
	}
	return !retired
}

// forgets ends the source that c is, if it still is one: nothing more is read from it.
func (p *Listener) forgets(h Hello, c net.Conn) {
	key := sourceKey{h.Sender, h.Purpose}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sources[key]; s != nil && s.c == c {
		delete(p.sources, key)
		s.to.Close()
		close(s.ended)
	}
}

// Retire has other nodes send their batches elsewhere, for good. It returns when they send none any more, or when ctx ends. If
// this node closed the connections instead, whatever is on the way in them would have an unknown outcome.
func (p *Listener) Retire(ctx context.Context) {
	p.mu.Lock()
	p.retired = true
	list := slices.Collect(maps.Values(p.sources))
	p.mu.Unlock()
	for _, s := range list {
		go s.send(&frame{kind: frameRetire}, nil) // it may block, until the connection is closed
	}
	for _, s := range list {
		select {
		case <-s.ended:
		case <-ctx.Done():
			return
		}
	}
}

// absorb takes batches from a connection until it ends. The next one is read when the outcome of the one before is known.
func (p *Listener) absorb(c net.Conn, h Hello) error {
	p.mu.Lock()
	s := p.sources[sourceKey{h.Sender, h.Purpose}]
	p.mu.Unlock()
	if inner, ok := c.(*servedConn); s == nil || !ok || s.c != inner.Conn {
		return nil // the node has made another one since
	}
	defer p.forgets(h, s.c)
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
		wait := s.to.Absorb(f.body, f.term)
		s.mu.Unlock()
		answer := wait()
		reply := answer.frame(f.sequence)
		if out, err = s.send(&reply, out); err != nil {
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
