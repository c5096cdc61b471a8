package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What clients that behave notice of those that do not. Each attack (attacks.go) has a server of its own. In each round the
// load runs alone, then beside the attack. The attackers compute on the same machine, and so does what the server cannot
// help doing for them; to tell how much of the loss that is, the load also runs while the same attack goes to another server
// on the machine: no server could keep more than that without taking the processor away from a client it serves.

// The columns of the table, in its one metric; x is the attack.
const (
	attackKept   = "attack-kept"
	attackBeside = "attack-beside" // the part that is kept when the attack goes to another server
	attackAlone  = "attack-p99-alone"
	attackP99    = "attack-p99"
	attackMemory = "attack-memory"
)

var attackColumns = []string{attackKept, attackBeside, attackAlone, attackP99, attackMemory}

const attackMetric = "attacks"

// attackClients are honest, and attackDepth increments of each are on their way.
const (
	attackClients = 50
	attackDepth   = 16
)

// attackRamp is how long an attack goes on before it is measured: half a second at full length.
func (c config) attackRamp() time.Duration { return min(500*time.Millisecond, c.runTime()) }

func attacksMeasurement(cfg config) measurement {
	all := slices.DeleteFunc(attacks(cfg), func(a attack) bool { return !strings.Contains(a.name, cfg.attack) })
	var kept, fair []check
	for x, a := range all {
		kept = append(kept, check{label: a.name, num: cell{attackMetric, attackKept, x}, atLeast: 0.8})
		fair = append(fair, check{label: a.name, num: cell{attackMetric, attackKept, x}, den: cell{attackMetric, attackBeside, x}, atLeast: 0.8})
	}
	return measurement{
		name: "attacks",
		about: fmt.Sprintf("%d clients that count (`INCR`, pipeline %d) beside clients that do harm: the part of their throughput that they keep, p99 of a pipeline, "+
			"and how much the server's memory grows", attackClients, attackDepth),
		metrics: []metric{{id: attackMetric, title: "Beside each attack", xTitle: "Attack", xName: func(x int) string { return all[x].name }, digits: 2}},
		bars: []bar{
			{"A1", "throughput of clients that count beside an attack ÷ alone", kept},
			{"A2", "the same ÷ beside an attack on another server of this machine", fair},
		},
		run: func(ctx context.Context, l *lab) error {
			for _, v := range attackColumns {
				l.name[v] = setUp[v]
			}
			for x, a := range all {
				if err := l.measureAttack(ctx, x, a); err != nil {
					return fmt.Errorf("%s: %w", a.name, err)
				}
			}
			return nil
		},
	}
}

func (l *lab) measureAttack(ctx context.Context, x int, a attack) error {
	var targets [2]*attacked // the second one has no load
	for i := range targets {
		v, err := l.startAttacked(ctx, a, fmt.Sprint("attack-", x, "-", i))
		if v != nil {
			defer v.kill()
		}
		if err != nil {
			return err
		}
		targets[i] = v
	}
	for round := range l.cfg.rounds {
		if err := l.attackRound(ctx, x, a, targets[0], targets[1], round); err != nil {
			return targets[0].explain(err)
		}
	}
	return nil
}

// attackedKeys is how many counters the load increments.
func (c config) attackedKeys() int { return c.scaled(100_000) }

// startAttacked starts a server for an attack and fills it.
func (l *lab) startAttacked(ctx context.Context, a attack, name string) (*attacked, error) {
	v := &attacked{dir: filepath.Join(l.work, name)}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return nil, err
	}
	settings := a.settings
	if a.prepare != nil {
		more, err := a.prepare(v, l.cfg)
		if err != nil {
			return nil, err
		}
		settings = append(settings[:len(settings):len(settings)], more...)
	}
	s, err := l.start(ctx, quipuQuorum, settings...)
	if err != nil {
		return nil, err
	}
	v.server = s
	if err := s.fill(ctx, counterSet{name: benchmarkKey}, 0, l.cfg.attackedKeys()); err != nil {
		return v, s.explain(err)
	}
	if a.fill != "" {
		if err := v.sendAll(a.fill); err != nil {
			return v, s.explain(err)
		}
	}
	return v, nil
}

// attackRound is one round: the load on v alone, then beside an attack on another server, then beside one on v.
func (l *lab) attackRound(ctx context.Context, x int, a attack, v, other *attacked, round int) error {
	alone, err := l.attackLoad(v).runFor(ctx, l.cfg.runTime())
	if err != nil {
		return err
	}
	beside, _, err := l.attackOnce(ctx, a, v, other)
	if err != nil {
		return err
	}
	under, grown, err := l.attackOnce(ctx, a, v, v)
	if err != nil {
		return err
	}
	rate := func(r *loadResult) float64 { return float64(r.requests) / r.elapsed.Seconds() }
	add := func(column string, value float64) { l.figures.add(attackMetric, column, x, value) }
	add(attackKept, rate(under)/rate(alone))
	add(attackBeside, rate(beside)/rate(alone))
	add(attackAlone, millis(alone.latencies.quantile(0.99)))
	add(attackP99, millis(under.latencies.quantile(0.99)))
	add(attackMemory, grown/(1<<20))
	l.progress(round, attackKept, a.name, rate(under)/rate(alone), fmt.Sprintf("(%.2f beside, %d connections)", rate(beside)/rate(alone), v.connections.Load()))
	return nil
}

func (l *lab) attackLoad(v *attacked) generator {
	return generator{addr: v.server.addr(), set: counterSet{name: benchmarkKey}, keys: l.cfg.attackedKeys(), clients: attackClients, depth: attackDepth}
}

// attackOnce runs the load on v while target is attacked, and returns by how much target's memory has grown at most.
func (l *lab) attackOnce(ctx context.Context, a attack, v, target *attacked) (result *loadResult, grown float64, err error) {
	before, err := target.server.resident()
	if err != nil {
		return nil, 0, err
	}
	attacking, stop := context.WithCancel(ctx)
	var attackers sync.WaitGroup
	defer attackers.Wait()
	defer stop()
	for range a.attackers {
		attackers.Go(func() { a.run(attacking, func() net.Conn { return target.connect(attacking, a.at) }) })
	}
	if err := pause(ctx, l.cfg.attackRamp()*time.Duration(max(a.ramp, 1))); err != nil {
		return nil, 0, err
	}
	highest := before
	result, err = l.attackLoad(v).runWhile(ctx, func(ctx context.Context) error {
		for end := time.Now().Add(l.cfg.runTime()); time.Now().Before(end); {
			now, err := target.server.resident()
			if err != nil {
				return err
			}
			highest = max(highest, now)
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	})
	return result, highest - before, err
}

// attacked is the server under attack, as attackers know it.
type attacked struct {
	*server
	dir             string // for certificates
	tls, peer, http string // addresses of its other ports, where it has them
	connections     atomic.Int64
}

// connect makes a connection that is closed when the context ends, or returns nil.
func (v *attacked) connect(ctx context.Context, at func(v *attacked) string) net.Conn {
	addr := v.addr()
	if at != nil {
		addr = at(v)
	}
	c, err := dial(ctx, addr)
	if err != nil {
		return nil
	}
	v.connections.Add(1)
	context.AfterFunc(ctx, func() { c.Close() })
	return c
}

// bulks is a command in the protocol's form.
func bulks(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return b.String()
}
