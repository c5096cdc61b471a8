package exec

import "quipu/engine"

// runGroup executes runs that stand one behind the other in an entry together: with their parts locked at once and
// their records fetched at once they take half the time (BenchmarkAddRuns in package engine). It keeps what came
// of them until their turn to reply.
type runGroup struct {
	runs    [engine.WarmMax]engine.Run
	applied [engine.WarmMax]uint32 // increments of each that were applied; the rest overflowed
	n       int
	next    int // the first whose result was not asked for
}

func (g *runGroup) add(o *op) {
	g.runs[g.n] = engine.Run{DB: o.db, Key: o.key, Delta: o.delta, Count: int(o.count)}
	g.applied[g.n] = o.count
	g.n++
}

func (g *runGroup) full() bool { return g.n == len(g.runs) }

// execute applies all runs of the group.
func (r *Runner) execute(g *runGroup, stamp int64) {
	if g.n == 1 { // nothing to overlap
		r.executeOne(g, 0, stamp)
		return
	}
	for at := 0; at < g.n; {
		if at += r.ks.AddRuns(g.runs[at:g.n], stamp); at < g.n {
			r.executeOne(g, at, stamp)
			at++
		}
	}
}

func (r *Runner) executeOne(g *runGroup, i int, stamp int64) {
	run := &g.runs[i]
	run.Before, g.applied[i], run.Err = r.addRun(run.Key, run.DB, stamp, run.Delta, g.applied[i], false)
}

// clear empties the group and lets go of the entry.
func (g *runGroup) clear() {
	for i := range g.n {
		g.runs[i].Key = nil
	}
	g.n, g.next = 0, 0
}

// run replies to the run at item i. Those that follow it without anything in between that looks at the keyspace are
// executed with it.
func (a *applier) run(i int) error {
	b, g := a.b, &a.r.group
	run := &b.runs[b.items[i].a]
	if run.local {
		if err := a.nextOp(opRun); err != nil {
			return err
		}
		run.before, run.applied, run.err = a.r.addRun(a.op.key, a.op.db, a.stamp, a.op.delta, a.op.count, true)
	} else {
		if g.next == g.n {
			if err := a.gather(i); err != nil {
				return err
			}
		}
		done := &g.runs[g.next]
		run.before, run.applied, run.err = done.Before, g.applied[g.next], done.Err
		g.next++
	}
	b.replyRun(b.items[i].a, 0)
	return nil
}

// gather executes the run at item i and those behind it.
func (a *applier) gather(i int) error {
	g := &a.r.group
	g.clear()
	for ; i < len(a.b.items) && !g.full(); i++ {
		switch it := &a.b.items[i]; {
		case it.kind == itemJoin || it.kind == itemLiteral:
			continue
		case it.kind != itemRun || a.b.runs[it.a].local:
			i = len(a.b.items)
			continue
		}
		if err := a.decode(opRun); err != nil {
			return err
		}
		g.add(&a.op)
	}
	a.r.execute(g, a.stamp)
	return nil
}
