package main

import "syscall"

// sysProcAttr lets the kernel kill a child when this program dies, however it dies.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// resident is the most memory that a process that has ended had resident, in MiB; 0: not known.
func (p *process) resident() float64 {
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return float64(usage.Maxrss) / 1024 // KiB on Linux
}
