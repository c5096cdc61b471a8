package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"quipu/engine/cms"
	"quipu/engine/hll"
	"quipu/engine/shared"
	"quipu/engine/topk"
)

// sketchKey is one of a few names, all in one part.
func sketchKey(i int) []byte { return fmt.Appendf(nil, "{k}%d", i) }

// sketchWorld is regions of two nodes that add to sketches and counters of a few names, and tell each other by frames that come late, twice or
// never. The nodes of a region have the same checksum at each step, though only one of them reclaims or is loaded from a snapshot. In the end all
// regions have the same. Where nothing expires and no region is renewed they have exactly what was added to the sketch that has won: to that
// generation, kind and shape.
type sketchWorld struct {
	*testing.T
	seed     uint64
	rnd      *rand.Rand
	clock    int64
	part     int
	regions  []*sketchRegion
	flying   []flyingFrame
	mortal   bool // there are deadlines, and clocks that differ
	healing  bool
	renewed  bool                // regions begin anew from backups
	added    map[string][]uint64 // by name and identity: the items
	conflict map[int]bool        // names that are counters somewhere
}

type sketchRegion struct {
	name   string
	nodes  [2]*Keyspace
	ahead  int64 // of the clock
	told   map[string]uint64
	links  map[string]*sketchLink
	backup []byte
}

// sketchLink has one frame under way: the next is made when that has arrived, or from the beginning of what is not confirmed, in another session.
type sketchLink struct {
	rest    SketchRest
	waiting bool
	session int
}

func (l *sketchLink) breaks() { l.rest, l.waiting, l.session = SketchRest{}, false, l.session+1 }

type flyingFrame struct {
	to, origin string
	frame      []byte
	of         *sketchLink // of a sketch frame
	session    int
	table      []RegionOrigin // of the sender
}

func newSketchWorld(t *testing.T, seed uint64) *sketchWorld {
	w := &sketchWorld{
		T: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 21)), clock: 1_000_000, part: Part(sketchKey(0)), mortal: seed%3 > 0, renewed: seed%3 == 2,
		added: map[string][]uint64{}, conflict: map[int]bool{},
	}
	for i := range 3 {
		r := &sketchRegion{name: string(rune('a' + i)), told: map[string]uint64{}, links: map[string]*sketchLink{}}
		if w.mortal {
			r.ahead = w.rnd.Int64N(40)
		}
		for j := range r.nodes {
			ks := New(Config{Databases: 1, Seed: uint64(i*2 + j)})
			ks.SetRegionRing(1)
			r.nodes[j] = ks
			if _, err := ks.Txn(0, w.clock, false).OpenRegions(r.name, []string{"{k}*"}, 0); err != nil {
				t.Fatal(err)
			}
		}
		w.regions = append(w.regions, r)
	}
	return w
}

func (w *sketchWorld) close() {
	for _, r := range w.regions {
		for _, ks := range r.nodes {
			ks.Close()
		}
	}
}

func (r *sketchRegion) me() RegionOrigin {
	setup, _ := r.nodes[0].Regions()
	return setup.Origins[setup.Me]
}

func (w *sketchWorld) now(r *sketchRegion) int64 { return w.clock + r.ahead }

// both does something on both nodes of a region, with the part locked, and demands the same result.
func (w *sketchWorld) both(r *sketchRegion, do func(t Txn) string) (got string) {
	for i, ks := range r.nodes {
		ks.LockPart(w.part)
		s := do(ks.Txn(0, w.now(r), false))
		ks.UnlockPart(w.part)
		if i > 0 && s != got {
			w.Fatalf("seed %d: %s and %s", w.seed, got, s)
		}
		got = s
	}
	return got
}

// identity is what tells sketches of one name apart.
func identity(t Txn, part int, name []byte) string {
	m := t.readSketch(t.ks.sharedPart(part, t.now), part, name)
	v, _ := t.Get(name)
	return fmt.Sprintf("%s %d %d %x", name, m.Gen, m.Kind, shared.Shape(m.Kind, v.Bytes))
}

func (w *sketchWorld) add(r *sketchRegion, i int) {
	name, item, what := sketchKey(i), w.rnd.Uint64N(1000), w.rnd.IntN(4)
	if w.rnd.IntN(4) > 0 {
		what = i % 4 // mostly the same kind
	}
	width := int64(7)
	if w.rnd.IntN(8) == 0 {
		width = 9
	}
	var id string
	w.both(r, func(t Txn) string {
		v, ok := t.Get(name)
		kind := sketchKind(v.Kind, v.Bytes)
		switch {
		case ok && kind == shared.SketchNone || !ok && what == 0:
			w.conflict[i] = true
			n, err := t.Add(name, 1)
			id = ""
			return fmt.Sprint(n, err)
		case !ok:
			kind = shared.SketchKind(what)
		}
		addSketchItem(t, name, kind, item, width)
		id = identity(t, w.part, name)
		return id
	})
	if id != "" {
		w.added[id] = append(w.added[id], item)
	}
}

// addSketchItem does what PFADD, CMS.INCRBY and TOPK.ADD do.
func addSketchItem(t Txn, name []byte, kind shared.SketchKind, item uint64, width int64) {
	element := strconv.AppendUint(nil, item, 10)
	v, found := t.Get(name)
	var c Content
	switch kind {
	case shared.SketchHLL:
		var one [hll.DenseBytes]byte
		copy(one[:], hll.AppendDense(nil, hll.AppendNew(nil), &hll.Table{}))
		at, value := hll.Place(element)
		hll.DenseSet(one[:], at, value)
		own := hll.AppendNew(nil)
		if found {
			own = slices.Clone(v.Bytes)
		}
		joined, _, _ := shared.JoinHLL(own, one[:])
		c = t.Resize(name, len(joined), KindRaw)
		copy(c.Bytes, joined)
	case shared.SketchCMS:
		if !found {
			size, _ := cms.Dimensions(width, 3, 4)
			c = t.Resize(name, size, KindCMS)
			cms.Init(c.Bytes, width, 3, 4, false)
		} else {
			c, _ = t.Content(name)
			c.Touch(0, len(c.Bytes))
		}
		s, _ := cms.Open(c.Bytes)
		var cells cms.Cells
		s.Locate(&cells, element)
		s.Add(cells.All(), 1)
	default:
		if !found {
			size, _ := topk.Dimensions(50, width, 2)
			c = t.Resize(name, size, KindTopK)
			topk.Init(c.Bytes, 50, width, 2, 0.9, 7)
		} else {
			c, _ = t.Content(name)
			c.Touch(0, len(c.Bytes))
		}
		s, _ := topk.Open(c.Bytes)
		if known, enters := s.Count(element, 1); enters {
			if size, _ := s.Room(len(element)); size > len(c.Bytes) {
				c = t.Resize(name, size, KindTopK)
				s, _ = topk.Open(c.Bytes)
			}
			s.Enter(element, known)
		}
	}
	t.Changed(name, c)
}

func (w *sketchWorld) step() {
	r := w.regions[w.rnd.IntN(3)]
	i := w.rnd.IntN(8)
	name := sketchKey(i)
	w.clock += w.rnd.Int64N(10)
	switch what := w.rnd.IntN(100); {
	case what < 40:
		w.add(r, i)
	case what < 44:
		w.both(r, func(t Txn) string { return fmt.Sprint(t.Delete(name)) })
	case what < 45:
		w.both(r, func(t Txn) string { t.SetInt(name, 5, 0); return "" })
		w.conflict[i] = true
	case what < 50 && w.mortal:
		deadline := w.now(r) + 1 + w.rnd.Int64N(100)
		if w.rnd.IntN(3) == 0 {
			deadline = 0
		}
		w.both(r, func(t Txn) string { return fmt.Sprint(t.SetDeadline(name, deadline)) })
	case what < 70:
		if to := w.regions[w.rnd.IntN(3)]; to != r {
			w.send(r, to)
		}
	case what < 90 && len(w.flying) > 0:
		n := w.rnd.IntN(len(w.flying))
		w.deliver(w.flying[n])
		if w.rnd.IntN(5) > 0 {
			w.flying = slices.Delete(w.flying, n, n+1)
		}
	case what < 92:
		if to := w.regions[w.rnd.IntN(3)]; to != r {
			w.digest(r, to)
		}
	case what < 94:
		r.nodes[w.rnd.IntN(2)].Reclaim(w.part, w.now(r), 1+w.rnd.IntN(5))
	case what < 97:
		node := w.rnd.IntN(2)
		w.load(r, node, saved(w.T, r.nodes[node]))
	case what < 98 && w.renewed:
		r.backup = saved(w.T, r.nodes[0])
	case what < 99 && w.renewed && r.backup != nil && len(w.added) > 0:
		if setup, _ := r.nodes[0].Regions(); len(setup.Origins) < 12 {
			w.renew(r)
		}
	}
	if w.rnd.IntN(16) == 0 {
		w.equalNodes(r)
	}
}

func (w *sketchWorld) renew(r *sketchRegion) {
	w.clock++ // an incarnation of its own
	for i := range r.nodes {
		w.load(r, i, r.backup)
		if err := r.nodes[i].Txn(0, w.now(r), false).RenewRegion(); err != nil {
			w.Fatal(err)
		}
	}
	r.told, r.links = map[string]uint64{}, map[string]*sketchLink{}
}

func (w *sketchWorld) load(r *sketchRegion, node int, snapshot []byte) {
	ks := New(Config{Databases: 1, Seed: w.rnd.Uint64()})
	ks.SetRegionRing(1)
	if err := ks.Load(bytes.NewReader(snapshot), int64(len(snapshot)), 1); err != nil {
		w.Fatalf("seed %d: %v", w.seed, err)
	}
	r.nodes[node].Close()
	r.nodes[node] = ks
	for _, l := range r.links {
		l.breaks()
	}
}

// digest demands that whatever two regions have counted, no bucket differs while the one is where the other is.
func (w *sketchWorld) digest(a, b *sketchRegion) {
	w.learn(a, b)
	me := a.me()
	o, _ := b.nodes[0].OriginNumber([]byte(me.Name), me.Incarnation)
	digest := a.nodes[w.rnd.IntN(2)].BeginDigest(w.part).End()
	v, err := b.nodes[w.rnd.IntN(2)].View(0, w.now(b), false).CompareDigest(w.part, o, digest)
	if err != nil || v.Differs != 0 {
		w.Fatalf("seed %d: %+v, %v", w.seed, v, err)
	}
	digestsCompared += v.Compared
}

var digestsCompared int

// learn has region b number what a knows.
func (w *sketchWorld) learn(a, b *sketchRegion) []RegionOrigin {
	setup, _ := a.nodes[0].Regions()
	for _, o := range setup.Origins {
		for _, ks := range b.nodes {
			t := ks.Txn(0, w.now(b), false)
			if _, err := t.RegionOrigin(o); err != nil {
				w.Fatal(err)
			}
			if o.Lost && o.Name != b.name {
				t.LoseRegion(o.Name, o.Incarnation)
			}
		}
	}
	return setup.Origins
}

// send puts frames for b in flight: of sketches, of counters, and of what is lost.
func (w *sketchWorld) send(a, b *sketchRegion) (some bool) {
	table := w.learn(a, b)
	o := a.me()
	id := fmt.Sprint(b.me(), " of ", o)
	link := a.links[id]
	if link == nil {
		link = &sketchLink{}
		a.links[id] = link
	}
	fly := func(frame []byte, of *sketchLink) {
		if len(frame) > 0 {
			w.flying = append(w.flying, flyingFrame{b.name, id, frame, of, link.session, table})
			some = true
		}
	}
	node := a.nodes[w.rnd.IntN(2)]
	if w.rnd.IntN(4) == 0 {
		link.breaks()
	}
	if !link.waiting {
		fly(node.SketchFrame(nil, w.part, a.told[id], &link.rest, w.now(a)), link)
		link.waiting = some
	}
	for _, ks := range a.nodes {
		exactRows(w.T, ks, w.part, a.told[id+" counters"], w.now(a))
	}
	frame, _ := node.Frame(nil, w.part, a.told[id+" counters"], w.now(a))
	fly(frame, nil)
	setup, _ := a.nodes[0].Regions()
	for i, lost := range setup.Origins {
		if !lost.Lost || !w.healing && w.rnd.IntN(4) > 0 {
			continue
		}
		before := some
		fly(node.LostFrame(nil, w.part, shared.Origin(i), w.now(a)), nil)
		for rest := (SketchRest{}); ; {
			frame := node.LostSketches(nil, w.part, shared.Origin(i), &rest, w.now(a))
			if len(frame) == 0 {
				break
			}
			fly(frame, nil)
		}
		some = before
	}
	return some
}

func (w *sketchWorld) deliver(f flyingFrame) {
	i := slices.IndexFunc(w.regions, func(r *sketchRegion) bool { return r.name == f.to })
	to := w.regions[i]
	var as [shared.MaxOrigins]shared.Origin
	for i, o := range f.table {
		ok := false
		if as[i], ok = to.nodes[0].OriginNumber([]byte(o.Name), o.Incarnation); !ok {
			return // it has begun anew since
		}
	}
	at, refused := uint64(0), false
	w.both(to, func(t Txn) string {
		var v shared.Verdict
		var err error
		if shared.IsSketchFrame(f.frame) {
			v, at, err = t.MergeSketches(w.part, f.frame, &as)
		} else {
			v, at, err = t.MergeFrameHeld(w.part, f.frame, &as)
		}
		if err != nil {
			w.Fatalf("seed %d: %v", w.seed, err)
		}
		refused = v == shared.Refused
		return fmt.Sprint(v, at)
	})
	for _, r := range w.regions {
		switch mine := fmt.Sprint(to.me(), " of ", r.me()) == f.origin; {
		case !mine || refused:
		case f.of != nil && f.session == f.of.session:
			r.told[f.origin], f.of.waiting = at, false
		case f.of == nil && f.frame[0] <= byte(shared.FrameFull):
			r.told[f.origin+" counters"] = at
		}
	}
}

func (w *sketchWorld) equalNodes(r *sketchRegion) {
	var sums [2]string
	for i, ks := range r.nodes {
		if err := ks.Check(); err != nil {
			w.Fatalf("seed %d: %v", w.seed, err)
		}
		sums[i] = fmt.Sprint(ks.Checksum(w.now(r)))
	}
	if sums[0] != sums[1] {
		w.Fatalf("seed %d: checksums of %s", w.seed, r.name)
	}
}

// heal delivers everything until nobody has anything to tell.
func (w *sketchWorld) heal() {
	latest := int64(0)
	for _, r := range w.regions {
		latest = max(latest, r.ahead)
	}
	for _, r := range w.regions {
		r.ahead = latest
	}
	w.flying, w.healing = nil, true
	for _, r := range w.regions {
		for _, l := range r.links {
			l.breaks()
		}
	}
	for round := 0; ; round++ {
		quiet := true
		for _, a := range w.regions {
			for _, b := range w.regions {
				if a != b && w.send(a, b) {
					quiet = false
				}
			}
		}
		for _, f := range w.flying {
			w.deliver(f)
		}
		w.flying = nil
		if quiet && round > 3 {
			return
		}
		if round == 150 { // a large sketch has a frame of its own, and each takes a round
			w.Fatalf("seed %d: they never come to rest", w.seed)
		}
	}
}

// shown is what clients of a region see of a name.
func (w *sketchWorld) shown(r *sketchRegion, name []byte) (text, id string) {
	text = w.both(r, func(t Txn) string {
		v, ok := t.Get(name)
		if !ok {
			id = ""
			return "nothing"
		}
		id = identity(t, w.part, name)
		all := [][]byte{v.Bytes}
		switch sketchKind(v.Kind, v.Bytes) {
		case shared.SketchNone:
			return fmt.Sprint("counter ", v.Int, v.Deadline)
		case shared.SketchHLL:
			var registers hll.Table
			registers.Merge(v.Bytes)
			return fmt.Sprintf("hll %x %d", registers, v.Deadline)
		case shared.SketchCMS:
			return fmt.Sprint("cms ", id, v.Deadline, cmsItems(append(all, t.SketchCopies(name)...)))
		}
		return fmt.Sprint("topk ", id, v.Deadline, topkItems(append(all, t.SketchCopies(name)...)))
	})
	return text, id
}

func cmsItems(payloads [][]byte) (counts [1000]int64) {
	for _, b := range payloads {
		s, _ := cms.Open(b)
		for item := range counts {
			var cells cms.Cells
			s.Locate(&cells, strconv.AppendInt(nil, int64(item), 10))
			counts[item] += s.Estimate(cells.All())
		}
	}
	return counts
}

func topkItems(payloads [][]byte) map[string]int64 {
	counts := map[string]int64{}
	for _, b := range payloads {
		s, _ := topk.Open(b)
		for _, ranked := range s.List() {
			counts[string(ranked.Item)] += ranked.Count
		}
	}
	return counts
}

// wanted checks that a sketch has what was added to it, where nothing expires.
func (w *sketchWorld) wanted(name []byte, id string) {
	want := w.added[id]
	r := w.regions[0]
	w.both(r, func(t Txn) string {
		v, _ := t.Get(name)
		payloads := append([][]byte{v.Bytes}, t.SketchCopies(name)...)
		switch sketchKind(v.Kind, v.Bytes) {
		case shared.SketchHLL:
			var registers, is hll.Table
			is.Merge(v.Bytes)
			for _, item := range want {
				var one [hll.DenseBytes]byte
				copy(one[:], hll.AppendDense(nil, hll.AppendNew(nil), &hll.Table{}))
				at, value := hll.Place(strconv.AppendUint(nil, item, 10))
				hll.DenseSet(one[:], at, value)
				registers.Merge(one[:])
			}
			if is != registers {
				w.Errorf("seed %d: %s has other registers than what was added gives", w.seed, id)
			}
		case shared.SketchCMS:
			n := int64(0)
			for _, b := range payloads {
				s, _ := cms.Open(b)
				n += s.Count()
			}
			if n != int64(len(want)) {
				w.Errorf("seed %d: %s counts %d, and %d were added", w.seed, id, n, len(want))
			}
		case shared.SketchTopK:
			n := int64(0)
			for _, count := range topkItems(payloads) {
				n += count
			}
			if n == 0 || n > int64(len(want)) {
				w.Errorf("seed %d: %s counts %d of %d", w.seed, id, n, len(want))
			}
		}
		return ""
	})
}

// TestSharedSketchesConverge plays worlds. QUIPU_ENGINE_SKETCH_SEED begins with one.
func TestSharedSketchesConverge(t *testing.T) {
	defer func(n int) { sketchFrameMax = n }(sketchFrameMax)
	sketchFrameMax = 600
	first, seeds := 0, 60
	if testing.Short() {
		seeds = 20
	}
	if s := os.Getenv("QUIPU_ENGINE_SKETCH_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("QUIPU_ENGINE_SKETCH_SEED"); s != "" {
		first, _ = strconv.Atoi(s)
	}
	for seed := first; seed < first+seeds && !t.Failed(); seed++ {
		w := newSketchWorld(t, uint64(seed))
		for range 100 + w.rnd.IntN(400) {
			w.step()
		}
		w.heal()
		for i := range 8 {
			name := sketchKey(i)
			text, id := w.shown(w.regions[0], name)
			for _, r := range w.regions[1:] {
				if other, _ := w.shown(r, name); other != text {
					t.Fatalf("seed %d: %s is in a %.300s\nand in %s %.300s", seed, name, text, r.name, other)
				}
			}
			if id != "" && !w.mortal {
				w.wanted(name, id)
			}
		}
		for _, r := range w.regions {
			w.equalNodes(r)
		}
		w.close()
	}
	if t.Logf("%d buckets of digests compared", digestsCompared); digestsCompared == 0 {
		t.Error("no digests were compared")
	}
}
