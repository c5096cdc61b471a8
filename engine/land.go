package engine

// Landing: this node's own section is applied from the tallies that it was made of (ahead.go), which know where their records are; another
// node's, and what is replayed, is decoded (counted.go).

// landOwn moves this node's section that the origin's condition names into the records, part by part. false if it is another
// node's, or was sealed by a process before this one.
func (t Txn) landOwn(origin *Origin) bool {
	ks := t.ks
	c := &ks.counted
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ks.isSelf(origin) {
		return false
	}
	for _, landing := range [...]bool{true, false} {
		sec := c.which(landing)
		if sec.parts.Empty() || string(origin.To) != string(number(sec.number)) {
			continue
		}
		for part := range Parts {
			if sec.parts.Has(part) {
				ks.LockPart(part)
				t.In(part).landPart(part, *ks.parts[part].tableOf(landing))
				ks.dropTable(part, landing)
				ks.UnlockPart(part)
			}
		}
		ks.stats.landed.Add(1)
		return true
	}
	return false
}

// which is the section that is landing, or the sealed one.
func (c *counted) which(landing bool) *sectionParts {
	if landing {
		return &c.landing
	}
	return &c.sealed
}

// tableOf is where the part has its table of that section.
func (p *partAhead) tableOf(landing bool) **tallies {
	if landing {
		return &p.landing
	}
	return &p.sealed
}

// dropTable forgets the part's table of a section that is applied. The part is locked, and c.mu.
func (ks *Keyspace) dropTable(part int, landing bool) {
	p, c := &ks.parts[part], &ks.counted
	table := p.tableOf(landing)
	if p.spare == nil {
		p.spare = (*table).reset()
	}
	*table = nil
	if !p.hasAhead() {
		ks.aheadParts.Add(-1)
	}
	c.which(landing).parts.Remove(part)
	if !landing && c.sealed.parts.Empty() {
		c.done = false
	}
}

// landPart does for a table of a part what applyPart does for the items of a body. It decodes nothing, and mostly needs no
// lookup, since a tally has a reference to its record.
func (t Txn) landPart(part int, s *tallies) {
	warm := len(s.list) > 1 && t.ks.WorthWarming()
	for i := range s.list {
		if i%WarmMax == 0 && warm {
			t.ks.fetchSealed(part, s, i)
		}
		one := &s.list[i]
		if one.deadline != 0 && one.deadline <= t.now {
			t.ks.stats.expired.Add(1)
			continue
		}
		if !t.landInPlace(part, s, one) {
			db, key, _ := s.key(one)
			t.addCounted(&countedItem{db, key, one.delta, one.deadline}, true)
		}
	}
}

// landInPlace adds a tally to the record that it was answered against last, if that is still where it was and a counter. It returns
// false, and changes nothing, if the tally must be applied by way of a lookup.
func (t Txn) landInPlace(part int, s *tallies, one *tally) (ok bool) {
	sh := t.ks.shard(part, s.db(one))
	if sh == nil || !one.leads(t.ks.parts[part].moved) {
		return false
	}
	switch r := sh.at(one.ref); {
	case r.expired(t.now):
	case r.kind() == KindInt:
		_, ok = sh.addInt(one.ref, one.delta, t.now, t.cause)
	case r.kind() == KindShared:
		_, key, _ := s.key(one)
		_, ok = sh.addInPlace(t.ks.hash(key), one.ref, key, one.delta, t.now, t.cause)
	}
	return ok
}
