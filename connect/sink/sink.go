// Package sink brings counts of Quipu into a database: it reads the feed of changed keys, and writes what they are.
//
// One process owns a sink at a time; any number may run it. The owner reads a page of the feed behind the watermark, writes it in a
// transaction that moves the watermark (package target), and so on. It keeps nothing besides: after any error it opens the database
// anew and goes on from the watermark that it finds there. Where the feed does not reach back to the watermark, or there is none yet,
// it sweeps: it reads all keys (sweep.go).
//
// Who owns it: each transaction raises the beat in the row of the sink, and an owner that has nothing to write does so every 2 s.
// The others look once a second; one that has seen the same beat for 10 s takes over. Only the time that a process measures by itself
// decides, clocks are never compared. It need not be right: whoever is taken for dead and is not finds that its transactions fail,
// because the generation has changed, and becomes one of the others.
package sink

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"quipu/connect/config"
	"quipu/connect/quipu"
	"quipu/connect/target"
)

// PageRows is the most rows that are read, and written in a transaction.
const PageRows = quipu.FeedMost

// OwnKeys is how keys begin that quipu-connect itself keeps in Quipu, to tell how it does. A sink leaves them out, unless its pattern
// begins like that: they change all the time.
const OwnKeys = "connect:"

// Times of a sink.
const (
	beatTime    = 2 * time.Second // at least that often its owner writes
	lookTime    = time.Second     // how often the others look
	silenceTime = 10 * time.Second
	openLimit   = 30 * time.Second
	writeLimit  = time.Minute      // of a transaction
	sweptLimit  = 15 * time.Minute // of the one that ends a sweep, and looks at all rows
	leaveLimit  = 3 * time.Second
	firstPause  = 100 * time.Millisecond
	longPause   = 5 * time.Second
	failedPause = 10 * time.Second // between two tries of what a person has to mend
	aheadLooks  = 30               // how often all nodes have to be behind the database, a lookTime apart
)

// Sink is one sink of the configuration in this process.
type Sink struct {
	Config *config.Sink
	Quipu  *quipu.Client // of this sink alone: it changes the node by how far that is
	Report *Report

	owner      string // this Sink's name in the row of the sink
	generation int64  // with which this process owns it; 0: it never did
	measured   bool
	highest    int64         // version of the rows that were there at first; 0 once Quipu is known to have that index
	silence    time.Duration // silenceTime
	aheadLooks int           // aheadLooks
	finish     chan struct{}
	once       sync.Once
}

// New is a sink that Run runs.
func New(cfg *config.Sink, client *quipu.Client, report *Report) *Sink {
	return &Sink{Config: cfg, Quipu: client, Report: report, owner: uniqueName(), silence: silenceTime, aheadLooks: aheadLooks, finish: make(chan struct{})}
}

// uniqueName tells people where this process runs, and is that of no other one.
func uniqueName() string {
	host, _ := os.Hostname()
	more := make([]byte, 4)
	_, _ = rand.Read(more) // never fails
	return fmt.Sprintf("%s:%d/%s", host, os.Getpid(), hex.EncodeToString(more))
}

// Finish has Run end when everything is written that Quipu has by then.
func (s *Sink) Finish() { s.once.Do(func() { close(s.finish) }) }

func (s *Sink) finishing() bool {
	select {
	case <-s.finish:
		return true
	default:
		return false
	}
}

// quipuError is one of Quipu that no repetition mends.
type quipuError struct{ err error }

func (e *quipuError) Error() string { return "Quipu refuses: " + e.err.Error() }
func (e *quipuError) Unwrap() error { return e.err }

// Run writes until ctx is done, or Finish is reached. A transaction that is on its way comes to its end.
func (s *Sink) Run(ctx context.Context) {
	pause := firstPause
	for {
		before := s.Report.Snapshot().Transactions
		err := s.try(ctx)
		if ctx.Err() != nil || err == nil || errors.Is(err, errFinished) {
			return
		}
		if s.Report.Snapshot().Transactions != before {
			pause = firstPause
		}
		if errors.Is(err, target.ErrMoved) { // the row of the sink says what now
			s.Report.set(Standby, "somebody else has changed the row of the sink")
			continue
		}
		wait := pause
		if state, reason := judge(err); state == Failed {
			s.Report.set(Failed, reason)
			wait = failedPause
		} else {
			s.Report.set(Waiting, reason)
			pause = min(2*pause, longPause)
		}
		if s.sleep(ctx, wait) != nil {
			return
		}
	}
}

// judge says of an error whether it goes away by itself, and what to do if not.
func judge(err error) (State, string) {
	var refused *quipuError
	if errors.As(err, &refused) {
		return Failed, err.Error()
	}
	if advice := target.Advice(err); advice != "" {
		return Failed, err.Error() + ": " + advice
	}
	return Waiting, err.Error()
}

// try opens the database, waits until the sink is this process's, and writes. nil: Finish is reached.
func (s *Sink) try(ctx context.Context) error {
	url, err := s.Config.URL()
	if err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, openLimit)
	db, err := target.Open(opening, url, s.Config.Name)
	cancel()
	if err != nil {
		return err
	}
	defer db.Close()
	if err := s.measure(ctx, db); err != nil {
		return err
	}
	at, err := s.standBy(ctx, db)
	if err != nil {
		return err
	}
	w := &writer{Sink: s, db: db, at: at}
	s.Report.own(at)
	err = w.write(ctx)
	if err == nil || ctx.Err() != nil && !errors.Is(err, target.ErrMoved) {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
		defer cancel()
		_ = db.Release(leaving, w.at) // else the others wait until it is silent for long enough
	}
	s.Report.lose()
	return err
}

// measure finds the highest version of all rows, once: it looks at all of them, so it is done before the sink is owned.
func (s *Sink) measure(ctx context.Context, db *target.DB) error {
	if s.measured {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, sweptLimit)
	defer cancel()
	var err error
	s.highest, err = db.HighestIndex(limited)
	s.measured = err == nil
	return err
}

// errFinished is the end of what waits, because of Finish.
var errFinished = errors.New("finished")

// standBy waits until this process owns the sink. After an error of the database it may own it still.
func (s *Sink) standBy(ctx context.Context, db *target.DB) (target.Watermark, error) {
	var seen target.Watermark
	var since time.Time
	for {
		limited, cancel := context.WithTimeout(ctx, writeLimit)
		at, err := s.look(limited, db, &seen, &since)
		cancel()
		if at != nil || err != nil {
			return seen, err
		}
		s.Report.set(Standby, seen.Owner+" writes")
		if err := s.sleep(ctx, lookTime); err != nil {
			return seen, err
		}
	}
}

// look looks whether the sink is this process's, or can be. seen is its row, and since when it has not changed; at is the row once it
// is ours.
func (s *Sink) look(ctx context.Context, db *target.DB, seen *target.Watermark, since *time.Time) (at *target.Watermark, err error) {
	now, found, err := db.Watermark(ctx)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("the row of sink %s has been deleted", s.Config.Name) // opening creates it
	}
	if now.Beat != seen.Beat || now.Generation != seen.Generation || since.IsZero() {
		*since = time.Now()
	}
	*seen = now
	if now.Owner == s.owner && now.Generation == s.generation {
		return seen, nil
	}
	if now.Owner != "" && time.Since(*since) < s.silence {
		return nil, nil
	}
	now, err = db.TakeOver(ctx, now, s.owner)
	if errors.Is(err, target.ErrMoved) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	*seen, s.generation = now, now.Generation
	return seen, nil
}

// sleep waits for a time, or less, if ctx is done or the sink is to finish: then it is an error.
func (s *Sink) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.finish:
		return errFinished
	}
}

// LeftOut reports whether a sink with a pattern leaves out a key, because quipu-connect keeps it for itself.
func LeftOut(pattern, key string) bool {
	return strings.HasPrefix(key, OwnKeys) && !strings.HasPrefix(pattern, OwnKeys)
}
