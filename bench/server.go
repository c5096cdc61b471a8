package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quipu/internal/ports"

	"github.com/redis/go-redis/v9"
)

// server is one server that is measured: a child process on a port of its own.
type server struct {
	variant string
	line    []string // its command line
	dir     string   // its data
	port    int

	log    string // file with the process's own output
	cmd    *exec.Cmd
	exited chan struct{}
	client *redis.Client // for questions, not for load

	requests map[load]int // how many requests fill a run, learned

	// What the counters must add up to: at least sumMin, as that many increments
	// were answered, and no more than slack above it, as redis-benchmark may send
	// that many more than it was asked for.
	sumMin, slack int64

	sent int64 // requests of redis-benchmark that were answered, all loads together
}

// readyLimit is how long a server may take to load its data.
const readyLimit = 2 * time.Minute

// startServer starts a process with its data in dir, which it makes, and waits
// until it answers.
func startServer(ctx context.Context, variant, dir string, line []string) (*server, error) {
	s := &server{variant: variant, line: line, dir: dir, log: dir + ".log", requests: map[load]int{}}
	for attempt := 1; ; attempt++ {
		var err error
		if s.port, err = ports.Keep(); err != nil {
			return nil, err
		}
		if err := s.launch(); err != nil {
			return nil, err
		}
		if err = s.awaitReady(ctx, ""); err == nil {
			return s, nil
		}
		s.kill()
		// Another process can take the port between freePort and the server's bind.
		if attempt == 3 || !strings.Contains(strings.ToLower(err.Error()), "address already in use") {
			return nil, err
		}
	}
}

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *server) pid() int { return s.cmd.Process.Pid }

// launch starts the process and does not wait until it answers.
func (s *server) launch() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append(s.line[1:len(s.line):len(s.line)], "--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir)
	cmd := exec.Command(s.line[0], args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait() // how it ended does not matter: it is stopped, or not answering
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited
	s.client = redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1})
	return nil
}

// awaitReady asks every 5 ms until the server answers PING and, unless it is
// empty, has the key; a server that loads its data answers with an error.
func (s *server) awaitReady(ctx context.Context, key string) error {
	deadline := time.Now().Add(readyLimit)
	for {
		err := s.answers(ctx, key)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.exited:
			return fmt.Errorf("it ended: %s", s.lastLines())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer: %w: %s", err, s.lastLines())
		}
	}
}

// answers asks once, on a connection of its own: a client with a pool would wait
// between its attempts to connect.
func (s *server) answers(ctx context.Context, key string) error {
	conn, err := dial(ctx, s.addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	question, wanted := "PING\r\n", []string{"+PONG"}
	if key != "" {
		question, wanted = question+"GET "+key+"\r\n", append(wanted, "$")
	}
	if _, err := conn.Write([]byte(question)); err != nil {
		return err
	}
	replies := bufio.NewReader(conn)
	for _, prefix := range wanted {
		line, err := replies.ReadString('\n')
		if err != nil {
			return noEOF(err)
		}
		if !strings.HasPrefix(line, prefix) || strings.HasPrefix(line, "$-1") {
			return fmt.Errorf("it answers %q", line)
		}
	}
	return nil
}

// identify asks the server what it is and how many event loops it runs.
func (s *server) identify(ctx context.Context) (product, version, loops string, err error) {
	info, err := s.client.Info(ctx, "server").Result()
	if err != nil {
		return "", "", "", err
	}
	if v := infoField(info, "quipu_version"); v != "" {
		return "Quipu", v, infoField(info, "io_loops"), nil
	}
	product, version = "Redis", infoField(info, "redis_version")
	if v := infoField(info, "valkey_version"); v != "" {
		product, version = "Valkey", v
	}
	values, err := s.client.ConfigGet(ctx, "io-threads").Result()
	return product, version, values["io-threads"], err
}

func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// crash ends the process at once, as kill -9 does; its data stay.
func (s *server) crash() {
	s.client.Close()
	s.cmd.Process.Kill() // fails only if it has ended
	<-s.exited
}

// relaunch starts a process that has ended again and tells how long it takes
// until it answers and has the key.
func (s *server) relaunch(ctx context.Context, key string) (time.Duration, error) {
	begin := time.Now()
	if err := s.launch(); err != nil {
		return 0, err
	}
	err := s.awaitReady(ctx, key)
	return time.Since(begin), err
}

// kill ends the process at once and removes its data, as a run makes many
// gigabytes of it.
func (s *server) kill() {
	s.crash()
	if err := os.RemoveAll(s.dir); err != nil {
		logf("%v", err)
	}
}

// terminate ends the process as an operator does.
func (s *server) terminate(ctx context.Context) error {
	s.client.Close()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.exited:
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("it ended with status %d: %s", code, s.lastLines())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(readyLimit):
		return errors.New("it does not end after SIGTERM")
	}
}

// explain adds to an error whose it is, and what the server itself said if it has
// ended.
func (s *server) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-s.exited:
		return fmt.Errorf("%s: %w; the server ended (%v): %s", s.variant, err, s.cmd.ProcessState, s.lastLines())
	case <-time.After(time.Second): // a connection can break a moment before the process is gone
		return fmt.Errorf("%s: %w", s.variant, err)
	}
}

func (s *server) lastLines() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-1000):]))
}
