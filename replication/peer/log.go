package peer

import (
	"log/slog"
	"sync"
	"time"
)

// throttled writes at most one line a second: strangers on a port could fill a disk with log lines otherwise.
type throttled struct {
	logger *slog.Logger

	mu      sync.Mutex
	last    time.Time
	skipped int
}

func (t *throttled) warn(msg string, args ...any) {
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
	t.logger.Warn(msg, args...)
}
