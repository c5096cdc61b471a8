package files

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

const (
	chunkRecords = 2000
	chunkBytes   = 1 << 20
	pollTime     = 200 * time.Millisecond // between two looks at a file that has come to its end
	retryTime    = time.Second
)

// source is a file while it is counted.
type source struct {
	*count.Job
	name   string // in Quipu
	report *count.Report
	room   chan struct{}
}

// errEnd is the end of a file that is not to be followed.
var errEnd = errors.New("end of file")

// halted is why a file is not read any more until a person has looked.
type halted struct {
	state  count.State
	reason string
}

func (h *halted) Error() string { return h.reason }

// Run counts the file until ctx is done, or until its end, where it is not to be followed: then everything in it is counted. An error is
// one that no repetition mends.
func Run(ctx context.Context, job *count.Job) error {
	s := &source{Job: job, name: Name(job.Source), room: make(chan struct{}, 1)}
	s.report = job.Board.Report(s.name)
	for {
		err := s.read(ctx)
		var moved *quipu.Moved
		var stop *halted
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errEnd):
			return nil
		case errors.As(err, &moved):
			s.Log.Info("the position was moved by another connector", "partition", s.name, "position", moved.Position)
			continue
		case errors.As(err, &stop):
			s.report.Set(stop.state, stop.reason)
		case err != nil && s.report.Snapshot().State == count.Counting:
			s.report.Set(count.NoTopic, err.Error())
		}
		if !s.Source.Follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryTime):
		}
	}
}

// Name is the source of Quipu that a file is.
func Name(src *config.Source) string { return src.Name + "/0" }

// read counts from where Quipu says.
func (s *source) read(ctx context.Context) error {
	incarnation, text, found, err := s.Quipu.Position(ctx, s.name, s.report.Waits)
	if err != nil {
		return err
	}
	f, err := os.Open(s.Source.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	position, incarnation, err := s.where(f, incarnation, text, found)
	if err != nil {
		return err
	}
	program, header, err := s.compile(f)
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err == nil && !s.packed() { // how large a packed file is is not known
		s.report.SetEnd(info.Size())
	}
	at, _ := coord(position.At)
	if at.B < header.B {
		at, position.At, position.Start = header, place(header), header.A
	}
	r, err := open(f, s.packed(), s.Source.Format == config.FormatCSV, at)
	if err != nil {
		return &halted{count.Gap, err.Error()}
	}
	worker := count.Start(context.WithoutCancel(ctx), count.Settings{
		Name: s.name, Incarnation: incarnation, Stored: text, Position: position, Program: program, Quipu: s.Quipu,
		Most: s.Source.Batch, Park: s.Source.Park, Place: place, Where: where, Number: number, Progress: done, Report: s.report,
		Room: func() {
			select {
			case s.room <- struct{}{}:
			default:
			}
		},
	})
	return s.pump(ctx, f, r, worker)
}

func (s *source) packed() bool { return strings.HasSuffix(s.Source.Path, ".gz") }

func coord(at string) (count.Coord, error) {
	record, byteAt, err := parse(at)
	return count.Coord{A: record, B: byteAt}, err
}

// where is the place to go on at, in the file as it is now.
func (s *source) where(f *os.File, stored, text string, found bool) (count.Position, string, error) {
	if !found || stored == "" {
		now, err := incarnation(f)
		return count.Position{At: "0:0"}, now, err
	}
	ours, err := same(f, stored)
	if err != nil {
		return count.Position{}, "", err
	}
	if !ours {
		return count.Position{}, "", &halted{count.NewIncarnation, fmt.Sprintf("%s is another file than the one that was counted; "+
			"quipu-connect accept %s begins with this one", s.Source.Path, s.Source.Name)}
	}
	position, err := count.ParsePosition(text, start)
	if err != nil {
		return position, stored, &halted{count.Failed, err.Error()}
	}
	info, err := f.Stat()
	if err == nil && !s.packed() && info.Size() < done(position.At) {
		err = &halted{count.Gap, fmt.Sprintf("%s has %d bytes, but was counted to byte %d: it was cut off", s.Source.Path, info.Size(), done(position.At))}
	}
	return position, stored, err
}

// compile is the program for the records, and the place behind the line that names the columns, if there is one.
func (s *source) compile(f *os.File) (*mapping.Program, count.Coord, error) {
	src := *s.Source
	var header count.Coord
	if src.Format == config.FormatCSV && src.Columns == nil {
		r, err := open(f, s.packed(), true, count.Coord{})
		if err != nil {
			return nil, header, err
		}
		first, err := r.next(true)
		if err != nil {
			return nil, header, fmt.Errorf("%s has no line that names the columns: %w", src.Path, err)
		}
		if src.Columns, err = csv.NewReader(strings.NewReader(strings.TrimPrefix(string(first.Value), "\ufeff"))).Read(); err != nil {
			return nil, header, fmt.Errorf("the first line of %s does not name columns: %w", src.Path, err)
		}
		header = first.At
	}
	program, err := mapping.Compile(&src)
	return program, header, err
}

// pump reads until the file has no more, or the worker ends.
func (s *source) pump(ctx context.Context, f *os.File, r *reader, worker *count.Partition) error {
	defer worker.Stop()
	for {
		records, err := s.chunk(r)
		if len(records) > 0 && worker.Push(records) {
			if err := s.await(ctx, worker, s.room, nil); err != nil {
				return err
			}
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		if !s.Source.Follow {
			worker.Finish()
			if err := worker.Err(); err != nil {
				return err
			}
			return errEnd
		}
		if err := s.await(ctx, worker, nil, time.After(pollTime)); err != nil {
			return err
		}
		if err := s.replaced(f, r); err != nil {
			return err
		}
	}
}

// await waits for room or time, unless the worker or ctx ends before.
func (s *source) await(ctx context.Context, worker *count.Partition, room <-chan struct{}, after <-chan time.Time) error {
	select {
	case <-room:
	case <-after:
	case <-worker.Done():
		if err := worker.Err(); err != nil {
			return err
		}
		return context.Canceled
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// replaced reports, as an error, that the path leads to another file by now, or that the file was cut off.
func (s *source) replaced(open *os.File, r *reader) error {
	was, err1 := open.Stat()
	now, err2 := os.Stat(s.Source.Path)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s.report.SetEnd(now.Size())
	if !os.SameFile(was, now) || !s.packed() && now.Size() < r.at.B {
		return fmt.Errorf("%s was replaced", s.Source.Path)
	}
	return nil
}

func (s *source) chunk(r *reader) (records []count.Record, err error) {
	size := 0
	for len(records) < chunkRecords && size < chunkBytes {
		record, err := r.next(!s.Source.Follow)
		if err != nil {
			return records, err
		}
		records = append(records, record)
		size += len(record.Value)
	}
	return records, nil
}
