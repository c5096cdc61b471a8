package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a child process. It dies with this program, however that dies (on Linux).
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string // file with its output
	exited chan struct{}
}

const endLimit = 30 * time.Second // from SIGTERM to the end

// start starts a program whose output goes to a file in the work folder.
func (l *lab) start(name, path string, args ...string) (*process, error) {
	return l.startTo(true, name, path, args...)
}

// startTo starts a program; unless keep, its standard output goes to nothing.
func (l *lab) startTo(keep bool, name, path string, args ...string) (*process, error) {
	return l.startAs(sysProcAttr(), keep, name, path, args...)
}

func (l *lab) startAs(attr *syscall.SysProcAttr, keep bool, name, path string, args ...string) (*process, error) {
	l.started++
	p := &process{name: name, log: filepath.Join(l.work, fmt.Sprintf("%d-%s.log", l.started, name)), exited: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Stderr = out
	if keep {
		p.cmd.Stdout = out
	}
	p.cmd.SysProcAttr = attr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	l.running = append(l.running, p)
	go func() {
		_ = p.cmd.Wait() // how it ended is in its state
		close(p.exited)
	}()
	return p, nil
}

// kill ends the process at once, if it has not ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// terminate ends the process as an operator does.
func (p *process) terminate(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return p.explain(err)
	}
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	return p.wait(ctx)
}

// wait waits until the process ends by itself, and demands status 0.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return p.explain(ctx.Err())
	case <-p.exited:
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return p.explain(fmt.Errorf("it ended with status %d", code))
	}
	return nil
}

// alive is an error once the process has ended.
func (p *process) alive() error {
	select {
	case <-p.exited:
		return p.explain(fmt.Errorf("it ended: %v", p.cmd.ProcessState))
	default:
		return nil
	}
}

// cpu is what a process that has ended has used, user and system time of all its threads.
func (p *process) cpu() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// used is what a process that runs has used so far; 0 where there is no /proc. Fields 14 and 15 of its stat are ticks of 10 ms.
func (p *process) used() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name before may hold spaces
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// explain adds to an error whose it is, and what the process said.
func (p *process) explain(err error) error {
	return fmt.Errorf("%s: %w: %s", p.name, err, p.tail())
}

func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-2000):]))
}
