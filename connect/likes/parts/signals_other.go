//go:build !linux

package parts

import "syscall"

// sysProcAttr keeps Ctrl-C to the demo, which then stops its parts.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
