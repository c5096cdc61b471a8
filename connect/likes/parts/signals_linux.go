package parts

import "syscall"

// sysProcAttr keeps Ctrl-C to the demo, which then stops its parts, and lets the kernel kill them when the demo dies.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
