// Package throttle keeps strangers from filling a disk with log lines.
package throttle

import (
	"log/slog"
	"sync"
	"time"
)

// Log writes at most one warning a second.
type Log struct {
	To *slog.Logger

	mu      sync.Mutex
	last    time.Time
	skipped int
}

// Warn writes a line, or leaves it out; the next one that is written says how many were. args are slog's.
func (t *Log) Warn(msg string, args ...any) {
	now := time.Now()
	t.mu.Lock()
	if now.Sub(t.last) < time.Second {
		t.skipped++
		t.mu.Unlock()
		return
	}
	skipped := t.skipped
	t.last, t.skipped = now, 0
	t.mu.Unlock()
	if skipped > 0 {
		args = append(args, "lines_left_out", skipped)
	}
	t.To.Warn(msg, args...)
}
