package acl

import (
	"sync"
	"time"
)

// Log is what was denied lately on a node. Any goroutine may use it.
type Log struct {
	mu      sync.Mutex
	entries []LogEntry // the newest first
}

// LogEntry is calls that were denied for one reason.
type LogEntry struct {
	Count    int64
	Reason   Reason
	InMulti  bool
	Object   string // the command, key or channel; of DeniedAuth the command as it was called
	Username string
	Client   string // as in CLIENT LIST
	At       time.Time
}

// Within these, denials for the same reason are one entry with a count, as in Redis.
const (
	logGroupTime    = time.Minute
	logGroupEntries = 10
	maxLogText      = 1 << 10 // bytes of an object that are kept: a client may name what it likes
)

// Word is the reason as LOG shows it.
func (r Reason) Word() string {
	switch r {
	case DeniedCommand:
		return "command"
	case DeniedKey:
		return "key"
	case DeniedChannel:
		return "channel"
	}
	return "auth"
}

// Add records a denial. The oldest entries beyond limit are dropped.
func (l *Log) Add(e LogEntry, limit int) {
	e.Count = 1
	e.Object = e.Object[:min(len(e.Object), maxLogText)]
	e.Username = e.Username[:min(len(e.Username), maxLogText)]
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range min(len(l.entries), logGroupEntries) {
		have := &l.entries[i]
		if e.Reason == have.Reason && e.InMulti == have.InMulti && e.Object == have.Object && e.Username == have.Username &&
			e.At.Sub(have.At) <= logGroupTime {
			e.Count = have.Count + 1
			copy(l.entries[1:i+1], l.entries[:i])
			l.entries[0] = e
			return
		}
	}
	l.entries = append(l.entries, LogEntry{})
	copy(l.entries[1:], l.entries)
	l.entries[0] = e
	if len(l.entries) > limit {
		clear(l.entries[limit:])
		l.entries = l.entries[:limit]
	}
}

// Newest is up to n entries, the newest first.
func (l *Log) Newest(n int) []LogEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]LogEntry(nil), l.entries[:min(max(n, 0), len(l.entries))]...)
}

// Reset drops all entries.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
}
