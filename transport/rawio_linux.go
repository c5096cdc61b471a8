package transport

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls on sockets that never wait. They are made without telling Go's scheduler: it would take the processor
// away from the loop whenever one lasts a few microseconds, as a write over loopback does in which the kernel also
// receives, and its monitor thread, having done so, would look again every 20 µs: 6 % of the CPU of requests one by one,
// and a switch of threads each time.
//
// The price is that garbage collection, which stops all goroutines for a moment, waits for such a call to end.

// readNow is read(2) on a non-blocking socket.
func readNow(fd int, b []byte) (int, error) { return ioNow(unix.SYS_READ, fd, b) }

// writeNow is write(2) on a non-blocking socket.
func writeNow(fd int, b []byte) (int, error) { return ioNow(unix.SYS_WRITE, fd, b) }

func ioNow(call uintptr, fd int, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// epollNow is epoll_pwait(2) with a timeout of 0.
func epollNow(epfd int, events []unix.EpollEvent) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// restrictSocket has a unix socket make its file with these permissions, less the umask. If that fails the file has those of
// the umask until it is changed.
func restrictSocket(fd uintptr, perm os.FileMode) { _ = unix.Fchmod(int(fd), uint32(perm.Perm())) }
