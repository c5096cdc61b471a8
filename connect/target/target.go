// Package target is the database that a sink writes into: PostgreSQL or SQLite.
//
// A row of quipu_counters is a key as Quipu had it after the entry idx of its log: an absolute value with a version, never a
// difference. A row of quipu_sink is a sink with its watermark: the cursor of the feed up to which its rows have everything.
// Both change in one transaction, which
//
//  1. moves the watermark, where sink, generation and cursor are what the caller believes, or ends with ErrMoved,
//  2. makes tombstones of rows that the change says are gone (the database was emptied, or a sweep did not find them),
//  3. writes each row whose idx is higher than that which is there,
//  4. makes tombstones of rows whose deadline has passed at the new stamp.
//
// The row of the sink stays locked from 1 on, so transactions of a sink come one after the other. What makes it safe:
//
//   - The watermark says what is in the database, also after it was restored from a backup: there is no second place that could
//     disagree. After an error nobody knows whether the transaction was committed; the caller opens the database anew, and goes
//     on from the watermark that it finds. If the old transaction is still on its way to its end then, the next one waits for
//     the lock, and finds the cursor moved.
//   - An owner raises the generation when it takes over, so transactions of the one before fail, however late they come.
//   - Rows are compared by version, so writing one again, or an older one late, changes nothing.
//
// A tombstone made by 4 keeps its idx: it is no news about the key, but follows from what was known. One made by 2 gets the index up to
// which it is known. News have a higher one.
package target

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Batch is the most rows that one statement writes.
const Batch = 5000

// Watermark is the row of a sink.
type Watermark struct {
	Incarnation string // of the data that the rows are of; "": there are none yet
	Generation  int64  // raised by each new owner
	Beat        int64  // raised by each transaction: an owner that raises it lives
	Owner       string // "": it has left
	Pattern     string // of the keys that the rows are of
	Cursor      string // of the feed, "": not all keys are there yet
	Index       int64  // of the cursor
	Stamp       int64  // log time at the cursor, ms since 1970
	Stopped     string // why nothing is written any more, until Adopt; "": it is not
}

// Row is a key as Quipu has it.
type Row struct {
	Key       string // bytes of any kind; see column
	Kind      string
	Value     sql.NullInt64
	Text      sql.NullString
	Index     int64
	ExpiresAt int64 // ms since 1970; 0: never
	Deleted   bool
}

// Change is what a transaction does to the rows of a sink.
type Change struct {
	Rows  []Row // Write sorts them; of several of a key the one with the highest index counts
	Gone  int64 // rows of this index and lower ones are gone, but for those among Rows; 0: none are
	Stamp int64 // log time, ms since 1970: when the change was, and what deadlines are compared with
}

// ErrMoved is the end of a transaction, which has changed nothing: the watermark is not where the caller believes it to be.
var ErrMoved = errors.New("the sink has another watermark or owner by now")

// sqlitePrefix is how the URL of a database of SQLite begins.
const sqlitePrefix = "sqlite:"

// errNoRow is told of a query that finds nothing.
var errNoRow = errors.New("there is no such row")

// session is a connection to one of the databases. Statements have parameters $1, $2, …
type session interface {
	begin(ctx context.Context) error
	commit(ctx context.Context) error
	rollback()
	exec(ctx context.Context, text string, args ...any) (rows int64, err error)
	query(ctx context.Context, text string, args []any, into ...any) error // one row, or errNoRow

	// upsert writes rows, at most Batch, that are sorted by their keys.
	upsert(ctx context.Context, sink string, stamp int64, rows []Row) error

	// schema is how tables are created, and columns how they look; none: there is no such table.
	schema() *dialect
	columns(ctx context.Context, table string) ([]column, error)
	close()
}

// DB is a database with the rows of one sink. It is used by one goroutine at a time. After an error that is not ErrMoved it is good
// for nothing but Close.
type DB struct {
	s    session
	sink string
}

// Open connects to a database, sqlite:PATH or postgres://…, and creates what is missing: tables, view, the row of the sink.
func Open(ctx context.Context, url, sink string) (*DB, error) {
	d, err := connect(ctx, url, sink, false)
	if err != nil {
		return nil, err
	}
	if err := d.prepare(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// OpenToLook connects to a database and changes nothing.
func OpenToLook(ctx context.Context, url, sink string) (*DB, error) {
	return connect(ctx, url, sink, true)
}

func connect(ctx context.Context, url, sink string, look bool) (*DB, error) {
	open := openPostgres
	if path, ok := strings.CutPrefix(url, sqlitePrefix); ok {
		url, open = path, openSQLite
	}
	s, err := open(ctx, url, look)
	if err != nil {
		return nil, err
	}
	return &DB{s: s, sink: sink}, nil
}

// Close closes the connection. A transaction that is on its way is given up.
func (d *DB) Close() { d.s.close() }

// Watermark reads the row of the sink; found is false if there is none.
func (d *DB) Watermark(ctx context.Context) (w Watermark, found bool, err error) {
	err = d.s.query(ctx, `SELECT incarnation, generation, beat, owner, pattern, cursor, idx, stamp, stopped FROM quipu_sink WHERE sink = $1`,
		[]any{d.sink}, &w.Incarnation, &w.Generation, &w.Beat, &w.Owner, &w.Pattern, &w.Cursor, &w.Index, &w.Stamp, &w.Stopped)
	if errors.Is(err, errNoRow) {
		return w, false, nil
	}
	return w, err == nil, err
}

// TakeOver makes owner the owner of the sink, if its row is still as it was seen: ErrMoved, if it is not.
func (d *DB) TakeOver(ctx context.Context, seen Watermark, owner string) (Watermark, error) {
	err := d.one(ctx, `UPDATE quipu_sink SET generation = generation + 1, beat = beat + 1, owner = $4
		WHERE sink = $1 AND generation = $2 AND beat = $3`, d.sink, seen.Generation, seen.Beat, owner)
	seen.Generation, seen.Beat, seen.Owner = seen.Generation+1, seen.Beat+1, owner
	return seen, err
}

// Release says that the owner leaves, so that another one need not wait.
func (d *DB) Release(ctx context.Context, at Watermark) error {
	return d.one(ctx, `UPDATE quipu_sink SET owner = '', beat = beat + 1 WHERE sink = $1 AND generation = $2`, d.sink, at.Generation)
}

// Stop writes down why the sink stops, which it does until Adopt.
func (d *DB) Stop(ctx context.Context, at Watermark, why string) (Watermark, error) {
	err := d.one(ctx, `UPDATE quipu_sink SET stopped = $3, beat = beat + 1 WHERE sink = $1 AND generation = $2`, d.sink, at.Generation, why)
	at.Stopped, at.Beat = why, at.Beat+1
	return at, err
}

// one is a statement that has to find its one row.
func (d *DB) one(ctx context.Context, text string, args ...any) error {
	n, err := d.s.exec(ctx, text, args...)
	if err == nil && n != 1 {
		err = ErrMoved
	}
	return err
}

// HighestIndex is the highest version of all rows.
func (d *DB) HighestIndex(ctx context.Context) (index int64, err error) {
	err = d.s.query(ctx, `SELECT coalesce(max(idx), 0) FROM quipu_counters WHERE sink = $1`, []any{d.sink}, &index)
	return index, err
}

// Write applies a change and brings the watermark from at to next; it returns the row as it is then. Generation and owner stay.
// With ErrMoved nothing has changed. After any other error it is not known whether the change was applied.
func (d *DB) Write(ctx context.Context, at, next Watermark, c *Change) (Watermark, error) {
	next.Generation, next.Beat, next.Owner, next.Stopped = at.Generation, at.Beat+1, at.Owner, at.Stopped
	if err := d.s.begin(ctx); err != nil {
		return at, err
	}
	if err := d.change(ctx, at, &next, c); err != nil {
		d.s.rollback()
		return at, err
	}
	if err := d.s.commit(ctx); err != nil {
		return at, fmt.Errorf("the outcome of a transaction is unknown: %w", err)
	}
	return next, nil
}

// change is the inside of a transaction.
func (d *DB) change(ctx context.Context, at Watermark, next *Watermark, c *Change) error {
	err := d.one(ctx, `UPDATE quipu_sink SET incarnation = $4, pattern = $5, cursor = $6, idx = $7, stamp = $8, beat = beat + 1
		WHERE sink = $1 AND generation = $2 AND cursor = $3`,
		d.sink, at.Generation, at.Cursor, next.Incarnation, next.Pattern, next.Cursor, next.Index, next.Stamp)
	if err != nil {
		return err
	}
	if c.Gone > 0 {
		if _, err := d.s.exec(ctx, `UPDATE quipu_counters SET kind = 'none', value = NULL, text = NULL, idx = $3, deleted_at = $2,
			changed_at = $2 WHERE sink = $1 AND idx <= $3 AND deleted_at IS NULL`, d.sink, c.Stamp, c.Gone); err != nil {
			return err
		}
	}
	// In this order two sinks, or a sink and a person, lock rows without waiting for each other in a circle.
	slices.SortFunc(c.Rows, func(a, b Row) int { return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(b.Index, a.Index)) })
	c.Rows = slices.CompactFunc(c.Rows, func(a, b Row) bool { return a.Key == b.Key })
	for rows := range slices.Chunk(c.Rows, Batch) {
		if err := d.s.upsert(ctx, d.sink, c.Stamp, rows); err != nil {
			return err
		}
	}
	_, err = d.s.exec(ctx, `UPDATE quipu_counters SET kind = 'none', value = NULL, text = NULL, deleted_at = expires_at, changed_at = $2
		WHERE sink = $1 AND expires_at <= $2 AND deleted_at IS NULL`, d.sink, c.Stamp)
	return err
}

// onConflict ends the statement that writes rows: one that is there stays, unless it is older.
const onConflict = ` ON CONFLICT (key, sink) DO UPDATE SET kind = excluded.kind, value = excluded.value, text = excluded.text,
	idx = excluded.idx, expires_at = excluded.expires_at, deleted_at = excluded.deleted_at, changed_at = excluded.changed_at
	WHERE t.idx < excluded.idx`

// Adopt has the sink begin anew, with whatever data Quipu has now. Its rows stay until the sweep comes to them, but lose their versions:
// those of other data mean nothing. Whoever owns the sink loses it.
func (d *DB) Adopt(ctx context.Context) error {
	if err := d.s.begin(ctx); err != nil {
		return err
	}
	err := d.one(ctx, `UPDATE quipu_sink SET generation = generation + 1, beat = beat + 1, owner = '', incarnation = '', cursor = '', idx = 0,
		stamp = 0, stopped = '' WHERE sink = $1`, d.sink)
	if err == nil {
		_, err = d.s.exec(ctx, `UPDATE quipu_counters SET idx = 0 WHERE sink = $1`, d.sink)
	}
	if err != nil {
		d.s.rollback()
		return err
	}
	return d.s.commit(ctx)
}
