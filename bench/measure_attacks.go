package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What clients that behave notice of those that do not. Each attack (attacks.go) has a server of its own. In each round the
// load runs alone, then beside the attack; the attackers compute on the same machine, so a part of what is lost is theirs and
// not the server's.

// The columns of the table, in its one metric; x is the attack.
const (
	attackKept   = "attack-kept"
	attackAlone  = "attack-p99-alone"
	attackP99    = "attack-p99"
	attackMemory = "attack-memory"
)

var attackColumns = []string{attackKept, attackAlone, attackP99, attackMemory}

const attackMetric = "attacks"

// attackClients are honest, and attackDepth increments of each are on their way.
const (
	attackClients = 50
	attackDepth   = 16
)

// attackRamp is how long an attack goes on before it is measured: half a second at full length.
func (c config) attackRamp() time.Duration { return min(500*time.Millisecond, c.runTime()) }

func attacksMeasurement(cfg config) measurement {
	all := attacks(cfg)
	var kept []check
	for x, a := range all {
		kept = append(kept, check{label: a.name, num: cell{attackMetric, attackKept, x}, atLeast: 0.8})
	}
	return measurement{
		name: "attacks",
		about: fmt.Sprintf("%d clients that count (`INCR`, pipeline %d) beside clients that do harm: the part of their throughput that they keep, p99 of a pipeline, "+
			"and how much the server's memory grows", attackClients, attackDepth),
		metrics: []metric{{id: attackMetric, title: "Beside each attack", xTitle: "Attack", xName: func(x int) string { return all[x].name }, digits: 2}},
		bars:    []bar{{"A1", "throughput of clients that count beside an attack ÷ alone", kept}},
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
	v := &attacked{dir: filepath.Join(l.work, fmt.Sprint("attack-", x))}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return err
	}
	settings := a.settings
	if a.prepare != nil {
		more, err := a.prepare(v, l.cfg)
		if err != nil {
			return err
		}
		settings = append(settings[:len(settings):len(settings)], more...)
	}
	s, err := l.start(ctx, quipuQuorum, settings...)
	if err != nil {
		return err
	}
	defer s.kill()
	v.server = s
	keys := l.cfg.scaled(100_000)
	if err := s.fill(ctx, counterSet{name: benchmarkKey}, 0, keys); err != nil {
		return s.explain(err)
	}
	if a.fill != "" {
		if err := v.sendAll(a.fill); err != nil {
			return s.explain(err)
		}
	}
	for round := range l.cfg.rounds {
		if err := l.attackOnce(ctx, x, a, v, round, keys); err != nil {
			return s.explain(err)
		}
	}
	return nil
}

// attackOnce is one round: alone, and then beside the attack.
func (l *lab) attackOnce(ctx context.Context, x int, a attack, v *attacked, round, keys int) error {
	g := generator{addr: v.server.addr(), set: counterSet{name: benchmarkKey}, keys: keys, clients: attackClients, depth: attackDepth}
	alone, err := g.runFor(ctx, l.cfg.runTime())
	if err != nil {
		return err
	}
	before, err := v.server.resident()
	if err != nil {
		return err
	}
	attacking, stop := context.WithCancel(ctx)
	var attackers sync.WaitGroup
	defer attackers.Wait()
	defer stop()
	for range a.attackers {
		attackers.Go(func() { a.run(attacking, func() net.Conn { return v.connect(attacking, a.at) }) })
	}
	if err := pause(ctx, l.cfg.attackRamp()*time.Duration(max(a.ramp, 1))); err != nil {
		return err
	}
	highest := before
	var beside *loadResult
	beside, err = g.runWhile(ctx, func(ctx context.Context) error {
		for end := time.Now().Add(l.cfg.runTime()); time.Now().Before(end); {
			now, err := v.server.resident()
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
	if err != nil {
		return err
	}
	rate := func(r *loadResult) float64 { return float64(r.requests) / r.elapsed.Seconds() }
	add := func(column string, value float64) { l.figures.add(attackMetric, column, x, value) }
	add(attackKept, rate(beside)/rate(alone))
	add(attackAlone, millis(alone.latencies.quantile(0.99)))
	add(attackP99, millis(beside.latencies.quantile(0.99)))
	add(attackMemory, (highest-before)/(1<<20))
	l.progress(round, attackKept, a.name, rate(beside)/rate(alone), fmt.Sprintf("(%d connections)", v.connections.Load()))
	return nil
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
