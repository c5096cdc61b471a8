package sink

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"quipu/connect/target"
)

// State is how a sink does, in one word. The words are what people and alerts see.
type State string

// The states of a sink.
const (
	Writing        State = "writing"
	Sweeping       State = "sweeping"        // all keys are read: there was no watermark, or the feed does not reach back to it
	Standby        State = "standby"         // another process writes
	Waiting        State = "waiting"         // the database or Quipu does not answer, or not as it should; it goes on by itself
	NewIncarnation State = "new-incarnation" // stopped: Quipu has other data than that which the rows are of
	Ahead          State = "ahead"           // stopped: the rows are of a log that Quipu has no more
	Failed         State = "failed"          // a person has to mend something; it is tried again every 10 s
)

// Report is how one sink does in this process. It may be used by any number of goroutines.
type Report struct {
	took func(time.Duration)
	log  *slog.Logger

	mu     sync.Mutex
	now    Snapshot
	logged time.Time // when state and reason were, and which reason
	reason string
}

// reasonTime is the least time between two lines of the log about one state whose reason changes, as in package count.
const reasonTime = 5 * time.Second

// Snapshot is what a report says at one moment.
type Snapshot struct {
	Name         string
	State        State
	Reason       string // why, where the state is not writing
	Since        time.Time
	Owned        bool             // by this process
	Watermark    target.Watermark // as this process has written or read it
	CaughtUp     time.Time        // the watermark has everything up to then; zero: not known
	Rows         int64            // written by this process
	Transactions int64            // of this process
}

// NewReport is the report of a sink. took, which may be nil, is told the time of each transaction.
func NewReport(name string, log *slog.Logger, took func(time.Duration)) *Report {
	return &Report{took: took, log: log, now: Snapshot{Name: name}}
}

// Snapshot is what the report says now.
func (r *Report) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// set says how the sink does. A change is logged.
func (r *Report) set(s State, reason string) {
	r.mu.Lock()
	now := time.Now()
	tell := r.now.State != s
	if tell {
		r.now.Since = now
	}
	if tell = tell || r.reason != reason && now.Sub(r.logged) >= reasonTime; tell {
		r.logged, r.reason = now, reason
	}
	r.now.State, r.now.Reason = s, reason
	r.mu.Unlock()
	switch {
	case !tell:
	case slices.Contains([]State{Writing, Sweeping, Standby}, s):
		r.log.Info(string(s), "sink", r.now.Name, "reason", reason)
	default:
		r.log.Warn(string(s), "sink", r.now.Name, "reason", reason)
	}
}

func (r *Report) own(at target.Watermark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Owned, r.now.Watermark, r.now.CaughtUp = true, at, time.Time{}
}

func (r *Report) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Owned = false
}

func (r *Report) wrote(at target.Watermark, rows int, took time.Duration) {
	r.mu.Lock()
	r.now.Watermark = at
	r.now.Rows += int64(rows)
	r.now.Transactions++
	r.mu.Unlock()
	if r.took != nil {
		r.took(took)
	}
}

func (r *Report) caughtUp(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.CaughtUp = at
}
