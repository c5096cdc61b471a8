package regionmodel

import (
	"bytes"
	"fmt"
	"slices"

	"quipu/engine/shared"
)

// What histories should lead to.

// judge compares what the regions have come to with what they should have.
func (w *world) judge(h *history) {
	var reach [shared.MaxOrigins]uint64 // what has become known of each origin to anybody who is left
	for _, r := range w.regions {
		if !r.gone {
			for o, pos := range r.at(h).seen() {
				reach[o] = max(reach[o], pos)
			}
		}
	}
	for _, r := range w.regions {
		if !r.gone {
			w.kept(h, r)
		}
	}
	for key := range Keys {
		var first *look
		for _, r := range w.regions {
			if r.gone {
				continue
			}
			w.confirmed(h, r, key)
			w.shows(h, r, key)
			v := r.look(h, key)
			if first == nil {
				first = &v
			} else if v.N != first.N || v.Exists != first.Exists {
				w.fail("history %d, key %d is %d, %v for origin %d, and for another one %d, %v", h.number, key, v.N, v.Exists, r.me, first.N, first.Exists)
			}
		}
		if key == 0 {
			w.judgeKey(h, key, first, &reach)
		}
	}
}

// kept demands that the mirror keeps what the region does: its own shares, copies of the others', and resets that are not confirmed, those of
// keys that do not exist included. All of that is in frames, if it was asked for: what has died may be gone from either.
func (w *world) kept(h *history, r *region) {
	if r.mirror == nil {
		return
	}
	p := r.at(h)
	compare := func(what string, rules, mirror []byte) {
		want, got := w.rows(r, rules, nil), w.rows(r, mirror, r.table)
		same := func(a, b shared.Row) bool {
			return bytes.Equal(a.Key, b.Key) && a.HasShare == b.HasShare && a.Share == b.Share && a.Copy == b.Copy && slices.Equal(a.Hints, b.Hints)
		}
		if !slices.EqualFunc(want, got, same) {
			w.fail("history %d, origin %d at %d keeps of %s %+v, by the rules %+v", h.number, r.me, r.now, what, got, want)
		}
	}
	compare("its own", shared.AppendFull(nil, &p.Part, p), r.mirror.Frame(p.number, p.Pos+1, r.now, w.rnd))
	for n, o := range r.table {
		if o != r.me {
			compare(fmt.Sprint("origin ", o), shared.AppendLost(nil, &p.Part, p, o), r.mirror.LostFrame(p.number, shared.Origin(n), r.now, w.rnd))
		}
	}
}

// rows are those of a frame that are not dead, by key, with the numbers of origins that the rules go by.
func (w *world) rows(r *region, frame []byte, table []shared.Origin) (list []shared.Row) {
	f, err := shared.OpenFrame(frame)
	for more := true; more && err == nil; {
		var row shared.Row
		if more, err = f.Next(&row); !more || row.HasShare && row.Share.Wish.Deadline > 0 && row.Share.Wish.Deadline <= r.now {
			continue
		}
		if row.Copy.Origin = 0; table != nil {
			for i := range row.Hints {
				row.Hints[i].Origin = table[row.Hints[i].Origin]
			}
			slices.SortFunc(row.Hints, func(a, b shared.Hint) int { return int(a.Origin) - int(b.Origin) })
		}
		list = append(list, row)
	}
	if err != nil {
		w.fail("a frame %x: %v", frame, err)
	}
	slices.SortFunc(list, func(a, b shared.Row) int { return bytes.Compare(a.Key, b.Key) })
	return list
}

// forget has some of the regions forget what is lost, now that all have heard the same: no value changes, and what stood for nothing is
// gone. What comes then, with regions that have forgotten and others that have not, is judged as if nothing had happened.
func (w *world) forget() {
	for _, r := range w.regions {
		if r.gone || w.rnd.IntN(3) == 0 {
			continue
		}
		var before []look
		for _, h := range w.histories {
			for key := range Keys {
				before = append(before, r.look(h, key))
			}
		}
		told := map[string]bool{}
		for _, o := range r.table {
			if !r.isLost(o) {
				continue
			}
			for _, p := range r.parts {
				shared.Forget(&p.Part, p, o)
				w.changed(p)
			}
			if name := w.incarnations[o].Name; r.mirror != nil && !told[name] {
				if err := r.mirror.Forget(name, r.now); err != nil {
					w.fail("origin %d at %d: %v", r.me, r.now, err)
				}
				told[name] = true
			}
		}
		for i, was := range before {
			h, key := w.histories[i/Keys], i%Keys
			if is := r.look(h, key); is.View != was.View {
				w.fail("history %d, origin %d, having forgotten, sees %+v of key %d, and not %+v: %s", h.number, r.me, is.View, key, was.View, r.describe(h, key))
			}
			w.shows(h, r, key)
			w.resetsOfForgotten(h, r, key)
		}
	}
}

// resetsOfForgotten demands that there are none.
func (w *world) resetsOfForgotten(h *history, r *region, key int) {
	p := r.at(h)
	var k shared.Key
	p.Read(p.Names[key], &k)
	for _, c := range k.Others {
		if p.HasForgotten(c.Origin) && c.Hinted {
			w.fail("history %d, origin %d keeps a reset of what it has forgotten: %+v", h.number, r.me, k)
		}
	}
}

// judgeDeadlines has one region do a last thing to the second key, and looks at what becomes of it everywhere.
func (w *world) judgeDeadlines(h *history) {
	var living []*region
	for _, r := range w.regions {
		if !r.gone {
			living = append(living, r)
		}
	}
	r := living[w.rnd.IntN(len(living))]
	last := func(c Command) {
		w.do(h, r, 1, c)
		w.settle(h)
	}
	all := func(when string, want View) {
		for _, r := range living {
			if got := r.look(h, 1).View; got != want {
				w.fail("history %d, %s origin %d sees %+v; it should be %+v: %s", h.number, when, r.me, got, want, r.describe(h, 1))
			}
			w.shows(h, r, 1)
		}
	}
	v := r.look(h, 1)
	what := w.rnd.IntN(3)
	switch {
	case what == 0:
		last(Command{Kind: Delete})
		all("after a DEL", View{})
		last(Command{Kind: Add, N: 7})
		all("after a DEL and an increment", View{7, true, 0})
	case !v.Exists:
		last(Command{Kind: Add, N: 7})
		all("after an increment", View{7, true, 0})
	case what == 1:
		deadline := r.now + 50
		last(Command{Kind: Expire, Deadline: deadline})
		all("after EXPIRE", View{v.N, true, deadline})
		w.pass(100)
		all("after its deadline", View{})
	default:
		last(Command{Kind: Expire})
		all("after PERSIST", View{v.N, true, 0})
		w.pass(1000)
		all("long after PERSIST", View{v.N, true, 0})
	}
}

// pass lets time pass.
func (w *world) pass(ms int64) {
	w.now += ms
	for _, r := range w.regions {
		r.skew = 0
		r.now = max(r.now, w.now)
	}
}

// lost reports whether an incarnation of any region has been lost.
func (w *world) lost() bool {
	return len(w.incarnations) > len(w.regions) || slices.ContainsFunc(w.regions, func(r *region) bool { return r.gone })
}

// look is what is seen of a key.
type look struct {
	View
	unsure bool // a reset of another origin's share is not confirmed
}

func (r *region) look(h *history, key int) (v look) {
	p := r.at(h)
	var k shared.Key
	p.Read(p.Names[key], &k)
	if v.N, v.Exists = k.Value(&p.Part); v.Exists {
		v.Deadline = max(0, k.Wish(&p.Part).Deadline)
	}
	v.unsure = slices.ContainsFunc(k.Others, func(o shared.Other) bool { return o.Hinted })
	return v
}

func (r *region) describe(h *history, key int) string {
	p := r.at(h)
	var k shared.Key
	p.Read(p.Names[key], &k)
	return fmt.Sprintf("%+v", k)
}

// confirmed demands that in the end all resets are confirmed, but for those of lost origins.
func (w *world) confirmed(h *history, r *region, key int) {
	p := r.at(h)
	var k shared.Key
	p.Read(p.Names[key], &k)
	k.Bury(&p.Part) // what has died may be there until something changes
	for _, o := range k.Others {
		if o.Hinted && !p.IsLost(o.Origin) {
			w.fail("history %d, origin %d keeps a reset of %d that is not confirmed: %+v", h.number, p.Me, o.Origin, k)
		}
	}
}

// judgeKey compares a key with what it should be where origins are known up to reach. A reset from behind that may have had
// effects: its owner has heard of it, and has confirmed it; each of its effects may be known or not. So may those of any
// reset where another region has heard more of the owner: then the owner may have confirmed it, which ends the hint, or
// dropped its share before there was one. And what an origin did behind a reset that it
// has not confirmed cannot be known to have been anything if it came to 0.
func (w *world) judgeKey(h *history, key int, v *look, reach *[shared.MaxOrigins]uint64) {
	var reset [shared.MaxOrigins]uint64 // up to where each origin's operations are certainly reset
	var perhaps [shared.MaxOrigins][]uint64
	origins := len(w.incarnations)
	for i := range h.ops {
		r := &h.ops[i]
		if r.resets == nil || r.key != key {
			continue
		}
		certain := r.pos <= w.direct(h, r.at, reach)
		for o, upTo := range r.resets[:origins] {
			if certain && h.heard[o] <= reach[o] {
				reset[o] = max(reset[o], upTo)
			} else if upTo > 0 {
				perhaps[o] = append(perhaps[o], upTo)
			}
		}
	}
	is := func(n int64, exists bool) bool {
		return n == v.N && (exists == v.Exists || v.unsure && n == 0 && !v.Exists)
	}
	if !anyTruth(h, key, reach, reset, perhaps[:origins], is) {
		n, exists := truth(h, key, reach, &reset)
		for _, r := range w.regions {
			p := r.at(h)
			w.note("origin %d, lost %v, at %d, heard of %v, lost %b: %s", r.me, r.gone, p.Pos, p.Ctx[:origins], p.Lost, r.describe(h, key))
		}
		w.note("reset %v, reach %v, heard %v, perhaps %v", reset[:origins], reach[:origins], h.heard[:origins], perhaps[:origins])
		w.fail("history %d, key %d is %d, %v; it should be %d, %v", h.number, key, v.N, v.Exists, n, exists)
	}
}

// direct is how far an origin is known, at most up to reach, by somebody who has heard of its resets.
func (w *world) direct(h *history, o shared.Origin, reach *[shared.MaxOrigins]uint64) (pos uint64) {
	for _, r := range w.regions {
		if r.me == o && !r.gone {
			return reach[o]
		}
		if !r.gone {
			pos = max(pos, r.parts[h.number].direct[o])
		}
	}
	return min(pos, reach[o])
}

// anyTruth reports whether the key may be what is asks for, with some of what perhaps happened.
func anyTruth(h *history, key int, reach *[shared.MaxOrigins]uint64, reset [shared.MaxOrigins]uint64, perhaps [][]uint64, is func(int64, bool) bool) bool {
	o := len(perhaps) - 1
	for o >= 0 && len(perhaps[o]) == 0 {
		o--
	}
	if o < 0 {
		return is(truth(h, key, reach, &reset))
	}
	if anyTruth(h, key, reach, reset, perhaps[:o], is) {
		return true
	}
	slices.Sort(perhaps[o])
	for _, upTo := range slices.Compact(perhaps[o]) {
		if upTo <= reset[o] {
			continue
		}
		with := reset
		with[o] = upTo
		if anyTruth(h, key, reach, with, perhaps[:o], is) {
			return true
		}
	}
	return false
}

// truth is what a key should be where each origin's operations are reset up to a position.
func truth(h *history, key int, reach, reset *[shared.MaxOrigins]uint64) (n int64, exists bool) {
	var base shared.Base
	for i := range h.ops {
		o := &h.ops[i]
		if o.key != key || o.pos > reach[o.at] || o.pos <= reset[o.at] || o.resets != nil && o.base.Stamp == 0 {
			continue
		}
		exists = true
		n += o.delta
		if b := o.base; b.Stamp > base.Stamp || b.Stamp == base.Stamp && b.Value > base.Value {
			base = b
		}
	}
	return n + base.Value, exists
}
