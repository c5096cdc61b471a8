//go:build !linux

package transport

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
