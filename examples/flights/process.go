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

// serverProcess is a server the demo starts, kills and starts again on the same
// port and data.
type serverProcess struct {
	program string
	port    int
	dir     string
	log     string // file with the server's own messages
	cmd     *exec.Cmd
	exited  chan struct{}
}

func (s *serverProcess) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// args is the server's command line. redis-server is told to fsync before it
// answers, as Quipu does by default.
func (s *serverProcess) args() []string {
	port := strconv.Itoa(s.port)
	if strings.HasPrefix(filepath.Base(s.program), "redis-server") {
		return []string{"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always"}
	}
	return []string{"server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir}
}

// start runs the server and waits until it answers.
func (s *serverProcess) start(ctx context.Context) error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.program, s.args()...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		cmd.Wait() // its result is read from cmd.ProcessState
		close(exited)
	}()
	return s.awaitReady(ctx)
}

func (s *serverProcess) awaitReady(ctx context.Context) error {
	client := redis.NewClient(&redis.Options{Addr: s.addr()})
	defer client.Close()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.exited:
			return fmt.Errorf("%s ended while starting (%v): %s", s.program, s.cmd.ProcessState, s.lastLines())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w: %s", s.program, err, s.lastLines())
		}
	}
}

// kill ends the server as a crash would.
func (s *serverProcess) kill() {
	s.cmd.Process.Kill() // fails only if it has ended
	<-s.exited
}

// stop ends the server as an operator would and wants exit status 0.
func (s *serverProcess) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the server had ended: %s", s.lastLines())
	}
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		s.kill()
		return errors.New("the server did not stop within 30 s of SIGTERM")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server stopped with status %d: %s", code, s.lastLines())
	}
	return nil
}

// lastLines is the end of the server's log, for an error message.
func (s *serverProcess) lastLines() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// freePort finds a port nobody listens on, below the range the system hands out
// to clients: there a connection could take it before the server does. Ten
// thousand above it is free for the server as well (its peer port).
func freePort() (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(2000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port")
}
