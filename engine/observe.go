package engine

// Observe adds an observer. To be called before the keyspace is used.
func (ks *Keyspace) Observe(o Observer) {
	ks.observers = append(ks.observers, o)
	if ks.changes == nil {
		ks.changes = make([]Change, Parts)
	}
}

// observed reports whether there is anybody to tell. Whoever has to look something up for a Change asks first.
func (ks *Keyspace) observed() bool { return len(ks.observers) != 0 }

// tell tells the observers of a change of a key of the shard. The Change is built in memory that belongs to the part: one
// on the stack would escape to the heap, at each mutation, because nobody knows what observers do with it.
func (sh *shard) tell(key []byte, op Op, old, is Integer, now int64, cause *Cause) {
	if len(sh.ks.observers) != 0 {
		sh.announce(key, op, old, is, now, cause)
	}
}

func (sh *shard) announce(key []byte, op Op, old, is Integer, now int64, cause *Cause) {
	c := &sh.ks.changes[sh.part]
	*c = Change{Op: op, DB: sh.db, Key: key, Old: old, New: is, Stamp: now}
	if cause != nil {
		c.Event, c.Index = cause.Event, cause.Index
	}
	if op == OpReclaim {
		c.Event = "expired"
	}
	for _, o := range sh.ks.observers {
		o(c)
	}
	c.Key = nil
}

// integerAt is the record at ref as a counter, for observers; ref 0 is an absent key. Where there are no observers it looks nothing up.
func (sh *shard) integerAt(ref uint32) Integer {
	if ref == 0 || !sh.ks.observed() {
		return Integer{}
	}
	r := sh.at(ref)
	switch k := r.kind(); {
	case k == KindInt:
		return Integer{r.int(), true}
	case k.isString():
		n, ok := parseInt(r.content())
		return Integer{n, ok}
	}
	return Integer{}
}

// tell tells the observers of a change by the transaction.
func (t Txn) tell(sh *shard, key []byte, op Op, old, is Integer) {
	if len(t.ks.observers) != 0 {
		sh.announce(key, op, old, is, t.now, t.cause)
	}
}

// Announce tells the observers once more of what the transaction has done to a key, as another event with an Op of its
// own: SET with an expiry is "set" and "expire" in Redis. The key's value is what it is now, before and after.
func (t Txn) Announce(key []byte, op Op) {
	if !t.ks.observed() {
		return
	}
	sh, _, ref := t.open(key)
	n := sh.integerAt(ref)
	t.tell(sh, key, op, n, n)
}

// tellFlushed tells the observers that the transaction's database was emptied. Part locks are not held: the change belongs to no part.
func (t Txn) tellFlushed() {
	if !t.ks.observed() {
		return
	}
	c := &Change{Op: OpFlush, DB: int(t.db), Stamp: t.now}
	if t.cause != nil {
		c.Event, c.Index = t.cause.Event, t.cause.Index
	}
	for _, o := range t.ks.observers {
		o(c)
	}
}
