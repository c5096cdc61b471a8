package count

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"quipu/connect/quipu"
)

// State is how a partition does, in one word. The words are what people and alerts see.
type State string

// The states of a partition.
const (
	Counting       State = "counting"
	Waiting        State = "waiting"         // Quipu takes no transaction: no leader, no memory, a full disk
	OpenTxn        State = "txn-open"        // a transaction of a producer has not ended; nothing behind it can be read
	NoBroker       State = "no-broker"       // the broker does not answer
	NoTopic        State = "no-topic"        // the topic does not exist
	BadRecordState State = "bad-record"      // stopped at a record that cannot be counted
	NewIncarnation State = "new-incarnation" // stopped: another topic, or file, of the same name
	Gap            State = "gap"             // stopped: records are gone that were not counted
	Missing        State = "out-of-order"    // the broker has left out records; they are asked for again
	Failed         State = "failed"          // stopped: Quipu refuses the transaction
)

// Report is how one partition does. It may be used by any number of goroutines.
type Report struct {
	name string
	took func(time.Duration)
	log  *slog.Logger

	mu     sync.Mutex
	now    Snapshot
	told   time.Time // when a refused command was last logged
	logged time.Time // when state and reason were, and which reason
	reason string
}

// reasonTime is the least time between two lines of the log about one state whose reason changes: the first reason is often that a connection
// has ended, and only the next one says why there is no other.
const reasonTime = 5 * time.Second

// Snapshot is what a report says at one moment.
type Snapshot struct {
	Name            string
	State           State
	Reason          string // why, where the state is not counting
	Since           time.Time
	Position        Position
	Place           int64 // Position.At as a number, see Position.Start
	Done, End       int64 // the same for progress (of a file: bytes), and where the partition ends; End 0: not known
	Begun           int64 // Done when this process began to count it
	Transactions    int64
	RefusedCommands int64
	LastRefused     string
}

// Lag is how much is still to be counted: offsets, of a file bytes.
func (s *Snapshot) Lag() int64 { return max(0, s.End-s.Done) }

// Board has the reports of all partitions of a process.
type Board struct {
	Log  *slog.Logger
	Took func(time.Duration) // is told the time of each transaction; nil: nobody is

	mu   sync.Mutex
	list map[string]*Report
}

// Report returns the report of a partition, a new one if there is none.
func (b *Board) Report(name string) *Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.list == nil {
		b.list = map[string]*Report{}
	}
	r := b.list[name]
	if r == nil {
		r = &Report{name: name, took: b.Took, log: b.Log}
		r.now.Name = name
		b.list[name] = r
	}
	return r
}

// Forget drops the report of a partition that this process does not have any more.
func (b *Board) Forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.list, name)
}

// Snapshots are all reports, in the order of their names.
func (b *Board) Snapshots() []Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Snapshot, 0, len(b.list))
	for _, r := range b.list {
		list = append(list, r.Snapshot())
	}
	slices.SortFunc(list, func(a, b Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Snapshot is what the report says now.
func (r *Report) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// Set says how the partition does. A change is logged.
func (r *Report) Set(s State, reason string) {
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
	case s == Counting:
		r.log.Info("counting", "partition", r.name)
	default:
		r.log.Warn(string(s), "partition", r.name, "reason", reason)
	}
}

// Recover says that the partition counts, if it was in that state.
func (r *Report) Recover(from State) {
	if r.Snapshot().State == from {
		r.Set(Counting, "")
	}
}

// SetEnd says where the partition ends at present.
func (r *Report) SetEnd(end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.End = end
}

func (r *Report) begin(s *Settings) {
	r.mu.Lock()
	r.now.Position, r.now.Place, r.now.Done = s.Position, s.number(), s.progress()
	r.now.Begun = r.now.Done
	r.mu.Unlock()
	r.Set(Counting, "")
}

// progress is Done of the position.
func (s *Settings) progress() int64 {
	if s.Progress != nil {
		return s.Progress(s.Position.At)
	}
	return s.number()
}

// number is the position as a number. Where places are no numbers the records so far stand for it.
func (s *Settings) number() int64 {
	if s.Number == nil {
		return s.Position.Start + s.Position.Sum()
	}
	return s.Number(s.Position.At)
}

// Waits is told why a transaction takes longer.
func (r *Report) Waits(err error) { r.Set(Waiting, err.Error()) }

func (r *Report) applied(s *Settings, b *batch, took time.Duration) {
	r.mu.Lock()
	r.now.Position, r.now.Place, r.now.Done = b.to, s.number(), s.progress()
	r.now.End = max(r.now.End, r.now.Done)
	r.now.Transactions++
	r.mu.Unlock()
	if r.took != nil {
		r.took(took)
	}
	r.Recover(Waiting)
}

// refused counts a command without effect, and logs one a second at most.
func (r *Report) refused(err error) {
	r.mu.Lock()
	r.now.RefusedCommands++
	r.now.LastRefused = err.Error()
	tell := time.Since(r.told) >= time.Second
	if tell {
		r.told = time.Now()
	}
	r.mu.Unlock()
	if tell {
		r.log.Warn("quipu refused a command", "partition", r.name, "error", err)
	}
}

// end says why the partition has ended, where it has to stay so.
func (r *Report) end(err error) {
	var moved *quipu.Moved
	var bad *BadRecord
	switch {
	case err == nil || errors.As(err, &moved): // somebody goes on from there
	case errors.As(err, &bad):
		r.Set(BadRecordState, bad.Error())
	default:
		r.Set(Failed, err.Error())
	}
}

// Partition reports whether it is the report of a partition, and not that of a source as a whole.
func (s *Snapshot) Partition() bool { return strings.Contains(s.Name, "/") }

// Off is by how much the identity does not add up: 0, unless there is a fault somewhere.
func (s *Snapshot) Off() int64 { return s.Position.Off(s.Place) }
