package regionmodel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"quipu/engine/shared"
)

// Keys is how many keys a history has.
const Keys = 2

// Store keeps the keys of a part, as shared.Store.
type Store struct {
	Names   *[Keys][]byte // which differ in the last byte: a, b
	Content [Keys][]byte
}

func index(name []byte) int { return int(name[len(name)-1] - 'a') }

// Read implements shared.Store.
func (s *Store) Read(name []byte, k *shared.Key) {
	*k = shared.Key{Others: k.Others[:0]}
	if b := s.Content[index(name)]; b != nil {
		if err := k.Load(b); err != nil {
			panic(fmt.Sprintf("BUG: a key that was stored as %x: %v", b, err))
		}
	}
}

// Write implements shared.Store.
func (s *Store) Write(name []byte, k *shared.Key, _ bool) {
	i := index(name)
	s.Content[i] = nil
	if !k.Empty() {
		s.Content[i] = k.Append(nil)
	}
}

// Fetch implements shared.Store.
func (s *Store) Fetch([]shared.Row) {}

// Quick implements shared.Store: the rules know no quick way.
func (s *Store) Quick(shared.Origin, uint64, *shared.Row) bool { return false }

// Each implements shared.Store.
func (s *Store) Each(fn func(name []byte, k *shared.Key) (write, changed bool)) {
	each(s, s, fn)
}

// each is Each of s, which writes to another store.
func each(s *Store, to shared.Store, fn func(name []byte, k *shared.Key) (write, changed bool)) {
	var k shared.Key
	for i, name := range s.Names {
		if s.Content[i] == nil {
			continue
		}
		s.Read(name, &k)
		if write, changed := fn(name, &k); write {
			to.Write(name, &k, changed)
		}
	}
}

// part is one part of a region.
type part struct {
	shared.Part
	Store
	number  int
	version uint64 // another one whenever anything changed
	changed [Keys]uint64
	rows    [Keys][]oldRow            // those that were the own share alone, as the engine has them ready
	trimmed uint64                    // changes up to here are not known any more
	acked   [shared.MaxOrigins]uint64 // by origin of the receiver
	direct  [shared.MaxOrigins]uint64 // how far it has heard each origin itself, and so of its resets: others do not tell of those
}

// oldRow is a row as it was at a position.
type oldRow struct {
	pos uint64
	row []byte
}

// Write implements shared.Store, in place of the Store's.
func (p *part) Write(name []byte, k *shared.Key, changed bool) {
	p.Store.Write(name, k, changed)
	if !changed {
		return
	}
	i := index(name)
	p.changed[i] = p.Pos
	if _, front, _ := shared.Quick(p.Content[i], &p.Part); front > 0 {
		p.rows[i] = append(slices.Clip(p.rows[i]), oldRow{p.Pos, shared.AppendQuickRow(nil, name, p.Content[i][:front])})
	}
}

// Quick implements shared.Store, in place of the Store's: it is tried with every other frame.
func (p *part) Quick(o shared.Origin, to uint64, row *shared.Row) bool {
	content := p.Content[index(row.Key)]
	_, _, ok := shared.Quick(content, &p.Part)
	return ok && to%2 == 0 && shared.QuickMerge(content, o, to, row)
}

// Each implements shared.Store, in place of the Store's.
func (p *part) Each(fn func(name []byte, k *shared.Key) (write, changed bool)) {
	each(&p.Store, p, fn)
}

// frame is what the region tells another one that has acknowledged its origin up to from, by the rules. Of every other frame, rows as they have
// been since then stand before those as they are.
func (p *part) frame(from uint64) []byte {
	if from < p.trimmed || from > p.Pos {
		return shared.AppendFull(nil, &p.Part, p)
	}
	b := shared.AppendFrame(nil, shared.FrameDelta, p.Me, from, p.Pos)
	for i, name := range p.Names {
		if p.changed[i] > from {
			for _, old := range p.rows[i] {
				if old.pos > from && from%2 == 0 {
					b = append(b, old.row...)
				}
			}
			var k shared.Key
			p.Read(name, &k)
			b = k.AppendRow(b, name)
		}
	}
	return b
}

// seen is what the region has incorporated of each origin.
func (p *part) seen() *[shared.MaxOrigins]uint64 {
	seen := p.Ctx
	seen[p.Me] = p.Pos
	return &seen
}

// region is one region, by the rules, and what keeps it as the server does.
type region struct {
	name   string
	me     shared.Origin
	table  []shared.Origin // incarnations that it knows, in the order in which it came to
	parts  []*part         // of the histories
	gone   bool
	now    int64 // log time
	skew   int64 // of its clock
	mirror Mirror
	image  any // of a backup: the mirror's
}

// newRegion makes a region. With a mirror it may have counted before it was one.
func (w *world) newRegion(i int) *region {
	r := &region{name: string(rune('r' + i)), now: 1, skew: w.rnd.Int64N(10)}
	r.me = w.incarnation(i, Incarnation{Name: r.name, Number: 1})
	r.table = []shared.Origin{r.me}
	var before []Command
	for n, h := range w.histories {
		p := &part{Part: shared.Part{Me: r.me, Now: r.now}, Store: Store{Names: &[Keys][]byte{[]byte("a"), []byte("b")}}}
		if w.cfg.Place != nil {
			for key := range p.Names {
				p.number, p.Names[key] = w.cfg.Place(n, key)
			}
		}
		r.parts = append(r.parts, p)
		if w.cfg.Mirror != nil && w.rnd.IntN(4) == 0 {
			before = append(before, w.countedBefore(h, r))
		}
	}
	if w.cfg.Mirror == nil {
		return r
	}
	var err error
	if r.mirror, err = w.cfg.Mirror(r.name, before, r.now); err != nil {
		w.fail("a new region: %v", err)
	}
	return r
}

// countedBefore is a command that was given before there was a region, which then counts as if it were given at once.
func (w *world) countedBefore(h *history, r *region) Command {
	p, key := r.at(h), w.rnd.IntN(Keys)
	c := Command{Kind: Set, N: w.rnd.Int64N(9) - 4, Part: p.number, Key: p.Names[key], Now: r.now}
	var k shared.Key
	k.Add(&p.Part, c.N)
	h.ops = append(h.ops, op{at: r.me, pos: p.Pos, key: key, delta: c.N})
	if key == 1 {
		c.Deadline = r.now + 1 + w.rnd.Int64N(40)
		k.Expire(&p.Part, c.Deadline)
	}
	p.Write(p.Names[key], &k, true)
	return c
}

// at is the region's part of a history, at the region's time.
func (r *region) at(h *history) *part {
	p := r.parts[h.number]
	p.Now = r.now
	return p
}

// isLost reports whether the region knows that an incarnation is lost, which it does in all parts.
func (r *region) isLost(o shared.Origin) bool { return r.parts[0].IsLost(o) }

func (r *region) copy() *region {
	c := *r
	c.parts = make([]*part, len(r.parts))
	for i, p := range r.parts {
		q := *p
		for key := range q.Content {
			q.Content[key] = bytes.Clone(q.Content[key])
		}
		c.parts[i] = &q
	}
	c.table = slices.Clone(r.table)
	return &c
}

// Kind says what a command does.
type Kind uint8

// Kinds of commands.
const (
	Add    Kind = iota // INCRBY N
	Delete             // DEL
	Set                // SET N, with a deadline if that is not 0
	Expire             // PEXPIREAT, or PERSIST if the deadline is 0
)

// Command is what a client of a region asks for.
type Command struct {
	Kind        Kind
	N, Deadline int64
	Part        int // from here on set for a Mirror only
	Key         []byte
	Now         int64 // log time in ms
}

// View is what a client sees of a key.
type View struct {
	N        int64
	Exists   bool
	Deadline int64 // log time in ms, 0: none
}

// Incarnation is one incarnation of a region's data.
type Incarnation struct {
	Name   string
	Number uint64 // later ones are higher
	Lost   bool
}

// Mirror keeps a region as the server does. now is log time in ms; it never goes back, but for a Restore. Numbers of origins in frames are
// places in the table of the region that made them. Errors say what differs from what should be.
type Mirror interface {
	// Do has a client give a command for a key that existed or did not, and has the value n then.
	Do(c Command, existed bool, n int64) error
	// Shows compares what clients see of a key.
	Shows(part int, key []byte, now int64, want View) error
	// Frame is what the region tells another one that has incorporated it up to from; of lost incarnations LostFrame.
	Frame(part int, from uint64, now int64, rnd *rand.Rand) []byte
	LostFrame(part int, o shared.Origin, now int64, rnd *rand.Rand) []byte
	// Hello has another region say what it knows of incarnations; Merge has it send a frame.
	Hello(from Incarnation, table []Incarnation, now int64) error
	Merge(part int, from Incarnation, frame []byte, table []Incarnation, now int64) (v shared.Verdict, at uint64, err error)
	// Lost has an operator declare a region lost.
	Lost(name string, now int64) error
	// Forget has an operator forget what is lost of a region.
	Forget(name string, now int64) error
	// Reclaim has a replica, and not the others, free memory.
	Reclaim(part int, now int64, rnd *rand.Rand)
	// Backup makes an image of the region; it may be what a replica goes on from. Restore has the region go on from one, as an incarnation.
	Backup(now int64, rnd *rand.Rand) (image any, err error)
	Restore(image any, now int64) (Incarnation, error)
	// Same compares the replicas, and what they know of incarnations with a table.
	Same(now int64, table []Incarnation) error
	Close()
}
