package files

import (
	"context"
	"errors"
	"io"
	"os"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

// Kind is files as sources, each of one partition.
var Kind = count.Kind{Run: Run, Compile: compile, Look: look, Fetch: fetch, Open: openAgain, Start: start, Progress: done}

// compile reads which columns there are.
func compile(src *config.Source) (*mapping.Program, error) {
	f, err := os.Open(src.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &source{Job: &count.Job{Source: src}}
	program, _, err := s.compile(f)
	return program, err
}

// look says how large the file is, and whether it is the one that was counted.
func look(_ context.Context, job *count.Job, stored map[string]quipu.Stored) ([]count.Seen, error) {
	f, err := os.Open(job.Source.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	seen := count.Seen{Name: Name(job.Source), End: info.Size(), GoOnAt: "0:0", FirstAt: "0:0"}
	if seen.Incarnation, err = incarnation(f); err != nil {
		return nil, err
	}
	if at := stored[seen.Name]; at.Incarnation != "" {
		ours, err := same(f, at.Incarnation)
		if err != nil {
			return nil, err
		}
		packed := (&source{Job: job}).packed() // then how large it is unpacked is not known
		if p, err := count.ParsePosition(at.Position, start); ours && err == nil && (packed || done(p.At) <= info.Size()) {
			seen.Incarnation, seen.GoOn, seen.GoOnAt = at.Incarnation, number(p.At), p.At
		}
	}
	return []count.Seen{seen}, nil
}

// fetch reads single records again.
func fetch(ctx context.Context, job *count.Job, _ string, at []count.Coord, each func(count.Record)) error {
	wanted := map[int64]bool{}
	for _, c := range at {
		wanted[c.A] = true
	}
	f, err := os.Open(job.Source.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := &source{Job: job}
	r, err := open(f, s.packed(), job.Source.Format == config.FormatCSV, count.Coord{})
	for err == nil && ctx.Err() == nil {
		var record count.Record
		if record, err = r.next(true); err == nil && wanted[record.At.A] {
			each(record)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return errors.Join(err, ctx.Err())
}
