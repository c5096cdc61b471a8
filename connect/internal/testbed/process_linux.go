package testbed

import "syscall"

// sysProcAttr lets the kernel kill the process when the test process dies, however it dies.
func sysProcAttr(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: as}
}
