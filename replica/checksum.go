package replica

import (
	"sync"

	"quipu/engine"
)

// checker takes checksums of the state in the background. A keyspace can be captured once at a time, so one is not begun while a
// snapshot is written, and given up when a snapshot is to begin.
type checker struct {
	mu   sync.Mutex
	stop chan struct{} // closed to give up the one under way; nil: there is none
	busy sync.WaitGroup
}

// Check implements replication.Checker.
func (m *machine) Check(stamp int64, done func(sum uint64)) {
	if m.broken.Load() || m.keyspace.Captured() { // by a snapshot, or by a checksum that takes long
		return
	}
	s := m.keyspace.Capture()
	stop := make(chan struct{})
	m.checker.mu.Lock()
	m.checker.stop = stop
	m.checker.mu.Unlock()
	m.checker.busy.Go(func() {
		defer s.Release()
		sum, err := s.Checksum(stamp, func() bool { return isDone(stop) })
		if err == nil {
			done(sum)
		}
	})
}

// end gives up what is under way, and returns when the keyspace is no longer captured.
func (c *checker) end() {
	c.mu.Lock()
	if c.stop != nil {
		close(c.stop)
		c.stop = nil
	}
	c.mu.Unlock()
	c.busy.Wait()
}

// capture is Keyspace.Capture.
func (m *machine) capture() *engine.Snapshot {
	m.checker.end()
	return m.keyspace.Capture()
}
