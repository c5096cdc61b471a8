package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"quipu/connect/config"
	"quipu/connect/count"
)

// again reads a file again.
type again struct {
	name string // in Quipu
	path string
	from int64 // records before it are passed over: where a record begins in bytes is not known
	f    *os.File
	in   *reader
}

func openAgain(_ context.Context, job *count.Job, from map[string]int64) (count.Reader, error) {
	f, err := os.Open(job.Source.Path)
	if err != nil {
		return nil, err
	}
	s := &source{Job: job}
	in, err := open(f, s.packed(), job.Source.Format == config.FormatCSV, count.Coord{})
	if err != nil {
		f.Close()
		return nil, err
	}
	name := Name(job.Source)
	return &again{name: name, path: job.Source.Path, from: from[name], f: f, in: in}, nil
}

// Close implements count.Reader.
func (a *again) Close() { a.f.Close() }

// ReadTo implements count.Reader.
func (a *again) ReadTo(ctx context.Context, to map[string]int64, each func(partition string, r count.Record)) error {
	for a.in.at.A < to[a.name] {
		if err := ctx.Err(); err != nil {
			return err
		}
		record, err := a.in.next(false)
		if errors.Is(err, io.EOF) {
			record, err = a.in.next(true) // it was counted, so it is whole, though nothing ends its line
		}
		if err != nil {
			return fmt.Errorf("%s: record %d of %d that are counted: %w", a.path, a.in.at.A+1, to[a.name], err)
		}
		if record.At.A > a.from {
			each(a.name, record)
		}
	}
	return nil
}
