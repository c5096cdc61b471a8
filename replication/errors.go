package replication

import (
	"errors"

	"quipu/replication/storage"
)

// ErrUnknown is the outcome of a batch that may or may not have been applied, and may still be.
var ErrUnknown = errors.New("replication: outcome unknown: the write may or may not be applied")

// Reasons inside a *NotAppliedError.
var (
	ErrNotLeader     = errors.New("this node is not the leader or is not ready to lead")
	ErrShutdown      = errors.New("the node is shutting down")
	ErrTimeout       = errors.New("not proposed within the write timeout")
	ErrEntryTooLarge = errors.New("the entry is larger than the limit")
	ErrFailed        = errors.New("the node has failed")
)

// NotAppliedError is the outcome of a write that certainly was not applied and never will be.
type NotAppliedError struct{ Reason error }

func (e *NotAppliedError) Error() string { return "replication: not applied: " + e.Reason.Error() }
func (e *NotAppliedError) Unwrap() error { return e.Reason }

func notApplied(reason error) error { return &NotAppliedError{Reason: reason} }

// What the stores find, under the names by which callers of this package know it.
type (
	// DiskFullError is the reason writes are refused before the disk is full.
	DiskFullError = storage.DiskFullError
	// CorruptError is damage found in a file.
	CorruptError = storage.CorruptError
	// VersionError is a file or entry written by a newer version than this one knows.
	VersionError = storage.VersionError
	// Backup is an open snapshot file.
	Backup = storage.Backup
)
