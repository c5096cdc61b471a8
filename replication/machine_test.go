package replication

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		flag.Parse() // testing.Verbose panics before
		crashChild(dir)
		return
	}
	// Raft may leave the future of a barrier unresolved when it is stopped, and with it the goroutine that waits for it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("quipu/replication.(*raftGroup).awaitBarrier"))
}

// counter is the state machine of these tests: each payload is a sequence of u64 numbers, which are summed and chained, so
// that order, loss and repetition show.
type counter struct {
	mu      sync.Mutex
	count   uint64
	sum     uint64
	chain   uint64
	stamp   int64
	index   uint64
	failed  error
	pad     int // extra bytes in snapshots
	onApply func(Entry, Batch)
}

type counterState struct{ count, sum, chain uint64 }

func (c *counter) state() counterState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return counterState{c.count, c.sum, c.chain}
}

func (c *counter) Apply(e Entry, ours Batch) {
	if c.onApply != nil {
		c.onApply(e, ours)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Stamp < c.stamp || e.Index <= c.index {
		c.failed = fmt.Errorf("entry %d stamp %d after entry %d stamp %d", e.Index, e.Stamp, c.index, c.stamp)
	}
	c.stamp, c.index = e.Stamp, e.Index
	n := 0
	for p := e.Payload; len(p) >= 8; p = p[8:] {
		c.add(binary.LittleEndian.Uint64(p))
		n++
	}
	if b, ok := ours.(*testBatch); ok {
		if len(b.numbers) > n {
			c.failed = fmt.Errorf("entry %d has %d numbers, its batch %d", e.Index, n, len(b.numbers))
		}
	}
}

func (c *counter) add(v uint64) {
	c.count++
	c.sum += v
	c.chain = c.chain*31 + v
}

type counterCapture struct {
	s   counterState
	pad int
}

func (c *counter) Capture() Persister {
	s := c.state()
	return counterCapture{s, c.pad}
}

func (p counterCapture) Persist(w io.Writer) error {
	b := binary.LittleEndian.AppendUint64(nil, p.s.count)
	b = binary.LittleEndian.AppendUint64(b, p.s.sum)
	b = binary.LittleEndian.AppendUint64(b, p.s.chain)
	b = append(b, make([]byte, p.pad)...)
	_, err := w.Write(b)
	return err
}

func (p counterCapture) Hurry() bool { return false }
func (p counterCapture) Release()    {}

func (c *counter) Restore(r io.ReaderAt, size int64, _ uint64, _ int64) error {
	b := make([]byte, size)
	if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count = binary.LittleEndian.Uint64(b)
	c.sum = binary.LittleEndian.Uint64(b[8:])
	c.chain = binary.LittleEndian.Uint64(b[16:])
	return nil
}

// number is a sub-batch: one number, and who waits for it.
type number struct {
	v      uint64
	waiter chan error
	pad    int // bytes behind it
}

func (n number) Size() int { return 8 + n.pad }

// testBatch gathers numbers.
type testBatch struct {
	numbers []number
	sealed  bool
	decided int
	outcome Outcome
	fates   []bool
	onSeal  func()
	onDone  func()
}

func (b *testBatch) Add(sub SubBatch) { b.numbers = append(b.numbers, sub.(number)) }
func (b *testBatch) Size() (size int) {
	for _, n := range b.numbers {
		size += n.Size()
	}
	return size
}
func (b *testBatch) Empty() bool { return len(b.numbers) == 0 }

func (b *testBatch) Seal(buf []byte, _ int64) []byte {
	if b.sealed {
		panic("sealed twice")
	}
	b.sealed = true
	if b.onSeal != nil {
		b.onSeal()
	}
	for _, n := range b.numbers {
		buf = append(binary.LittleEndian.AppendUint64(buf, n.v), make([]byte, n.pad)...)
	}
	return buf
}

func (b *testBatch) Decide(o Outcome, reason error) {
	if b.decided++; b.decided > 1 {
		panic("decided twice")
	}
	if (o == Applied) != (reason == nil) || (o == NotApplied) != isNotApplied(reason) {
		panic(fmt.Sprintf("outcome %d with the reason %v", o, reason))
	}
	b.outcome = o
	if b.onDone != nil {
		b.onDone()
	}
	for _, n := range b.numbers {
		n.waiter <- reason
	}
}

func (b *testBatch) Forwarded(uint64)             {}
func (b *testBatch) Ship(buf []byte) []byte       { return buf }
func (b *testBatch) Shipped(uint64, []byte) error { return nil }
func (b *testBatch) Fate(applied bool) {
	if b.decided == 0 || b.outcome != Unknown || len(b.fates) > 0 {
		panic("a fate without need")
	}
	b.fates = append(b.fates, applied)
}

// testSource makes testBatches. What goes ahead of them is one number again and again, until it is taken out.
type testSource struct {
	made   func(b *testBatch)
	ahead  []uint64 // to be sealed, in order
	sealed int      // of them, in the entry that was proposed last
	limit  int      // numbers an entry takes; 0: all
	told   int      // calls of AheadApplied
}

func (s *testSource) NewBatch() Batch {
	b := &testBatch{}
	if s.made != nil {
		s.made(b)
	}
	return b
}

func (s *testSource) ShipAhead(buf []byte) ([]byte, bool) { return s.Ahead(buf) }

func (s *testSource) AheadApplied() { s.told++ }

func (s *testSource) Ahead(buf []byte) ([]byte, bool) {
	n := len(s.ahead)
	if s.limit > 0 {
		n = min(n, s.limit)
	}
	for _, v := range s.ahead[:n] {
		buf = binary.LittleEndian.AppendUint64(buf, v)
	}
	s.sealed = n
	return buf, n == len(s.ahead)
}

// submit adds one number and flushes.
func submit(b *Batcher, v uint64) chan error {
	ch := make(chan error, 1)
	b.Submit(number{v: v, waiter: ch})
	b.Flush()
	return ch
}

func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func outcomeOf(t testing.TB, ch chan error) error {
	t.Helper()
	select {
	case err := <-ch:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("no outcome")
		return nil
	}
}

// testConfig has small segments.
func testConfig(dir string) Config {
	level := slog.LevelError + 4
	if testing.Verbose() {
		level = slog.LevelWarn
	}
	return Config{
		Dir: dir, SegmentBytes: 64 << 10, MinFreeBytes: 1,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
}

// node is an open group with its machine and batcher.
type node struct {
	*raftGroup
	sm    *counter
	batch *Batcher
}

func startNode(t testing.TB, cfg Config) *node {
	t.Helper()
	sm := &counter{}
	n, err := tryNode(cfg, sm)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("not ready")
	}
	return n
}

func tryNode(cfg Config, sm *counter) (*node, error) {
	g, err := openGroup(context.Background(), cfg, sm)
	if err != nil {
		return nil, err
	}
	return &node{raftGroup: g, sm: sm, batch: NewBatcher(g, g.Clock(), &testSource{}, BatcherOptions{})}, nil
}

// stop ends the node in good order.
func (n *node) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.batch.Drain(ctx); err != nil {
		t.Error(err)
	}
	n.batch.Close()
	if err := n.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if n.sm.failed != nil {
		t.Error(n.sm.failed)
	}
}

// write submits numbers and waits for all.
func (n *node) write(t testing.TB, from, to uint64) {
	t.Helper()
	for v := from; v < to; v++ {
		if err := outcomeOf(t, submit(n.batch, v)); err != nil {
			t.Fatalf("write %d: %v", v, err)
		}
	}
}

// expected is the state after the numbers 0 … n−1.
func expected(n uint64) counterState {
	var c counter
	for v := range n {
		c.add(v)
	}
	return c.state()
}
