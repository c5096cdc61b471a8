package peer

import (
	"fmt"
	"io"
	"testing"
	"time"
)

// upWithin waits until a number of members are connected.
func upWithin(t *testing.T, n *Notices, want int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); n.Connected() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d members are connected, not %d", n.Connected(), want)
		}
	}
}

// TestNotices: messages come in their order; a member that is not connected, or none any more, gets nothing.
func TestNotices(t *testing.T) {
	h := newLeading()
	b := listen(t, testPeer("b", io.Discard))
	b.Handle(h)
	a := listen(t, testPeer("a", io.Discard))
	n := NewNotices(a)
	defer n.Close()
	n.Tell(1, []byte("nobody"))
	if sent, dropped := n.Counts(); sent != 0 || dropped != 0 {
		t.Errorf("without members: %d sent, %d dropped", sent, dropped)
	}
	gone := listen(t, testPeer("c", io.Discard))
	address := gone.Addr().String()
	gone.Close()
	n.SetMembers([]Member{{ID: "b", Address: b.Addr().String()}, {ID: "c", Address: address}})
	upWithin(t, n, 1)
	const count = 1000
	go func() {
		for i := range count {
			n.Tell(uint8(i), fmt.Append(nil, i))
		}
	}()
	for i := range count {
		if got, want := within(t, h.notices), fmt.Sprintf("a %d %d", uint8(i), i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		sent, dropped := n.Counts()
		if sent == count && dropped == count {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d sent, %d dropped", sent, dropped)
		}
	}
	b.Close()
	upWithin(t, n, 0)
	n.SetMembers(nil)
	n.Tell(1, []byte("nobody"))
	if _, dropped := n.Counts(); dropped != count {
		t.Errorf("%d dropped", dropped)
	}
}

// TestNoticesOfStrangers: a node that is no member is refused.
func TestNoticesOfStrangers(t *testing.T) {
	b := listen(t, testPeer("b", io.Discard))
	b.Handle(newLeading())
	x := testPeer("x", io.Discard)
	if _, answer, err := x.Dial(t.Context(), b.Addr().String(), ForNotices, "b"); err == nil || answer.Refusal != "not a member" {
		t.Error(answer.Refusal, err)
	}
}

// TestSlowMemberOfNotices: whoever tells does not wait for a member that reads nothing; memory is bounded, and what is lost is counted.
func TestSlowMemberOfNotices(t *testing.T) {
	h := newLeading()
	b := listen(t, testPeer("b", io.Discard))
	b.Handle(h) // the first message stays in the handler
	a := listen(t, testPeer("a", io.Discard))
	n := NewNotices(a)
	defer n.Close()
	n.SetMembers([]Member{{ID: "b", Address: b.Addr().String()}})
	upWithin(t, n, 1)
	body := make([]byte, 1<<20)
	began := time.Now()
	const count = 1000
	for range count {
		n.Tell(1, body)
	}
	if took := time.Since(began); took > noticeWrite/2 {
		t.Errorf("telling a slow member took %v", took)
	}
	n.mu.Lock()
	k := n.links["b"]
	n.mu.Unlock()
	k.mu.Lock()
	waiting := k.bytes
	k.mu.Unlock()
	_, dropped := n.Counts()
	if waiting > noticeQueue || dropped < count-100 {
		t.Errorf("%d bytes wait, %d messages were dropped", waiting, dropped)
	}
	go func() {
		for range h.notices {
		}
	}()
	defer close(h.notices)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // what waits comes
		sent, dropped := n.Counts()
		if sent+dropped == count {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d sent and %d dropped of %d", sent, dropped, count)
		}
	}
	n.Close()
	b.Close()
}
