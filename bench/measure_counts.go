package main

import (
	"context"
	"strconv"
)

// What counting exactly once and ack level local cost on three nodes, and what clients notice when the leader is stopped.
const (
	localIncrements = 1_000_000 // of one key, at full scale
	oneByOne        = 20_000    // increments at level quorum beside them
)

// countsMeasurement is bars N9 to N12.
func countsMeasurement(cfg config) measurement {
	local := func(metric string, limit float64) check {
		return check{label: depthName(16), num: cell{metric, nodesLocal, 16}, den: cell{metric, quipuLocal, 16}, atLeast: limit}
	}
	return measurement{
		name:  "counts",
		about: "`ONCE` and ack level local on three nodes on this machine; all share its processors and its disk",
		metrics: []metric{
			throughputMetric("once", "`INCR`, by itself and in `ONCE`, 50 producers"),
			throughputMetric("nodes-local-hot", "`INCR` of one key at ack level local, one node and a follower of three"),
			throughputMetric("nodes-local", "`INCR` of random keys at ack level local, one node and a follower of three"),
			{id: "nodes-log", title: "Bytes of log for 1,000,000 increments of one key", xTitle: "Increments", xName: countName},
			{id: "nodes-handover", title: "Time without acknowledged writes while the leader is stopped with SIGTERM, ms", xTitle: "Stops", xName: countName},
			{id: "nodes-handover-max", title: "The longest of these, ms", xTitle: "Stops", xName: countName},
		},
		bars: []bar{
			{"N9", "ONCE ÷ INCR, three nodes", []check{{label: depthName(16), num: cell{"once", nodesOnce, 16}, den: cell{"once", nodesLeader, 16}, atLeast: 0.5}}},
			{"N10", "ack local, a follower of three ÷ one node", []check{local("nodes-local-hot", 0.9)}},
			{"N11", "bytes of log, ack local ÷ one by one", []check{{label: "one key", num: cell{"nodes-log", nodesLocal, localIncrements}, den: cell{"nodes-log", nodesLeader, localIncrements}, atMost: 0.01}}},
			{"N12", "SIGTERM of the leader, no errors, ms without writes", []check{{label: "longest", num: cell{"nodes-handover-max", nodesFollower, failovers}, atMost: 300}}},
		},
		run: func(ctx context.Context, l *lab) error {
			for _, v := range nodeVariants {
				l.name[v] = "Quipu, " + setUp[v]
			}
			for _, step := range []func(context.Context, *lab) error{measureOnce, measureLocalNodes, measureHandover} {
				if err := step(ctx, l); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// measureOnce is bar N9. Both loads are of random keys, 50 connections, and our own generator's.
func measureOnce(ctx context.Context, l *lab) error {
	keys := l.cfg.scaled(barKeys / 10)
	c, err := l.startCluster(ctx, nil)
	defer c.kill()
	if err != nil {
		return err
	}
	s := c.fleet[0]
	set := counterSet{name: benchmarkKey}
	if err := s.fill(ctx, set, 0, keys); err != nil {
		return s.explain(err)
	}
	plain := generator{addr: s.addr(), set: set, keys: keys, clients: barClients}
	once := plain
	if once.next, err = producers(ctx, s, set, keys); err != nil {
		return err
	}
	for range l.cfg.rounds {
		for _, depth := range nodeDepths {
			for variant, g := range map[string]generator{nodesLeader: plain, nodesOnce: once} {
				g.depth = depth
				m, err := s.generate(ctx, g, l.cfg.runTime())
				if err != nil {
					return err
				}
				l.figures.add("once", variant, depth, m.rate)
			}
		}
	}
	return nil
}

// producers opens a producer for each client of a generator. Each numbers its increments of random keys.
func producers(ctx context.Context, s *server, set counterSet, keys int) (next func(client int, dst []byte) []byte, err error) {
	type producer struct {
		name, epoch []byte
		number      uint64
		scratch     []byte
	}
	all := make([]producer, barClients)
	for i := range all {
		name := "bench" + strconv.Itoa(i)
		epoch, err := s.client.Do(ctx, "ONCE", "OPEN", name).Int64()
		if err != nil {
			return nil, s.explain(err)
		}
		all[i] = producer{name: []byte(name), epoch: strconv.AppendInt(nil, epoch, 10)}
	}
	return func(client int, dst []byte) []byte {
		p := &all[client]
		p.number++
		dst = appendBulk(append(dst, "*6\r\n"...), []byte("ONCE"))
		dst = appendBulk(appendBulk(dst, p.name), p.epoch)
		p.scratch = strconv.AppendUint(p.scratch[:0], p.number, 10)
		dst = appendBulk(appendBulk(dst, p.scratch), []byte("INCR"))
		p.scratch = set.name(p.scratch[:0], int(p.number*2654435761+uint64(client)*40503)%keys)
		return appendBulk(dst, p.scratch)
	}, nil
}

// measureLocalNodes is bars N10 and N11.
func measureLocalNodes(ctx context.Context, l *lab) error {
	keys := l.cfg.scaled(barKeys / 10)
	one, err := l.startFilled(ctx, keys, quipuLocal)
	defer one.kill()
	if err != nil {
		return err
	}
	c, err := l.startCluster(ctx, nil)
	defer c.kill()
	if err != nil {
		return err
	}
	lead, follower := c.fleet[0], c.fleet[1]
	if err := lead.fill(ctx, counterSet{name: benchmarkKey}, 0, keys); err != nil {
		return err
	}
	if err := l.measureLogBytes(ctx, lead, follower); err != nil {
		return err
	}
	follower.variant = nodesLocal
	for metric, ld := range map[string]load{
		"nodes-local-hot": {command: "incr", clients: barClients}, "nodes-local": {command: "incr", keys: keys, clients: barClients},
	} {
		if err := l.sweep(ctx, fleet{one[0], follower}, metric, ld, nodeDepths); err != nil {
			return err
		}
	}
	return nil
}

// measureLogBytes counts one key through the leader, one at a time, and then through the follower at ack level local.
func (l *lab) measureLogBytes(ctx context.Context, lead, follower *server) error {
	written := func(s *server, ld load, n int) (float64, error) {
		before, err := lead.logBytes(ctx)
		if err != nil {
			return 0, err
		}
		if _, err := s.send(ctx, l.cfg, ld, n); err != nil {
			return 0, s.explain(err)
		}
		if err := s.client.Do(ctx, "CLIENT", "ACK", "default").Err(); err != nil { // everything is in the log
			return 0, s.explain(err)
		}
		after, err := lead.logBytes(ctx)
		return float64(after-before) * localIncrements / float64(n), err
	}
	bytes, err := written(lead, load{command: "incr", clients: 1, depth: 1}, max(200, l.cfg.scaled(oneByOne)))
	if err != nil {
		return err
	}
	l.figures.add("nodes-log", nodesLeader, localIncrements, bytes)
	if err := follower.client.ConfigSet(ctx, "ack", "local").Err(); err != nil {
		return follower.explain(err)
	}
	if bytes, err = written(follower, load{command: "incr", clients: barClients, depth: 16}, max(20_000, l.cfg.scaled(localIncrements))); err != nil {
		return err
	}
	l.figures.add("nodes-log", nodesLocal, localIncrements, bytes)
	return nil
}

func (s *server) logBytes(ctx context.Context) (int, error) {
	return s.infoNumber(ctx, "persistence", "log_bytes_since_snapshot")
}

// measureHandover is bar N12: the leader is told to stop, and no client may see an error.
func measureHandover(ctx context.Context, l *lab) error {
	return measureGaps(ctx, l, "nodes-handover", false, func(ctx context.Context, lead *server) error { return lead.terminate(ctx) })
}
