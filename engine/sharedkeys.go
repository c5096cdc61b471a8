package engine

import (
	"fmt"
	"slices"

	"quipu/engine/shared"
)

// What transactions and views do with shared keys (regions.go). The key's part is locked throughout.

// sharedPart is the state of a part at log time now. There are regions.
func (ks *Keyspace) sharedPart(part int, now int64) *regionPart {
	p := &ks.regions.Load().parts[part]
	p.Now = max(now, 1)
	return p
}

// shares reports whether a key of the transaction's database is shared.
func (t Txn) shares(key []byte) bool { return t.HasRegions() && t.SharesKey(int(t.db), key) }

// sharedValue is what clients see of a record of KindShared.
func (sh *shard) sharedValue(r record, now int64) Value {
	p := sh.ks.sharedPart(sh.part, now)
	if n, _, ok := shared.Quick(r.content(), &p.Part); ok {
		return Value{Kind: KindInt, Int: n}
	}
	p.load(r.content())
	n, _ := p.key.Value(&p.Part)
	return Value{Kind: KindInt, Int: n, Deadline: max(0, p.key.Wish(&p.Part).Deadline)}
}

// valueAt is the value of the record at ref, as clients see it.
func (sh *shard) valueAt(ref uint32, now int64) Value {
	r := sh.at(ref)
	if r.kind() == KindShared {
		return sh.sharedValue(r, now)
	}
	return r.value()
}

// Mortal reports whether anything of a key, which exists and has that value, dies by itself. Of a shared key something may although clients see
// no deadline: what one region counted before it heard of the newest wish. PERSIST keeps that too. The key's part is locked.
func (v View) Mortal(key []byte, value Value) bool {
	t := Txn{View: v}
	if value.Deadline != 0 || !t.shares(key) {
		return value.Deadline != 0
	}
	part := v.part(key)
	p := v.ks.sharedPart(part, v.now)
	t.readShared(p, part, v.ks.hash(key), key)
	return p.key.Mortal(&p.Part)
}

func (p *regionPart) load(content []byte) {
	if err := p.key.Load(content); err != nil {
		panic("engine: BUG: a shared key cannot be read: " + err.Error()) // it was checked when it was loaded
	}
}

// readShared makes p.key what is kept of a key: of its record in database 0, whether or not that is expired, or of its grave.
func (t Txn) readShared(p *regionPart, part int, h uint64, name []byte) {
	if sh := t.ks.shard(part, 0); sh != nil {
		if ref := sh.find(h, name); ref != 0 && sh.at(ref).kind() == KindShared {
			p.load(sh.at(ref).content())
			return
		}
	}
	p.key = shared.Key{Others: p.key.Others[:0]}
	if sh := t.ks.shard(part, t.ks.databases); sh != nil && sh.keys.Load() > 0 {
		key := p.graveKey(name)
		if ref := sh.find(t.ks.hash(key), key); ref != 0 {
			p.load(sh.at(ref).content())
		}
	}
}

// graveKey is the key of a grave; it is valid until p.content is used again.
func (p *regionPart) graveKey(name []byte) []byte {
	p.content = append(append(p.content[:0], byte(regionGrave)), name...)
	return p.content
}

// addInPlace adds to the shared key at ref, of hash h, where it stands; false: that does not do, and nothing is changed.
func (sh *shard) addInPlace(h uint64, ref uint32, key []byte, delta, now int64, cause *Cause) (sum int64, ok bool) {
	p, r := sh.ks.sharedPart(sh.part, now), sh.at(ref)
	content := r.content()
	n, front, quick := shared.Quick(content, &p.Part)
	if !quick {
		return 0, false
	}
	if sum, ok = addFits(n, delta); !ok {
		return 0, false
	}
	sh.touch(ref, r.contentOffset(), shared.OwnFixed)
	if !shared.AddInPlace(content, &p.Part, delta) {
		return 0, false
	}
	if front > 0 {
		p.changed.noteRow(h, key, content[:front], p.Pos, now)
	} else {
		p.changed.note(h, key, p.Pos, now)
	}
	if f := sh.ks.feed; f != nil && !sh.fed.has(ref, f.epoch) {
		sh.feedRecord(f, ref)
	}
	if sh.ks.observed() {
		sh.announce(key, OpAdd, Integer{N: n, OK: true}, Integer{N: sum, OK: true}, now, cause)
	}
	return sum, true
}

// addShared is Txn.Add for a shared key, whose record is at ref; 0: it does not exist.
func (t Txn) addShared(sh *shard, h uint64, ref uint32, key []byte, delta int64) (int64, error) {
	if ref != 0 {
		if sum, ok := sh.addInPlace(h, ref, key, delta, t.now, t.cause); ok {
			return sum, nil
		}
	}
	p := t.ks.sharedPart(sh.part, t.now)
	if ref == 0 {
		t.readShared(p, sh.part, h, key)
	} else {
		p.load(sh.at(ref).content())
	}
	n, existed := p.key.Value(&p.Part)
	sum, ok := addFits(n, delta)
	if !ok {
		return 0, ErrOverflow
	}
	p.key.Add(&p.Part, delta)
	ref = t.keepShared(sh, h, key, &p.Part, &p.key, true)
	was := noKey
	if existed {
		was = Integer{N: n, OK: true}
	}
	t.tell(sh, ref, key, OpAdd, was, Integer{N: sum, OK: true})
	sh.compact()
	return sum, nil
}

// setShared is Txn.put for a shared key.
func (t Txn) setShared(key []byte, v *Value) {
	if v.Kind != KindInt {
		panic("engine: BUG: a shared key is given a value that is no counter") // commands that could are refused
	}
	sh, h, ref := t.open(key)
	was := sh.integerAt(ref)
	if ref != 0 && sh.at(ref).isSketch() {
		t.endSketch(sh, h, ref, key)
	}
	p := t.ks.sharedPart(sh.part, t.now)
	t.readShared(p, sh.part, h, key)
	p.key.Set(&p.Part, v.Int)
	if v.Deadline != 0 {
		p.key.Expire(&p.Part, v.Deadline)
	}
	ref = t.keepShared(sh, h, key, &p.Part, &p.key, true)
	t.tell(sh, ref, key, OpSet, was, Integer{N: v.Int, OK: true})
	sh.compact()
}

// deleteShared is Txn.Delete for a shared key, which may have a grave alone: that looks like nothing, and is reset again, since the last
// reset may not have seen all of what came to nothing.
func (t Txn) deleteShared(key []byte) bool {
	sh, h, ref := t.open(key)
	was := sh.integerAt(ref)
	if ref != 0 && sh.at(ref).isSketch() {
		t.endSketch(sh, h, ref, key)
	}
	p := t.ks.sharedPart(sh.part, t.now)
	if t.readShared(p, sh.part, h, key); !p.key.Empty() {
		changed := p.key.Delete(&p.Part)
		t.keepShared(sh, h, key, &p.Part, &p.key, changed)
	}
	if ref != 0 {
		t.tell(sh, 0, key, OpDelete, was, Integer{})
	}
	return ref != 0
}

// expireShared is Txn.SetDeadline for a shared key that exists.
func (t Txn) expireShared(sh *shard, h uint64, ref uint32, key []byte, deadline int64) {
	n := sh.integerAt(ref)
	p := t.ks.sharedPart(sh.part, t.now)
	p.load(sh.at(ref).content())
	p.key.Expire(&p.Part, deadline)
	ref = t.keepShared(sh, h, key, &p.Part, &p.key, true)
	t.tell(sh, ref, key, OpDeadline, n, n)
	sh.compact()
}

// keepShared stores what is to be kept of a key under the state p, in its record, in its grave or nowhere, and returns the record's
// reference, 0 if the key does not exist. changed: its row belongs into the next frame. sh is the shard of database 0; name is not in
// the arena.
func (t Txn) keepShared(sh *shard, h uint64, name []byte, p *shared.Part, k *shared.Key, changed bool) (ref uint32) {
	state := &t.ks.regions.Load().parts[sh.part]
	state.touched(name)
	_, exists := k.Value(p)
	ref = sh.find(h, name)
	if ref != 0 && sh.at(ref).isSketch() {
		if !sh.at(ref).expired(t.now) {
			return t.hideCounter(sh, h, name, p, k, exists, changed)
		}
		sh.reclaim(h, ref, t.now, t.cause)
		ref = 0
	}
	in, front := sh, 0
	if exists {
		t.dropGrave(state, sh.part, name)
		state.content = k.Append(state.content[:0])
		ref = sh.putContent(h, ref, name, KindShared, state.content, k.Ends(p))
		if changed {
			_, front, _ = shared.Quick(state.content, p)
		}
	} else {
		if ref != 0 {
			sh.discard(h, ref)
			sh.compact()
		}
		in, ref = t.bury(state, sh.part, name, p, k), 0
	}
	switch {
	case front > 0:
		state.changed.noteRow(h, name, state.content[:front], state.Pos, state.Now)
	case changed:
		state.changed.note(h, name, state.Pos, state.Now)
	}
	if in != nil && in != sh {
		in.compact()
	}
	return ref
}

// hideCounter is keepShared where there is a sketch of the name, which is what clients see: a counter that exists yields (yieldCounters).
func (t Txn) hideCounter(sh *shard, h uint64, name []byte, p *shared.Part, k *shared.Key, exists, changed bool) (ref uint32) {
	state := &t.ks.regions.Load().parts[sh.part]
	if exists {
		state.yield = append(state.yield, slices.Clone(name))
	}
	in := t.bury(state, sh.part, name, p, k)
	if changed {
		state.changed.note(h, name, state.Pos, state.Now)
	}
	if in != nil {
		in.compact()
	}
	return 0
}

// bury writes the grave of a key that does not exist, if anything is left of it, and returns where: who needs no reference any more
// compacts that.
func (t Txn) bury(state *regionPart, part int, name []byte, p *shared.Part, k *shared.Key) (in *shard) {
	if k.Empty() {
		t.dropGrave(state, part, name)
		return nil
	}
	key := state.graveKey(name)
	content := k.Append(key) // behind the key
	state.content = content
	in = t.ks.makeShard(part, t.ks.databases)
	before := in.keys.Load()
	in, _ = t.storeHidden(part, content[:len(key):len(key)], content[len(key):], k.Fades(p))
	state.graves += in.keys.Load() - before
	return in
}

func (t Txn) dropGrave(state *regionPart, part int, name []byte) {
	if t.dropHidden(part, state.graveKey(name)) {
		state.graves--
	}
}

// buryExpired makes the grave of a shared key whose record is reclaimed at log time now.
func (sh *shard) buryExpired(r record, now int64) {
	p := sh.ks.sharedPart(sh.part, now)
	p.load(r.content())
	p.key.Bury(&p.Part)
	p.touched(r.key())
	if in := sh.ks.Txn(0, 0, false).bury(p, sh.part, r.key(), &p.Part, &p.key); in != nil {
		in.compact()
	}
}

// checkShared checks that each shared key is where it belongs, with the deadline that it should have. All parts are locked.
func (ks *Keyspace) checkShared() (err error) {
	g, now := ks.regions.Load(), ks.clock.Load()
	if now == 0 {
		return nil // it was loaded, and knows no log time yet
	}
	check := func(sh *shard, r record, name []byte, grave bool) {
		p := ks.sharedPart(sh.part, now)
		if e := p.key.Load(r.content()); e != nil {
			err = fmt.Errorf("shared key %q: %w", name, e)
			return
		}
		_, exists := p.key.Value(&p.Part)
		deadline := p.key.Fades(&p.Part)
		if !grave {
			deadline = p.key.Ends(&p.Part)
		}
		if !r.expired(now) && (exists == grave || deadline != r.deadline()) || p.key.Empty() {
			err = fmt.Errorf("shared key %q exists: %v, in a grave: %v, deadline %d, should be %d: %+v", name, exists, grave, r.deadline(), deadline, p.key)
		}
	}
	ks.eachShard(func(sh *shard) {
		sh.eachRecord(func(_ uint32, r record) {
			switch key := r.key(); {
			case sh.db == ks.databases && OriginKind(key[0]) == sketchCopy && g != nil:
				m := ks.View(0, now, true).readSketch(ks.sharedPart(sh.part, now), sh.part, key[2:])
				if _, ok := m.Copy(shared.Origin(key[1])); !ok && !r.expired(now) {
					err = fmt.Errorf("a copy of a shared sketch, %q, is of none that is kept", key)
				}
			case sh.db == ks.databases && OriginKind(key[0]) == sketchState && g != nil:
				if e := ks.checkSketch(sh.part, key[1:], now); e != nil && !r.expired(now) {
					err = e
				}
			case sh.db == 0 && g != nil && !r.expired(now) && r.kind() != KindShared && g.setup().shares(key):
				if !ks.View(0, now, true).In(sh.part).readSketch(ks.sharedPart(sh.part, now), sh.part, key).Alive() {
					err = fmt.Errorf("the key %q is shared, and is neither a shared counter nor a shared sketch", key)
				}
			case r.kind() != KindShared && (sh.db != ks.databases || OriginKind(key[0]) != regionGrave):
			case g == nil:
				err = fmt.Errorf("shared key %q, and there are no regions", key)
			case r.kind() == KindShared:
				check(sh, r, key, false)
			default:
				check(sh, r, key[1:], true)
			}
		})
	})
	return err
}
