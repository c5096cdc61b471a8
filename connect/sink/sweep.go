package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quipu/connect/quipu"
	"quipu/connect/target"
)

// sweep reads all keys, until that has succeeded once:
//
//	page 1 of the snapshot, at cursor F     write
//	changes behind F, G, …                  write; so the feed always reaches back to where we are
//	page 2                                  write
//	…
//	changes, until there are no more, at C  write; tombstones for rows below the index of F; the watermark is C
//
// Every page of the snapshot is of an index at or above that of F, and so is every row in it: what has a lower index then was not
// among them, so it is absent. The watermark stays what it was until the last transaction. A sweep that is cut off begins anew, and
// what it has written is right, since rows are compared by version.
func (w *writer) sweep(ctx context.Context) error {
	for {
		err := w.sweepOnce(ctx)
		if !errors.Is(err, quipu.ErrSweepLost) && !errors.Is(err, quipu.ErrGap) && !errors.Is(err, quipu.ErrIncarnation) &&
			!errors.Is(err, errBehind) {
			return err
		}
		w.Report.set(Waiting, fmt.Sprintf("the sweep begins again: %v", err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookTime):
		}
		if err := w.beat(ctx); err != nil {
			return err
		}
		if err := w.reach(ctx, w.at.Index); err != nil { // which goes on with the node that has most
			return err
		}
	}
}

// errBehind is a node whose state is older than what has been read of another.
var errBehind = errors.New("the node is behind")

func (w *writer) sweepOnce(ctx context.Context) error {
	s := &sweep{writer: w, all: w.Quipu.Sweep(w.Config.Match)}
	defer s.all.Close()
	page, more, err := s.all.Next(ctx, PageRows)
	if err != nil {
		return lasting(ctx, err)
	}
	first := page.Cursor
	if w.at.Incarnation != "" && w.at.Incarnation != first.Incarnation() {
		return w.halt(ctx, NewIncarnation, fmt.Sprintf("the rows are of incarnation %s, and Quipu has %s: it was restored from a backup, or is another one; "+
			"quipu-connect adopt replaces them", w.at.Incarnation, first.Incarnation()))
	}
	s.from, s.stamp = first, page.Stamp
	for lowest := max(first.Index(), w.at.Index); ; {
		if page.Cursor.Incarnation() != first.Incarnation() || page.Cursor.Index() < lowest {
			return fmt.Errorf("%w: a page of the snapshot is at %s", errBehind, page.Cursor)
		}
		w.Report.set(Sweeping, "all keys are read")
		next := w.at
		next.Incarnation = first.Incarnation() // so that nobody goes on with these rows for another one
		if err := w.transact(ctx, next, w.change(page, page.Stamp), writeLimit); err != nil {
			return err
		}
		if err := s.follow(ctx); err != nil {
			return err
		}
		if !more {
			break
		}
		if page, more, err = s.all.Next(ctx, PageRows); err != nil {
			return lasting(ctx, err)
		}
	}
	next := w.at
	next.Cursor, next.Index, next.Stamp, next.Pattern = string(s.from), s.from.Index(), s.stamp, w.Config.Match
	return w.transact(ctx, next, &target.Change{Stamp: s.stamp, Gone: first.Index() - 1}, sweptLimit)
}

// sweep is one that goes on.
type sweep struct {
	*writer
	all   *quipu.Sweep
	from  quipu.Cursor // everything behind the first page's cursor, up to here, is written
	stamp int64        // log time there
}

// follow writes the changes since the last call, until there are no more, and leaves the watermark where it is.
func (s *sweep) follow(ctx context.Context) error {
	for {
		page, err := s.all.Feed(ctx, s.from, PageRows)
		if err != nil {
			return lasting(ctx, err)
		}
		s.from, s.stamp = page.Cursor, max(s.stamp, page.Stamp)
		if len(page.Rows) > 0 {
			if err := s.transact(ctx, s.at, s.change(page, s.stamp), writeLimit); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
}

// lasting is an error of a sweep, as a quipuError if another sweep would have it too.
func lasting(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, quipu.ErrSweepLost) || errors.Is(err, quipu.ErrGap) || errors.Is(err, quipu.ErrIncarnation) {
		return err
	}
	return &quipuError{err}
}
