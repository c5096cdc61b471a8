package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	driver "modernc.org/sqlite"
)

// wrongURLError is a URL that cannot be read. It does not contain the password: pgx leaves it out.
type wrongURLError struct{ err error }

func (e *wrongURLError) Error() string { return "the URL of the database: " + e.err.Error() }
func (e *wrongURLError) Unwrap() error { return e.err }

// encodingError is a database that cannot hold all keys.
type encodingError struct{ encoding string }

func (e *encodingError) Error() string {
	return fmt.Sprintf("the database has the encoding %s, and keys need UTF8", e.encoding)
}

// What to do about errors that do not go away by themselves, by the codes of the databases.
var (
	postgresAdvice = []struct{ advice, codes string }{
		{"look at user and password in the URL, and at pg_hba.conf", "28P01 28000"},
		{"create the database: createdb NAME", "3D000"},
		{"give the user its rights: GRANT SELECT, INSERT, UPDATE ON quipu_sink, quipu_counters TO …, and CREATE on the schema, " +
			"or create the tables as another user", "42501 3F000"},
		{"drop or rename what has the name", "42P07 42809 42P10"},
	}
	sqliteAdvice = []struct {
		advice string
		codes  []int
	}{
		{"the folder has to exist, and the file and its folder have to be writable", []int{3, 8, 14, 23}}, // PERM READONLY CANTOPEN AUTH
		{"the file is no database of SQLite, or is damaged: restore it, or name another one", []int{11, 26}},
	}
)

// Advice is what a person has to do about an error that does not go away by itself; "" for all others.
func Advice(err error) string {
	var schema *SchemaError
	var url *wrongURLError
	var encoding *encodingError
	switch {
	case errors.As(err, &schema):
		return "rename or drop the table, and quipu-connect creates it and fills it from Quipu"
	case errors.As(err, &url):
		return "correct the URL"
	case errors.As(err, &encoding):
		return "create one with it: createdb -E UTF8 -T template0 NAME"
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		for _, a := range postgresAdvice {
			if strings.Contains(a.codes, pg.Code) {
				return a.advice
			}
		}
	}
	var lite *driver.Error
	if errors.As(err, &lite) {
		for _, a := range sqliteAdvice {
			if slices.Contains(a.codes, lite.Code()&0xff) { // the rest of the code says more about the same
				return a.advice
			}
		}
	}
	return ""
}
