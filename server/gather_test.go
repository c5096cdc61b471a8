package server

import (
	"testing"

	"quipu/internal/redistest"
	"quipu/transport"
)

// stillLoop is a loop of the transport that does nothing by itself: the test takes its turns.
type stillLoop struct{}

func (stillLoop) Post(func()) {}
func (stillLoop) Completed()  {}
func (stillLoop) Resume()     {}
func (stillLoop) Interrupt()  {}

// TestReadsGatherAgain reads in pipelines while a value of more than 4 KiB is there, and when it has gone: only without it
// reads are gathered and carried out together.
func TestReadsGatherAgain(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	w := newWorker(n.srv, stillLoop{}, n.srv.netCalls)
	s := w.Accept(stillLoop{}, transport.Peer{Remote: "the test", Trusted: true}).(*Session)
	defer s.Release("the test ends")
	var input []byte
	for _, key := range []string{"a", "b", "none"} {
		input = redistest.AppendCommand(input, "GET", key)
	}
	want := bulk("1") + bulk("2") + "$-1\r\n"
	reads := func(when string, gathered int) {
		t.Helper()
		if used := s.Process(input, 0); used != len(input) {
			t.Fatalf("%s: %d bytes of %d are used", when, used, len(input))
		}
		if got := w.lanes[0].runner.Gathered(); got != gathered || w.HasBurst() != (gathered > 0) {
			t.Errorf("%s: %d reads are gathered, want %d", when, got, gathered)
		}
		if gathered > 0 && len(s.out.B) > 0 {
			t.Errorf("%s: %q is replied before the reads are carried out", when, s.out.B)
		}
		w.CarryOut()
		if string(s.out.B) != want || w.HasBurst() {
			t.Errorf("%s: %q, want %q", when, s.out.B, want)
		}
		s.out.B = s.out.B[:0]
	}
	set := func(bytes int) {
		t.Helper()
		checkReply(t, "DEL", call(t, c, "DEL large"), ":")
		checkReply(t, "DEL", callArgs(t, c, "SET", "large", string(make([]byte, bytes))), "+OK\r\n")
	}
	expect(t, c, "SET a 1", "+OK\r\n", "SET b 2", "+OK\r\n")
	reads("small values", 3)
	set(4 << 10)
	reads("4 KiB", 3)
	for range 2 {
		set(4<<10 + 1)
		reads("a byte more", 0)
		expect(t, c, "DEL large", ":1\r\n")
		reads("deleted", 3)
		set(1 << 20)
		reads("1 MiB", 0)
		expect(t, c, "SET large 1", "+OK\r\n")
		reads("overwritten", 3)
		set(100 << 10)
		expect(t, c, "FLUSHALL", "+OK\r\n", "SET a 1", "+OK\r\n", "SET b 2", "+OK\r\n")
		reads("flushed", 3)
	}
}
