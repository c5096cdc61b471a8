package server

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

// stateMachine plugs the commands into the log: it executes each committed entry on the keyspace.
type stateMachine struct {
	keyspace *engine.Keyspace
	runner   *exec.Runner
	stamp    atomic.Int64 // of the last entry applied, log time in ms
	entries  atomic.Int64
	fatal    func(error)
	drained  func(serial uint64) // told of each batch of this process that had drains
	broken   atomic.Bool         // an entry was applied in part: nothing more is

	// undecided says that a batch was given up whose entry may still come. No other is proposed before its fate is known,
	// so the next entry applied is either it or proof that it never will be.
	undecided atomic.Bool
}

var errBroken = errors.New("an earlier log entry could not be applied")

var _ replication.StateMachine = (*stateMachine)(nil)

// Apply implements replication.StateMachine.
func (m *stateMachine) Apply(e replication.Entry, local replication.Batch) {
	err := errBroken
	switch {
	case m.broken.Load():
	case local != nil:
		b := local.(*batch)
		if err = b.Apply(m.runner, e.Payload, e.Stamp); err == nil && b.HasDrains() {
			m.drained(b.serial)
		}
	default:
		err = m.runner.Replay(e.Payload, e.Stamp)
	}
	if err != nil {
		// State may be half changed: going on would serve counts nobody agreed on.
		m.broken.Store(true)
		m.fatal(fmt.Errorf("log entry %d: %w", e.Index, err))
		if local != nil {
			local.(*batch).failed = err
		}
		return
	}
	m.stamp.Store(e.Stamp)
	m.entries.Add(1)
	if m.undecided.Load() {
		m.undecided.Store(false)
	}
}

// Capture implements replication.StateMachine.
func (m *stateMachine) Capture() replication.Persister { return persister{m.keyspace.Capture(), m} }

// Restore implements replication.StateMachine.
func (m *stateMachine) Restore(r io.ReaderAt, size int64) error {
	m.keyspace.Txn(0, 0, false).FlushAll()
	return m.keyspace.Load(r, size, runtime.GOMAXPROCS(0))
}

type persister struct {
	*engine.Snapshot
	machine *stateMachine
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
