package watch

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Window is how many seconds the chart shows.
const Window = 60

const (
	sqlPause   = 200 * time.Millisecond
	sqlLimit   = 5 * time.Second
	chartEvery = time.Second
)

// SQL reads the database that the sink writes, as any other program could: read-only, by its view of what is there now.
type SQL struct {
	path string

	mu    sync.Mutex
	total int64
	chart Chart
}

// Chart is the likes of the last seconds, by when they happened.
type Chart struct {
	To     int64         `json:"to"` // the second behind the last one, in Unix seconds
	Values [Window]int64 `json:"values"`
}

// NewSQL is of the database at path, which need not exist yet.
func NewSQL(path string) *SQL { return &SQL{path: path} }

// Total is the sum of all posts' likes in the database.
func (s *SQL) Total() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Chart is that of a moment ago.
func (s *SQL) Chart() Chart {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chart
}

// Run looks at the database until ctx ends.
func (s *SQL) Run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = s.watch(ctx) // not there yet, or busy for long
		select {
		case <-ctx.Done():
		case <-time.After(sqlPause):
		}
	}
}

func (s *SQL) open() (*sql.DB, error) {
	if _, err := os.Stat(s.path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(s.path)+"?mode=ro&_pragma=busy_timeout(2000)")
	if err == nil {
		db.SetMaxOpenConns(1) // data_version is a connection's
	}
	return db, err
}

// watch reads whenever another program has changed the database.
func (s *SQL) watch(ctx context.Context) error {
	db, err := s.open()
	if err != nil {
		return err
	}
	defer db.Close()
	version, charted := int64(-1), time.Time{}
	for {
		limited, cancel := context.WithTimeout(ctx, sqlLimit)
		now := int64(0)
		err := db.QueryRowContext(limited, "PRAGMA data_version").Scan(&now)
		if err == nil && now != version {
			err = s.readTotal(limited, db)
			version = now
		}
		if err == nil && time.Since(charted) >= chartEvery {
			err = s.readChart(limited, db)
			charted = time.Now()
		}
		cancel()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sqlPause):
		}
	}
}

// The counters of posts are likes:p1 to likes:p1000; those of seconds likes:at:2026-11-29T10:05:07.
const (
	totalQuery = `SELECT coalesce(sum(value), 0) FROM quipu_current WHERE key >= 'likes:p' AND key < 'likes:q'`
	postsQuery = `SELECT substr(key, 8), value FROM quipu_current WHERE key >= 'likes:p' AND key < 'likes:q'`
	chartQuery = `SELECT substr(key, 10), value FROM quipu_current WHERE key >= 'likes:at:' || ? AND key < 'likes:at:' || ?`
	secondForm = "2006-01-02T15:04:05"
)

func (s *SQL) readTotal(ctx context.Context, db *sql.DB) error {
	total := int64(0)
	if err := db.QueryRowContext(ctx, totalQuery).Scan(&total); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total = total
	return nil
}

func (s *SQL) readChart(ctx context.Context, db *sql.DB) error {
	to := time.Now().UTC().Truncate(time.Second)
	from := to.Add(-Window * time.Second)
	chart := Chart{To: to.Unix()}
	rows, err := db.QueryContext(ctx, chartQuery, from.Format(secondForm), to.Format(secondForm))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var second string
		var likes int64
		if err := rows.Scan(&second, &likes); err != nil {
			return err
		}
		at, err := time.Parse(secondForm, second)
		if err != nil {
			return fmt.Errorf("the key of a second: %w", err)
		}
		if i := int(at.Sub(from) / time.Second); i >= 0 && i < Window {
			chart.Values[i] = likes
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chart = chart
	return nil
}

// Posts reads the likes of each post.
func (s *SQL) Posts(ctx context.Context) (_ map[string]int64, err error) {
	db, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, postsQuery)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	posts := map[string]int64{}
	for rows.Next() {
		var name string
		var likes int64
		if err := rows.Scan(&name, &likes); err != nil {
			return nil, err
		}
		posts[name] = likes
	}
	return posts, rows.Err()
}
