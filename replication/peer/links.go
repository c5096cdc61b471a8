package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Links keeps a connection to each other member, and asks over it for the state of that node: every statusEvery, and at once
// when Ask is called.
type Links struct {
	listener  *Listener
	committed func() uint64
	answered  func(id string, round uint64, s Status)

	mu     sync.Mutex
	links  map[string]*link // by node ID
	round  uint64           // of the last Ask
	closed bool
	busy   sync.WaitGroup
}

// Seen is what is known of another member.
type Seen struct {
	Hello     Hello  // its last one; zero: it was never reached
	Status    Status // its last answer
	Committed uint64 // this node's commit index when it asked for that
	At        time.Time
	Up        bool          // it is connected
	Skew      time.Duration // of its wall clock from this node's, when they connected; as exact as the connection is fast
}

const (
	statusEvery  = 500 * time.Millisecond
	statusWait   = 2 * time.Second // for an answer; a node that takes longer is taken for dead, and connected to anew
	redialFirst  = 50 * time.Millisecond
	redialAtMost = time.Second
)

// NewLinks returns links without members. committed is this node's commit index, read before each question (Seen.Committed). answered is called with
// each answer that was asked for in a round or a later one, by one goroutine for each member; round is 0 before the first Ask.
func NewLinks(l *Listener, committed func() uint64, answered func(id string, round uint64, s Status)) *Links {
	return &Links{listener: l, committed: committed, answered: answered, links: map[string]*link{}}
}

// link is the connection to one other member.
type link struct {
	memberLink // kick: a round has begun
	of         *Links
	seen       Seen // guarded by of.mu
}

// SetMembers says who the other members are.
func (l *Links) SetMembers(members []Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	follow(l.links, members, func(common memberLink) *link {
		k := &link{memberLink: common, of: l}
		l.busy.Go(k.run)
		return k
	})
}

// Ask begins a round: each member is asked now. It returns the number of the round, which rises.
func (l *Links) Ask() (round uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round++
	for _, k := range l.links {
		select {
		case k.kick <- struct{}{}:
		default:
		}
	}
	return l.round
}

// Seen is what is known of a member; false: there is none with this ID.
func (l *Links) Seen(id string) (Seen, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.links[id]
	if k == nil {
		return Seen{}, false
	}
	return k.seen, true
}

// Close closes all connections.
func (l *Links) Close() {
	l.mu.Lock()
	l.closed = true
	for id, k := range l.links {
		k.cancel()
		delete(l.links, id)
	}
	l.mu.Unlock()
	l.busy.Wait()
}

// run connects again and again until the link is cancelled.
func (k *link) run() {
	k.redial(k.once, func(err error) {
		k.of.listener.log.Warn("the connection to another node ended", "node", k.member.ID, "address", k.member.Address, "err", err)
	})
}

// once connects, and asks until the connection ends.
func (k *link) once() error {
	c, hello, err := k.of.listener.Dial(k.ctx, k.member.Address, ForStatus, k.member.ID)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(k.ctx, func() { c.Close() })()
	skew := time.Until(time.UnixMilli(hello.WallTime).Add(time.Millisecond)).Round(2 * time.Millisecond) // it was read a moment ago
	k.note(func(s *Seen) { s.Hello, s.Up, s.Skew = hello, true, skew })
	defer k.note(func(s *Seen) { s.Up = false })
	return k.ask(c)
}

func (k *link) note(change func(*Seen)) {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	change(&k.seen)
}

// ask asks over a connection until it ends.
func (k *link) ask(c net.Conn) error {
	r := bufio.NewReaderSize(c, frameHeader+maxStatusBytes)
	ticker := time.NewTicker(statusEvery)
	defer ticker.Stop()
	var out []byte
	body := make([]byte, maxStatusBytes)
	for sequence := uint64(1); ; sequence++ {
		k.of.mu.Lock()
		round := k.of.round // before the question is sent
		k.of.mu.Unlock()
		committed := k.of.committed()
		question := frame{kind: frameAsk, sequence: sequence}
		out = question.append(out[:0])
		c.SetDeadline(time.Now().Add(statusWait))
		if _, err := c.Write(out); err != nil {
			return err
		}
		f, err := readFrame(r, body, maxStatusBytes)
		if err != nil {
			return err
		}
		s, err := decodeStatus(&f)
		if err == nil && f.sequence != sequence {
			err = fmt.Errorf("answer %d to question %d", f.sequence, sequence)
		}
		if err != nil {
			return err
		}
		k.note(func(seen *Seen) { seen.Status, seen.Committed, seen.At = s, committed, time.Now() })
		k.of.answered(k.member.ID, round, s)
		select {
		case <-k.kick:
		case <-ticker.C:
		case <-k.ctx.Done():
			return errors.New("closed")
		}
	}
}
