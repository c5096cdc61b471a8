package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// memoryKeys is how many counters bars 7, 7b, 8 and 9 are about.
const memoryKeys = 5_000_001

// memorySteps are the numbers of counters at which memory is read on the way.
var memorySteps = []int{100_000, 300_000, 1_000_000, 2_000_000, memoryKeys}

// settle is how long after the last reply memory is read: a second at full
// length.
func (c config) settle() time.Duration { return min(time.Second, c.runTime()*2/5) }

// memoryMeasurement is bars 7 and 8: the same full servers.
func memoryMeasurement(cfg config) measurement {
	keys := cfg.scaled(memoryKeys)
	return measurement{
		name: "memory",
		about: fmt.Sprintf("resident memory with %s counters, keys of 18 bytes, less that of the empty server; then the time from start to the first answer to PING and GET",
			grouped(float64(keys), 0)),
		metrics: []metric{
			{id: "memory", title: "Bytes per key after filling", xTitle: "Keys", xName: countName, digits: 1},
			{id: "memory-restarted", title: "Bytes per key after a restart", xTitle: "Keys", xName: countName, digits: 1},
			{id: "restart", title: "Start to first answer, s", xTitle: "Keys", xName: countName, digits: 2},
		},
		bars: []bar{
			{"7", "memory per key ÷ Redis", []check{{label: "18-byte keys", num: cell{"memory", quipuQuorum, keys}, den: cell{"memory", peerMemory, keys}, atMost: 0.48}}},
			{"8", "start to first answer ÷ Redis loading its RDB", []check{{label: "time", num: cell{"restart", quipuQuorum, keys}, den: cell{"restart", peerMemory, keys}, atMost: 0.6}}},
		},
		charts: []chartSpec{{
			file: "memory-by-keys", title: "Memory per key by number of keys", about: "resident memory, counters with keys of 18 bytes, bytes per key",
			xLabel: "counters on the server", metric: "memory", scale: 1, logX: true,
		}},
		run: func(ctx context.Context, l *lab) error {
			variants := []string{quipuQuorum, peerMemory}
			return l.alternate(ctx, len(variants), func(round, i int) error {
				s, empty, err := l.fillInSteps(ctx, variants[i], round, "memory", counterSet{name: likesKey})
				if err != nil {
					return err
				}
				defer func() { s.kill() }()
				return s.explain(l.restart(ctx, s, round, keys, empty))
			})
		},
	}
}

// memoryTTLMeasurement is bar 7b.
func memoryTTLMeasurement(cfg config) measurement {
	keys := cfg.scaled(memoryKeys)
	return measurement{
		name:    "memory-ttl",
		about:   fmt.Sprintf("resident memory with %s counters that each expire", grouped(float64(keys), 0)),
		metrics: []metric{{id: "memory-ttl", title: "Bytes per key with a TTL", xTitle: "Keys", xName: countName, digits: 1}},
		bars: []bar{{"7b", "memory per key with a TTL ÷ Redis with a TTL", []check{{
			label: "18-byte keys", num: cell{"memory-ttl", quipuQuorum, keys}, den: cell{"memory-ttl", peerMemory, keys}, atMost: 0.5}}}},
		run: func(ctx context.Context, l *lab) error {
			variants := []string{quipuQuorum, peerMemory}
			return l.alternate(ctx, len(variants), func(round, i int) error {
				s, _, err := l.fillInSteps(ctx, variants[i], round, "memory-ttl", counterSet{name: likesKey, ttl: 100_000})
				if err == nil {
					s.kill()
				}
				return err
			})
		},
	}
}

// fillInSteps starts a server and fills it, and leaves the memory of each key at
// every step in metric. empty is the memory of the empty server.
func (l *lab) fillInSteps(ctx context.Context, variant string, round int, metric string, set counterSet) (s *server, empty float64, err error) {
	if s, err = l.start(ctx, variant); err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = s.explain(err)
			s.kill()
		}
	}()
	if empty, err = s.resident(); err != nil {
		return nil, 0, err
	}
	from, perKey := 0, 0.0
	for i, step := range memorySteps {
		keys := l.cfg.scaled(step)
		if err := s.fill(ctx, set, from, keys); err != nil {
			return nil, 0, err
		}
		wait := l.cfg.settle()
		if i < len(memorySteps)-1 { // a point of the plot, not of a bar
			wait /= 4
		}
		if err := pause(ctx, wait); err != nil {
			return nil, 0, err
		}
		if perKey, err = s.perKey(empty, keys); err != nil {
			return nil, 0, err
		}
		l.figures.add(metric, variant, keys, perKey)
		from = keys
	}
	l.progress(round, variant, metric, perKey, "bytes/key")
	return s, empty, nil
}

func (s *server) perKey(empty float64, keys int) (float64, error) {
	full, err := s.resident()
	return (full - empty) / float64(keys), err
}

// checkSize wants all keys back after a restart.
func (s *server) checkSize(ctx context.Context, keys int) error {
	if n, err := s.client.DBSize(ctx).Result(); err != nil || n != int64(keys) {
		return errors.Join(fmt.Errorf("after the restart it has %d keys instead of %d", n, keys), err)
	}
	return nil
}

// restart stops a full server as an operator does and measures how long it takes
// to come back. Redis writes its RDB before, as it is told to keep none at its
// end.
func (l *lab) restart(ctx context.Context, s *server, round, keys int, empty float64) error {
	if !isQuipu(s.variant) {
		// It takes longer than the client usually waits for a reply.
		if err := s.client.WithTimeout(readyLimit).Save(ctx).Err(); err != nil {
			return err
		}
	}
	if err := s.terminate(ctx); err != nil {
		return err
	}
	took, err := s.relaunch(ctx, string(likesKey(nil, keys-1)))
	if err != nil {
		return err
	}
	l.figures.add("restart", s.variant, keys, took.Seconds())
	l.progress(round, s.variant, "restart", took.Seconds(), "s")
	if err := s.checkSize(ctx, keys); err != nil {
		return err
	}
	if err := pause(ctx, l.cfg.settle()); err != nil {
		return err
	}
	perKey, err := s.perKey(empty, keys)
	if err != nil {
		return err
	}
	l.figures.add("memory-restarted", s.variant, keys, perKey)
	return nil
}
