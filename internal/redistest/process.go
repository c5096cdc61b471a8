package redistest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quipu/internal/ports"
)

// Server is a server process started by a test. It is killed when the test ends.
type Server struct {
	Addr string // 127.0.0.1:port, or the path of a unix socket
	Port int    // 0 with a unix socket
	Dir  string // working or data directory

	name   string
	pass   string // of the requirepass setting
	cmd    *exec.Cmd
	output *lastOutput
	exited chan struct{} // closed once the process has been waited for
	ending atomic.Bool   // the test ends the process, or waits for its end
}

// lastOutput keeps the last bytes a process wrote to its standard output and error.
type lastOutput struct {
	mu sync.Mutex
	b  []byte
}

const lastOutputMax = 256 << 10

func (w *lastOutput) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p...)
	if len(w.b) > 2*lastOutputMax {
		w.b = append(w.b[:0], w.b[len(w.b)-lastOutputMax:]...)
	}
	return len(p), nil
}

func (w *lastOutput) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.b)
}

// launch starts the process. It does not wait until the server answers.
func launch(tb testing.TB, s *Server, path string, args, env []string) error {
	if i := slices.Index(args, "--requirepass"); i >= 0 && i+1 < len(args) {
		s.pass = args[i+1]
	}
	s.cmd = exec.Command(path, args...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Dir = s.Dir
	s.output = &lastOutput{}
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = sysProcAttr()
	if err := s.start(); err != nil {
		return err
	}
	tb.Cleanup(func() {
		if tb.Failed() { // perhaps because the process is just about to die
			select {
			case <-s.exited:
			case <-time.After(200 * time.Millisecond):
			}
		}
		if !s.ending.Load() && !s.Alive() {
			tb.Errorf("%s died with status %d: %s", s.name, s.Status(), s.Output())
		}
		s.Kill9()
	})
	return nil
}

// start starts s.cmd and waits for its end in the background.
func (s *Server) start() error {
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.cmd.Path, err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return nil
}

// Restart kills the process with SIGKILL, starts the same program with the same flags and environment, thus on the same
// port and data, and waits until it answers. Nobody else may use s meanwhile.
func (s *Server) Restart(limit time.Duration) error {
	if err := s.Relaunch(); err != nil {
		return err
	}
	return s.WaitReady(limit)
}

// Binary is the path of the program that runs.
func (s *Server) Binary() string { return s.cmd.Path }

// Use has the next start run another program.
func (s *Server) Use(path string) { s.cmd.Path = path }

// Relaunch is Restart that does not wait until the server answers.
func (s *Server) Relaunch() error {
	s.Kill9()
	old := s.cmd
	s.cmd = exec.Command(old.Path, old.Args[1:]...)
	s.cmd.Env, s.cmd.Dir, s.cmd.SysProcAttr = old.Env, old.Dir, old.SysProcAttr
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	if err := s.start(); err != nil {
		return err
	}
	s.ending.Store(false)
	return nil
}

// WaitReady waits until the server answers PING by PONG: one that still loads its data says LOADING. It returns an error
// that holds the server's output when the process exits before or the time is over.
func (s *Server) WaitReady(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	last := error(nil)
	for time.Now().Before(deadline) {
		if !s.Alive() {
			s.ending.Store(true) // the caller reports it
			return fmt.Errorf("%s exited with status %d before it answered: %s", s.name, s.Status(), s.Output())
		}
		last = s.ping()
		if last == nil {
			return nil
		}
		select {
		case <-s.exited:
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s did not get ready in %v: %w; output: %s", s.name, limit, last, s.Output())
}

func (s *Server) ping() error {
	c, err := Dial(s.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if s.pass != "" {
		if r, err := c.Do("AUTH", s.pass); err != nil || r.Text != "OK" {
			return fmt.Errorf("AUTH answered %v, %v", r, err)
		}
	}
	r, err := c.Do("PING")
	if err == nil && r.Text != "PONG" {
		err = errors.New("PING answered " + r.String())
	}
	return err
}

// Alive tells whether the process is still running.
func (s *Server) Alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Kill9 kills the process at once and waits until it is gone. Killing a process that has ended is no error.
func (s *Server) Kill9() {
	s.ending.Store(true)
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// Terminate sends SIGTERM and waits for the exit status. ok is false when the process did not end in time
// (it is killed then).
func (s *Server) Terminate(limit time.Duration) (status int, ok bool) {
	s.ending.Store(true)
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	return s.Wait(limit)
}

// Wait waits for the process to end by itself. A process that ends although no test waited for it fails the test.
func (s *Server) Wait(limit time.Duration) (status int, ok bool) {
	s.ending.Store(true)
	select {
	case <-s.exited:
		return s.Status(), true
	case <-time.After(limit):
		s.Kill9()
		return s.Status(), false
	}
}

// Status is the exit status of a process that has ended; -1 when a signal ended it.
func (s *Server) Status() int {
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

// Output is what the process wrote to its standard output and error (the end of it, when it is long).
func (s *Server) Output() string { return s.output.String() }

// Pid is the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Dial opens a connection that is closed when the test ends.
func (s *Server) Dial(tb testing.TB) *Conn {
	tb.Helper()
	c, err := Dial(s.Addr)
	if err != nil {
		tb.Fatalf("connect to %s: %v\n%s", s.name, err, s.Output())
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// RSS is the resident memory of the process in bytes.
func (s *Server) RSS() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS in /proc status")
}

// FDs is how many file descriptors the process has open.
func (s *Server) FDs() (int, error) {
	d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Pid()))
	return len(d), err
}

// FreePort returns a loopback port that is the test's until it ends; so is port + ports.PeerOffset, where a Quipu node talks to
// its peers.
func FreePort(tb testing.TB) int {
	tb.Helper()
	p, err := ports.Take()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p.Number
}
