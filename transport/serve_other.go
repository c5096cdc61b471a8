//go:build !linux

package transport

import "os"

// eventLoops exist on Linux only; elsewhere every connection has a goroutine.
type eventLoops struct{}

// Serve accepts connections from now on.
func (t *Transport) Serve() error {
	t.serveNet()
	return nil
}

func (t *Transport) stopLoops() {}

// Loops is the number of event loops.
func (t *Transport) Loops() int { return 0 }

// restrictSocket is for Linux: elsewhere a socket file is made with the permissions that the umask leaves.
func restrictSocket(uintptr, os.FileMode) {}
