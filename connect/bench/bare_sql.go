package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver of database/sql
)

// What the loop without a sink writes: as many rows in a transaction, as many in a statement, and the same columns, but neither versions
// are compared, nor is there a watermark, a feed, or an owner.
const (
	bareTransaction = 10_000
	bareStatement   = 5000 // PostgreSQL
	bareSmall       = 50   // SQLite
	bareConflict    = ` ON CONFLICT (key, sink) DO UPDATE SET kind = excluded.kind, value = excluded.value, idx = excluded.idx, changed_at = excluded.changed_at`
	bareColumns     = `(key text NOT NULL, sink text NOT NULL, kind text NOT NULL, value bigint, text text, idx bigint NOT NULL, expires_at bigint,
		deleted_at bigint, changed_at bigint NOT NULL, PRIMARY KEY (key, sink))`
)

// bareSQL writes the rows first to last-1, sorted by key in each transaction, into the table bare.
func bareSQL(ctx context.Context, url string, last int, value int64) error {
	write := barePostgres
	if strings.HasPrefix(url, "sqlite:") {
		write = bareSQLite
	}
	return write(ctx, url, func(yield func(keys []string) error) error {
		for from := 0; from < last; from += bareTransaction {
			var keys []string
			for i := from; i < min(from+bareTransaction, last); i++ {
				keys = append(keys, sinkKey(i))
			}
			slices.Sort(keys)
			if err := yield(keys); err != nil {
				return err
			}
		}
		return nil
	}, value)
}

// batches calls yield with the keys of each transaction.
type batches func(yield func(keys []string) error) error

func barePostgres(ctx context.Context, url string, all batches, value int64) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	columns := strings.Replace(bareColumns, "key text", `key text COLLATE "C"`, 1)
	if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS bare "+columns+" WITH (fillfactor = 70)"); err != nil {
		return err
	}
	return all(func(keys []string) error {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(keys, bareStatement) {
			values := make([]int64, len(some))
			for i := range values {
				values[i] = value
			}
			if _, err := tx.Exec(ctx, `INSERT INTO bare (key, sink, kind, value, idx, changed_at)
				SELECT r.key, 'totals', 'counter', r.value, $3, $3 FROM unnest($1::text[], $2::bigint[]) AS r(key, value)`+bareConflict,
				some, values, value); err != nil {
				return err
			}
		}
		return tx.Commit(ctx)
	})
}

func bareSQLite(ctx context.Context, url string, all batches, value int64) error {
	db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(url, "sqlite:")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS bare "+bareColumns+" WITHOUT ROWID"); err != nil {
		return err
	}
	rows := strings.TrimSuffix(strings.Repeat("(?, 'totals', 'counter', ?, ?, ?), ", bareSmall), ", ")
	statement, err := conn.PrepareContext(ctx, "INSERT INTO bare (key, sink, kind, value, idx, changed_at) VALUES "+rows+bareConflict)
	if err != nil {
		return err
	}
	defer statement.Close()
	return all(func(keys []string) error {
		if len(keys)%bareSmall != 0 {
			return fmt.Errorf("%d rows do not fill statements of %d", len(keys), bareSmall)
		}
		if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		for some := range slices.Chunk(keys, bareSmall) {
			args := make([]any, 0, 4*bareSmall)
			for _, key := range some {
				args = append(args, key, value, value, value)
			}
			if _, err := statement.ExecContext(context.WithoutCancel(ctx), args...); err != nil {
				return err
			}
		}
		_, err := conn.ExecContext(ctx, "COMMIT")
		return err
	})
}

// sinkKey is one of the keys that are written.
func sinkKey(i int) string { return "likes:p" + strconv.Itoa(10_000_000+i) }
