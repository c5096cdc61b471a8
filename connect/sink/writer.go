package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quipu/connect/quipu"
	"quipu/connect/target"
)

// writer is a sink while this process owns it, over one connection to the database.
type writer struct {
	*Sink
	db *target.DB
	at target.Watermark // as the database has it, as far as this process knows

	ahead *ahead // the next page, which is read while this one is written; nil: it is not
}

// write writes what changes, until ctx is done, Finish is reached (nil), or something fails.
func (w *writer) write(ctx context.Context) error {
	defer w.forget()
	if w.at.Stopped != "" {
		return w.halt(ctx, Ahead, w.at.Stopped)
	}
	if w.at.Incarnation != "" {
		if err := w.reach(ctx, max(w.at.Index, w.highest)); err != nil {
			return err
		}
	}
	w.highest = 0
	for {
		if w.at.Cursor == "" || w.at.Pattern != w.Config.Match {
			if err := w.sweep(ctx); err != nil {
				return err
			}
			continue
		}
		begun, finishing := time.Now(), w.finishing()
		page, err := w.feed(ctx)
		switch {
		case errors.Is(err, quipu.ErrGap), errors.Is(err, quipu.ErrIncarnation):
			if err := w.sweep(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		if page.More {
			w.readAhead(ctx, page.Cursor)
		}
		stood := string(page.Cursor) == w.at.Cursor
		if err := w.put(ctx, page); err != nil {
			return err
		}
		if page.More {
			continue
		}
		w.Report.caughtUp(begun)
		if finishing {
			return nil
		}
		if stood {
			err = w.goElsewhere(ctx)
		} else {
			err = w.pace(ctx, begun.Add(w.Config.Every))
		}
		if err != nil && !errors.Is(err, errFinished) {
			return err
		}
	}
}

// ahead is a page of the feed that is being read.
type ahead struct {
	from   quipu.Cursor
	cancel context.CancelFunc
	done   chan struct{} // closed when page and err are there
	page   *quipu.Page
	err    error
}

// readAhead begins to read the page behind another one, which has more behind it. So reading and writing, which take about the same
// time with SQLite, overlap.
func (w *writer) readAhead(ctx context.Context, from quipu.Cursor) {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{from: from, cancel: cancel, done: make(chan struct{})}
	w.ahead = a
	go func() {
		defer close(a.done)
		a.page, a.err = w.read(ctx, from, 0)
	}()
}

// forget gives up what is read ahead.
func (w *writer) forget() {
	if a := w.ahead; a != nil {
		w.ahead = nil
		a.cancel()
		<-a.done
	}
}

// feed is the page behind the watermark. It does not wait for one if the sink is to finish.
func (w *writer) feed(ctx context.Context) (*quipu.Page, error) {
	from := quipu.Cursor(w.at.Cursor)
	if a := w.ahead; a != nil && a.from == from {
		<-a.done
		w.forget()
		return a.page, a.err
	}
	w.forget()
	if w.finishing() {
		return w.read(ctx, from, 0)
	}
	return w.read(ctx, from, beatTime)
}

func (w *writer) read(ctx context.Context, from quipu.Cursor, block time.Duration) (*quipu.Page, error) {
	page, err := w.Quipu.Feed(ctx, from, w.Config.Match, PageRows, block, func(why error) { w.Report.set(Waiting, why.Error()) })
	if err == nil || ctx.Err() != nil || errors.Is(err, quipu.ErrGap) || errors.Is(err, quipu.ErrIncarnation) {
		return page, err
	}
	return nil, &quipuError{err}
}

// put writes a page and moves the watermark to its cursor.
func (w *writer) put(ctx context.Context, page *quipu.Page) error {
	next := w.at
	next.Cursor, next.Index, next.Stamp = string(page.Cursor), page.Cursor.Index(), max(w.at.Stamp, page.Stamp)
	if err := w.transact(ctx, next, w.change(page, next.Stamp), writeLimit); err != nil {
		return err
	}
	w.Report.set(Writing, "")
	return nil
}

// transact is one transaction. It comes to its end also when ctx is done.
func (w *writer) transact(ctx context.Context, next target.Watermark, c *target.Change, limit time.Duration) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	begun := time.Now()
	at, err := w.db.Write(limited, w.at, next, c)
	if err != nil {
		return err
	}
	w.at = at
	w.Report.wrote(at, len(c.Rows), time.Since(begun))
	return ctx.Err()
}

// beat is a transaction that changes nothing: it says that the owner lives, and finds out whether it still is the owner.
func (w *writer) beat(ctx context.Context) error {
	return w.transact(ctx, w.at, &target.Change{Stamp: w.at.Stamp}, writeLimit)
}

// pace waits until a time.
func (w *writer) pace(ctx context.Context, until time.Time) error {
	for {
		left := time.Until(until)
		if err := w.sleep(ctx, min(left, beatTime)); err != nil || left <= beatTime {
			return err
		}
		if err := w.beat(ctx); err != nil {
			return err
		}
	}
}

// goElsewhere asks all nodes how far they are, after a read that brought nothing: the node in use may be cut off from the others.
// The next read is of the node that has most.
func (w *writer) goElsewhere(ctx context.Context) error {
	best, _, same, err := w.nodes(ctx)
	if err != nil || !same || best >= w.at.Index {
		return err
	}
	return w.reach(ctx, w.at.Index)
}

// nodes is the highest index that a node has applied, and whether all have answered. same is false if there is none of our data.
func (w *writer) nodes(ctx context.Context) (best int64, all, same bool, err error) {
	limited, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	list, all, err := w.Quipu.Feeds(limited)
	switch {
	case ctx.Err() != nil:
		return 0, false, true, ctx.Err()
	case err != nil && quipu.Lasting(err):
		return 0, false, true, &quipuError{err}
	}
	for _, info := range list {
		if info.Incarnation == w.at.Incarnation {
			best, same = max(best, info.Index), true
		}
	}
	return best, all, same || err != nil, nil // nodes that do not answer are no other data
}

// reach waits until Quipu has an index that is in the database. If all nodes answer, and for half a minute none has it, then the log
// that the rows are of is gone, and comparing versions would keep old rows in place of new ones: the sink stops until it is adopted.
func (w *writer) reach(ctx context.Context, index int64) error {
	for looks := 1; ; looks++ {
		best, all, same, err := w.nodes(ctx)
		if err != nil || !same || best >= index {
			return err
		}
		why := fmt.Sprintf("the database has rows up to index %d, and Quipu is at %d", index, best)
		if !all {
			looks = 0
			why += ", as far as its nodes answer"
		}
		if looks >= w.aheadLooks {
			return w.stop(ctx, why+": they are of a log that Quipu has no more; quipu-connect adopt has the sink begin anew")
		}
		w.Report.set(Waiting, why)
		if err := w.beat(ctx); err != nil {
			return err
		}
		if err := w.sleep(ctx, lookTime); err != nil {
			return err
		}
	}
}

// stop writes down that the sink stops, since Quipu may pass the index later, and then it would not show any more.
func (w *writer) stop(ctx context.Context, why string) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeLimit)
	at, err := w.db.Stop(limited, w.at, why)
	cancel()
	if err != nil {
		return err
	}
	w.at = at
	return w.halt(ctx, Ahead, why)
}

// halt writes nothing until a person has adopted the sink: then its generation is another one.
func (w *writer) halt(ctx context.Context, state State, why string) error {
	for {
		w.Report.set(state, why)
		if err := w.sleep(ctx, lookTime); errors.Is(err, errFinished) {
			return nil
		} else if err != nil {
			return err
		}
		if err := w.beat(ctx); err != nil {
			return err
		}
	}
}
