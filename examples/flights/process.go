package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quipu/internal/ports"

	"github.com/redis/go-redis/v9"
)

// serverProcess is a server, or one node of it, that the demo starts, kills and
// starts again on the same port and data.
type serverProcess struct {
	program string
	port    int
	dir     string
	log     string   // file with the server's own messages
	peers   []string // addresses of all nodes for each other, where there are several
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
	args := []string{"server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir}
	if len(s.peers) > 0 {
		args = append(args, "--peer-addr", peerAddr(s.port), "--join", strings.Join(s.peers, ","), "--bootstrap-expect", strconv.Itoa(len(s.peers)))
	}
	return args
}

// newServers prepares a server of n nodes, each with a free port and a data directory of its own, which cleanUp removes.
func newServers(program string, n int) (nodes []*serverProcess, cleanUp func(), err error) {
	var numbers []int
	var peers []string
	for range n {
		port, err := ports.Keep()
		if err != nil {
			return nil, nil, err
		}
		numbers = append(numbers, port)
		if n > 1 {
			peers = append(peers, peerAddr(port))
		}
	}
	dir, err := os.MkdirTemp("", "flights-demo-")
	if err != nil {
		return nil, nil, err
	}
	for i, port := range numbers {
		name := filepath.Join(dir, fmt.Sprintf("node%d", i+1))
		if err := os.Mkdir(name, 0o700); err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, &serverProcess{program: program, port: port, dir: name, log: name + ".log", peers: peers})
	}
	return nodes, func() { os.RemoveAll(dir) }, nil
}

// startAll runs all nodes and waits until each of them answers, for which most of them have to run.
func startAll(ctx context.Context, nodes []*serverProcess) error {
	for _, s := range nodes {
		if err := s.launch(); err != nil {
			return err
		}
	}
	ready := make(chan error, len(nodes))
	for _, s := range nodes {
		go func() { ready <- s.awaitReady(ctx) }()
	}
	for range nodes {
		if err := <-ready; err != nil {
			return err // of the one that ended; the others wait for it
		}
	}
	return nil
}

// start runs the server and waits until it answers.
func (s *serverProcess) start(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	return s.awaitReady(ctx)
}

func (s *serverProcess) launch() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, exited := exec.Command(s.program, s.args()...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.exited = cmd, exited
	go func() {
		cmd.Wait() // its result is read from cmd.ProcessState
		close(exited)
	}()
	return nil
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

// options are those of a client that tries each command once.
func (s *serverProcess) options() *redis.Options {
	return &redis.Options{Addr: s.addr(), MaxRetries: -1, DialerRetries: 1}
}

// leads says whether this node leads, as it says itself.
func (s *serverProcess) leads(ctx context.Context) bool {
	client := redis.NewClient(s.options())
	defer client.Close()
	return strings.Contains(client.Info(ctx, "replication").Val(), "\nraft_leader:1\r")
}

// awaitLeader waits until a node leads, and returns its place in nodes.
func awaitLeader(ctx context.Context, nodes []*serverProcess) (int, error) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		for i, s := range nodes {
			if s.leads(ctx) {
				return i, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return 0, errors.New("no node leads")
}

// kill ends the server as a crash would.
func (s *serverProcess) kill() {
	if s.cmd == nil {
		return // it was never started
	}
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

// peerAddr is where the node with this port for clients is reached by other nodes.
func peerAddr(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+ports.PeerOffset))
}
