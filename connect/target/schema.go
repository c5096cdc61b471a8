package target

import (
	"context"
	"fmt"
	"strings"
)

// column is one of a table, as we create it and as a database describes it.
type column struct {
	name    string
	kind    string // text or bigint, in both databases
	notNull bool
	key     int // its place in the primary key; 0: it is not in it
}

type table struct {
	name    string
	columns []column
}

var tables = []table{
	{"quipu_sink", []column{
		{"sink", "text", true, 1},
		{"incarnation", "text", true, 0},
		{"generation", "bigint", true, 0},
		{"beat", "bigint", true, 0},
		{"owner", "text", true, 0},
		{"pattern", "text", true, 0},
		{"cursor", "text", true, 0},
		{"idx", "bigint", true, 0},
		{"stamp", "bigint", true, 0},
		{"stopped", "text", true, 0},
	}},
	// Each sink has rows of its own: so it can tell which are gone without matching patterns in SQL, and sinks of different clusters
	// may share a database. The key comes first, because it is what people look for.
	{"quipu_counters", []column{
		{"key", "text", true, 1},
		{"sink", "text", true, 2},
		{"kind", "text", true, 0},
		{"value", "bigint", false, 0},
		{"text", "text", false, 0},
		{"idx", "bigint", true, 0},
		{"expires_at", "bigint", false, 0},
		{"deleted_at", "bigint", false, 0},
		{"changed_at", "bigint", true, 0},
	}},
}

// dialect is how a database creates what a sink needs.
type dialect struct {
	lock    string // makes another one that creates the same wait; "": begin does
	collate string // of keys: in the order of their bytes
	suffix  string // of CREATE TABLE
	now     string // the database's clock, ms since 1970
}

const (
	viewName = "quipu_current"
	index    = `CREATE INDEX IF NOT EXISTS quipu_counters_expires ON quipu_counters (sink, expires_at) WHERE expires_at IS NOT NULL AND deleted_at IS NULL`
	view     = `CREATE VIEW quipu_current AS SELECT key, kind, value, text, expires_at, changed_at, sink FROM quipu_counters
	WHERE deleted_at IS NULL AND (expires_at IS NULL OR expires_at > `
)

func (t *table) create(d *dialect) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (", t.name)
	var key []string
	for _, c := range t.columns {
		b.WriteString(c.name + " " + c.kind)
		if c.kind == "text" && c.key > 0 {
			b.WriteString(d.collate)
		}
		if c.notNull {
			b.WriteString(" NOT NULL")
		}
		b.WriteString(", ")
		if c.key > 0 {
			key = append(key, c.name)
		}
	}
	fmt.Fprintf(&b, "PRIMARY KEY (%s))%s", strings.Join(key, ", "), d.suffix)
	return b.String()
}

// SchemaError is a table of our name that is not ours.
type SchemaError struct {
	Table  string
	Differ []string
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("table %s is not as quipu-connect creates it: %s", e.Table, strings.Join(e.Differ, "; "))
}

// prepare creates what is missing, and the row of the sink. Where everything is there it needs no more rights than to write rows.
func (d *DB) prepare(ctx context.Context) error {
	missing, err := d.check(ctx)
	if err == nil && missing {
		if err = d.create(ctx); err == nil {
			_, err = d.check(ctx)
		}
	}
	if err != nil {
		return err
	}
	_, err = d.s.exec(ctx, `INSERT INTO quipu_sink (sink, incarnation, generation, beat, owner, pattern, cursor, idx, stamp, stopped)
		VALUES ($1, '', 0, 0, '', '', '', 0, 0, '') ON CONFLICT (sink) DO NOTHING`, d.sink)
	return err
}

// check compares the tables with ours, and tells whether one, or the view, is missing.
func (d *DB) check(ctx context.Context) (missing bool, err error) {
	for i := range tables {
		t := &tables[i]
		is, err := d.s.columns(ctx, t.name)
		if err != nil {
			return false, err
		}
		if len(is) == 0 {
			missing = true
			continue
		}
		if differ := t.compare(is); len(differ) > 0 {
			return false, &SchemaError{t.name, differ}
		}
	}
	is, err := d.s.columns(ctx, viewName)
	return missing || len(is) == 0, err
}

func (t *table) compare(is []column) (differ []string) {
	found := map[string]column{}
	for _, c := range is {
		found[c.name] = c
	}
	for _, want := range t.columns {
		c, ok := found[want.name]
		delete(found, want.name)
		switch {
		case !ok:
			differ = append(differ, "column "+want.name+" is missing")
		case c.kind != want.kind:
			differ = append(differ, fmt.Sprintf("column %s has type %s, not %s", c.name, c.kind, want.kind))
		case c.notNull != want.notNull:
			differ = append(differ, fmt.Sprintf("column %s is NOT NULL: %t, not %t", c.name, c.notNull, want.notNull))
		case c.key != want.key:
			differ = append(differ, fmt.Sprintf("column %s has place %d in the primary key, not %d (0: none)", c.name, c.key, want.key))
		}
	}
	for _, c := range is {
		if _, more := found[c.name]; more {
			differ = append(differ, "column "+c.name+" is not ours")
		}
	}
	return differ
}

func (d *DB) create(ctx context.Context) error {
	dialect := d.s.schema()
	if err := d.s.begin(ctx); err != nil {
		return err
	}
	var list []string
	if dialect.lock != "" {
		list = append(list, dialect.lock)
	}
	for i := range tables {
		list = append(list, tables[i].create(dialect))
	}
	list = append(list, index)
	for _, text := range list {
		if _, err := d.s.exec(ctx, text); err != nil {
			d.s.rollback()
			return err
		}
	}
	is, err := d.s.columns(ctx, viewName)
	if err == nil && len(is) == 0 {
		_, err = d.s.exec(ctx, view+dialect.now+")")
	}
	if err != nil {
		d.s.rollback()
		return err
	}
	return d.s.commit(ctx)
}
