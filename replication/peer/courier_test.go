package peer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// leading is a Handler whose answers the test decides.
type leading struct {
	batches chan string // as they come
	release chan Answer // their outcomes
	notices chan string
	status  atomic.Uint64
	closed  atomic.Int64 // absorbers
}

func newLeading() *leading {
	return &leading{batches: make(chan string, 16), release: make(chan Answer, 16), notices: make(chan string)}
}

func (h *leading) Status() Status    { return Status{Term: h.status.Load(), Serves: true, Applied: 9} }
func (h *leading) Join(Hello) string { return "full" }
func (h *leading) Lead(Hello) string { return "no" }
func (h *leading) Forwards(h2 Hello) string {
	return map[bool]string{true: "not a member"}[h2.Sender == "x"]
}
func (h *leading) Absorbs(string, bool) Absorber { return h }
func (h *leading) Hears(h2 Hello) string {
	return map[bool]string{true: "not a member"}[h2.Sender == "x"]
}
func (h *leading) Notice(from string, kind uint8, body []byte) {
	h.notices <- fmt.Sprintf("%s %d %s", from, kind, body)
}
func (h *leading) Close() { h.closed.Add(1) }
func (h *leading) Absorb(body []byte, term uint64) func() Answer {
	h.batches <- string(body)
	return func() Answer { return <-h.release }
}

// soon is a change that may have come within some milliseconds.
func soon() <-chan struct{} {
	ch := make(chan struct{})
	time.AfterFunc(5*time.Millisecond, func() { close(ch) })
	return ch
}

func within[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
	}
	return v
}

type told struct {
	a    *Answer
	sent bool
}

// startCourier is node a's courier to node b, where h answers.
func startCourier(t *testing.T, h Handler) (courier *Courier, target *atomic.Pointer[Member], idle chan struct{}) {
	b := listen(t, testPeer("b", io.Discard))
	b.Handle(h)
	a := listen(t, testPeer("a", io.Discard))
	target = &atomic.Pointer[Member]{}
	target.Store(&Member{ID: "b", Address: b.Addr().String()})
	idle = make(chan struct{}, 100)
	courier = NewCourier(a, ForWrites, func() Member { return *target.Load() }, soon, func() { idle <- struct{}{} })
	t.Cleanup(courier.Close)
	return courier, target, idle
}

func send(t *testing.T, courier *Courier, body string) chan told {
	t.Helper()
	ch := make(chan told, 1)
	if !courier.Send([]byte(body), 3, func(a *Answer, sent bool) bool { ch <- told{a, sent}; return a != nil }) {
		t.Fatal("the courier is not free")
	}
	return ch
}

func TestCourier(t *testing.T) {
	h := newLeading()
	courier, target, idle := startCourier(t, h)
	within(t, idle)
	for _, body := range []string{"one", "two"} {
		outcome := send(t, courier, body)
		if got := within(t, h.batches); got != body {
			t.Fatalf("%q arrives", got)
		}
		if courier.Send(nil, 3, nil) {
			t.Error("two batches at a time")
		}
		h.release <- Answer{Outcome: 1, Index: 5, Replies: []byte("r " + body)}
		if got := within(t, outcome); got.a == nil || string(got.a.Replies) != "r "+body || got.a.Index != 5 {
			t.Errorf("%+v", got)
		}
		within(t, idle)
	}
	// Another node leads: what is under way ends without an answer, after a grace.
	outcome := send(t, courier, "three")
	within(t, h.batches)
	target.Store(&Member{})
	if got := within(t, outcome); got.a != nil || !got.sent {
		t.Errorf("%+v", got)
	}
	h.release <- Answer{Outcome: 1}
	if courier.Free() {
		t.Error("a courier to nobody is free")
	}
}

// TestRetire: a node that retires and then closes its port leaves no batch without an answer, whenever it was sent.
func TestRetire(t *testing.T) {
	for i := range 30 {
		h := newLeading()
		b := listen(t, testPeer("b", io.Discard))
		b.Handle(h)
		a := listen(t, testPeer("a", io.Discard))
		idle := make(chan struct{}, 1)
		courier := NewCourier(a, ForWrites, func() Member { return Member{ID: "b", Address: b.Addr().String()} }, soon, func() {
			select {
			case idle <- struct{}{}:
			default:
			}
		})
		stop := make(chan struct{})
		var busy sync.WaitGroup
		busy.Go(func() {
			for {
				select {
				case <-h.batches:
					h.release <- Answer{Outcome: 1}
				case <-stop:
					return
				}
			}
		})
		answered := make(chan struct{}, 1)
		busy.Go(func() {
			for {
				select {
				case <-idle:
				case <-stop:
					return
				}
				courier.Send([]byte("b"), 3, func(a *Answer, sent bool) bool {
					if a == nil && sent {
						t.Error("no answer to a batch that was sent")
					}
					select {
					case answered <- struct{}{}:
					default:
					}
					return a != nil
				})
			}
		})
		within(t, answered)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		b.Retire(ctx)
		if ctx.Err() != nil {
			t.Error("the other node goes on sending")
		}
		cancel()
		if i < 5 {
			time.Sleep(2 * courierFirst) // it tries to connect again
			if courier.Free() {
				t.Error("a node that has retired takes batches")
			}
		}
		b.Close()
		close(stop)
		busy.Wait()
		courier.Close()
	}
}

// A leader that reads nothing holds up nobody once another one leads.
func TestCourierStuckWrite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := testPeer("b", io.Discard)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			readHello(c)
			h := cfg.Self()
			h.Purpose, h.Target = ForWrites, "a"
			exchange(c, h)
		}
	}()
	a := listen(t, testPeer("a", io.Discard))
	var target atomic.Pointer[Member]
	target.Store(&Member{ID: "b", Address: l.Addr().String()})
	idle := make(chan struct{}, 10)
	courier := NewCourier(a, ForWrites, func() Member { return *target.Load() }, soon, func() { idle <- struct{}{} })
	defer courier.Close()
	within(t, idle)
	outcome := send(t, courier, string(make([]byte, MaxBatch)))
	target.Store(&Member{})
	if got := within(t, outcome); got.a != nil || got.sent {
		t.Errorf("half of a batch is taken for one: %+v", got)
	}
}

// When a node connects anew, what it sent before and was not read yet is never read.
func TestNewSourceReplaces(t *testing.T) {
	h := newLeading()
	b := listen(t, testPeer("b", io.Discard))
	b.Handle(h)
	a := testPeer("a", io.Discard)
	connect := func() net.Conn {
		c, _, err := a.Dial(t.Context(), b.Addr().String(), ForWrites, "b")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	write := func(c net.Conn, bodies ...string) {
		var out []byte
		for i, body := range bodies {
			f := frame{kind: frameBatch, term: 3, sequence: uint64(i + 1), body: []byte(body)}
			out = f.append(out)
		}
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
	}
	old := connect()
	write(old, "first", "second")
	if got := within(t, h.batches); got != "first" {
		t.Fatal(got)
	}
	next := connect()
	write(next, "third")
	if got := within(t, h.batches); got != "third" || h.closed.Load() != 1 {
		t.Fatalf("%q arrives, %d connections are closed", got, h.closed.Load())
	}
	h.release <- Answer{Outcome: 1}
	h.release <- Answer{Outcome: 1}
	select {
	case got := <-h.batches:
		t.Errorf("%q was read from a connection that was given up", got)
	case <-time.After(50 * time.Millisecond):
	}
}

// A node that is no member cannot send batches.
func TestForwardsRefused(t *testing.T) {
	b := listen(t, testPeer("b", io.Discard))
	x := testPeer("x", io.Discard)
	if _, _, err := x.Dial(t.Context(), b.Addr().String(), ForWrites, "b"); err == nil {
		t.Error("accepted before the node is ready")
	}
	b.Handle(newLeading())
	if _, _, err := x.Dial(t.Context(), b.Addr().String(), ForReads, "b"); err == nil {
		t.Error("a stranger is accepted")
	}
	if _, answer, err := x.Dial(t.Context(), b.Addr().String(), ForJoin, ""); err == nil || answer.Refusal != "full" {
		t.Error(answer, err)
	}
}

// Links ask at once when a round begins, and say which rounds an answer is for.
func TestLinks(t *testing.T) {
	h := newLeading()
	b := listen(t, testPeer("b", io.Discard))
	b.Handle(h)
	a := listen(t, testPeer("a", io.Discard))
	type answer struct {
		id    string
		round uint64
		s     Status
	}
	answers := make(chan answer, 1000)
	links := NewLinks(a, func() uint64 { return 7 }, func(id string, round uint64, s Status) { answers <- answer{id, round, s} })
	defer links.Close()
	links.SetMembers([]Member{{ID: "b", Address: b.Addr().String()}})
	if got := within(t, answers); got.id != "b" || got.round != 0 || !got.s.Serves || got.s.Applied != 9 {
		t.Errorf("%+v", got)
	}
	for term := uint64(1); term < 20; term++ {
		h.status.Store(term) // before the round begins: its answer is this one or a later one
		round := links.Ask()
		for {
			if got := within(t, answers); got.round >= round {
				if got.s.Term < term {
					t.Errorf("round %d got an answer from before it: term %d of %d", round, got.s.Term, term)
				}
				break
			}
		}
	}
	if seen, known := links.Seen("b"); !known || !seen.Up || seen.Committed != 7 || seen.Hello.ClientAddress != "b:2" {
		t.Errorf("%+v, %v", seen, known)
	}
	links.SetMembers(nil)
	if _, known := links.Seen("b"); known {
		t.Error("a node that is no member is still asked")
	}
}

// What is no frame, or too large, ends the connection and nothing else.
func TestFrameDamage(t *testing.T) {
	f := frame{kind: frameBatch, flags: 3, term: 1, sequence: 2, index: 3, body: []byte("body")}
	whole := f.append(nil)
	got, err := readFrame(bytes.NewReader(whole), nil, 4)
	if err != nil || string(got.body) != "body" || got.term != 1 || got.sequence != 2 || got.index != 3 || got.flags != 3 {
		t.Fatal(got, err)
	}
	for i := range whole {
		damaged := append([]byte(nil), whole...)
		damaged[i] ^= 1
		if _, err := readFrame(bytes.NewReader(damaged), nil, 1<<10); err == nil {
			t.Errorf("a flipped bit in byte %d was not noticed", i)
		}
		if _, err := readFrame(bytes.NewReader(whole[:i]), nil, 1<<10); err == nil {
			t.Errorf("a cut at byte %d was not noticed", i)
		}
	}
	if _, err := readFrame(bytes.NewReader(whole), nil, 3); err == nil {
		t.Error("a body that is too large was read")
	}
}
