package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"quipu/engine/shared"
	"quipu/internal/glob"
)

// Regions are clusters that count the same keys, each on its own: keys of database 0 whose names match one of the patterns in
// RegionSetup.Keys are *shared*. What is kept of a shared key, and by which rules, stands in package shared; here is where it is kept.
//
// A shared key that exists is a record of KindShared in database 0, whose content is that of shared.Key. Get, Scan and all else show
// it as an integer, so commands need not know. What has to be kept of a key that does not exist, resets that are not confirmed, is its
// *grave*, a record of the hidden database: SCAN, DBSIZE and expiry do not see it.
//
//	hidden database     key                     content, KindRaw
//	the setup           'R'                     RegionSetup
//	a part's state      'r', number of the part position, then of each origin its number and how far it is incorporated
//	a grave             'g', name               that of shared.Key
//	marks               'm'                     regionmarks.go
//	of sketches         'h', 'c', 'q'           regionsketch.go
//
// The record of a shared key has the deadline at which the key ceases to exist; what is left then becomes a grave. A part's state is
// changed by each increment: it is in memory, and written into its record when a snapshot is captured.
//
// A keyspace without regions pays a look at a pointer where a key is made, set or deleted.
type regions struct {
	current atomic.Pointer[RegionSetup] // what it points to does not change
	marks   atomic.Pointer[[]markedAt]  // not nil; as current
	parts   [Parts]regionPart
}

func (g *regions) setup() *RegionSetup { return g.current.Load() }

// regionPart is guarded by the part's lock.
type regionPart struct {
	shared.Part
	key      shared.Key // scratch
	content  []byte     // scratch
	changed  changedKeys
	last     lastFrame
	yield    [][]byte // names of counters under a sketch of that name, see yieldCounters
	sketches sketchPart
	graves   int64 // in the hidden database
	passes   []*digestPass
}

// RegionSetup says which regions there are, as this region numbers them.
type RegionSetup struct {
	Me      shared.Origin
	Origins []RegionOrigin // at most shared.MaxOrigins; their places are their numbers
	Keys    []string       // patterns, as of KEYS
}

// RegionOrigin is one incarnation of a region's data.
type RegionOrigin struct {
	Name        string
	Incarnation uint64 // later ones are higher
	Lost        bool
	Data        uint64     // tells the data whose counters it began with from others; 0: it began with none
	Cluster     uint64     // tells the cluster that has the data from others, as one that is restored is another; 0: it has not said so here
	Forgotten   bool       // and lost: nobody is heard about it any more
	Heard       RegionMark // the last mark of its history under which it told this region something
}

// Kinds of records of regions, which are no origins.
const (
	regionSetup OriginKind = 'R'
	regionState OriginKind = 'r'
	regionGrave OriginKind = 'g'
)

// KindShared is the kind of a record of a shared key; its Value is of KindInt.
const KindShared Kind = 7

// Limits of regions.
const (
	MaxRegionName = 64
	MaxRegionKeys = 64 // patterns
)

// Errors of regions.
var (
	ErrRegionsOpen  = errors.New("engine: regions are on already")
	ErrRegionsFull  = errors.New("engine: there are as many incarnations of regions as may be")
	ErrRegionSetup  = errors.New("engine: a name of a region or a pattern is too long, or there are too many")
	errRegionRecord = errors.New("engine: a record of regions is malformed")
)

// Regions returns the setup, whose slices are not to be changed; false: there is none.
func (ks *Keyspace) Regions() (RegionSetup, bool) {
	g := ks.regions.Load()
	if g == nil {
		return RegionSetup{}, false
	}
	return *g.setup(), true
}

// shares does not change while there are regions.
func (s *RegionSetup) shares(key []byte) bool {
	for _, p := range s.Keys {
		if p == "*" || glob.Match([]byte(p), key, false) {
			return true
		}
	}
	return false
}

func (s *RegionSetup) valid() bool {
	ok := len(s.Keys) > 0 && len(s.Keys) <= MaxRegionKeys && len(s.Origins) <= shared.MaxOrigins && int(s.Me) < len(s.Origins)
	for _, o := range s.Origins {
		ok = ok && o.Name != "" && len(o.Name) <= MaxRegionName
	}
	for _, p := range s.Keys {
		ok = ok && p != "" && len(p) <= glob.MaxPattern
	}
	return ok
}

// lost and forgotten are sets of origins, as in shared.Part.
func (s *RegionSetup) lost() uint64 { return s.set(func(o *RegionOrigin) bool { return o.Lost }) }

func (s *RegionSetup) forgotten() uint64 {
	return s.set(func(o *RegionOrigin) bool { return o.Forgotten })
}

func (s *RegionSetup) set(has func(o *RegionOrigin) bool) (set uint64) {
	for i := range s.Origins {
		set |= uint64(boolByte(has(&s.Origins[i]))) << i
	}
	return set
}

// OpenRegions has keys that match be shared from now on, by a region of that name; what is counted already is its part, and data (see
// RegionOrigin) is kept if there is any. It returns how many keys were converted, and an error, with nothing changed, where a matching key is
// no counter. The caller holds no parts.
func (t Txn) OpenRegions(name string, keys []string, data uint64) (converted int64, err error) {
	if t.ks.regions.Load() != nil {
		return 0, ErrRegionsOpen
	}
	setup := &RegionSetup{Origins: []RegionOrigin{{Name: name, Incarnation: uint64(max(t.now, 1))}}, Keys: keys}
	if !setup.valid() {
		return 0, ErrRegionSetup
	}
	g := &regions{}
	g.current.Store(setup)
	g.marks.Store(&[]markedAt{})
	t = t.WithDB(0)
	unlock := t.lockAll()
	defer unlock()
	if err := t.convertible(setup); err != nil {
		return 0, err
	}
	g.begin(t.ks, t.now)
	t.ks.regions.Store(g)
	for part := range Parts {
		converted += t.In(part).convert(part, g)
	}
	if converted > 0 {
		next := *setup
		next.Origins = []RegionOrigin{setup.Origins[0]}
		next.Origins[0].Data = data
		g.current.Store(&next)
	}
	t.storeRegionSetup(g.setup())
	return converted, nil
}

// lockAll locks all parts, unless the view is held.
func (v View) lockAll() (unlock func()) {
	var all PartSet
	all.AddAll()
	if v.held {
		return func() {}
	}
	v.ks.Lock(&all)
	return func() { v.ks.Unlock(&all) }
}

// begin takes over the setup for all parts.
func (g *regions) begin(ks *Keyspace, now int64) {
	for part := range g.parts {
		p := &g.parts[part]
		p.Me, p.Lost, p.Forgotten, p.Now = g.setup().Me, g.setup().lost(), g.setup().forgotten(), max(now, 1)
		p.changed.begin(p.Pos, ks.ring/Parts)
		p.last = lastFrame{}
		p.sketches.ring.begin(p.sketches.pos, ks.ring/Parts/4)
	}
}

// convertible looks for keys that cannot be shared. All parts are locked.
func (t Txn) convertible(s *RegionSetup) (err error) {
	for part := range Parts {
		sh := t.ks.shard(part, 0)
		if sh == nil {
			continue
		}
		sh.eachRecord(func(_ uint32, r record) {
			if err == nil && !r.expired(t.now) && s.shares(r.key()) {
				if _, ok := numberOf(r); !ok && sketchKind(r.kind(), r.content()) == shared.SketchNone {
					err = fmt.Errorf("engine: the key %q is neither a counter nor a sketch of at most 832 KiB, and would be shared", r.key())
				}
			}
		})
	}
	return err
}

// numberOf is a record's value as a counter.
func numberOf(r record) (int64, bool) {
	switch {
	case r.kind() == KindInt:
		return r.int(), true
	case r.kind().isString():
		return parseInt(r.content())
	}
	return 0, false
}

// convert makes the matching keys of a part shared ones, as if each had been counted here at once. All parts are locked.
func (t Txn) convert(part int, g *regions) (n int64) {
	sh := t.ks.shard(part, 0)
	if sh == nil {
		return 0
	}
	sh.reclaimDue(t.now, math.MaxInt)
	type counter struct {
		name        []byte
		n, deadline int64
	}
	var found, sketches []counter
	sh.eachRecord(func(_ uint32, r record) {
		if !g.setup().shares(r.key()) {
			return
		}
		if value, ok := numberOf(r); ok {
			found = append(found, counter{slices.Clone(r.key()), value, r.deadline()})
		} else {
			sketches = append(sketches, counter{name: slices.Clone(r.key()), deadline: r.deadline()})
		}
	})
	p := &g.parts[part]
	for _, c := range found {
		p.key = shared.Key{Others: p.key.Others[:0]}
		p.key.Add(&p.Part, c.n)
		if c.deadline != 0 {
			p.key.Expire(&p.Part, c.deadline)
		}
		t.keepShared(sh, t.ks.hash(c.name), c.name, &p.Part, &p.key, true)
	}
	for _, c := range sketches {
		t.sketchChanged(sh, sh.find(t.ks.hash(c.name), c.name), c.name)
		if c.deadline != 0 {
			t.expireSketch(sh, t.ks.hash(c.name), c.name, c.deadline)
		}
	}
	return int64(len(found) + len(sketches))
}

// storeRegionSetup writes the setup's record. All parts are locked.
func (t Txn) storeRegionSetup(s *RegionSetup) {
	key := []byte{byte(regionSetup)}
	sh, _ := t.storeHidden(Part(key), key, s.append(nil), 0)
	sh.compact()
}

// storeHidden is putContent for the hidden database. The part is locked.
func (t Txn) storeHidden(part int, key, content []byte, deadline int64) (sh *shard, ref uint32) {
	sh = t.ks.makeShard(part, t.ks.databases)
	h := t.ks.hash(key)
	return sh, sh.putContent(h, sh.find(h, key), key, KindRaw, content, deadline)
}

// putContent writes a key's record, which is at ref, 0: there is none. Neither key nor content is in the arena. Who needs the reference no
// more calls compact.
func (sh *shard) putContent(h uint64, ref uint32, key []byte, kind Kind, content []byte, deadline int64) uint32 {
	old := uint32(0)
	if ref == 0 {
		ref = sh.add(h, key, kind, 0, len(content), deadline)
	} else {
		ref, old = sh.change(h, ref, kind, 0, len(content), 0, deadline)
	}
	copy(sh.at(ref).content(), content)
	if old != 0 {
		sh.freeRecord(old)
	}
	return ref
}

func (s *RegionSetup) append(b []byte) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	b = append(b, byte(s.Me), byte(len(s.Origins)))
	for _, o := range s.Origins {
		text(o.Name)
		b = append(binary.AppendUvarint(b, o.Incarnation), boolByte(o.Lost)|boolByte(o.Forgotten)<<1)
		for _, n := range []uint64{o.Heard.Number, o.Heard.Random, o.Data, o.Cluster} {
			b = binary.AppendUvarint(b, n)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Keys)))
	for _, p := range s.Keys {
		text(p)
	}
	return b
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func decodeRegionSetup(b []byte) (s RegionSetup, err error) {
	number := func() (n uint64) {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			b, err = nil, errRegionRecord
			return 0
		}
		b = b[size:]
		return n
	}
	text := func() string {
		n := number()
		if n > uint64(len(b)) {
			b, err = nil, errRegionRecord
			return ""
		}
		text := string(b[:n])
		b = b[n:]
		return text
	}
	s.Me = shared.Origin(number())
	for n := number(); n > 0 && err == nil; n-- {
		o := RegionOrigin{Name: text()}
		o.Incarnation = number()
		flags := number() // one byte: it is less than 4
		o.Lost, o.Forgotten = flags&1 != 0, flags&2 != 0
		o.Heard = RegionMark{number(), number()}
		o.Data, o.Cluster = number(), number()
		s.Origins = append(s.Origins, o)
	}
	for n := number(); n > 0 && err == nil; n-- {
		s.Keys = append(s.Keys, text())
	}
	if err == nil && (len(b) > 0 || !s.valid()) {
		err = errRegionRecord
	}
	return s, err
}

// RegionOrigin returns the number of an incarnation of a region, which it gets if it is new here; is.Lost does not matter. Then older
// incarnations of that region are lost. What is known of its cluster stays. The caller holds no parts, or all.
func (t Txn) RegionOrigin(is RegionOrigin) (shared.Origin, error) {
	g := t.ks.regions.Load()
	name, incarnation := is.Name, is.Incarnation
	known := func(o RegionOrigin) bool { return o.Name == name && o.Incarnation == incarnation }
	if i := slices.IndexFunc(g.setup().Origins, known); i >= 0 { // only this goroutine changes it
		if g.setup().Origins[i].Cluster == 0 && is.Cluster != 0 {
			t.noteCluster(g, i, is.Cluster)
		}
		return shared.Origin(i), nil
	}
	if len(g.setup().Origins) == shared.MaxOrigins {
		return 0, ErrRegionsFull
	}
	unlock := t.lockAll()
	defer unlock()
	next := *g.setup()
	next.Origins = append(slices.Clone(next.Origins), RegionOrigin{Name: name, Incarnation: incarnation, Data: is.Data, Cluster: is.Cluster})
	later := slices.ContainsFunc(g.setup().Origins, func(o RegionOrigin) bool { return o.Name == name && o.Incarnation > incarnation })
	if !next.valid() {
		return 0, ErrRegionSetup
	}
	g.current.Store(&next)
	if later {
		t.lose(g, name, incarnation)
	} else if incarnation > 0 {
		t.lose(g, name, incarnation-1)
	}
	t.storeRegionSetup(g.setup())
	return shared.Origin(len(next.Origins) - 1), nil
}

func (t Txn) noteCluster(g *regions, i int, cluster uint64) {
	unlock := t.lockAll()
	defer unlock()
	next := *g.setup()
	next.Origins = slices.Clone(next.Origins)
	next.Origins[i].Cluster = cluster
	g.current.Store(&next)
	t.storeRegionSetup(&next)
}

// LoseRegion says that an incarnation of a region, and all before it, send nothing any more; false: it is this region itself. The caller
// holds no parts, or all.
func (t Txn) LoseRegion(name string, incarnation uint64) bool {
	g := t.ks.regions.Load()
	if me := g.setup().Origins[g.setup().Me]; me.Name == name && incarnation >= me.Incarnation {
		return false
	}
	unlock := t.lockAll()
	defer unlock()
	if t.lose(g, name, incarnation) {
		t.storeRegionSetup(g.setup())
	}
	return true
}

// lose is LoseRegion with all parts locked.
func (t Txn) lose(g *regions, name string, incarnation uint64) (some bool) {
	next := *g.setup()
	next.Origins = slices.Clone(next.Origins)
	for i := range next.Origins {
		o := &next.Origins[i]
		if o.Name != name || o.Incarnation > incarnation || o.Lost || i == int(next.Me) {
			continue
		}
		o.Lost, some = true, true
		for part := range Parts {
			p := t.ks.sharedPart(part, t.now)
			in := t.WithDB(0).In(part)
			shared.Lose(&p.Part, restless{&regionStore{in, p, part, &p.Part}}, shared.Origin(i))
			in.yieldCounters(p, part)
			in.loseSketches(p, part)
		}
	}
	g.current.Store(&next)
	return some
}

// RenewRegion begins another incarnation of this region's data, which was read from a backup: the data that it was made of may have
// counted on, here or elsewhere. The caller holds no parts, or all.
func (t Txn) RenewRegion() error {
	g := t.ks.regions.Load()
	me := g.setup().Origins[g.setup().Me]
	if len(g.setup().Origins) == shared.MaxOrigins {
		return ErrRegionsFull
	}
	unlock := t.lockAll()
	defer unlock()
	next := *g.setup()
	next.Origins = append(slices.Clone(next.Origins), RegionOrigin{Name: me.Name, Incarnation: max(me.Incarnation+1, uint64(max(t.now, 0))), Data: me.Data})
	next.Origins[next.Me].Lost = true
	next.Me = shared.Origin(len(next.Origins) - 1)
	g.current.Store(&next)
	for part := range Parts {
		p := t.ks.sharedPart(part, t.now)
		in, old := t.WithDB(0).In(part), p.Me
		shared.Restore(&p.Part, &regionStore{in, p, part, &p.Part}, g.setup().Me)
		in.yieldCounters(p, part)
		in.renewSketches(p, part, old)
		p.changed.begin(p.Pos, t.ks.ring/Parts)
		p.last = lastFrame{}
		p.changed.cuts = p.changed.cuts[:0] // who knows nothing of it is sent a full part
	}
	t.storeRegionSetup(&next)
	if m := t.ks.RegionMark(); m != (RegionMark{}) { // nobody has heard anything of the new one
		t.storeMarks(g, []markedAt{{RegionMark: m}})
	}
	return nil
}

// OriginNumber is the number of an incarnation of a region; false: it has none. There are regions.
func (ks *Keyspace) OriginNumber(name []byte, incarnation uint64) (o shared.Origin, ok bool) {
	for i, o := range ks.regions.Load().setup().Origins {
		if o.Incarnation == incarnation && o.Name == string(name) {
			return shared.Origin(i), true
		}
	}
	return 0, false
}

// Incorporated is how far an origin is incorporated, by part: its counters and its sketches. There are regions. The caller holds no parts, or all.
func (v View) Incorporated(o shared.Origin) (counters, sketches [Parts]uint64) {
	g := v.ks.regions.Load()
	for part := range counters {
		v.lock(part)
		p := &g.parts[part]
		if counters[part], sketches[part] = p.Ctx[o], p.sketches.ctx[o]; o == g.setup().Me {
			counters[part], sketches[part] = p.Pos, p.sketches.pos
		}
		v.unlock(part)
	}
	return counters, sketches
}

// RegionShare is what an origin has counted of a shared key's value.
type RegionShare struct {
	RegionOrigin
	N int64 // with the base, if the value is counted from that of this origin
}

// RegionShares is what the value of a shared key is made of. The key's part is locked. There are regions.
func (v View) RegionShares(key []byte) (list []RegionShare) {
	g, part := v.ks.regions.Load(), v.part(key)
	p := v.ks.sharedPart(part, v.now)
	Txn{View: v.WithDB(0)}.readShared(p, part, v.ks.hash(key), key)
	p.key.Each(&p.Part, func(o shared.Origin, n int64) {
		list = append(list, RegionShare{g.setup().Origins[o], n})
	})
	return list
}

// HasRegions reports whether keys are shared.
func (v View) HasRegions() bool { return v.ks.regions.Load() != nil }

// SharesKey reports whether a key of a database is shared, or would be.
func (v View) SharesKey(db int, key []byte) bool {
	g := v.ks.regions.Load()
	return g != nil && db == 0 && g.setup().shares(key)
}

// Incarnations are the regions, as Keyspace.Regions. There are some.
func (t Txn) Incarnations() RegionSetup { return *t.ks.regions.Load().setup() }

// Keyspace is the keyspace that the view is of.
func (v View) Keyspace() *Keyspace { return v.ks }
