package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// measurement is the result of one run of redis-benchmark.
type measurement struct {
	rate float64       // requests per second
	p50  float64       // milliseconds
	p99  float64       // milliseconds
	cpu  time.Duration // the server's CPU time per request, user and system; 0: not known
}

// keyPattern is how redis-benchmark names its random keys; it puts twelve
// digits in place of __rand_int__.
const keyPattern = "key:__rand_int__"

func keyName(i int) string { return fmt.Sprintf("key:%012d", i) }

// batches calls f with the names of all keys, a thousand at a time.
func batches(keys int, f func(names []string) error) error {
	names := make([]string, 0, 1000)
	for i := range keys {
		names = append(names, keyName(i))
		if len(names) == cap(names) || i == keys-1 {
			if err := f(names); err != nil {
				return err
			}
			names = names[:0]
		}
	}
	return nil
}

// fill makes every counter exist, by counting it once.
func (s *server) fill(ctx context.Context, keys int) error {
	s.sumMin += int64(keys)
	return batches(keys, func(names []string) error {
		pipe := s.client.Pipeline()
		for _, name := range names {
			pipe.Incr(ctx, name)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// checkSum adds up all counters: a server that was fast because it lost
// increments would show here.
func (s *server) checkSum(ctx context.Context, keys int) error {
	var sum int64
	err := batches(keys, func(names []string) error {
		values, err := s.client.MGet(ctx, names...).Result()
		for _, v := range values {
			text, _ := v.(string)
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return err
			}
			sum += n
		}
		return err
	})
	if err == nil && (sum < s.sumMin || sum > s.sumMin+s.slack) {
		err = fmt.Errorf("the counters add up to %d; %d to %d increments were sent", sum, s.sumMin, s.sumMin+s.slack)
	}
	return err
}

// requestsFor is the length of a run: deep pipelines get more requests, so that
// each run lasts some seconds.
func requestsFor(cfg config, depth int) int { return cfg.requests * min(depth, 12) }

// measure sends one run of increments.
func (s *server) measure(ctx context.Context, cfg config, depth int) (measurement, error) {
	n := requestsFor(cfg, depth)
	args := []string{
		"-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "--csv",
		"-n", strconv.Itoa(n), "-c", strconv.Itoa(cfg.clients), "-P", strconv.Itoa(depth), "-r", strconv.Itoa(cfg.keys),
	}
	if cfg.threads > 0 {
		args = append(args, "--threads", strconv.Itoa(cfg.threads))
	}
	args = append(args, "incr", keyPattern)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, cfg.benchmark, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr

	before, cpuErr := cpuTime(s.cmd.Process.Pid)
	err := cmd.Run()
	if err != nil {
		return measurement{}, fmt.Errorf("redis-benchmark: %w: %s", err, stderr.String())
	}
	after, err := cpuTime(s.cmd.Process.Pid)
	s.sumMin += int64(n)
	s.slack += int64(cfg.clients * depth)
	m, parseErr := parseCSV(stdout.String())
	if parseErr != nil {
		return m, fmt.Errorf("redis-benchmark: %w: %s", parseErr, stderr.String())
	}
	if cpuErr == nil && err == nil {
		m.cpu = (after - before) / time.Duration(n)
	}
	return m, nil
}

// parseCSV reads the output of redis-benchmark --csv: a line of column names
// and one of values.
func parseCSV(text string) (measurement, error) {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return measurement{}, err
	}
	if len(rows) != 2 {
		return measurement{}, fmt.Errorf("unexpected output %q", text)
	}
	var m measurement
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

// cpuTime is what a process has used so far, all threads together, from
// /proc/<pid>/stat (proc(5): fields 14 and 15, in ticks of 10 ms). There is no
// such file outside Linux.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may hold spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("short /proc/<pid>/stat")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}
