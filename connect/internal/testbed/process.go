package testbed

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	endLimit  = 30 * time.Second // from SIGTERM to the end
	outputMax = 256 << 10        // bytes that Output returns at most
	tailLines = 40               // shown when a test fails
)

// Process is a program that a test runs, and may run again. It may be killed, paused and resumed from any goroutine; one
// goroutine at a time may start it.
type Process struct {
	Path string   // the program
	Args []string // of the next start
	Env  []string // further environment of the next start: "NAME=value"
	Dir  string   // working folder of the next start; that of the test when empty

	tb   testing.TB
	name string
	as   *syscall.Credential // whom it runs as; nil: as this process does
	out  string              // file with the standard output and error of all runs
	now  atomic.Pointer[run]
}

// run is a process from its start to its end.
type run struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has been waited for
	ending atomic.Bool   // the test ends the process, or waits for its end
}

// NewProcess prepares a run of the program at path. The caller may set further fields before Start.
func NewProcess(tb testing.TB, path string, args ...string) *Process {
	tb.Helper()
	p := &Process{Path: path, Args: args, tb: tb, name: filepath.Base(path), out: filepath.Join(tb.TempDir(), "output")}
	tb.Cleanup(p.finish)
	return p
}

// StartProcess starts the program at path.
func StartProcess(tb testing.TB, path string, args ...string) *Process {
	tb.Helper()
	p := NewProcess(tb, path, args...)
	p.Start()
	return p
}

// Start starts the program, again if it ran before, and returns at once. A run that has not ended is killed before.
func (p *Process) Start() {
	p.tb.Helper()
	p.Kill()
	if err := p.start(); err != nil {
		p.tb.Fatalf("start %s: %v", p.name, err)
	}
}

func (p *Process) start() error {
	out, err := os.OpenFile(p.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	r := &run{cmd: exec.Command(p.Path, p.Args...), exited: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), p.Env...)
	r.cmd.Dir = p.Dir
	r.cmd.Stdout, r.cmd.Stderr = out, out
	r.cmd.SysProcAttr = sysProcAttr(p.as)
	if err := r.cmd.Start(); err != nil {
		return err
	}
	p.now.Store(r)
	go func() {
		_ = r.cmd.Wait() // the exit status is read from the process's state
		close(r.exited)
	}()
	return nil
}

// Kill ends the process by SIGKILL, as a crash would, and waits until it is gone. It may have ended before.
func (p *Process) Kill() {
	if r := p.now.Load(); r != nil {
		r.ending.Store(true)
		_ = r.cmd.Process.Kill() // fails only if it has ended
		<-r.exited
	}
}

// Terminate sends SIGTERM, as an operator would, and returns the exit status, -1 if a signal ended the process. One that does
// not end in half a minute is killed and fails the test.
func (p *Process) Terminate() int {
	p.tb.Helper()
	p.ends()
	p.Signal(syscall.SIGTERM)
	return p.Wait(endLimit)
}

// Wait waits until the process ends by itself, and returns the exit status, -1 if a signal ended it. One that does not end
// within the limit is killed and fails the test.
func (p *Process) Wait(limit time.Duration) int {
	p.tb.Helper()
	r := p.ends()
	select {
	case <-r.exited:
	case <-time.After(limit):
		p.tb.Errorf("%s did not end in %v", p.name, limit)
		p.Kill()
	}
	return r.cmd.ProcessState.ExitCode()
}

// ends notes that the end of the process is no fault.
func (p *Process) ends() *run {
	p.tb.Helper()
	r := p.now.Load()
	if r == nil {
		p.tb.Fatalf("%s was not started", p.name)
	}
	r.ending.Store(true)
	return r
}

// Pause freezes the process by SIGSTOP: for everybody else it hangs.
func (p *Process) Pause() {
	p.tb.Helper()
	p.Signal(syscall.SIGSTOP)
}

// Resume ends a Pause.
func (p *Process) Resume() {
	p.tb.Helper()
	p.Signal(syscall.SIGCONT)
}

// Signal sends a signal to a process that should be there.
func (p *Process) Signal(s syscall.Signal) {
	p.tb.Helper()
	r := p.now.Load()
	if r == nil {
		p.tb.Fatalf("%s was not started", p.name)
	}
	if err := r.cmd.Process.Signal(s); err != nil {
		p.tb.Errorf("%s to %s: %v", s, p.name, err)
	}
}

// Alive tells whether the process runs, be it paused.
func (p *Process) Alive() bool {
	r := p.now.Load()
	if r == nil {
		return false
	}
	select {
	case <-r.exited:
		return false
	default:
		return true
	}
}

// Pid is the number of the process; 0 before the first start.
func (p *Process) Pid() int {
	if r := p.now.Load(); r != nil {
		return r.cmd.Process.Pid
	}
	return 0
}

// Output is what all runs wrote to their standard output and error; the end of it, when it is long.
func (p *Process) Output() string {
	f, err := os.Open(p.out)
	if err != nil {
		return "" // never started
	}
	defer f.Close()
	if _, err := f.Seek(-outputMax, io.SeekEnd); err != nil {
		_, _ = f.Seek(0, io.SeekStart) // it is shorter
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// Tail is the last lines of Output.
func (p *Process) Tail(lines int) string {
	text := strings.TrimSuffix(p.Output(), "\n")
	at := len(text)
	for ; lines > 0 && at >= 0; lines-- {
		at = strings.LastIndexByte(text[:at], '\n')
	}
	return text[at+1:]
}

// finish ends the process at the end of its test.
func (p *Process) finish() {
	r := p.now.Load()
	if r == nil {
		return
	}
	if p.tb.Failed() { // perhaps because the process is just about to die
		select {
		case <-r.exited:
		case <-time.After(200 * time.Millisecond):
		}
	}
	died := !r.ending.Load() && !p.Alive()
	p.Kill()
	if died {
		p.tb.Errorf("%s ended with status %d though nothing asked it to", p.name, r.cmd.ProcessState.ExitCode())
	}
	if p.tb.Failed() {
		p.tb.Logf("the last lines of %s:\n%s", p.name, p.Tail(tailLines))
	}
}

// await waits until check succeeds. It ends the test if the process ends before, or the time is over.
func (p *Process) await(limit time.Duration, check func() error) {
	p.tb.Helper()
	last := fmt.Errorf("nothing asked it yet")
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !p.Alive() {
			r := p.ends() // reported here
			p.tb.Fatalf("%s ended with status %d before it was ready", p.name, r.cmd.ProcessState.ExitCode())
		}
		if last = check(); last == nil {
			return
		}
	}
	p.tb.Fatalf("%s is not ready after %v: %v", p.name, limit, last)
}
