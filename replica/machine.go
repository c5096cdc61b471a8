package replica

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"quipu/engine"
	"quipu/exec"
	"quipu/replication"
)

// machine executes each committed entry on the keyspace.
type machine struct {
	keyspace *engine.Keyspace
	runner   *exec.Runner
	feed     *engine.Feed       // nil: none
	stamp    atomic.Int64       // of the last entry in the state, log time in ms
	index    atomic.Uint64      // of the last entry that was executed
	applied  func(index uint64) // called when index has changed
	entries  atomic.Int64
	fatal    func(error)
	loading  func(load func() error) error // Options.Loading
	open     atomic.Bool                   // the replica is open: others may use the keyspace
	checker  checker

	usersChanged func(ks *engine.Keyspace) // Options.UsersChanged
	usersSeen    uint64                    // Keyspace.UserChanges when it was called last
	broken       atomic.Bool               // an entry could not be executed to its end: no later one is executed
}

var errBroken = errors.New("an earlier log entry could not be applied")

var _ replication.StateMachine = (*machine)(nil)

// Apply implements replication.StateMachine.
func (m *machine) Apply(e replication.Entry, ours replication.Batch) {
	b, _ := ours.(*batch)
	err := errBroken
	m.runner.BeginEntry(e.Index)
	m.feed.Begin(e.Index)
	if !m.broken.Load() {
		m.keyspace.MarkRegions(e.Proposer)
	}
	switch {
	case m.broken.Load():
	case b != nil:
		err = b.Execute(m.runner, e.Payload, e.Stamp)
	default:
		err = m.runner.Replay(e.Payload, e.Stamp)
	}
	m.feed.End(e.Stamp, len(e.Payload))
	if err != nil {
		// Some operations of the entry may have been executed: this node's counts may differ from those of other nodes.
		m.broken.Store(true)
		m.fatal(fmt.Errorf("log entry %d: %w", e.Index, err))
		if b != nil {
			b.failed = err
		}
		return
	}
	m.tellUsers()
	m.stamp.Store(e.Stamp)
	m.entries.Add(1)
	m.index.Store(e.Index)
	m.applied(e.Index)
}

// tellUsers says that users have changed, if they have.
func (m *machine) tellUsers() {
	if n := m.keyspace.UserChanges(); n != m.usersSeen && m.usersChanged != nil {
		m.usersSeen = n
		m.usersChanged(m.keyspace)
	}
}

// Capture implements replication.StateMachine.
func (m *machine) Capture() replication.Persister { return persister{m.capture(), m} }

// Restore implements replication.StateMachine.
func (m *machine) Restore(r io.ReaderAt, size int64, index uint64, stamp int64) error {
	m.checker.end()
	load := func() error {
		m.keyspace.Txn(0, 0, false).FlushAll()
		m.stamp.Store(stamp) // reads of a node that does not lead go by it, and no entry may follow for long
		err := m.keyspace.Load(r, size, runtime.GOMAXPROCS(0))
		m.feed.Reset(index, stamp)
		if err == nil {
			m.tellUsers()
		}
		return err
	}
	if m.open.Load() && m.loading != nil {
		return m.loading(load)
	}
	return load()
}

type persister struct {
	*engine.Snapshot
	machine *machine
}

// Persist implements replication.Persister.
func (p persister) Persist(w io.Writer) error {
	if p.machine.broken.Load() {
		return errBroken
	}
	_, err := p.Snapshot.WriteTo(w)
	return err
}

// Hurry implements replication.Persister.
func (p persister) Hurry() bool { return p.Snapshot.Pressed() }
