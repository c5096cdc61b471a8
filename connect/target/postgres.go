package target

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Times of a connection to PostgreSQL.
const (
	dialLimit     = 5 * time.Second // unless the URL says otherwise
	rollbackLimit = time.Second

	// A transaction of an owner that does not go on, because its process is frozen, is ended by the server, or nobody could take over. Who
	// waits for a lock gives up sooner, and says so.
	sessionSettings = `SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '5s'; SET client_min_messages = warning`
)

type postgres struct {
	conn *pgx.Conn
}

// Check reads the URL of a database, and says what is wrong with it. Nothing is opened.
func Check(url string) error {
	if strings.HasPrefix(url, sqlitePrefix) {
		return nil
	}
	if _, err := pgx.ParseConfig(url); err != nil {
		return &wrongURLError{err}
	}
	return nil
}

func openPostgres(ctx context.Context, url string, look bool) (session, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, &wrongURLError{err}
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = dialLimit
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "quipu-connect"
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p := &postgres{conn}
	settings := sessionSettings
	if look {
		settings += `; SET default_transaction_read_only = on`
	}
	if _, err := conn.Exec(ctx, settings); err != nil {
		p.close()
		return nil, err
	}
	if encoding := conn.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		p.close()
		return nil, &encodingError{encoding}
	}
	return p, nil
}

func (p *postgres) begin(ctx context.Context) error  { return p.simple(ctx, "BEGIN") }
func (p *postgres) commit(ctx context.Context) error { return p.simple(ctx, "COMMIT") }

func (p *postgres) simple(ctx context.Context, text string) error {
	tag, err := p.conn.Exec(ctx, text)
	if err == nil && tag.String() != text { // COMMIT of a transaction that has failed answers ROLLBACK
		err = fmt.Errorf("%s answers %s", text, tag)
	}
	return err
}

func (p *postgres) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackLimit)
	defer cancel()
	_, _ = p.conn.Exec(ctx, "ROLLBACK") // or the connection is closed
}

func (p *postgres) exec(ctx context.Context, text string, args ...any) (int64, error) {
	tag, err := p.conn.Exec(ctx, text, args...)
	return tag.RowsAffected(), err
}

func (p *postgres) query(ctx context.Context, text string, args []any, into ...any) error {
	err := p.conn.QueryRow(ctx, text, args...).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return errNoRow
	}
	return err
}

const postgresUpsert = `INSERT INTO quipu_counters AS t (key, sink, kind, value, text, idx, expires_at, deleted_at, changed_at)
	SELECT r.key, $1, r.kind, r.value, r.text, r.idx, r.expires_at, CASE WHEN r.deleted THEN $2::bigint END, $2::bigint
	FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::boolean[])
		AS r(key, kind, value, text, idx, expires_at, deleted)` + onConflict

func (p *postgres) upsert(ctx context.Context, sink string, stamp int64, rows []Row) error {
	n := len(rows)
	keys, kinds, values, texts := make([]string, n), make([]string, n), make([]pgtype.Int8, n), make([]pgtype.Text, n)
	indexes, deadlines, deleted := make([]int64, n), make([]pgtype.Int8, n), make([]bool, n)
	for i := range rows {
		r := &rows[i]
		keys[i], kinds[i], indexes[i], deleted[i] = columnText(r.Key), r.Kind, r.Index, r.Deleted
		values[i] = pgtype.Int8{Int64: r.Value.Int64, Valid: r.Value.Valid}
		deadlines[i] = pgtype.Int8{Int64: r.ExpiresAt, Valid: r.ExpiresAt != 0}
		if r.Text.Valid {
			texts[i] = pgtype.Text{String: columnText(r.Text.String), Valid: true}
		}
	}
	_, err := p.conn.Exec(ctx, postgresUpsert, sink, stamp, keys, kinds, values, texts, indexes, deadlines, deleted)
	return err
}

func (p *postgres) schema() *dialect {
	return &dialect{
		lock:    `SELECT pg_advisory_xact_lock(8171530941)`, // a number of our own
		collate: ` COLLATE "C"`,
		suffix:  ` WITH (fillfactor = 70)`, // rows change often: with room beside them their index entries need not
		now:     `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`,
	}
}

func (p *postgres) columns(ctx context.Context, table string) ([]column, error) {
	rows, err := p.conn.Query(ctx, `SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
			coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)
		FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
		WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, table)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c column, err error) {
		err = row.Scan(&c.name, &c.kind, &c.notNull, &c.key)
		return c, err
	})
}

func (p *postgres) close() {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackLimit)
	defer cancel()
	_ = p.conn.Close(ctx)
}
