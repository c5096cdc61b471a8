package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// An origin is whatever sends writes from outside the log and must not be counted
// twice: so far a node that drains its pending increments. For each part the
// keyspace keeps the position that each origin has reached; a drain names the
// position it starts from and the one it reaches, and applies whole or not at all:
//
//	stored = from           apply, stored becomes to
//	stored ≥ to             counted already: nothing happens
//	else                    a gap: nothing happens, the origin sends what is missing
//
// A new run of a node is the same origin under another incarnation, a random
// number, and begins at 0: its first drain of a part supersedes the old entry.
// Positions are part of the state: of snapshots, and of Checksum.
type DrainID struct {
	Origin      []byte // at most MaxOrigin bytes
	Incarnation uint64
	From, To    uint64
}

// MaxOrigin is the length of the longest name of an origin, in bytes.
const MaxOrigin = 255

// originPosition is what a part stores of an origin. Guarded by the part's lock.
type originPosition struct {
	origin      string
	incarnation uint64
	position    uint64
}

// self is this node as an origin.
type self struct {
	origin      string
	name        []byte // the same, never changed
	incarnation uint64
}

// SetOrigin names this node as an origin. To be called before the first AddPending.
func (ks *Keyspace) SetOrigin(origin string, incarnation uint64) error {
	if len(origin) > MaxOrigin {
		return fmt.Errorf("engine: the name of an origin has %d bytes, at most %d are possible", len(origin), MaxOrigin)
	}
	ks.self.Store(&self{origin, []byte(origin), incarnation})
	return nil
}

// OnDropped sets the function that is told, with a part locked, of each pending
// increment of this node that could not be applied. To be called before the first.
func (ks *Keyspace) OnDropped(fn func(db int, key []byte, delta int64, err error)) { ks.dropped = fn }

// Cut takes what a part gathers as a flight, for the batch carrier (their numbers
// grow), and returns it with its name in the log; nil if nothing is gathered. The part is locked.
func (ks *Keyspace) Cut(part int, carrier uint64) *Flight {
	p := &ks.parts[part]
	f := p.gather
	if f == nil {
		return nil
	}
	f.from, f.carrier = p.next, carrier
	p.next++
	p.flights = append(p.flights, f)
	p.gather = nil
	return f
}

// ID is how the flight is named in the log.
func (f *Flight) ID(ks *Keyspace) DrainID {
	me := ks.self.Load()
	return DrainID{me.name, me.incarnation, f.from, f.from + 1}
}

// Len is the number of items that AppendItems appends.
func (f *Flight) Len() int { return len(f.slots) }

// AppendItems appends the flight's items to a log entry. Each is
//
//	database uvarint | key length uvarint | key | delta varint | deadline uvarint, 0: none
func (f *Flight) AppendItems(dst []byte) []byte {
	for i := range f.slots {
		s := &f.slots[i]
		_, _, end := f.key(s)
		dst = append(dst, f.keys[s.keyAt:end]...)
		if uint64(s.delta+64) < 128 && s.deadline == 0 {
			dst = append(dst, byte(s.delta<<1)^byte(s.delta>>63), 0)
			continue
		}
		dst = binary.AppendVarint(dst, s.delta)
		dst = binary.AppendUvarint(dst, uint64(s.deadline))
	}
	return dst
}

var errDrainItem = errors.New("an item of a drain is malformed")

// DrainItemMin is the size of the shortest item, in bytes.
const DrainItemMin = 4

// DrainItem is one decoded item; Key aliases the entry.
type DrainItem struct {
	DB       int
	Key      []byte
	Delta    int64
	Deadline int64
}

// DecodeDrainItem reads the item at the start of b, which is to be of the given
// part and of one of so many databases, and returns its size.
func DecodeDrainItem(b []byte, part, databases int) (it DrainItem, size int, err error) {
	db, n := binary.Uvarint(b)
	if n <= 0 || db >= uint64(databases) {
		return it, 0, errDrainItem
	}
	length, m := binary.Uvarint(b[n:])
	n += m
	if m <= 0 || length > MaxKey || length > uint64(len(b)-n) {
		return it, 0, errDrainItem
	}
	it.DB, it.Key = int(db), b[n:n+int(length):n+int(length)]
	n += int(length)
	it.Delta, m = binary.Varint(b[n:])
	if m <= 0 || Part(it.Key) != part {
		return it, 0, errDrainItem
	}
	n += m
	deadline, m := binary.Uvarint(b[n:])
	if m <= 0 {
		return it, 0, errDrainItem
	}
	it.Deadline = int64(deadline)
	return it, n + m, nil
}

// DrainOutcome is what became of a drain that the log has delivered.
type DrainOutcome uint8

// What Drain says.
const (
	DrainApply   DrainOutcome = iota // the position has moved: the caller gives every item to AddDrained
	DrainSettled                     // it was this node's own, and is applied
	DrainStale                       // counted before
	DrainGap                         // an earlier one is missing
)

// Drain decides about a drain of a part, which is locked.
func (t Txn) Drain(part int, id *DrainID) DrainOutcome {
	ks := t.ks
	o := ks.originOf(part, id)
	switch {
	case o == nil && id.From != 0:
		ks.drains.gaps.Add(1)
		return DrainGap
	case o == nil:
		ks.supersede(part, id)
	case o.position >= id.To:
		ks.drains.stale.Add(1)
		return DrainStale
	case o.position != id.From:
		ks.drains.gaps.Add(1)
		return DrainGap
	default:
		o.position = id.To
	}
	if me := ks.self.Load(); me == nil || me.incarnation != id.Incarnation || me.origin != string(id.Origin) {
		return DrainApply
	}
	p := &ks.parts[part]
	if len(p.flights) == 0 || p.flights[0].from != id.From {
		return DrainApply // settled by a snapshot meanwhile, see reconcile
	}
	t.settle(part, p.flights[0])
	ks.drains.own.Add(1)
	ks.landed(p)
	return DrainSettled
}

// originOf returns what the part knows of the drain's origin, nil if that is nothing
// of this incarnation.
func (ks *Keyspace) originOf(part int, id *DrainID) *originPosition {
	list := ks.origins[part]
	for i := range list {
		if o := &list[i]; o.incarnation == id.Incarnation && o.origin == string(id.Origin) {
			return o
		}
	}
	return nil
}

// supersede stores the first position of an origin's incarnation.
func (ks *Keyspace) supersede(part int, id *DrainID) {
	list := ks.origins[part]
	entry := originPosition{string(id.Origin), id.Incarnation, id.To}
	for i := range list {
		if list[i].origin == entry.origin {
			list[i] = entry
			return
		}
	}
	at := sort.Search(len(list), func(i int) bool { return list[i].origin > entry.origin })
	list = append(list, originPosition{})
	copy(list[at+1:], list[at:])
	list[at] = entry
	ks.origins[part] = list
}

// landed removes the part's first flight, which is applied.
func (ks *Keyspace) landed(p *part) {
	f := p.flights[0]
	p.flights = p.flights[:copy(p.flights, p.flights[1:])]
	if p.spare == nil {
		p.spare = f.reset()
	}
	if len(p.flights) == 0 && p.gather == nil {
		ks.pendingParts.Add(-1)
	}
}

// settle applies a flight of this node's own slot by slot, without decoding or
// looking up what the slots refer to already.
func (t Txn) settle(part int, f *Flight) {
	t = t.In(part)
	warm := len(f.slots) > 1 && t.ks.WorthWarming()
	for i := range f.slots {
		if i%WarmMax == 0 && warm {
			t.ks.fetchSlots(part, f, i)
		}
		s := &f.slots[i]
		if s.deadline != 0 && s.deadline <= t.now {
			t.ks.drains.expired.Add(1)
			continue
		}
		if !t.settleInPlace(part, f, s) {
			db, key, _ := f.key(s)
			t.AddDrained(&DrainItem{db, key, s.delta, s.deadline}, true)
		}
	}
}

// settleInPlace adds a slot's amount to the record it has seen last, if that is the key's and a counter still. The key
// need not be compared: no record of the part has been moved or freed since.
func (t Txn) settleInPlace(part int, f *Flight, s *pendingSlot) bool {
	sh := t.ks.shard(part, f.db(s))
	var b base
	if sh == nil || !b.hinted(sh, s, t.ks.parts[part].moved, t.now) {
		return false
	}
	sum := b.n + s.delta
	if (sum < b.n) != (s.delta < 0) {
		return false
	}
	sh.touch(s.ref, 2, 8)
	sh.at(s.ref).setInt(sum)
	if t.ks.hook != nil {
		db, key, _ := f.key(s)
		t.ks.tell(db, key, OpAdd, s.delta)
	}
	return true
}

// AddDrained applies one item of a drain; own says that it is this node's. The part is locked.
func (t Txn) AddDrained(it *DrainItem, own bool) {
	ks := t.ks
	if it.Deadline != 0 && it.Deadline <= t.now {
		ks.drains.expired.Add(1) // the counter's life is over, and what it had counted with it
		return
	}
	if _, err := t.WithDB(it.DB).Add(it.Key, it.Delta); err != nil {
		ks.drains.dropped.Add(1)
		if own && ks.dropped != nil {
			ks.dropped(it.DB, it.Key, it.Delta, err)
		}
	}
}

// Lost calls fn, with the part locked, for every flight whose last carrier is a batch
// before the given one, in order, and makes that one their carrier. To be called when
// the fate of all those batches is decided: what is still here has not been applied
// so far, and has to be sent again. fn returns false to end the walk before the flight.
func (ks *Keyspace) Lost(carrier uint64, fn func(part int, f *Flight) bool) {
	for part := range Parts {
		ks.LockPart(part)
		for _, f := range ks.parts[part].flights {
			if f.carrier >= carrier {
				break
			}
			if !fn(part, f) {
				ks.UnlockPart(part)
				return
			}
			f.carrier = carrier
		}
		ks.UnlockPart(part)
	}
}

// GatherBytes is about what a drain of the part would take in an entry, and no
// less; 0 if it gathers nothing.
func (ks *Keyspace) GatherBytes(part int) int {
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	if g := ks.parts[part].gather; g != nil {
		return g.bytes()
	}
	return 0
}

// PendingStats are figures about pending increments.
type PendingStats struct {
	Increments int64 // pending now
	Gathered   int64 // those of them that are in no drain yet
	Keys       int64 // slots they take
	Bytes      int64 // memory they take
	EntryBytes int   // about what those that are gathered will take in an entry

	Drains  int64 // of this node that were applied
	Stale   int64 // of any that arrived a second time
	Gaps    int64 // of any that an earlier one was missing for
	Expired int64 // items whose key had expired
	Dropped int64 // items that could not be applied
}

// Pending returns the figures. It locks part by part if anything is pending.
func (ks *Keyspace) Pending() PendingStats {
	d := &ks.drains
	s := PendingStats{
		Drains: d.own.Load(), Stale: d.stale.Load(), Gaps: d.gaps.Load(), Expired: d.expired.Load(), Dropped: d.dropped.Load(),
	}
	if !ks.HasPending() {
		return s
	}
	for part := range Parts {
		ks.LockPart(part)
		p := &ks.parts[part]
		if p.gather != nil {
			s.Gathered += p.gather.count
			s.EntryBytes += len(p.gather.keys) + 4*len(p.gather.slots) + 64
			s.add(p.gather)
		}
		for _, f := range p.flights {
			s.add(f)
		}
		ks.UnlockPart(part)
	}
	return s
}

func (s *PendingStats) add(f *Flight) {
	s.Increments += f.count
	s.Keys += int64(len(f.slots))
	s.Bytes += f.memory()
}

// reconcile is called after Load, which brings another seed and other positions:
// flights that the snapshot already contains are settled. The part is locked.
func (ks *Keyspace) reconcile(part int) {
	me := ks.self.Load()
	p := &ks.parts[part]
	p.moved++
	for _, f := range p.flights {
		f.reindex(ks)
	}
	if p.gather != nil {
		p.gather.reindex(ks)
	}
	if me == nil || len(p.flights) == 0 {
		return
	}
	o := ks.originOf(part, &DrainID{Origin: me.name, Incarnation: me.incarnation})
	for o != nil && len(p.flights) > 0 && p.flights[0].from < o.position {
		ks.landed(p)
	}
}

// checkPending checks what is pending and the origins. All parts are locked.
func (ks *Keyspace) checkPending() error {
	parts := int64(0)
	me := ks.self.Load()
	for part := range Parts {
		p := &ks.parts[part]
		if p.gather != nil || len(p.flights) > 0 {
			parts++
		}
		for i, o := range ks.origins[part] {
			if len(o.origin) > MaxOrigin || o.position == 0 || i > 0 && ks.origins[part][i-1].origin >= o.origin {
				return fmt.Errorf("part %d: origin %q is impossible or out of order", part, o.origin)
			}
		}
		first := uint64(0)
		if me != nil {
			if o := ks.originOf(part, &DrainID{Origin: me.name, Incarnation: me.incarnation}); o != nil {
				first = o.position
			}
		}
		for i, f := range p.flights {
			if f.from != first+uint64(i) || i > 0 && f.carrier < p.flights[i-1].carrier {
				return fmt.Errorf("part %d: flight %d is at position %d of batch %d, the stored one is %d", part, i, f.from, f.carrier, first)
			}
			if err := f.check(ks, part); err != nil {
				return fmt.Errorf("part %d: flight %d: %w", part, i, err)
			}
		}
		if p.next != first+uint64(len(p.flights)) {
			return fmt.Errorf("part %d: the next position is %d behind %d flights from %d", part, p.next, len(p.flights), first)
		}
		if p.gather != nil {
			if err := p.gather.check(ks, part); err != nil {
				return fmt.Errorf("part %d: gathering: %w", part, err)
			}
		}
		if p.spare != nil && (len(p.spare.slots) > 0 || len(p.spare.keys) > 0) {
			return fmt.Errorf("part %d: the spare flight is not empty", part)
		}
	}
	if got := ks.pendingParts.Load(); got != parts {
		return fmt.Errorf("%d parts have something pending, counted %d", parts, got)
	}
	return nil
}

func (f *Flight) check(ks *Keyspace, part int) error {
	if len(f.slots) == 0 || f.count < int64(len(f.slots)) {
		return fmt.Errorf("%d increments in %d slots", f.count, len(f.slots))
	}
	newest := map[uint32]bool{}
	for _, e := range f.index {
		if e != 0 {
			newest[e&0xffff] = true
		}
	}
	at, chained := 0, 0
	for i := range f.slots {
		s := &f.slots[i]
		_, key, end := f.key(s)
		if int(s.keyAt) != at || end > len(f.keys) || Part(key) != part {
			return fmt.Errorf("slot %d: key %q is misplaced", i, key)
		}
		at = end
		if s.older != 0 {
			chained++
			if int(s.older) > i || newest[s.older] {
				return fmt.Errorf("slot %d: older one %d is newer or in the index", i, s.older)
			}
		}
		if newest[uint32(i+1)] && f.find(ks.hash(key), int(f.keys[s.keyAt]&0x7f), key) == 0 && f.keys[s.keyAt] < 0x80 {
			return fmt.Errorf("slot %d: key %q is not found", i, key)
		}
		if tooMuch(s.delta) {
			return fmt.Errorf("slot %d: delta %d", i, s.delta)
		}
	}
	if at != len(f.keys) || len(newest)+chained != len(f.slots) {
		return fmt.Errorf("%d bytes of keys of %d, %d slots indexed and %d chained of %d", at, len(f.keys), len(newest), chained, len(f.slots))
	}
	return nil
}
