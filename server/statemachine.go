package server

import (
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"quipu/commands"
	"quipu/engine"
	"quipu/replication"
)

// stateMachine plugs the commands into the log: it executes each committed entry on the keyspace.
type stateMachine struct {
	keyspace *engine.Keyspace
	runner   *commands.Runner
	stamp    atomic.Int64 // of the last entry applied, log time in ms
	entries  atomic.Int64
	fatal    func(error)
}

var _ replication.StateMachine = (*stateMachine)(nil)

// Apply implements replication.StateMachine.
func (m *stateMachine) Apply(e replication.Entry, local replication.Batch) {
	var err error
	if local != nil {
		err = local.(*batch).Apply(m.runner, e.Payload, e.Stamp)
	} else {
		err = m.runner.Replay(e.Payload, e.Stamp)
	}
	if err != nil {
		// State may be half changed: going on would serve counts nobody agreed on.
		m.fatal(fmt.Errorf("log entry %d: %w", e.Index, err))
		return
	}
	m.stamp.Store(e.Stamp)
	m.entries.Add(1)
}

// Capture implements replication.StateMachine.
func (m *stateMachine) Capture() replication.Persister { return persister{m.keyspace.Capture()} }

// Restore implements replication.StateMachine.
func (m *stateMachine) Restore(r io.ReaderAt, size int64) error {
	m.keyspace.Txn(0, 0, false).FlushAll()
	return m.keyspace.Load(r, size, runtime.GOMAXPROCS(0))
}

type persister struct{ *engine.Snapshot }

// Persist implements replication.Persister.
func (p persister) Persist(w io.Writer) error {
	_, err := p.Snapshot.WriteTo(w)
	return err
}
