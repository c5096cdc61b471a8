package replication

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// fakedStores are the real stores of a group, of which a test falsifies what it has set.
type fakedStores struct {
	stall        atomic.Int64 // how long the log says that a write has been running; 0: the truth
	snapshotSize atomic.Int64 // of the newest snapshot; 0: the truth
	failWrites   atomic.Bool  // each write of the log fails, for good
}

// into makes a group open its stores through f.
func (f *fakedStores) into(cfg *Config) {
	cfg.OpenStores = func(o StoreOptions) (Stores, error) {
		s, err := OpenStores(o)
		if err == nil {
			s.Log = fakedLog{s.Log, f, o.Fail}
			s.Snapshots = fakedSnapshots{s.Snapshots, f}
		}
		return s, err
	}
}

type fakedLog struct {
	LogStore
	f    *fakedStores
	fail func(error)
}

var errFaked = errors.New("a write of the log fails")

func (l fakedLog) StoreLogs(logs []*raft.Log) error {
	if l.f.failWrites.Load() {
		l.fail(errFaked)
		return errFaked
	}
	return l.LogStore.StoreLogs(logs)
}

func (l fakedLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

func (l fakedLog) Stalled() time.Duration {
	if d := l.f.stall.Load(); d > 0 {
		return time.Duration(d)
	}
	return l.LogStore.Stalled()
}

type fakedSnapshots struct {
	SnapshotStore
	f *fakedStores
}

func (s fakedSnapshots) Newest() (index uint64, size int64) {
	index, size = s.SnapshotStore.Newest()
	if faked := s.f.snapshotSize.Load(); faked > 0 {
		size = faked
	}
	return index, size
}
