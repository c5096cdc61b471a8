package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// SnapshotStore keeps the two newest snapshots (one if the disk is short of room), one file each (snapformat.go). Raft sees
// only the newest: Raft would fall back to an older one, behind which the log is gone, and start with a state that lacks
// what was acknowledged. The store writes and deletes in pieces, and leaves the disk to the log in between (diskshare.go).
type SnapshotStore struct {
	dir  string
	id   Identity
	log  *slog.Logger
	room func(bytes int64) bool
	disk *diskShare

	stopping atomic.Bool  // a snapshot being written is cut short
	noRoom   atomic.Bool  // the last snapshot failed for want of room
	written  atomic.Int64 // bytes written so far of the snapshot under way
	sinks    atomic.Int64 // snapshots begun; numbers their temporary files, since two may have the same index
	openErr  atomic.Pointer[error]

	mu     sync.Mutex
	newest *raft.SnapshotMeta // the one of the highest index, whichever ended last
	own    *SnapshotSink      // this node's own snapshot under way; nil: none
	pins   map[string]int     // open readers of a file, which must not be deleted: deleting shortens it in steps
}

var _ raft.SnapshotStore = (*SnapshotStore)(nil)

const (
	snapSuffix  = ".snap"
	snapTemp    = ".tmp"
	snapRetain  = 2
	snapPattern = "%020d-%020d" + snapSuffix
)

// SnapshotAdvice is what an operator can do about a snapshot that is damaged or missing.
const SnapshotAdvice = "the node will not start from an older snapshot, because counts would be missing: restore the data directory from a backup (quipu restore), or empty it and let the node rejoin its cluster"

// SnapshotConfig describes where a SnapshotStore keeps what.
type SnapshotConfig struct {
	Dir      string // exists
	Identity Identity
	Logger   *slog.Logger
	Guard    *DiskGuard
	// LogWritten is the number of bytes of log written so far: while it grows, snapshots leave the disk to the log.
	LogWritten func() int64
}

// OpenSnapshots opens the store and verifies header and footer of the newest snapshot.
func OpenSnapshots(cfg SnapshotConfig) (*SnapshotStore, error) {
	s := &SnapshotStore{dir: cfg.Dir, id: cfg.Identity, log: cfg.Logger, room: cfg.Guard.Room, disk: &diskShare{written: cfg.LogWritten}, pins: map[string]int{}}
	if err := s.removeTemporary(); err != nil {
		return nil, err
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		f, err := s.open(names[0])
		if err != nil {
			return nil, err
		}
		s.newest = f.meta
		f.Close()
	}
	return s, nil
}

// removeTemporary removes what a crash left half written.
func (s *SnapshotStore) removeTemporary() error {
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		if err == nil && strings.HasSuffix(e.Name(), snapTemp) {
			err = os.Remove(filepath.Join(s.dir, e.Name()))
		}
	}
	return err
}

// names lists the snapshot files, newest first.
func (s *SnapshotStore) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), snapSuffix) {
			names = append(names, e.Name())
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(names)))
	return names, nil
}

// List implements raft.SnapshotStore: the newest, or nothing.
func (s *SnapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return nil, nil
	}
	meta := *s.newest
	return []*raft.SnapshotMeta{&meta}, nil
}

// Newest returns the newest snapshot's index and file size, 0 if there is none.
func (s *SnapshotStore) Newest() (index uint64, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return 0, 0
	}
	return s.newest.Index, s.newest.Size
}

// Written is the number of bytes written so far of the snapshot under way; 0 if there is none.
func (s *SnapshotStore) Written() int64 { return s.written.Load() }

// LackedRoom says that the last snapshot failed for want of room.
func (s *SnapshotStore) LackedRoom() bool { return s.noRoom.Load() }

// Stop cuts a snapshot under way short, with ErrStopping.
func (s *SnapshotStore) Stop() { s.stopping.Store(true) }

// OpenError is why Open failed last, nil if it has not: Raft only logs the error.
func (s *SnapshotStore) OpenError() error {
	if p := s.openErr.Load(); p != nil {
		return *p
	}
	return nil
}

// Open implements raft.SnapshotStore. The whole file is verified; the reader is also an io.ReaderAt of the body and knows
// its Size, so that a state machine can load in parallel. The file stays until the reader is closed, even if newer
// snapshots come: a leader may take minutes to send one.
func (s *SnapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f, err := s.open(id)
	if err == nil {
		if err = f.verify(); err != nil {
			f.Close()
		}
	}
	if err != nil {
		s.openErr.Store(&err)
		return nil, nil, err
	}
	return f.meta, f, nil
}

// snapshotFile is an open snapshot: a reader of its body. It is pinned until it is closed.
type snapshotFile struct {
	*io.SectionReader // the body
	store             *SnapshotStore
	f                 *os.File
	meta              *raft.SnapshotMeta
	start             int64
	blocks            []uint32
	closed            sync.Once
	cluster           string
	incarnation       [16]byte
	created           time.Time
}

// Close implements io.Closer.
func (f *snapshotFile) Close() (err error) {
	f.closed.Do(func() {
		err = f.f.Close()
		f.store.pin(filepath.Base(f.f.Name()), -1)
	})
	return err
}

// pin changes the number of readers of a file. A file that is not one of the newest any more when its last reader is done
// is deleted with the next snapshot: the reader is the goroutine that sends entries to a follower, and deleting takes long.
func (s *SnapshotStore) pin(name string, change int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pins[name] += change; s.pins[name] == 0 {
		delete(s.pins, name)
	}
}

// open reads and verifies header and footer.
func (s *SnapshotStore) open(name string) (_ *snapshotFile, err error) {
	s.pin(name, 1)
	defer func() {
		if err != nil {
			s.pin(name, -1)
		}
	}()
	path := filepath.Join(s.dir, name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	sf, err := s.read(f)
	var newer *VersionError
	switch {
	case err == nil:
		return sf, nil
	case errors.As(err, &newer):
		err = fmt.Errorf("%s: %w", path, err)
	default:
		err = &CorruptError{File: path, Offset: -1, What: "the snapshot cannot be used", Action: SnapshotAdvice, Err: err}
	}
	f.Close()
	return nil, err
}

// read reads header and footer of a snapshot of this node's data.
func (s *SnapshotStore) read(f *os.File) (*snapshotFile, error) {
	sf, err := s.readAny(f)
	if err != nil {
		return nil, err
	}
	if sf.cluster != s.id.Cluster || sf.incarnation != s.id.incarnation() {
		return nil, fmt.Errorf("it belongs to cluster %q incarnation %x, the data directory to %q incarnation %s", sf.cluster, sf.incarnation, s.id.Cluster, s.id.Incarnation)
	}
	if want := fmt.Sprintf(snapPattern, sf.meta.Index, sf.meta.Term); want != filepath.Base(f.Name()) {
		return nil, fmt.Errorf("its name should be %s", want)
	}
	return sf, nil
}

// readAny is read for a snapshot of whatever data.
func (s *SnapshotStore) readAny(f *os.File) (*snapshotFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, min(info.Size(), snapFixed+snapMaxHeader+4))
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	h, n, err := decodeSnapHeader(head)
	if err != nil {
		return nil, err
	}
	headerCRC := crc32.Checksum(head[:n], castagnoli)
	blocks, body, err := readSnapFooter(f, info.Size(), int64(n), headerCRC)
	if err != nil {
		return nil, err
	}
	meta := &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: filepath.Base(f.Name()), Index: h.index, Term: h.term,
		Configuration: h.configuration, ConfigurationIndex: h.configIndex, Size: body,
	}
	return &snapshotFile{
		SectionReader: io.NewSectionReader(f, int64(n), body), store: s, f: f, meta: meta, start: int64(n), blocks: blocks,
		cluster: h.cluster, incarnation: h.incarnation, created: time.UnixMilli(h.created),
	}, nil
}

// verify checks every block of the body, with a goroutine for each processor.
func (f *snapshotFile) verify() error {
	var next, bad atomic.Int64
	bad.Store(-1)
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			buf := make([]byte, snapBlock)
			for {
				i := next.Add(1) - 1
				if i >= int64(len(f.blocks)) {
					return
				}
				b := buf[:min(snapBlock, f.Size()-i*snapBlock)]
				if _, err := f.ReadAt(b, i*snapBlock); err != nil {
					failed.Store(&err)
				}
				if crc32.Checksum(b, castagnoli) != f.blocks[i] {
					bad.Store(i)
				}
			}
		})
	}
	wg.Wait()
	if p := failed.Load(); p != nil {
		return &CorruptError{File: f.f.Name(), Offset: -1, What: "the snapshot cannot be read", Action: SnapshotAdvice, Err: *p}
	}
	if i := bad.Load(); i >= 0 {
		return &CorruptError{File: f.f.Name(), Offset: f.start + i*snapBlock, What: "a block of 1 MiB that begins there fails its CRC32C", Action: SnapshotAdvice}
	}
	return nil
}

// Create implements raft.SnapshotStore. Raft writes one snapshot of this node's own at a time: if there is one under way, the
// new one is from the leader and supersedes it.
func (s *SnapshotStore) Create(_ raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	head := encodeSnapHeader(snapHeader{
		index: index, term: term, configIndex: configurationIndex, created: time.Now().UnixMilli(),
		incarnation: s.id.incarnation(), cluster: s.id.Cluster, configuration: configuration,
	})
	name := fmt.Sprintf(snapPattern, index, term)
	k := &SnapshotSink{
		store: s, name: name, path: fmt.Sprintf("%s.%d%s", filepath.Join(s.dir, name), s.sinks.Add(1), snapTemp), headerCRC: crc32.Checksum(head, castagnoli),
		buf: make([]byte, 0, snapBlock),
		meta: raft.SnapshotMeta{
			Version: raft.SnapshotVersionMax, ID: name, Index: index, Term: term,
			Configuration: configuration, ConfigurationIndex: configurationIndex,
		},
	}
	s.mu.Lock()
	if s.own != nil {
		s.own.superseded.Store(true)
	}
	s.mu.Unlock()
	s.noRoom.Store(false)
	s.written.Store(0)
	var err error
	if k.f, err = os.OpenFile(k.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	if err = k.write(head); err != nil {
		k.Cancel()
		return nil, err
	}
	return k, nil
}

// SnapshotSink writes one snapshot: Write…, then Close or Cancel.
type SnapshotSink struct {
	store     *SnapshotStore
	f         *os.File // nil: closed or cancelled
	name      string
	path      string // temporary
	headerCRC uint32
	meta      raft.SnapshotMeta
	buf       []byte // the block that fills
	blocks    []uint32

	hurry      func() bool // nil: always; a snapshot from the leader, for which Raft's main loop waits
	superseded atomic.Bool // it is to end with ErrSuperseded
}

// Own says that the snapshot is of this node's own state. It then leaves the disk to the log between pieces, unless hurry
// says not to, and ends with ErrSuperseded when one from the leader begins. Call Own before the first Write.
func (k *SnapshotSink) Own(hurry func() bool) {
	k.hurry = hurry
	k.store.mu.Lock()
	k.store.own = k
	k.store.mu.Unlock()
}

// ID implements raft.SnapshotSink.
func (k *SnapshotSink) ID() string { return k.name }

// Write implements io.Writer.
func (k *SnapshotSink) Write(p []byte) (int, error) {
	if k.f == nil {
		return 0, os.ErrClosed
	}
	n := len(p)
	for len(p) > 0 {
		c := copy(k.buf[len(k.buf):snapBlock], p)
		k.buf, p = k.buf[:len(k.buf)+c], p[c:]
		if len(k.buf) == snapBlock {
			if err := k.flush(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

// write writes to the file and remembers whether there was no room.
func (k *SnapshotSink) write(b []byte) error {
	_, err := k.f.Write(b)
	if isNoSpace(err) {
		k.store.noRoom.Store(true)
	}
	k.store.written.Add(int64(len(b)))
	return err
}

func (k *SnapshotSink) flush() error {
	if len(k.buf) == 0 {
		return nil
	}
	switch {
	case k.store.stopping.Load():
		return ErrStopping
	case k.superseded.Load():
		return ErrSuperseded
	}
	if !k.store.room(0) {
		k.store.noRoom.Store(true)
		return fmt.Errorf("no room for a snapshot in %s: the log needs what is free", k.store.dir)
	}
	k.blocks = append(k.blocks, crc32.Checksum(k.buf, castagnoli))
	for piece := range slices.Chunk(k.buf, diskPiece) {
		begin := time.Now()
		if err := k.write(piece); err != nil {
			return err
		}
		if err := fdatasync(k.f); err != nil {
			return err
		}
		if k.hurry != nil && !k.hurry() {
			k.store.disk.leave(time.Since(begin))
		}
	}
	k.meta.Size += int64(len(k.buf))
	k.buf = k.buf[:0]
	return nil
}

// Close implements raft.SnapshotSink: the snapshot is complete and durable when it returns nil.
func (k *SnapshotSink) Close() error {
	if k.f == nil {
		return nil
	}
	if err := k.finish(); err != nil {
		k.Cancel()
		return err
	}
	s := k.store
	if !k.end(&k.meta) {
		// Raft would take the lower index for the newest and ask for entries that the log no longer has.
		return errors.Join(ErrSuperseded, s.remove(k.name))
	}
	s.Prune(snapRetain)
	if index, _ := s.Newest(); index > k.meta.Index { // meanwhile, which may have taken long
		return ErrSuperseded
	}
	return nil
}

// end notes that the sink is done, with a snapshot or with nil, and says whether that is now the newest.
func (k *SnapshotSink) end(done *raft.SnapshotMeta) (newest bool) {
	k.f = nil
	s := k.store
	s.written.Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == k {
		s.own = nil
	}
	if done == nil || s.newest != nil && s.newest.Index > done.Index {
		return false
	}
	s.newest = done
	return true
}

func (k *SnapshotSink) finish() error {
	if err := k.flush(); err != nil {
		return err
	}
	if err := k.write(encodeSnapFooter(k.blocks, k.meta.Size, k.headerCRC)); err != nil {
		return err
	}
	if err := k.f.Sync(); err != nil {
		return err
	}
	if err := k.f.Close(); err != nil {
		return err
	}
	if err := os.Rename(k.path, filepath.Join(k.store.dir, k.name)); err != nil {
		return err
	}
	return SyncDir(k.store.dir)
}

// Cancel implements raft.SnapshotSink.
func (k *SnapshotSink) Cancel() error {
	if k.f == nil {
		return nil
	}
	k.f.Close()
	k.end(nil)
	return os.Remove(k.path)
}

// Prune removes all but the newest snapshots, and those that are being read.
func (s *SnapshotStore) Prune(keep int) {
	names, err := s.names()
	if err != nil {
		s.log.Warn("cannot list snapshots", "err", err)
		return
	}
	for i, name := range names {
		if i < keep {
			continue
		}
		if err := s.remove(name); err != nil {
			s.log.Warn("cannot delete an old snapshot", "file", name, "err", err)
		}
	}
}

// remove deletes a snapshot's file, unless it is being read. A crash in the middle leaves a file that removeTemporary
// removes at the next start.
func (s *SnapshotStore) remove(name string) error {
	path := filepath.Join(s.dir, name)
	temp := path + snapTemp
	s.mu.Lock()
	if s.pins[name] > 0 {
		s.mu.Unlock()
		return nil
	}
	err := os.Rename(path, temp) // a reader that comes later does not find it
	s.mu.Unlock()
	if errors.Is(err, os.ErrNotExist) {
		return nil // another call removes it
	}
	if err != nil {
		return err
	}
	if err := s.disk.shorten(temp); err != nil {
		return err
	}
	return os.Remove(temp)
}
