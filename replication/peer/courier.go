package peer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Courier sends batches to the node that leads, one at a time: the next one when the outcome of the one before is known. A
// connection has a goroutine that reads, so that its end is noticed at once, also while nothing is sent: what is sent into
// a connection whose other side is gone has an unknown outcome, and what was never sent can be sent to the next leader.
type Courier struct {
	listener *Listener
	purpose  Purpose
	target   func() Member          // the leader; empty: none, or this node
	changed  func() <-chan struct{} // closed when target may return another one than at the call
	idle     func()                 // called when Send may be called again

	mu   sync.Mutex
	free atomic.Bool   // connected, and nothing is under way; changed with mu held
	work chan shipment // buffered: has one at most, and none while free
	busy sync.WaitGroup
	end  context.CancelFunc
}

type shipment struct {
	body []byte
	term uint64
	done func(a *Answer, sent bool) (goOn bool)
}

const (
	courierFirst  = 10 * time.Millisecond  // pause before the second attempt to connect
	courierRedial = 100 * time.Millisecond // longest pause between two attempts to connect
	// courierGrace is how long a courier waits for the outcome of a batch after the leader has changed: the old one may have committed
	// it. If it stands still, it never answers.
	courierGrace = 200 * time.Millisecond
	// courierAnswer is how long an answer may take. A network that swallows what is sent would otherwise hold the courier for as long
	// as TCP tries; the leader's own limit, the write timeout, is shorter.
	courierAnswer = 10 * time.Second
)

// NewCourier returns a courier and starts its goroutine.
func NewCourier(l *Listener, purpose Purpose, target func() Member, changed func() <-chan struct{}, idle func()) *Courier {
	n := &Courier{listener: l, purpose: purpose, target: target, changed: changed, idle: idle, work: make(chan shipment, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	n.end = cancel
	n.busy.Go(func() { n.run(ctx) })
	return n
}

// Free reports whether Send would take a batch now.
func (n *Courier) Free() bool { return n.free.Load() }

// Send takes a batch for the leader of a term, or returns false if the courier is not connected, or at work. done is called once,
// by another goroutine: with the answer; or with nil, and sent says whether the batch may have reached the other node. goOn says
// that the next batch may follow at once; else the courier connects anew. body is the courier's until then.
func (n *Courier) Send(body []byte, term uint64, done func(a *Answer, sent bool) (goOn bool)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.free.Load() {
		return false
	}
	n.free.Store(false)
	n.work <- shipment{body, term, done}
	return true
}

// Close ends the courier; what is under way ends without an answer.
func (n *Courier) Close() {
	n.end()
	n.busy.Wait()
}

func (n *Courier) run(ctx context.Context) {
	pause := courierFirst
	for ctx.Err() == nil {
		changed := n.changed()
		m := n.target()
		again := time.Duration(1<<63 - 1) // only another leader is worth an attempt
		if m.ID != "" {
			if n.once(ctx, m) {
				pause = courierFirst
			}
			again = pause
			pause = min(2*pause, courierRedial)
		}
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
		case <-changed:
			pause = courierFirst
		case <-timer.C:
		}
		timer.Stop()
	}
}

// once connects to the leader and works until the connection ends; false: it did not come about.
func (n *Courier) once(ctx context.Context, m Member) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.busy.Go(func() { n.watch(ctx, cancel, m) })
	raw, _, err := n.listener.Dial(ctx, m.Address, n.purpose, m.ID)
	if err != nil {
		return false
	}
	c := n.listener.serve(raw)
	if c == nil {
		return false
	}
	defer c.Close()
	// Whatever the courier is doing then, a write that the other side does not read among them, ends.
	defer context.AfterFunc(ctx, func() { c.Close() })()
	answers, broken := make(chan frame), make(chan struct{})
	n.busy.Go(func() {
		defer close(broken)
		n.read(ctx, c, answers)
	})
	n.setFree(true)
	n.idle()
	n.serve(c, answers, broken)
	n.setFree(false)
	select {
	case s := <-n.work:
		s.done(nil, false)
	default:
	}
	return true
}

// watch ends ctx when m does not lead any more: at once while nothing is under way, else after a grace.
func (n *Courier) watch(ctx context.Context, end context.CancelFunc, m Member) {
	for {
		changed := n.changed()
		if n.target() != m {
			if !n.Free() {
				grace := time.NewTimer(courierGrace)
				select {
				case <-grace.C:
				case <-ctx.Done():
				}
				grace.Stop()
			}
			if n.target() != m {
				end()
				return
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Courier) setFree(free bool) {
	n.mu.Lock()
	n.free.Store(free)
	n.mu.Unlock()
}

// read reads answers until the connection ends.
func (n *Courier) read(ctx context.Context, c net.Conn, answers chan<- frame) {
	r := bufio.NewReaderSize(c, 32<<10)
	for {
		f, err := readFrame(r, nil, maxAnswer)
		if err != nil {
			return
		}
		select {
		case answers <- f:
		case <-ctx.Done():
			return
		}
	}
}

// serve sends batches until the connection ends, or the other node asks for no more.
func (n *Courier) serve(c net.Conn, answers <-chan frame, broken <-chan struct{}) {
	var out []byte
	for sequence := uint64(1); ; sequence++ {
		select {
		case s := <-n.work:
			f := frame{kind: frameBatch, term: s.term, sequence: sequence, body: s.body}
			out = f.append(out[:0])
			c.SetWriteDeadline(time.Now().Add(courierAnswer))
			if w, err := c.Write(out); err != nil {
				s.done(nil, w == len(out)) // half of a frame is never taken for one
				return
			}
			out = keepBuffer(out)
			a, retired := n.await(sequence, answers, broken)
			if !s.done(a, true) || retired {
				return
			}
			n.setFree(true)
			n.idle()
		case f := <-answers:
			if f.kind != frameRetire {
				n.listener.log.Warn("a connection to another node ended", "for", n.purpose.String(), "err", "an answer to nothing")
			}
			return
		case <-broken:
			return
		}
	}
}

// await waits for the answer to what was sent; nil: there will be none. retired says that the other node wants no more; it
// answers all the same what it had been sent before.
func (n *Courier) await(sequence uint64, answers <-chan frame, broken <-chan struct{}) (answer *Answer, retired bool) {
	limit := time.NewTimer(courierAnswer)
	defer limit.Stop()
	for {
		select {
		case <-limit.C:
			n.listener.log.Warn("another node does not answer", "for", n.purpose.String(), "within", courierAnswer)
			return nil, retired
		case f := <-answers:
			if f.kind == frameRetire {
				retired = true
				continue
			}
			a, err := decodeAnswer(&f)
			if err == nil && f.sequence != sequence {
				err = fmt.Errorf("answer %d to batch %d", f.sequence, sequence)
			}
			if err != nil {
				n.listener.log.Warn("a connection to another node ended", "for", n.purpose.String(), "err", err)
				return nil, retired
			}
			return &a, retired
		case <-broken:
			return nil, retired
		}
	}
}
