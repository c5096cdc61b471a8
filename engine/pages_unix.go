//go:build unix

package engine

import "golang.org/x/sys/unix"

func mapMemory(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func unmapMemory(b []byte) { _ = unix.Munmap(b) }

// discardMemory gives pages back to the system; the addresses stay ours.
func discardMemory(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
