package sink

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quipu/connect/config"
	"quipu/connect/internal/testbed"
	"quipu/connect/quipu"
	"quipu/connect/target"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// bed is a database; what is written into it comes from the nodes that New is called with.
type bed struct {
	*testing.T
	url string
}

// sqliteBed is a new file.
func sqliteBed(t *testing.T) *bed {
	return &bed{t, "sqlite:" + filepath.Join(t.TempDir(), "likes.db")}
}

// newSink is one that can be run; more are lines of its block.
func (b *bed) newSink(addrs []string, more string) *Sink { return b.newSinkAt(b.url, addrs, more) }

func (b *bed) newSinkAt(url string, addrs []string, more string) *Sink {
	b.Helper()
	text := fmt.Sprintf("quipu %s\nsink totals\n  sql %s\n  every 50ms\n%s", strings.Join(addrs, " "), url, more)
	cfg, err := config.Parse("test.conf", []byte(text))
	if err != nil {
		b.Fatal(err)
	}
	client := quipu.New(cfg.Quipu.Nodes, quipu.Access{})
	b.Cleanup(client.Close)
	return New(cfg.Sinks[0], client, NewReport("totals", slog.New(slog.NewTextHandler(b.Output(), nil)), nil))
}

// run runs a sink until the test ends or stop is called.
func (b *bed) run(s *Sink) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	b.Cleanup(stop)
	return stop
}

const patience = 30 * time.Second

// await waits until a sink is as wanted.
func (b *bed) await(s *Sink, what string, wanted func(s Snapshot) bool) Snapshot {
	b.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		now := s.Report.Snapshot()
		if wanted(now) {
			return now
		}
		if time.Now().After(end) {
			b.Fatalf("not %s after %v: %+v", what, patience, now)
		}
	}
}

func (b *bed) awaitState(s *Sink, state State) Snapshot {
	b.Helper()
	return b.await(s, string(state), func(s Snapshot) bool { return s.State == state })
}

// adopt is what the command of that name does.
func (b *bed) adopt() {
	b.Helper()
	db, err := target.Open(context.Background(), b.url, "totals")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := db.Adopt(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// live are the rows that are no tombstones: "value deadline".
func (b *bed) live() (map[string]string, error) {
	found := map[string]string{}
	err := b.query(`SELECT key, coalesce(cast(value AS text), text, ''), coalesce(expires_at, 0) FROM quipu_counters WHERE sink = 'totals' AND deleted_at IS NULL`,
		func(scan func(into ...any) error) error {
			var key, value string
			var deadline int64
			err := scan(&key, &value, &deadline)
			found[key] = fmt.Sprintf("%s %d", value, deadline)
			return err
		})
	return found, err
}

// query reads rows over a connection of its own.
func (b *bed) query(text string, each func(scan func(into ...any) error) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if path, ok := strings.CutPrefix(b.url, "sqlite:"); ok {
		db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
		if err != nil {
			return err
		}
		defer db.Close()
		rows, err := db.QueryContext(ctx, text)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	}
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// exec changes the database behind the sink's back.
func (b *bed) exec(statements ...string) {
	b.Helper()
	ctx := context.Background()
	path, ok := strings.CutPrefix(b.url, "sqlite:")
	if !ok {
		conn, err := pgx.Connect(ctx, b.url)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, strings.Join(statements, ";")); err != nil { // one transaction
			b.Fatal(err)
		}
		return
	}
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, text := range statements {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			b.Fatalf("%s: %v", text, err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
}

// execAlone executes a statement that cannot be part of a transaction.
func (b *bed) execAlone(text string) {
	b.Helper()
	if err := b.query(text, func(func(into ...any) error) error { return nil }); err != nil {
		b.Fatalf("%s: %v", text, err)
	}
}

// free reports whether nobody is inside of a transaction that writes into a file of SQLite.
func (b *bed) free() bool {
	db, err := sql.Open("sqlite", strings.TrimPrefix(b.url, "sqlite:")+"?_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err == nil {
		err = tx.Rollback()
	}
	return err == nil
}

// watermark is the row of the sink.
func (b *bed) watermark() target.Watermark {
	b.Helper()
	w, err := b.look()
	if err != nil {
		b.Fatal(err)
	}
	return w
}

func (b *bed) look() (w target.Watermark, err error) {
	db, err := target.OpenToLook(context.Background(), b.url, "totals")
	if err != nil {
		return w, err
	}
	defer db.Close()
	w, _, err = db.Watermark(context.Background())
	return w, err
}

// awaitWatermark waits until all keys have been read once.
func (b *bed) awaitWatermark() target.Watermark {
	b.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		w, err := b.look()
		if err == nil && w.Cursor != "" {
			return w
		}
		if time.Now().After(end) {
			b.Fatalf("no watermark after %v: %+v, %v", patience, w, err)
		}
	}
}

// awaitRows waits until the live rows are as wanted.
func (b *bed) awaitRows(want map[string]string) {
	b.Helper()
	var got map[string]string
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got, err = b.live(); err == nil && maps.Equal(got, want) {
			return
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	shown := 0
	for _, key := range sortedKeys(merged(got, want)) {
		if got[key] != want[key] {
			if shown++; shown <= 10 {
				b.Errorf("%s is %q, want %q", key, got[key], want[key])
			}
		}
	}
	b.Fatalf("%d of %d rows differ; the watermark is %+v", shown, len(want), b.watermark())
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// cutter stands between a sink and PostgreSQL, and cuts connections at their COMMIT.
type cutter struct {
	addr       string
	before     chan struct{} // takes one: cut before COMMIT gets there
	after      chan struct{} // takes one: cut when COMMIT is answered
	committing func()        // told of each COMMIT that has got there; nil: nobody is
}

func newCutter(t *testing.T, server string) *cutter {
	c := &cutter{before: make(chan struct{}, 1), after: make(chan struct{}, 1)}
	commits := func(sent []byte) bool { return strings.Contains(string(sent), "COMMIT\x00") }
	c.addr = testbed.Relay(t, server, func() testbed.Traffic {
		lose := make(chan struct{}, 1)
		return testbed.Traffic{
			Request: func(sent []byte) bool {
				if commits(sent) {
					if taken(c.before) {
						return false
					}
					if taken(c.after) {
						lose <- struct{}{}
					}
				}
				return true
			},
			Passed: func(sent []byte) {
				if commits(sent) && c.committing != nil {
					c.committing()
				}
			},
			Answer: func([]byte) bool { return !taken(lose) },
		}
	})
	return c
}

func taken(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
