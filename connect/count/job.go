package count

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/redis/go-redis/v9"

	"quipu/connect/config"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

// Job is one source of the configuration, with what is needed to count it.
type Job struct {
	Source   *config.Source
	Program  *mapping.Program
	Quipu    *quipu.Client
	Board    *Board
	Log      *slog.Logger
	Instance string // of this process in a consumer group, kept over restarts; "": it is a new member each time
}

// Begin writes down, once for all connectors, with which partitions the source began and where: so a partition that is added later is
// known as such, and counted from its first record even where the source starts with the latest. All of it is one transaction. first is asked
// only then, and gives a position for each partition; one that a person has set before stays.
func (j *Job) Begin(ctx context.Context, incarnation string, first func() ([]Position, error)) error {
	report := j.Board.Report(j.Source.Name)
	_, _, found, err := j.Quipu.Position(ctx, j.Source.Name, report.Waits)
	if found || err != nil {
		return err
	}
	given, err := j.Quipu.List(ctx, j.Source.Name+"/*", nil)
	if err != nil {
		return err
	}
	positions, err := first()
	if err != nil {
		return err
	}
	_, err = j.Quipu.Apply(ctx, &quipu.Transaction{
		Source: j.Source.Name, Incarnation: incarnation, To: fmt.Sprintf("n%d", len(positions)),
		Commands: func(p redis.Pipeliner) {
			for i, at := range positions {
				name := j.Partition(i)
				if !slices.ContainsFunc(given, func(g quipu.Stored) bool { return g.Name == name }) {
					p.Do(ctx, "INGEST", "SET", name, incarnation, at.String())
				}
			}
		},
	}, report.Waits)
	var moved *quipu.Moved
	if errors.As(err, &moved) {
		err = nil // another connector has done it
	}
	if err == nil {
		report.Recover(Waiting)
	}
	return err
}

// Partition is the name in Quipu of a partition.
func (j *Job) Partition(number int) string { return fmt.Sprintf("%s/%d", j.Source.Name, number) }

// Kind is one kind of source: Kafka, Pulsar, a file.
type Kind struct {
	// Run counts until ctx is done, or until the end of what has one. Returning nil before asks to be run again.
	Run func(ctx context.Context, job *Job) error

	// Compile is the program for the records where the configuration alone does not tell: columns are named by the file.
	Compile func(src *config.Source) (*mapping.Program, error)

	// Look asks for the partitions as they are now. stored is what Quipu has of the source, by the names of partitions.
	Look func(ctx context.Context, job *Job, stored map[string]quipu.Stored) ([]Seen, error)

	// Fetch reads single records of a partition again, those that are still there, in order.
	Fetch func(ctx context.Context, job *Job, partition string, at []Coord, each func(Record)) error

	// Open begins to read partitions again, each from a place on (see Start) or from the first record that is still there; nil: they
	// cannot be read again.
	Open func(ctx context.Context, job *Job, from map[string]int64) (Reader, error)

	// Start is the place of a position as a number, see Position.Start; nil where places are no numbers (Pulsar).
	Start func(at string) (int64, error)

	// Progress is the same for progress, where that is measured otherwise; nil: Start.
	Progress func(at string) int64
}

// Reader reads partitions again from their beginnings. Nobody else notices.
type Reader interface {
	// ReadTo reads on, up to a place of each partition, and hands over the records before it, those of a partition in their order. What cannot
	// be seen (aborted, compacted away, ends of transactions) is left out. The places of a later call are not before those of an earlier one.
	ReadTo(ctx context.Context, to map[string]int64, each func(partition string, r Record)) error

	// Close ends it.
	Close()
}

// Done is how far a position is, for progress.
func (k *Kind) Done(p *Position) int64 {
	if k.Progress != nil {
		return k.Progress(p.At)
	}
	return k.Place(p)
}

// Place is the place of a position as a number. Where places are no numbers the records so far stand for it.
func (k *Kind) Place(p *Position) int64 {
	if k.Start == nil {
		return p.Start + p.Sum()
	}
	n, _ := k.Start(p.At) // ParsePosition has read it
	return n
}

// Seen is a partition as its broker knows it.
type Seen struct {
	Name        string // in Quipu
	Incarnation string
	First, End  int64 // as numbers; End in units of progress
	GoOn        int64 // where accept has a partition go on: the stored place, or the nearest one that exists
	GoOnAt      string
	FirstAt     string
}

// Accepted is where a partition goes on, and what that means; what is "" where nothing is in its way.
func Accepted(kind Kind, at quipu.Stored, s Seen) (to Position, what string, err error) {
	if at.Incarnation != s.Incarnation {
		was, err := ParsePosition(at.Position, kind.Start)
		if err != nil { // whatever it is, it is not of this topic
			was = Position{}
		}
		return Position{At: s.FirstAt, Start: s.First, Earlier: was.Earlier + 1}, fmt.Sprintf("counts the new one (%s) from %s", s.Incarnation, s.FirstAt), nil
	}
	to, err = ParsePosition(at.Position, kind.Start)
	if err != nil {
		return to, "", err
	}
	place := kind.Place(&to)
	if place == s.GoOn {
		return to, "", nil
	}
	to.At = s.GoOnAt
	to.Lost += s.GoOn - place
	if s.GoOn > place {
		return to, fmt.Sprintf("goes on at %s, behind %d records that are gone", s.GoOnAt, s.GoOn-place), nil
	}
	return to, fmt.Sprintf("goes on at %s; %d records that were counted are no more in the log", s.GoOnAt, place-s.GoOn), nil
}
