package replication

import (
	"context"
	"sync"
	"time"

	"quipu/internal/histogram"
)

// fakeGroup is a Group whose commits the test decides.
type fakeGroup struct {
	clock *Clock
	mu    sync.Mutex
	prop  Proposer
	open  []*fakeProposal
	refus error
	done  chan struct{}
	err   error
	term  uint64
	most  int // highest number of undecided proposals
}

type fakeProposal struct {
	data   []byte
	header entryHeader
	result chan error
}

func (p *fakeProposal) Error() error { return <-p.result }

func newFakeGroup() *fakeGroup {
	return &fakeGroup{clock: NewClock(nil), done: make(chan struct{}), term: 1}
}

func (g *fakeGroup) Bind(p Proposer) { g.prop = p }

func (g *fakeGroup) Propose(data []byte) Future {
	h, _, err := decodeEntry(data)
	if err != nil {
		panic(err)
	}
	p := &fakeProposal{data: data, header: h, result: make(chan error, 1)}
	g.mu.Lock()
	g.open = append(g.open, p)
	g.most = max(g.most, len(g.open))
	g.mu.Unlock()
	return p
}

// take removes the oldest proposal; nil if there is none.
func (g *fakeGroup) take() *fakeProposal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.open) == 0 {
		return nil
	}
	p := g.open[0]
	g.open = g.open[1:]
	return p
}

// commit applies a proposal as a group does and returns the batch it was given.
func (g *fakeGroup) commit(p *fakeProposal, apply func(Entry, Batch)) Batch {
	batch := g.prop.Claim(p.header.proposer, p.header.sequence)
	if apply != nil {
		apply(Entry{Index: p.header.sequence, Stamp: p.header.stamp, Level: p.header.level, Payload: p.data[HeaderSize:]}, batch)
	}
	g.prop.Applied(p.header.proposer, p.header.sequence)
	p.result <- nil
	return batch
}

func (g *fakeGroup) refuse(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refus = err
}

func (g *fakeGroup) Writable() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refus
}

func (g *fakeGroup) Confirm(then func(error))                         { then(nil) }
func (g *fakeGroup) Forwards() bool                                   { return false }
func (g *fakeGroup) Serve(Remote, func())                             {}
func (g *fakeGroup) Send([]byte, bool, func(*Answer, bool) bool) bool { return false }
func (g *fakeGroup) MaySend(bool) bool                                { return false }
func (g *fakeGroup) Refresh()                                         {}
func (g *fakeGroup) Resign() bool                                     { return true }
func (g *fakeGroup) Promote(string) error                             { return nil }
func (g *fakeGroup) TakeOver(context.Context) error                   { return nil }
func (g *fakeGroup) Upgrade(context.Context) (uint16, error)          { return 1, nil }
func (g *fakeGroup) OpenSnapshot() (*Backup, error)                   { return nil, nil }
func (g *fakeGroup) Compare(context.Context) (uint64, error)          { return 0, nil }
func (g *fakeGroup) Stopping(bool)                                    {}
func (g *fakeGroup) OthersDrained(time.Time) bool                     { return true }
func (g *fakeGroup) EntryLevel() uint16                               { return 1 }
func (g *fakeGroup) Doubtful() bool                                   { return false }
func (g *fakeGroup) Remove(string) error                              { return nil }
func (g *fakeGroup) SoleVoter() bool                                  { return true }
func (g *fakeGroup) Term() uint64                                     { return g.term }
func (g *fakeGroup) Level() uint16                                    { return 1 }
func (g *fakeGroup) AppliedIndex() uint64                             { return 0 }
func (g *fakeGroup) Ready() <-chan struct{}                           { return nil }
func (g *fakeGroup) Done() <-chan struct{}                            { return g.done }
func (g *fakeGroup) Err() error                                       { return g.err }
func (g *fakeGroup) Snapshot() error                                  { return nil }
func (g *fakeGroup) Syncs() histogram.Values                          { return histogram.Values{} }
func (g *fakeGroup) Status() Status                                   { return Status{} }
func (g *fakeGroup) Clock() *Clock                                    { return g.clock }
func (g *fakeGroup) Shutdown(context.Context) error                   { return nil }
