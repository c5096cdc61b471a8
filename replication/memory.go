package replication

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"quipu/internal/histogram"
)

// memoryGroup is an ideal Group for tests: every proposal commits at once, and nothing is kept on disk.
type memoryGroup struct {
	fsm   *fsm
	clock *Clock

	mu    sync.Mutex
	wake  chan struct{} // buffered
	queue []*memoryProposal

	saving   sync.Mutex // the state machine takes one capture at a time
	index    atomic.Uint64
	snapped  atomic.Uint64 // applied index of the last snapshot
	snapSize atomic.Int64
	captures chan chan *fsmSnapshot
	ready    chan struct{}
	done     chan struct{}
	exited   chan struct{}
	err      error // set before done is closed
	stop     sync.Once
}

const memoryTerm = 1

type memoryProposal struct {
	data []byte
	done chan error // buffered
}

// Error implements Future.
func (p *memoryProposal) Error() error {
	err := <-p.done
	p.done <- err
	return err
}

// NewMemoryGroup returns a Group without disk or peers: it leads at once and commits at once. A nil clock is made here.
func NewMemoryGroup(sm StateMachine, clock *Clock) Group {
	if clock == nil {
		clock = NewClock(nil)
	}
	g := &memoryGroup{
		clock: clock, wake: make(chan struct{}, 1), captures: make(chan chan *fsmSnapshot),
		ready: make(chan struct{}), done: make(chan struct{}), exited: make(chan struct{}),
	}
	g.fsm = newFSM(sm, clock, g.finish)
	g.fsm.level.Store(uint32(SemanticsLevel)) // there are no older members
	close(g.ready)
	go g.run()
	return g
}

func (g *memoryGroup) run() {
	defer close(g.exited)
	for {
		select {
		case <-g.wake:
			g.mu.Lock()
			queue := g.queue
			g.queue = nil
			g.mu.Unlock()
			for _, p := range queue {
				g.fsm.applyEntry(g.index.Add(1), memoryTerm, p.data)
				if g.fsm.broken.Load() {
					p.done <- ErrFailed
					return
				}
				p.done <- nil
			}
		case ch := <-g.captures:
			s, _ := g.fsm.Snapshot()
			ch <- s.(*fsmSnapshot)
		case <-g.done:
			return
		}
	}
}

func (g *memoryGroup) finish(err error) {
	g.stop.Do(func() {
		g.err = err
		close(g.done)
	})
}

func (g *memoryGroup) Bind(p Proposer) { g.fsm.bind(p) }

func (g *memoryGroup) Propose(data []byte) Future {
	if err := g.Writable(); err != nil {
		return failedFuture{err}
	}
	p := &memoryProposal{data: data, done: make(chan error, 1)}
	g.mu.Lock()
	g.queue = append(g.queue, p)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
	return p
}

func (g *memoryGroup) Writable() error {
	select {
	case <-g.done:
		return notApplied(ErrShutdown)
	default:
		return nil
	}
}

// Confirm implements Group.
func (g *memoryGroup) Confirm(then func(error)) { then(g.Writable()) }

// Forwards implements Group.
func (g *memoryGroup) Forwards() bool { return false }

// Serve implements Group.
func (g *memoryGroup) Serve(Remote, func()) {}

// Send implements Group.
func (g *memoryGroup) Send([]byte, bool, func(*Answer, bool) bool) bool { return false }

// MaySend implements Group.
func (g *memoryGroup) MaySend(bool) bool { return false }

// Refresh implements Group.
func (g *memoryGroup) Refresh() {}

// Resign implements Group.
func (g *memoryGroup) Resign() bool { return true }

// Remove implements Group.
func (g *memoryGroup) Remove(string) error { return errors.New("an ideal group has one node") }

// Promote implements Group.
func (g *memoryGroup) Promote(string) error { return errors.New("an ideal group has one node") }

// TakeOver implements Group.
func (g *memoryGroup) TakeOver(context.Context) error {
	return errors.New("an ideal group has one node")
}

// Upgrade implements Group.
func (g *memoryGroup) Upgrade(context.Context) (uint16, error) { return g.Level(), nil }

// Stopping implements Group.
func (g *memoryGroup) Stopping(bool) {}

// OthersDrained implements Group.
func (g *memoryGroup) OthersDrained(time.Time) bool { return true }

// EntryLevel implements Group.
func (g *memoryGroup) EntryLevel() uint16 { return g.Level() }

// Compare implements Group.
func (g *memoryGroup) Compare(context.Context) (uint64, error) { return g.AppliedIndex(), nil }

func (g *memoryGroup) Doubtful() bool         { return false }
func (g *memoryGroup) SoleVoter() bool        { return true }
func (g *memoryGroup) Level() uint16          { return uint16(g.fsm.level.Load()) }
func (g *memoryGroup) AppliedIndex() uint64   { return g.fsm.applied.Load() }
func (g *memoryGroup) Ready() <-chan struct{} { return g.ready }
func (g *memoryGroup) Done() <-chan struct{}  { return g.done }
func (g *memoryGroup) Clock() *Clock          { return g.clock }

// Term implements Group.
func (g *memoryGroup) Term() uint64 {
	if g.Writable() != nil {
		return 0
	}
	return memoryTerm
}

func (g *memoryGroup) Err() error {
	select {
	case <-g.done:
		return g.err
	default:
		return nil
	}
}

// Snapshot persists a capture into memory and forgets it.
func (g *memoryGroup) Snapshot() error {
	g.saving.Lock()
	defer g.saving.Unlock()
	ch := make(chan *fsmSnapshot, 1)
	select {
	case g.captures <- ch:
	case <-g.done:
		return ErrShutdown
	}
	s := <-ch
	defer s.Release()
	var buf bytes.Buffer
	if err := s.writeTo(&buf); err != nil {
		return err
	}
	g.snapped.Store(s.prefix.applied)
	g.snapSize.Store(int64(buf.Len()))
	return nil
}

// OpenSnapshot implements Group.
func (g *memoryGroup) OpenSnapshot() (*Backup, error) {
	return nil, errors.New("an ideal group has no files")
}

// Syncs implements Group: there is no disk.
func (g *memoryGroup) Syncs() histogram.Values { return histogram.Values{} }

func (g *memoryGroup) Status() Status {
	return Status{
		NodeID: "memory", ClusterName: "memory", Boot: 1, Leader: g.Term() != 0, SoleVoter: true, Term: memoryTerm,
		LastIndex: g.index.Load(), CommitIndex: g.index.Load(), AppliedIndex: g.AppliedIndex(),
		SnapshotIndex: g.snapped.Load(), SnapshotBytes: g.snapSize.Load(), Clock: g.clock.Status(), Err: g.Err(),
	}
}

func (g *memoryGroup) Shutdown(ctx context.Context) error {
	g.finish(nil)
	select {
	case <-g.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
