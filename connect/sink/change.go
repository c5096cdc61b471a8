package sink

import (
	"database/sql"
	"strconv"

	"quipu/connect/quipu"
	"quipu/connect/target"
)

// change is what a page of the feed does to the rows, at a log time.
func (w *writer) change(page *quipu.Page, stamp int64) *target.Change {
	c := &target.Change{Stamp: stamp, Rows: make([]target.Row, 0, len(page.Rows))}
	for i := range page.Rows {
		r := &page.Rows[i]
		switch {
		case r.Kind == quipu.KindFlush:
			c.Gone = max(c.Gone, r.Index)
			c.Rows = behind(c.Rows, r.Index)
		case !LeftOut(w.Config.Match, r.Key):
			c.Rows = append(c.Rows, row(r))
		}
	}
	return c
}

// behind are the rows that are newer than an index: a flush has taken the others away.
func behind(rows []target.Row, index int64) []target.Row {
	kept := rows[:0]
	for i := range rows {
		if rows[i].Index > index {
			kept = append(kept, rows[i])
		}
	}
	return kept
}

// row is a row of the feed as one of the table. The value of a text is there too, if it is a number written as Quipu writes it.
func row(r *quipu.Row) target.Row {
	t := target.Row{
		Key: r.Key, Kind: r.Kind, Index: r.Index, ExpiresAt: r.Deadline, Deleted: r.Kind == quipu.KindNone,
		Value: sql.NullInt64{Int64: r.Value, Valid: r.IsNumber},
		Text:  sql.NullString{String: r.Text, Valid: r.IsText},
	}
	if r.IsText {
		n, err := strconv.ParseInt(r.Text, 10, 64)
		if err == nil && strconv.FormatInt(n, 10) == r.Text {
			t.Value = sql.NullInt64{Int64: n, Valid: true}
		}
	}
	return t
}
