package engine

// RegionLag is how far another region is behind this one, as this node can tell from what it has executed.
type RegionLag struct {
	Positions int64 // changes that the other region has not confirmed
	// Keys is about how many keys those are of, and rather too many: a key that changed in two frames is counted twice, and where the memory of
	// changes does not reach back, all keys of the part are.
	Keys  int64
	Since int64 // log time in ms of the oldest of those changes that this node remembers, 0: it remembers none of them
	Full  int   // parts that have to be told whole
}

// RegionLag returns the lag of a region that has confirmed each part up to a position; false: there are no regions. It locks one part
// after the other, each for less than a microsecond.
func (ks *Keyspace) RegionLag(acked *[Parts]uint64) (lag RegionLag, ok bool) {
	g := ks.regions.Load()
	if g == nil {
		return lag, false
	}
	for part := range Parts {
		ks.LockPart(part)
		if p := &g.parts[part]; p.Pos > acked[part] {
			ks.addLag(&lag, p, part, acked[part])
		}
		ks.UnlockPart(part)
	}
	return lag, true
}

// addLag adds what is behind a position in a part, which is locked.
func (ks *Keyspace) addLag(lag *RegionLag, p *regionPart, part int, acked uint64) {
	lag.Positions += int64(p.Pos - acked)
	c, _, known := p.changed.from(acked)
	if known {
		lag.Keys += p.changed.count - c.count
	} else {
		lag.Full++
		lag.Keys += p.graves
		if sh := ks.shard(part, 0); sh != nil {
			lag.Keys += sh.keys.Load()
		}
	}
	if since := p.changed.since(c.pos); since != 0 && (lag.Since == 0 || since < lag.Since) {
		lag.Since = since
	}
}

// since is when the first change happened that is known behind a position, which is that of a cut or before all; 0: none is known.
func (c *changedKeys) since(pos uint64) int64 {
	for _, cut := range c.cuts {
		if cut.pos >= pos && cut.since != 0 {
			return cut.since
		}
	}
	return 0
}

// RegionCounts is what a node counts of regions as a whole.
type RegionCounts struct {
	Graves int64 // keys that do not exist, of which a reset has to be kept
	Late   int64 // wishes of other regions that came after their own deadline, in the entries that this process has executed
}

// RegionCounts adds them up. There are regions.
func (ks *Keyspace) RegionCounts() (n RegionCounts) {
	g := ks.regions.Load()
	for part := range Parts {
		ks.LockPart(part)
		n.Graves += g.parts[part].graves
		n.Late += g.parts[part].Late
		ks.UnlockPart(part)
	}
	return n
}

// countGraves counts them anew, after Load.
func (g *regions) countGraves(ks *Keyspace) {
	for part := range Parts {
		ks.LockPart(part)
		g.parts[part].graves = 0
		if sh := ks.shard(part, ks.databases); sh != nil {
			sh.eachRecord(func(_ uint32, r record) {
				g.parts[part].graves += int64(boolByte(OriginKind(r.key()[0]) == regionGrave))
			})
		}
		ks.UnlockPart(part)
	}
}

// noteGraveGone takes a record of the hidden database that is reclaimed out of the count, if it is a grave. The part is locked.
func (sh *shard) noteGraveGone(key []byte) {
	if g := sh.ks.regions.Load(); g != nil && OriginKind(key[0]) == regionGrave {
		g.parts[sh.part].graves--
	}
}
