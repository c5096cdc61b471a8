package engine

// Sources are origins outside of the cluster, such as partitions of a broker: command INGEST. Their positions never expire.

// Source is what is stored of one.
type Source struct{ Name, Incarnation, Position string }

// SourcePart is the part of a source's record.
func SourcePart(name []byte) int {
	var scratch [MaxOriginName + 1]byte
	o := Origin{Kind: OriginSource, Name: name}
	return Part(o.key(scratch[:0]))
}

// SourceHeld returns what is stored of a source. The part of its record is locked.
func (v View) SourceHeld(name []byte) (Position, bool) {
	if len(name) == 0 || len(name) > MaxOriginName {
		return Position{}, false
	}
	var scratch [MaxOriginName + 1]byte
	o := Origin{Kind: OriginSource, Name: name}
	key := o.key(scratch[:0])
	val, ok := v.WithDB(v.ks.databases).In(Part(key)).Get(key)
	return decodePosition(val.Bytes), ok
}

// Source is SourceHeld for a caller that holds no parts, or all. The result does not alias the arena.
func (v View) Source(name []byte) (p Position, ok bool) {
	if len(name) == 0 || len(name) > MaxOriginName {
		return p, false
	}
	part := SourcePart(name)
	v.lock(part)
	defer v.unlock(part)
	p, ok = v.SourceHeld(name)
	return Position{append([]byte(nil), p.Epoch...), append([]byte(nil), p.At...)}, ok
}

// EachSource calls fn for all sources. The caller holds no parts, or all.
func (v View) EachSource(fn func(s Source)) {
	for part := range Parts {
		v.lock(part)
		if sh := v.ks.shard(part, v.ks.databases); sh != nil {
			sh.eachRecord(func(_ uint32, r record) {
				if key := r.key(); OriginKind(key[0]) == OriginSource {
					p := decodePosition(r.content())
					fn(Source{string(key[1:]), string(p.Epoch), string(p.At)})
				}
			})
		}
		v.unlock(part)
	}
}

// AdvanceHeld is Advance for a source whose record's part is locked.
func (t Txn) AdvanceHeld(o *Origin) Verdict {
	stored, found := t.SourceHeld(o.Name)
	switch {
	case found && !o.follows(stored):
		t.ks.countRefusal(o, stored)
		return Stale
	case !found && !o.begins():
		t.ks.stats.gaps.Add(1)
		return Stale
	case !found && t.ks.sources.Load() >= MaxSources:
		return Full
	}
	t.storePosition(o, SourcePart(o.Name), 0)
	return Accepted
}

// SetSource stores o.Epoch and o.To, whatever is stored; false: there are MaxSources others. The caller holds no parts, or all.
func (t Txn) SetSource(o *Origin) bool {
	part := SourcePart(o.Name)
	t.lock(part)
	defer t.unlock(part)
	if _, found := t.SourceHeld(o.Name); !found && t.ks.sources.Load() >= MaxSources {
		return false
	}
	t.storePosition(o, part, 0)
	return true
}

// ForgetSource removes a source. The caller holds no parts, or all.
func (t Txn) ForgetSource(name []byte) bool {
	if len(name) == 0 || len(name) > MaxOriginName {
		return false
	}
	part := SourcePart(name)
	t.lock(part)
	defer t.unlock(part)
	var scratch [MaxOriginName + 1]byte
	o := Origin{Kind: OriginSource, Name: name}
	key := o.key(scratch[:0])
	sh := t.ks.shard(part, t.ks.databases)
	if sh == nil {
		return false
	}
	h := t.ks.hash(key)
	ref, _ := sh.lookup(h, key, t.now)
	if ref == 0 {
		return false
	}
	t.ks.noteOriginGone(key)
	sh.discard(h, ref)
	sh.compact()
	return true
}
