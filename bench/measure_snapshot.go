package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Figures of the snapshot measurement: x tells whether one was being written.
const (
	quiet          = 0
	duringSnapshot = 1
)

func snapshotName(x int) string {
	if x == duringSnapshot {
		return "during a snapshot"
	}
	return "without"
}

// snapshotMeasurement is bar 9.
func snapshotMeasurement(cfg config) measurement {
	keys := cfg.scaled(memoryKeys)
	latency := func(id, title string) metric {
		return metric{id: "snapshot-" + id, title: title + ", ms", xTitle: "Snapshot", xName: snapshotName, digits: 3}
	}
	p999 := func(label, variant string) check {
		return check{label: label, num: cell{"snapshot-p99.9", variant, duringSnapshot}, den: cell{"snapshot-p99.9", variant, quiet}, atMost: 1.5}
	}
	growth := func(label, variant string) check {
		return check{label: label, num: cell{"snapshot-growth", variant, duringSnapshot}, atMost: 1.15}
	}
	return measurement{
		name: "snapshot",
		about: fmt.Sprintf("latency of `INCR` of %s random counters while a snapshot is written and without, %d clients that each wait for their reply, own load",
			grouped(float64(keys), 0), barClients),
		metrics: []metric{
			latency("p50", "p50"), latency("p99", "p99"), latency("p99.9", "p99.9"), latency("max", "Longest"),
			{id: "snapshot-rate", title: "Throughput, requests/s", xTitle: "Snapshot", xName: snapshotName},
			{id: "snapshot-seconds", title: "One snapshot takes, s", xTitle: "Snapshot", xName: snapshotName, digits: 2},
			{id: "snapshot-growth", title: "Highest resident memory ÷ before the first snapshot (of Redis without its child process)", xTitle: "Snapshot", xName: snapshotName, digits: 3},
		},
		bars: []bar{
			{"9", "p99.9 at P=1 during a snapshot ÷ without", []check{p999("defaults", quipuQuorum), p999("ack local", quipuLocal)}},
			{"9", "resident memory during a snapshot ÷ before", []check{growth("defaults", quipuQuorum), growth("ack local", quipuLocal)}},
		},
		run: func(ctx context.Context, l *lab) error { return l.measureSnapshots(ctx, keys) },
	}
}

func (l *lab) measureSnapshots(ctx context.Context, keys int) error {
	var servers fleet
	defer func() { servers.kill() }()
	set := counterSet{name: likesKey}
	var before []float64
	for _, v := range l.available(quipuQuorum, quipuLocal, peerMemory) {
		var further []string
		if isQuipu(v) {
			further = []string{"--snapshot-log-bytes", "100gb"} // none but those we ask for
		}
		s, err := l.start(ctx, v, further...)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		if err := s.fill(ctx, set, 0, keys); err != nil {
			return s.explain(err)
		}
		if err := pause(ctx, l.cfg.settle()); err != nil {
			return err
		}
		rss, err := s.resident()
		if err != nil {
			return err
		}
		before = append(before, rss)
	}
	return l.alternate(ctx, len(servers), func(round, i int) error {
		s := servers[i]
		g := generator{addr: s.addr(), set: set, keys: keys, clients: barClients, depth: 1}
		without, err := g.runFor(ctx, l.cfg.runTime())
		if err != nil {
			return s.explain(err)
		}
		l.addSnapshotFigures(round, s.variant, quiet, without)
		w := snapshotWatch{s: s, atLeast: l.cfg.runTime()}
		during, err := g.runWhile(ctx, w.run)
		if err != nil {
			return s.explain(err)
		}
		l.addSnapshotFigures(round, s.variant, duringSnapshot, during)
		l.figures.add("snapshot-seconds", s.variant, duringSnapshot, w.took.Seconds()/float64(w.snapshots))
		l.figures.add("snapshot-growth", s.variant, duringSnapshot, w.highest/before[i])
		return nil
	})
}

func (l *lab) addSnapshotFigures(round int, variant string, x int, r *loadResult) {
	add := func(id string, d time.Duration) { l.figures.add("snapshot-"+id, variant, x, millis(d)) }
	add("p50", r.latencies.quantile(0.5))
	add("p99", r.latencies.quantile(0.99))
	add("p99.9", r.latencies.quantile(0.999))
	add("max", r.latencies.max)
	l.figures.add("snapshot-rate", variant, x, float64(r.requests)/r.elapsed.Seconds())
	l.progress(round, variant, "p99.9 "+snapshotName(x), millis(r.latencies.quantile(0.999)), "ms")
}

// snapshotWatch has a server write one snapshot after the other for some time,
// the last one to its end, and watches its memory.
type snapshotWatch struct {
	s       *server
	atLeast time.Duration

	snapshots int
	took      time.Duration
	highest   float64 // resident memory, bytes
}

func (w *snapshotWatch) run(ctx context.Context) error {
	begin := time.Now()
	for w.took < w.atLeast {
		if err := w.one(ctx); err != nil {
			return err
		}
		w.snapshots++
		w.took = time.Since(begin)
	}
	return nil
}

// one has one snapshot written and looks every 10 ms whether it is complete.
// Quipu answers BGSAVE a moment before, and takes the next one a moment after, it
// says that a snapshot is written: its end is told by the snapshot's index, which
// the load moves.
func (w *snapshotWatch) one(ctx context.Context) error {
	before, asked := "", false
	for end := time.Now().Add(readyLimit); time.Now().Before(end); {
		info, err := w.s.client.Info(ctx, "persistence").Result()
		if err != nil {
			return err
		}
		rss, err := w.s.resident()
		if err != nil {
			return err
		}
		w.highest = max(w.highest, rss)
		index := infoField(info, "snapshot_index")
		switch {
		case !asked:
			err := w.s.client.BgSave(ctx).Err()
			if err != nil && !strings.Contains(err.Error(), "already in progress") {
				return err
			}
			before, asked = index, err == nil
		case infoField(info, "rdb_last_bgsave_status") != "ok":
			return errors.New("the snapshot failed")
		case infoField(info, "rdb_bgsave_in_progress") == "0" && (index == "" || index != before):
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("no snapshot within %v", readyLimit)
}
