//go:build !diskfault

package storage

// diskFault does nothing; with the build tag diskfault it breaks the disk.
func diskFault() error { return nil }
