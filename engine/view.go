package engine

// View reads one database at one log time. It is a small value without
// resources; its methods do not allocate.
//
// Methods on a single key need the key's part locked by the caller. Methods over
// the whole database lock part by part themselves, unless the view was made with
// held.
type View struct {
	ks   *Keyspace
	now  int64
	db   int32
	in   uint16 // 1 + the part of all keys to come, 0 if not known
	held bool
	mode viewMode
	free bool   // see Unlocked
	ref  uint32 // the record where the only key to come was found first, see KeySet; 0 if not known
}

// viewMode says of which keys a view also counts what this node has answered ahead.
type viewMode uint8

const (
	viewApplied    viewMode = iota // of none
	viewAhead                      // of all
	viewAheadByKey                 // of those for which Keyspace.localKey is true
)

// WithAhead returns the same view whose Get also counts what this node has answered ahead:
// for all keys, or for those at ack level local (SetLocalKeys). Other methods do not.
func (v View) WithAhead(all bool) View {
	if v.mode = viewAheadByKey; all {
		v.mode = viewAhead
	}
	return v
}

// SetLocalKeys sets the function that tells whether the settings have a key at ack level local.
// To be called before the keyspace is used.
func (ks *Keyspace) SetLocalKeys(fn func(key []byte) bool) { ks.localKey = fn }

// View returns a view of a database at log time now in milliseconds; held says
// that the caller holds all parts' locks.
func (ks *Keyspace) View(db int, now int64, held bool) View {
	return View{ks: ks, now: now, db: int32(db), held: held}
}

// In returns the same view for keys that are all in one part, as the caller who
// has locked it knows: the methods then need not compute it again (12 ns of about
// 110 for an increment).
func (v View) In(part int) View {
	v.in = uint16(part + 1)
	return v
}

// Unlocked returns the same view for a caller that has locked nothing and reads one key at a time, each between LockKey and
// UnlockKey.
func (v View) Unlocked() View {
	v.free = true
	return v
}

// LockKey locks the part of a key if the view is Unlocked, else the caller has locked it.
func (v View) LockKey(key []byte) {
	if v.free {
		v.ks.LockPart(v.part(key))
	}
}

// UnlockKey ends LockKey.
func (v View) UnlockKey(key []byte) {
	if v.free {
		v.ks.UnlockPart(v.part(key))
	}
}

func (v View) part(key []byte) int {
	if v.in != 0 {
		return int(v.in) - 1
	}
	return Part(key)
}

// DB returns the number of the database.
func (v View) DB() int { return int(v.db) }

// Now returns the log time in milliseconds.
func (v View) Now() int64 { return v.now }

// WithDB returns the same view of another database.
func (v View) WithDB(db int) View {
	v.db = int32(db)
	return v
}

// Get returns a key's value. An expired key is absent.
func (v View) Get(key []byte) (Value, bool) {
	if v.mode != viewApplied && v.ks.HasAhead() && (v.mode == viewAhead || v.ks.localKey(key)) {
		return v.getAhead(key)
	}
	sh := v.ks.shard(v.part(key), int(v.db))
	if sh == nil {
		return Value{}, false
	}
	if v.ref != 0 {
		if r := sh.at(v.ref); r.hasKey(key) && !r.expired(v.now) {
			if r.kind() == KindShared {
				return sh.sharedValue(r, v.now), true
			}
			return r.value(), true // not by valueAt: a call in a call took 7 of 268 ns (BenchmarkSession/GET of package server)
		}
	}
	ref, _ := sh.lookup(v.ks.hash(key), key, v.now)
	if ref == 0 {
		return Value{}, false
	}
	return sh.valueAt(ref, v.now), true
}

// Ahead returns what this node has answered ahead for the key.
func (v View) Ahead(key []byte) int64 {
	if !v.ks.HasAhead() {
		return 0
	}
	n, _ := v.ks.aheadOf(v.part(key), int(v.db), v.ks.hash(key), key, v.now)
	return n
}

// getAhead is Get with what is answered ahead for the key: the value that the key will have once
// those increments are applied, if nothing else is. Increments that cannot be applied do not count.
func (v View) getAhead(key []byte) (val Value, ok bool) {
	part, h := v.part(key), v.ks.hash(key)
	if sh := v.ks.shard(part, int(v.db)); sh != nil {
		if ref, _ := sh.lookup(h, key, v.now); ref != 0 {
			val, ok = sh.valueAt(ref, v.now), true
		}
	}
	ahead, some := v.ks.aheadOf(part, int(v.db), h, key, v.now)
	if !some {
		return val, ok
	}
	n := val.Int
	switch val.Kind {
	case KindNone, KindInt:
	case KindString, KindRaw:
		number := false
		if n, number = parseInt(val.Bytes); !number {
			return val, ok
		}
	default:
		return val, ok
	}
	if sum := n + ahead; (sum < n) == (ahead < 0) {
		return Value{Kind: KindInt, Int: sum, Deadline: val.Deadline}, true
	}
	return val, ok
}

// Len returns the number of records that have not been reclaimed yet; expired
// ones count until then.
func (v View) Len() int64 {
	n := int64(0)
	for p := range Parts {
		if sh := v.ks.shard(p, int(v.db)); sh != nil {
			n += sh.keys.Load()
		}
	}
	return n
}

// MemoryUsage returns the bytes that a key and its value take, with an average
// share of the index.
func (v View) MemoryUsage(key []byte) (int64, bool) {
	sh := v.ks.shard(v.part(key), int(v.db))
	if sh == nil {
		return 0, false
	}
	ref, _ := sh.lookup(v.ks.hash(key), key, v.now)
	if ref == 0 {
		return 0, false
	}
	const indexShare = 7
	if c := &sh.meta[ref>>chunkRefLog]; c.own {
		return int64(c.live) + indexShare, true
	}
	return int64(sh.at(ref).block()) + indexShare, true
}

// lock locks a part for a method over the whole database.
func (v View) lock(part int) {
	if !v.held {
		v.ks.LockPart(part)
	}
}

func (v View) unlock(part int) {
	if !v.held {
		v.ks.UnlockPart(part)
	}
}
