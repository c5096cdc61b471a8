package target

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	driver "modernc.org/sqlite" // also of database/sql
)

// Settings of a connection to SQLite. A committed transaction is on disk (FULL); readers do not wait for the writer (WAL); who
// waits for a lock gives up after 5 s, and says so.
const (
	sqliteSettings = "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	sqliteLooks    = "?mode=ro&_pragma=busy_timeout(5000)"
)

// sqliteRows is how many rows one statement writes: fewer calls of the library are faster, up to about here.
const sqliteRows = 50

type sqlite struct {
	db      *sql.DB
	conn    *sql.Conn   // the only one
	plain   *sqliteForm // nil, like the other: not needed yet
	general *sqliteForm
}

func openSQLite(ctx context.Context, path string, look bool) (session, error) {
	settings := sqliteSettings
	if look {
		settings = sqliteLooks
	}
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)+settings)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(busyLimit); ; {
		conn, err := db.Conn(ctx)
		if err == nil {
			return &sqlite{db: db, conn: conn}, nil
		}
		if !isBusy(err) || time.Now().After(end) {
			db.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(busyPause):
		}
	}
}

// Two that make a new file one with a WAL at the same time are refused without waiting; here they wait.
const (
	busyLimit = 5 * time.Second
	busyPause = 10 * time.Millisecond
)

func isBusy(err error) bool {
	var lite *driver.Error
	return errors.As(err, &lite) && lite.Code()&0xff == 5 // SQLITE_BUSY; the rest of the code says more
}

func (s *sqlite) begin(ctx context.Context) error {
	_, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE") // the lock now: one that is asked for later may be refused without waiting
	return err
}

func (s *sqlite) commit(ctx context.Context) error {
	_, err := s.conn.ExecContext(ctx, "COMMIT")
	return err
}

func (s *sqlite) rollback() {
	_, _ = s.conn.ExecContext(context.Background(), "ROLLBACK") // SQLite may have done it by itself
}

// text writes parameters as SQLite numbers them.
func (s *sqlite) text(text string) string { return strings.ReplaceAll(text, "$", "?") }

func (s *sqlite) exec(ctx context.Context, text string, args ...any) (int64, error) {
	result, err := s.conn.ExecContext(ctx, s.text(text), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (s *sqlite) query(ctx context.Context, text string, args []any, into ...any) error {
	err := s.conn.QueryRowContext(ctx, s.text(text), args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoRow
	}
	return err
}

func (s *sqlite) upsert(ctx context.Context, sink string, stamp int64, rows []Row) error {
	if s.plain == nil {
		plain, err1 := s.prepare(ctx, plainRow(sink))
		general, err2 := s.prepare(ctx, generalRow(sink))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		s.plain, s.general = plain, general
	}
	var plain, general []*Row
	for i := range rows {
		if r := &rows[i]; r.isPlain() {
			plain = append(plain, r)
		} else {
			general = append(general, r)
		}
	}
	if err := s.plain.write(ctx, stamp, plain); err != nil {
		return err
	}
	return s.general.write(ctx, stamp, general)
}

// sqliteForm is a form of rows, and the statements that write them. Most rows are plain: counters without a deadline. They have four
// parameters and not eight, and binding one is as dear as a column of the row: with the general form alone the sink wrote 0.69 of
// the rows that a loop with four parameters writes (bench -only E7).
type sqliteForm struct {
	values string // of a row, with a ? for each parameter
	args   func(r *Row, args []any, stamp int64) []any
	one    *sql.Stmt
	many   *sql.Stmt // writes sqliteRows rows
}

// isPlain reports whether a row fits plainRow.
func (r *Row) isPlain() bool {
	return r.Kind == plainKind && r.Value.Valid && !r.Text.Valid && r.ExpiresAt == 0 && !r.Deleted
}

const plainKind = "counter"

func plainRow(sink string) *sqliteForm {
	return &sqliteForm{
		values: "(?, " + literal(sink) + ", '" + plainKind + "', ?, NULL, ?, NULL, NULL, ?)",
		args: func(r *Row, args []any, stamp int64) []any {
			return append(args, columnText(r.Key), r.Value.Int64, r.Index, stamp)
		},
	}
}

func generalRow(sink string) *sqliteForm {
	return &sqliteForm{values: "(?, " + literal(sink) + ", ?, ?, ?, ?, ?, ?, ?)", args: (*Row).sqliteArgs}
}

// literal is a text as it stands in a statement.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func (s *sqlite) prepare(ctx context.Context, f *sqliteForm) (*sqliteForm, error) {
	var err1, err2 error
	f.one, err1 = s.conn.PrepareContext(ctx, f.upsert(1))
	f.many, err2 = s.conn.PrepareContext(ctx, f.upsert(sqliteRows))
	return f, errors.Join(err1, err2)
}

// upsert is the statement that writes n rows. Its parameters have no numbers, though some are the same for all rows: the driver
// looks up the name of each, which takes half the time of a transaction where there are hundreds with names.
func (f *sqliteForm) upsert(n int) string {
	return "INSERT INTO quipu_counters AS t (key, sink, kind, value, text, idx, expires_at, deleted_at, changed_at) VALUES " +
		strings.Repeat(f.values+", ", n-1) + f.values + onConflict
}

func (f *sqliteForm) write(ctx context.Context, stamp int64, rows []*Row) error {
	var args []any
	for len(rows) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		statement, n := f.one, 1
		if len(rows) >= sqliteRows {
			statement, n = f.many, sqliteRows
		}
		args = args[:0]
		for _, r := range rows[:n] {
			args = f.args(r, args, stamp)
		}
		// With a context that may end, database/sql and the driver would start goroutines for each statement.
		if _, err := statement.ExecContext(context.WithoutCancel(ctx), args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// sqliteArgs are the parameters of generalRow.
func (r *Row) sqliteArgs(args []any, stamp int64) []any {
	args = append(args, columnText(r.Key), r.Kind)
	if r.Value.Valid {
		args = append(args, r.Value.Int64)
	} else {
		args = append(args, nil)
	}
	if r.Text.Valid {
		args = append(args, columnText(r.Text.String))
	} else {
		args = append(args, nil)
	}
	args = append(args, r.Index)
	if r.ExpiresAt != 0 {
		args = append(args, r.ExpiresAt)
	} else {
		args = append(args, nil)
	}
	if r.Deleted {
		return append(args, stamp, stamp)
	}
	return append(args, nil, stamp)
}

func (s *sqlite) schema() *dialect {
	return &dialect{
		suffix: " WITHOUT ROWID",
		now:    `CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)`,
	}
}

func (s *sqlite) columns(ctx context.Context, table string) ([]column, error) {
	rows, err := s.conn.QueryContext(ctx, `SELECT name, lower(type), "notnull", pk FROM pragma_table_info(?1)`, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.kind, &c.notNull, &c.key); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

func (s *sqlite) close() {
	for _, f := range []*sqliteForm{s.plain, s.general} {
		if f != nil {
			f.one.Close()
			f.many.Close()
		}
	}
	s.conn.Close()
	s.db.Close()
}
