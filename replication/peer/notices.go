package peer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Notices sends messages to all other members, each at most once, and in the order in which they were told: what clients publish. It
// waits for nobody. For each member there is a connection, and a queue of noticeQueue bytes; what does not fit, and what is told while a
// member is not connected, is dropped for that member, and counted.
type Notices struct {
	listener *Listener
	sent     atomic.Int64 // messages, once for each member
	dropped  atomic.Int64

	mu     sync.Mutex // guards links and closed; taken before those of links
	links  map[string]*noticeLink
	closed bool
	busy   sync.WaitGroup
}

const (
	// noticeQueue is the most bytes that wait for a member.
	noticeQueue = 16 << 20
	// noticeWrite is how long a member may take to read what is written at once.
	noticeWrite = 10 * time.Second
	// noticeChunk is about how many bytes are written at once.
	noticeChunk = 256 << 10
)

// NewNotices returns notices without members.
func NewNotices(l *Listener) *Notices { return &Notices{listener: l, links: map[string]*noticeLink{}} }

// noticeLink is the connection to one other member.
type noticeLink struct {
	memberLink // kick: the queue is not empty
	of         *Notices

	mu    sync.Mutex // a leaf
	up    bool       // connected
	queue []notice
	bytes int // in queue
}

type notice struct {
	kind uint8
	body []byte
}

// SetMembers says who the other members are.
func (n *Notices) SetMembers(members []Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	follow(n.links, members, func(common memberLink) *noticeLink {
		k := &noticeLink{memberLink: common, of: n}
		n.busy.Go(k.run)
		return k
	})
}

// Tell sends a message to all other members. kind is up to the handler. body must not change any more.
func (n *Notices) Tell(kind uint8, body []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range n.links {
		k.tell(notice{kind, body})
	}
}

// Counts is how many messages were sent, and dropped, each counted for each member.
func (n *Notices) Counts() (sent, dropped int64) { return n.sent.Load(), n.dropped.Load() }

// Connected is how many members would get a message now.
func (n *Notices) Connected() (up int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range n.links {
		k.mu.Lock()
		if k.up {
			up++
		}
		k.mu.Unlock()
	}
	return up
}

// Close closes all connections.
func (n *Notices) Close() {
	n.mu.Lock()
	n.closed = true
	for id, k := range n.links {
		k.cancel()
		delete(n.links, id)
	}
	n.mu.Unlock()
	n.busy.Wait()
}

func (k *noticeLink) tell(m notice) {
	k.mu.Lock()
	defer k.mu.Unlock()
	size := frameHeader + len(m.body)
	if !k.up || k.bytes+size > noticeQueue {
		k.of.dropped.Add(1)
		return
	}
	k.bytes += size
	k.queue = append(k.queue, m)
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// take takes what waits for the member.
func (k *noticeLink) take() []notice {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.queue
	k.queue = nil
	return list
}

// setUp says whether the member is connected. What waits for one that is not is dropped.
func (k *noticeLink) setUp(up bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.up = up
	k.of.dropped.Add(int64(len(k.queue)))
	k.queue, k.bytes = nil, 0
}

// run connects again and again until the link is cancelled.
func (k *noticeLink) run() { k.redial(k.once, func(error) {}) }

// once connects, and sends until the connection ends.
func (k *noticeLink) once() error {
	c, _, err := k.of.listener.Dial(k.ctx, k.member.Address, ForNotices, k.member.ID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(k.ctx)
	defer cancel()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	k.of.busy.Go(func() { // nothing comes, but the end of the connection
		defer cancel()
		_, _ = io.Copy(io.Discard, c)
	})
	k.setUp(true)
	defer k.setUp(false)
	var out []byte
	for {
		select {
		case <-k.kick:
		case <-ctx.Done():
			return ctx.Err()
		}
		list := k.take()
		for i := 0; i < len(list); {
			first, bytes := i, 0
			for out = out[:0]; i < len(list) && len(out) < noticeChunk; i++ {
				f := frame{kind: frameNotice, flags: list[i].kind, body: list[i].body}
				out = f.append(out)
				bytes += frameHeader + len(list[i].body)
			}
			c.SetWriteDeadline(time.Now().Add(noticeWrite))
			if _, err := c.Write(out); err != nil {
				k.of.dropped.Add(int64(len(list) - first))
				return err
			}
			k.of.sent.Add(int64(i - first))
			k.mu.Lock()
			k.bytes -= bytes
			k.mu.Unlock()
		}
		out = keepBuffer(out)
	}
}

// hearNotices takes messages from a connection until it ends.
func hearNotices(c net.Conn, from string, h Handler) error {
	r := bufio.NewReaderSize(c, 32<<10)
	var in []byte
	for {
		f, err := readFrame(r, in, MaxBatch)
		if err != nil {
			return err
		}
		if f.kind != frameNotice {
			return fmt.Errorf("expected a message of clients, got message %d", f.kind)
		}
		h.Notice(from, f.flags, f.body)
		in = keepBuffer(f.body)
	}
}
