package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"quipu/internal/histogram"
	"quipu/replication"
	"quipu/replication/storage"
)

// disk is what of a node survives a crash. Whatever is written takes syncTime, and is there only afterwards.
type disk struct {
	mu    sync.Mutex
	first uint64 // index of logs[0]; 0 and no logs: empty
	logs  []*raft.Log
	bytes int64 // ever written
	kv    map[string][]byte
	snaps []*snapshot // oldest first
}

const syncTime = 500 * time.Microsecond

func newDisk() *disk { return &disk{kv: map[string][]byte{}} }

// stores are a disk as one run of a node sees it. After the crash of the run it goes on with a copy, which nobody looks at.
type stores struct{ now atomic.Pointer[disk] }

func (s *stores) d() *disk { return s.now.Load() }

// write waits for the disk, and then changes it.
func (s *stores) write(change func(d *disk)) error {
	time.Sleep(syncTime)
	d := s.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
	return nil
}

// crash ends the run: what is being written now is lost.
func (s *stores) crash() {
	d := s.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	s.now.Store(&disk{first: d.first, logs: slices.Clone(d.logs), bytes: d.bytes, kv: maps.Clone(d.kv), snaps: slices.Clone(d.snaps)})
}

func (s *stores) open() replication.Stores {
	return replication.Stores{Log: &logStore{s}, Votes: &voteStore{stores: s}, Snapshots: &snapshotStore{s}}
}

type logStore struct{ *stores }

func (l *logStore) FirstIndex() (uint64, error) {
	d := l.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first, nil
}

func (l *logStore) LastIndex() (uint64, error) {
	d := l.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last(), nil
}

func (d *disk) last() uint64 {
	if len(d.logs) == 0 {
		return 0
	}
	return d.first + uint64(len(d.logs)) - 1
}

func (l *logStore) GetLog(index uint64, out *raft.Log) error {
	d := l.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == 0 || index < d.first || index > d.last() {
		return raft.ErrLogNotFound
	}
	*out = *d.logs[index-d.first]
	return nil
}

func (l *logStore) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l *logStore) StoreLogs(logs []*raft.Log) error {
	var copies []*raft.Log
	size := 0
	for _, log := range logs {
		c := *log
		c.Data, c.Extensions = slices.Clone(log.Data), slices.Clone(log.Extensions) // the buffer is used again
		copies = append(copies, &c)
		size += len(c.Data)
	}
	gap := error(nil)
	err := l.write(func(d *disk) {
		if len(d.logs) == 0 {
			d.first = copies[0].Index
		}
		if copies[0].Index != d.first+uint64(len(d.logs)) {
			gap = fmt.Errorf("entry %d behind entry %d", copies[0].Index, d.last())
			return
		}
		d.logs = append(d.logs, copies...)
		d.bytes += int64(size)
	})
	return errors.Join(err, gap)
}

// DeleteRange deletes of the range what is there. It may be none: Raft's snapshot goroutine looks up the first entry and then
// deletes, and an install empties the log in between.
func (l *logStore) DeleteRange(low, high uint64) error {
	inside := error(nil)
	err := l.write(func(d *disk) {
		switch last := d.last(); {
		case len(d.logs) == 0 || high < d.first || low > last:
		case low <= d.first:
			n := min(high, last) - d.first + 1
			d.logs = slices.Clone(d.logs[n:])
			if d.first += n; len(d.logs) == 0 {
				d.first = 0
			}
		case high < last:
			inside = fmt.Errorf("entries %d to %d are inside of the log", low, high)
		default:
			d.logs = d.logs[:low-d.first]
		}
	})
	return errors.Join(err, inside)
}

// IsMonotonic implements raft.MonotonicLogStore: there are no gaps, so after an install Raft empties the log.
func (l *logStore) IsMonotonic() bool { return true }

func (l *logStore) Close() error                    { return nil }
func (l *logStore) Start()                          {}
func (l *logStore) Hasten()                         {}
func (l *logStore) Prepare()                        {}
func (l *logStore) KeepTail(bool)                   {}
func (l *logStore) Room(int) *storage.DiskFullError { return nil }
func (l *logStore) Stalled() time.Duration          { return 0 }
func (l *logStore) Segments() int                   { return 1 }
func (l *logStore) Syncs() histogram.Values         { return histogram.Values{} }
func (l *logStore) Trailing(int64) (entries uint64) { return 16 }
func (l *logStore) Written() int64 {
	d := l.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes
}

// voteStore keeps the term and the candidate of a vote as one value, as storage.VoteStore does.
type voteStore struct {
	*stores
	mu   sync.Mutex
	term []byte // of a vote whose candidate comes next
}

var errNotFound = errors.New("not found")

func (v *voteStore) Set(key, value []byte) error {
	v.mu.Lock()
	term := v.term
	v.term = nil
	v.mu.Unlock()
	return v.write(func(d *disk) {
		if string(key) == "LastVoteCand" && term != nil {
			d.kv["LastVoteTerm"] = term
		}
		d.kv[string(key)] = slices.Clone(value)
	})
}

func (v *voteStore) Get(key []byte) ([]byte, error) {
	d := v.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	if b, ok := d.kv[string(key)]; ok {
		return b, nil
	}
	return nil, errNotFound
}

func (v *voteStore) SetUint64(key []byte, n uint64) error {
	b := binary.LittleEndian.AppendUint64(nil, n)
	if string(key) == "LastVoteTerm" {
		v.mu.Lock()
		v.term = b
		v.mu.Unlock()
		return nil
	}
	return v.write(func(d *disk) { d.kv[string(key)] = b })
}

func (v *voteStore) GetUint64(key []byte) (uint64, error) {
	b, err := v.Get(key)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (v *voteStore) Close() error { return nil }
func (v *voteStore) Start()       {}

type snapshotStore struct{ *stores }

type snapshot struct {
	meta raft.SnapshotMeta
	body []byte
}

type sink struct {
	s    *snapshotStore
	snap snapshot
	buf  bytes.Buffer
}

func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{s: s, snap: snapshot{meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", index, term), Index: index, Term: term, Configuration: c.Clone(), ConfigurationIndex: at,
	}}}, nil
}

func (k *sink) Write(b []byte) (int, error) { return k.buf.Write(b) }
func (k *sink) ID() string                  { return k.snap.meta.ID }
func (k *sink) Cancel() error               { return nil }
func (k *sink) Close() error {
	k.snap.body = slices.Clone(k.buf.Bytes())
	k.snap.meta.Size = int64(len(k.snap.body))
	return k.s.write(func(d *disk) {
		if n := len(d.snaps); n > 0 && d.snaps[n-1].meta.Index > k.snap.meta.Index {
			return // the leader's was installed meanwhile
		}
		d.snaps = append(d.snaps, &k.snap)
		if n := len(d.snaps); n > 2 {
			d.snaps = d.snaps[n-2:]
		}
	})
}

func (s *snapshotStore) List() (list []*raft.SnapshotMeta, _ error) {
	d := s.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, snap := range slices.Backward(d.snaps) {
		meta := snap.meta
		list = append(list, &meta)
	}
	return list, nil
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	d := s.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, snap := range d.snaps {
		if snap.meta.ID == id {
			meta := snap.meta
			return &meta, body{bytes.NewReader(snap.body)}, nil
		}
	}
	return nil, nil, errNotFound
}

func (s *snapshotStore) Newest() (index uint64, size int64) {
	d := s.d()
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.snaps); n > 0 {
		return d.snaps[n-1].meta.Index, d.snaps[n-1].meta.Size
	}
	return 0, 0
}

func (s *snapshotStore) Written() int64   { return 0 }
func (s *snapshotStore) LackedRoom() bool { return false }
func (s *snapshotStore) OpenError() error { return nil }
func (s *snapshotStore) Prune(int)        {}
func (s *snapshotStore) Stop()            {}
