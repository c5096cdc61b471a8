package storage

import (
	"errors"
	"fmt"
)

// ErrStopping ends a snapshot that is being written when the node stops.
var ErrStopping = errors.New("the node stops")

// ErrSuperseded ends a snapshot of this node's own while a newer one, received from the leader, is there or comes.
var ErrSuperseded = errors.New("a newer snapshot takes its place")

// DiskFullError is the reason writes are refused before the disk is full. Writes resume by themselves when there is room.
type DiskFullError struct {
	Dir        string
	Free, Need uint64 // bytes, or inodes
	What       string // what is short: "free bytes", "free inodes", "free bytes for the next log segment" (or snapshot)
}

func (e *DiskFullError) Error() string {
	if e.Dir == "" { // of another node
		return "disk full: writes resume when there is room"
	}
	return fmt.Sprintf("disk full: %s has %d %s and %d are needed; writes resume when there is room", e.Dir, e.Free, e.What, e.Need)
}

// CorruptError is damage found in a file. The node must not serve what the file says.
type CorruptError struct {
	File   string
	Offset int64  // bytes from the beginning of the file; -1 if not known
	What   string // what is wrong
	Action string // what an operator can do
	Err    error  // cause, if any
}

func (e *CorruptError) Error() string {
	s := "damaged file " + e.File
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at offset %d", e.Offset)
	}
	s += ": " + e.What
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Action != "" {
		s += "; " + e.Action
	}
	return s
}

func (e *CorruptError) Unwrap() error { return e.Err }

// VersionError is a file or entry written by a newer version than this one knows.
type VersionError struct {
	What         string
	Found, Known int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has version %d; this program knows up to %d: start a newer version of Quipu, or restore a backup made by this one", e.What, e.Found, e.Known)
}
