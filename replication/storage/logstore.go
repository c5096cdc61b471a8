package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"quipu/internal/histogram"
)

// LogStore is Raft's log on raft-wal, with what raft-wal lacks:
//
//   - every entry carries a CRC32C of all its fields, in raft.Log.Extensions, verified at open and at each read;
//   - the watermark (watermark.go) and the tail scan (tailscan.go) find lost entries at open;
//   - an entry above a limit is refused (raft-wal writes 64 MiB and more without an error and cannot read it);
//   - any storage error is final: the store refuses everything after it and the node stops. Raft's idea of the last index
//     is wrong after a failed write.
//
// Nothing is repaired before it is certain that nothing acknowledged is missing.
type LogStore struct {
	dir  string
	wal  *wal.WAL
	fs   *segmentFS
	meta *segmentList
	fail func(error)

	failed  atomic.Pointer[error]
	running atomic.Bool  // Raft's goroutines use the store
	storing atomic.Int64 // when the current write began (UnixNano), 0: none
	total   atomic.Int64 // see Written

	counted  uint64 // see LogConfig
	idle     func([]byte) bool
	maxEntry int

	mu      sync.Mutex // StoreLogs, DeleteRange
	mark    *watermark
	scratch []raft.Log
	pointer []*raft.Log
	exts    []byte
	trail   trail
	tail    tailCache
}

var _ raft.MonotonicLogStore = (*LogStore)(nil)

// extSize is the size of our part of raft.Log.Extensions: the CRC32C, at its end.
const extSize = 4

// logCRC covers every field, so that a read returns what was stored or an error. buf is scratch of at least 40 bytes.
func logCRC(l *raft.Log, buf *[40]byte) uint32 {
	le := binary.LittleEndian
	le.PutUint64(buf[0:], l.Index)
	le.PutUint64(buf[8:], l.Term)
	le.PutUint64(buf[16:], uint64(l.Type))
	le.PutUint64(buf[24:], uint64(l.AppendedAt.UnixNano()))
	le.PutUint64(buf[32:], uint64(len(l.Data)))
	crc := crc32.Checksum(buf[:], castagnoli)
	crc = crc32.Update(crc, castagnoli, l.Data)
	return crc32.Update(crc, castagnoli, l.Extensions)
}

// LogConfig describes a log on disk.
type LogConfig struct {
	Dir          string // exists
	Create       bool   // makes a new log; else a missing file is damage
	SegmentBytes int64
	// TrailingBytes is how much log is to stay behind a snapshot: Trailing measures it in steps of a fraction of this.
	TrailingBytes int64
	Counted       uint64 // entries up to this index are in a snapshot and do not count in Written
	MaxEntryBytes int    // an entry above it is refused: a fault of the caller
	// Idle reports whether an entry has no operations and does not count in Written. Nil: all entries count.
	Idle   func(data []byte) bool
	Logger *slog.Logger
	// Fail is told of an error that must stop the node.
	Fail  func(error)
	Guard *DiskGuard
}

// OpenLog opens and verifies the log in a directory.
func OpenLog(cfg LogConfig) (*LogStore, error) {
	s := &LogStore{
		dir: cfg.Dir, fail: cfg.Fail, counted: cfg.Counted, idle: cfg.Idle, maxEntry: cfg.MaxEntryBytes,
		trail: trail{step: cfg.TrailingBytes / trailSteps},
	}
	s.fs = newSegmentFS(cfg.Dir, cfg.SegmentBytes, cfg.Logger, s.storageError, cfg.Guard)
	s.meta = &segmentList{dir: cfg.Dir, fail: s.storageError, patient: s.fs.patient}
	var err error
	if s.mark, err = openWatermark(filepath.Join(cfg.Dir, watermarkName), cfg.Create); err != nil {
		return nil, err
	}
	var state types.PersistentState
	if state, err = s.meta.Load(cfg.Dir); err == nil {
		err = s.examine(state, cfg.Create)
	}
	if err == nil {
		s.wal, err = wal.Open(cfg.Dir,
			wal.WithSegmentFiler(segment.NewFiler(cfg.Dir, s.fs)), wal.WithMetaStore(s.meta),
			wal.WithSegmentSize(int(cfg.SegmentBytes-segmentSlack(cfg.SegmentBytes))), wal.WithLogger(NewHCLog(cfg.Logger, "wal")))
	}
	if err == nil {
		err = s.verify()
	}
	if err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	if !cfg.Create {
		s.meta.prepare()
		s.fs.start()
	}
	return s, nil
}

// Start says that Raft uses the log from here on: after a storage error its goroutine ends instead of panicking.
func (s *LogStore) Start() { s.running.Store(true) }

// Hasten says that the node stops: no write waits for room on the disk any more.
func (s *LogStore) Hasten() { s.fs.hasty.Store(true) }

// Prepare tries again to prepare the next segment, if there is none. Call it once a second.
func (s *LogStore) Prepare() { s.fs.retry() }

// KeepTail says whether to keep copies of the newest entries in memory: a node with others beside it reads them again.
func (s *LogStore) KeepTail(on bool) { s.tail.keep(on) }

// Written is the number of bytes of Raft's command entries behind index Counted, without those that are Idle. It only grows.
func (s *LogStore) Written() int64 { return s.total.Load() }

// Trailing is the number of newest entries that hold about the given bytes; at least 1.
func (s *LogStore) Trailing(bytes int64) uint64 { return s.trail.entries(bytes) }

// Room says why there may be no room for an entry of so many bytes, in what is preallocated and on the disk. It is cheap for
// entries that fit into what is preallocated.
func (s *LogStore) Room(bytes int) *DiskFullError {
	n := int64(bytes + appendExtra)
	guard := s.fs.guard
	if n <= segmentSlack(s.fs.size) && s.fs.hasSpare() || guard.Room(n) {
		return nil
	}
	return &DiskFullError{Dir: guard.dir, Free: guard.Free(), Need: guard.reserve + uint64(n), What: "free bytes for this entry"}
}

// examine looks at the segments before raft-wal does, and repairs the unsealed one.
func (s *LogStore) examine(state types.PersistentState, create bool) error {
	if len(state.Segments) == 0 {
		if create {
			return nil
		}
		return &CorruptError{File: s.meta.path(), Offset: -1, What: "the list of log segments is missing or empty", Action: restoreAdvice}
	}
	n := len(state.Segments) - 1
	for i, info := range state.Segments[:n] {
		if err := checkSealed(s.dir, info); err != nil {
			return err
		}
		if next := state.Segments[i+1]; info.MaxIndex+1 != next.BaseIndex {
			return &CorruptError{File: s.meta.path(), Offset: -1, What: fmt.Sprintf("entries %d to %d are in no segment", info.MaxIndex+1, next.BaseIndex-1), Action: restoreAdvice}
		}
	}
	tail := state.Segments[n]
	if !tail.SealTime.IsZero() {
		return checkSealed(s.dir, tail)
	}
	path := filepath.Join(s.dir, segment.FileName(tail))
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		if s.mark.last.index >= tail.BaseIndex {
			return &CorruptError{File: path, Offset: -1, What: fmt.Sprintf("the newest log segment is missing; entries %d to %d were acknowledged", tail.BaseIndex, s.mark.last.index), Action: restoreAdvice}
		}
		return nil // raft-wal creates it: a crash came between the list and the file
	}
	if err != nil {
		return err
	}
	scan, err := scanTail(f, tail.BaseIndex)
	f.Close()
	if err != nil {
		return err
	}
	if scan.last < s.mark.last.index {
		return &CorruptError{File: path, Offset: scan.end, What: fmt.Sprintf("the log ends after entry %d, but entry %d was acknowledged", scan.last, s.mark.last.index), Action: restoreAdvice}
	}
	return repairTail(path, scan, s.meta, &state)
}

// verify reads the whole log once.
func (s *LogStore) verify() error {
	first, err := s.wal.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	if acked := s.mark.last.index; last < acked {
		return &CorruptError{File: s.dir, Offset: -1, What: fmt.Sprintf("the log ends after entry %d, but entry %d was acknowledged", last, acked), Action: restoreAdvice}
	}
	var l raft.Log
	for i := first; i <= last && last > 0; i++ {
		crc, err := s.read(i, &l)
		if err != nil {
			return err
		}
		if i == s.mark.last.index && s.mark.last.crc != 0 && s.mark.last.crc != crc {
			return &CorruptError{File: filepath.Join(s.dir, watermarkName), Offset: -1, What: fmt.Sprintf("log entry %d is not the one that was acknowledged", i), Action: restoreAdvice}
		}
		s.count(&l)
		if i == last {
			// A new file, or one that a power cut set back, follows the log again.
			return s.mark.force(last, crc)
		}
	}
	return nil
}

// count adds an entry to what triggers and trims snapshots.
func (s *LogStore) count(l *raft.Log) {
	n := int64(len(l.Data))
	if l.Index > s.counted && l.Type == raft.LogCommand && (s.idle == nil || !s.idle(l.Data)) {
		s.total.Add(n)
	}
	s.trail.add(l.Index, n)
}

// read gets and verifies one entry.
func (s *LogStore) read(index uint64, l *raft.Log) (crc uint32, err error) {
	*l = raft.Log{}
	if err := s.decode(index, l); err != nil {
		return 0, err
	}
	n := len(l.Extensions) - extSize
	if n < 0 || l.Index != index {
		return 0, s.damaged(index, fmt.Sprintf("entry %d reads as entry %d with %d bytes of extensions", index, l.Index, len(l.Extensions)), nil)
	}
	stored := binary.LittleEndian.Uint32(l.Extensions[n:])
	if l.Extensions = l.Extensions[:n]; n == 0 {
		l.Extensions = nil
	}
	var buf [40]byte
	if crc = logCRC(l, &buf); crc != stored {
		return 0, s.damaged(index, fmt.Sprintf("entry %d has CRC32C %08x and says %08x", index, crc, stored), nil)
	}
	return crc, nil
}

// decode calls raft-wal, whose decoder indexes out of range on some damaged entries.
func (s *LogStore) decode(index uint64, l *raft.Log) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.damaged(index, fmt.Sprintf("entry %d cannot be decoded: %v", index, r), nil)
		}
	}()
	err = s.wal.GetLog(index, l)
	if err == nil || errors.Is(err, wal.ErrClosed) || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	return s.damaged(index, fmt.Sprintf("entry %d cannot be read", index), err)
}

// damaged names the segment file and the place of an entry.
func (s *LogStore) damaged(index uint64, what string, cause error) error {
	e := &CorruptError{File: s.dir, Offset: -1, What: what, Action: restoreAdvice, Err: cause}
	state, err := s.meta.Load(s.dir)
	if err != nil {
		return e
	}
	for _, info := range state.Segments {
		if info.BaseIndex <= index {
			e.File = filepath.Join(s.dir, segment.FileName(info))
			e.Offset = locateEntry(e.File, info.BaseIndex, index)
		}
	}
	return e
}

// storageError makes an error final and stops the node.
func (s *LogStore) storageError(err error) {
	if s.failed.CompareAndSwap(nil, &err) {
		s.fail(err)
	}
}

func (s *LogStore) check() error {
	if p := s.failed.Load(); p != nil {
		return fmt.Errorf("the log has failed before: %w", *p)
	}
	return nil
}

// FirstIndex implements raft.LogStore.
func (s *LogStore) FirstIndex() (uint64, error) { return s.wal.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *LogStore) LastIndex() (uint64, error) { return s.wal.LastIndex() }

// IsMonotonic implements raft.MonotonicLogStore: no gaps, so Raft empties it before a restored snapshot.
func (s *LogStore) IsMonotonic() bool { return true }

// GetLog implements raft.LogStore.
func (s *LogStore) GetLog(index uint64, l *raft.Log) error {
	if s.tail.get(index, l) {
		return nil
	}
	_, err := s.read(index, l)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, wal.ErrClosed) {
		return err
	}
	s.storageError(err)
	if s.running.Load() {
		// Raft panics on this error, which would tear the process down in the middle of reporting it. The goroutine ends
		// instead, and runs its deferred calls: those answer the proposals in flight with ErrLeadershipLost, and Raft can be shut down.
		runtime.Goexit()
	}
	return err
}

// StoreLog implements raft.LogStore.
func (s *LogStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore: on disk when it returns nil.
func (s *LogStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(); err != nil {
		return err
	}
	for _, l := range logs {
		if len(l.Data) > s.maxEntry {
			return fmt.Errorf("BUG: log entry of %d bytes is above the limit of %d", len(l.Data), s.maxEntry)
		}
	}
	crc := s.extend(logs)
	s.storing.Store(time.Now().UnixNano())
	err := s.wal.StoreLogs(s.pointer)
	clear(s.scratch) // lets go of the entries
	s.storing.Store(0)
	if err == nil {
		err = s.mark.set(logs[len(logs)-1].Index, crc)
	}
	if err != nil {
		err = fmt.Errorf("cannot write the log: %w", err)
		s.storageError(err)
		return err
	}
	s.tail.add(logs)
	for _, l := range logs {
		s.count(l)
	}
	return nil
}

// extend copies the entries into scratch and adds our CRCs: Raft's own are shared with its other goroutines. It returns the
// last one. mu held.
func (s *LogStore) extend(logs []*raft.Log) (crc uint32) {
	s.scratch, s.pointer, s.exts = s.scratch[:0], s.pointer[:0], s.exts[:0]
	var buf [40]byte
	for _, l := range logs {
		crc = logCRC(l, &buf)
		start := len(s.exts)
		s.exts = append(s.exts, l.Extensions...)
		s.exts = binary.LittleEndian.AppendUint32(s.exts, crc)
		s.scratch = append(s.scratch, *l)
		s.scratch[len(s.scratch)-1].Extensions = s.exts[start:len(s.exts):len(s.exts)]
	}
	for i := range s.scratch {
		s.pointer = append(s.pointer, &s.scratch[i])
	}
	return crc
}

// DeleteRange implements raft.LogStore.
func (s *LogStore) DeleteRange(first, last uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(); err != nil {
		return err
	}
	s.tail.remove(first, last)
	end, err := s.wal.LastIndex()
	if err == nil && last >= end && first <= end {
		err = s.lowerMark(first)
	}
	if err == nil {
		err = s.wal.DeleteRange(first, last)
	}
	if err != nil {
		err = fmt.Errorf("cannot shorten the log: %w", err)
		s.storageError(err)
	}
	return err
}

// lowerMark puts the watermark before first, which is about to be deleted with all behind it. mu held.
func (s *LogStore) lowerMark(first uint64) error {
	begin, err := s.wal.FirstIndex()
	if err != nil {
		return err
	}
	if first <= begin {
		return s.mark.force(0, 0)
	}
	var l raft.Log
	crc, err := s.read(first-1, &l)
	if err != nil {
		return err
	}
	return s.mark.force(first-1, crc)
}

// Stalled is how long the current write has been running.
func (s *LogStore) Stalled() time.Duration {
	since := s.storing.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// Syncs is how long syncs of the log took, in ns.
func (s *LogStore) Syncs() histogram.Values { return s.fs.syncs.Read() }

// Segments is the number of segment files.
func (s *LogStore) Segments() int {
	names, _ := s.fs.ListDir(s.dir)
	return len(names)
}

// Close closes the files. Raft has stopped.
func (s *LogStore) Close() error {
	s.fs.close()
	return s.closeFiles()
}

func (s *LogStore) closeFiles() error {
	var err error
	if s.wal != nil {
		err = s.wal.Close()
	}
	return errors.Join(err, s.mark.close())
}
