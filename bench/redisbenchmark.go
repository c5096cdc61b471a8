package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load is what redis-benchmark is asked for.
type load struct {
	command string // one word; the key follows
	args    string // what follows in place of the key; __rand_int__ is a number below keys
	keys    int    // random keys; 0: one key, the same always
	half    bool   // runs of half the length
	clients int
	depth   int // of the pipeline
}

// sample is the result of one run of redis-benchmark.
type sample struct {
	rate float64 // requests per second
	p50  float64 // milliseconds
	p99  float64 // milliseconds
	cpu  float64 // the server's CPU time per request, user and system, microseconds; 0: not known
}

// keyPattern is how redis-benchmark names its random keys; it puts twelve
// digits in place of __rand_int__. benchmarkKey makes the same names.
const keyPattern = "key:__rand_int__"

// hotKey is the key of a load without random keys.
const hotKey = "hot"

// run sends one load for about the configured time.
func (s *server) run(ctx context.Context, cfg config, ld load) (sample, error) {
	if s.requests[ld] == 0 {
		if err := s.calibrate(ctx, cfg, ld); err != nil {
			return sample{}, s.explain(err)
		}
	}
	m, err := s.send(ctx, cfg, ld, s.requests[ld])
	if err != nil {
		return m, s.explain(err)
	}
	s.requests[ld] = requestsFor(ld, m.rate*ld.seconds(cfg))
	return m, nil
}

// calibrate finds how many requests fill a run, in two steps, as a very short
// run is mostly opening of connections. It warms the server up as well.
func (s *server) calibrate(ctx context.Context, cfg config, ld load) error {
	n := requestsFor(ld, 5000)
	for _, part := range []float64{0.25, 1} {
		m, err := s.send(ctx, cfg, ld, n)
		if err != nil {
			return err
		}
		n = requestsFor(ld, m.rate*ld.seconds(cfg)*part)
	}
	s.requests[ld] = n
	return nil
}

// seconds is how long a run should take.
func (ld load) seconds(cfg config) float64 {
	if ld.half {
		return cfg.seconds / 2
	}
	return cfg.seconds
}

// requestsFor is at least four turns of every client.
func requestsFor(ld load, n float64) int { return max(int(n), 4*ld.clients*ld.depth) }

func (s *server) send(ctx context.Context, cfg config, ld load, n int) (sample, error) {
	args := []string{
		"-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "--csv",
		"-n", strconv.Itoa(n), "-c", strconv.Itoa(ld.clients), "-P", strconv.Itoa(ld.depth),
	}
	if cfg.threads > 0 {
		args = append(args, "--threads", strconv.Itoa(cfg.threads))
	}
	rest := ld.args
	if ld.keys > 0 {
		args = append(args, "-r", strconv.Itoa(ld.keys))
		rest = cmp.Or(rest, keyPattern)
	}
	args = append(append(args, ld.command), strings.Fields(cmp.Or(rest, hotKey))...)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, cfg.benchmark, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	before, cpuErr := s.cpuTime()
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("redis-benchmark: %w: %s", err, stderr.String())
	}
	after, err := s.cpuTime()
	s.sent += int64(n)
	if ld.command == "incr" {
		s.sumMin += int64(n)
		s.slack += int64(ld.clients * ld.depth)
	}
	m, parseErr := parseCSV(stdout.String())
	if parseErr != nil {
		return m, fmt.Errorf("redis-benchmark: %w: %s", parseErr, stderr.String())
	}
	if cpuErr == nil && err == nil {
		m.cpu = float64(after-before) / float64(time.Microsecond) / float64(n)
	}
	return m, nil
}

// parseCSV reads the output of redis-benchmark --csv: a line of column names
// and one of values.
func parseCSV(text string) (sample, error) {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return sample{}, err
	}
	if len(rows) != 2 {
		return sample{}, fmt.Errorf("unexpected output %q", text)
	}
	var m sample
	for name, p := range map[string]*float64{"rps": &m.rate, "p50_latency_ms": &m.p50, "p99_latency_ms": &m.p99} {
		i := slices.Index(rows[0], name)
		if i < 0 || i >= len(rows[1]) {
			return m, fmt.Errorf("no column %q in %q", name, text)
		}
		if *p, err = strconv.ParseFloat(rows[1][i], 64); err != nil {
			return m, err
		}
	}
	return m, nil
}

// checkSum adds up all counters of a server that was filled and then got only
// increments from redis-benchmark: one that was fast because it lost some would
// show here.
func (s *server) checkSum(ctx context.Context, keys int) error {
	var sum int64
	names := make([]string, 0, 1000)
	for i := range keys {
		names = append(names, string(benchmarkKey(nil, i)))
		if len(names) < cap(names) && i < keys-1 {
			continue
		}
		values, err := s.client.MGet(ctx, names...).Result()
		if err != nil {
			return s.explain(err)
		}
		for j, v := range values {
			text, _ := v.(string)
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return fmt.Errorf("%s: counter %s is %v", s.variant, names[j], v)
			}
			sum += n
		}
		names = names[:0]
	}
	if sum < s.sumMin || sum > s.sumMin+s.slack {
		return fmt.Errorf("%s: the counters add up to %d; it should be %d to %d", s.variant, sum, s.sumMin, s.sumMin+s.slack)
	}
	return nil
}
