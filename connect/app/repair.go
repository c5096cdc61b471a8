package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// accept has partitions that have stopped go on: with a topic that was created anew from its beginning, behind records that
// are gone, or where the log was cut off. A running connector notices.
func (p *Program) accept(ctx context.Context, args []string) error {
	at := ""
	job, partition, done, err := p.one(ctx, args, func(f *flag.FlagSet) { f.StringVar(&at, "at", "", "") })
	if err != nil {
		return err
	}
	defer done()
	stored, err := storedOf(ctx, job.Quipu, job.Source.Name)
	if err != nil {
		return err
	}
	kind := p.Kinds[job.Source.Kind]
	if at != "" {
		return p.acceptAt(ctx, job, kind, stored, partition, at)
	}
	seen, err := kind.Look(ctx, job, stored)
	if err != nil {
		return err
	}
	anew := false
	for _, s := range seen {
		at, found := stored[s.Name]
		if !found || partition != "" && s.Name != partition {
			continue
		}
		to, what, err := count.Accepted(kind, at, s)
		if err != nil {
			return err
		}
		if what == "" {
			fmt.Fprintf(p.Out, "%s: nothing to accept\n", s.Name)
			continue
		}
		if _, err := job.Quipu.Do(ctx, "INGEST", "SET", s.Name, s.Incarnation, to.String()); err != nil {
			return err
		}
		fmt.Fprintf(p.Out, "%s: %s\n", s.Name, what)
		anew = anew || at.Incarnation != s.Incarnation
	}
	if anew {
		_, err = job.Quipu.Do(ctx, "INGEST", "SET", job.Source.Name, seen[0].Incarnation, fmt.Sprintf("n%d", len(seen)))
	}
	return err
}

// acceptAt has one partition go on at a place, forward or back. What it passes over is kept in the identity.
func (p *Program) acceptAt(ctx context.Context, job *count.Job, kind count.Kind, stored map[string]quipu.Stored, partition, at string) error {
	now, found := stored[partition]
	if !found {
		return fmt.Errorf("-at needs a partition that is counted, such as %s/0", job.Source.Name)
	}
	if kind.Start == nil {
		return fmt.Errorf("-at needs places that are numbers, and those of %s are none; set this one with INGEST SET", job.Source.Kind)
	}
	place, err := kind.Start(at)
	if err != nil {
		return err
	}
	to, err := count.ParsePosition(now.Position, kind.Start)
	if err != nil {
		return err
	}
	to.Lost += place - kind.Place(&to)
	to.At = at
	if _, err := job.Quipu.Do(ctx, "INGEST", "SET", partition, now.Incarnation, to.String()); err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "%s: goes on at %s\n", partition, at)
	return nil
}

// one is the source that the arguments FILE SOURCE name.
func (p *Program) one(ctx context.Context, args []string, define func(*flag.FlagSet)) (job *count.Job, partition string, done func(), err error) {
	words, err := p.parse(args, 2, 2, define)
	if err != nil {
		return nil, "", nil, err
	}
	cfg, err := p.load(words[0])
	if err != nil {
		return nil, "", nil, err
	}
	src, partition, err := find(cfg, words[1])
	if err != nil {
		return nil, "", nil, err
	}
	client, err := p.dial(ctx, cfg)
	if err != nil {
		return nil, "", nil, err
	}
	job, err = p.job(src, client, nil, p.logger())
	return job, partition, client.Close, err
}

// retry counts the records that were set aside and can be read by now: they are read again from the source. Counting them and
// taking them from the place where they are kept is one transaction, which fails if anybody else has changed that place meanwhile: so each
// counts once, however often retry is run.
func (p *Program) retry(ctx context.Context, args []string) error {
	job, partition, done, err := p.one(ctx, args, nil)
	if err != nil {
		return err
	}
	defer done()
	if job.Source.Park == "" {
		return fmt.Errorf("%s:%d: source %s sets no records aside (on-bad-record park NAME)", job.Source.File, job.Source.Line, job.Source.Name)
	}
	if job.Program == nil {
		if job.Program, err = p.Kinds[job.Source.Kind].Compile(job.Source); err != nil {
			return err
		}
	}
	stored, err := storedOf(ctx, job.Quipu, job.Source.Name)
	if err != nil {
		return err
	}
	for _, name := range partitionsOf(stored) {
		if partition != "" && name != partition {
			continue
		}
		if err := p.retryPartition(ctx, job, stored[name]); err != nil {
			return err
		}
	}
	return nil
}

// retryMost is how many records are counted in one transaction.
const retryMost = 1000

func (p *Program) retryPartition(ctx context.Context, job *count.Job, at quipu.Stored) error {
	key := count.ParkKey(job.Source.Park, at.Name)
	again, left := 0, 0
	for skip := 0; ; {
		counted, kept, more, err := p.retrySome(ctx, job, at, key, skip)
		if errors.Is(err, redis.TxFailedErr) { // more was set aside meanwhile
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w; run retry again, nothing is counted twice", at.Name, err)
		}
		again, left, skip = again+counted, left+kept, skip+kept
		if !more {
			break
		}
	}
	fmt.Fprintf(p.Out, "%s: %d counted, %d still cannot be\n", at.Name, again, left)
	return nil
}

// retrySome tries the next records behind those that are to be skipped.
func (p *Program) retrySome(ctx context.Context, job *count.Job, at quipu.Stored, key string, skip int) (counted, kept int, more bool, err error) {
	err = job.Quipu.Watched(ctx, key, func(text string, pipe redis.Pipeliner) error {
		lines := strings.SplitAfter(text, "\n")
		lines = lines[:len(lines)-1]
		head := lines[:min(skip, len(lines))]
		some := lines[len(head):]
		if more = len(some) > retryMost; more {
			some = some[:retryMost]
		}
		rest := lines[len(head)+len(some):]
		keep, tally, err := p.readAgain(ctx, job, at, some)
		if err != nil {
			return err
		}
		counted, kept = len(some)-len(keep), len(keep)
		if counted == 0 {
			return nil
		}
		tally(pipe)
		if left := strings.Join(append(append(append([]string{}, head...), keep...), rest...), ""); left != "" {
			pipe.Set(ctx, key, left, redis.KeepTTL)
		} else {
			pipe.Del(ctx, key)
		}
		return nil
	})
	return counted, kept, more, err
}

// readAgain reads the records of lines: which of them have to stay, and what the others come to.
func (p *Program) readAgain(ctx context.Context, job *count.Job, at quipu.Stored, lines []string) (keep []string, queue func(redis.Pipeliner), err error) {
	of := map[count.Coord]string{}
	var coords []count.Coord
	for _, line := range lines {
		c, incarnation, ok := count.ParkedAt(line)
		if !ok || incarnation != at.Incarnation {
			keep = append(keep, line)
			continue
		}
		of[c] = line
		coords = append(coords, c)
	}
	tally := job.Program.NewTally()
	err = p.Kinds[job.Source.Kind].Fetch(ctx, job, at.Name, coords, func(r count.Record) {
		c := r.At
		c.Epoch = 0
		if _, _, err := tally.Add(r.Value, time.Now()); err == nil {
			delete(of, c)
		}
	})
	for _, c := range coords {
		if line, still := of[c]; still {
			keep = append(keep, line)
		}
	}
	return keep, func(pipe redis.Pipeliner) { count.Queue(pipe, tally) }, err
}
