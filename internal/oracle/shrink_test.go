package oracle

import (
	"errors"
	"slices"
	"time"
)

// shrink removes from a failing sequence what the failure does not need: runs of steps, then commands, then arguments.
// It stops when nothing more can go, or when the time is over.
func shrink(p *player, seq sequence, limit time.Duration) (sequence, error) {
	s := shrinker{p: p, end: time.Now().Add(limit)}
	for changed := true; changed; {
		changed = false
		for _, pass := range []func(sequence) (sequence, bool){s.dropSteps, s.dropItems, s.simplify, s.dropArguments} {
			smaller, ok := pass(seq)
			if ok {
				seq, changed = smaller, true
			}
			if s.err != nil {
				return seq, s.err
			}
		}
	}
	return seq, nil
}

type shrinker struct {
	p   *player
	end time.Time
	err error
}

// fails reports whether a candidate still fails.
func (s *shrinker) fails(seq sequence) bool {
	if s.err != nil || time.Now().After(s.end) {
		return false
	}
	same, err := s.p.play(seq)
	if errors.Is(err, errUnplayable) {
		return false
	}
	s.err = err
	return err == nil && !same
}

func (s *shrinker) dropSteps(seq sequence) (sequence, bool) {
	changed := false
	for size := (len(seq) + 1) / 2; size > 0; size /= 2 {
		for at := 0; at < len(seq); {
			candidate := slices.Delete(slices.Clone(seq), at, min(at+size, len(seq)))
			if len(candidate) > 0 && s.fails(candidate) {
				seq, changed = candidate, true
			} else {
				at += size
			}
		}
	}
	return seq, changed
}

// with is the sequence with another step in the place of one.
func (seq sequence) with(i int, st step) sequence {
	changed := slices.Clone(seq)
	changed[i] = st
	return changed
}

func (s *shrinker) dropItems(seq sequence) (sequence, bool) {
	changed := false
	for i := range seq {
		for k := 0; k < len(seq[i].items) && len(seq[i].items) > 1; {
			st := seq[i]
			st.items = slices.Delete(slices.Clone(st.items), k, k+1)
			if candidate := seq.with(i, st); s.fails(candidate) {
				seq, changed = candidate, true
			} else {
				k++
			}
		}
	}
	return seq, changed
}

// simplify takes away what is special about a step: the cuts, the form, another connection, a pipeline.
func (s *shrinker) simplify(seq sequence) (sequence, bool) {
	changed := false
	try := func(candidate sequence) {
		if s.fails(candidate) {
			seq, changed = candidate, true
		}
	}
	for i := 0; i < len(seq); i++ {
		st := seq[i]
		if st.cuts != 0 {
			st.cuts = 0
			try(seq.with(i, st))
		}
		if st = seq[i]; st.conn > 0 {
			st.conn--
			try(seq.with(i, st))
		}
		if st = seq[i]; st.kind == stepPipe && len(st.items) > 1 {
			var parts sequence
			for _, it := range st.items {
				parts = append(parts, step{conn: st.conn, items: []item{it}})
			}
			try(slices.Concat(seq[:i], parts, seq[i+1:]))
		}
		for k := range seq[i].items {
			if st = seq[i]; st.items[k].form == formInline {
				st.items = slices.Clone(st.items)
				st.items[k].form = formBulk
				try(seq.with(i, st))
			}
		}
	}
	return seq, changed
}

func (s *shrinker) dropArguments(seq sequence) (sequence, bool) {
	changed := false
	for i := range seq {
		for k := range seq[i].items {
			first := 1
			if seq[i].kind == stepScan {
				first = 2 // behind the cursor
			}
			for a := first; seq[i].items[k].form != formBytes && a < len(seq[i].items[k].args); {
				st := seq[i]
				st.items = slices.Clone(st.items)
				st.items[k].args = slices.Delete(slices.Clone(st.items[k].args), a, a+1)
				if candidate := seq.with(i, st); s.fails(candidate) {
					seq, changed = candidate, true
				} else {
					a++
				}
			}
		}
	}
	return seq, changed
}
