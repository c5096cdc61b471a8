package replication

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// fsm is the bridge from Raft to the StateMachine. Raft calls it from one goroutine.
//
// It implements raft.BatchingFSM, although it applies one entry after another: Raft then hands it configuration entries
// too, and counts them as applied. Otherwise a snapshot right after a membership change fails until the next command.
type fsm struct {
	machine  StateMachine
	clock    *Clock
	fail     func(error)              // stops the node
	members  func(raft.Configuration) // called with each configuration that is committed, while the log is replayed as well; nil: nobody wants them
	proposer atomic.Pointer[Proposer]
	applied  atomic.Uint64 // index of the last entry that the machine has executed; Raft's own counts entries handed over
	broken   atomic.Bool   // nothing is applied any more

	// Owned by the applying goroutine; part of snapshots.
	stamp int64
	level atomic.Uint32 // semantics level of the last entry, which the next ones get too; read by anyone

	checked atomic.Pointer[Checksum] // the last one of this node

	term uint64 // of the last entry, also of a void one; owned by the applying goroutine

	restoreErr error       // why the last Restore failed; Raft only logs it
	started    atomic.Bool // Raft runs: a Restore is that of a snapshot from the leader
}

var _ raft.BatchingFSM = (*fsm)(nil)

func newFSM(sm StateMachine, clock *Clock, fail func(error)) *fsm {
	f := &fsm{machine: sm, clock: clock, fail: fail}
	f.level.Store(1)
	return f
}

func (f *fsm) bind(p Proposer) { f.proposer.Store(&p) }

// ApplyBatch implements raft.BatchingFSM.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	for _, log := range logs {
		f.Apply(log)
	}
	return make([]any, len(logs))
}

// Apply implements raft.FSM.
func (f *fsm) Apply(log *raft.Log) any {
	switch {
	case f.broken.Load():
	case log.Type == raft.LogCommand:
		f.applyEntry(log.Index, log.Term, log.Data)
	default:
		if log.Type == raft.LogConfiguration && f.members != nil {
			f.members(raft.DecodeConfiguration(log.Data))
		}
		f.begin(log.Term)
		f.applied.Store(log.Index)
	}
	return nil
}

// begin notes the term of the next entry. Terms never decrease along a log.
func (f *fsm) begin(term uint64) {
	if term == f.term {
		return
	}
	f.term = term
	if p := f.proposer.Load(); p != nil {
		(*p).TermBegan(term)
	}
}

func (f *fsm) applyEntry(index, term uint64, data []byte) {
	if f.broken.Load() {
		return
	}
	f.begin(term)
	h, payload, err := decodeEntry(data)
	if err == nil && h.term != term {
		f.applied.Store(index)
		if p := f.proposer.Load(); p != nil {
			(*p).Void(h.proposer, h.sequence)
		}
		return
	}
	switch {
	case err != nil:
	case h.level > SemanticsLevel:
		err = &VersionError{What: "semantics level of log entry", Found: int(h.level), Known: int(SemanticsLevel)}
	case index <= f.applied.Load():
		err = fmt.Errorf("BUG: entry %d is already applied", f.applied.Load())
	}
	if err != nil {
		f.stop(fmt.Errorf("log entry %d cannot be applied: %w", index, err))
		return
	}
	// A leader whose log time is behind that of the leader before it has not applied an entry since. Every node sets
	// the stamp to the same value, so that is no reason to stop.
	f.stamp = max(f.stamp, h.stamp)
	f.level.Store(max(f.level.Load(), uint32(h.level)))
	f.clock.Observe(f.stamp)
	var ours Batch
	proposer := f.proposer.Load()
	if proposer != nil {
		ours = (*proposer).Claim(h.proposer, h.sequence)
	}
	f.machine.Apply(Entry{Index: index, Stamp: f.stamp, Level: h.level, Proposer: h.proposer, Payload: payload}, ours)
	f.applied.Store(index)
	if h.flags&flagCheck != 0 {
		f.check(index)
	}
	if proposer != nil {
		(*proposer).Applied(h.proposer, h.sequence)
	}
}

// check takes a checksum of the state behind an entry.
func (f *fsm) check(index uint64) {
	if c, ok := f.machine.(Checker); ok {
		c.Check(f.stamp, func(sum uint64) { f.checked.Store(&Checksum{index, sum}) })
	}
}

func (f *fsm) stop(err error) {
	if f.broken.CompareAndSwap(false, true) {
		f.fail(err)
	}
}

// Snapshot implements raft.FSM: a capture in O(1), because nothing is applied meanwhile.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.broken.Load() {
		return nil, ErrFailed
	}
	return &fsmSnapshot{
		prefix: fsmPrefix{applied: f.applied.Load(), stamp: f.stamp, level: uint16(f.level.Load())},
		state:  f.machine.Capture(),
	}, nil
}

type fsmSnapshot struct {
	prefix fsmPrefix
	state  Persister
}

func (s *fsmSnapshot) writeTo(w io.Writer) error {
	if _, err := w.Write(encodeFSMPrefix(s.prefix)); err != nil {
		return err
	}
	return s.state.Persist(w)
}

// Persist implements raft.FSMSnapshot; Raft closes or cancels the sink.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if k, ok := sink.(interface{ Own(hurry func() bool) }); ok {
		k.Own(s.state.Hurry)
	}
	return s.writeTo(sink)
}

// Release implements raft.FSMSnapshot.
func (s *fsmSnapshot) Release() { s.state.Release() }

// snapshotBody is what Open of a storage.SnapshotStore returns: random access, so that a machine can load in parallel.
type snapshotBody interface {
	io.ReaderAt
	Size() int64
}

// Restore implements raft.FSM.
func (f *fsm) Restore(rc io.ReadCloser) error {
	f.restoreErr = f.restore(rc)
	switch {
	case !f.started.Load():
	case f.restoreErr != nil:
		// Half of the state is there, and Raft would go on with the entries behind the old one.
		f.stop(fmt.Errorf("cannot load the leader's snapshot: %w", f.restoreErr))
	default:
		if p := f.proposer.Load(); p != nil {
			(*p).Restored()
		}
	}
	return f.restoreErr
}

func (f *fsm) restore(rc io.Reader) error {
	for {
		w, ok := rc.(raft.ReadCloserWrapper)
		if !ok {
			break
		}
		rc = w.WrappedReadCloser()
	}
	body, ok := rc.(snapshotBody)
	if !ok {
		return fmt.Errorf("BUG: snapshot reader is %T", rc)
	}
	return f.restoreBody(body)
}

func (f *fsm) restoreBody(body snapshotBody) error {
	var b [fsmPrefixSize]byte
	if _, err := body.ReadAt(b[:], 0); err != nil {
		return fmt.Errorf("snapshot body is too short: %w", err)
	}
	p, err := decodeFSMPrefix(b[:])
	if err != nil {
		return err
	}
	size := body.Size() - fsmPrefixSize
	if err := f.machine.Restore(io.NewSectionReader(body, fsmPrefixSize, size), size, p.applied, p.stamp); err != nil {
		return err
	}
	f.stamp = p.stamp
	f.level.Store(uint32(p.level))
	f.applied.Store(p.applied)
	f.clock.Observe(p.stamp)
	return nil
}
