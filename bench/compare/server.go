package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// server is one of the servers compared: a child process on a port of its own.
type server struct {
	name    string
	program string
	args    []string
	port    int
	version string
	loops   string // event loops or threads that read from clients

	log    string // file with the process's own output
	cmd    *exec.Cmd
	exited chan struct{}
	client *redis.Client

	sumMin int64 // sum of all counters: at least this many increments were answered
	slack  int64 // redis-benchmark may send this many more than it was asked for
}

// Names in the report.
const (
	nameRedis       = "Redis, no persistence"
	nameRedisAlways = "Redis, appendfsync always"
	nameQuipu       = "Quipu, defaults"
)

// startAll starts the servers the configuration asks for, each with a data
// directory in work. On an error it returns those that run.
func startAll(ctx context.Context, cfg config, work string) ([]*server, error) {
	var all []*server
	// Rewriting the append-only file is switched off, so that nothing but the
	// load uses the machine while Redis is measured.
	if cfg.redis != "" {
		all = append(all,
			&server{name: nameRedis, program: cfg.redis, args: []string{"--save", "", "--appendonly", "no"}},
			&server{name: nameRedisAlways, program: cfg.redis, args: []string{
				"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0",
			}})
	}
	if cfg.quipu != "" {
		all = append(all, &server{name: nameQuipu, program: cfg.quipu, args: []string{"server"}})
	}
	if len(all) == 0 {
		return nil, errors.New("no server to measure")
	}
	for i, s := range all {
		if err := s.start(ctx, work, i); err != nil {
			return all[:i], fmt.Errorf("starting %s: %w", s.name, err)
		}
	}
	return all, nil
}

func stopAll(servers []*server) {
	for _, s := range servers {
		s.stop()
	}
}

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *server) start(ctx context.Context, work string, i int) error {
	dir, err := filepath.Abs(filepath.Join(work, strconv.Itoa(i)))
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if s.port, err = freePort(); err != nil {
		return err
	}
	s.log = dir + ".log"
	log, err := os.Create(s.log)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.program, append(s.args, "--port", strconv.Itoa(s.port), "--dir", dir)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func() {
		s.cmd.Wait() // how it ended does not matter: it is stopped, or not answering
		close(s.exited)
	}()
	s.client = redis.NewClient(&redis.Options{Addr: s.addr()})
	err = s.awaitReady(ctx)
	if err == nil {
		err = s.identify(ctx)
	}
	if err != nil {
		s.stop()
	}
	return err
}

func (s *server) awaitReady(ctx context.Context) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := s.client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.exited:
			return fmt.Errorf("it ended: %s", s.lastLines())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer: %w: %s", err, s.lastLines())
		}
	}
}

// identify asks the server for its version and its number of event loops.
func (s *server) identify(ctx context.Context) error {
	info, err := s.client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	if v := infoField(info, "quipu_version"); v != "" {
		s.version, s.loops = "Quipu "+v, infoField(info, "io_loops")
		return nil
	}
	s.version = "Redis " + infoField(info, "redis_version")
	if v := infoField(info, "valkey_version"); v != "" {
		s.version = "Valkey " + v
	}
	values, err := s.client.ConfigGet(ctx, "io-threads").Result()
	if err != nil {
		return err
	}
	s.loops = values["io-threads"]
	return nil
}

func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// stop ends the process, at once: its data is removed anyway.
func (s *server) stop() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
	s.cmd.Process.Kill() // fails only if it has ended
	<-s.exited
}

// explain adds to an error what the server itself said, if it has ended.
func (s *server) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-s.exited:
		return fmt.Errorf("%s: %w; the server ended (%v): %s", s.name, err, s.cmd.ProcessState, s.lastLines())
	case <-time.After(time.Second): // a connection can break a moment before the process is gone
		return fmt.Errorf("%s: %w", s.name, err)
	}
}

func (s *server) lastLines() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// freePort finds a port nobody listens on, below the range the system hands out
// to clients: there a connection could take it before the server does. Ten
// thousand above it is free for the server as well (Quipu's peer port).
func freePort() (int, error) {
	for range 100 {
		port := 22000 + rand.IntN(2000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port")
}
