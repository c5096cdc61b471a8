package engine

// Run is one increment of Keyspace.AddRuns, or several equal ones of one key, and what came of it.
type Run struct {
	DB    int
	Key   []byte
	Delta int64
	Count int

	Before int64 // the counter before it
	Err    error // of Txn.Add: nothing changed
}

// AddRuns does what Txn.AddRun does for each of up to WarmMax runs, in their order, at log time now, for cause. It stops at one
// that would overflow, and returns how many it has done. Keys may repeat. The caller holds no parts.
//
// It is written for speed: all parts are locked at once, the cache misses of all index lines overlap, then those of all
// records, and a counter that is found where its tag points is increased at once: 190 ns with 1,000,000 random counters, 90 ns
// with 10,000, where one by one takes 460 and 100 (BenchmarkAddRuns, BenchmarkAdd).
func (ks *Keyspace) AddRuns(runs []Run, now int64, cause *Cause) int {
	runs = runs[:min(len(runs), WarmMax)]
	var g KeySet
	g.Reset(ks)
	for i := range runs {
		g.Add(runs[i].DB, runs[i].Key)
	}
	g.LockForWrites()
	defer g.Unlock()
	ks.tick(now)
	moved := false // a record has moved: the references found no longer hold
	for i := range runs {
		r, k := &runs[i], &g.keys[i]
		if !moved && k.ref != 0 && k.sh.addTo(k.hash, k.ref, r, now, cause) {
			continue
		}
		was, ok := ks.parts[k.part].moved, false
		r.Before, ok, r.Err = ks.TxnIn(k.part, r.DB, now, cause).AddRun(r.Key, r.Delta, r.Count)
		moved = moved || ks.parts[k.part].moved != was
		if !ok && r.Err == nil {
			return i
		}
	}
	return len(runs)
}

// addTo adds a run to the record at ref, of a key of hash h, if that is the key's counter and nothing is special about it.
func (sh *shard) addTo(h uint64, ref uint32, r *Run, now int64, cause *Cause) bool {
	rec := sh.at(ref)
	kind := rec.kind()
	if !rec.hasKey(r.Key) || kind != KindInt && kind != KindShared || rec.expired(now) {
		return false
	}
	total := r.Delta
	if r.Count != 1 {
		var fits bool
		if total, fits = times(r.Delta, r.Count); !fits {
			return false
		}
	}
	var sum int64
	var ok bool
	if kind == KindInt {
		sum, ok = sh.addInt(ref, total, now, cause)
	} else {
		sum, ok = sh.addInPlace(h, ref, r.Key, total, now, cause)
	}
	r.Before, r.Err = sum-total, nil
	return ok
}
