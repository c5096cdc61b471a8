package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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
	fail     func(error) // stops the node
	proposer atomic.Pointer[Proposer]
	applied  atomic.Uint64 // last entry the machine has finished; Raft's own means "handed over"
	broken   atomic.Bool   // nothing is applied any more

	// Owned by the applying goroutine; part of snapshots.
	stamp int64
	level uint16

	restoreErr error // why the last Restore failed; Raft only logs it
}

var _ raft.BatchingFSM = (*fsm)(nil)

func newFSM(sm StateMachine, clock *Clock, fail func(error)) *fsm {
	return &fsm{machine: sm, clock: clock, fail: fail, level: 1}
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
	if log.Type == raft.LogCommand {
		f.applyEntry(log.Index, log.Data)
	} else if !f.broken.Load() {
		f.applied.Store(log.Index)
	}
	return nil
}

func (f *fsm) applyEntry(index uint64, data []byte) {
	if f.broken.Load() {
		return
	}
	h, payload, err := decodeEntry(data)
	switch {
	case err != nil:
	case h.level > SemanticsLevel:
		err = &VersionError{What: "semantics level of log entry", Found: int(h.level), Known: int(SemanticsLevel)}
	case h.stamp < f.stamp:
		err = fmt.Errorf("its log time %d is before %d of an earlier entry", h.stamp, f.stamp)
	case index <= f.applied.Load():
		err = fmt.Errorf("BUG: entry %d is already applied", f.applied.Load())
	}
	if err != nil {
		f.stop(fmt.Errorf("log entry %d cannot be applied: %w", index, err))
		return
	}
	f.stamp, f.level = h.stamp, h.level
	f.clock.Observe(h.stamp)
	var ours Batch
	proposer := f.proposer.Load()
	if proposer != nil {
		ours = (*proposer).Claim(h.origin, h.sequence)
	}
	f.machine.Apply(Entry{Index: index, Stamp: h.stamp, Level: h.level, Payload: payload}, ours)
	f.applied.Store(index)
	if proposer != nil {
		(*proposer).Applied(h.origin, h.sequence)
	}
}

func (f *fsm) stop(err error) {
	if f.broken.CompareAndSwap(false, true) {
		f.fail(err)
	}
}

// The bytes before the state machine's own in a snapshot's body, little-endian:
//
//	 0        4    5          8               16           24     26        28       32         40        44       48
//	┌────────┬────┬──────────┬───────────────┬────────────┬──────┬─────────┬────────┬──────────┬─────────┬────────┐
//	│ "QPFS" │ver │ reserved │ applied index │ last stamp │level │ reserved│origins │ reserved │ reserved│ CRC32C │
//	└────────┴────┴──────────┴───────────────┴────────────┴──────┴─────────┴────────┴──────────┴─────────┴────────┘
//
// origins: number of origin positions that follow; reserved, 0. The CRC32C covers bytes 0–43.
const (
	fsmPrefixSize    = 48
	fsmPrefixMagic   = 0x53465051 // "QPFS"
	fsmPrefixVersion = 1
)

type fsmPrefix struct {
	applied uint64
	stamp   int64
	level   uint16
}

func encodeFSMPrefix(p fsmPrefix) []byte {
	b := make([]byte, fsmPrefixSize)
	le := binary.LittleEndian
	le.PutUint32(b, fsmPrefixMagic)
	b[4] = fsmPrefixVersion
	le.PutUint64(b[8:], p.applied)
	le.PutUint64(b[16:], uint64(p.stamp))
	le.PutUint16(b[24:], p.level)
	le.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
	return b
}

func decodeFSMPrefix(b []byte) (p fsmPrefix, err error) {
	le := binary.LittleEndian
	if len(b) < fsmPrefixSize || le.Uint32(b) != fsmPrefixMagic {
		return p, errors.New("snapshot body does not begin with its prefix")
	}
	if b[4] > fsmPrefixVersion {
		return p, &VersionError{What: "snapshot body", Found: int(b[4]), Known: fsmPrefixVersion}
	}
	if le.Uint32(b[44:]) != crc32.Checksum(b[:44], castagnoli) {
		return p, errors.New("snapshot body's prefix fails its CRC32C")
	}
	p = fsmPrefix{applied: le.Uint64(b[8:]), stamp: int64(le.Uint64(b[16:])), level: le.Uint16(b[24:])}
	if b[4] != fsmPrefixVersion || le.Uint32(b[28:]) != 0 {
		return p, errors.New("snapshot body's prefix has unknown contents")
	}
	if p.level > SemanticsLevel {
		return p, &VersionError{What: "semantics level of snapshot", Found: int(p.level), Known: int(SemanticsLevel)}
	}
	return p, nil
}

// Snapshot implements raft.FSM: a capture in O(1), because nothing is applied meanwhile.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.broken.Load() {
		return nil, ErrFailed
	}
	return &fsmSnapshot{
		prefix: fsmPrefix{applied: f.applied.Load(), stamp: f.stamp, level: f.level},
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
	if k, ok := sink.(interface{ SetHurry(func() bool) }); ok {
		k.SetHurry(s.state.Hurry)
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
	if err := f.machine.Restore(io.NewSectionReader(body, fsmPrefixSize, size), size); err != nil {
		return err
	}
	f.stamp, f.level = p.stamp, p.level
	f.applied.Store(p.applied)
	f.clock.Observe(p.stamp)
	return nil
}
