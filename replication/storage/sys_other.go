//go:build unix && !linux

package storage

import "os"

// fdatasync is a whole fsync here.
func fdatasync(f *os.File) error { return f.Sync() }

// preallocate does nothing: the zeros that follow reserve the space.
func preallocate(*os.File, int64) error { return nil }
