package regionmodel

import (
	"bytes"
	"slices"

	"quipu/engine/shared"
)

// What regions hear of each other.

// send puts frames from one region to another on their way.
func (w *world) send(h *history, from, to int) {
	a, b := w.regions[from], w.regions[to]
	if a.gone || b.gone || w.cut[from][to] {
		return
	}
	p := a.at(h)
	since := p.acked[b.me]
	if w.rnd.IntN(8) == 0 {
		since = uint64(w.rnd.Int64N(int64(since) + 1))
	}
	if since < p.Pos {
		h.pool = append(h.pool, w.tell(h, from, to, since))
	}
	for n, o := range a.table {
		if a.isLost(o) && w.rnd.IntN(2) == 0 {
			h.pool = append(h.pool, w.tellLost(h, from, to, n))
		}
	}
}

func (w *world) message(from, to int, frame []byte) message {
	a := w.regions[from]
	return message{from: from, to: to, frame: frame, origin: a.me, table: a.table[:len(a.table):len(a.table)], lost: a.parts[0].Lost}
}

// tell makes a frame of what changed since a position.
func (w *world) tell(h *history, from, to int, since uint64) message {
	a := w.regions[from]
	p := a.at(h)
	if a.mirror != nil {
		return w.message(from, to, a.mirror.Frame(p.number, since, a.now, w.rnd))
	}
	return w.message(from, to, p.frame(since))
}

// tellLost makes a frame of the incarnation that has place n in the sender's table.
func (w *world) tellLost(h *history, from, to, n int) message {
	a := w.regions[from]
	p := a.at(h)
	if a.mirror != nil {
		return w.message(from, to, a.mirror.LostFrame(p.number, shared.Origin(n), a.now, w.rnd))
	}
	return w.message(from, to, shared.AppendLost(nil, &p.Part, p, a.table[n]))
}

// deliver has a frame arrive that is on its way, out of order.
func (w *world) deliver(h *history) {
	if len(h.pool) == 0 {
		return
	}
	i := w.rnd.IntN(len(h.pool))
	m := h.pool[i]
	fate := w.rnd.IntN(10)
	if fate >= 2 { // else it comes again
		h.pool = slices.Delete(h.pool, i, i+1)
	}
	if fate == 9 || w.cut[m.from][m.to] {
		return
	}
	w.arrive(h, m)
}

// arrive has a frame arrive, and reports whether anything changed by it.
func (w *world) arrive(h *history, m message) (changed bool) {
	a, b := w.regions[m.from], w.regions[m.to]
	if b.gone {
		return false
	}
	f, err := shared.OpenFrame(m.frame)
	if err != nil {
		w.fail("a frame %x: %v", m.frame, err)
	}
	b.now = max(b.now, w.now+b.skew)
	if f.Kind != shared.FrameLost && w.rnd.IntN(2) == 0 {
		m.lost = 0 // it was declared lost after HELLO
	}
	if !w.hello(b, &m) {
		return false
	}
	var as *[shared.MaxOrigins]shared.Origin // frames of the rules have the numbers that all go by
	origin := f.Origin
	if b.mirror != nil {
		as = &[shared.MaxOrigins]shared.Origin{}
		copy(as[:], m.table)
		origin = as[f.Origin]
	}
	p := b.at(h)
	was, content := *p.seen(), p.Content
	verdict, err := shared.Apply(&p.Part, p, m.frame, as)
	if err != nil {
		w.fail("applying %x: %v", m.frame, err)
	}
	w.note("history %d, frame %d of %d, %d to %d, from %d at %d: %d; at %d then", h.number, f.Kind, origin, f.From, f.To, m.origin, p.Me, verdict, p.Pos)
	w.mirrored(h, b, m, origin, verdict)
	if f.Kind != shared.FrameLost && verdict == shared.Applied {
		p.direct[origin] = max(p.direct[origin], f.To)
	}
	h.heard[origin] = max(h.heard[origin], p.Ctx[origin])
	if !w.lost() && w.rnd.IntN(4) == 0 {
		v := b.look(h, 0)
		w.judgeKey(h, 0, &v, p.seen())
	}
	if f.Kind != shared.FrameLost && origin == a.me {
		a.parts[h.number].acked[b.me] = p.Ctx[origin] // at a gap it is lower
	}
	if was != *p.seen() || !bytes.Equal(content[0], p.Content[0]) || !bytes.Equal(content[1], p.Content[1]) {
		w.changed(p)
		return true
	}
	return false
}

// mirrored has the frame arrive at the mirror, where as much must become of it.
func (w *world) mirrored(h *history, b *region, m message, origin shared.Origin, verdict shared.Verdict) {
	if b.mirror == nil {
		return
	}
	p := b.at(h)
	v, at, err := b.mirror.Merge(p.number, w.incarnations[m.origin], m.frame, w.incarnationsOf(m.table, 0), b.now)
	if err != nil || v != verdict || v != shared.Refused && at != p.Ctx[origin] {
		w.fail("history %d, origin %d at %d: a frame of %d: %d, %d, %v; by the rules %d, %d", h.number, p.Me, b.now, origin, v, at, err, verdict, p.Ctx[origin])
	}
	if verdict == shared.Applied {
		for key := range Keys {
			w.shows(h, b, key)
		}
	}
}

// hello has a region learn what the sender of a message knows of incarnations; false: it does not listen to that one any more.
func (w *world) hello(b *region, m *message) bool {
	news := false
	for _, o := range m.table {
		news = news || !slices.Contains(b.table, o) || m.lost>>o&1 != 0 && !b.isLost(o) && w.of[o] != m.to
	}
	switch {
	case !news:
		return true
	case b.isLost(m.origin):
		return false
	}
	for _, o := range append(m.table, m.origin) {
		w.learn(b, o)
		if m.lost>>o&1 != 0 && w.of[o] != m.to {
			w.lose(b, o)
		}
	}
	if b.mirror != nil {
		if err := b.mirror.Hello(w.incarnations[m.origin], w.incarnationsOf(m.table, m.lost), b.now); err != nil {
			w.fail("HELLO of %d to %d at %d: %v", m.origin, b.me, b.now, err)
		}
	}
	return true
}

// learn has a region know an incarnation: of those of one region, all but the last are lost.
func (w *world) learn(r *region, o shared.Origin) {
	if slices.Contains(r.table, o) {
		return
	}
	r.table = append(r.table, o)
	later, before := false, -1
	for _, x := range r.table {
		if w.of[x] == w.of[o] {
			later = later || x > o
			if x < o {
				before = max(before, int(x))
			}
		}
	}
	if later {
		w.lose(r, o)
	} else if before >= 0 {
		w.lose(r, shared.Origin(before))
	}
}

// lose tells a region that an incarnation of another one, or an older one of itself, is lost; naming it names all before it.
func (w *world) lose(r *region, lost shared.Origin) {
	for _, o := range r.table {
		if w.of[o] != w.of[lost] || o > lost || r.isLost(o) || o == r.me {
			continue
		}
		for _, h := range w.histories {
			p := r.at(h)
			shared.Lose(&p.Part, p, o)
			w.changed(p)
		}
		w.note("origin %d knows that %d is lost", r.me, o)
	}
}

// settle heals the network and lets all regions exchange what they have until nothing changes any more.
func (w *world) settle(h *history) {
	w.cut = [8][8]bool{}
	for len(h.pool) > 0 {
		w.deliver(h)
	}
	for range 12 {
		if !w.exchange(h) {
			break
		}
	}
}

// exchange has each region tell each other one all it does not know, and reports whether that changed anything.
func (w *world) exchange(h *history) (changed bool) {
	w.declareLost()
	for i, a := range w.regions {
		for j, b := range w.regions {
			if i == j || a.gone || b.gone {
				continue
			}
			knew, lost := len(b.table), b.parts[0].Lost
			m := w.message(i, j, nil)
			w.hello(b, &m)
			changed = changed || len(b.table) != knew || b.parts[0].Lost != lost
			for n, o := range a.table {
				pair, p, q := [3]int{i, j, n}, a.at(h), b.at(h)
				if a.isLost(o) && h.told[pair] != [2]uint64{p.version, q.version} {
					changed = w.arrive(h, w.tellLost(h, i, j, n)) || changed
					h.told[pair] = [2]uint64{p.version, q.version}
				}
			}
			for range 2 {
				if p := a.at(h); p.acked[b.me] < p.Pos {
					w.arrive(h, w.tell(h, i, j, p.acked[b.me]))
					changed = true
				}
			}
		}
	}
	return changed
}
