package target

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"quipu/connect/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// tests are those that both databases have to pass, each in a new database.
var tests = []struct {
	name string
	run  func(t *testing.T, url string)
}{
	{"rows", testRows}, {"many rows", testManyRows}, {"versions", testVersions}, {"tombstones", testTombstones}, {"moved", testMoved},
	{"generation", testGeneration}, {"adopt", testAdopt}, {"view", testView}, {"schema", testSchema}, {"created at once", testCreatedAtOnce},
	{"look", testLook},
}

func TestSQLite(t *testing.T) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, "sqlite:"+filepath.Join(t.TempDir(), "a b%3f#.db")) })
	}
}

func TestPostgres(t *testing.T) {
	server := testbed.StartPostgres(t)
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, server.CreateDatabase(t, fmt.Sprintf("test%d", i), "")) })
	}
}

func open(t *testing.T, url, sink string) *DB {
	t.Helper()
	d, err := Open(t.Context(), url, sink)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// own opens a database and takes the sink over.
func own(t *testing.T, url, sink, owner string) (*DB, Watermark) {
	t.Helper()
	d := open(t, url, sink)
	seen, found, err := d.Watermark(t.Context())
	if err != nil || !found {
		t.Fatalf("no watermark: %v", err)
	}
	w, err := d.TakeOver(t.Context(), seen, owner)
	if err != nil {
		t.Fatal(err)
	}
	return d, w
}

func counter(key string, value, index int64) Row {
	return Row{Key: key, Kind: "counter", Value: sql.NullInt64{Int64: value, Valid: true}, Index: index}
}

// write moves the watermark to an index.
func write(t *testing.T, d *DB, at Watermark, index int64, c *Change) Watermark {
	t.Helper()
	next := at
	next.Incarnation, next.Cursor, next.Index, next.Stamp = "i", fmt.Sprintf("i:%d", index), index, c.Stamp
	w, err := d.Write(t.Context(), at, next, c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// line is what there is of a key: "kind value text idx expires deleted changed", - for NULL.
func line(t *testing.T, d *DB, key string) string {
	t.Helper()
	var kind string
	var index, changed int64
	var value, expires, deleted sql.NullInt64
	var text sql.NullString
	err := d.s.query(t.Context(), `SELECT kind, value, text, idx, expires_at, deleted_at, changed_at FROM quipu_counters WHERE key = $1 AND sink = $2`,
		[]any{key, d.sink}, &kind, &value, &text, &index, &expires, &deleted, &changed)
	if errors.Is(err, errNoRow) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	number := func(n sql.NullInt64) string {
		if !n.Valid {
			return "-"
		}
		return fmt.Sprint(n.Int64)
	}
	if !text.Valid {
		text.String = "-"
	}
	return fmt.Sprintf("%s %s %s %d %s %s %d", kind, number(value), text.String, index, number(expires), number(deleted), changed)
}

func expectLines(t *testing.T, d *DB, want map[string]string) {
	t.Helper()
	for key, w := range want {
		if got := line(t, d, key); got != w {
			t.Errorf("%s is %q, want %q", key, got, w)
		}
	}
}

// testRows: rows come out as they were written, and texts of any bytes stay apart.
func testRows(t *testing.T, url string) {
	d, w := own(t, url, "s", "me")
	long := strings.Repeat("k", longKey+1)
	text := func(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }
	w = write(t, d, w, 9, &Change{Stamp: 1000, Rows: []Row{
		counter("b", -5, 7),
		{Key: "a", Kind: "string", Text: text("x\x00"), Index: 8, ExpiresAt: 2000},
		{Key: "\xff", Kind: "topk", Index: 3},
		{Key: `\xff`, Kind: "none", Index: 3, Deleted: true},
		{Key: long, Kind: "hll", Value: sql.NullInt64{Int64: 1 << 62, Valid: true}, Index: 9},
		{Key: "", Kind: "string", Text: text("ü\\"), Index: 9},
	}})
	expectLines(t, d, map[string]string{
		"b": "counter -5 - 7 - - 1000", "a": `string - \x7800 8 2000 - 1000`, `\xff`: "topk - - 3 - - 1000",
		`\x5c786666`: "none - - 3 - 1000 1000", columnText(long): "hll 4611686018427387904 - 9 - - 1000", "": `string - ü\ 9 - - 1000`,
	})
	stored, found, err := d.Watermark(t.Context())
	if err != nil || !found || !reflect.DeepEqual(stored, w) {
		t.Errorf("the watermark is %+v, %v, want %+v", stored, err, w)
	}
	if n, err := d.HighestIndex(t.Context()); n != 9 || err != nil {
		t.Errorf("the highest index is %d, %v", n, err)
	}
	other, _ := own(t, url, "other", "me")
	if n, err := other.HighestIndex(t.Context()); n != 0 || err != nil {
		t.Errorf("the highest index of another sink is %d, %v", n, err)
	}
}

// testManyRows: more rows than a statement takes, and the same ones again.
func testManyRows(t *testing.T, url string) {
	d, w := own(t, url, "s", "me")
	for round := int64(1); round <= 2; round++ {
		c := &Change{Stamp: round}
		for i := range int64(Batch + 77) {
			c.Rows = append(c.Rows, counter(fmt.Sprintf("k%d", (i*7919)%(Batch+77)), i*round, round))
		}
		w = write(t, d, w, round, c)
	}
	var n, sum int64
	if err := d.s.query(t.Context(), `SELECT count(*), cast(sum(value) AS bigint) FROM quipu_current WHERE sink = $1`, []any{"s"}, &n, &sum); err != nil {
		t.Fatal(err)
	}
	if want := int64(Batch+76) * (Batch + 77); n != Batch+77 || sum != want {
		t.Errorf("%d rows with the sum %d, want %d with %d", n, sum, Batch+77, want)
	}
}

// testVersions: of two rows of a key the one with the higher index stays, whichever comes first.
func testVersions(t *testing.T, url string) {
	d, w := own(t, url, "s", "me")
	w = write(t, d, w, 1, &Change{Stamp: 1, Rows: []Row{counter("a", 10, 10), {Key: "gone", Kind: "none", Deleted: true, Index: 10}}})
	w = write(t, d, w, 2, &Change{Stamp: 2, Rows: []Row{counter("a", 5, 5), counter("gone", 5, 5)}})
	expectLines(t, d, map[string]string{"a": "counter 10 - 10 - - 1", "gone": "none - - 10 - 1 1"})
	w = write(t, d, w, 3, &Change{Stamp: 3, Rows: []Row{counter("a", 11, 11), counter("gone", 1, 12)}})
	expectLines(t, d, map[string]string{"a": "counter 11 - 11 - - 3", "gone": "counter 1 - 12 - - 3"})
}

// testTombstones: rows below an index, and rows whose deadline has passed, of this sink only.
func testTombstones(t *testing.T, url string) {
	d, w := own(t, url, "s", "me")
	other, v := own(t, url, "other", "me")
	mortal := counter("mortal", 4, 4)
	mortal.ExpiresAt = 50
	rows := []Row{counter("old", 1, 1), counter("new", 2, 5), mortal}
	w = write(t, d, w, 5, &Change{Stamp: 10, Rows: rows})
	write(t, other, v, 5, &Change{Stamp: 10, Rows: rows})
	w = write(t, d, w, 6, &Change{Stamp: 49, Gone: 3, Rows: []Row{counter("back", 3, 4)}})
	expectLines(t, d, map[string]string{"old": "none - - 3 - 49 49", "new": "counter 2 - 5 - - 10", "mortal": "counter 4 - 4 50 - 10", "back": "counter 3 - 4 - - 49"})
	w = write(t, d, w, 7, &Change{Stamp: 50})
	expectLines(t, d, map[string]string{"mortal": "none - - 4 50 50 50"})
	expectLines(t, other, map[string]string{"old": "counter 1 - 1 - - 10", "mortal": "counter 4 - 4 50 - 10"})
	write(t, d, w, 8, &Change{Stamp: 60, Rows: []Row{counter("mortal", 1, 8)}})
	expectLines(t, d, map[string]string{"mortal": "counter 1 - 8 - - 60"})
}

// testMoved: a transaction from another watermark changes nothing, though its generation is right.
func testMoved(t *testing.T, url string) {
	d, w := own(t, url, "s", "me")
	first := write(t, d, w, 1, &Change{Stamp: 1, Rows: []Row{counter("a", 1, 1)}})
	if _, err := d.Write(t.Context(), w, first, &Change{Stamp: 2, Rows: []Row{counter("a", 2, 2)}}); !errors.Is(err, ErrMoved) {
		t.Errorf("a transaction from an old cursor: %v", err)
	}
	expectLines(t, d, map[string]string{"a": "counter 1 - 1 - - 1"})
	write(t, d, first, 3, &Change{Stamp: 3, Rows: []Row{counter("a", 3, 3)}})
}

// testGeneration: who has lost the sink can do nothing any more, though the cursor is where it was.
func testGeneration(t *testing.T, url string) {
	zombie, old := own(t, url, "s", "zombie")
	old = write(t, zombie, old, 1, &Change{Stamp: 1, Rows: []Row{counter("a", 1, 1)}})
	d, w := own(t, url, "s", "me")
	if w.Generation != old.Generation+1 || w.Cursor != old.Cursor {
		t.Fatalf("taken over at %+v, behind %+v", w, old)
	}
	next := old
	next.Cursor, next.Index = "i:2", 2
	if _, err := zombie.Write(t.Context(), old, next, &Change{Stamp: 2, Rows: []Row{counter("a", 2, 2)}}); !errors.Is(err, ErrMoved) {
		t.Errorf("a zombie writes: %v", err)
	}
	for name, err := range map[string]error{
		"Release":  zombie.Release(t.Context(), old),
		"TakeOver": second(zombie.TakeOver(t.Context(), old, "zombie")),
		"Stop":     second(zombie.Stop(t.Context(), old, "because")),
	} {
		if !errors.Is(err, ErrMoved) {
			t.Errorf("%s by a zombie: %v", name, err)
		}
	}
	write(t, d, w, 3, &Change{Stamp: 3})
	expectLines(t, d, map[string]string{"a": "counter 1 - 1 - - 1"})
}

func second(_ Watermark, err error) error { return err }

// testAdopt: the sink is without a watermark and without an owner, and rows of any index replace those that are there.
func testAdopt(t *testing.T, url string) {
	d, w := own(t, url, "s", "me")
	w = write(t, d, w, 1000, &Change{Stamp: 1, Rows: []Row{counter("a", 1, 1000), counter("b", 1, 1000)}})
	if _, err := d.Stop(t.Context(), w, "because"); err != nil {
		t.Fatal(err)
	}
	if err := open(t, url, "s").Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write(t.Context(), w, w, &Change{}); !errors.Is(err, ErrMoved) {
		t.Errorf("the owner of before writes: %v", err)
	}
	d, w = own(t, url, "s", "me")
	if w.Cursor != "" || w.Incarnation != "" || w.Index != 0 || w.Stopped != "" {
		t.Errorf("adopted: %+v", w)
	}
	expectLines(t, d, map[string]string{"a": "counter 1 - 0 - - 1"})
	write(t, d, w, 5, &Change{Stamp: 2, Gone: 0, Rows: []Row{counter("a", 7, 3)}})
	expectLines(t, d, map[string]string{"a": "counter 7 - 3 - - 2", "b": "counter 1 - 0 - - 1"})
}

// testView: what is deleted, or past its deadline by the database's clock, is not there.
func testView(t *testing.T, url string) {
	d, w := own(t, url, "s", "me")
	over, later := counter("over", 1, 1), counter("later", 1, 1)
	over.ExpiresAt, later.ExpiresAt = 1_000_000_000_000, 100_000_000_000_000
	write(t, d, w, 1, &Change{Stamp: 5, Rows: []Row{counter("a", 1, 1), over, later, {Key: "none", Kind: "none", Deleted: true, Index: 1}}})
	for key, want := range map[string]int{"a": 1, "later": 1, "over": 0, "none": 0} {
		var n int
		if err := d.s.query(t.Context(), `SELECT count(*) FROM quipu_current WHERE key = $1`, []any{key}, &n); err != nil || n != want {
			t.Errorf("%s is there %d times, %v, want %d", key, n, err, want)
		}
	}
}

// testSchema: a table of our name that is another one is refused, with what differs.
func testSchema(t *testing.T, url string) {
	d := open(t, url, "s")
	for _, text := range []string{
		`DROP VIEW quipu_current`, `ALTER TABLE quipu_counters DROP COLUMN text`, `ALTER TABLE quipu_counters ADD COLUMN more bigint`,
		`ALTER TABLE quipu_counters RENAME COLUMN value TO total`,
	} {
		if _, err := d.s.exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Open(t.Context(), url, "s")
	want := "table quipu_counters is not as quipu-connect creates it: column value is missing; column text is missing; column total is not ours; column more is not ours"
	var schema *SchemaError
	if !errors.As(err, &schema) || err.Error() != want || Advice(err) == "" {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// testCreatedAtOnce: several that open an empty database at the same time.
func testCreatedAtOnce(t *testing.T, url string) {
	errs := make(chan error)
	for i := range 8 {
		go func() {
			d, err := Open(context.Background(), url, fmt.Sprint(i%2))
			if err == nil {
				d.Close()
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestAdvice: errors that do not go away come with what to do; others do not.
func TestAdvice(t *testing.T) {
	server := testbed.StartPostgres(t)
	server.Exec(t, "postgres", "CREATE USER weak")
	weak := strings.Replace(server.CreateDatabase(t, "mine", ""), "postgres@", "weak@", 1)
	server.Exec(t, "postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"sqlite:/nonexistent/a.db": "folder",
		"sqlite:" + garbage:        "no database",
		server.URL("nowhere"):      "create the database",
		weak:                       "rights",
		server.URL("latin"):        "createdb",
		"postgres://127.0.0.1:x/":  "URL",
		"postgres://postgres@127.0.0.1:1/postgres": "",
	} {
		_, err := Open(t.Context(), url, "s")
		if err == nil || !strings.Contains(Advice(err), want) || want == "" && Advice(err) != "" {
			t.Errorf("%s: %v; advice %q, want %q", url, err, Advice(err), want)
		}
	}
}

// testLook: who looks changes nothing, and creates nothing.
func testLook(t *testing.T, url string) {
	_, w := own(t, url, "s", "me")
	d, err := OpenToLook(t.Context(), url, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if seen, found, err := d.Watermark(t.Context()); seen != w || !found || err != nil {
		t.Errorf("seen %+v, %v, want %+v", seen, err, w)
	}
	if err := d.Release(t.Context(), w); err == nil || errors.Is(err, ErrMoved) {
		t.Errorf("a change by one who looks: %v", err)
	}
}

// TestLookAtNothing: looking at a file that is not there does not create it.
func TestLookAtNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.db")
	if d, err := OpenToLook(t.Context(), "sqlite:"+path, "s"); err == nil {
		d.Close()
		t.Error("a database that is not there was opened")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("looking has created a file")
	}
}
