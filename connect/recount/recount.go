// Package recount counts a source again, from where counting began, and compares what it comes to with what Quipu has. What differs it
// can repair.
//
// # The moment that is compared
//
// Connectors go on counting meanwhile. A value of Quipu can be compared only with the records that it consists of, so values are read in
// one transaction with the positions of all partitions (snapshot). The shadow, which is the count of our own, is brought to just these
// positions (shadow.advance), and then compared:
//
//	read positions V0;  count the source from its beginning to V0 into the shadow;  add keys that only Quipu has (SCAN)
//	for each chunk of keys:
//	    read positions V and the values of the chunk, in one transaction
//	    count the source from the positions before to V
//	    compare;  repair
//
// Each chunk has positions of its own: a transaction that reads all keys would stop the server. That does no harm, because a difference does
// not change while both sides count the same records. Nobody has to be paused.
//
// # Repairing exactly once
//
// A repair adds shadow − live, in transactions that bring the source "recount:NAME" on (command INGEST), a chunk each. Before anything is
// read the run makes the position its own: from then on no transaction of an earlier run can be applied, however late it comes.
// What of an earlier run was applied is in the values that are read. So a run that was killed at any point is simply run again.
package recount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quipu/connect/count"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

// Limits and defaults of Options.
const (
	DefaultKeys  = 5_000_000 // in memory at a time, some 200 bytes each
	DefaultBatch = 2000      // keys in a transaction
	MaxBatch     = 5000      // so that no transaction comes near Quipu's limit of 8 MiB
	MaxPasses    = 1000
)

// Options are what is recounted, and how.
type Options struct {
	Job    *count.Job // with its program
	Kind   count.Kind
	Others []*mapping.Program // of other sources that count into the same Quipu
	Base   *quipu.Client      // a restored backup, where the recount begins; nil: it begins where counting began
	Keys   int                // most keys in memory
	Passes int                // how often the source is read, each time for another part of its keys
	Batch  int                // keys in a transaction
	Repair bool
	Force  bool // repair although the recount may not be exact
}

// errNothing is the end where nothing is stored of the source.
var errNothing = errors.New("nothing of it is counted yet")

// run is one recount.
type run struct {
	Options
	report   *Report
	repairer *repairer // nil: nothing is repaired
	shadow   *shadow   // of this pass
	names    []string  // of the partitions
	first    *vector   // where this pass begins
}

// Run recounts a source. With an error the report may be incomplete.
func Run(ctx context.Context, o Options) (*Report, error) {
	src := o.Job.Source
	r := &run{Options: o, report: &Report{Source: src.Name}}
	if o.Kind.Open == nil {
		return r.report, fmt.Errorf("sources of kind %s cannot be read again, so they cannot be recounted", src.Kind)
	}
	r.overlaps()
	if o.Repair {
		var err error
		if r.repairer, err = newRepairer(ctx, o.Job); err != nil {
			return r.report, err
		}
	}
	for pass := range o.Passes {
		if err := r.pass(ctx, pass); err != nil {
			return r.report, fmt.Errorf("source %s: %w", src.Name, err)
		}
	}
	return r.report, nil
}

// overlaps notes which templates of other sources may come to the same keys.
func (r *run) overlaps() {
	for _, other := range r.Others {
		for _, theirs := range other.Keys() {
			for _, ours := range r.Job.Program.Counters() {
				if ours.Meets(theirs) {
					r.report.doubt(ours.Source+" "+theirs.Source, "%s in line %d may come to the same keys as %s of another source in line %d, whose counts would be taken for wrong ones",
						ours.Source, ours.Line, theirs.Source, theirs.Line)
				}
			}
		}
	}
}

// pass recounts a part of the keys.
func (r *run) pass(ctx context.Context, pass int) error {
	r.shadow = nil
	stored, err := r.Job.Quipu.List(ctx, r.Job.Source.Name+"/*", r.waiting)
	if err != nil {
		return err
	}
	if len(stored) == 0 {
		return errNothing
	}
	r.names = r.names[:0]
	for _, s := range stored {
		r.names = append(r.names, s.Name)
	}
	begin, _, err := r.snapshot(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.sameLog(ctx, begin); err != nil {
		return err
	}
	if r.first, err = r.beginning(ctx, begin); err != nil {
		return err
	}
	r.report.begin(r.first)
	reader, err := r.Kind.Open(ctx, r.Job, r.first.places)
	if err != nil {
		return err
	}
	defer reader.Close()
	r.shadow = newShadow(r.Options, reader, pass)
	r.shadow.at = r.first
	if err := r.shadow.advance(ctx, begin); err != nil {
		return err
	}
	r.judgeReading(begin)
	if err := r.scan(ctx); err != nil {
		return err
	}
	return r.compareAll(ctx)
}

// sameLog refuses a log that is not the one that was counted, or is shorter.
func (r *run) sameLog(ctx context.Context, v *vector) error {
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	seen, err := r.Kind.Look(limited, r.Job, v.stored)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, s := range seen {
		at, found := v.stored[s.Name]
		if !found {
			continue
		}
		there[s.Name] = true
		_, what, err := count.Accepted(r.Kind, at, s)
		if err != nil {
			return err
		}
		if what != "" {
			return fmt.Errorf("%s: the log is not the one that was counted, or a part is gone that was not counted; see quipu-connect status, and quipu-connect accept, which %s", s.Name, what)
		}
	}
	for _, name := range v.names() {
		if !there[name] {
			return fmt.Errorf("%s is counted, and the log has no such partition", name)
		}
	}
	return nil
}

const lookLimit = 30 * time.Second

// seen is how many records of a partition a connector has seen, for which there may be counts.
func seen(p count.Position) int64 { return p.Counted + p.Filtered + p.Parked + p.Refused }

// judgeReading compares how many records were read with how many the connectors have seen, between the same positions.
func (r *run) judgeReading(v *vector) {
	for _, name := range r.names {
		p, first, read := v.positions[name], r.first.positions[name], r.shadow.read[name]
		if seen := seen(p) - seen(first); read != seen {
			r.report.doubt(name+" records", "%s: the log has %d records from %s to %s, the connectors have seen %d", name, read, first.At, p.At, seen)
		}
		if lost := p.Lost - first.Lost; lost != 0 {
			r.report.doubt(name+" gap", "%s: a gap of %d records was accepted", name, lost)
		}
		if p.Earlier != first.Earlier {
			r.report.doubt(name+" earlier", "%s: other topics or files of the same name (%d) were counted before this one, and cannot be read", name, p.Earlier)
		}
	}
	r.report.reached(v, r.shadow)
}

// scan adds keys that the shadow does not have: counts that no record has made.
func (r *run) scan(ctx context.Context) error {
	done := map[string]bool{}
	for _, p := range r.Job.Program.Counters() {
		glob := p.Glob()
		switch {
		case done[glob]:
		case p.Prefix() == "":
			r.report.note("keys of %s that are only in Quipu are not looked for: every key might be one", p.Source)
		default:
			if err := r.Job.Quipu.Scan(ctx, glob, r.waiting, r.shadow.see); err != nil {
				return err
			}
			if r.Base == nil {
				break
			}
			if err := r.Base.Scan(ctx, glob, r.waiting, r.shadow.see); err != nil {
				return err
			}
		}
		done[glob] = true
	}
	return r.shadow.err
}

// compareAll compares all keys that are known when it begins. Those that come later are counted, and not compared.
func (r *run) compareAll(ctx context.Context) error {
	all := len(r.shadow.entries)
	for from := 0; from < all; from += r.Batch {
		if err := r.compareChunk(ctx, from, min(from+r.Batch, all)); err != nil {
			return err
		}
	}
	return nil
}

// compareChunk compares the entries of the shadow from one number to another.
func (r *run) compareChunk(ctx context.Context, from, to int) error {
	var keys []string
	for _, e := range r.shadow.entries[from:to] {
		keys = append(keys, e.key)
	}
	v, values, err := r.snapshot(ctx, keys)
	if err != nil {
		return err
	}
	bases, err := r.bases(ctx, keys)
	if err != nil {
		return err
	}
	if err := r.shadow.advance(ctx, v); err != nil {
		return err
	}
	r.judgeReading(v)
	var wrong []Difference
	now := time.Now()
	for i, e := range r.shadow.entries[from:to] {
		if bases != nil {
			e.on(bases[i])
		}
		if d, differs := r.report.compare(&e, values[i], now); differs {
			wrong = append(wrong, d)
		}
	}
	if r.repairer == nil || r.report.Doubtful() && !r.Force {
		return nil
	}
	return r.repairer.repair(ctx, wrong, r.report)
}

// waiting has a person know why it takes longer.
func (r *run) waiting(err error) { r.Job.Log.Warn("quipu does not answer", "error", err) }
