package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// A counted section is what a node has answered ahead, on its way through the log: the body of a
// conditional operation whose origin is the node, whose epoch is the node's boot counter, and
// which goes from one number to the next (origin.go). There is one at a time:
//
//	gathered ──Counted──► sealed ──applied──────────────────────────► in the records
//	                      │ ▲  │                                        ▲
//	                      └─┘  └──applied by the node that leads──► landing ──applied
//	     not applied: the same bytes
//	     again, under the same number
//
// So a section counts once, whatever becomes of its entry: a copy that arrives late finds that the
// position has passed its number, and is skipped. The operations that stand behind the section in
// its entry do not depend on its condition.
//
// A body is a sequence of parts, in ascending order:
//
//	part u8 | n uvarint | n items
//	item: database uvarint | key length uvarint | key | delta varint | deadline uvarint, 0: none
//
// An item whose deadline is at or before the entry's stamp was for a key that has expired since:
// it is dropped. A key that an item makes gets the item's deadline, since it is the one under
// which the client was answered.

// self is this node as an origin. It is guarded by counted.mu: entries of other nodes may be applied before it is set.
type self struct {
	name  []byte
	epoch []byte // 8 bytes, big-endian: they compare as the numbers do
}

// SetSelf names this node as an origin; epoch is its boot counter. To be called before the first AnswerAhead.
func (ks *Keyspace) SetSelf(name string, epoch uint64) error {
	if name == "" || len(name) > MaxOriginName {
		return fmt.Errorf("engine: the name of an origin has %d bytes, 1 to %d are possible", len(name), MaxOriginName)
	}
	ks.counted.mu.Lock()
	ks.self = self{[]byte(name), number(epoch)}
	ks.counted.mu.Unlock()
	return nil
}

// number is a position, or an epoch, that is a number.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// OnDropped sets the function that is told, with a part locked, of each increment of this node that was answered ahead
// and cannot be applied. To be called before the first.
func (ks *Keyspace) OnDropped(fn func(db int, key []byte, delta int64, err error)) { ks.dropped = fn }

// Counted appends the counted section of the next entry, or nothing if nothing is answered ahead:
// begin appends what stands before the body. If the last section was not applied, its bytes are
// appended again; else what the parts have gathered is sealed and appended, until the body has about
// limit bytes. all says that whoever reads what was appended knows everything that was answered
// ahead so far; if not, and something was appended, AnswerAhead refuses until a later section has it.
//
// Nothing is appended while two sections are applied by the node that leads and by this one not yet.
func (ks *Keyspace) Counted(dst []byte, limit int, begin func(dst []byte, o *Origin) []byte) (out []byte, all bool) {
	if !ks.HasAhead() {
		if ks.aheadFull.Load() {
			ks.aheadFull.Store(false)
		}
		return dst, true
	}
	c := &ks.counted
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done && !ks.moveToLanding() {
		return dst, !ks.hasGathered()
	}
	again := !c.sealed.parts.Empty()
	if !again {
		c.sealed.number++
	}
	from := len(dst)
	dst = begin(dst, &Origin{Kind: OriginNode, Name: ks.self.name, Epoch: ks.self.epoch, From: number(c.sealed.number - 1), To: number(c.sealed.number)})
	body := len(dst)
	all = true
	for part := range Parts {
		ks.LockPart(part)
		p := &ks.parts[part]
		switch {
		case again || len(dst)-body > limit:
			all = all && p.gathered == nil
		case p.gathered != nil:
			p.sealed, p.gathered = p.gathered, nil
			c.sealed.parts.Add(part)
		}
		if p.sealed != nil {
			dst = append(dst, byte(part))
			dst = p.sealed.appendItems(dst)
		}
		ks.UnlockPart(part)
	}
	ks.aheadFull.Store(!all)
	if c.sealed.parts.Empty() { // what there is is landing
		c.sealed.number--
		return dst[:from], all
	}
	return dst, all
}

// hasGathered reports whether a part has anything that is in no section yet.
func (ks *Keyspace) hasGathered() bool {
	for part := range Parts {
		ks.LockPart(part)
		has := ks.parts[part].gathered != nil
		ks.UnlockPart(part)
		if has {
			return true
		}
	}
	return false
}

// CountedApplied says that the node that leads, another one, has applied the section that Counted returned last.
func (ks *Keyspace) CountedApplied() {
	c := &ks.counted
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = !c.sealed.parts.Empty() // else it is applied here as well
}

// moveToLanding makes room for the next section to be sealed; false if the last but one has not landed. c.mu is held.
func (ks *Keyspace) moveToLanding() bool {
	c := &ks.counted
	if !c.landing.parts.Empty() {
		return false
	}
	for part := range Parts {
		if !c.sealed.parts.Has(part) {
			continue
		}
		ks.LockPart(part)
		p := &ks.parts[part]
		p.landing, p.sealed = p.sealed, nil
		c.sealed.parts.Remove(part)
		c.landing.parts.Add(part)
		ks.UnlockPart(part)
	}
	c.landing.number, c.done = c.sealed.number, false
	return true
}

// counted is the state of this node's counted sections. On a node that leads, Counted uses it while no entry is undecided, and
// the goroutine that applies while one is. On others, entries are applied at any time: hence the lock, which is taken before
// those of parts. The sets of parts are changed with the lock of the part as well, because Check reads them.
type counted struct {
	mu      sync.Mutex
	sealed  sectionParts // its number is that of the last section that was sealed, also when that is applied
	landing sectionParts
	done    bool // the node that leads has applied the sealed section
}

type sectionParts struct {
	number uint64
	parts  PartSet // the parts with a table of the section; empty: it is on its way no more
}

// appendItems appends the number of items and the items.
func (t *tallies) appendItems(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t.list)))
	for i := range t.list {
		one := &t.list[i]
		_, _, end := t.key(one)
		dst = append(dst, t.keys[one.keyAt:end]...)
		if uint64(one.delta+64) < 128 && one.deadline == 0 {
			dst = append(dst, byte(one.delta<<1)^byte(one.delta>>63), 0)
			continue
		}
		dst = binary.AppendVarint(dst, one.delta)
		dst = binary.AppendUvarint(dst, uint64(one.deadline))
	}
	return dst
}

var errCounted = errors.New("engine: a counted section is malformed")

// countedItem is one decoded item; key aliases the section.
type countedItem struct {
	db       int
	key      []byte
	delta    int64
	deadline int64
}

// countedDecoder reads a section's body. It trusts nothing.
type countedDecoder struct {
	rest      []byte
	databases int
	part      int
	left      uint64 // items of the part that are still to come
}

// nextPart reads on to the next part with items; false at the end.
func (d *countedDecoder) nextPart() (bool, error) {
	if len(d.rest) == 0 {
		return false, nil
	}
	const itemMin = 4
	n, size := binary.Uvarint(d.rest[1:])
	if size <= 0 || n == 0 || n > uint64(len(d.rest))/itemMin || int(d.rest[0]) <= d.part {
		return false, errCounted
	}
	d.part, d.left, d.rest = int(d.rest[0]), n, d.rest[1+size:]
	return true, nil
}

func (d *countedDecoder) item(it *countedItem) error {
	b := d.rest
	db, n := binary.Uvarint(b)
	if n <= 0 || db >= uint64(d.databases) {
		return errCounted
	}
	length, m := binary.Uvarint(b[n:])
	n += m
	if m <= 0 || length > MaxKey || length > uint64(len(b)-n) {
		return errCounted
	}
	it.db, it.key = int(db), b[n:n+int(length):n+int(length)]
	n += int(length)
	it.delta, m = binary.Varint(b[n:])
	if m <= 0 || Part(it.key) != d.part {
		return errCounted
	}
	n += m
	deadline, m := binary.Uvarint(b[n:])
	if m <= 0 || int64(deadline) < 0 {
		return errCounted
	}
	it.deadline = int64(deadline)
	d.rest = b[n+m:]
	d.left--
	return nil
}

// EachCounted calls fn, which may be nil, for each item of a counted section's body. It returns an error if the body is
// malformed; fn may have been called for the items before the malformed one. Keys alias the body.
func EachCounted(body []byte, databases int, fn func(db int, key []byte)) error {
	d := countedDecoder{rest: body, databases: databases, part: -1}
	for {
		more, err := d.nextPart()
		if err != nil || !more {
			return err
		}
		var it countedItem
		for d.left > 0 {
			if err := d.item(&it); err != nil {
				return err
			}
			if fn != nil {
				fn(it.db, it.key)
			}
		}
	}
}

// ApplyCounted executes the body of a counted section whose condition, origin, holds. This node's own section is not
// decoded: the tallies that it was made of are still there. The caller holds no parts.
func (t Txn) ApplyCounted(origin *Origin, body []byte) error {
	ks := t.ks
	ks.stats.sections.Add(1)
	if t.landOwn(origin) {
		return nil
	}
	d := countedDecoder{rest: body, databases: ks.databases, part: -1}
	for {
		more, err := d.nextPart()
		if err != nil || !more {
			return err
		}
		if err := t.applyPart(&d); err != nil {
			return err
		}
	}
}

// applyPart executes the items of one part.
func (t Txn) applyPart(d *countedDecoder) error {
	ks := t.ks
	var items [WarmMax]countedItem
	var hints [WarmMax]Hint
	warm := d.left > 1 && ks.WorthWarming()
	ks.LockPart(d.part)
	defer ks.UnlockPart(d.part)
	t = t.In(d.part)
	for d.left > 0 {
		n := int(min(d.left, WarmMax))
		for i := range n {
			if err := d.item(&items[i]); err != nil {
				return err
			}
			hints[i] = Hint{items[i].db, items[i].key}
		}
		if warm {
			ks.WarmHeld(d.part, hints[:n])
		}
		for i := range n {
			t.addCounted(&items[i], false)
		}
	}
	return nil
}

// isSelf reports whether an origin is this node since its start. c.mu is held.
func (ks *Keyspace) isSelf(o *Origin) bool {
	return o.Kind == OriginNode && string(o.Name) == string(ks.self.name) && string(o.Epoch) == string(ks.self.epoch)
}

// addCounted applies one item; own says that it is this node's. The part is locked.
func (t Txn) addCounted(it *countedItem, own bool) {
	ks := t.ks
	if it.deadline != 0 && it.deadline <= t.now {
		ks.stats.expired.Add(1) // the key has expired, and with it what was counted
		return
	}
	t = t.WithDB(it.db)
	existed := true
	if it.deadline != 0 {
		_, existed = t.Get(it.key)
	}
	if _, err := t.Add(it.key, it.delta); err != nil {
		ks.stats.dropped.Add(1)
		if own {
			t.tellDropped(it, err)
		}
		return
	}
	if !existed {
		t.SetDeadline(it.key, it.deadline)
	}
}

// reconcile is called after Load, which brings another seed and other positions. What the snapshot has of this node's
// sections, as the node's position in it shows, is forgotten here. The caller holds no parts; nothing is being applied.
func (ks *Keyspace) reconcile() {
	c := &ks.counted
	c.mu.Lock()
	defer c.mu.Unlock()
	name := Origin{Kind: OriginNode, Name: ks.self.name}
	p, ok := Position{}, false
	if len(ks.self.name) > 0 {
		p, ok = ks.Txn(0, 0, false).Position(&name)
	}
	for part := range Parts {
		ks.LockPart(part)
		ks.parts[part].moved++
		if g := ks.parts[part].gathered; g != nil {
			g.reindex(ks)
		}
		for _, landing := range [...]bool{true, false} {
			sec := c.which(landing)
			if !sec.parts.Has(part) {
				continue
			}
			if ok && string(p.Epoch) == string(ks.self.epoch) && string(p.At) >= string(number(sec.number)) {
				ks.dropTable(part, landing)
			} else {
				(*ks.parts[part].tableOf(landing)).reindex(ks)
			}
		}
		ks.UnlockPart(part)
	}
}

// AheadStats are figures about increments answered ahead.
type AheadStats struct {
	Increments int64 // answered and not yet applied
	Keys       int64 // tallies of these increments
	Bytes      int64 // memory that the tallies take

	Sections int64 // counted sections that were applied, of any node
	Landed   int64 // sections of this node among these
	Stale    int64 // conditional operations that were skipped: counted before, or from an earlier epoch of their node
	Gaps     int64 // conditional operations that were refused: an earlier one of their origin is missing
	Expired  int64 // items whose key had expired
	Dropped  int64 // items that could not be applied, because of the value's kind or an overflow
}

// Plus returns the sums of two keyspaces.
func (s AheadStats) Plus(o AheadStats) AheadStats {
	return AheadStats{
		s.Increments + o.Increments, s.Keys + o.Keys, s.Bytes + o.Bytes, s.Sections + o.Sections, s.Landed + o.Landed,
		s.Stale + o.Stale, s.Gaps + o.Gaps, s.Expired + o.Expired, s.Dropped + o.Dropped,
	}
}

// Ahead returns the figures. It locks part by part if anything is answered ahead.
func (ks *Keyspace) Ahead() AheadStats {
	d := &ks.stats
	s := AheadStats{
		Sections: d.sections.Load(), Landed: d.landed.Load(), Stale: d.stale.Load(), Gaps: d.gaps.Load(), Expired: d.expired.Load(), Dropped: d.dropped.Load(),
	}
	if !ks.HasAhead() {
		return s
	}
	for part := range Parts {
		ks.LockPart(part)
		for _, t := range []*tallies{ks.parts[part].gathered, ks.parts[part].sealed, ks.parts[part].landing} {
			if t != nil {
				s.Increments += t.count
				s.Keys += int64(len(t.list))
				s.Bytes += t.memory()
			}
		}
		ks.UnlockPart(part)
	}
	return s
}

// AheadPending is how many increments are answered and, as far as this node knows, in no entry that is applied anywhere.
func (ks *Keyspace) AheadPending() (n int64) {
	if !ks.HasAhead() {
		return 0
	}
	c := &ks.counted
	c.mu.Lock()
	defer c.mu.Unlock()
	for part := range Parts {
		ks.LockPart(part)
		p := &ks.parts[part]
		if p.gathered != nil {
			n += p.gathered.count
		}
		if p.sealed != nil && !c.done {
			n += p.sealed.count
		}
		ks.UnlockPart(part)
	}
	return n
}

// IsCounter reports whether a key is an integer here, or has increments that were answered ahead. The caller holds no parts.
func (ks *Keyspace) IsCounter(db int, key []byte, now int64) bool {
	part := Part(key)
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	v, ok := ks.View(db, now, false).In(part).Get(key)
	if ok {
		return v.Kind == KindInt
	}
	_, ahead := ks.aheadOf(part, db, ks.hash(key), key, now)
	return ahead
}

// checkAhead checks what is answered ahead. All parts are locked.
func (ks *Keyspace) checkAhead() error {
	parts := int64(0)
	for part := range Parts {
		p := &ks.parts[part]
		if p.hasAhead() {
			parts++
		}
		for _, landing := range [...]bool{true, false} {
			if has, noted := *p.tableOf(landing) != nil, ks.counted.which(landing).parts.Has(part); has != noted {
				return fmt.Errorf("part %d, landing %v: it has a table: %v, noted: %v", part, landing, has, noted)
			}
		}
		for _, t := range []*tallies{p.gathered, p.sealed, p.landing} {
			if err := t.check(ks, part); err != nil {
				return fmt.Errorf("part %d: %w", part, err)
			}
		}
		if p.spare != nil && (len(p.spare.list) > 0 || len(p.spare.keys) > 0) {
			return fmt.Errorf("part %d: the spare table is not empty", part)
		}
	}
	if got := ks.aheadParts.Load(); got != parts {
		return fmt.Errorf("%d parts have something answered ahead, counted %d", parts, got)
	}
	return nil
}

func (t *tallies) check(ks *Keyspace, part int) error {
	if t == nil {
		return nil
	}
	if len(t.list) == 0 || t.count < int64(len(t.list)) {
		return fmt.Errorf("%d increments in %d tallies", t.count, len(t.list))
	}
	at := 0
	for i := range t.list {
		one := &t.list[i]
		db, key, end := t.key(one)
		if int(one.keyAt) != at || end > len(t.keys) || Part(key) != part {
			return fmt.Errorf("tally %d: key %q is misplaced", i, key)
		}
		at = end
		if got := t.find(ks.hash(key), db, key); got != uint32(i+1) {
			return fmt.Errorf("tally %d: key %q is found at %d", i, key, got)
		}
		if tooMuch(one.delta) {
			return fmt.Errorf("tally %d: delta %d", i, one.delta)
		}
	}
	if at != len(t.keys) {
		return fmt.Errorf("%d bytes of keys of %d", at, len(t.keys))
	}
	return nil
}
