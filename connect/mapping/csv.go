package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// readCSV splits a record at its commas, as RFC 4180 has it; columns are the nodes of the columns, -1 where a column is
// not needed.
func (f *fields) readCSV(rec []byte, columns []int32) error {
	if len(rec) > MaxRecord {
		return fmt.Errorf("the record has %d bytes; %d are the limit", len(rec), MaxRecord)
	}
	rec = bytes.TrimSuffix(bytes.TrimSuffix(rec, []byte("\n")), []byte("\r"))
	if len(rec) == 0 {
		return errors.New("the record is empty")
	}
	f.rec = rec
	clear(f.vals)
	column := 0
	for i := 0; i <= len(rec); column++ {
		v, next, err := f.column(i)
		if err != nil {
			return fmt.Errorf("column %d: %w", column+1, err)
		}
		if column < len(columns) && columns[column] >= 0 {
			f.vals[columns[column]] = v
		}
		i = next
	}
	if column != len(columns) {
		return fmt.Errorf("the record has %d columns; %d are named", column, len(columns))
	}
	return nil
}

// column reads the field that begins at i and returns the index behind the comma, or behind the end, that ends it.
func (f *fields) column(i int) (v value, next int, err error) {
	rec := f.rec
	if i == len(rec) || rec[i] != '"' {
		end := bytes.IndexByte(rec[i:], ',')
		if end < 0 {
			end = len(rec)
		} else {
			end += i
		}
		if bytes.IndexByte(rec[i:end], '"') >= 0 {
			return v, 0, errors.New("a quote in a field without quotes")
		}
		return value{text, int32(i), int32(end)}, end + 1, nil
	}
	v = value{kind: text, from: int32(i + 1)}
	for i++; ; i++ {
		end := bytes.IndexByte(rec[i:], '"')
		if end < 0 {
			return v, 0, errors.New("a quote is not closed")
		}
		i += end
		v.to = int32(i)
		i++
		switch {
		case i == len(rec) || rec[i] == ',':
			return v, i + 1, nil
		case rec[i] != '"':
			return v, 0, errors.New("text behind a closing quote")
		}
		v.kind = escaped
	}
}

// bindColumns finds the nodes of columns, -1 for those that are not needed.
func (p *Program) bindColumns(names []string) ([]int32, error) {
	columns := make([]int32, len(names))
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("two columns are named %q", name)
		}
		columns[i] = int32(slices.IndexFunc(p.nodes, func(n node) bool { return n.name == name }))
	}
	for i, n := range p.nodes {
		if !slices.Contains(columns, int32(i)) {
			return nil, noColumn(n.name, names)
		}
	}
	return columns, nil
}

func noColumn(name string, names []string) error {
	return fmt.Errorf("there is no column %q; columns are %s", name, strings.Join(names, ", "))
}
