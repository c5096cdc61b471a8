package replication

import (
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"quipu/internal/histogram"
	"quipu/replication/storage"
)

// Stores are what a group keeps. The methods are those of the types in package storage, where they are described; a
// simulation may wrap or replace any of the three (Config.OpenStores).
type Stores struct {
	Log       LogStore
	Votes     VoteStore
	Snapshots SnapshotStore
}

// LogStore is a *storage.LogStore, or what a simulation has in its place.
type LogStore interface {
	raft.LogStore
	io.Closer
	Start()
	Hasten()
	Prepare()
	KeepTail(on bool)
	Room(bytes int) *storage.DiskFullError
	Written() int64
	Trailing(bytes int64) (entries uint64)
	Stalled() time.Duration
	Segments() int
	Syncs() histogram.Values
}

// VoteStore is a *storage.VoteStore, or what a simulation has in its place.
type VoteStore interface {
	raft.StableStore
	io.Closer
	Start()
}

// SnapshotStore is a *storage.SnapshotStore, or what a simulation has in its place.
type SnapshotStore interface {
	raft.SnapshotStore
	Newest() (index uint64, size int64)
	Written() int64
	LackedRoom() bool
	OpenError() error
	Prune(keep int)
	Stop()
}

// StoreOptions is what a group tells about the stores it needs.
type StoreOptions struct {
	Dir              string // exists, and so do the folders below it
	Create           bool   // the stores are new; else a missing file is damage
	Identity         storage.Identity
	SegmentBytes     int64
	TrailingLogBytes int64
	Logger           *slog.Logger
	Guard            *storage.DiskGuard
	Fail             func(error) // must be told of an error after which the group cannot go on
}

// OpenStores opens the files of a group. After an error nothing stays open.
func OpenStores(o StoreOptions) (s Stores, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	votes, err := storage.OpenVotes(filepath.Join(o.Dir, stableName), o.Create, o.Fail)
	if err != nil {
		return s, err
	}
	s.Votes = votes
	var log *storage.LogStore // opened last: it counts from the newest snapshot on
	snaps, err := storage.OpenSnapshots(storage.SnapshotConfig{
		Dir: filepath.Join(o.Dir, snapshotsName), Identity: o.Identity, Logger: o.Logger, Guard: o.Guard,
		LogWritten: func() int64 { return log.Written() },
	})
	if err != nil {
		return s, err
	}
	s.Snapshots = snaps
	index, _ := snaps.Newest()
	log, err = storage.OpenLog(storage.LogConfig{
		Dir: filepath.Join(o.Dir, walName), Create: o.Create, SegmentBytes: o.SegmentBytes, TrailingBytes: o.TrailingLogBytes,
		Counted: index, MaxEntryBytes: maxEntryBytes, Idle: isTick, Logger: o.Logger, Fail: o.Fail, Guard: o.Guard,
	})
	if err != nil {
		return s, err
	}
	s.Log = log
	return s, nil
}

// close closes what is open.
func (s Stores) close() error {
	var errs []error
	if s.Log != nil {
		errs = append(errs, s.Log.Close())
	}
	if s.Votes != nil {
		errs = append(errs, s.Votes.Close())
	}
	return errors.Join(errs...)
}
