package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"quipu/internal/netfault"
	"quipu/internal/ports"
)

// What three nodes on one machine cost beside one. They share its processors and its disk, so the ratios are worse than on
// three machines.
const (
	nodeCount   = 3
	roundTrip   = 5 * time.Millisecond // of the network that is slow on purpose
	rejoinKeys  = 5_000_000
	failovers   = 4 // for each round
	idleSeconds = 5
)

var nodeDepths = []int{1, 16}

// nodesMeasurement is bars N1 to N7.
func nodesMeasurement(cfg config) measurement {
	pair := func(metric, num, den string, depth int, limit float64) check {
		return check{label: depthName(depth), num: cell{metric, num, depth}, den: cell{metric, den, depth}, atLeast: limit}
	}
	single := func(metric, variant string, label string, x int) check {
		return check{label: label, num: cell{metric, variant, x}}
	}
	atLeast := func(c check, limit float64) check { c.atLeast = limit; return c }
	atMost := func(c check, limit float64) check { c.atMost = limit; return c }
	return measurement{
		name:  "nodes",
		about: "three nodes on this machine beside one; all share its processors and its disk",
		metrics: []metric{
			throughputMetric("nodes-incr", "`INCR`, one node and three"),
			throughputMetric("nodes-get", "`GET`, three nodes"),
			{id: "nodes-idle", title: "An idle node of three, % of a core", xTitle: "Idle", xName: countName, digits: 2},
			{id: "nodes-entry", title: "Commands in an entry, 50 clients one command at a time, 5 ms round trip", xTitle: "Clients", xName: countName, digits: 1},
			{id: "nodes-failover", title: "Time without acknowledged writes after kill -9 of the leader, ms", xTitle: "Kills", xName: countName},
			{id: "nodes-failover-max", title: "The longest of these, ms", xTitle: "Kills", xName: countName},
			{id: "nodes-rejoin", title: "A node with an empty disk until it has caught up, s", xTitle: "Keys", xName: countName, digits: 2},
			{id: "nodes-rejoin-p99", title: "p99 of clients meanwhile ÷ before", xTitle: "Keys", xName: countName, digits: 2},
		},
		bars: []bar{
			{"N1", "three nodes ÷ one node, INCR", []check{pair("nodes-incr", nodesLeader, quipuQuorum, 1, 0.45), pair("nodes-incr", nodesLeader, quipuQuorum, 16, 0.5)}},
			{"N2", "through a follower ÷ through the leader, INCR", []check{pair("nodes-incr", nodesFollower, nodesLeader, 1, 0.5), pair("nodes-incr", nodesFollower, nodesLeader, 16, 0.6)}},
			{"N3", "linearizable ÷ read level leader, GET", []check{pair("nodes-get", nodesLeader, nodesLevel, 1, 0.5), pair("nodes-get", nodesLeader, nodesLevel, 16, 0.6)}},
			{"N4", "commands in an entry, 5 ms round trip", []check{atLeast(single("nodes-entry", nodesLeader, "50 clients", barClients), 40)}},
			{"N5", "time without acknowledged writes, ms", []check{
				atMost(single("nodes-failover", nodesFollower, "median", failovers), 1300), atMost(single("nodes-failover-max", nodesFollower, "longest", failovers), 4000)}},
			{"N6", "an empty disk joins", []check{
				atMost(single("nodes-rejoin", nodesFollower, "seconds", cfg.scaled(rejoinKeys)), 15), atMost(single("nodes-rejoin-p99", nodesLeader, "p99 ÷ before", cfg.scaled(rejoinKeys)), 3)}},
			{"N7", "an idle node of three, % of a core", []check{atMost(single("nodes-idle", nodesLeader, "leader", 0), 3), atMost(single("nodes-idle", nodesFollower, "follower", 0), 3)}},
		},
		run: func(ctx context.Context, l *lab) error {
			for _, v := range nodeVariants {
				l.name[v] = "Quipu, " + setUp[v]
			}
			for _, step := range []func(context.Context, *lab) error{measureNodeLoads, measureSlowNetwork, measureFailover, measureRejoin} {
				if err := step(ctx, l); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// cluster is three servers that found a cluster. The first one leads.
type cluster struct {
	fleet
	network *netfault.Network // nil: none
}

func (c *cluster) kill() {
	c.fleet.kill()
	if c.network != nil {
		c.network.Close()
	}
}

// startCluster starts three nodes, behind a network if there is one, and puts the one that leads first.
func (l *lab) startCluster(ctx context.Context, network *netfault.Network, further ...string) (*cluster, error) {
	c := &cluster{network: network}
	var binds, peers []string
	for i := range nodeCount {
		port, err := ports.Keep() // a peer port: no node is given it for clients, and none is started again on another
		if err != nil {
			return c, err
		}
		bind := loopback(port + ports.PeerOffset)
		peer := bind
		if network != nil {
			if peer, err = network.Open(i, bind); err != nil {
				return c, err
			}
		}
		binds, peers = append(binds, bind), append(peers, peer)
	}
	servers := make([]*server, nodeCount)
	errs := make([]error, nodeCount)
	var wg sync.WaitGroup
	for i := range nodeCount {
		dir, err := filepath.Abs(filepath.Join(l.work, strconv.Itoa(l.started)))
		if err != nil {
			return c, err
		}
		l.started++
		args := append([]string{"--peer-addr", peers[i], "--peer-bind", binds[i], "--join", strings.Join(peers, ","), "--bootstrap-expect", strconv.Itoa(nodeCount)}, further...)
		wg.Go(func() {
			servers[i], errs[i] = startServer(ctx, nodesLeader, dir, l.cfg.commandLine(nodesLeader, args...))
		})
	}
	wg.Wait()
	for _, s := range servers {
		if s != nil {
			c.fleet = append(c.fleet, s)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	return c, c.order(ctx)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// order waits until all nodes are ready and puts the one that leads first.
func (c *cluster) order(ctx context.Context) error {
	for end := time.Now().Add(readyLimit); time.Now().Before(end); {
		leads, up := -1, 0
		for i, s := range c.fleet {
			info, err := s.client.Info(ctx, "replication").Result()
			if err == nil && s.client.Exists(ctx, "nothing").Err() == nil {
				up++
			}
			if err == nil && infoField(info, "raft_leader") == "1" {
				leads = i
			}
		}
		if leads >= 0 && up == len(c.fleet) {
			c.fleet[0], c.fleet[leads] = c.fleet[leads], c.fleet[0]
			for i, s := range c.fleet {
				if s.variant = nodesFollower; i == 0 {
					s.variant = nodesLeader
				}
			}
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("no node leads")
}

// measureNodeLoads is bars N1, N2, N3 and N7.
func measureNodeLoads(ctx context.Context, l *lab) error {
	keys := l.cfg.scaled(barKeys / 10)
	one, err := l.startFilled(ctx, keys, quipuQuorum)
	defer one.kill()
	if err != nil {
		return err
	}
	c, err := l.startCluster(ctx, nil)
	defer c.kill()
	if err != nil {
		return err
	}
	if err := c.fleet[0].fill(ctx, counterSet{name: benchmarkKey}, 0, keys); err != nil {
		return err
	}
	ld := load{command: "incr", keys: keys, clients: barClients}
	if err := l.sweep(ctx, fleet{one[0], c.fleet[0], c.fleet[1]}, "nodes-incr", ld, nodeDepths); err != nil {
		return err
	}
	level := *c.fleet[0]
	level.variant, level.requests = nodesLevel, map[load]int{}
	for range l.cfg.rounds {
		for _, depth := range nodeDepths {
			for _, s := range []*server{c.fleet[0], &level} {
				want := "linearizable"
				if s == &level {
					want = "leader"
				}
				if err := s.client.ConfigSet(ctx, "read-consistency", want).Err(); err != nil {
					return err
				}
				m, err := s.run(ctx, l.cfg, load{command: "get", keys: keys, clients: barClients, depth: depth})
				if err != nil {
					return err
				}
				l.figures.add("nodes-get", s.variant, depth, m.rate)
			}
		}
	}
	return l.measureIdleNodes(ctx, c)
}

func (l *lab) measureIdleNodes(ctx context.Context, c *cluster) error {
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	before := make([]time.Duration, len(c.fleet))
	for i, s := range c.fleet {
		var err error
		if before[i], err = s.cpuTime(); err != nil {
			return err
		}
	}
	if err := pause(ctx, idleSeconds*time.Second); err != nil {
		return err
	}
	for i, s := range c.fleet {
		now, err := s.cpuTime()
		if err != nil {
			return err
		}
		l.figures.add("nodes-idle", s.variant, 0, 100*(now-before[i]).Seconds()/idleSeconds)
	}
	return nil
}

// measureSlowNetwork is bar N4.
func measureSlowNetwork(ctx context.Context, l *lab) error {
	network := netfault.New()
	c, err := l.startCluster(ctx, network)
	defer c.kill()
	if err != nil {
		return err
	}
	network.Delay(roundTrip / 2)
	s := c.fleet[0]
	g := generator{addr: s.addr(), set: counterSet{name: benchmarkKey}, keys: 1000, clients: barClients, depth: 1}
	for range l.cfg.rounds {
		before, err := s.entries(ctx)
		if err != nil {
			return err
		}
		result, err := g.runFor(ctx, max(time.Second, l.cfg.runTime()))
		if err != nil {
			return s.explain(err)
		}
		after, err := s.entries(ctx)
		if err != nil {
			return err
		}
		l.figures.add("nodes-entry", nodesLeader, barClients, float64(result.requests)/float64(max(1, after-before)))
	}
	return nil
}

func (s *server) entries(ctx context.Context) (int, error) {
	return s.infoNumber(ctx, "stats", "log_entries_applied")
}

// infoNumber is a field of a section of INFO.
func (s *server) infoNumber(ctx context.Context, section, field string) (int, error) {
	info, err := s.client.Info(ctx, section).Result()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(infoField(info, field))
}

// measureFailover is bar N5: a client of each node counts, one command at a time; the leader is killed, and the time is taken
// until a client of another node is answered again.
func measureFailover(ctx context.Context, l *lab) error {
	return measureGaps(ctx, l, "nodes-failover", true, func(_ context.Context, lead *server) error { lead.crash(); return nil })
}

// measureGaps ends the leader again and again, and takes the time without acknowledged writes. unknown is as in failover.
func measureGaps(ctx context.Context, l *lab, metric string, unknown bool, end func(ctx context.Context, lead *server) error) error {
	c, err := l.startCluster(ctx, nil)
	defer c.kill()
	if err != nil {
		return err
	}
	longest := 0.0
	for range l.cfg.rounds * failovers {
		if err := c.order(ctx); err != nil {
			return err
		}
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		gap, err := c.failover(ctx, func() error { return end(ctx, c.fleet[0]) }, unknown)
		if err != nil {
			return fmt.Errorf("%s: %w", metric, err)
		}
		logf("%s: %v without acknowledged writes", metric, gap.Round(time.Millisecond))
		longest = max(longest, millis(gap))
		l.figures.add(metric, nodesFollower, failovers, millis(gap))
		if err := c.fleet[0].launch(); err != nil {
			return err
		}
	}
	l.figures.add(metric+"-max", nodesFollower, failovers, longest)
	return nil
}

// failover ends the leader and returns the longest time in which clients of the other nodes were not answered. unknown says that
// commands may have an unknown outcome; there must be no other error.
func (c *cluster) failover(ctx context.Context, end func() error, unknown bool) (time.Duration, error) {
	killed := make(chan struct{})
	type result struct {
		gap time.Duration
		err error
	}
	results := make(chan result, len(c.fleet)-1)
	for _, s := range c.fleet[1:] {
		go func() {
			var r result
			last, after := time.Now(), 0
			for after < 20 && r.err == nil {
				switch err := s.client.Incr(ctx, "failover").Err(); {
				case err == nil:
					r.gap = max(r.gap, time.Since(last))
					last = time.Now()
					select {
					case <-killed:
						after++
					default:
					}
				case unknown && strings.HasPrefix(err.Error(), "UNKNOWN "):
				default:
					r.err = s.explain(err)
				}
			}
			results <- r
		}()
	}
	if err := pause(ctx, 300*time.Millisecond); err != nil {
		return 0, err
	}
	err := end()
	close(killed)
	var longest time.Duration
	for range len(c.fleet) - 1 {
		r := <-results
		if r.err != nil {
			return 0, r.err
		}
		longest = max(longest, r.gap)
	}
	return longest, err
}

// measureRejoin is bar N6.
func measureRejoin(ctx context.Context, l *lab) error {
	keys := l.cfg.scaled(rejoinKeys)
	c, err := l.startCluster(ctx, nil)
	defer c.kill()
	if err != nil {
		return err
	}
	s, lost := c.fleet[0], c.fleet[2]
	if err := s.fill(ctx, counterSet{name: benchmarkKey}, 0, keys); err != nil {
		return s.explain(err)
	}
	g := generator{addr: s.addr(), set: counterSet{name: benchmarkKey}, keys: keys, clients: 4, depth: 1}
	quietRun, err := g.runFor(ctx, 2*time.Second)
	if err != nil {
		return s.explain(err)
	}
	info, err := lost.client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	lost.kill()
	lost.dir += "-empty"
	if err := s.client.Do(ctx, "CLUSTER", "FORGET", infoField(info, "node_id")).Err(); err != nil {
		return err
	}
	var took time.Duration
	busyRun, err := g.runWhile(ctx, func(ctx context.Context) error {
		begin := time.Now()
		if err := lost.launch(); err != nil {
			return err
		}
		for {
			info, err := lost.client.Info(ctx, "replication", "keyspace").Result()
			if err == nil && strings.Contains(info, fmt.Sprintf("db0:keys=%d,", keys)) {
				took = time.Since(begin)
				return nil
			}
			if time.Since(begin) > readyLimit {
				return errors.New("the node does not catch up: " + lost.lastLines())
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	l.figures.add("nodes-rejoin", nodesFollower, keys, took.Seconds())
	before, during := quietRun.latencies.quantile(0.99), busyRun.latencies.quantile(0.99)
	l.figures.add("nodes-rejoin-p99", nodesLeader, keys, float64(during)/float64(before))
	return nil
}
