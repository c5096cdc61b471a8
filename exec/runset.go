package exec

import "quipu/engine"

// runSet has runs that stand one behind the other in an entry and are executed together. Together, with all parts locked
// once and the cache misses of all records overlapping, they take half the time (BenchmarkAddRuns in package engine).
type runSet struct {
	runs    [engine.WarmMax]engine.Run
	applied [engine.WarmMax]uint32 // increments of each that were applied; the rest overflowed
	n       int
}

func (g *runSet) add(o *op) {
	g.runs[g.n] = engine.Run{DB: o.db, Key: o.key, Delta: o.delta, Count: int(o.count)}
	g.applied[g.n] = o.count
	g.n++
}

// clear empties the set and drops all references to the entry.
func (g *runSet) clear() {
	for i := range g.n {
		g.runs[i].Key = nil
	}
	g.n = 0
}

// execute applies all runs of the set.
func (r *Runner) execute(g *runSet, stamp int64) {
	if g.n == 1 { // nothing to overlap
		r.executeOne(g, 0, stamp, false)
		return
	}
	for at := 0; at < g.n; {
		if at += r.ks.AddRuns(g.runs[at:g.n], stamp, &r.counts); at < g.n {
			r.executeOne(g, at, stamp, false)
			at++
		}
	}
}

// executeAhead is execute for a single run whose reply counts what is answered ahead.
func (r *Runner) executeAhead(g *runSet, stamp int64) { r.executeOne(g, 0, stamp, true) }

func (r *Runner) executeOne(g *runSet, i int, stamp int64, ahead bool) {
	run := &g.runs[i]
	run.Before, g.applied[i], run.Err = r.addRun(run.Key, run.DB, stamp, run.Delta, g.applied[i], ahead)
}
