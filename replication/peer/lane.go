package peer

import (
	"bufio"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Lane sends batches to the node that leads, one at a time: the next one when the outcome of the one before is known. A
// connection has a goroutine that reads, so that its end is noticed at once, also while nothing is sent: what is sent into
// a connection whose other side is gone has an unknown outcome, and what was never sent can be sent to the next leader.
type Lane struct {
	listener *Listener
	purpose  Purpose
	target   func() Member // the leader; empty: none, or this node
	idle     func()        // called when Send may be called again

	mu   sync.Mutex
	free atomic.Bool   // connected, and nothing is under way; changed with mu held
	work chan shipment // buffered: has one at most, and none while free
	busy sync.WaitGroup
	end  context.CancelFunc
}

type shipment struct {
	body []byte
	done func(a *Answer, sent bool) (goOn bool)
}

const (
	laneLook   = 10 * time.Millisecond  // how often a lane looks for a new leader
	laneRedial = 100 * time.Millisecond // longest pause between two attempts to connect
	// laneGrace is how long a lane waits for the outcome of a batch after the leader has changed: the old one may have committed
	// it. If it stands still, it never answers.
	laneGrace = 200 * time.Millisecond
)

// NewLane returns a lane and starts its goroutine.
func NewLane(l *Listener, purpose Purpose, target func() Member, idle func()) *Lane {
	n := &Lane{listener: l, purpose: purpose, target: target, idle: idle, work: make(chan shipment, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	n.end = cancel
	n.busy.Go(func() { n.run(ctx) })
	return n
}

// Free reports whether Send would take a batch now.
func (n *Lane) Free() bool { return n.free.Load() }

// Send takes a batch, or returns false if the lane is not connected or at work. done is called once, by another goroutine:
// with the answer; or with nil, and sent says whether the batch may have reached the other node. goOn says that the next batch
// may follow at once; else the lane connects anew. body is the lane's until then.
func (n *Lane) Send(body []byte, done func(a *Answer, sent bool) (goOn bool)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.free.Load() {
		return false
	}
	n.free.Store(false)
	n.work <- shipment{body, done}
	return true
}

// Close ends the lane; what is under way ends without an answer.
func (n *Lane) Close() {
	n.end()
	n.busy.Wait()
}

func (n *Lane) run(ctx context.Context) {
	pause := laneLook
	for ctx.Err() == nil {
		m := n.target()
		if m.ID != "" {
			if n.once(ctx, m) {
				pause = laneLook
			} else {
				pause = min(2*pause, laneRedial)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// once connects to the leader and works until the connection ends; false: it did not come about.
func (n *Lane) once(ctx context.Context, m Member) bool {
	raw, _, err := n.listener.Dial(ctx, m.Address, n.purpose, m.ID)
	if err != nil {
		return false
	}
	c := n.listener.serve(raw)
	if c == nil {
		return false
	}
	defer c.Close()
	answers, broken := make(chan Answer), make(chan struct{})
	stopped := make(chan struct{})
	defer close(stopped)
	n.busy.Go(func() {
		defer close(broken)
		n.read(c, answers, stopped)
	})
	n.setFree(true)
	n.idle()
	n.serve(ctx, c, m, answers, broken)
	n.setFree(false)
	select {
	case s := <-n.work:
		s.done(nil, false)
	default:
	}
	return true
}

func (n *Lane) setFree(free bool) {
	n.mu.Lock()
	n.free.Store(free)
	n.mu.Unlock()
}

// read reads answers until the connection ends.
func (n *Lane) read(c net.Conn, answers chan<- Answer, stopped <-chan struct{}) {
	r := bufio.NewReaderSize(c, 32<<10)
	for {
		f, err := readFrame(r, nil, maxAnswer)
		if err != nil {
			return
		}
		a, err := decodeAnswer(&f)
		if err != nil {
			n.listener.log.warn("a connection to another node ended", "for", n.purpose.String(), "err", err)
			return
		}
		select {
		case answers <- a:
		case <-stopped:
			return
		}
	}
}

// serve sends batches until the connection ends or another node leads.
func (n *Lane) serve(ctx context.Context, c net.Conn, m Member, answers <-chan Answer, broken <-chan struct{}) {
	look := time.NewTicker(laneLook)
	defer look.Stop()
	var out []byte
	for sequence := uint64(1); ; sequence++ {
		select {
		case s := <-n.work:
			f := frame{kind: frameBatch, sequence: sequence, body: s.body}
			out = f.append(out[:0])
			if w, err := c.Write(out); err != nil {
				s.done(nil, w == len(out)) // half of a frame is never taken for one
				return
			}
			out = keepBuffer(out)
			a := n.await(ctx, m, look, answers, broken)
			if a == nil {
				s.done(nil, true)
				return
			}
			if !s.done(a, true) {
				return
			}
			n.setFree(true)
			n.idle()
		case <-look.C:
			if n.target() != m {
				return
			}
		case <-broken:
			return
		case <-ctx.Done():
			return
		}
	}
}

// await waits for the answer to what was sent.
func (n *Lane) await(ctx context.Context, m Member, look *time.Ticker, answers <-chan Answer, broken <-chan struct{}) *Answer {
	var changed time.Time
	for {
		select {
		case a := <-answers:
			return &a
		case <-look.C:
			switch {
			case n.target() == m:
				changed = time.Time{}
			case changed.IsZero():
				changed = time.Now()
			case time.Since(changed) > laneGrace:
				return nil
			}
		case <-broken:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
