// Package regionmodel plays random histories of regions that count the same keys, and judges what they come to.
//
// A history is one part of the keyspace with two keys, some regions, and a network that loses, repeats, delays and reorders frames,
// in one or both directions. Regions truncate what they know of changes, go back to old backups, and are lost for good. What
// the first key should come to is judged from outside (judge.go): a reset kills what its region had incorporated; an increment lives
// if no reset saw it; the newest base that no reset saw is the base. The second key has deadlines too, by clocks that
// differ; it is judged by what each client sees of its own work, by all regions being equal in the end, and by what becomes
// of a last EXPIRE, PERSIST or DEL when all have heard of it and time has passed.
//
// Regions keep what the rules of package engine/shared say in two slices (region.go). Each may have a Mirror beside, which keeps it as the
// server does: it is told all that happens, its frames are those that are sent, and it must show what the rules lead to. The
// regions of a mirror are expensive to make, so several histories, in as many parts, may share them: then what
// happens to a region as a whole happens to it in all of them.
package regionmodel

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"quipu/engine/shared"
)

// TraceEnv set to 1 has a history that fails say what happened in it.
const TraceEnv = "QUIPU_REGION_TRACE"

// Config says what is played.
type Config struct {
	Least, Most int // regions
	Histories   int // that share them, each in a part of its own
	// Mirror makes the mirror of a region, where commands for different parts were given before it was one; nil: there are none. Parts and
	// names of keys are those of Place.
	Mirror func(name string, before []Command, now int64) (Mirror, error)
	Place  func(history, key int) (part int, name []byte)
}

// op is a mutation, as the judge knows it.
type op struct {
	at     shared.Origin
	pos    uint64 // of the origin, when it was done
	key    int
	delta  int64
	base   shared.Base                // of a SET
	resets *[shared.MaxOrigins]uint64 // of a SET or DEL: what it had incorporated of each origin
}

// message is a frame on its way.
type message struct {
	from, to int // regions
	frame    []byte
	origin   shared.Origin // the sender's incarnation
	table    []shared.Origin
	lost     uint64 // incarnations that the sender says are lost, in HELLO
}

// history is one part of all regions.
type history struct {
	number int
	told   map[[3]int][2]uint64      // versions of two regions when one had told the other of a lost incarnation
	heard  [shared.MaxOrigins]uint64 // how far anybody has ever incorporated each origin
	pool   []message
	ops    []op
}

type world struct {
	testing.TB
	cfg          Config
	seed         uint64
	rnd          *rand.Rand
	regions      []*region
	backups      []*region
	histories    []*history
	incarnations []Incarnation // their places are the numbers that the rules go by
	of           []int         // the region of each
	cut          [8][8]bool
	now          int64
	versions     uint64
	trace        []string
	tracing      bool
}

// Play plays the histories of a seed.
func Play(tb testing.TB, cfg Config, seed uint64) {
	w := &world{TB: tb, cfg: cfg, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), now: 1, tracing: os.Getenv(TraceEnv) == "1"}
	n := cfg.Least + w.rnd.IntN(cfg.Most-cfg.Least+1)
	w.backups = make([]*region, n)
	for i := range max(cfg.Histories, 1) {
		w.histories = append(w.histories, &history{number: i, told: map[[3]int][2]uint64{}})
	}
	for i := range n {
		w.regions = append(w.regions, w.newRegion(i))
	}
	for range (20 + w.rnd.IntN(100)) * len(w.histories) {
		w.step()
	}
	w.pass(10) // clocks have differed by less
	for _, h := range w.histories {
		w.settle(h)
		w.judge(h)
	}
	w.forget()
	for _, h := range w.histories {
		w.judgeDeadlines(h)
	}
	for _, r := range w.regions {
		if r.mirror != nil {
			w.same(r)
			r.mirror.Close()
		}
	}
}

func (w *world) note(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf(format, args...))
	}
}

func (w *world) fail(format string, args ...any) {
	for _, line := range w.trace {
		w.Log(line)
	}
	w.Fatalf("seed %d: %s", w.seed, fmt.Sprintf(format, args...))
}

// changed says that anything of a part has changed.
func (w *world) changed(p *part) {
	w.versions++
	p.version = w.versions
}

// incarnation numbers an incarnation of a region.
func (w *world) incarnation(i int, is Incarnation) shared.Origin {
	w.incarnations, w.of = append(w.incarnations, is), append(w.of, i)
	return shared.Origin(len(w.of) - 1)
}

// act has a client do something.
func (w *world) act(h *history, r *region) {
	key, what := w.rnd.IntN(Keys), w.rnd.IntN(14)
	w.now += w.rnd.Int64N(2)
	r.now = w.now + r.skew
	c := Command{Kind: Add, N: w.rnd.Int64N(9) - 4}
	switch {
	case what < 6:
	case what < 9:
		c = Command{Kind: Delete}
	case what < 10:
		c = Command{Kind: Set, N: w.rnd.Int64N(100)}
	case key == 0:
		return
	case what < 11:
		c = Command{Kind: Set, N: w.rnd.Int64N(100), Deadline: r.now + 1 + w.rnd.Int64N(40)}
	default:
		c = Command{Kind: Expire, Deadline: r.now + 1 + w.rnd.Int64N(40)}
		if what == 13 {
			c.Deadline = 0
		}
	}
	w.do(h, r, key, c)
}

// do has a client give a command, and checks what that client sees.
func (w *world) do(h *history, r *region, key int, c Command) {
	p := r.at(h)
	var k shared.Key
	p.Read(p.Names[key], &k)
	before, existed := k.Value(&p.Part)
	was := max(0, k.Wish(&p.Part).Deadline)
	if c.Kind == Expire && (!existed || c.Deadline == 0 && !k.Mortal(&p.Part)) {
		return // commands do nothing then
	}
	o := op{at: p.Me, key: key}
	seen := p.seen() // a reset has not seen itself
	n, exists, deadline := before, true, c.Deadline
	changed := true
	switch c.Kind {
	case Add:
		n, deadline, o.delta = before+c.N, was, c.N
		if content := p.Content[key]; w.rnd.IntN(2) == 0 && shared.AddInPlace(content, &p.Part, c.N) {
			p.Read(p.Names[key], &k)
		} else {
			k.Add(&p.Part, c.N)
		}
		if !existed && before != 0 {
			w.fail("what does not exist is %d", before)
		}
	case Delete:
		o.resets = seen
		changed = k.Delete(&p.Part)
		n, exists = 0, false
	case Set:
		o.resets = seen
		o.base = shared.Base{Stamp: p.Now, Value: c.N}
		n = c.N
		k.Set(&p.Part, c.N)
		if c.Deadline != 0 {
			k.Expire(&p.Part, c.Deadline)
		}
	case Expire:
		k.Expire(&p.Part, c.Deadline)
	}
	if o.pos = p.Pos; changed {
		w.changed(p)
		p.Write(p.Names[key], &k, true)
		h.ops = append(h.ops, o)
	}
	w.note("history %d, origin %d at %d: %+v of key %d; at %d then", h.number, p.Me, p.Now, c, key, p.Pos)
	if r.mirror != nil {
		c.Part, c.Key, c.Now = p.number, p.Names[key], r.now
		if err := r.mirror.Do(c, existed, n); err != nil {
			w.fail("history %d, origin %d at %d, %+v of key %d: %v", h.number, p.Me, p.Now, c, key, err)
		}
	}
	w.sees(h, r, key, View{n, exists, deadline})
	w.shows(h, r, key)
}

// sees demands what a client sees of a key after its command.
func (w *world) sees(h *history, r *region, key int, want View) {
	if got := r.look(h, key).View; got != want {
		w.fail("history %d, origin %d at %d sees %+v of key %d; it should be %+v: %s", h.number, r.me, r.now, got, key, want, r.describe(h, key))
	}
}

// shows demands that the mirror shows what the region has of a key.
func (w *world) shows(h *history, r *region, key int) {
	if r.mirror == nil {
		return
	}
	p := r.at(h)
	if err := r.mirror.Shows(p.number, p.Names[key], r.now, r.look(h, key).View); err != nil {
		w.fail("history %d, origin %d at %d: key %d: %v; by the rules it is %s", h.number, p.Me, r.now, key, err, r.describe(h, key))
	}
}

// same demands that the replicas of the mirror are the same, and sound.
func (w *world) same(r *region) {
	if r.mirror == nil {
		return
	}
	if err := r.mirror.Same(r.now, w.list(r)); err != nil {
		w.fail("origin %d at %d: %v", r.me, r.now, err)
	}
}

// list is what a region knows of incarnations, as it numbers them.
func (w *world) list(r *region) []Incarnation { return w.incarnationsOf(r.table, r.parts[0].Lost) }

func (w *world) incarnationsOf(table []shared.Origin, lost uint64) (list []Incarnation) {
	for _, o := range table {
		is := w.incarnations[o]
		is.Lost = lost>>o&1 != 0
		list = append(list, is)
	}
	return list
}

// step does one thing, of a region in one history or of a region as a whole.
func (w *world) step() {
	h := w.histories[w.rnd.IntN(len(w.histories))]
	i, j := w.rnd.IntN(len(w.regions)), w.rnd.IntN(len(w.regions))
	r := w.regions[i]
	switch what := w.rnd.IntN(200); {
	case what < 70:
		if !r.gone {
			w.act(h, r)
		}
	case what < 120:
		if i != j {
			w.send(h, i, j)
		}
	case what < 180:
		w.deliver(h)
	case what < 184:
		w.truncate(h, r)
	case w.rnd.IntN(len(w.histories)) > 0: // else these would happen in each of them as often as there are histories
	case what < 190:
		w.cut[i][j] = !w.cut[i][j]
	case what < 195:
		w.backup(i)
	case what < 198:
		w.restore(i)
	default:
		w.remove(i)
	}
}

// truncate has a region forget what changed, or a replica free memory.
func (w *world) truncate(h *history, r *region) {
	p := r.at(h)
	p.trimmed = p.Pos
	if r.mirror != nil && !r.gone {
		r.mirror.Reclaim(p.number, r.now, w.rnd)
		for key := range Keys {
			w.shows(h, r, key)
		}
		if w.rnd.IntN(16) == 0 {
			w.same(r)
		}
	}
}

func (w *world) backup(i int) {
	r := w.regions[i]
	if r.gone {
		return
	}
	w.backups[i] = r.copy()
	if r.mirror != nil {
		image, err := r.mirror.Backup(r.now, w.rnd)
		if err != nil {
			w.fail("a backup of %d: %v", r.me, err)
		}
		w.backups[i].image = image
	}
}

// restore brings a region back as its backup was, as another incarnation.
func (w *world) restore(i int) {
	b, was := w.backups[i], w.regions[i] // the backup may be of any earlier incarnation
	if b == nil || was.gone || len(w.incarnations) > 24 {
		return
	}
	w.now += 2 // no two incarnations begin at once
	r := b.copy()
	r.mirror = was.mirror
	is := Incarnation{Name: r.name, Number: w.incarnations[was.me].Number + 1}
	r.now = max(r.now, w.now+r.skew)
	if r.mirror != nil {
		var err error
		if is, err = r.mirror.Restore(b.image, r.now); err != nil {
			w.fail("a backup of %d for %d: %v", b.me, was.me, err)
		}
	}
	r.me = w.incarnation(i, is)
	r.table = append(slices.Clone(r.table), r.me)
	for n, h := range w.histories {
		p := r.at(h)
		p.direct[p.Me] = p.Pos
		h.heard[p.Me] = max(h.heard[p.Me], p.Pos)
		shared.Restore(&p.Part, p, r.me)
		w.changed(p)
		p.changed, p.rows = [Keys]uint64{}, [Keys][]oldRow{}
		p.trimmed, p.acked = p.Pos+1, [shared.MaxOrigins]uint64{}
		w.note("history %d, origin %d begins as %d, from position %d of %d", n, was.me, r.me, p.Ctx[b.me], b.me)
	}
	w.regions[i] = r
}

// remove loses a region for good; another one is told.
func (w *world) remove(i int) {
	living := slices.DeleteFunc(slices.Clone(w.regions), func(r *region) bool { return r.gone })
	if len(living) < 3 || w.regions[i].gone {
		return
	}
	w.regions[i].gone = true
	w.declareLost()
}

// declareLost has an operator tell one region of those that are gone, which may not have heard of them, and may itself go back to a backup.
func (w *world) declareLost() {
	r := w.regions[slices.IndexFunc(w.regions, func(r *region) bool { return !r.gone })]
	for i, gone := range w.regions {
		if !gone.gone {
			continue
		}
		last := -1
		for _, o := range r.table {
			if w.of[o] == i && !r.isLost(o) {
				last = max(last, int(o))
			}
		}
		if last < 0 {
			continue
		}
		w.lose(r, shared.Origin(last))
		if r.mirror != nil {
			if err := r.mirror.Lost(gone.name, r.now); err != nil {
				w.fail("origin %d at %d: %v", r.me, r.now, err)
			}
		}
	}
}

// Environment variables that say which seeds are played.
const (
	SeedEnv  = "QUIPU_REGION_SEED"  // the first one
	SeedsEnv = "QUIPU_REGION_SEEDS" // how many histories
)

// Seeds are the seeds of a test that plays as many histories, some together, unless the environment says otherwise.
func Seeds(tb testing.TB, histories, together int) iter.Seq[uint64] {
	number := func(env string, usual uint64) uint64 {
		text := os.Getenv(env)
		if text == "" {
			return usual
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			tb.Fatalf("%s: %v", env, err)
		}
		return n
	}
	first, n := number(SeedEnv, 0), number(SeedsEnv, uint64(histories))
	n = (n + uint64(together) - 1) / uint64(together)
	return func(yield func(uint64) bool) {
		for seed := first; seed < first+n && yield(seed); seed++ {
		}
	}
}
