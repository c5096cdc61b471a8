// Package parts runs the processes of the likes demo: nodes of Quipu, a broker and connectors. Each is started again after it
// has ended, whoever ended it, and all end with the demo.
//
// One goroutine a part starts it, waits for it and starts it again; nobody else touches its process but Kill, which only sends a
// signal, under the lock that says which process there is. All of a Crew's state is under one lock.
package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Kind is what a part is.
type Kind string

// The kinds of parts.
const (
	Node      Kind = "node"
	Broker    Kind = "broker"
	Connector Kind = "connector"
)

// State is how a part does.
type State string

// The states of a part.
const (
	Starting State = "starting" // the process runs, and does not serve yet
	Up       State = "up"
	Down     State = "down" // there is no process; it is started again soon
)

// Spec is how a part is started.
type Spec struct {
	Name  string // "node 1"
	Kind  Kind
	Addr  string // host:port for clients; empty where there is none
	Path  string
	Args  []string
	Ready func(ctx context.Context) error // nil when it serves; asked again and again
}

// Status is how a part does now.
type Status struct {
	Name  string
	Kind  Kind
	Addr  string
	State State
	PID   int // of the process there is, or was last
	Runs  int // how often it was started
	Back  time.Time
}

// part is a Spec with its process. The fields below are under Crew.mu.
type part struct {
	Spec
	log    string
	status Status
	proc   *os.Process // nil where there is none
}

const (
	againTime   = 1500 * time.Millisecond // from the end of a process to its next start
	readyLimit  = time.Minute
	readyPause  = 25 * time.Millisecond
	endLimit    = 10 * time.Second // from SIGTERM to SIGKILL
	failuresMax = 5                // starts in a row that came to nothing
	logTail     = 2000             // bytes of a log that an error shows
)

// keep runs the part until ctx ends. Its error says that it cannot be run.
func (c *Crew) keep(ctx context.Context, p *part) error {
	for failures := 0; ; {
		ended, err := c.start(p)
		if err != nil {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
		ready, stop := context.WithCancel(ctx)
		served := make(chan bool, 1)
		go func() { served <- c.awaitReady(ready, p) }()
		select {
		case <-ctx.Done():
			c.end(p, ended)
		case err = <-ended:
		}
		stop()
		if <-served {
			failures = 0
		} else {
			failures++
		}
		if ctx.Err() != nil {
			return nil
		}
		c.ended(p)
		if failures >= failuresMax {
			return fmt.Errorf("%s has ended %d times before it served (%v); the end of %s:\n%s", p.Name, failures, err, p.log, tail(p.log))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.again):
		}
	}
}

// start starts the process. The channel gets what Wait says.
func (c *Crew) start(p *part) (<-chan error, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = sysProcAttr()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.set(func() {
		p.proc = cmd.Process
		p.status.State, p.status.PID = Starting, cmd.Process.Pid
		p.status.Runs++
	})
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		c.set(func() { p.proc = nil })
		ended <- err
	}()
	return ended, nil
}

// awaitReady asks the part until it serves, and reports whether it ever did.
func (c *Crew) awaitReady(ctx context.Context, p *part) bool {
	limit := time.Now().Add(readyLimit)
	for {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := p.Ready(ask)
		cancel()
		if err == nil && ctx.Err() == nil {
			c.set(func() { p.status.State, p.status.Back = Up, time.Now() })
			return true
		}
		if time.Now().After(limit) {
			c.kill(p) // a process that is stuck is no better than none
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(readyPause):
		}
	}
}

// end stops the process as an operator would.
func (c *Crew) end(p *part, ended <-chan error) {
	c.signal(p, syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(endLimit):
		c.signal(p, syscall.SIGKILL)
		<-ended
	}
}

func (c *Crew) ended(p *part) {
	c.set(func() { p.status.State = Down })
}

func (c *Crew) kill(p *part) { c.signal(p, syscall.SIGKILL) }

// signal reports whether there was a process to send it to.
func (c *Crew) signal(p *part, s syscall.Signal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.proc != nil && p.proc.Signal(s) == nil
}

// tail is the end of a file, for an error.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-logTail):]))
}

// check finds mistakes before anything is started.
func check(specs []Spec) error {
	var errs []error
	for _, s := range specs {
		if _, err := exec.LookPath(s.Path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

func logName(dir, name string) string {
	return filepath.Join(dir, strings.ReplaceAll(name, " ", "")+".log")
}
