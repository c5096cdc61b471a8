package replication

import (
	"context"
	"encoding/binary"
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
		crashChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
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

func (c *counter) Apply(e Entry, local Batch) {
	if c.onApply != nil {
		c.onApply(e, local)
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
	if b, ok := local.(*testBatch); ok {
		b.applied = true
		if len(b.waiters) != n {
			c.failed = fmt.Errorf("entry %d has %d numbers, its batch %d", e.Index, n, len(b.waiters))
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

func (c *counter) Restore(r io.ReaderAt, size int64) error {
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

// testBatch gathers numbers.
type testBatch struct {
	buf     []byte
	waiters []chan error
	sealed  bool
	applied bool
	done    int
	stamp   int64
	outcome error
	onSeal  func()
	onDone  func(error)
}

func newTestBatch() Batch { return &testBatch{buf: make([]byte, HeaderSize)} }

func (b *testBatch) add(v uint64) chan error {
	ch := make(chan error, 1)
	b.buf = binary.LittleEndian.AppendUint64(b.buf, v)
	b.waiters = append(b.waiters, ch)
	return ch
}

func (b *testBatch) Size() int   { return len(b.buf) - HeaderSize }
func (b *testBatch) Empty() bool { return len(b.waiters) == 0 }
func (b *testBatch) Seal(stamp int64) []byte {
	if b.sealed {
		panic("sealed twice")
	}
	b.sealed, b.stamp = true, stamp
	if b.onSeal != nil {
		b.onSeal()
	}
	return b.buf
}

func (b *testBatch) Complete(err error) {
	b.done++
	if b.done > 1 {
		panic("completed twice")
	}
	b.outcome = err
	if b.onDone != nil {
		b.onDone(err)
	}
	for _, ch := range b.waiters {
		ch <- err
	}
}

// submit adds one number and flushes.
func submit(b *Batcher, v uint64) chan error {
	ch := b.Lock(0).(*testBatch).add(v)
	b.Unlock()
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
	return &node{raftGroup: g, sm: sm, batch: NewBatcher(g, g.Clock(), newTestBatch, BatcherOptions{})}, nil
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
