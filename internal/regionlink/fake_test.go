package regionlink

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// otherRegion answers a link as a test wants.
type otherRegion struct {
	t      *testing.T
	addr   string
	answer func(args []string) string // RESP; called for one command after the other
}

func newOtherRegion(t *testing.T, answer func(args []string) string) *otherRegion {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &otherRegion{t, l.Addr().String(), answer}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go o.serve(c)
		}
	}()
	return o
}

func (o *otherRegion) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	number := func() (n int) {
		line, err := r.ReadString('\n')
		if err == nil {
			n, _ = strconv.Atoi(strings.TrimSpace(line[1:]))
		}
		return n
	}
	for {
		n := number()
		if n == 0 {
			return
		}
		var args []string
		for range n {
			b := make([]byte, number()+2)
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			args = append(args, string(b[:len(b)-2]))
		}
		reply := "-ERR not in this test\r\n"
		switch {
		case args[0] == "ping" || args[0] == "PING":
			reply = "+PONG\r\n"
		case strings.EqualFold(args[0], "REGION"):
			reply = o.answer(args)
		}
		if _, err := io.WriteString(c, reply); err != nil {
			return
		}
	}
}

// helloReply is the answer of a region that has every part up to a position.
func helloReply(at, now int64) string {
	var b strings.Builder
	b.WriteString("*8\r\n$2\r\nus\r\n$1\r\n5\r\n*0\r\n*256\r\n")
	for range Parts {
		fmt.Fprintf(&b, ":%d\r\n", at)
	}
	b.WriteString("*256\r\n" + strings.Repeat(":0\r\n", Parts))
	fmt.Fprintf(&b, ":%d\r\n$1\r\n%d\r\n$1\r\n%d\r\n", now, 4, 5)
	return b.String()
}

func frameReply(verdict string, at, rows, now int64) string {
	return fmt.Sprintf("*4\r\n$%d\r\n%s\r\n:%d\r\n:%d\r\n:%d\r\n", len(verdict), verdict, at, rows, now)
}

// fakeSource is this region: one part has something to tell, and a frame is the positions from and to which it leads.
type fakeSource struct {
	mu    sync.Mutex
	pos   uint64
	turns int // in which the last part was looked at
	whole bool
	now   atomic.Int64
	idle  atomic.Bool  // another node leads
	state atomic.Int64 // what HELLO depends on

	digests atomic.Bool  // there are some
	other   atomic.Int64 // another part of which there is one; 0: none is
}

func (s *fakeSource) Hello() ([]any, string, bool) {
	return []any{"REGION", "HELLO", 1, "eu", "7", 1, "*"}, fmt.Sprint(s.state.Load()), !s.idle.Load()
}
func (s *fakeSource) Table() []any { return []any{"eu", "7"} }
func (s *fakeSource) Now() int64   { return s.now.Load() }
func (s *fakeSource) Positions() *Positions {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Positions{Counters: [Parts]uint64{3: s.pos}}
}
func (s *fakeSource) Frame(part int, from uint64) ([]byte, bool, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if part == Parts-1 {
		s.turns++
	}
	if part != 3 || from == s.pos {
		return nil, false, from
	}
	return fmt.Appendf(nil, "%d-%d", from, s.pos), s.whole, s.pos
}
func (s *fakeSource) BeginDigest(part int) any { return part }
func (s *fakeSource) EndDigest(begun any) []byte {
	if part := int64(begun.(int)); part == 0 || part != 3 && part != s.other.Load() || !s.digests.Load() {
		return nil
	}
	return []byte("digest")
}
func (s *fakeSource) Mark() (number, random uint64) { return 4, 5 }
func (s *fakeSource) Judge(number, random uint64, _ *[Parts]uint64) error {
	if number != 0 && (number != 4 || random != 5) {
		return fmt.Errorf("mark %d %d", number, random)
	}
	return nil
}
func (s *fakeSource) FullFrame(int) []byte      { return []byte("full") }
func (s *fakeSource) Lost() []int               { return nil }
func (s *fakeSource) LostFrame(int, int) []byte { return nil }

func (s *fakeSource) Sketches(int, uint64, *Rest) []byte  { return nil }
func (s *fakeSource) LostSketches(int, int, *Rest) []byte { return nil }

func (s *fakeSource) move(pos uint64, whole bool) {
	s.mu.Lock()
	s.pos, s.whole = pos, whole
	s.mu.Unlock()
}

// pass waits until the link has looked at all parts a few times.
func (s *fakeSource) pass(t *testing.T) {
	t.Helper()
	looked := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.turns
	}
	from := looked()
	eventually(t, "the next turns", func() bool { return looked() > from+2 })
}

func runLink(t *testing.T, s Source, o *otherRegion) *Link {
	l := New(Config{Region: "us", Addresses: []string{o.addr}, Interval: time.Millisecond, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, s)
	startLink(t, l)
	return l
}

// startLink runs a link until the test ends.
func startLink(t *testing.T, l *Link) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// TestFigures: what a link says about itself is what it has done.
func TestFigures(t *testing.T) {
	s := &fakeSource{}
	s.now.Store(1000)
	var gap atomic.Bool
	reached, release := make(chan bool), make(chan bool)
	o := newOtherRegion(t, func(args []string) string {
		switch args[1] {
		case "HELLO":
			return helloReply(0, 6000)
		case "WHOLE":
			reached <- true
			<-release
			return frameReply("applied", 7, 100, 6000)
		}
		if gap.Swap(false) {
			return frameReply("gap", 1, 2, 6000)
		}
		return frameReply("applied", 5, 3, 6000)
	})
	l := runLink(t, s, o)
	if l.Status().Known {
		t.Error("known before anything was said")
	}
	eventually(t, "HELLO", func() bool { return l.Status().Known })
	if c := l.Status().Clock; !c.Known || c.Offset != 5000 || c.Within != 0 {
		t.Errorf("%+v", c)
	}
	gap.Store(true)
	s.move(5, false)
	eventually(t, "the frames", func() bool { return l.Status().Acked.Counters[3] == 5 })
	if st := l.Status(); st.Gaps != 1 || st.Rows != 5 || st.Frames != 2 || st.Whole != 0 || st.Telling != 0 {
		t.Errorf("%+v", st)
	}
	s.move(7, true)
	<-reached
	if st := l.Status(); st.Telling != 1 || st.Whole != 0 {
		t.Errorf("while a whole part is under way: %d, %d", st.Telling, st.Whole)
	}
	release <- true
	eventually(t, "the whole part", func() bool { return l.Status().Acked.Counters[3] == 7 })
	if st := l.Status(); st.Telling != 0 || st.Whole != 1 || st.Rows != 105 {
		t.Errorf("%+v", st)
	}
	s.idle.Store(true)
	eventually(t, "the link to rest", func() bool { return l.Status().State == "idle" })
	if l.Status().Known {
		t.Error("known on a node that does not lead")
	}
}

// TestCheck: what differs is counted and told whole, what cannot be compared is said, and who waits does so no longer than he wants.
func TestCheck(t *testing.T) {
	s := &fakeSource{}
	s.digests.Store(true)
	var verdict atomic.Value
	verdict.Store("same")
	var full atomic.Int64
	stuck, release := make(chan bool, 1), make(chan bool)
	o := newOtherRegion(t, func(args []string) string {
		switch args[1] {
		case "HELLO":
			return helloReply(0, 0)
		case "DIGEST":
			what := verdict.Load().(string)
			if what == "stuck" {
				stuck <- true
				<-release
				what = "same"
			}
			if args[2] != "eu" || args[3] != "7" || args[4] != "3" || args[5] != "digest" {
				t.Errorf("a digest of %q", args)
			}
			return frameReply(what, 64, 1, 0)
		}
		if args[1] != "WHOLE" || args[5] != "full" {
			t.Errorf("sent: %q", args)
		}
		full.Add(1)
		return frameReply("applied", 0, 0, 0)
	})
	l := runLink(t, s, o)
	check := func(what string, limit time.Duration, want Check) {
		t.Helper()
		verdict.Store(what)
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if got, err := l.Check(ctx); got != want || err != nil {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	check("same", 10*time.Second, Check{Compared: 1, Elsewhere: 255})
	check("elsewhere", 10*time.Second, Check{Elsewhere: 256})
	before := l.Status()
	check("differs", 10*time.Second, Check{Compared: 1, Differ: 1, Repaired: 1, Elsewhere: 255})
	if st := l.Status(); full.Load() != 1 || st.Differ != 1 || st.Digests <= before.Digests || st.Whole != 1 {
		t.Errorf("%d full parts: %+v", full.Load(), st)
	}
	verdict.Store("stuck")
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-stuck; cancel() }()
	if _, err := l.Check(ctx); err == nil {
		t.Error("a check that is not over has ended well")
	}
	verdict.Store("same")
	release <- true
	s.idle.Store(true)
	eventually(t, "the link to rest", func() bool { return l.Status().State == "idle" })
	ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := l.Check(ctx); err != ErrNotLinked {
		t.Errorf("without a link: %v", err)
	}
}

// TestHistory: nothing is told to a region that was told by another history, and the mark comes before all else.
func TestHistory(t *testing.T) {
	var mu sync.Mutex
	var said []string
	heard := "$1\r\n3\r\n$1\r\n9\r\n"
	o := newOtherRegion(t, func(args []string) string {
		mu.Lock()
		defer mu.Unlock()
		switch said = append(said, args[1]); args[1] {
		case "HELLO":
			reply := helloReply(0, 0)
			return reply[:len(reply)-len("$1\r\n4\r\n$1\r\n5\r\n")] + heard
		case "MARK":
			heard = "$1\r\n4\r\n$1\r\n5\r\n"
			return "+OK\r\n"
		}
		return frameReply("applied", 9, 1, 0)
	})
	s := &fakeSource{}
	s.move(9, false)
	l := runLink(t, s, o)
	eventually(t, "the link to stop", func() bool { return strings.Contains(l.Status().Error, "another history") })
	mu.Lock()
	if len(said) == 0 || slices.ContainsFunc(said, func(what string) bool { return what != "HELLO" }) {
		t.Errorf("said to a region that was told by another history: %q", said)
	}
	heard, said = "$1\r\n0\r\n$1\r\n0\r\n", nil
	mu.Unlock()
	eventually(t, "a frame", func() bool { return l.Status().Acked.Counters[3] == 9 })
	mu.Lock()
	defer mu.Unlock()
	if len(said) < 3 || said[0] != "HELLO" || said[1] != "MARK" || said[2] != "MERGE" {
		t.Errorf("said: %q", said)
	}
}

// TestOlderCopyOfSketches: a region of which another one knows more sketches than it has itself is an older copy.
func TestOlderCopyOfSketches(t *testing.T) {
	s := &fakeSource{}
	o := newOtherRegion(t, func([]string) string {
		reply := helloReply(0, 6000)
		at := strings.LastIndex(reply, "*256\r\n") + len("*256\r\n")
		return reply[:at] + ":9" + reply[at+2:]
	})
	l := runLink(t, s, o)
	eventually(t, "a refusal", func() bool { return strings.Contains(l.Status().Error, "older copy") })
}
