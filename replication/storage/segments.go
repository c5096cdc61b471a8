package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft-wal/types"

	"quipu/internal/histogram"
)

// segmentFS gives raft-wal its segment files (types.VFS), with three differences to its own:
//
//   - Segments are preallocated and filled with zeros ahead of use. A write then changes no metadata, and fdatasync is one
//     write to the device. Zeroing 64 MiB takes too long to do at rotation, so a background goroutine always keeps one
//     spare segment ready (next.spare; next.tmp while it is written); a rotation renames it. That there is no spare and no
//     room for one is also the earliest sign of a full disk.
//   - raft-wal is told a smaller size than what is preallocated: the append that seals a segment goes past what it is told,
//     and must not need new blocks. That is enough for an append of slack bytes; what is larger or has no preallocated
//     segment waits for room (patient).
//   - Deletion happens in the background, and not before the log has been verified: raft-wal deletes at open what its
//     metadata does not name, which must not happen because the metadata were damaged.
//
// Zeros matter to raft-wal: its recovery reads frames until it meets them. Old segments are therefore not reused.
type segmentFS struct {
	dir   string
	size  int64
	log   *slog.Logger
	fail  func(error) // storage error
	guard *DiskGuard
	syncs *histogram.Histogram // of the newest segment, in ns

	mu       sync.Mutex
	cond     *sync.Cond // signalled when any of these fields has changed
	spare    spareState
	wanted   bool // a spare is to be prepared
	waiting  bool // a rotation waits for the spare
	deletes  []string
	early    bool   // the log has not been verified: deletes are only collected, and no spare is prepared
	tail     string // path of the newest segment
	closed   bool
	finished bool // the goroutine of loop has ended

	hasty atomic.Bool // nothing waits for room any more: the node stops
}

type spareState uint8

const (
	spareNone spareState = iota
	sparePreparing
	spareReady
)

const (
	spareName     = "next.spare"
	spareTemp     = "next.tmp"
	segmentSuffix = ".wal"
	zeroChunk     = 512 << 10
	zeroPauseMax  = 20 * time.Millisecond
	segmentPerms  = 0o600
	maxSlack      = 1 << 20 // an entry at the soft limit, as much again from other callers, and the index of these
	appendExtra   = 256     // what an entry needs besides its data: frames, header, a barrier beside it
	roomPoll      = 50 * time.Millisecond
	syncUnit      = 32 * time.Microsecond // a fast device's, and the first bound of their histogram
)

// segmentSlack is how much of a segment of size bytes raft-wal does not know of.
func segmentSlack(size int64) int64 { return min(size/4, maxSlack) }

func newSegmentFS(dir string, size int64, log *slog.Logger, fail func(error), guard *DiskGuard) *segmentFS {
	fs := &segmentFS{dir: dir, size: size, log: log, fail: fail, guard: guard, syncs: histogram.New(int64(syncUnit)), early: true}
	fs.cond = sync.NewCond(&fs.mu)
	fs.hasty.Store(true)
	return fs
}

// start begins to prepare a spare and to delete what was collected: the log has been verified.
func (fs *segmentFS) start() {
	fs.mu.Lock()
	fs.early = false
	fs.wanted = true
	fs.mu.Unlock()
	fs.hasty.Store(false)
	go fs.loop()
}

func (fs *segmentFS) loop() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for {
		switch {
		case len(fs.deletes) > 0:
			names := fs.deletes
			fs.deletes = nil
			fs.unlocked(func() { fs.remove(names) })
		case fs.closed:
			fs.finished = true
			fs.cond.Broadcast()
			return
		case fs.wanted && fs.spare == spareNone:
			fs.wanted = false
			fs.spare = sparePreparing
			ready := false
			fs.unlocked(func() { ready = fs.prepare() })
			fs.spare = spareNone
			if ready {
				fs.spare = spareReady
			}
			fs.cond.Broadcast()
		default:
			fs.cond.Wait()
		}
	}
}

// hasSpare says that an append of segmentSlack bytes needs no room on the disk.
func (fs *segmentFS) hasSpare() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.spare == spareReady
}

func (fs *segmentFS) unlocked(fn func()) {
	fs.mu.Unlock()
	defer fs.mu.Lock()
	fn()
}

// retry prepares a spare if there is none. The disk guard calls it once a second.
func (fs *segmentFS) retry() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.spare == spareNone && !fs.early && !fs.wanted {
		fs.wanted = true
		fs.cond.Broadcast()
	}
}

// prepare makes next.spare and reports whether it is there.
func (fs *segmentFS) prepare() bool {
	path := filepath.Join(fs.dir, spareName)
	if fs.adopt(path) {
		fs.guard.setShort(false)
		return true
	}
	if !fs.guard.roomForLog(fs.size) || !fs.completeTail() {
		fs.guard.setShort(true)
		return false
	}
	temp := filepath.Join(fs.dir, spareTemp)
	err := createZeroed(temp, fs.size, fs.pace)
	if err == nil {
		err = os.Rename(temp, path)
	}
	switch {
	case err == nil:
		fs.guard.setShort(false)
		return true
	case errors.Is(err, errStopped):
	case isNoSpace(err):
		fs.guard.setShort(true)
	default:
		fs.fail(fmt.Errorf("cannot prepare a log segment: %w", err))
	}
	os.Remove(temp)
	return false
}

// completeTail preallocates the newest segment if it was begun when there was no room. It reports whether it is complete.
func (fs *segmentFS) completeTail() bool {
	fs.mu.Lock()
	path := fs.tail
	fs.mu.Unlock()
	info, err := os.Stat(path)
	if err != nil || info.Size() >= fs.size {
		return true // there is no such file any more, or it is complete
	}
	if !fs.guard.roomForLog(2 * fs.size) {
		return false
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return true
	}
	defer f.Close()
	return !isNoSpace(preallocate(f, fs.size))
}

// patient repeats op, which may be repeated, until it does not fail for want of room. The disk may fill up between any check
// and a write; a failed write of the log would end the node, and a write that has not ended is only slow. While the log is
// opened and when the node stops nothing waits.
func (fs *segmentFS) patient(op func() error) error {
	for waited := false; ; waited = true {
		err := op()
		if !isNoSpace(err) || fs.hasty.Load() {
			return err
		}
		if !waited {
			fs.log.Error("the log waits for room on the disk", "err", err)
		}
		fs.guard.Check()
		time.Sleep(roomPoll)
	}
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// pace is called after each chunk of a spare, which took so long to write and sync. It leaves the disk to the log for three
// times as long, unless a rotation waits for the spare, and ends the work when the store is closed.
func (fs *segmentFS) pace(took time.Duration) error {
	fs.mu.Lock()
	closed, waited := fs.closed, fs.waiting
	fs.mu.Unlock()
	if closed {
		return errStopped
	}
	if !waited {
		time.Sleep(min(3*took, zeroPauseMax))
	}
	return nil
}

// adopt takes over a spare from before a restart, if that has the right size and is all zeros.
func (fs *segmentFS) adopt(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() == fs.size {
		var end int64
		if end, err = lastNonZero(f, 0, fs.size); err == nil && end < 0 {
			return true
		}
	}
	os.Remove(path)
	return false
}

var errStopped = errors.New("stopped")

// createZeroed makes a file of size zero bytes, on disk, in chunks that are synced one by one: a single large sync would hold
// up the log's small ones. pace, if not nil, is called between them.
func createZeroed(path string, size int64, pace func(took time.Duration) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, segmentPerms)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := preallocate(f, size); err != nil {
		return err
	}
	zeros := make([]byte, min(zeroChunk, size))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		start := time.Now()
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
		if pace == nil {
			continue
		}
		if err := fdatasync(f); err != nil {
			return err
		}
		if err := pace(time.Since(start)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// lastNonZero returns the offset of the last byte in [from, to) that is not zero, or -1.
func lastNonZero(r io.ReaderAt, from, to int64) (int64, error) {
	buf, zeros := make([]byte, 256<<10), make([]byte, 256<<10)
	last := int64(-1)
	for off := from; off < to; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), to-off)], off)
		if !bytes.Equal(buf[:n], zeros[:n]) { // compares by words, and is nearly always true
			i := n - 1
			for buf[i] == 0 {
				i--
			}
			last = off + int64(i)
		}
		off += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return -1, err
		}
	}
	return last, nil
}

func (fs *segmentFS) remove(names []string) {
	for _, name := range names {
		if err := os.Remove(filepath.Join(fs.dir, name)); err != nil && !os.IsNotExist(err) {
			fs.log.Warn("cannot delete an old log segment", "file", filepath.Join(fs.dir, name), "err", err)
		}
	}
}

// close stops the goroutine and waits for it.
func (fs *segmentFS) close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return
	}
	fs.closed = true
	fs.cond.Broadcast()
	for !fs.early && !fs.finished {
		fs.cond.Wait()
	}
}

// ListDir implements types.VFS.
func (fs *segmentFS) ListDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Create implements types.VFS. raft-wal has stored in its metadata that the file exists; the first write to it may only be
// acknowledged when its name is on disk, so the directory is synced here.
func (fs *segmentFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	var f *segmentFile
	err := fs.patient(func() (err error) {
		f, err = fs.create(filepath.Join(dir, name))
		return err
	})
	if err != nil {
		err = fmt.Errorf("cannot create log segment %s: %w", filepath.Join(dir, name), err)
		fs.fail(err)
		return nil, err
	}
	return f, nil
}

func (fs *segmentFS) create(path string) (*segmentFile, error) {
	if !fs.takeSpare(path) {
		err := createZeroed(path, fs.size, nil)
		if isNoSpace(err) {
			// Writes are refused from here on; what is under way goes to the reserve, or waits.
			fs.guard.setShort(true)
			err = os.WriteFile(path, nil, segmentPerms)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := SyncDir(fs.dir); err != nil {
		return nil, err
	}
	return fs.openTail(path)
}

func (fs *segmentFS) openTail(path string) (*segmentFile, error) {
	f, err := openSegment(path, os.O_RDWR)
	if err == nil {
		f.patient, f.syncs = fs.patient, fs.syncs
		fs.mu.Lock()
		fs.tail = path
		fs.mu.Unlock()
	}
	return f, err
}

// takeSpare renames the spare to path, waiting for one that is being prepared.
func (fs *segmentFS) takeSpare(path string) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.waiting = true
	for (fs.spare == sparePreparing || fs.spare == spareNone && fs.wanted && !fs.early) && !fs.closed {
		fs.cond.Wait()
	}
	fs.waiting = false
	if fs.spare != spareReady {
		return false
	}
	fs.spare = spareNone
	fs.wanted = true
	err := os.Rename(filepath.Join(fs.dir, spareName), path)
	fs.cond.Broadcast()
	return err == nil
}

// Delete implements types.VFS.
func (fs *segmentFS) Delete(_, name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.deletes = append(fs.deletes, name)
	fs.cond.Broadcast()
	return nil
}

// OpenReader implements types.VFS.
func (fs *segmentFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	return openSegment(filepath.Join(dir, name), os.O_RDONLY)
}

// OpenWriter implements types.VFS.
func (fs *segmentFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	return fs.openTail(filepath.Join(dir, name))
}

const (
	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3

	frameHeaderSize = 8
	// raft-wal asks for this much at the offset of an entry, whose length it does not know yet.
	entryReadSize = 64 << 10
	windowSize    = 256 << 10
)

// segmentFile is an open segment. Reads go through a window, because a replay reads millions of small entries one by one.
//
// raft-wal reads an entry by asking for 64 KiB at its frame and takes a short answer with io.EOF as the end of the file;
// answering with just the frame avoids copying 64 KiB for each entry of 100 bytes (a replay runs about 20 times as fast).
type segmentFile struct {
	f       *os.File
	patient func(func() error) error // for writing
	syncs   *histogram.Histogram     // for writing

	mu     sync.Mutex
	buf    []byte // of windowSize, made at the first read
	window []byte // the valid part of buf
	offset int64  // of window in the file
}

func openSegment(path string, flag int) (*segmentFile, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	return &segmentFile{f: f}, nil
}

// ReadAt implements io.ReaderAt, save for the short answer described above.
func (s *segmentFile) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > entryReadSize {
		return s.f.ReadAt(p, off)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	have, err := s.view(off, min(len(p), frameHeaderSize))
	if err != nil {
		return 0, err
	}
	need := len(p)
	if need == entryReadSize && len(have) >= frameHeaderSize && have[0] == frameEntry {
		need = min(need, frameHeaderSize+int(binary.LittleEndian.Uint32(have[4:])))
	}
	if len(have) < need {
		if have, err = s.view(off, need); err != nil {
			return 0, err
		}
	}
	n := copy(p[:need], have)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// view returns what the file holds from off on: at least size bytes unless it ends before. mu held.
func (s *segmentFile) view(off int64, size int) ([]byte, error) {
	if i := off - s.offset; i >= 0 && i+int64(size) <= int64(len(s.window)) {
		return s.window[i:], nil
	}
	if s.buf == nil {
		s.buf = make([]byte, windowSize)
	}
	n, err := s.f.ReadAt(s.buf, off)
	if err != nil && err != io.EOF {
		s.window = nil
		return nil, err
	}
	s.window, s.offset = s.buf[:n], off
	return s.window, nil
}

// WriteAt implements io.WriterAt. Reads go on beside it: a window they make meanwhile is dropped at the end.
func (s *segmentFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = s.patient(func() error {
		n, err = s.f.WriteAt(p, off)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window, s.buf = nil, nil
	return n, err
}

// Sync implements types.WritableFile. The file's name is on disk since Create.
func (s *segmentFile) Sync() error {
	if err := diskFault(); err != nil {
		return err
	}
	began := time.Now()
	err := fdatasync(s.f)
	s.syncs.Observe(int64(time.Since(began)))
	return err
}

// Close implements io.Closer.
func (s *segmentFile) Close() error { return s.f.Close() }
